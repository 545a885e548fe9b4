"""MkDocs hook: tables and figures of benchmarks/results in the pages, read when a page is made.

A line ``<!-- table NAME: column, column -->`` becomes the table NAME.csv with these columns (all of
them where none is named), and ``<!-- figure NAME: text -->`` the figure NAME.png with this caption.
What is not there is an error, so that a page never shows less than it says.
"""

import re
from pathlib import Path

import pandas as pd
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
MARK = re.compile(r"^<!-- (table|figure) (\w+)(?:: ([^>]*\S))? -->$", re.M)
FOLDER = "benchmarks"  # of the figures in the site


def on_files(files, config):
    """The figures are part of the site."""
    for path in sorted(RESULTS.glob("*.png")):
        files.append(File.generated(config, f"{FOLDER}/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_) -> str:
    """Put tables and figures in the place of their marks."""
    return MARK.sub(replacement, markdown)


def replacement(match: re.Match) -> str:
    kind, name, more = match.groups()
    path = RESULTS / f"{name}.{'csv' if kind == 'table' else 'png'}"
    if not path.is_file():
        raise PluginError(f"{kind} {name}: {path.name} is missing in benchmarks/results")
    if kind == "figure":
        return f"![{more or name}]({FOLDER}/{path.name})"
    return table(path, [column.strip() for column in (more or "").split(",") if column.strip()])


def table(path: Path, columns: list[str]) -> str:
    """A CSV file in Markdown."""
    values = pd.read_csv(path, dtype=str, keep_default_na=False)
    unknown = set(columns) - set(values.columns)
    if unknown:
        raise PluginError(f"table {path.stem}: no column {', '.join(sorted(unknown))}")
    chosen = values[columns or list(values.columns)].drop_duplicates()
    rows = [list(chosen.columns), ["---"] * chosen.shape[1], *chosen.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
