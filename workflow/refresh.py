"""Bring the pages up to date: scoreboard, picture, cost, docs/results/ and the register's page.

Run by `make results`, after `make figures`.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import reference_run
import yaml
from register import read_register

from cartoonists.files.artifacts import atomic, read_arrays
from cartoonists.report.high_density import low_to_high
from cartoonists.report.plots import save, use_style
from cartoonists.report.register import Register
from cartoonists.report.scoreboard import register_page
from cartoonists.report.showing import brief, counts, verdict

CLONE = Path(__file__).resolve().parents[1]
PICTURE = Path("docs/images/low_to_high.png")
BOARDS = {"README.md": "docs/claims.md", "docs/index.md": "claims.md"}  # page, the register's


def between(text: str, name: str, content: str) -> str:
    """``text`` with ``content`` between the markers of this name.  ValueError where they lack."""
    marked = re.compile(rf"(<!-- {name} -->).*?(<!-- /{name} -->)", re.S)
    if not marked.search(text):
        raise ValueError(f"markers of {name!r} missing")
    return marked.sub(lambda match: match[1] + content + match[2], text)


def scores(board: pd.DataFrame, models: Sequence[str], page: str) -> str:
    """How many claims have which verdict, and a line a number; ``page`` as of `brief`."""
    run = f"Models of this run: {', '.join(models) or 'none, closed forms only'}."
    return f"\n{counts(board)}\n\n{run}\n\n{brief(board, page)}\n"


def filled(text: str, board: pd.DataFrame) -> str:
    """``text`` with verdict and numbers of a claim between its markers.  ValueError if unknown."""
    lines = {line["id"]: line for line in board.fillna("").to_dict("records")}

    def answered(match: re.Match) -> str:
        if match[2] not in lines:
            raise ValueError(f"claim {match[2]!r} in a marker, allowed: {', '.join(lines)}")
        return f"{match[1]}{verdict(lines[match[2]])}{match[3]}"

    return re.sub(r"(<!-- claim ([\w-]+) -->).*?(<!-- /claim -->)", answered, text)


def cost(benchmarks: Path) -> str:
    """Processor time of all jobs, from Snakemake's benchmarks."""
    tables = [pd.read_csv(file, sep="\t", na_values="-") for file in benchmarks.rglob("*.tsv")]
    seconds = sum(table["s"].sum() for table in tables)
    return f" The jobs of the last run took {seconds / 3600:.1f} hours together.\n"


def read_yaml(file: Path) -> dict:
    """A configuration."""
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def pictured(results: Path) -> dict:
    """Arrays and table of high-density samples, of the first model of each data set."""
    found: dict = {}
    for file in sorted(results.glob("*/*/high_density_images.npz"), reverse=True):
        dataset = file.parts[-3]
        found[dataset] = (read_arrays(file)[0], pd.read_csv(file.with_name("high_density.csv")))
    return found


def rewrite(
    page: Path, contents: Mapping[str, str], more: Callable[[str], str] = lambda text: text
) -> None:
    """Each content between the markers of its name in a page, and what ``more`` does to it."""
    text = more(page.read_text(encoding="utf-8"))
    for name, content in contents.items():
        text = between(text, name, content)
    with atomic(page) as temporary:
        temporary.write_text(text, encoding="utf-8")


def refresh(clone: Path) -> None:
    """Rewrite the pages and the picture.  OSError or ValueError where results are missing.

    docs/claims.md needs no results and is written first.
    """
    register = Register.of(read_register(clone / "workflow" / "claims.yaml"))
    rewrite(clone / "docs" / "claims.md", {"register": f"\n{register_page(register)}"})
    results = clone / "results"
    reference_run.fill(results, clone / "docs" / "results", read_yaml(clone / "config.yaml"))
    board = pd.read_csv(results / "scoreboard.csv", keep_default_na=False)
    models = read_yaml(results / "config.yaml")["run_models"]
    for page, link in BOARDS.items():
        rewrite(clone / page, {"claims": scores(board, models, link)})
    rewrite(clone / "README.md", {"cost": cost(results / "benchmarks")})
    report = clone / "docs" / "reproducibility.md"
    both = {"counts": f"\n{counts(board)}\n", "cost": cost(results / "benchmarks")}
    rewrite(report, both, lambda text: filled(text, board))
    if pictures := pictured(results):
        use_style()
        save(low_to_high(pictures), [clone / PICTURE], {"made from": "high_density.csv"})


if __name__ == "__main__":
    try:
        refresh(CLONE)
    except (OSError, ValueError) as error:
        sys.exit(f"results: {error} (make figures first)")
