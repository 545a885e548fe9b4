"""Bring the README up to date with results/: its picture, its claims table, its cost.

Run by `make readme`, after `make figures`.
"""

import re
import sys
from pathlib import Path

import pandas as pd

from cartoonists.files.artifacts import atomic, read_arrays
from cartoonists.report.high_density import low_to_high
from cartoonists.report.plots import save, use_style
from cartoonists.statistics.claims import summary

CLONE = Path(__file__).resolve().parents[1]
PICTURE = Path("docs/images/low_to_high.png")


def between(text: str, name: str, content: str) -> str:
    """``text`` with ``content`` between the markers of this name.  ValueError where they lack."""
    marked = re.compile(rf"(<!-- {name} -->).*?(<!-- /{name} -->)", re.S)
    if not marked.search(text):
        raise ValueError(f"README.md: markers of {name!r} missing")
    return marked.sub(lambda match: match[1] + content + match[2], text)


def claims_table(claims: pd.DataFrame) -> str:
    """Verdicts by statement, as a Markdown table."""
    rows = (
        "\nRows of `results/claims.csv`; each has its value, interval, unit and artifact there.\n\n"
    )
    return rows + summary(claims).to_markdown(index=False) + "\n"


def cost(benchmarks: Path) -> str:
    """Processor time of all jobs, from Snakemake's benchmarks."""
    tables = [pd.read_csv(file, sep="\t", na_values="-") for file in benchmarks.rglob("*.tsv")]
    seconds = sum(table["s"].sum() for table in tables)
    return f" The jobs of the last run took {seconds / 3600:.1f} hours together.\n"


def pictured(results: Path) -> dict:
    """Arrays and table of high-density samples, of the first model of each data set."""
    found: dict = {}
    for file in sorted(results.glob("*/*/high_density_images.npz"), reverse=True):
        dataset = file.parts[-3]
        found[dataset] = (read_arrays(file)[0], pd.read_csv(file.with_name("high_density.csv")))
    return found


def refresh(clone: Path) -> None:
    """Rewrite README.md and its picture.  OSError or ValueError where results are missing."""
    results = clone / "results"
    text = (clone / "README.md").read_text(encoding="utf-8")
    text = between(text, "claims", claims_table(pd.read_csv(results / "claims.csv")))
    text = between(text, "cost", cost(results / "benchmarks"))
    use_style()
    save(low_to_high(pictured(results)), [clone / PICTURE], {"made from": "high_density.csv"})
    with atomic(clone / "README.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        refresh(CLONE)
    except (OSError, ValueError) as error:
        sys.exit(f"readme: {error} (make figures first)")
