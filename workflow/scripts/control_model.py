import numpy as np

from cartoonists.density.flow import FlowSettings
from cartoonists.experiments.control import (
    ControlSettings,
    aligned_at,
    alignment_table,
    model_control,
)
from cartoonists.experiments.survivors import without_stopped
from cartoonists.experiments.tables import table_from_arrays
from cartoonists.files.artifacts import job, read_arrays, write_arrays, write_table
from cartoonists.models.checkpoints import load_model
from cartoonists.models.classifier import bundled_classifiers, load_classifier

with job(snakemake) as record:
    params, options = snakemake.params, snakemake.params.settings
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    stein = table_from_arrays(read_arrays(snakemake.input.stein)[0])
    settings = ControlSettings(**options, flow=FlowSettings(**params.flow))
    seeds = range(params.seed, params.seed + params.n_samples)
    data = params.model["data"]
    classifier = load_classifier(data) if data in bundled_classifiers() else None
    (table, images), stopped = without_stopped(
        lambda left: model_control(model, left, settings, stein, classifier), seeds
    )
    write_table(snakemake.output.table, table, record | {"stopped": stopped})
    arrays = {
        "quantiles": np.array(sorted(settings.quantiles)),
        "images": images[:, : params.shown],
    }
    write_arrays(snakemake.output.images, arrays, record)
    levels = aligned_at(model.schedule, params.alignment_logsnr)
    table, stopped = without_stopped(
        lambda left: alignment_table(
            model, left, settings.steps, settings.width, levels, posterior=stein
        ),
        seeds[: params.n_aligned],
    )
    write_table(snakemake.output.alignment, table, record | {"stopped": stopped})
