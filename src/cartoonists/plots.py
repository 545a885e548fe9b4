"""Figures in one style: colour-blind-safe, readable in print, with units and uncertainty."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cartoonists.artifacts import atomic
from cartoonists.summaries import bits_by_estimator
from cartoonists.trust import TOLERANCE, keep

PALETTE = "colorblind"
BAND = (2.5, 97.5)  # percentiles of a 95% band


def use_style() -> None:
    """Set the style of all figures of a notebook."""
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
    """Write a figure under each name (PNG, SVG), the record in its metadata."""
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
    """One legend for the whole figure: that of one of its panels."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def tracking_errors(table: pd.DataFrame) -> Figure:
    """Error of each tracker against score evaluations: a row a target, a column a dimension."""
    targets, dimensions = table["target"].unique(), sorted(table["dimensions"].unique())
    trackers = list(table["tracker"].unique())
    colours = dict(zip(trackers, sns.color_palette(PALETTE), strict=False))
    markers = dict(zip(trackers, "osD^vP", strict=False))
    figure, axes = plt.subplots(
        len(targets),
        len(dimensions),
        figsize=(2.6 * len(dimensions) + 0.6, 2.1 * len(targets) + 0.8),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for (target, d, tracker), runs in table.groupby(["target", "dimensions", "tracker"]):
        axis = axes[list(targets).index(target), dimensions.index(d)]
        errors = runs.pivot(index="seed", columns="nfe", values="error_nats") / d
        style = {"color": colours[tracker], "marker": markers[tracker], "label": tracker}
        median_band(axis, list(errors.columns), errors.to_numpy(), markersize=3.5, **style)
    for axis in axes.flat:
        axis.set_xscale("log", base=2)
        axis.set_yscale("symlog", linthresh=1e-3)
        axis.yaxis.set_major_locator(mpl.ticker.SymmetricalLogLocator(base=10, linthresh=1e-3))
        axis.axhline(0, color="0.3", linewidth=0.8)
    for axis, d in zip(axes[0], dimensions, strict=True):
        axis.set_title(f"D = {d}")
    for axis, target in zip(axes[:, 0], targets, strict=True):
        axis.set_ylabel(f"{target}\ntracked - true\n[nats/dimension]")
    for axis in axes[-1]:
        axis.set_xlabel("score evaluations a sample")
    legend_above(figure, axes[0, 0], len(trackers))
    return figure


def keep_on(
    axis: Axes, table: pd.DataFrame, density: str, side: Literal["left", "right"] = "left"
) -> pd.DataFrame:
    """The rows to draw (`cartoonists.trust.keep`); a corner says how many are left out."""
    kept = keep(table, density)
    if left_out := len(table) - len(kept):
        why = f"not finite\nor error above {TOLERANCE:g} nats/dim"
        note = f"{left_out} of {len(table)} not drawn: {why}"
        place = {"left": 0.02, "right": 0.98}[side]
        axis.text(place, 0.98, note, ha=side, va="top", fontsize=7, transform=axis.transAxes)
    return kept


def tracked_against_ode(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Tracked against PF-ODE log-density of the same samples, a panel a model; line: equal.

    Values beyond the tolerance of `cartoonists.trust` are not drawn, but counted.
    """
    figure, (axes,) = panels(tables, width=2.9, height=2.8)
    for axis, table in zip(axes, tables.values(), strict=True):
        kept = keep_on(axis, table, ESTIMATES["PF-ODE"])
        for marker, (tracker, runs) in zip("os", kept.groupby("tracker"), strict=False):
            x = runs["ode_log_density_nats"] / runs["dimensions"]
            y = runs["tracked_log_density_nats"] / runs["dimensions"]
            axis.scatter(x, y, s=9, marker=marker, alpha=0.6, linewidth=0, label=tracker)
        axis.axline((x.iloc[0], x.iloc[0]), slope=1, color="0.3", linewidth=0.8, label="equal")
        axis.set_xlabel("PF-ODE log-density [nats/dim]")
    axes[0].set_ylabel("tracked log-density [nats/dim]")
    legend_above(figure, axes[0], 3)
    return figure


ESTIMATES = {
    "tracked": "tracked_log_density_nats",
    "PF-ODE": "ode_log_density_nats",
    "IWAE": "iwae_log_density_nats",
    "ELBO": "elbo_log_density_nats",
}


def sandwich(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Mean of every log-density of the same samples, with 95% bootstrap intervals."""
    figure, (axes,) = panels(tables, width=2.9, height=2.6)
    for axis, table in zip(axes, tables.values(), strict=True):
        table = keep(table, ESTIMATES["PF-ODE"])
        long = table.melt(["tracker", "dimensions"], ESTIMATES.values(), "estimate", "nats")
        long["estimate"] = long["estimate"].map({v: k for k, v in ESTIMATES.items()})
        long["per_dim"] = long["nats"] / long["dimensions"]
        sns.pointplot(
            long,
            x="estimate",
            y="per_dim",
            hue="tracker",
            errorbar=("ci", 95),
            seed=0,
            dodge=0.3,
            linestyle="none",
            markers=["o", "s"],
            ax=axis,
            legend=axis is axes[0],
        )
        axis.set_xlabel("")
        axis.set_ylabel("mean log-density [nats/dim]" if axis is axes[0] else "")
    sns.move_legend(axes[0], "best", title="samples of")
    return figure


def held_out(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """bits/dim of held-out images (`bits_by_estimator`): each, and the mean with interval."""
    figure, (axes,) = panels(tables, width=2.6, height=2.6)
    names = {"elbo": "ELBO", "iwae": "IWAE", "ode": "PF-ODE"}
    for axis, table in zip(axes, tables.values(), strict=True):
        long = bits_by_estimator(table).rename(columns=names).melt()
        if not long["value"].notna().any():  # no images here, or a density of latents
            axis.text(0.5, 0.5, "no bits/dim", ha="center", transform=axis.transAxes)
            axis.set(xticks=[], yticks=[])
            continue
        sns.stripplot(long, x="variable", y="value", size=2.5, alpha=0.5, jitter=0.2, ax=axis)
        sns.pointplot(
            long,
            x="variable",
            y="value",
            errorbar=("ci", 95),
            seed=0,
            color="0.15",
            linestyle="none",
            markers="_",
            ax=axis,
        )
        axis.set_xlabel("")
        axis.set_ylabel("held-out images [bits/dim]" if axis is axes[0] else "")
    return figure


def high_density_gains(table: pd.DataFrame) -> Figure:
    """Gain in true log-density of HD over ordinary samples against the switch point."""
    targets = table["target"].unique()
    figure, axes = panels(targets, width=2.9, sharey=True)
    gain = table["log_density_nats"] - table["ordinary_log_density_nats"]
    table = table.assign(gain=gain / table["dimensions"])
    for axis, target in zip(axes[0], targets, strict=True):
        part = table[table["target"] == target]
        for marker, (d, runs) in zip("osD^vP", part.groupby("dimensions"), strict=False):
            gains = runs.pivot(index="seed", columns="switch_logsnr", values="gain")
            style = {"marker": marker, "label": f"D = {d}", "markersize": 4}
            median_band(axis, list(gains.columns), gains.to_numpy(), **style)
        axis.axhline(0, color="0.3", linewidth=0.8)
        axis.set_xlabel("switch point λ (logSNR)")
    axes[0, 0].set_ylabel("log-density, HD - ordinary\n[nats/dimension]")
    legend_above(figure, axes[0, 0])
    return figure
