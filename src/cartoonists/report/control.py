"""Figures of density control; a panel a model."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cartoonists.report.plots import (
    PALETTE,
    Tables,
    keep_on,
    legend_above,
    legend_below,
    median_band,
    panels,
    with_bars,
)
from cartoonists.statistics.claims import Bootstrap, Interval
from cartoonists.statistics.estimates import correlation, share


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
        legend_below(axis)
        axis.set_xticks(
            sorted(table["steps"].unique()), sorted(table["steps"].unique()), minor=False
        )
        axis.minorticks_off()
    axes[0].set_ylabel("tracked - true, RMS [nats]")
    return figure


def control_curves(tables: Tables) -> Figure:
    """Log-density reached against the strength: mean and 95% bootstrap interval a control.

    Values of image models beyond the tolerance of `statistics.trust` are not drawn, but counted.
    """
    figure, (axes,) = panels(tables, width=3.0, height=2.8)
    for axis, table in zip(axes, tables.values(), strict=True):
        if "error_nats" in table:
            table = keep_on(axis, table, "log_density_nats")
        per_dim = table.assign(value=table["log_density_nats"] / table["dimensions"])
        sns.lineplot(
            per_dim,
            x="strength",
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
        axis.set_xlabel("strength z")
        axis.set_ylabel("log-density reached [nats/dim]" if axis is axes[0] else "")
    legend_above(figure, axes[0], 3)
    return figure


def control_detail(measures: Tables, sets: Tables) -> Figure:
    """Detail, distance to the data and recognisability at each strength, a column a model.

    ``measures`` and ``sets`` are the tables of `experiments.control.guided_measures` and
    `guided_sets`.  Above the ratio to strength 0 of the same seed, median and 95% band; then the
    Fréchet distance as a ratio with its jackknife interval; below the share of images that the
    classifier is sure of, with Wilson's.  What a model has no data or classifier for says so.
    """
    figure, axes = panels(measures, 3, height=1.8, sharex="col")
    for column, table, found in zip(axes.T, measures.values(), sets.values(), strict=True):
        for name, label in (("gradient_energy", "gradient energy"), ("png_bytes", "PNG bytes")):
            values = table.pivot(index="seed", columns="strength", values=name)
            ratios = values.div(values[0.0], axis=0)
            median_band(column[0], ratios.columns, ratios.to_numpy(), marker="o", label=label)
        _distances(column[1], found[found["measure"].str.contains("frechet|FID")])
        _sure(column[2], table)
        for axis in column[:2]:
            axis.axhline(1, color="0.5", linewidth=0.8, linestyle=":")
        column[2].set_xlabel("strength z")
    axes[0, 0].set_ylabel("to strength 0\n[ratio]")
    axes[1, 0].set_ylabel("Fréchet distance\nto strength 0 [ratio]")
    axes[2, 0].set_ylabel("surely classified\n[share of images]")
    axes[0, 0].legend(fontsize="x-small")
    return figure


def _distances(axis: Axes, found: pd.DataFrame) -> None:
    if found.empty:
        _missing(axis, "too few real images")
        return
    found = found.sort_values("strength")
    ends = zip(found["ratio"], found["ratio_ci_low"], found["ratio_ci_high"], strict=True)
    with_bars(axis, found["strength"], [Interval(*end) for end in ends], marker="o", color="0.2")


def _sure(axis: Axes, table: pd.DataFrame) -> None:
    if "surely_classified" not in table:
        _missing(axis, "no classifier")
        return
    sure = table["surely_classified"].groupby(table["strength"])
    found = [share(part).interval(Bootstrap()) for _, part in sure]
    with_bars(axis, sorted(sure.groups), found, marker="o", color="0.2")
    axis.set_ylim(0, 1.02)


def _missing(axis: Axes, why: str) -> None:
    axis.text(0.5, 0.5, why, ha="center", va="center", transform=axis.transAxes)
    axis.set_yticks([])


def alignment_curves(tables: Tables, bootstrap: Bootstrap) -> Figure:
    """Score alignment with and without the score along λ, and how the two correlate.

    Above both forms, median and 95% band over seeds; below Pearson's correlation over seeds.
    """
    figure, axes = panels(tables, 2)
    for column, table in zip(axes.T, tables.values(), strict=True):
        levels = sorted(table["logsnr_end"].unique())
        for marker, name in zip("os", ("with", "without"), strict=True):
            values = table.pivot(index="seed", columns="logsnr_end", values=f"{name}_score_nats")
            style = {"marker": marker, "markersize": 3.5, "label": f"{name} the score"}
            median_band(column[0], levels, values[levels].to_numpy(), **style)
        found = [
            correlation(part["with_score_nats"], part["without_score_nats"]).interval(bootstrap)
            for _, part in table.groupby("logsnr_end")
        ]
        with_bars(column[1], levels, found, marker="o", linewidth=0.8, color="0.2")
        if max(map(abs, column[0].get_ylim())) > 10 * values.abs().median().max():
            column[0].set_yscale("symlog", linthresh=float(values.abs().median().max()))
        column[1].axvline(1, color="0.5", linewidth=0.8, linestyle=":")
        column[1].set_ylim(-1.05, 1.05)
        column[1].set_xlabel("noise level λ (logSNR)")
    axes[0, 0].set_ylabel("alignment [nats]")
    axes[1, 0].set_ylabel("Pearson correlation\nof the two forms")
    legend_above(figure, axes[0, 0], 2)
    return figure


def control_rows(images: np.ndarray, strengths: Sequence[float], shown: int = 6) -> Figure:
    """A row a seed, from low to high density; images uint8 ``[k, n, c, h, w]``."""
    shown = min(shown, images.shape[1])
    figure, axes = plt.subplots(
        shown,
        len(strengths),
        figsize=(0.9 * len(strengths), 0.9 * shown + 0.3),
        squeeze=False,
        layout="constrained",
    )
    for j, strength in enumerate(strengths):
        axes[0, j].set_title(f"z = {strength:g}")
        for i in range(shown):
            _draw(axes[i, j], images[j, i])
    return figure


def _draw(axis: Axes, image: np.ndarray) -> None:
    grey = image.shape[0] == 1
    axis.imshow(image[0] if grey else image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255)
    axis.set_axis_off()
