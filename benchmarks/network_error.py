"""Error of log-densities on bundled networks against evaluations, judged by far finer runs.

    python benchmarks/network_error.py fashion-mnist/likelihood [--samples 16] [--only KIND …]

Appends to benchmarks/results/network_error.csv, in nats/dim:

*tracking*: the mean over samples of tracked r_0 minus the PF-ODE's log-density of the same sample,
by steps; 4,096 ancestral steps are the reference.  The PF-ODE serves only to take each sample's own
density out of the mean: what is left at 4,096 steps is the bias of r_0, not of the steps.
*encoding*: the PF-ODE against 128 Adams evaluations with four probes each of the same samples.
*sampling*: what the PF-ODE says of the sample that it draws, against the same reference there.
"""

import argparse

import pandas as pd
import torch
from closed_forms import RESULTS, appended, summary
from figures import error_curves
from tqdm import tqdm

from cartoonists import load_model, ode_log_density, sample_ode, track_reverse_sde
from cartoonists.density.stein import estimate_table
from cartoonists.paths.bases import Cosine, Pixels
from cartoonists.paths.schedules import uniform_grid

REFERENCE_STEPS = 4096
TRACKED = {
    "official (Euler–Maruyama)": (32, 64, 128, 256, 512, 1024),
    "ancestral, diagonal": (16, 32, 64, 128, 256),
}
OFFICIAL = "official (Euler, pixel probe)"
FLOWS = {OFFICIAL: (64, 256, 1024), "Adams": (2, 4, 8, 16, 24, 32, 64)}
KINDS = ("encoding", "sampling", "tracking")


class Benchmark:
    """One model, its table, and the seeds of the samples."""

    def __init__(self, name: str, samples: int, seed: int):
        self.name, self.model = name, load_model(name)
        self.seeds = list(range(seed, seed + samples))
        basis = Cosine() if name.startswith("cifar10") else Pixels()
        self.model.posterior = estimate_table(self.model, range(64), basis, pilot_steps=32)

    def uniform(self, steps: int, falling: bool = False) -> list[float]:
        schedule = self.model.schedule
        ends = schedule.logsnr_min, schedule.logsnr_max
        return uniform_grid(*(ends[::-1] if falling else ends), steps)

    def samples(self) -> torch.Tensor:
        return track_reverse_sde(self.model, steps=32, seeds=self.seeds, track=False).x

    def offset(self, tracker: str, steps: int) -> torch.Tensor:
        """Tracked minus PF-ODE log-density, nats/dim."""
        official = tracker.startswith("official")
        options = {"method": "euler-maruyama", "grid": self.uniform(steps)} if official else {}
        run = track_reverse_sde(self.model, steps=steps, seeds=self.seeds, **options)
        flow = self.flow("Adams", 32, run.x, 2)
        return (run.log_density - flow) / self.model.dimensions

    def options(self, method: str, evaluations: int, probes: int, falling: bool) -> dict:
        """Of the PF-ODE in one direction: ``falling`` λ towards the noise."""
        options = {"divergence": "hutchinson", "seeds": self.seeds, "probes": probes}
        if method.startswith("official"):
            return options | {"solver": "euler", "grid": self.uniform(evaluations, falling)}
        steps = evaluations - 1
        return options | {"solver": "adams", "steps": steps, "posterior": self.model.posterior}

    def flow(self, method: str, evaluations: int, x: torch.Tensor, probes: int = 1) -> torch.Tensor:
        """The PF-ODE's log-density of x, nats."""
        options = self.options(method, evaluations, probes, falling=True)
        return ode_log_density(self.model, x, **options).log_density

    def tracking(self):
        reference = self.offset("ancestral, diagonal", REFERENCE_STEPS)
        yield {"method": "reference", "nfe": REFERENCE_STEPS, **summary(reference)}
        for tracker, numbers in TRACKED.items():
            for steps in numbers:
                error = self.offset(tracker, steps) - reference.mean()
                yield {"method": tracker, "nfe": steps, **summary(error)}

    def encoding(self):
        model = self.model
        x = self.samples()
        reference = self.flow("Adams", 128, x, 4)
        for method, numbers in FLOWS.items():
            for evaluations in numbers:
                error = (self.flow(method, evaluations, x) - reference) / model.dimensions
                yield {"method": method, "nfe": evaluations, **summary(error)}

    def sampling(self):
        model = self.model
        for method, numbers in FLOWS.items():
            for evaluations in numbers:
                options = self.options(method, evaluations, probes=1, falling=False)
                run = sample_ode(model, len(self.seeds), **options)
                error = (run.log_density - self.flow("Adams", 128, run.x, 4)) / model.dimensions
                yield {"method": method, "nfe": evaluations, **summary(error)}

    def rows(self, kinds):
        for kind in kinds:
            for row in getattr(self, kind)():
                yield {"model": self.name, "kind": kind, "samples": len(self.seeds), **row}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    benchmark = Benchmark(settings.model, settings.samples, settings.seed)
    found = pd.DataFrame(tqdm(benchmark.rows(settings.only), unit="row"))
    found.columns = [name.replace("_nats", "_nats_per_dim") for name in found.columns]
    path = RESULTS / "network_error.csv"
    appended(found, path, ["model", "kind"])
    errors = pd.read_csv(path).query("method != 'reference'").sort_values(["kind", "method"])
    error_curves(
        errors, path.with_suffix(""), error="median_nats_per_dim", unit="nats/dim",
        least=0.001,
        column="model", row="kind",
    )  # fmt: skip


if __name__ == "__main__":
    main()
