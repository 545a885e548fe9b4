import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.estimates import Measurements, bootstrapped, mean
from cartoonists.statistics.summaries import half_way_gap


def place(measured: Measurements, model: str, condition: str, artifact: str, table) -> None:
    """Claim 11: λ at half way, measured minus predicted; columns seed, logsnr, kept, predicted."""
    kept, predicted = (
        table.pivot(index="seed", columns="logsnr", values=name).astype(float)
        for name in ("kept", "predicted")
    )
    columns = [*(kept[level] for level in kept), *(predicted[level] for level in kept)]
    gap = bootstrapped(half_way_gap(list(kept)), *columns)
    measured.add("windows-place", gap, artifact, model=model, condition=condition)


def mixtures(measured: Measurements, artifact: str) -> None:
    for target, part in pd.read_csv(artifact).groupby("target", sort=False):
        shown = part.rename(columns={"kept_sde": "kept"})
        place(measured, "closed form", target, artifact, shown)
        gap = part["predicted"] - part["own_probability"]
        level = gap.groupby(part["logsnr"]).mean().abs().idxmax()
        where = f"{target}, λ = {level:g}"
        measured.add("windows-exact", mean(gap[part["logsnr"] == level]), artifact, condition=where)


def image_model(measured: Measurements, model: str, artifact: str) -> None:
    """Two draws from x_λ agree as often as one keeps the class, if the chain is exact."""
    table = pd.read_csv(artifact)
    kept = table["label_sde"] == table["label"]
    agree = table["label_sde"] == table["label_again"]
    place(measured, model, "", artifact, table.assign(kept=kept, predicted=agree))


with job(snakemake) as record:
    measured = Measurements(**snakemake.params.bootstrap)
    mixtures(measured, "results/theory/windows.csv")
    for model in snakemake.params.models:
        image_model(measured, model, f"results/{model}/windows.csv")
    write_table(snakemake.output[0], measured.table(), record)
