import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.claims import Bootstrap, row, to_table
from cartoonists.statistics.trust import error_row, keep

THEOREM = "Karczewski et al. 2025a, theorem 1"
BIAS = "Karczewski et al. 2025a, section 3"
NO_SLOWER = 1.1  # ratio of times that still counts as "no extra cost"
STRONG = 0.8  # correlation that counts as strong


def cost_rows(model: str, artifact: str, bootstrap: Bootstrap) -> list:
    """Claim 1: the ratio of times with and without tracking."""
    costs = pd.read_csv(artifact)
    ratio = bootstrap.median(costs["tracked_s"] / costs["untracked_s"])
    claim = f"1 tracking costs nothing: CPU time with / without ({model})"
    return [row(claim, THEOREM, "1", ratio, "ratio", ratio.below(NO_SLOWER), artifact)]


def tracked_rows(model: str, artifact: str, bootstrap: Bootstrap) -> list:
    """Claims 3 and 4: correlation and offset against the PF-ODE; width of the sandwich."""
    rows = []
    for tracker, runs in pd.read_csv(artifact).groupby("tracker"):
        where = f"{tracker}, {model}"
        for density in ("tracked_log_density_nats", "ode_log_density_nats"):
            rows.append(error_row(3, where, runs, artifact, bootstrap, density))
        runs = keep(runs, "ode_log_density_nats")
        tracked, ode = runs["tracked_log_density_nats"], runs["ode_log_density_nats"]
        correlation = bootstrap.pearson(tracked, ode)
        offset = bootstrap.mean((tracked - ode) / runs["dimensions"])
        width = bootstrap.mean((tracked - runs["elbo_log_density_nats"]) / runs["dimensions"])
        rows += [
            row(
                f"3 tracked follows PF-ODE log-likelihood: Pearson correlation ({where})",
                BIAS,
                "strong correlation",
                correlation,
                "correlation",
                correlation.above(STRONG),
                artifact,
            ),
            row(
                f"3 tracked follows PF-ODE log-likelihood: mean offset ({where})",
                BIAS,
                "biased upwards",
                offset,
                "nats/dim",
                offset.above(0.0),
                artifact,
            ),
            row(
                f"4 tracked value bounds the log-density from above: tracked - ELBO ({where})",
                BIAS,
                "at least 0",
                width,
                "nats/dim",
                width.above(0.0),
                artifact,
            ),
        ]
    return rows


with job(snakemake) as record:
    bootstrap = Bootstrap(**snakemake.params.bootstrap)
    rows = []
    for model in snakemake.params.models:
        rows += cost_rows(model, f"results/{model}/tracking_cost.csv", bootstrap)
        rows += tracked_rows(model, f"results/{model}/likelihood.csv", bootstrap)
    write_table(snakemake.output[0], to_table(rows), record)
