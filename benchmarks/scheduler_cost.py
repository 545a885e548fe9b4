"""Time of a pipeline with a tracked scheduler over the same pipeline with diffusers' own.

    python benchmarks/scheduler_cost.py [--repeats 15] [--samples 4] [--steps 8]

Writes scheduler_cost.csv: medians of ratios within interleaved rounds, in processor time, with
bootstrap intervals.  The network is a random U-Net of 32 × 32 pixels, so that it dominates; the
untracked chains are DDPM (ancestral, the same number of normal values) and DDIM (no noise).
"""

import argparse

import pandas as pd
import torch
from interleaved import interleaved, machine, ratio_columns, write

from cartoonists.schedulers import IsotropicVariance, TrackedScheduler  # before diffusers

import diffusers  # isort: skip


def pipeline(width: int, size: int) -> diffusers.DDPMPipeline:
    """A DDPM pipeline with a random network."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=size, block_out_channels=(width, 2 * width, 2 * width), layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    ).eval()  # fmt: skip
    pipe = diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler(clip_sample=False))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--size", type=int, default=32)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pipe = pipeline(given.width, given.size)
    plain = pipe.scheduler
    tracked = TrackedScheduler.from_config(plain.config)
    tracked.variance = IsotropicVariance.gaussian(0.3)
    chosen = {
        "tracked": tracked,
        "ddpm": plain,
        "ddim": diffusers.DDIMScheduler.from_config(plain.config),
    }

    def draw(scheduler):
        pipe.scheduler = scheduler
        same = torch.Generator().manual_seed(0)
        pipe(given.samples, same, given.steps, output_type="pt")
        return scheduler.log_density if scheduler is tracked else None

    actions = {name: (lambda scheduler=s: draw(scheduler)) for name, s in chosen.items()}
    times = interleaved(actions, given.repeats)
    rows = []
    for name in ("ddpm", "ddim"):
        row = {"untracked": name, "samples": given.samples, "size": given.size}
        row["untracked_ms_a_step"] = 1e3 * times[name].median() / given.samples / given.steps
        rows.append(row | ratio_columns(times["tracked"], times[name]) | machine())
    print(write("scheduler_cost", pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
