"""Files that the report shows: tables, and figures as PNG, with its caption, and as SVG."""

from collections.abc import Iterable

from snakemake.io import expand, report


def figure(name: str, shows: str, category: str, subcategory: str | None = None) -> list[str]:
    """The two files of a figure; ``shows`` is its label in the report.

    Its caption is workflow/report/``name``.rst.
    """
    place = _place(name, category, subcategory, labels={"figure": shows})
    return [report(f"results/figures/{name}.png", **place), f"results/figures/{name}.svg"]


def figures(name: str, models: Iterable[str], *place: str) -> list[str]:
    """The two files of a figure for each model; ``place`` is category and subcategory."""
    files = [f"results/figures/{name}/{{model}}.{kind}" for kind in ("png", "svg")]
    png, svg = (expand(file, model=models) for file in files)
    return [*report(png, **_place(name, *place)), *svg]


def shown_table(name: str, shows: str, category: str):
    """The file of a table under results/ that the report shows, with its caption and label."""
    return report(f"results/{name}.csv", **_place(name, category, labels={"table": shows}))


def _place(name: str, category: str, subcategory: str | None = None, **more: dict) -> dict:
    """Keywords of Snakemake's ``report``; the caption is relative to a folder of rules."""
    caption = f"../report/{name}.rst"
    return {"caption": caption, "category": category, "subcategory": subcategory, **more}
