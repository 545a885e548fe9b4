import numpy as np
import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.claims import Bootstrap, Interval, order_of_convergence, row, to_table

GUIDANCE = "Karczewski et al. 2025b, density guidance"
TRACKING = "Karczewski et al. 2025a, theorem 1, and 2025b"
MONOTONE = 0.95  # share of seeds
STRONG = 0.8  # correlation
NEGLIGIBLE = 0.05  # nats per dimension between guidance with and without noise


def monotone(table: pd.DataFrame) -> np.ndarray:
    """Whether each seed's log-density rises at every step of the quantile."""
    values = table.pivot(index="seed", columns="quantile", values="log_density_nats")
    return (np.diff(values.to_numpy(), axis=1) > 0).all(axis=1).astype(float)


def control_rows(where: str, artifact: str, bootstrap: Bootstrap) -> list:
    """Claim 10: share of seeds that rise with q, by every control."""
    table = pd.read_csv(artifact)
    middle = table[(table["control"] == "guidance") & (table["quantile"] == 0.5)]
    rows = []
    for control, part in table.groupby("control", sort=False):
        seeds = part["seed"].unique()
        if part["quantile"].nunique() < 3:  # at one half it is the sample of guidance
            part = pd.concat([part, middle[middle["seed"].isin(seeds)]])
        share = bootstrap.mean(monotone(part))
        rows.append(
            row(
                f"10 log-density rises with the quantile: {control} ({where})",
                GUIDANCE,
                "at least 0.95 of seeds",
                share,
                "share of seeds",
                share.value >= MONOTONE,
                artifact,
            )
        )
    return rows


def noise_rows(model: str, artifact: str, bootstrap: Bootstrap) -> list:
    """Claim 10: guidance with noise reaches what it reaches without."""
    table = pd.read_csv(artifact)
    plain = table[table["control"] == "guidance"].set_index(["quantile", "seed"])
    rows = []
    noisy = table[table["control"].str.endswith("noise")]
    for control, part in noisy.groupby("control", sort=False):
        values = part.set_index(["quantile", "seed"])["log_density_nats"]
        gap = values - plain.loc[values.index, "log_density_nats"]
        gap = bootstrap.median(gap / part["dimensions"].iloc[0])  # few paths run off the data
        spread = plain["log_density_nats"].groupby("quantile").std().mean()
        spread = spread / part["dimensions"].iloc[0]
        within = gap.within(-max(spread, NEGLIGIBLE), max(spread, NEGLIGIBLE))
        rows.append(
            row(
                f"10 noise leaves the density that is reached: {control} - guidance ({model})",
                GUIDANCE,
                "0, within the spread of seeds",
                gap,
                "nats/dim",
                within,
                artifact,
            )
        )
    return rows


def alignment_rows(where: str, artifact: str, bootstrap: Bootstrap) -> list:
    """Claim 10: the two forms of score alignment, and the share aligned."""
    table = pd.read_csv(artifact)
    both = table["with_score_nats"], table["without_score_nats"]
    correlation = bootstrap.pearson(*both)
    aligned = bootstrap.mean((both[1] > 0).astype(float))
    return [
        row(
            f"10 score alignment with and without the score: Pearson correlation ({where})",
            GUIDANCE,
            "equal",
            correlation,
            "correlation",
            correlation.above(STRONG),
            artifact,
        ),
        row(
            f"10 score alignment: share of samples aligned ({where})",
            GUIDANCE,
            "almost all",
            aligned,
            "share of samples",
            aligned.value >= MONOTONE,
            artifact,
        ),
    ]


def prediction_rows(model: str, artifact: str, aligned: str, bootstrap: Bootstrap) -> list:
    """Claim 10: where the score is aligned, does scaling the latent move log p_0 as predicted?"""
    table, alignment = pd.read_csv(artifact), pd.read_csv(aligned).set_index("seed")
    prior = table[table["control"] == "prior"]
    values = prior.pivot(index="seed", columns="quantile", values="log_density_nats")
    change = values[values.columns.max()] - values[values.columns.min()]
    seeds = change.index.intersection(alignment.index)
    right = (change[seeds] > 0) == (alignment.loc[seeds, "without_score_nats"] > 0)
    share = bootstrap.mean(right.astype(float))
    return [
        row(
            f"10 scaling the latent moves log-density as score alignment predicts ({model})",
            GUIDANCE,
            "always",
            share,
            "share of samples",
            share.value >= MONOTONE,
            artifact,
        )
    ]


def path_rows(artifact: str, bootstrap: Bootstrap) -> list:
    """Claim 10: the tracked value converges along every process."""
    rows = []
    for (process, solver), runs in pd.read_csv(artifact).groupby(["process", "solver"], sort=False):
        errors = runs.pivot(index="seed", columns="steps", values="error_nats")
        squared = order_of_convergence(errors**2, bootstrap)  # twice the order of the RMS
        order = Interval(squared.value / 2, squared.low / 2, squared.high / 2)
        expected = 1.5 if solver == "heun" else 0.35
        rows.append(
            row(
                f"10 log-density tracked along any path: order of convergence ({process})",
                TRACKING,
                "2 for Heun" if solver == "heun" else "0.5 to 1 for Euler–Maruyama",
                order,
                "log RMS error per log steps",
                order.above(expected),
                artifact,
            )
        )
    return rows


with job(snakemake) as record:
    bootstrap = Bootstrap(**snakemake.params.bootstrap)
    rows = control_rows("closed form", "results/theory/control.csv", bootstrap)
    rows += alignment_rows("closed form", "results/theory/alignment.csv", bootstrap)
    rows += path_rows("results/theory/paths.csv", bootstrap)
    for model in snakemake.params.models:
        table, aligned = f"results/{model}/control.csv", f"results/{model}/alignment.csv"
        rows += control_rows(model, table, bootstrap) + noise_rows(model, table, bootstrap)
        rows += alignment_rows(model, aligned, bootstrap)
        rows += prediction_rows(model, table, aligned, bootstrap)
    write_table(snakemake.output[0], to_table(rows), record)
