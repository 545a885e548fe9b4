"""Figures of high-density sampling, blur and compression; each draws tables, a panel a model."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cartoonists.claims import Bootstrap, Interval
from cartoonists.plots import PALETTE, keep_on, legend_above, median_band, panels
from cartoonists.summaries import bound_gains, gains, rises
from cartoonists.trust import keep_whole

SWITCH = "switch point λ (logSNR)"
DETAIL = {
    "gradient_energy": "gradient energy",
    "fine_power": "power of fine waves",
    "png_bytes": "PNG bytes",
    "distinct_colours": "distinct colours",
}
DIVERSITY = {
    "mean_pairwise_distance": "mean pairwise distance\n[feature units]",
    "vendi_score": "Vendi score\n[effective images]",
}
FAR = 10.0  # nats/dim, from which a linear axis would hide all else
DISTANCE = "Fréchet distance to data\n[squared feature units]"
KINDS = {"data": "real images", "ordinary": "ordinary samples", "high-density": "HD samples"}

Tables = Mapping[str, pd.DataFrame]


def _with_bars(
    axis: Axes, x: Sequence[float] | np.ndarray, intervals: Sequence[Interval], **style
) -> None:
    y = np.array([i.value for i in intervals])
    ends = np.array([[i.value - i.low, i.high - i.value] for i in intervals]).T
    axis.errorbar(x, y, yerr=np.maximum(ends, 0), capsize=2, markersize=4, **style)


def _ramp(n: int) -> list:
    return sns.color_palette("viridis", n)


def image_grid(found: Mapping[str, np.ndarray], table: pd.DataFrame, title: str) -> Figure:
    """Images by switch point, ordinary samples first; log-density and PNG bytes under each.

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
    figure.suptitle(f"{title}: log-density [nats/dim], PNG [bytes]")
    return figure


def _rows_of(found: Mapping[str, np.ndarray], table: pd.DataFrame) -> list[list[pd.Series]]:
    """The row of every image: by switch point, ordinary samples first, and by seed."""
    keyed = table.assign(switch=table["switch_logsnr"].fillna(np.inf).round(6))
    keyed = keyed.set_index(["switch", "seed"])
    switches = [np.inf, *(round(float(s), 6) for s in found["switch_logsnr"])]
    return [[keyed.loc[(switch, seed)] for seed in found["seeds"]] for switch in switches]


def low_to_high(models: Mapping[str, tuple[Mapping[str, np.ndarray], pd.DataFrame]]) -> Figure:
    """A row a model: the images of its first seed from low to high log-density.

    ``models`` gives the arrays and the table that `image_grid` takes.
    """
    columns = max(len(found["images"]) for found, _ in models.values())
    size = (1.25 * columns, 1.55 * len(models))
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
            axis.set_xlabel(f"{rows[i]['log_density_nats'] / rows[i]['dimensions']:.2f}")
        for axis in line[len(order) :]:
            axis.set_axis_off()
    figure.supxlabel("log-density [nats/dim]", fontsize=9)
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
    """Gain of HD over ordinary samples in nats, and the share of pairs in which HD is higher."""
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
        _with_bars(column[0], list(bounds), found, fmt="s", color="C1", label=label)
        column[0].axhline(0, color="0.3", linewidth=0.8)
        column[0].axhline(table["dimensions"].iloc[0] / 2, color="0.3", linestyle=":")
        shares = [bootstrap.mean((values[s].dropna() > 0).astype(float)) for s in switches]
        _with_bars(column[1], switches, shares, marker="o")
        column[1].axhline(0.5, color="0.3", linewidth=0.8)
        column[1].set_ylim(-0.05, 1.05)
        column[1].set_xlabel(SWITCH)
    axes[0, 0].set_ylabel("log-density, HD - ordinary\n[nats]")
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
        for marker, (measure, label) in zip("osD^", DETAIL.items(), strict=True):
            found = ratio_of_means(table, measure, bootstrap)
            _with_bars(axis, list(found), list(found.values()), marker=marker, label=label)
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
            axis.plot(x, y, color=colour, label=label)
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
            _with_bars(axis, branch["switch_logsnr"], found, marker="o", label="HD samples")
            for sample, style in (("ordinary", "--"), ("data", ":")):
                for value in rows.loc[rows["sample"] == sample, "value"]:
                    axis.axhline(value, color="0.3", linestyle=style, label=KINDS[sample])
        column[-1].set_xlabel(SWITCH)
    for axis, label in zip(axes[:, 0], labels, strict=True):
        axis.set_ylabel(label)
    legend_above(figure, axes[0, 0], 3)
    return figure


OPERATION_LABELS = {
    "blur": "blur [pixels]",
    "noise": "added noise [grey levels]",
    "contrast": "contrast [factor]",
    "down-up": "shrunk and enlarged [factor]",
}


def blur_curves(tables: Tables) -> Figure:
    """Change of log p in nats/dim under each operation (rows), real and sampled images."""
    operations = list(OPERATION_LABELS)
    figure, axes = panels(tables, len(operations), height=1.9)
    for column, table in zip(axes.T, tables.values(), strict=True):
        main = table[(table["repeat"] == 0) & (table["logsnr"] == table["logsnr"].max())]
        for axis, operation in zip(column, operations, strict=True):
            part = keep_whole(main[main["operation"] == operation], ["source", "seed"])
            for marker, (source, rows) in zip("os", part.groupby("source"), strict=False):
                values = rows.pivot(index="seed", columns="step", values="log_density_nats")
                change = values.sub(values[0], axis=0) / table["dimensions"].iloc[0]
                style = {"marker": marker, "label": source, "markersize": 3.5}
                median_band(axis, list(change.columns), change.to_numpy(), **style)
            strengths = part.drop_duplicates("step").sort_values("step")
            axis.set_xticks(strengths["step"], [f"{s:g}" for s in strengths["strength"]])
            axis.tick_params(axis="x", labelsize=7)
            axis.axhline(0, color="0.3", linewidth=0.8)
            axis.set_xlabel(OPERATION_LABELS[operation])
            if max(map(abs, axis.get_ylim())) > FAR:  # off the data the flow diverges
                axis.set_yscale("symlog")
    for axis in axes[:, 0]:
        axis.set_ylabel("change of log p\n[nats/dim]")
    legend_above(figure, axes[0, 0], 2)
    return figure


def blur_levels(tables: Tables, bootstrap: Bootstrap) -> Figure:
    """Share of blur steps that raise log p at each noise level, real and sampled images."""
    figure, axes = panels(tables, height=2.6)
    for axis, table in zip(axes[0], tables.values(), strict=True):
        blur = table[(table["repeat"] == 0) & (table["operation"] == "blur")]
        for marker, (source, part) in zip("os", blur.groupby("source"), strict=False):
            levels = sorted(part["logsnr"].unique())
            shares = [
                bootstrap.mean((rises(part[part["logsnr"] == level]) > 0).mean(axis=1))
                for level in levels
            ]
            _with_bars(axis, levels, shares, marker=marker, label=source, linewidth=0.8)
        axis.axhline(0.5, color="0.3", linewidth=0.8)
        axis.set_ylim(-0.05, 1.05)
        axis.set_xlabel("noise level λ (logSNR)")
    axes[0, 0].set_ylabel("share of blur steps\nthat raise log p")
    legend_above(figure, axes[0, 0], 2)
    return figure


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
    """Log-density against PNG size; each panel gives Pearson's correlation within each kind."""
    figure, axes = panels(tables, height=3.0)
    for axis, table in zip(axes[0], tables.values(), strict=True):
        table = keep_on(axis, table, "log_density_nats", side="right")
        _scatter_kinds(axis, table, "png_bytes", "log_density_nats", per_dim=True)
        lines = [
            f"{KINDS[kind]}: r = {part['png_bytes'].corr(part['log_density_nats']):.2f}"
            for kind, part in table.groupby("kind", sort=False)
        ]
        box = {"facecolor": "white", "alpha": 0.7, "linewidth": 0}
        axis.text(0.04, 0.04, "\n".join(lines), transform=axis.transAxes, fontsize=7, bbox=box)
        axis.set_xlabel("PNG size [bytes]")
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
            _with_bars(axis, place, found, marker="osD"[shift], linestyle="none", label=KINDS[kind])
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
