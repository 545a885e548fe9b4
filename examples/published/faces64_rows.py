"""Ordinary samples of the faces and, of the same seeds, HD samples from four switch points.

    python examples/published/faces64_rows.py --out rows --seeds 0 1 2 3

Each seed takes some ten minutes of a processor core; a chunk of four that is there is not made
again.  All samples are denoised once; the log-density is that of the denoised image with the *same*
noise put back (that of the model's last λ), so that samples that carry noise and samples that do
not are compared alike: by the PF-ODE, with its error by step halving.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from cartoonists import ImageModel, load_model, ode_log_density
from cartoonists.density.sampling import follow_high_density
from cartoonists.density.stein import estimate_tables
from cartoonists.density.tracking import reverse_sde_path
from cartoonists.files.artifacts import atomic
from cartoonists.images.pictures import codec_sizes
from cartoonists.paths.bases import Cosine
from cartoonists.paths.streams import Streams

SWITCHES = (4.0, 2.0, 0.0, -2.0)
STEPS, FLOW_STEPS, HD_STEP = 64, 24, 0.6
CHUNK = 4


def chain_grid(model: ImageModel) -> list[float]:
    """About ``STEPS`` steps over the model's range, the switch points among them."""
    schedule = model.schedule
    ends = [schedule.logsnr_min, *sorted(SWITCHES), schedule.logsnr_max]
    grid = [ends[0]]
    for start, stop in zip(ends[:-1], ends[1:], strict=True):
        share = (stop - start) / (ends[-1] - ends[0])
        grid += model.posterior.time_grid(start, stop, max(2, round(share * STEPS)))[1:]
    return grid


def samples(model: ImageModel, seeds: list[int]):
    """Ends of the chain and of the HD-ODE from each switch, ``[1 + switches, n, …]``; tracked."""
    points = {}

    def keep(logsnr, x, _):
        points[logsnr] = x

    x = model.sample_prior(Streams(seeds, "prior"))
    run = reverse_sde_path(
        model, x, model.prior_log_prob(x), chain_grid(model), seeds, callback=keep
    )
    zero = torch.zeros(len(seeds), dtype=torch.float64)
    ends = [run.x]
    for switch in SWITCHES:
        steps = max(8, round((model.schedule.logsnr_max - switch) / HD_STEP))
        path = follow_high_density(
            model, points[switch], zero, switch, steps, seeds, solver="adams", divergence="none"
        )
        ends.append(path.x)
    return torch.stack(ends), run


def same_noise(model: ImageModel, clean: torch.Tensor, seeds: list[int]):
    """PF-ODE log-density of denoised samples with one noise a seed put back."""
    schedule = model.schedule
    top = schedule.logsnr_max
    noise = Streams(seeds, "same noise").normal(model.shape)
    x = schedule.alpha(top) * clean + schedule.sigma(top) * noise
    grid = model.posterior.time_grid(top, schedule.logsnr_min, FLOW_STEPS)
    return ode_log_density(
        model, x, solver="adams", divergence="hutchinson", seeds=seeds, basis=Cosine(), grid=grid,
        error=True,
    )  # fmt: skip


def measured(model: ImageModel, seeds: list[int]) -> dict[str, np.ndarray]:
    """All that is known of the seeds' samples; the first axis is the kind of sample."""
    ends, run = samples(model, seeds)
    clean = torch.stack([model.denoise(x, model.schedule.logsnr_max) for x in ends])
    pixels = np.stack([model.to_pixels(x).numpy() for x in clean])
    flows = [same_noise(model, x, seeds) for x in clean]
    return {
        "seeds": np.array(seeds),
        "switch_logsnr": np.array([np.nan, *SWITCHES]),
        "pixels": pixels,
        "png_bytes": np.stack([codec_sizes(p, ["png"])["png"] for p in pixels]),
        "log_density_nats": np.stack([f.log_density.numpy() for f in flows]),
        "error_nats": np.stack([f.error.numpy() for f in flows]),
        "tracked_log_density_nats": run.log_density.numpy(),
        "tracked_error_nats": run.error.numpy(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the arrays")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(16)))
    parser.add_argument("--folder", help="a local copy of model.json and the shards")
    given = parser.parse_args()
    source = f"python:{Path(__file__).with_name('faces64.py')}:model"
    arguments = {"folder": given.folder} if given.folder else {}
    model = load_model({"source": source, "arguments": arguments, "logsnr_range": [-8.0, 8.762]})
    model.posterior = estimate_tables(model, range(10_000, 10_024), [Cosine()], 21, 32)[0]
    for start in range(0, len(given.seeds), CHUNK):
        seeds = given.seeds[start : start + CHUNK]
        path = given.out / f"rows_{seeds[0]:04d}.npz"
        if not path.is_file():
            with atomic(path) as temporary:
                np.savez_compressed(temporary, **measured(model, seeds))


if __name__ == "__main__":
    main()
