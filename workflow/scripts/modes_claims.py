import numpy as np
import pandas as pd
from scipy import stats

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.claims import Bootstrap, Interval, row, to_table

SOURCE = "Karczewski et al. 2025a, section 4"
CLOSE = 1e-4  # RMS distance to a mode that counts as found
NEAR = 0.1  # RMS distance, in units of the data's spread, that counts as a good approximation


def error_rows(table: pd.DataFrame, bootstrap: Bootstrap, artifact: str) -> list:
    """Distance of the end points to the nearest mode, by equation and start."""
    rows = []
    sound = table[~table["status"].isin(["indefinite", "ill-conditioned"])]
    for (process, start), runs in sound.groupby(["process", "logsnr_t"], sort=False):
        error = bootstrap.median(runs["error"])
        exact = process == "mode ODE"
        rows.append(
            row(
                f"5 end point of the {process} is a mode of p(x_s|x_t): median distance, "
                f"start at λ = {start:g}",
                SOURCE,
                "exact" if exact else "a good approximation",
                error,
                "RMS units of x",
                error.below(CLOSE if exact else NEAR),
                artifact,
            )
        )
    return rows


def branch_rows(table: pd.DataFrame, bootstrap: Bootstrap, artifact: str) -> list:
    """Share of starts whose branch ends at the highest mode."""
    rows = []
    for start, runs in table[table["process"] == "mode ODE"].groupby("logsnr_t"):
        share = bootstrap.mean(1.0 - runs["failed"])
        rows.append(
            row(
                f"5 the curve ends at the highest mode: share of starts at λ = {start:g}",
                SOURCE,
                "always, if the curve is smooth",
                share,
                "share of starts",
                share == Interval.exact(1.0),
                artifact,
            )
        )
    return rows


def detection_rows(table: pd.DataFrame, confidence: float, artifact: str) -> list:
    """Precision and recall of the failure checks, with Wilson's interval."""
    rows = []
    any_check = table.set_index("detector").loc["any"]
    for name, whole in (("precision", "reported"), ("recall", "failures")):
        trials = int(any_check[whole])
        if trials == 0:
            continue
        hits = int(any_check["hits"])
        ends = stats.binomtest(hits, trials).proportion_ci(confidence, method="wilson")
        rows.append(
            row(
                f"5 failures of the mode ODE are detected: {name}",
                "this project",
                "not reported",
                Interval(hits / trials, ends.low, ends.high),
                f"share of {trials} {whole}",
                "the paper has no check",
                artifact,
            )
        )
    return rows


def network_rows(table: pd.DataFrame, bootstrap: Bootstrap, artifact: str) -> list:
    """Size of the dropped term on the network, where A is sound."""
    sound = table[table["share"] > 0]
    rows = []
    for start, runs in sound.groupby("logsnr_t"):
        if runs["seed"].nunique() < 2:  # no interval from one curve
            continue
        share = bootstrap.mean(runs.groupby("seed")["share"].mean())
        rows.append(
            row(
                f"5 the HD-ODE's dropped term is small: share of the drift on an 8×8 network, "
                f"start at λ = {start:g}",
                SOURCE,
                "small",
                share,
                "|correction|/|drift|",
                share.below(NEAR),
                artifact,
            )
        )
    return rows


with job(snakemake) as record:
    bootstrap = Bootstrap(**snakemake.params.bootstrap)
    modes, detection = snakemake.input.modes, snakemake.input.detection
    table = pd.read_csv(modes).astype({"failed": np.float64})
    rows = error_rows(table, bootstrap, modes) + branch_rows(table, bootstrap, modes)
    rows += detection_rows(pd.read_csv(detection), bootstrap.confidence, detection)
    network = snakemake.input.network
    rows += network_rows(pd.read_csv(network), bootstrap, network)
    write_table(snakemake.output[0], to_table(rows), record)
