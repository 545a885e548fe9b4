import numpy as np
import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.claims import order_of_convergence
from cartoonists.statistics.estimates import Estimate, Measurements, bootstrapped, mean, share

EXACT = 1e-6  # nats; rounding error of float64
REVERSE = ("Euler–Maruyama", "ancestral, isotropic", "ancestral, diagonal")


def errors_by_steps(table: pd.DataFrame, target: str, tracker: str) -> pd.DataFrame:
    """Error in nats/dim, a row a seed and a column a number of steps."""
    runs = table[(table["target"] == target) & (table["tracker"] == tracker)]
    errors = runs.pivot(index="seed", columns="steps", values="error_nats")
    return errors / runs["dimensions"].iloc[0]


def tracking(measured: Measurements, table: pd.DataFrame, artifact: str) -> None:
    """Claim 2, in the largest number of dimensions."""
    table = table[table["dimensions"] == table["dimensions"].max()]
    size = table["dimensions"].max()
    for target in table["target"].unique():
        where = f"{target}, D = {size}"
        for tracker in table["tracker"].unique():
            errors = errors_by_steps(table, target, tracker)
            half, finest = errors.columns[-2:]
            here = {"artifact": artifact, "condition": f"{tracker}, {where}, {finest} steps"}
            if tracker in REVERSE:
                extrapolated = mean(2 * errors[finest] - errors[half])  # the trackers' order is 1
                measured.add("tracked-exact", extrapolated, **here)
            if np.abs(errors).to_numpy().max() * size > EXACT:
                order = Estimate(
                    len(errors), "bootstrap of units",
                    lambda level, e=errors: order_of_convergence(e, level),
                )  # fmt: skip
                measured.add("tracker-order", order, artifact, condition=f"{tracker}, {where}")
        euler, ours = (errors_by_steps(table, target, name).iloc[:, -1] for name in REVERSE[:2])
        ratio = bootstrapped(ratio_of_sizes, euler, ours)
        measured.add("fewer-steps", ratio, artifact, condition=f"{where}, {finest} steps")


def ratio_of_sizes(one, other, axis):
    return np.abs(np.mean(one, axis=axis)) / np.abs(np.mean(other, axis=axis))


def high_density(measured: Measurements, table: pd.DataFrame, artifact: str) -> None:
    """Claim 6: share of pairs in which the HD sample has the higher log-density."""
    table = table[table["dimensions"] == table["dimensions"].max()]
    for (target, switch), pairs in table.groupby(["target", "switch_logsnr"], sort=False):
        wins = share(pairs["log_density_nats"] > pairs["ordinary_log_density_nats"])
        where = f"{target}, D = {pairs['dimensions'].iloc[0]}, switch at λ = {switch:g}"
        measured.add("hd-closed-forms", wins, artifact, condition=where)


with job(snakemake) as record:
    measured = Measurements(**snakemake.params.bootstrap)
    inputs = snakemake.input
    tracking(measured, pd.read_csv(inputs.tracking), inputs.tracking)
    high_density(measured, pd.read_csv(inputs.high_density), inputs.high_density)
    write_table(snakemake.output[0], measured.table(), record)
