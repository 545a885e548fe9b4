from pathlib import Path

import pandas as pd

from cartoonists.files.artifacts import atomic, job, read_arrays
from cartoonists.images.own_data import held_out_images
from cartoonists.report.explorer import page
from cartoonists.report.explorer_data import (
    Shown,
    anchors,
    guidance_sweep,
    high_density_sweep,
    lambda_path,
)


def shown(name: str, model: dict) -> Shown:
    """All that the page shows of one model."""
    folder = Path("results", name)
    same = {"reference": model["reference"], "stein": str(folder / "stein.npz")}
    if "execution" in model:
        same["execution"] = model["execution"]
    arrays = read_arrays(folder / "high_density_images.npz")[0]
    table = pd.read_csv(folder / "high_density.csv")
    sweeps = [high_density_sweep(arrays, table, same | params.high_density)]
    if name in params.guided:
        guided = read_arrays(folder / "control_images.npz")[0]
        control = pd.read_csv(folder / "control.csv")
        sweeps.append(guidance_sweep(guided, control, same | params.guidance))
    real = held_out_images(
        model["data"], arrays["images"].shape[2:], params.anchors, params.data_dir
    )
    compression = pd.read_csv(folder / "compression.csv")
    blur = pd.read_csv(folder / "blur.csv") if name in params.blurred else None
    return Shown(sweeps, lambda_path(arrays), anchors(real, compression, blur))


with job(snakemake) as record:
    params = snakemake.params
    models = {name: shown(name, model) for name, model in params.models.items()}
    with atomic(snakemake.output[0]) as temporary:
        temporary.write_text(page(models, record), encoding="utf-8")
