import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.estimates import Measurements, geometric_mean, mean, share

UNSOUND = ["indefinite", "ill-conditioned"]  # statuses
WITHIN = {"mode ODE": 1e-3, "HD-ODE": 0.1}  # RMS distance to a mode
CLAIMS = {"mode ODE": "mode-ode", "HD-ODE": "hd-ode-near-mode"}


def ends(measured: Measurements, table: pd.DataFrame, artifact: str) -> None:
    """Claim 5: end points by dimension and start; a seed has to succeed with every schedule."""
    for (size, start), part in table.groupby(["dimensions", "logsnr_t"]):
        where = {"condition": f"D = {size}, from λ = {start:g}"}
        for process, runs in part.groupby("process", sort=False):
            sound = runs[~runs["status"].isin(UNSOUND)]
            near = (sound["error"] < WITHIN[process]).groupby(sound["seed"]).all()
            dropped = len(runs) - len(sound)
            why = "starts that end indefinite or ill-conditioned"
            measured.add(CLAIMS[process], share(near), artifact, **where, left_out=dropped, why=why)
        runs = part[part["process"] == "mode ODE"]
        highest = (~runs["failed"].astype(bool)).groupby(runs["seed"]).all()
        measured.add("curve-smooth", share(highest), artifact, **where)


def failures(measured: Measurements, table: pd.DataFrame, artifact: str) -> None:
    """Precision and recall of what the mode ODE reports of itself."""
    found = table.set_index("detector").loc["any"]
    for name, whole in (("precision", "reported"), ("recall", "failures")):
        hits, trials = int(found["hits"]), int(found[whole])
        counted = share([True] * hits + [False] * (trials - hits))
        measured.add("failures-found", counted, artifact, condition=name)


def network(measured: Measurements, table: pd.DataFrame, artifact: str) -> None:
    """Size of the dropped term on the network, where A is sound."""
    for start, runs in table.groupby("logsnr_t"):
        sound = runs[runs["share"] > 0]
        dropped = runs["seed"].nunique() - sound["seed"].nunique()
        measured.add(
            "dropped-term", mean(sound.groupby("seed")["share"].mean()), artifact,
            condition=f"from λ = {start:g}", left_out=dropped, why="curves that are nowhere sound",
        )  # fmt: skip


def cost(measured: Measurements, table: pd.DataFrame, artifact: str) -> None:
    """Time of the corrected drift by automatic differentiation against that of a score."""
    runs = table[table["method"] == "autodiff"]
    runs = runs[runs["dimensions"] == runs["dimensions"].max()]
    ratio = geometric_mean(runs["correction_s"] / runs["score_s"])
    measured.add("mode-cost", ratio, artifact, condition=f"D = {runs['dimensions'].iloc[0]}")


with job(snakemake) as record:
    measured = Measurements(**snakemake.params.bootstrap)
    for name, measure in {
        "modes": ends, "detection": failures, "network": network, "cost": cost
    }.items():  # fmt: skip
        measure(measured, pd.read_csv(snakemake.input[name]), snakemake.input[name])
    write_table(snakemake.output[0], measured.table(), record)
