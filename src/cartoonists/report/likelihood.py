"""Figures of log-densities of samples and of held-out images; a panel a model."""

from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from cartoonists.report.plots import keep_on, legend_above, panels
from cartoonists.statistics.summaries import bits_by_estimator
from cartoonists.statistics.trust import keep

TRACKERS = ("ancestral", "euler-maruyama")


def tracked_against_ode(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Tracked against PF-ODE log-density of the same samples, a panel a model; line: equal.

    Values beyond the tolerance of `cartoonists.statistics.trust` are not drawn, but counted.
    """
    figure, (axes,) = panels(tables, width=2.9, height=2.8)
    for axis, table in zip(axes, tables.values(), strict=True):
        kept = keep_on(axis, table, ESTIMATES["PF-ODE"])
        for marker, tracker in zip("os", TRACKERS, strict=True):
            runs = kept[kept["tracker"] == tracker]
            x = runs["ode_log_density_nats"] / runs["dimensions"]
            y = runs["tracked_log_density_nats"] / runs["dimensions"]
            axis.scatter(x, y, s=9, marker=marker, alpha=0.6, linewidth=0, label=tracker)
        middle = (
            float((kept["ode_log_density_nats"] / kept["dimensions"]).median()) if len(kept) else 0
        )
        axis.axline((middle, middle), slope=1, color="0.3", linewidth=0.8, label="equal")
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
            hue_order=TRACKERS,
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
    legend_above(figure, axes[0], 2)
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
