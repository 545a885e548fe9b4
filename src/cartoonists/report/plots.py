"""Figures in one style: colour-blind-safe, readable in print, with units and uncertainty."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cartoonists.files.artifacts import atomic
from cartoonists.statistics.claims import Interval
from cartoonists.statistics.trust import keep

PALETTE = "colorblind"
BAND = (2.5, 97.5)  # percentiles of a 95% band
FAR = 10.0  # nats/dim, from which a linear axis would hide all else
SWITCH = "switch point λ (logSNR)"
KINDS = {"data": "real images", "ordinary": "ordinary samples", "high-density": "HD samples"}
Tables = Mapping[str, pd.DataFrame]  # of each model, by its name


def use_style() -> None:
    """Set the style of all figures of a notebook, whatever a ``matplotlibrc`` of the user says."""
    plt.rcdefaults()
    sns.set_theme(
        context="paper",
        style="ticks",
        palette=PALETTE,
        font_scale=1.1,
        rc={
            "figure.dpi": 110,
            "savefig.dpi": 200,
            "savefig.bbox": "tight",
            "svg.fonttype": "none",
            "svg.hashsalt": "cartoonists",
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "legend.frameon": False,
        },
    )


def save(figure: Figure, paths: Iterable[str | Path], record: Mapping | None = None) -> None:
    """Write a figure under each name (PNG, SVG), the record in its metadata.

    Its panels are laid out once, for all files and for a notebook that shows it: of many panels
    that takes longer than drawing them.
    """
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
    text = json.dumps(dict(record or {}), sort_keys=True, default=str)
    for name in paths:
        kind = Path(name).suffix.removeprefix(".")
        metadata = {"Description": text}
        if kind == "svg":
            metadata["Date"] = ""  # the same bytes for the same figure
        with atomic(name) as temporary:
            figure.savefig(temporary, format=kind, metadata=metadata)


def median_band(axis: Axes, x: Sequence[float], values: np.ndarray, **style) -> None:
    """Median of each column of ``values [samples, len(x)]`` as a line, its 95% band shaded."""
    low, high = np.percentile(values, BAND, axis=0)
    (line,) = axis.plot(x, np.median(values, axis=0), **style)
    axis.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)


def panels(
    titles: Iterable[str], rows: int = 1, width: float = 2.8, height: float = 2.3, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A column a title, ``width`` and ``height`` of a panel in inches; axes ``[rows, columns]``."""
    names = list(titles)
    size = (width * len(names) + 0.7, height * rows + 0.6)
    figure, axes = plt.subplots(
        rows, len(names), figsize=size, squeeze=False, layout="constrained", **options
    )
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name)
    return figure, axes


def legend_above(figure: Figure, axis: Axes, columns: int = 4) -> None:
    """One legend for the whole figure: that of one of its panels, which has none then."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)
    if (legend := axis.get_legend()) is not None:
        legend.remove()


def legend_below(axis: Axes, columns: int = 2) -> None:
    """The legend of one panel, under it."""
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=columns, fontsize=7)


def keep_on(axis: Axes, table: pd.DataFrame, density: str) -> pd.DataFrame:
    """The rows to draw (`keep` of `statistics.trust`); the title says how many are left out."""
    kept = keep(table, density)
    if left_out := len(table) - len(kept):
        axis.set_title(f"{axis.get_title()}\n{left_out} of {len(table)} not drawn")
    return kept


def with_bars(
    axis: Axes, x: Sequence[float] | np.ndarray, intervals: Sequence[Interval], **style
) -> None:
    """Points with the two ends of their intervals as error bars."""
    y = np.array([i.value for i in intervals])
    ends = np.array([[i.value - i.low, i.high - i.value] for i in intervals]).T
    axis.errorbar(x, y, yerr=np.maximum(ends, 0), capsize=2, markersize=4, **style)
