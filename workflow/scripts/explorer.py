import pandas as pd

from cartoonists.files.artifacts import atomic, job, read_arrays
from cartoonists.report.explorer import guidance_sweep, high_density_sweep, page


def sweep(make, name: str, images: str, table: str):
    folder = f"results/{name}"
    return make(read_arrays(f"{folder}/{images}.npz")[0], pd.read_csv(f"{folder}/{table}.csv"))


with job(snakemake) as record:
    models = {
        name: [sweep(high_density_sweep, name, "high_density_images", "high_density")]
        for name in snakemake.params.models
    }
    for name in snakemake.params.guided:
        models[name].append(sweep(guidance_sweep, name, "control_images", "control"))
    with atomic(snakemake.output[0]) as temporary:
        temporary.write_text(page(models, record), encoding="utf-8")
