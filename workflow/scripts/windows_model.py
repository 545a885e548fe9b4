import numpy as np

from cartoonists.artifacts import job, read_arrays, write_arrays, write_table
from cartoonists.checkpoints import load_model
from cartoonists.classifier import load_classifier
from cartoonists.evaluation import table_from_arrays
from cartoonists.windows import model_windows

with job(snakemake) as record:
    params, settings = snakemake.params, snakemake.params.settings
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    seeds = range(params.seed, params.seed + settings["n_samples"])
    levels = model.schedule.inside(settings["logsnr"], "windows.logsnr")
    table, images = model_windows(
        model,
        load_classifier(params.model["data"]),
        levels,
        seeds,
        settings["steps"],
        posterior=table_from_arrays(read_arrays(snakemake.input.stein)[0]),
    )
    write_table(snakemake.output.table, table, record)
    arrays = {"logsnr": np.array(levels), "images": images[:, :8]}
    write_arrays(snakemake.output.images, arrays, record)
