import pandas as pd

from cartoonists.artifacts import job, read_arrays, write_table
from cartoonists.checkpoints import load_model
from cartoonists.claims import Bootstrap
from cartoonists.compression import (
    CompressionSettings,
    data_rows,
    density_correlations,
    sample_rows,
)
from cartoonists.evaluation import held_out_images, table_from_arrays
from cartoonists.pairs import FlowSettings, collect_images

with job(snakemake) as record:
    params = snakemake.params
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    basis = table_from_arrays(read_arrays(snakemake.input.stein)[0]).basis
    settings = CompressionSettings(**params.settings, flow=FlowSettings(**params.flow))
    found = collect_images([read_arrays(n)[0] for n in snakemake.input.images], params.n_samples)
    pairs = pd.read_csv(snakemake.input.pairs)
    real = held_out_images(model.card["data"]["name"], params.data_dir).images
    samples = sample_rows(model, pairs, found, settings, basis)
    data = data_rows(model, real[: settings.n_images], settings, basis)
    table = pd.concat([data, samples], ignore_index=True)
    write_table(snakemake.output.table, table, record)
    correlations = density_correlations(table, Bootstrap(**params.bootstrap))
    write_table(snakemake.output.correlations, correlations, record)
