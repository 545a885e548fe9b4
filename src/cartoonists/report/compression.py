"""Figures of the log-density against file sizes and local dimension; a panel a model."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cartoonists.report.plots import (
    KINDS,
    PALETTE,
    SWITCH,
    Tables,
    keep_on,
    legend_above,
    panels,
    with_bars,
)
from cartoonists.statistics.claims import Interval


def _scatter_kinds(axis: Axes, table: pd.DataFrame, x: str, y: str, per_dim: bool) -> None:
    scale = table["dimensions"] if per_dim else 1.0
    table = table.assign(**{y: table[y] / scale})
    branch = table[table["kind"] == "high-density"]
    axis.scatter(
        branch[x], branch[y], c=branch["switch_logsnr"], cmap="viridis", s=5, alpha=0.5, linewidth=0
    )
    colours = sns.color_palette(PALETTE)
    for kind, colour, marker in (("ordinary", "black", "o"), ("data", colours[3], "^")):
        part = table[table["kind"] == kind]
        axis.scatter(
            part[x], part[y], s=9, color=colour, marker=marker, alpha=0.7, linewidth=0,
            label=KINDS[kind],
        )  # fmt: skip


def png_scatter(tables: Tables) -> Figure:
    """Log-density against PNG size; below each panel Pearson's correlation within each kind."""
    figure, axes = panels(tables, height=3.0)
    for axis, table in zip(axes[0], tables.values(), strict=True):
        table = keep_on(axis, table, "log_density_nats")
        _scatter_kinds(axis, table, "png_bytes", "log_density_nats", per_dim=True)
        lines = [
            f"{KINDS[kind]}: r = {part['png_bytes'].corr(part['log_density_nats']):.2f}"
            for kind, part in table.groupby("kind", sort=False)
        ]
        axis.set_xlabel("\n".join(["PNG size [bytes]", *lines]))
    axes[0, 0].set_ylabel("log-density [nats/dim]")
    legend_above(figure, axes[0, 0], 2)
    _switch_bar(figure, axes, tables)
    return figure


def _switch_bar(figure: Figure, axes: np.ndarray, tables: Tables) -> None:
    values = pd.concat([t["switch_logsnr"] for t in tables.values()])
    norm = mpl.colors.Normalize(values.min(), values.max())
    mappable = mpl.cm.ScalarMappable(norm, "viridis")
    figure.colorbar(mappable, ax=axes, label=f"HD: {SWITCH}", shrink=0.8)


def codec_correlations(tables: Tables) -> Figure:
    """Pearson correlation of log-density with every size, within each kind of images."""
    figure, axes = panels(tables, height=3.2, sharey=True)
    for axis, table in zip(axes[0], tables.values(), strict=True):
        chosen = (table["statistic"] == "pearson") & (table["x"] == "log_density_nats")
        rows = table[chosen & ~table["y"].str.startswith("lid_at_")]
        names = list(rows["y"].unique())
        for shift, (kind, part) in enumerate(rows.groupby("kind", sort=False)):
            found = [Interval(*r) for r in part[["value", "ci_low", "ci_high"]].to_numpy()]
            place = np.arange(len(names)) + 0.2 * (shift - 1)
            with_bars(axis, place, found, marker="osD"[shift], linestyle="none", label=KINDS[kind])
        labels = [name.removesuffix("_bytes").replace("_", " ") for name in names]
        axis.set_xticks(range(len(names)), labels, rotation=60, ha="right")
        axis.axhline(0, color="0.3", linewidth=0.8)
        axis.set_ylim(-1.05, 1.05)
    axes[0, 0].set_ylabel("Pearson correlation of size\nwith log-density")
    legend_above(figure, axes[0, 0], 3)
    return figure


def dimension_scatter(tables: Tables) -> Figure:
    """Local intrinsic dimension, at the middle noise level, against log-density and PNG size."""
    figure, axes = panels(tables, 2)
    for column, table in zip(axes.T, tables.values(), strict=True):
        table = keep_on(column[0], table, "log_density_nats")
        names = [name for name in table if name.startswith("lid_at_")]
        name = names[len(names) // 2]
        for axis, x in zip(column, ("log_density_nats", "png_bytes"), strict=True):
            shown = table.assign(log_density_nats=table["log_density_nats"] / table["dimensions"])
            _scatter_kinds(axis, shown, x, name, per_dim=False)
        column[0].set_xlabel("log-density [nats/dim]")
        column[1].set_xlabel("PNG size [bytes]")
        level = name.removeprefix("lid_at_")
        column[0].set_ylabel(f"local dimension at λ = {level}")
        column[1].set_ylabel(f"local dimension at λ = {level}")
    legend_above(figure, axes[0, 0], 2)
    _switch_bar(figure, axes, tables)
    return figure
