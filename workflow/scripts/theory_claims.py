import numpy as np
import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.claims import Bootstrap, Interval, order_of_convergence, row, to_table

SOURCE = "Karczewski et al. 2025a, theorem 1"
IN_THE_LIMIT = "the paper states the limit of small steps"
EXACT = 1e-6  # nats; rounding error of float64


def tracking_rows(table: pd.DataFrame, bootstrap: Bootstrap, artifact: str) -> list:
    """Claim 2, in the largest number of dimensions: exact, or of which order."""
    table = table[table["dimensions"] == table["dimensions"].max()]
    rows = []
    for (target, tracker), runs in table.groupby(["target", "tracker"], sort=False):
        errors = runs.pivot(index="seed", columns="steps", values="error_nats")
        dimensions, steps = runs["dimensions"].iloc[0], errors.columns.max()
        where = f"{tracker}, {target} with D = {dimensions}"
        finest = bootstrap.mean(errors[steps] / dimensions)
        exact = bool(np.abs(errors).to_numpy().max() < EXACT)
        rows.append(
            row(
                f"2 tracked equals true log-density: error at {steps} steps ({where})",
                SOURCE,
                "0 in the limit",
                finest,
                "nats/dim",
                True if exact else IN_THE_LIMIT,
                artifact,
            )
        )
        if not exact:
            order = order_of_convergence(errors, bootstrap)
            rows.append(
                row(
                    f"2 tracked equals true log-density: order of convergence ({where})",
                    SOURCE,
                    "above 0: the error vanishes",
                    order,
                    "log error per log steps",
                    order.above(0.0),
                    artifact,
                )
            )
    return rows


def high_density_rows(table: pd.DataFrame, bootstrap: Bootstrap, artifact: str) -> list:
    """Claim 6: share of pairs in which the HD sample has the higher log-density, and the gain."""
    table = table[table["dimensions"] == table["dimensions"].max()]
    rows = []
    for (target, switch), pairs in table.groupby(["target", "switch_logsnr"], sort=False):
        gain = pairs["log_density_nats"] - pairs["ordinary_log_density_nats"]
        where = f"{target} with D = {pairs['dimensions'].iloc[0]}, switch at λ = {switch:g}"
        share = bootstrap.mean((gain > 0).astype(float))
        rows.append(
            row(
                f"6 HD samples beat ordinary samples from the same point: share ({where})",
                "Karczewski et al. 2025a, section 4",
                "always in the paper's experiments",
                share,
                "share of pairs",
                share.above(0.5) or share == Interval.exact(1.0),
                artifact,
            )
        )
    return rows


with job(snakemake) as record:
    bootstrap = Bootstrap(**snakemake.params.bootstrap)
    tracking, high_density = snakemake.input.tracking, snakemake.input.high_density
    rows = tracking_rows(pd.read_csv(tracking), bootstrap, tracking)
    rows += high_density_rows(pd.read_csv(high_density), bootstrap, high_density)
    write_table(snakemake.output[0], to_table(rows), record)
