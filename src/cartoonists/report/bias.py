"""Figures of the bias of tracked log-densities."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from cartoonists.report.plots import PALETTE, legend_above, legend_below
from cartoonists.statistics.claims import Interval
from cartoonists.statistics.summaries import NETWORK


def closed_form_bias(table: pd.DataFrame) -> Figure:
    """Measured against predicted E X, raw and extrapolated, for both trackers."""
    trackers = list(table["tracker"].unique())
    figure, axes = plt.subplots(
        1, len(trackers), figsize=(3.8 * len(trackers), 3.4), squeeze=False, layout="constrained"
    )
    ends = [table["predicted_nats"].min() * 0.7, table["predicted_nats"].max() * 1.4]
    columns = {
        "at N steps": ("measured_nats", "measured_standard_error_nats", "s"),
        "extrapolated": ("extrapolated_nats", "extrapolated_standard_error_nats", "o"),
    }
    for axis, tracker in zip(axes[0], trackers, strict=True):
        part = table[table["tracker"] == tracker]
        axis.plot(ends, ends, color="0.3", linewidth=0.8)
        for label, (value, error, marker) in columns.items():
            axis.errorbar(
                part["predicted_nats"],
                part[value],
                yerr=1.96 * part[error],
                fmt=marker,
                markersize=4,
                capsize=2,
                label=label,
            )
        axis.set_xscale("log")
        axis.set_yscale("symlog", linthresh=0.1)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("")
        axis.set(xlabel="predicted E X [nats]", title=f"{tracker}, N = {part['steps'].iloc[0]}")
    axes[0, 0].set_ylabel("measured E X [nats]")
    legend_above(figure, axes[0, 0])
    return figure


def sandwich_widths(table: pd.DataFrame) -> Figure:
    """How far the tracked value lies above IWAE, ELBO and the PF-ODE, a model a group."""
    names = {
        "width_nats": "tracked - IWAE",
        "excess_nats": "tracked - ELBO",
        "offset_nats": "tracked - PF-ODE",
    }
    long = table.melt(["model", "dimensions"], list(names), "gap", "nats")
    long = long.assign(gap=long["gap"].map(names), per_dim=long["nats"] / long["dimensions"])
    figure, axis = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    sns.pointplot(
        long,
        x="model",
        y="per_dim",
        hue="gap",
        errorbar=("ci", 95),
        seed=0,
        dodge=0.3,
        linestyle="none",
        markers=["o", "s", "D"],
        palette=PALETTE,
        ax=axis,
    )
    axis.axhline(0, color="0.3", linewidth=0.8)
    axis.set(xlabel="", ylabel="mean gap [nats/dim]")
    legend_above(figure, axis)
    return figure


def second_score_bias(levels: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Both halves by a second score: the network's over λ, and the totals of all models.

    ``levels`` as `second_score.second_score` gives them, ``table`` as `summaries.brackets`.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.4), layout="constrained")
    network = levels[levels["model"] == NETWORK]
    for i, (half, part) in enumerate(network.groupby("half", sort=False)):
        for name, style in {"integrand": "-", "gain": ":"}.items():
            x, y, error = _binned(part.sort_values("logsnr"), name, 4)
            left.plot(x, y, style, color=f"C{i}", label=f"{half}, {name}")
            left.fill_between(
                x, y - 1.96 * error, y + 1.96 * error, color=f"C{i}", alpha=0.15, linewidth=0
            )
    left.set(xlabel="λ (logSNR)", ylabel="nats a unit of λ", title="the network")
    left.axhline(0, color="0.3", linewidth=0.8)
    legend_below(left)
    _brackets(right, table)
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def _binned(part: pd.DataFrame, name: str, width: int) -> tuple[np.ndarray, ...]:
    """Means of ``width`` neighbouring levels, with the error of values that are independent."""
    bins = np.arange(len(part)) // width
    grouped = part.groupby(bins)
    error = grouped[f"{name}_standard_error"].agg(lambda e: np.sqrt((e**2).sum()) / len(e))
    return grouped["logsnr"].mean().to_numpy(), grouped[name].mean().to_numpy(), error.to_numpy()


def _brackets(axis, table: pd.DataFrame) -> None:
    markers = {"below": ">", "formula": "o", "above": "<", "measured": "s"}
    labels = {
        "below": "gain (from below)",
        "formula": "integral (the formula)",
        "above": "from above",
        "measured": "measured",
    }
    for name, marker in markers.items():
        rows = [(i, v) for i, v in enumerate(table[name]) if isinstance(v, Interval)]
        x = [v.value for _, v in rows]
        ends = [[v.value - v.low for _, v in rows], [v.high - v.value for _, v in rows]]
        axis.errorbar(
            x, [i for i, _ in rows], xerr=ends, fmt=marker, markersize=5, capsize=2,
            label=labels[name],
        )  # fmt: skip
    axis.plot(table["truth"], range(len(table)), "k|", markersize=14, label="truth")
    axis.set_yticks(range(len(table)), table["model"] + "\n" + table["half"], fontsize=8)
    axis.invert_yaxis()
    axis.axvline(0, color="0.3", linewidth=0.8)
    axis.set(xlabel="nats", title="means over held-out paths")
