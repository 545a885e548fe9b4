"""Log-densities of the faces that docs/images/published_faces.npz keeps, at equal noise.

    python benchmarks/published_faces.py results/faces/64 0 1 2 3

Of the pictures as they are shown, in grey levels: denoised, with the noise of their seed at the
largest λ, the same for all of a row, by the PF-ODE in 22 steps with its step-halving error.  The
numbers are rows of the picture.  The network, in bfloat16, and its Stein table are those of a run.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from cartoonists import load_model
from cartoonists.density.flow import FlowSettings, flow_log_density
from cartoonists.experiments.noise import with_noise
from cartoonists.experiments.tables import table_from_arrays
from cartoonists.files.artifacts import read_arrays

KEPT = Path(__file__).resolve().parents[1] / "docs" / "images" / "published_faces.npz"
FLOW = FlowSettings(steps=22)


def main() -> None:
    run = Path(sys.argv[1])
    model = load_model(run / "model.json", precision="bf16")
    table = table_from_arrays(read_arrays(run / "stein.npz")[0])
    with np.load(KEPT, allow_pickle=False) as arrays:
        kept = dict(arrays)
    for i in map(int, sys.argv[2:]):
        clean = model.from_pixels(torch.from_numpy(kept["pixels"][i])) / model.end_scale
        seeds = [int(kept["seeds"][i])] * len(clean)
        found = flow_log_density(model, with_noise(clean, model, seeds), seeds, FLOW, table)
        kept["nats_per_dim"][i] = found.log_density / model.dimensions
        kept["error"][i] = found.error / model.dimensions
    np.savez_compressed(KEPT, **kept)


if __name__ == "__main__":
    main()
