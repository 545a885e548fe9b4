import numpy as np
import pandas as pd

from cartoonists.density.flow import FlowSettings
from cartoonists.experiments.high_density import (
    BoundSettings,
    denoised_path,
    high_density_pairs,
    pair_bounds,
    pair_log_densities,
)
from cartoonists.experiments.survivors import with_stopped, without_stopped
from cartoonists.experiments.tables import table_from_arrays
from cartoonists.files.artifacts import job, read_arrays, write_arrays, write_table
from cartoonists.images.measures import image_measures
from cartoonists.models.checkpoints import load_model

with job(snakemake) as record:
    params = snakemake.params
    model = load_model(params.model["reference"], **params.model.get("execution", {}))
    stein = table_from_arrays(read_arrays(snakemake.input.stein)[0])
    switches = model.schedule.inside(params.settings["switch_logsnr"], "high_density.switch_logsnr")
    flow = FlowSettings(**params.settings["flow"])
    bounds = BoundSettings(**params.settings["bounds"])

    def measured(seeds):
        pairs = high_density_pairs(
            model,
            switches,
            seeds,
            base_steps=params.base_steps,
            steps=params.settings["steps"],
            posterior=stein,
        )
        clean = pairs.denoised(model)
        densities = pair_log_densities(model, pairs, clean, flow, stein)
        bounded = pair_bounds(
            model,
            pairs,
            clean,
            bounds,
            first_seed=params.first_seed,
            base_steps=params.base_steps,
            posterior=stein,
        )
        table = densities.merge(bounded, how="left", on=["seed", "sample", "switch_logsnr"])
        return pairs, clean, table

    (pairs, clean, densities), stopped = without_stopped(measured, range(*params.seeds))
    images = np.stack([model.picture(x).numpy() for x in clean])
    measures = image_measures(images.reshape(-1, *images.shape[2:]))
    table = with_stopped(pd.concat([densities, measures], axis=1), stopped)
    write_table(snakemake.output.table, table, record | {"stopped": stopped})
    arrays = {
        "seeds": np.array(pairs.seeds),
        "stopped": np.array(stopped, dtype=int),
        "switch_logsnr": np.array(pairs.switch_logsnr),
        "images": images,
    }
    if shown := [seed for seed in pairs.seeds if seed < params.first_seed + params.shown]:
        arrays |= denoised_path(model, shown, params.base_steps, stein)
    write_arrays(snakemake.output.images, arrays, record)
