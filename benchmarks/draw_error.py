"""Error of HD samples and guided ones against evaluations: of the end of the path and its log p.

    python benchmarks/draw_error.py [closed-forms fashion-mnist/likelihood …] [--samples 8]

Appends to benchmarks/results/draw_error.csv a row a draw, solver and number of evaluations:
*end_rms*, the distance from where 512 evaluations of Heun end, root mean square over x and median
over samples, in units of the data; *log_density*, the median of |tracked - true| in nats/dim.  The
truth is the closed form at the end reached; of a network the PF-ODE in 32 evaluations there, less
what it differs by from the tracked value of the reference, for a network is no exact score.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from closed_forms import RESULTS, TARGETS, appended, target
from tqdm import tqdm

from cartoonists import VP, load_model, ode_log_density
from cartoonists.density.guidance import DensityGuidance, rescale_latent
from cartoonists.density.posterior import PosteriorTable, mixture_table, spaced_grid
from cartoonists.density.sampling import sample_to_switch
from cartoonists.density.stein import estimate_table
from cartoonists.paths.bases import Cosine, Pixels
from cartoonists.paths.numerics import Numerics
from cartoonists.paths.processes import HighDensityODE, Process
from cartoonists.paths.scores import ScoreModel
from cartoonists.paths.solvers import Path, integrate
from cartoonists.paths.streams import Streams

EVALUATIONS = (8, 12, 16, 24, 32, 64)
REFERENCE = 256  # steps of Heun
STEPS = {"heun": lambda evaluations: evaluations // 2, "exponential": lambda n: n - 1}
SWITCHES, STRENGTHS = (-2.5, 2.5), (-1.3, 1.3)
CLOSED = "closed-forms"


@dataclass(frozen=True)
class Draw:
    """A path to draw: the process from x at a λ, and what spaces its steps."""

    name: str
    process: Process
    x: torch.Tensor
    logsnr: float
    spacing: PosteriorTable | None

    def run(self, model: ScoreModel, solver: str, steps: int, numerics: Numerics, seeds) -> Path:
        grid = spaced_grid(self.spacing, self.logsnr, model.schedule.logsnr_max, steps)
        start = torch.zeros(len(self.x), dtype=torch.float64)
        return integrate(
            self.process, model, self.x, start, grid, numerics.estimator(model, seeds), seeds,
            solver=solver,
        )  # fmt: skip


class Case:
    """A model with its table, and the draws from it."""

    def __init__(self, name: str, samples: int):
        self.name, self.seeds, self.closed = name, list(range(samples)), name in TARGETS
        if self.closed:
            self.model = target(name, VP())
            self.table = mixture_table(self.model)
        else:
            self.model = load_model(name)
            basis = Cosine() if name.startswith("cifar10") else Pixels()
            self.table = estimate_table(self.model, range(32), basis, pilot_steps=32)
        self.numerics = Numerics(basis=self.table.basis)

    def draws(self) -> Iterator[Draw]:
        model, schedule = self.model, self.model.schedule
        for switch in SWITCHES:
            x = sample_to_switch(model, 64, switch, self.seeds, self.table).x
            yield Draw(f"HD from {switch:g}", HighDensityODE(schedule), x, switch, None)
        latent = rescale_latent(model, model.sample_prior(Streams(self.seeds, "prior")))
        for strength in STRENGTHS:
            guidance = DensityGuidance(schedule, strength)
            yield Draw(f"guidance {strength:+g}", guidance, latent, schedule.logsnr_min, self.table)

    def density(self, draw: Draw, x: torch.Tensor) -> torch.Tensor:
        """log p of the end less log p of the start, nats, the latter the same for every path."""
        if self.closed:
            return self.model.log_prob(x) - self.model.log_prob(draw.x, draw.logsnr)
        return ode_log_density(
            self.model, x, 31, "adams", seed=10_000, posterior=self.table
        ).log_density

    def rows(self) -> Iterator[dict]:
        for draw in self.draws():
            finest = draw.run(self.model, "heun", REFERENCE, self.numerics, self.seeds)
            offset = finest.log_density - self.density(draw, finest.x)
            for solver, steps in STEPS.items():
                for evaluations in EVALUATIONS:
                    run = draw.run(
                        self.model, solver, steps(evaluations), self.numerics, self.seeds
                    )
                    error = run.log_density - self.density(draw, run.x)
                    error = error if self.closed else error - offset
                    moved = (run.x - finest.x).flatten(1).square().mean(1).sqrt()
                    yield {
                        "target": self.name,
                        "draw": draw.name,
                        "solver": solver,
                        "evaluations": evaluations,
                        "end_rms": moved.median().item(),
                        "log_density": error.abs().median().item() / self.model.dimensions,
                    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", default=[CLOSED])
    parser.add_argument("--samples", type=int, default=8)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    for name in settings.targets:
        for each in TARGETS if name == CLOSED else [name]:
            found = pd.DataFrame(tqdm(Case(each, settings.samples).rows(), unit="row"))
            appended(found, RESULTS / "draw_error.csv", ["target"])


if __name__ == "__main__":
    with torch.no_grad():
        main()
