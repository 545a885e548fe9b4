import numpy as np
import pandas as pd

from cartoonists.density.flow import FlowSettings
from cartoonists.experiments.blur import black_level_curves, degradation_curves
from cartoonists.experiments.high_density import collect_images
from cartoonists.experiments.survivors import without_stopped
from cartoonists.experiments.tables import table_from_arrays
from cartoonists.files.artifacts import job, read_arrays, write_table
from cartoonists.images.own_data import held_out_images
from cartoonists.models.checkpoints import load_model


def measured(curves, n):
    """A table of ``curves(images, seeds)`` of n images of each kind, and which were stopped."""
    samples = collect_images([read_arrays(name)[0] for name in snakemake.input.samples], n)
    real = held_out_images(params.model["data"], model.pixel_shape, n, params.data_dir)
    sources = {
        "data": (real, range(len(real))),
        "samples": (samples["images"][0], samples["seeds"]),
    }
    tables, all_stopped = [], {}
    for source, (images, seeds) in sources.items():
        by_seed = dict(zip(seeds, images, strict=True))
        if not by_seed:
            continue
        table, all_stopped[source] = without_stopped(
            lambda left, by_seed=by_seed: curves(np.stack([by_seed[s] for s in left]), left),
            list(by_seed),
        )
        tables.append(table.assign(source=source, dimensions=model.dimensions))
    return pd.concat(tables, ignore_index=True), all_stopped


with job(snakemake) as record:
    params, settings = snakemake.params, snakemake.params.settings
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    stein = table_from_arrays(read_arrays(snakemake.input.stein)[0])
    flow, black = FlowSettings(**settings["flow"]), settings["black"]
    table, stopped = measured(
        lambda images, seeds: degradation_curves(
            model, images, seeds, settings["strengths"], flow, stein
        ),
        settings["n_images"],
    )
    write_table(snakemake.output.curves, table, record | {"stopped": stopped})
    table, stopped = measured(
        lambda images, seeds: black_level_curves(
            model, images, seeds, black["levels"], black["strengths"],
            FlowSettings(**black["flow"]), stein,
        ),
        black["n_images"],
    )  # fmt: skip
    write_table(snakemake.output.black, table, record | {"stopped": stopped})
