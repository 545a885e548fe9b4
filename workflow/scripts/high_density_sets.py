import json
from pathlib import Path

import numpy as np

from cartoonists.experiments.frechet import best_space
from cartoonists.experiments.high_density import collect_images, collect_paths
from cartoonists.files.artifacts import job, read_arrays, write_arrays, write_table
from cartoonists.images.measures import set_table, spectrum_table
from cartoonists.images.own_data import held_out_images

with job(snakemake) as record:
    params = snakemake.params
    parts = [read_arrays(name)[0] for name in snakemake.input.images]
    found = collect_images(parts, params.n)
    switches, images = found["switch_logsnr"], found["images"]
    inception = [json.loads(Path(name).read_text()) for name in snakemake.input.inception]
    weights = [(Path(file["path"]), file["sha256"]) for file in inception]
    space = best_space(params.data, *(weights[0] if weights else ()))
    real = held_out_images(params.data, images.shape[2:], 2 * params.n, params.data_dir)
    data = space.features(real) if len(real) else np.empty((0, space.dimensions))
    features = np.stack([space.features(part) for part in images])
    sets = set_table(features, switches, data, params.confidence, space.metric)
    sets = sets.assign(feature_space=space.name, resize=space.resize)
    write_table(snakemake.output.sets, sets, record | {"feature_space": space.described()})
    write_table(snakemake.output.spectra, spectrum_table(images, switches), record)
    shown = found | {"images": images[:, : params.shown], "seeds": found["seeds"][: params.shown]}
    write_arrays(snakemake.output.images, shown | collect_paths(parts), record)
