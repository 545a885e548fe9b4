import numpy as np
import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.estimates import (
    Measurements,
    bootstrapped,
    correlation,
    geometric_mean,
    mean,
)
from cartoonists.statistics.summaries import NO_STEP, offsets_by_steps
from cartoonists.statistics.trust import UNTRUSTED, trusted

ODE = "ode_log_density_nats"


def cost(measured: Measurements, model: str, artifact: str) -> None:
    """Claim 1: the ratio of times with and without tracking."""
    costs = pd.read_csv(artifact)
    ratio = geometric_mean(costs["tracked_s"] / costs["untracked_s"])
    measured.add("tracking-cost", ratio, artifact, model=model)


def tracked(measured: Measurements, model: str, artifact: str) -> None:
    """Claim 3: correlation with the PF-ODE, of values that can be trusted."""
    for tracker, runs in pd.read_csv(artifact).groupby("tracker"):
        kept = runs[trusted(runs, ODE)]
        here = {"artifact": artifact, "model": model, "condition": tracker}
        here |= {"left_out": len(runs) - len(kept), "why": UNTRUSTED}
        values, ode = kept["tracked_log_density_nats"], kept[ODE]
        measured.add("tracked-follows-ode", correlation(values, ode), **here)
        error = kept["ode_error_nats"] / kept[ODE].std()
        measured.add("flow-error", bootstrapped(np.median, error), **here)


def offset(measured: Measurements, model: str, artifact: str) -> None:
    """Claim 3: tracked - PF-ODE of the ancestral chain, extrapolated to no step."""
    table = pd.read_csv(artifact)
    limits = offsets_by_steps(table)[NO_STEP]
    ladder = " and ".join(str(n) for n in sorted(table["steps"].unique())[-2:])
    dropped = table["seed"].nunique() - len(limits)
    measured.add(
        "tracked-offset", mean(limits), artifact, model=model,
        condition=f"from {ladder} steps", left_out=dropped, why=UNTRUSTED,
    )  # fmt: skip


with job(snakemake) as record:
    measured = Measurements(**snakemake.params.bootstrap)
    for model in snakemake.params.models:
        cost(measured, model, f"results/{model}/tracking_cost.csv")
        tracked(measured, model, f"results/{model}/likelihood.csv")
        offset(measured, model, f"results/{model}/offsets.csv")
    write_table(snakemake.output[0], measured.table(), record)
