import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.claims import Bootstrap, row, to_table
from cartoonists.statistics.summaries import rises

SOURCE = "Karczewski et al. 2025a, section 5"
CONTROL = "a control; the paper makes no statement"
MOSTLY = 0.9  # share of images that still counts as "monotonically"


def blur_rows(model: str, artifact: str, bootstrap: Bootstrap) -> list:
    """Claim 8: images whose log-density rises at every step, and steps that rise."""
    table = pd.read_csv(artifact)
    main = table[(table["repeat"] == 0) & (table["logsnr"] == table["logsnr"].max())]
    rows = []
    for (operation, source), part in main.groupby(["operation", "source"], sort=False):
        up = rises(part) > 0
        where = f"{operation}, {source}, {model}"
        claimed = operation == "blur"
        images = bootstrap.mean(up.all(axis=1).astype(float))
        steps = bootstrap.mean(up.mean(axis=1))
        rows += [
            row(
                f"8 blur raises the log-density: images in which every step rises ({where})",
                SOURCE,
                "all images" if claimed else "control",
                images,
                "share of images",
                (images.above(MOSTLY) or images.value == 1.0) if claimed else CONTROL,
                artifact,
            ),
            row(
                f"8 blur raises the log-density: steps that rise ({where})",
                SOURCE,
                "all steps" if claimed else "control",
                steps,
                "share of steps",
                (steps.above(MOSTLY) or steps.value == 1.0) if claimed else CONTROL,
                artifact,
            ),
        ]
    return rows


with job(snakemake) as record:
    bootstrap = Bootstrap(**snakemake.params.bootstrap)
    rows = []
    for model in snakemake.params.models:
        rows += blur_rows(model, f"results/{model}/blur.csv", bootstrap)
    write_table(snakemake.output[0], to_table(rows), record)
