"""Figures of modes on closed forms."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cartoonists.report.plots import PALETTE, legend_above

CURVES = {"newton": "highest mode (Newton)", "mode": "mode ODE", "hd": "HD-ODE"}
PROCESSES = ["mode ODE", "HD-ODE"]
STYLES = {"newton": "-", "mode": "--", "hd": ":"}


def mode_curves(arrays: Mapping[str, np.ndarray]) -> Figure:
    """Curves of both equations over p_λ on the line, and over p at logsnr_max in the plane."""
    figure, (line, plane) = plt.subplots(1, 2, figsize=(8.4, 3.7), layout="constrained")
    axis, logsnr = arrays["axis"], arrays["logsnr"]
    density = arrays["line_density"].T
    shade = {"cmap": "Greys", "shading": "auto", "rasterized": True}
    line.pcolormesh(logsnr, axis, density / density.max(axis=0), vmax=1.6, **shade)
    plane.pcolormesh(axis, axis, arrays["plane_density"].T ** 0.5, vmax=3.0, **shade)
    colours = dict(zip(CURVES, sns.color_palette(PALETTE)[:3], strict=True))
    for name, label in CURVES.items():
        style = {"color": colours[name], "linestyle": STYLES[name], "linewidth": 1.4}
        paths = arrays[f"line_{name}"][:, :, 0]
        for i, path in enumerate(paths.T):
            line.plot(logsnr, path, label=label if i == 0 else None, **style)
        if name == "newton":
            continue
        for path in arrays[f"plane_{name}"].transpose(1, 0, 2):
            plane.plot(path[:, 0], path[:, 1], **style)
            plane.plot(*path[-1], marker="o", markersize=3, color=colours[name])
    line.set(xlabel="λ (logSNR)", ylabel="x", ylim=(-2, 2), title="1-D mixture, over $p_λ(x)$")
    plane.set(xlabel="$x_1$", ylabel="$x_2$", title="2-D mixture, over $p(x)$ at the end")
    plane.set_aspect("equal")
    for axes in (line, plane):
        axes.grid(False)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def mode_errors(table: pd.DataFrame) -> Figure:
    """Distance of the end points to the nearest mode against D: a row a target, where sound."""
    sound = table[~table["status"].isin(["indefinite", "ill-conditioned"])]
    targets, starts = list(sound["target"].unique()), sorted(sound["logsnr_t"].unique())
    figure, axes = plt.subplots(
        len(targets),
        len(starts),
        figsize=(3.4 * len(starts) + 0.8, 2.2 * len(targets) + 0.4),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for row, target in zip(axes, targets, strict=True):
        for axis, start in zip(row, starts, strict=True):
            here = (table["target"] == target) & (table["logsnr_t"] == start)
            _end_points(axis, sound[here.loc[sound.index]], legend=axis is axes[0, 0])
            ended = int(here.sum() - here.loc[sound.index].sum())
            left_out = f"\n{ended} branches ended" if ended else ""
            axis.set_title(f"{target}, start at λ = {start:g}{left_out}")
    figure.supylabel("RMS distance to the nearest mode [units of x]", fontsize="medium")
    legend_above(figure, axes[0, 0])
    return figure


def _end_points(axis: Axes, table: pd.DataFrame, legend: bool) -> None:
    """Medians and 95% ranges over starts."""
    sns.pointplot(
        table,
        x="dimensions",
        y="error",
        hue="process",
        hue_order=PROCESSES,
        estimator="median",
        errorbar=("pi", 95),
        dodge=0.3,
        linestyle="none",
        markers=["o", "s"],
        palette=PALETTE,
        ax=axis,
        legend=legend,
    )
    axis.set(yscale="log", xlabel="dimensions D", ylabel="")


def mode_cost(table: pd.DataFrame) -> Figure:
    """CPU time and memory of one corrected drift against D, and of a score alone."""
    figure, axes = plt.subplots(1, 2, figsize=(8.0, 3.1), layout="constrained")
    seconds = table.assign(per_sample=table["correction_s"] / table["batch"] * 1e3)
    options = {"x": "dimensions", "errorbar": ("pi", 100), "estimator": "median"}
    common = options | {"hue": "method", "style": "method", "markers": True, "palette": PALETTE}
    sns.lineplot(seconds, y="per_sample", ax=axes[0], **common)
    alone = table.assign(per_sample=table["score_s"] / table["batch"] * 1e3)
    sns.lineplot(alone, y="per_sample", ax=axes[0], color="0.4", label="score alone", **options)
    sns.lineplot(table, y="peak_mb", ax=axes[1], legend=False, **common)
    axes[0].set(ylabel="CPU time a sample and evaluation [ms]", yscale="log")
    axes[1].set(ylabel="rise of the peak memory [MB]", yscale="symlog")
    axes[1].set_ylim(bottom=0)
    for axis in axes:
        axis.set_xscale("log", base=2)
        axis.set_xlabel("dimensions D")
    legend_above(figure, axes[0])
    return figure
