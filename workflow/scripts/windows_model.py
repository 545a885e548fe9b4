import numpy as np

from cartoonists.experiments.survivors import without_stopped
from cartoonists.experiments.tables import table_from_arrays
from cartoonists.experiments.windows import model_windows
from cartoonists.files.artifacts import job, read_arrays, write_arrays, write_table
from cartoonists.models.checkpoints import load_model
from cartoonists.models.classifier import load_classifier

with job(snakemake) as record:
    params, settings = snakemake.params, snakemake.params.settings
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    levels = model.schedule.inside(settings["logsnr"], "windows.logsnr")
    stein = table_from_arrays(read_arrays(snakemake.input.stein)[0])
    classifier = load_classifier(params.model["data"])
    (table, images), stopped = without_stopped(
        lambda left: model_windows(model, classifier, levels, left, settings["steps"], stein),
        range(params.seed, params.seed + settings["n_samples"]),
    )
    write_table(snakemake.output.table, table, record | {"stopped": stopped})
    arrays = {"logsnr": np.array(levels), "images": images[:, :8]}
    write_arrays(snakemake.output.images, arrays, record)
