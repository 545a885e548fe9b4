"""Bring the pages up to date: the scoreboard, the picture, the cost, and the page of the register.

Run by `make readme`, after `make figures`.
"""

import re
import sys
from pathlib import Path

import pandas as pd
from register import read_register

from cartoonists.files.artifacts import atomic, read_arrays
from cartoonists.report.high_density import low_to_high
from cartoonists.report.plots import save, use_style
from cartoonists.report.register import Register
from cartoonists.report.scoreboard import counts, markdown, register_page

CLONE = Path(__file__).resolve().parents[1]
PICTURE = Path("docs/images/low_to_high.png")


def between(text: str, name: str, content: str) -> str:
    """``text`` with ``content`` between the markers of this name.  ValueError where they lack."""
    marked = re.compile(rf"(<!-- {name} -->).*?(<!-- /{name} -->)", re.S)
    if not marked.search(text):
        raise ValueError(f"markers of {name!r} missing")
    return marked.sub(lambda match: match[1] + content + match[2], text)


def scores(board: pd.DataFrame, *links: str) -> str:
    """How many claims have which verdict, and a line a claim; ``links`` as of `markdown`."""
    legend = "Numbers that decide, with their intervals, or the cause; rows: `results/claims.csv`."
    return f"\n{counts(board)}\n\n{legend}\n\n{markdown(board, *links)}\n"


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


def rewrite(page: Path, name: str, content: str) -> None:
    """``content`` between the markers of this name in a page."""
    text = between(page.read_text(encoding="utf-8"), name, content)
    with atomic(page) as temporary:
        temporary.write_text(text, encoding="utf-8")


def refresh(clone: Path) -> None:
    """Rewrite the pages and the picture.  OSError or ValueError where results are missing.

    docs/claims.md needs no results and is written first.
    """
    register = Register.of(read_register(clone / "workflow" / "claims.yaml"))
    rewrite(clone / "docs" / "claims.md", "register", f"\n{register_page(register)}")
    results = clone / "results"
    board = pd.read_csv(results / "scoreboard.csv", keep_default_na=False)
    rewrite(clone / "README.md", "claims", scores(board, "docs/claims.md"))
    rewrite(clone / "docs" / "index.md", "claims", scores(board, "claims.md"))
    rewrite(clone / "README.md", "cost", cost(results / "benchmarks"))
    use_style()
    save(low_to_high(pictured(results)), [clone / PICTURE], {"made from": "high_density.csv"})


if __name__ == "__main__":
    try:
        refresh(CLONE)
    except (OSError, ValueError) as error:
        sys.exit(f"readme: {error} (make figures first)")
