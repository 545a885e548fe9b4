"""Width of the sandwich at the usual numbers of steps, by what the tracker knows of the variance.

    python benchmarks/sandwich_width.py [fashion-mnist/flow cifar10/quality] [--samples 16]

Appends to benchmarks/results/sandwich_width.csv the mean over samples of tracked minus IWAE (of
``--paths`` paths), nats/dim, with its standard error: log p^N of the chain lies between the two in
the mean.  *chain*: *library* in steps uniform in t of a flow, else in λ; *spaced* as the table
spaces them; *pipeline* the steps of a `DDPMPipeline` with `TrackedScheduler`, whose network is the
bundled one.  *table*: *none* (c = 0), *isotropic* (of the pipeline by `calibrate`, which knows no
other), *diagonal* in pixels, *DCT*.
"""

import argparse
import copy
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from types import SimpleNamespace

import pandas as pd
import torch
from closed_forms import RESULTS, appended
from tqdm import tqdm

from cartoonists import load_model, track_reverse_sde
from cartoonists.density.likelihood import elbo
from cartoonists.density.posterior import Posterior
from cartoonists.density.stein import estimate_tables
from cartoonists.models.checkpoints import ImageModel
from cartoonists.paths.bases import Cosine, Pixels
from cartoonists.paths.schedules import VP, RectifiedFlow, uniform_grid
from cartoonists.schedulers import TrackedScheduler  # before diffusers

import diffusers  # isort: skip

TABLE_SEEDS = range(1000, 1032)  # never the samples that are tracked


class Sandwich:
    """One model, and both sides of log p^N by its tables."""

    def __init__(self, name: str, samples: int, paths: int, steps: Sequence[int]):
        self.name, self.samples, self.paths, self.steps = name, samples, paths, steps
        self.model = load_model(name)

    @cached_property
    def tables(self) -> dict[str, tuple[Posterior | None, str]]:
        """Posterior and covariance by the table's name."""
        diagonal, dct = estimate_tables(self.model, TABLE_SEEDS, [Pixels(), Cosine()])
        return {
            "none": (None, "none"),
            "isotropic": (diagonal, "isotropic"),
            "diagonal": (diagonal, "diagonal"),
            "DCT": (dct, "diagonal"),
        }

    def usual(self, steps: int) -> list[float]:
        """Uniform in t of a flow, else in λ."""
        schedule = self.model.schedule
        ends = schedule.logsnr_min, schedule.logsnr_max
        if not isinstance(schedule, RectifiedFlow):
            return uniform_grid(*ends, steps)
        times = torch.linspace(*(float(schedule.time(end)) for end in ends), steps + 1)
        inner = [float(schedule.logsnr(time)) for time in times[1:-1].double()]
        return [ends[0], *inner, ends[1]]

    def row(self, chain: str, table: str, steps: int, width: torch.Tensor) -> dict:
        width = width / self.model.dimensions
        return {
            "model": self.name,
            "chain": chain,
            "table": table,
            "steps": steps,
            "samples": len(width),
            "width_nats_per_dim": width.mean().item(),
            "standard_error": width.std().item() / len(width) ** 0.5,
        }

    def library(self) -> Iterator[dict]:
        for steps in self.steps:
            for table in self.tables:
                yield self.both("library", table, steps, self.usual(steps))

    def spaced(self) -> Iterator[dict]:
        ends = self.model.schedule.logsnr_min, self.model.schedule.logsnr_max
        for steps in self.steps:
            for table, (posterior, _) in self.tables.items():
                if posterior is not None:
                    yield self.both("spaced", table, steps, posterior.time_grid(*ends, steps))

    def both(self, chain: str, table: str, steps: int, grid: list[float]) -> dict:
        posterior, covariance = self.tables[table]
        run = track_reverse_sde(
            self.model, self.samples, posterior=posterior, covariance=covariance, grid=grid
        )
        below = elbo(
            self.model, run.x, paths=self.paths, posterior=posterior, covariance=covariance,
            grid=grid,
        )  # fmt: skip
        return self.row(chain, table, steps, run.log_density - below.iwae)

    def pipeline(self) -> Iterator[dict]:
        """`DDPMPipeline` with its usual linear betas."""
        plain = diffusers.DDPMScheduler(clip_sample=False)
        pipe = diffusers.DDPMPipeline(_AsUNet(self.model, plain), plain)
        pipe.set_progress_bar_config(disable=True)
        tracked = pipe.scheduler = TrackedScheduler.from_config(plain.config, seed=1000)

        def draw(samples: int, steps: int) -> None:
            pipe(samples, torch.Generator().manual_seed(tracked.seed), steps, output_type="pt")

        tracked.calibrate(lambda: draw(32, 64))
        tables = {"none": None, "isotropic": tracked.variance}
        tracked.seed = 0
        for steps in self.steps:
            for table, posterior in tables.items():
                tracked.variance = posterior
                draw(self.samples, steps)
                levels = tracked.table.logsnrs
                chain = copy.copy(self.model)
                chain.schedule = VP(levels[0], levels[-1])
                below = elbo(
                    chain, tracked.sample, paths=self.paths, posterior=posterior,
                    covariance=table, grid=levels,
                )  # fmt: skip
                yield self.row("pipeline", table, steps, tracked.log_density - below.iwae)


class _AsUNet(torch.nn.Module):
    """A bundled network where a pipeline expects a U-Net: ε of x at a timestep of its betas."""

    def __init__(self, model: ImageModel, scheduler):
        super().__init__()
        self.model, self.dtype, self.device = model, torch.float32, torch.device("cpu")
        signal = scheduler.alphas_cumprod.double()
        self.logsnrs = (signal / (1 - signal)).log()
        channels, size, _ = model.shape
        self.config = SimpleNamespace(sample_size=size, in_channels=channels)

    def forward(self, x, timestep, return_dict=True):
        logsnr = self.logsnrs[int(timestep)].item()
        noise = -math.sqrt(1 / (1 + math.exp(logsnr))) * self.model.score(x.double(), logsnr)
        return SimpleNamespace(sample=noise.to(x))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["fashion-mnist/flow", "cifar10/quality"])
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--paths", type=int, default=4)
    parser.add_argument("--steps", nargs="+", type=int, default=[28, 50])
    parser.add_argument("--chains", nargs="+", default=["library", "spaced", "pipeline"])
    settings = parser.parse_args()
    torch.set_num_threads(1)
    for name in settings.models:
        sandwich = Sandwich(name, settings.samples, settings.paths, settings.steps)
        flow = isinstance(sandwich.model.schedule, RectifiedFlow)
        for chain in settings.chains:
            if chain == "pipeline" and flow:
                continue  # a DDPMPipeline has no flow
            found = pd.DataFrame(tqdm(getattr(sandwich, chain)(), unit="row"))
            appended(found, RESULTS / "sandwich_width.csv", ["model", "chain", "table", "steps"])


if __name__ == "__main__":
    with torch.no_grad():
        main()
