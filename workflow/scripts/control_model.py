import numpy as np

from cartoonists.density.flow import FlowSettings
from cartoonists.experiments.control import (
    ControlSettings,
    NoiseWindow,
    aligned_at,
    alignment_table,
    guided_measures,
    guided_sets,
    model_control,
)
from cartoonists.experiments.frechet import best_space
from cartoonists.experiments.survivors import without_stopped
from cartoonists.experiments.tables import table_from_arrays
from cartoonists.files.artifacts import job, read_arrays, write_arrays, write_table
from cartoonists.images.own_data import held_out_images
from cartoonists.models.checkpoints import load_model
from cartoonists.models.classifier import bundled_classifiers, load_classifier

with job(snakemake) as record:
    params, options = snakemake.params, snakemake.params.settings
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    stein = table_from_arrays(read_arrays(snakemake.input.stein)[0])
    windows = {
        name: NoiseWindow(tuple(window["logsnr"]), window["scale"], window["steps"])
        for name, window in options["noise"].items()
    }
    flow = FlowSettings(**params.flow)
    settings = ControlSettings(**options | {"noise": windows}, flow=flow)
    seeds = range(params.seed, params.seed + params.n_samples)
    data = params.model["data"]
    classifier = load_classifier(data) if data in bundled_classifiers() else None
    (table, images), stopped = without_stopped(
        lambda left: model_control(model, left, settings, stein, classifier), seeds
    )
    write_table(snakemake.output.table, table, record | {"stopped": stopped})
    strengths, kept = sorted(settings.strengths), [s for s in seeds if s not in stopped]
    measures = guided_measures(images, strengths, kept, classifier)
    write_table(snakemake.output.measures, measures, record)
    real = held_out_images(data, images.shape[2:], images.shape[1], params.data_dir)
    space = best_space(data)
    sets = guided_sets(images, strengths, real, space, params.confidence)
    write_table(snakemake.output.sets, sets, record | {"feature_space": space.described()})
    shown = min(params.shown, settings.n_measured)
    arrays = {"strengths": np.array(strengths), "images": images[:, :shown]}
    write_arrays(snakemake.output.images, arrays, record)
    levels = aligned_at(model.schedule, params.alignment_logsnr)
    table, stopped = without_stopped(
        lambda left: alignment_table(
            model, left, settings.steps, settings.width, levels, posterior=stein
        ),
        seeds[: params.n_aligned],
    )
    write_table(snakemake.output.alignment, table, record | {"stopped": stopped})
