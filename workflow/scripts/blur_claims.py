import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.estimates import Measurements, share
from cartoonists.statistics.summaries import rises
from cartoonists.statistics.trust import UNTRUSTED, trusted_whole

CONTROLS = ("contrast", "down-up")  # that take detail away as blur does


def curves(measured: Measurements, model: str, artifact: str) -> None:
    """Claim 8: images whose log-density rises at every step, of blur and of its controls."""
    table = pd.read_csv(artifact)
    main = table[(table["repeat"] == 0) & (table["logsnr"] == table["logsnr"].max())]
    for operation, part in main.groupby("operation", sort=False):
        kept = part[trusted_whole(part, ["source", "seed"])]
        up = share((rises(kept) > 0).all(axis=1) if len(kept) else [])
        dropped = len(part.drop_duplicates(["source", "seed"])) - up.n
        here = {"artifact": artifact, "model": model, "condition": operation}
        here |= {"left_out": dropped, "why": UNTRUSTED}
        if operation == "blur":
            measured.add("blur-raises", up, **here)
        elif operation in CONTROLS:
            measured.add("blur-not-special", up, **here)


with job(snakemake) as record:
    measured = Measurements(**snakemake.params.bootstrap)
    for model in snakemake.params.models:
        curves(measured, model, f"results/{model}/blur.csv")
    write_table(snakemake.output[0], measured.table(), record)
