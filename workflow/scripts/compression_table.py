import pandas as pd

from cartoonists.density.flow import FlowSettings
from cartoonists.experiments.compression import (
    CompressionSettings,
    data_rows,
    density_correlations,
    sample_rows,
)
from cartoonists.experiments.high_density import collect_images
from cartoonists.experiments.survivors import without_stopped
from cartoonists.experiments.tables import table_from_arrays
from cartoonists.files.artifacts import job, read_arrays, write_table
from cartoonists.images.own_data import held_out_images
from cartoonists.models.checkpoints import load_model
from cartoonists.statistics.claims import Bootstrap

with job(snakemake) as record:
    params = snakemake.params
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    stein = table_from_arrays(read_arrays(snakemake.input.stein)[0])
    levels = model.schedule.inside(params.settings["lid_logsnr"], "compression.lid_logsnr")
    flow = FlowSettings(**params.flow)
    settings = CompressionSettings(**params.settings | {"lid_logsnr": levels}, flow=flow)
    found = collect_images([read_arrays(n)[0] for n in snakemake.input.images], params.n_samples)
    pairs = pd.read_csv(snakemake.input.pairs)
    n = settings.n_images
    real = held_out_images(params.model["data"], model.pixel_shape, n, params.data_dir)
    tables, stopped = [sample_rows(model, pairs, found, settings, stein)], []
    if len(real):
        data, stopped = without_stopped(
            lambda left: data_rows(model, real[left], left, settings, stein), range(len(real))
        )
        tables.insert(0, data)
    table = pd.concat(tables, ignore_index=True)
    write_table(snakemake.output.table, table, record | {"stopped": stopped})
    correlations = density_correlations(table, Bootstrap(**params.bootstrap))
    write_table(snakemake.output.correlations, correlations, record)
