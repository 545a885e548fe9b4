"""Figures of the log-density of degraded images; a panel a model."""

import pandas as pd
from matplotlib.figure import Figure

from cartoonists.report.plots import FAR, Tables, legend_above, median_band, panels, with_bars
from cartoonists.statistics.claims import Bootstrap
from cartoonists.statistics.estimates import mean, mean_share
from cartoonists.statistics.summaries import rises
from cartoonists.statistics.trust import keep_whole, trusted_whole

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
            with_bars(axis, levels, shares, marker=marker, label=source, linewidth=0.8)
        axis.axhline(0.5, color="0.3", linewidth=0.8)
        axis.set_ylim(-0.05, 1.05)
        axis.set_xlabel("noise level λ (logSNR)")
    axes[0, 0].set_ylabel("share of blur steps\nthat raise log p")
    legend_above(figure, axes[0, 0], 2)
    return figure


def blur_black(tables: Tables, bootstrap: Bootstrap) -> Figure:
    """By black level, real and sampled images: blur steps that raise log p, and by how much.

    Above the share of steps, mean over images with Wilson's interval; below the change of log p
    from no blur to the strongest, nats/dim, median and 95% band over images.
    """
    figure, axes = panels(tables, 2)
    for column, table in zip(axes.T, tables.values(), strict=True):
        for marker, (source, rows) in zip("os", table.groupby("source"), strict=False):
            style = {"marker": marker, "label": source, "linewidth": 0.8}
            changes = {
                level: rises(keep_whole(part, ["seed"]))
                for level, part in rows.groupby("black_level")
            }
            places = range(len(changes))  # levels are far from evenly spaced
            shares = [
                mean_share((change > 0).mean(axis=1)).interval(bootstrap)
                for change in changes.values()
            ]
            with_bars(column[0], places, shares, **style)
            total = pd.concat([change.sum(axis=1) for change in changes.values()], axis=1).dropna()
            total = total.to_numpy() / table["dimensions"].iloc[0]
            median_band(column[1], places, total, **style | {"markersize": 4})
        for axis in column:
            axis.set_xticks(places, [f"{level:g}" for level in changes])
        column[0].set_ylim(-0.05, 1.05)
        column[1].axhline(0, color="0.3", linewidth=0.8)
        column[1].set_xlabel("black level b [grey levels]")
    axes[0, 0].set_ylabel("share of blur steps\nthat raise log p")
    axes[1, 0].set_ylabel("change of log p\n[nats/dim]")
    legend_above(figure, axes[0, 0], 2)
    return figure


def black_seen(model: str, table: pd.DataFrame, bootstrap: Bootstrap) -> str:
    """What the black levels of one model show, in a sentence: steps that rise at each level.

    Highest and lowest are compared by the interval of their difference over the same images.
    """
    up = {
        level: (rises(part[trusted_whole(part, ["source", "seed"])]) > 0).mean(axis=1)
        for level, part in table.groupby("black_level")
    }
    low, high = min(up), max(up)
    gap = mean((up[high] - up[low]).dropna())
    shares = ", ".join(f"{steps.mean():.0%} at {level:g}" for level, steps in up.items())
    interval = gap.interval(bootstrap)
    if interval.low > 0:
        found = f"more rise at {high:g} than at {low:g}"
    elif interval.high < 0:
        found = f"fewer rise at {high:g} than at {low:g}"
    else:
        found = "no difference can be told"
    return (
        f"{model}, blur steps that raise log p, by black level: {shares}; {found} ({gap.n} images)."
    )


def operations_seen(model: str, table: pd.DataFrame) -> str:
    """Images of one model whose log p rises at every step, of each operation, in a sentence."""
    main = table[(table["repeat"] == 0) & (table["logsnr"] == table["logsnr"].max())]
    words = []
    for operation, part in main.groupby("operation", sort=False):
        up = rises(part[trusted_whole(part, ["source", "seed"])]) > 0
        words.append(f"{operation} {int(up.all(axis=1).sum())} of {len(up)}")
    return f"{model}: images whose log p rises at every step: {', '.join(words)}."
