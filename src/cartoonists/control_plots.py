"""Figures of density control and of critical windows; they draw tables and compute no model."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cartoonists.plots import PALETTE, keep_on, legend_above, median_band, panels

Tables = Mapping[str, pd.DataFrame]


def path_convergence(table: pd.DataFrame) -> Figure:
    """Root mean square of tracked minus true log-density against steps, a line a process."""
    titles = ["noise: Euler–Maruyama", "no noise: Heun"]
    figure, (axes,) = panels(titles, width=3.0, height=2.8, sharey=True)
    for axis, (_, part) in zip(axes, table.groupby("solver"), strict=True):
        for colour, (name, runs) in zip(
            sns.color_palette(PALETTE), part.groupby("process", sort=False), strict=False
        ):
            rms = runs["error_nats"].pow(2).groupby(runs["steps"]).mean().pow(0.5)
            axis.loglog(rms.index, rms, marker="o", markersize=4, color=colour, label=name)
        axis.set_xlabel("steps")
        axis.legend(fontsize="xx-small")
        axis.set_xticks(
            sorted(table["steps"].unique()), sorted(table["steps"].unique()), minor=False
        )
        axis.minorticks_off()
    axes[0].set_ylabel("tracked - true, RMS [nats]")
    return figure


def control_curves(tables: Tables) -> Figure:
    """Log-density reached against the quantile: mean and 95% bootstrap interval a control.

    Values of image models beyond the tolerance of `cartoonists.trust` are not drawn, but counted.
    """
    figure, (axes,) = panels(tables, width=3.0, height=2.8)
    for axis, table in zip(axes, tables.values(), strict=True):
        if "error_nats" in table:
            table = keep_on(axis, table, "log_density_nats")
        per_dim = table.assign(value=table["log_density_nats"] / table["dimensions"])
        sns.lineplot(
            per_dim,
            x="quantile",
            y="value",
            hue="control",
            style="control",
            markers=True,
            dashes=False,
            errorbar=("ci", 95),
            err_style="bars",
            seed=0,
            ax=axis,
            legend=axis is axes[0],
        )
        axis.set_xlabel("quantile q")
        axis.set_ylabel("log-density reached [nats/dim]" if axis is axes[0] else "")
    legend_above(figure, axes[0], 3)
    axes[0].legend().remove()
    return figure


def control_rows(images: np.ndarray, quantiles: Sequence[float], shown: int = 6) -> Figure:
    """A row a seed, from low to high density; images uint8 ``[q, n, c, h, w]``."""
    shown = min(shown, images.shape[1])
    figure, axes = plt.subplots(
        shown,
        len(quantiles),
        figsize=(0.9 * len(quantiles), 0.9 * shown + 0.3),
        squeeze=False,
        layout="constrained",
    )
    for j, q in enumerate(quantiles):
        axes[0, j].set_title(f"q = {q:g}")
        for i in range(shown):
            _draw(axes[i, j], images[j, i])
    return figure


def _draw(axis: Axes, image: np.ndarray) -> None:
    grey = image.shape[0] == 1
    axis.imshow(image[0] if grey else image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255)
    axis.set_axis_off()


def mixture_windows(table: pd.DataFrame) -> Figure:
    """Share kept against λ, measured and predicted, with branch jumps: a panel a target."""
    figure, (axes,) = panels(table["target"].unique(), width=3.0, height=2.8, sharey=True)
    for axis, (_, part) in zip(axes, table.groupby("target", sort=False), strict=True):
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
    legend_above(figure, axes[0], 5)
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
            error = 1.96 * same.sem()
            top.errorbar(
                error.index,
                same.mean(),
                yerr=error,
                fmt=style,
                capsize=2,
                markersize=4,
                label=label,
            )
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
