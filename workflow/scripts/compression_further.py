from cartoonists.density.flow import FlowSettings
from cartoonists.density.stein import estimate_table
from cartoonists.experiments.compression import CompressionSettings, model_rows
from cartoonists.experiments.survivors import without_stopped
from cartoonists.files.artifacts import job, write_table
from cartoonists.images.own_data import held_out_images
from cartoonists.models.checkpoints import load_model

with job(snakemake) as record:
    params, stein = snakemake.params, snakemake.params.stein
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    settings = CompressionSettings(params.n_images, [], 1, FlowSettings(**params.flow))
    real = held_out_images(params.model["data"], model.pixel_shape, settings.n_images)

    def measured(seeds):
        table = estimate_table(
            model,
            seeds[: stein["n_samples"]],
            points=stein["points"],
            pilot_steps=stein["pilot_steps"],
        )
        return model_rows(model, real, seeds, settings, params.base_steps, table)

    seeds = range(params.seed, params.seed + settings.n_images)
    table, stopped = without_stopped(measured, seeds)
    write_table(snakemake.output[0], table, record | {"stopped": stopped})
