from cartoonists.density.flow import FlowSettings
from cartoonists.experiments.extrapolation import (
    SamplingSettings,
    Truth,
    judge_samples,
    network_of_arrays,
)
from cartoonists.experiments.tiny import tiny_schedule
from cartoonists.files.artifacts import job, read_arrays, write_arrays, write_table

with job(snakemake) as record:
    params = snakemake.params
    truth = Truth.of_arrays(read_arrays(snakemake.input.truth)[0], tiny_schedule())
    model, seeds = truth.mixture, range(params.seed, params.seed + params.n)
    if snakemake.input.network:  # none for the exact score
        model = network_of_arrays(read_arrays(snakemake.input.network)[0], truth)
    settings = SamplingSettings(params.switch_logsnr, params.steps, FlowSettings(**params.flow))
    table, images = judge_samples(params.score, model, truth, seeds, settings)
    write_table(snakemake.output.table, table, record)
    write_arrays(snakemake.output.images, images, record)
