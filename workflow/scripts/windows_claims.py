import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.claims import Bootstrap, row, to_table

SOURCE = "Li & Chen 2024"
CLOSE = 0.1  # share of samples, predicted minus measured
ASKED = "a question of ours, no value is claimed"


def prediction_row(where: str, gap, bootstrap: Bootstrap, artifact: str):
    """Mean over samples of the difference, averaged over λ first."""
    found = bootstrap.mean(gap)
    return row(
        f"11 critical windows, predicted against measured: mean difference ({where})",
        SOURCE,
        "0",
        found,
        "share of samples",
        found.within(-CLOSE, CLOSE),
        artifact,
    )


def mixture_rows(artifact: str, bootstrap: Bootstrap) -> list:
    rows = []
    for target, part in pd.read_csv(artifact).groupby("target", sort=False):
        gap = (part["predicted"] - part["kept_sde"]).groupby(part["seed"]).mean()
        rows.append(prediction_row(target, gap, bootstrap, artifact))
        worst = (part["predicted"] - part["own_probability"]).groupby(part["logsnr"]).mean()
        level = worst.abs().idxmax()
        found = bootstrap.mean(
            (part["predicted"] - part["own_probability"])[part["logsnr"] == level]
        )
        rows.append(
            row(
                f"11 critical windows, prediction from pairs against the exact share: "
                f"largest difference, at λ = {level:g} ({target})",
                SOURCE,
                "0",
                found,
                "share of samples",
                found.within(-CLOSE, CLOSE),
                artifact,
            )
        )
    return rows


def model_rows(model: str, artifact: str, bootstrap: Bootstrap) -> list:
    table = pd.read_csv(artifact)
    kept = (table["label_sde"] == table["label"]).astype(float)
    agree = (table["label_sde"] == table["label_again"]).astype(float)
    rows = [
        prediction_row(model, (agree - kept).groupby(table["seed"]).mean(), bootstrap, artifact)
    ]
    decided = kept.groupby(table["logsnr"]).mean()
    for level in sorted(table["logsnr"].unique()):
        at = table["logsnr"] == level
        ratio = bootstrap.mean((table["hd_gradient_energy"] / table["gradient_energy"])[at])
        rows.append(
            row(
                "11 detail of HD images where the class is decided: gradient energy, HD / SDE "
                f"({model}, λ = {level:g}, {decided[level]:.2f} keep their class)",
                SOURCE,
                "not stated",
                ratio,
                "ratio",
                ASKED,
                artifact,
            )
        )
    return rows


with job(snakemake) as record:
    bootstrap = Bootstrap(**snakemake.params.bootstrap)
    rows = mixture_rows("results/theory/windows.csv", bootstrap)
    for model in snakemake.params.models:
        rows += model_rows(model, f"results/{model}/windows.csv", bootstrap)
    write_table(snakemake.output[0], to_table(rows), record)
