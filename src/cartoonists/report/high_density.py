"""Figures of high-density samples: images, gains, detail, diversity; a panel a model."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cartoonists.report.plots import (
    KINDS,
    SWITCH,
    Tables,
    legend_above,
    median_band,
    panels,
    with_bars,
)
from cartoonists.statistics.claims import Bootstrap, Interval
from cartoonists.statistics.summaries import bound_gains, gains

DETAIL = {
    "gradient_energy": "gradient energy",
    "fine_power": "power of fine waves",
    "png_bytes": "PNG bytes",
    "distinct_colours": "distinct colours",
    "edge_share": "energy in the strongest tenth of gradients",
}
DIVERSITY = {
    "mean_pairwise_distance": "mean pairwise distance\n[feature units]",
    "vendi_score": "Vendi score\n[effective images]",
}


DISTANCE = "Fréchet distance to data\n[squared feature units]"


def _ramp(n: int) -> list:
    return sns.color_palette("viridis", n)


def image_grid(found: Mapping[str, np.ndarray], table: pd.DataFrame, title: str) -> Figure:
    """Images by switch point, ordinary samples first; log-density and PNG bytes under each.

    The log-density is that of the image shown with the noise of its seed at the largest λ.
    ``found`` holds ``images [k + 1, n, c, h, w]``, ``seeds`` and ``switch_logsnr``; ``table`` the
    rows of the same samples.
    """
    images = found["images"]
    names = ["ordinary", *(f"HD from\nλ = {s:g}" for s in found["switch_logsnr"])]
    figure, axes = plt.subplots(
        *images.shape[:2],
        figsize=(1.05 * images.shape[1] + 0.8, 1.3 * len(images) + 0.4),
        squeeze=False,
        layout="constrained",
    )
    for i, (name, rows) in enumerate(zip(names, _rows_of(found, table), strict=True)):
        for axis, image, row in zip(axes[i], images[i], rows, strict=True):
            _picture(axis, image, row)
        axes[i, 0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.suptitle(f"{title}: log-density at equal noise [nats/dim], PNG [bytes]")
    return figure


def _rows_of(found: Mapping[str, np.ndarray], table: pd.DataFrame) -> list[list[pd.Series]]:
    """The row of every image: by switch point, ordinary samples first, and by seed."""
    keyed = table.assign(switch=table["switch_logsnr"].fillna(np.inf).round(6))
    keyed = keyed.set_index(["switch", "seed"])
    switches = [np.inf, *(round(float(s), 6) for s in found["switch_logsnr"])]
    return [[keyed.loc[(switch, seed)] for seed in found["seeds"]] for switch in switches]


def low_to_high(models: Mapping[str, tuple[Mapping[str, np.ndarray], pd.DataFrame]]) -> Figure:
    """A row a model: the images of its first seed from low to high log-density, with its error.

    ``models`` gives the arrays and the table that `image_grid` takes.
    """
    columns = max(len(found["images"]) for found, _ in models.values())
    size = (1.25 * columns, 1.7 * len(models))
    options: dict[str, Any] = {"figsize": size, "squeeze": False, "layout": "constrained"}
    figure, axes = plt.subplots(len(models), columns, **options)
    for line, (found, table) in zip(axes, models.values(), strict=True):
        rows = [of_seeds[0] for of_seeds in _rows_of(found, table)]
        order = np.argsort([row["log_density_nats"] for row in rows])
        for axis, i in zip(line, order, strict=False):
            _picture(axis, found["images"][i, 0], rows[i])
            switch = rows[i]["switch_logsnr"]
            name = "ordinary" if np.isnan(switch) else f"HD from λ = {switch:.2g}"
            axis.set_title(name, fontsize=8)
            value, error = rows[i][["log_density_nats", "error_nats"]] / rows[i]["dimensions"]
            axis.set_xlabel(f"{value:.2f} ± {error:.2f}", fontsize=8)
        for axis in line[len(order) :]:
            axis.set_axis_off()
    figure.supxlabel("log-density at equal noise [nats/dim]", fontsize=9)
    return figure


def _picture(axis: Axes, image: np.ndarray, row: pd.Series) -> None:
    shown = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    axis.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    sns.despine(ax=axis, left=True, bottom=True)
    per_dim = row["log_density_nats"] / row["dimensions"]
    axis.set_xlabel(f"{per_dim:.2f}, {row['png_bytes']:.0f}", fontsize=7, labelpad=1)


def gain_curves(tables: Tables, bootstrap: Bootstrap) -> Figure:
    """Gain of HD over ordinary samples at equal noise, and the share of pairs with HD higher."""
    figure, axes = panels(tables, 2, sharex="col")
    for column, table in zip(axes.T, tables.values(), strict=True):
        values = gains(table)
        switches = list(values.columns)
        pairs = values.dropna().to_numpy()  # of seeds that can be trusted at every switch point
        label = "PF-ODE, median and band"
        median_band(column[0], switches, pairs, marker="o", markersize=4, label=label)
        bounds = bound_gains(table)
        found = [bootstrap.mean(bounds[s]) for s in bounds]
        label = "IWAE of HD - tracked, mean"
        with_bars(column[0], list(bounds), found, fmt="s", color="C1", label=label)
        column[0].axhline(0, color="0.3", linewidth=0.8)
        shares = [bootstrap.mean((values[s].dropna() > 0).astype(float)) for s in switches]
        with_bars(column[1], switches, shares, marker="o")
        column[1].axhline(0.5, color="0.3", linewidth=0.8)
        column[1].set_ylim(-0.05, 1.05)
        column[1].set_xlabel(SWITCH)
    axes[0, 0].set_ylabel("log-density, HD - ordinary\nat equal noise [nats]")
    legend_above(figure, axes[0, 0])
    axes[1, 0].set_ylabel("share of pairs,\nHD higher")
    return figure


def ratio_of_means(table: pd.DataFrame, measure: str, bootstrap: Bootstrap) -> dict:
    """Mean of a measure over HD samples by that of ordinary ones, by switch point, paired."""
    ordinary = table[table["sample"] == "ordinary"].set_index("seed")[measure]
    branch = table[table["sample"] == "high-density"]
    values = branch.pivot(index="seed", columns="switch_logsnr", values=measure).dropna()

    def ratio(a, b, axis):
        return np.mean(a, axis=axis) / np.mean(b, axis=axis)

    base = ordinary.loc[values.index]
    return {s: bootstrap.interval(ratio, values[s], base) for s in values.columns}


def detail_curves(tables: Tables, bootstrap: Bootstrap) -> Figure:
    """Measures of detail of HD samples relative to ordinary ones against the switch point."""
    figure, axes = panels(tables, height=2.8)
    for axis, table in zip(axes[0], tables.values(), strict=True):
        for marker, (measure, label) in zip("osD^v", DETAIL.items(), strict=True):
            found = ratio_of_means(table, measure, bootstrap)
            with_bars(axis, list(found), list(found.values()), marker=marker, label=label)
        axis.axhline(1, color="0.3", linewidth=0.8)
        axis.set_yscale("log")
        axis.set_xlabel(SWITCH)
    axes[0, 0].set_ylabel("HD / ordinary")
    legend_above(figure, axes[0, 0])
    return figure


def spectra(tables: Tables) -> Figure:
    """Radial power spectra of ordinary (black) and HD samples, by switch point."""
    figure, axes = panels(tables, height=2.9)
    for axis, table in zip(axes[0], tables.values(), strict=True):
        switches = sorted(table["switch_logsnr"].dropna().unique())
        colours = dict(zip(switches, _ramp(len(switches)), strict=True))
        for switch in [None, *switches]:
            chosen = (
                table["sample"] == "ordinary"
                if switch is None
                else (table["switch_logsnr"] == switch)
            )
            part = table[chosen]
            x, y, se = (part[c] for c in ("frequency_cycles_per_pixel", "power", "power_se"))
            colour = "black" if switch is None else colours[switch]
            label = "ordinary" if switch is None else f"λ = {switch:g}"
            style: dict[str, Any] = {"linewidth": 2, "linestyle": "--", "zorder": 3}
            axis.plot(x, y, color=colour, label=label, **(style if switch is None else {}))
            low = np.maximum(y - 1.96 * se, y * 0.1)
            axis.fill_between(x, low, y + 1.96 * se, color=colour, alpha=0.2, linewidth=0)
        axis.set(xscale="log", yscale="log", xlabel="frequency [cycles/pixel]")
        axis.set_xticks([0.05, 0.1, 0.2, 0.5], ["0.05", "0.1", "0.2", "0.5"])
        axis.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes[0, 0].set_ylabel("power [squared grey levels]")
    legend_above(figure, axes[0, 0], 7)
    return figure


def set_curves(tables: Tables) -> Figure:
    """Diversity and Fréchet distance (named in its panel) of HD samples by switch point."""
    labels = [*DIVERSITY.values(), DISTANCE]
    figure, axes = panels(tables, len(labels), height=2.0, sharex="col")
    for column, table in zip(axes.T, tables.values(), strict=True):
        distances = table[~table["measure"].isin(list(DIVERSITY))]
        parts = [*(table[table["measure"] == measure] for measure in DIVERSITY), distances]
        for name in distances["measure"].unique():
            column[-1].set_title(name.replace("_", " "), fontsize=7)
        for axis, rows in zip(column, parts, strict=True):
            branch = rows[rows["sample"] == "high-density"].sort_values("switch_logsnr")
            found = [Interval(*r) for r in branch[["value", "ci_low", "ci_high"]].to_numpy()]
            if not found:
                axis.text(0.5, 0.5, "too few real images", ha="center", transform=axis.transAxes)
                axis.set_yticks([])
                continue
            with_bars(axis, branch["switch_logsnr"], found, marker="o", label="HD samples")
            for sample, style in (("ordinary", "--"), ("data", ":")):
                for value in rows.loc[rows["sample"] == sample, "value"]:
                    axis.axhline(value, color="0.3", linestyle=style, label=KINDS[sample])
        column[-1].set_xlabel(SWITCH)
    for axis, label in zip(axes[:, 0], labels, strict=True):
        axis.set_ylabel(label)
    legend_above(figure, axes[0, 0], 3)
    return figure
