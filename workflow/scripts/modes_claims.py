import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.estimates import Measurements, geometric_mean, mean, share

UNSOUND = ["indefinite", "ill-conditioned"]  # statuses
WITHIN = {"mode ODE": 1e-3, "HD-ODE": 0.1}  # RMS distance to a mode
CLAIMS = {"mode ODE": "mode-ode", "HD-ODE": "hd-ode-near-mode"}
UNSOUND_WHY = "starts that end indefinite or ill-conditioned"


def ends(measured: Measurements, table: pd.DataFrame, artifact: str) -> None:
    """Claim 5: end points by target, dimension and start; a seed succeeds with every schedule."""
    for (target, size, start), part in table.groupby(["target", "dimensions", "logsnr_t"]):
        where = {"condition": f"{target}, D = {size}, from λ = {start:g}"}
        if target == "Gaussian":  # no third derivatives: both equations are one
            near = _near(part[part["process"] == "HD-ODE"], WITHIN["mode ODE"])
            measured.add("hd-ode-gaussian", share(near), artifact, **where)
            continue
        for process, runs in part.groupby("process", sort=False):
            sound = runs[~runs["status"].isin(UNSOUND)]
            near = share(_near(sound, WITHIN[process]))
            dropped = {"left_out": len(runs) - len(sound), "why": UNSOUND_WHY}
            measured.add(CLAIMS[process], near, artifact, **where, **dropped)
        runs = part[part["process"] == "mode ODE"]
        highest = (~runs["failed"].astype(bool)).groupby(runs["seed"]).all()
        measured.add("curve-smooth", share(highest), artifact, **where)


def _near(runs: pd.DataFrame, distance: float) -> pd.Series:
    """Whether each seed ends within this RMS distance of a mode with every schedule."""
    return (runs["error"] < distance).groupby(runs["seed"]).all()


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
