import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.estimates import Measurements, mean, mean_share, share
from cartoonists.statistics.summaries import rises
from cartoonists.statistics.trust import UNTRUSTED, trusted_whole

CONTROLS = ("contrast", "down-up")  # that take detail away as blur does


def rising(part: pd.DataFrame) -> tuple[pd.DataFrame, dict]:
    """Whether log p rises, a row a trusted image and a column a step; images left out."""
    kept = part[trusted_whole(part, ["source", "seed"])]
    up = rises(kept) > 0
    return up, {
        "left_out": len(part.drop_duplicates(["source", "seed"])) - len(up),
        "why": UNTRUSTED,
    }


def curves(measured: Measurements, model: str, artifact: str) -> None:
    """Claim 8: images whose log-density rises at every step, of blur and of its controls."""
    table = pd.read_csv(artifact)
    main = table[(table["repeat"] == 0) & (table["logsnr"] == table["logsnr"].max())]
    for operation, part in main.groupby("operation", sort=False):
        up, dropped = rising(part)
        every = share(up.all(axis=1) if len(up) else [])
        here = {"artifact": artifact, "model": model, "condition": operation} | dropped
        if operation == "blur":
            measured.add("blur-raises", every, **here)
        elif operation in CONTROLS:
            measured.add("blur-not-special", every, **here)


def black_levels(measured: Measurements, model: str, artifact: str) -> None:
    """Claim 8: blur steps that rise at each black level, and the highest level against 0."""
    table = pd.read_csv(artifact)
    shares, here = {}, {"artifact": artifact, "model": model}
    for level, part in table.groupby("black_level"):
        up, dropped = rising(part)
        shares[level] = up.mean(axis=1)
        condition = f"black level {level:g}"
        measured.add(
            "blur-steps-rise", mean_share(shares[level]), condition=condition, **here | dropped
        )
    gap = (shares[max(shares)] - shares[min(shares)]).dropna()
    images = len(table.drop_duplicates(["source", "seed"]))
    condition = f"black level {max(shares):g} - {min(shares):g}"
    dropped = {"left_out": images - len(gap), "why": UNTRUSTED}
    measured.add("blur-black-level", mean(gap), condition=condition, **here | dropped)


with job(snakemake) as record:
    measured = Measurements(**snakemake.params.bootstrap)
    for model in snakemake.params.models:
        curves(measured, model, f"results/{model}/blur.csv")
        black_levels(measured, model, f"results/{model}/blur_black.csv")
    write_table(snakemake.output[0], measured.table(), record)
