import numpy as np
import pandas as pd

from cartoonists.density.flow import FlowSettings
from cartoonists.experiments.blur import degradation_curves
from cartoonists.experiments.high_density import collect_images
from cartoonists.experiments.survivors import without_stopped
from cartoonists.experiments.tables import table_from_arrays
from cartoonists.files.artifacts import job, read_arrays, write_table
from cartoonists.images.own_data import held_out_images
from cartoonists.models.checkpoints import load_model

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

    def curves(source, images, seeds):
        """Of one source, and which of its images were stopped."""
        by_seed = dict(zip(seeds, images, strict=True))
        table, stopped = without_stopped(
            lambda left: degradation_curves(
                model, np.stack([by_seed[seed] for seed in left]), left, settings["strengths"],
                FlowSettings(**settings["flow"]), stein,
            ),
            list(by_seed),
        )  # fmt: skip
        return table.assign(source=source, dimensions=model.dimensions), stopped

    found = {name: curves(name, *source) for name, source in sources.items() if len(source[0])}
    table = pd.concat([table for table, _ in found.values()], ignore_index=True)
    stopped = {name: stopped for name, (_, stopped) in found.items()}
    write_table(snakemake.output[0], table, record | {"stopped": stopped})
