"""Figures of the benchmarks, PNG and SVG."""

from pathlib import Path

import pandas as pd
import seaborn as sns


def error_curves(
    table: pd.DataFrame,
    path: Path,
    *,
    error: str = "median_nats",
    unit: str = "nats",
    least: float = 0.05,
    column: str = "target",
    row: str | None = None,
) -> None:
    """Median absolute error against evaluations, one panel a column and row, one line a method.

    Errors below ``least`` (exact methods) are drawn at the lower edge.
    """
    table = table.assign(**{error: table[error].clip(lower=least)})
    sns.set_theme(style="whitegrid", palette="colorblind")
    grid = sns.relplot(
        table, x="nfe", y=error, hue="method", style="method", col=column, row=row, kind="line",
        markers=True, dashes=False, height=3.0, aspect=1.15, facet_kws={"sharey": "row"},
    )  # fmt: skip
    grid.set(xscale="log", yscale="log")
    grid.set_axis_labels("network evaluations a sample", f"median |error| ({unit})")
    grid.set_titles("{row_name}: {col_name}" if row else "{col_name}")
    sns.move_legend(grid, "upper center", bbox_to_anchor=(0.45, 0), ncol=3, title=None)
    for suffix in (".png", ".svg"):
        grid.savefig(path.with_suffix(suffix), dpi=150)
