"""Figures of critical windows."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from cartoonists.report.plots import Tables, legend_above, median_band, panels, with_bars
from cartoonists.statistics.claims import Bootstrap
from cartoonists.statistics.estimates import share


def mixture_windows(table: pd.DataFrame, windows: pd.DataFrame) -> Figure:
    """Share kept against λ, measured and predicted, with branch jumps: a panel a target.

    Shaded: from T_lower to T_upper of ``windows``.
    """
    figure, (axes,) = panels(table["target"].unique(), width=3.0, height=2.8, sharey=True)
    ends = windows.set_index("target")
    for axis, (target, part) in zip(axes, table.groupby("target", sort=False), strict=True):
        lower, upper = ends.loc[target, ["t_lower_logsnr", "t_upper_logsnr"]]
        axis.axvspan(lower, upper, color="0.88", linewidth=0, label="$T_{lower}$ to $T_{upper}$")
        means = part.groupby("logsnr").mean(numeric_only=True)
        axis.plot(means.index, means["predicted"], color="0.2", label="predicted from pairs")
        for column, marker, label in (
            ("own_probability", ".", "exact, E r"),
            ("kept_sde", "o", "kept, SDE"),
            ("kept_hd", "s", "kept, HD-ODE"),
            ("branch_jumped", "x", "mode branch jumped"),
        ):
            if column in means and means[column].notna().any():
                style: dict[str, Any] = {"linestyle": "none", "markersize": 5, "label": label}
                axis.plot(means.index, means[column], marker, **style)
        axis.set_xlabel("noised to λ (logSNR)")
    axes[0].set_ylabel("share of samples")
    legend_above(figure, axes[0], 6)
    return figure


def model_windows(tables: Tables, switches: Sequence[float]) -> Figure:
    """Share that keeps its class against λ, and the detail of HD images from the same λ."""
    figure, axes = panels(tables, 2, width=3.0, height=2.1, sharex=True)
    for (top, bottom), table in zip(axes.T, tables.values(), strict=True):
        for label, left, right, style in (
            ("SDE keeps the class", "label_sde", "label", "o-"),
            ("HD-ODE keeps the class", "label_hd", "label", "s-"),
            ("two draws agree: predicted", "label_sde", "label_again", "^--"),
        ):
            same = (table[left] == table[right]).groupby(table["logsnr"])
            levels = list(same.groups)
            found = [share(hits).interval(Bootstrap()) for _, hits in same]
            with_bars(top, levels, found, fmt=style, label=label)
        ratio = table["hd_gradient_energy"] / table["gradient_energy"]
        values = table.assign(ratio=ratio).pivot(index="seed", columns="logsnr", values="ratio")
        median_band(bottom, list(values.columns), values.to_numpy(), marker="s", markersize=4)
        bottom.axhline(1, color="0.3", linewidth=0.8)
        for axis in (top, bottom):
            for switch in switches:
                axis.axvline(switch, color="0.6", linewidth=0.7, linestyle=":")
        bottom.set_xlabel("noised to λ = HD switch point (logSNR)")
    axes[0, 0].set_ylabel("share of samples")
    axes[1, 0].set_ylabel("gradient energy, HD / SDE")
    legend_above(figure, axes[0, 0], 3)
    return figure
