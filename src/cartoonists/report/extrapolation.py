"""Figures of the question whether cartoons are in the density or in the network."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cartoonists.report.plots import PALETTE, legend_above, panels
from cartoonists.statistics.extrapolation import (
    EXACT,
    FLATNESS,
    ORDINARY,
    TRUE,
    overestimate,
    per_dimension,
)

MARKERS = ["o", "s", "D", "^", "v", "P", "X", "<", ">", "*"]
TILE, LABEL = 0.62, 1.6  # inches of an image and of the names of the rows
POINTS = {  # of every plot of means, with 95% bootstrap intervals over seeds
    "errorbar": ("ci", 95),
    "seed": 0,
    "linestyle": "none",
    "palette": PALETTE,
    "markersize": 5,
    "err_kws": {"linewidth": 1.2},
}


def kind_names(table: pd.DataFrame, other: str = ORDINARY) -> list[str]:
    """*HD from …* of each switch point, rising, then the name of what has none."""
    return [f"HD from {s:g}" for s in sorted(table["switch_logsnr"].dropna().unique())] + [other]


def kinds_of(table: pd.DataFrame, other: str = ORDINARY) -> list[str]:
    """Each row's name among `kind_names`."""
    return [other if np.isnan(s) else f"HD from {s:g}" for s in table["switch_logsnr"]]


def densities(table: pd.DataFrame) -> Figure:
    """True log-density and flatness of all samples by switch point; means with 95% intervals."""
    figure, (axes,) = panels(["how dense", "how flat"], width=4.2, height=3.0)
    values = {"true log p, equal noise [nats/dim]": per_dimension(table, TRUE)}
    values["neighbour difference [grey levels]"] = table[FLATNESS]
    scores = table["score"].nunique()
    for axis, (label, column) in zip(axes, values.items(), strict=True):
        sns.pointplot(
            table.assign(kind=kinds_of(table), value=column), x="kind", y="value", hue="score",
            order=kind_names(table), dodge=0.35, markers=MARKERS[:scores], ax=axis, **POINTS,
        )  # fmt: skip
        axis.set(xlabel="", ylabel=label)
        axis.tick_params(axis="x", rotation=25)
    _one_legend(figure, axes)
    return figure


def _one_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """The first panel's, above the figure; none in the panels."""
    legend_above(figure, axes[0], 6)
    for axis in axes[1:]:
        if (legend := axis.get_legend()) is not None:
            legend.remove()


def freedom(table: pd.DataFrame, errors: pd.DataFrame) -> Figure:
    """Own minus true log p against the width, and the widest network's error along λ."""
    widest, names = errors["score"].unique()[-1], kind_names(table)
    titles = ["own log p - true log p", f"error of the score, {widest}"]
    figure, ((left, right),) = panels(titles, width=4.2, height=3.2)
    learned = table[table["score"] != EXACT]
    units = learned["score"].str.removesuffix(" units")
    learned = learned.assign(value=overestimate(learned), kind=kinds_of(learned), units=units)
    common = {"hue": "kind", "hue_order": names, "markers": MARKERS[: len(names)]}
    sns.pointplot(learned, x="units", y="value", dodge=0.3, ax=left, **common, **POINTS)
    left.axhline(0, color="0.3", linewidth=0.8)
    left.set(xlabel="units in a hidden layer", ylabel="at the same point [nats/dim]")
    part = errors[errors["score"] == widest]
    sns.lineplot(
        part.assign(kind=kinds_of(part)), x="logsnr", y="squared_error", style="kind",
        style_order=names, dashes=False, errorbar=("ci", 95), seed=0, palette=PALETTE,
        markersize=5, ax=right, **common,
    )  # fmt: skip
    right.set(yscale="log", xlabel="λ (logSNR)", ylabel="mean squared error of ε")
    _one_legend(figure, (left, right))
    return figure


def pictures(
    shown: Mapping[str, np.ndarray], scores: Mapping[str, Mapping[str, np.ndarray]], n: int
) -> Figure:
    """A row a kind of image, a column a seed: data, draws, then each score's samples.

    ``shown`` holds *data* and *draws* ``[m, 1, side, side]``; ``scores`` the arrays of
    `experiments.extrapolation.judge_samples`; the exact score and the last network are shown.
    """
    rows = [("images fitted", shown["data"][:n]), ("draws of the fit", shown["draws"][:n])]
    for name in dict.fromkeys([EXACT, list(scores)[-1]]):
        arrays = scores[name]
        switches = [f"HD from {s:g}" for s in arrays["switch_logsnr"]]
        for kind, images in zip([ORDINARY, *switches], arrays["images"], strict=True):
            rows.append((f"{name}, {kind}", images[:n]))
    return image_rows(rows)


def image_rows(rows: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """Grey images ``[n, 1, side, side]`` of each named row, side by side, no two blended."""
    from matplotlib import pyplot as plt

    n = max(len(images) for _, images in rows)
    figure, axes = plt.subplots(
        len(rows), n, figsize=(n * TILE + LABEL, len(rows) * TILE), squeeze=False,
        gridspec_kw={"left": LABEL / (n * TILE + LABEL), "right": 1, "bottom": 0, "top": 1,
                     "wspace": 0.06, "hspace": 0.06},
    )  # fmt: skip
    for (name, images), line in zip(rows, axes, strict=True):
        for axis in line:
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            sns.despine(ax=axis, left=True, bottom=True)
        for image, axis in zip(images, line, strict=False):
            axis.imshow(image[0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    return figure


def synthetic_pictures(arrays: Mapping[str, np.ndarray], n: int) -> Figure:
    """Draws of the synthetic density, and HD samples of its exact score from each switch point."""
    names = ["draws", *(f"HD from {s:g}" for s in arrays["switch_logsnr"])]
    return image_rows(list(zip(names, arrays["images"][:, :n], strict=True)))


def synthetic(table: pd.DataFrame) -> Figure:
    """PNG size against the true log-density of each image; texture left by switch point."""
    figure, (axes,) = panels(["size", "texture"], width=4.0, height=3.2)
    left, right = axes
    names = kind_names(table, "draw")
    density = per_dimension(table, "log_density_nats")
    table = table.assign(kind=kinds_of(table, "draw"), density=density)
    common = {"hue": "kind", "hue_order": names, "palette": PALETTE}
    sns.scatterplot(
        table, x="density", y="png_bytes", style="kind", style_order=names, s=14, alpha=0.7,
        markers=MARKERS[: len(names)], linewidth=0, ax=left, **common,
    )  # fmt: skip
    left.set(xlabel="true log p [nats/dim]", ylabel="PNG [bytes]")
    sns.pointplot(
        table, x="kind", y="texture", order=names, errorbar=("pi", 95), estimator="median",
        linestyle="none", markers=MARKERS[: len(names)], markersize=5, legend=False,
        err_kws={"linewidth": 1.2}, ax=right, **common,
    )  # fmt: skip
    right.set(xlabel="", ylabel="RMS distance to the nearest\nflat image [grey levels]")
    right.tick_params(axis="x", rotation=25)
    _one_legend(figure, axes)
    return figure
