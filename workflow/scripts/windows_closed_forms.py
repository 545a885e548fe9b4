import pandas as pd

from cartoonists.experiments.windows import (
    between_windows,
    features,
    mixture_windows,
    predicted_windows,
)
from cartoonists.files.artifacts import job, write_table
from cartoonists.paths.schedules import VP

with job(snakemake) as record:
    params, settings = snakemake.params, snakemake.params.settings
    seeds = range(params.seed, params.seed + settings["n_samples"])
    schedule, steps = VP(*params.logsnr), settings["steps"]
    tables = [
        mixture_windows(feature, settings["logsnr"], seeds, steps, settings["n_modes"]).assign(
            target=name
        )
        for name, feature in features(settings["dimensions"], schedule).items()
    ]
    write_table(snakemake.output.shares, pd.concat(tables, ignore_index=True), record)
    predicted = predicted_windows(settings["dimensions"], schedule)
    write_table(snakemake.output.predicted, predicted, record)
    write_table(snakemake.output.between, between_windows(schedule, seeds, steps), record)
