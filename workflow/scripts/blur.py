import pandas as pd

from cartoonists.artifacts import job, read_arrays, write_table
from cartoonists.checkpoints import load_model
from cartoonists.data import held_out_images
from cartoonists.degradations import degradation_curves
from cartoonists.evaluation import table_from_arrays
from cartoonists.flow import FlowSettings
from cartoonists.pairs import collect_images

with job(snakemake) as record:
    params, settings = snakemake.params, snakemake.params.settings
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    stein = table_from_arrays(read_arrays(snakemake.input.stein)[0])
    n = settings["n_images"]
    samples = collect_images([read_arrays(name)[0] for name in snakemake.input.samples], n)
    real = held_out_images(params.model["data"], model.pixel_shape, n, params.data_dir)
    sources = {
        "data": (real, range(len(real))),
        "samples": (samples["images"][0], samples["seeds"]),
    }
    tables = [
        degradation_curves(
            model, images, seeds, settings["strengths"], FlowSettings(**settings["flow"]), stein
        ).assign(source=source, dimensions=model.dimensions)
        for source, (images, seeds) in sources.items()
        if len(images)
    ]
    write_table(snakemake.output[0], pd.concat(tables, ignore_index=True), record)
