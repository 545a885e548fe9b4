"""Figures of closed forms: errors of the trackers, gains of high-density samples."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from cartoonists.report.plots import PALETTE, legend_above, median_band, panels


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
