"""How true the estimated errors of log-densities are, on closed forms and on bundled networks.

    python benchmarks/error_estimates.py [closed-forms fashion-mnist/likelihood …] [--samples 8]

Appends to benchmarks/results/error_estimates.csv a row an estimate and number of evaluations:
*within_3*, the share of samples whose true error is within a factor of 3 of the estimate, and
*below_third*, the share whose estimate is below a third of it.  The truth is the closed form, or
the PF-ODE in 512 evaluations with other probes.  *PF-ODE* is of `FlowError`, *PF-ODE, halved* the
error by half as many steps, at half as many evaluations more.  On networks of the trackers only
Euler–Maruyama in 64 steps is measured, against the PF-ODE: the bias of r_0 counts as its error.
"""

import argparse

import pandas as pd
import torch
from closed_forms import RESULTS, TARGETS, appended, target
from tqdm import tqdm

from cartoonists import VP, load_model, ode_log_density, track_reverse_sde
from cartoonists.density.posterior import mixture_table
from cartoonists.density.stein import estimate_table
from cartoonists.images.data import load_bundled_images
from cartoonists.paths.bases import Cosine, Pixels

EVALUATIONS = (8, 12, 16, 24, 32, 64)
REFERENCE = 512
CLOSED = "closed-forms"


class Case:
    """A model with its table, given points, and the true log-density of any."""

    def __init__(self, name: str, samples: int):
        self.name, self.samples = name, samples
        if name in TARGETS:
            self.model = target(name, VP())
            self.table = mixture_table(self.model)
            self.x = self.model.sample(samples, seed=0, logsnr=self.model.schedule.logsnr_max)
            self.truth = self.model.log_prob
            return
        self.model = load_model(name)
        basis = Cosine() if name.startswith("cifar10") else Pixels()
        self.table = estimate_table(self.model, range(64), basis, pilot_steps=32)
        self.model.posterior = self.table
        drawn = track_reverse_sde(self.model, samples // 2, 32, track=False).x
        images = load_bundled_images(name.split("/")[0]).images[: samples - samples // 2]
        held_out = self.model.from_pixels(torch.from_numpy(images.copy()))
        self.x = torch.cat([drawn, held_out.to(drawn)])
        self.truth = self.reference

    def flow(self, x: torch.Tensor, steps: int, seed: int, **options):
        return ode_log_density(
            self.model, x, steps, "adams", "hutchinson", seed, posterior=self.table, **options
        )

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return self.flow(x, REFERENCE - 1, 10_000).log_density

    def flows(self, evaluations: int, truth: torch.Tensor, seeds):
        """True errors and both estimates of the PF-ODE, of several sets of probes."""
        ends = self.model.schedule.logsnr_max, self.model.schedule.logsnr_min
        grid = self.table.time_grid(*ends, evaluations - 1)
        grid = [*grid[:-1:2], grid[-1]]
        errors, estimates, halved = [], [], []
        for seed in seeds:
            run = self.flow(self.x, evaluations - 1, 100 * seed, error=True)
            coarse = self.flow(self.x, 0, 100 * seed, grid=grid)
            errors.append((run.log_density - truth).abs())
            estimates.append(run.error)
            halved.append((run.log_density - coarse.log_density).abs() / 3)
        yield "PF-ODE", torch.cat(errors), torch.cat(estimates)
        yield "PF-ODE, halved", torch.cat(errors), torch.cat(halved)

    def trackers(self, evaluations: int):
        """True and estimated errors of both trackers, of samples of their own."""
        for method in ("ancestral", "euler-maruyama"):
            if method == "ancestral" and self.name not in TARGETS[1:]:
                continue  # of one Gaussian it has no error, of a network less than its bias
            run = track_reverse_sde(
                self.model, self.samples, evaluations, method, posterior=self.table
            )
            yield method, (run.log_density - self.truth(run.x)).abs(), run.error

    def rows(self, seeds, tracked):
        truth = self.truth(self.x)
        for evaluations in EVALUATIONS:
            found = [*self.flows(evaluations, truth, seeds)]
            if evaluations in tracked:
                found += self.trackers(evaluations)
            for name, error, estimate in found:
                ratio = error / estimate
                yield {
                    "target": self.name,
                    "estimate": name,
                    "evaluations": evaluations,
                    "values": len(ratio),
                    "median_error_nats_per_dim": error.median().item() / self.model.dimensions,
                    "median_estimate_nats_per_dim": estimate.median().item()
                    / self.model.dimensions,
                    "within_3": ((ratio < 3) & (ratio > 1 / 3)).double().mean().item(),
                    "below_third": (ratio > 3).double().mean().item(),
                }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", default=[CLOSED])
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=2, help="sets of probes")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    for name in settings.targets:
        closed = name == CLOSED
        cases = [Case(each, settings.samples) for each in (TARGETS if closed else [name])]
        tracked = EVALUATIONS if closed else (64,)
        rows = (row for case in cases for row in case.rows(range(settings.seeds), tracked))
        found = pd.DataFrame(tqdm(rows, unit="row"))
        appended(found, RESULTS / "error_estimates.csv", ["target"])


if __name__ == "__main__":
    main()
