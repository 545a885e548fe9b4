"""Closed-form densities: errors of the trackers and gains of HD samples against the truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from cartoonists.density.likelihood import sample_ode
from cartoonists.density.sampling import sample_high_density
from cartoonists.density.tracking import reverse_sde_path, track_reverse_sde
from cartoonists.experiments.noise import equal_noise
from cartoonists.paths.schedules import VP, NoiseSchedule, uniform_grid
from cartoonists.paths.scores import Gaussian, GaussianMixture

TARGETS = ("mixture", "gaussian", "anisotropic mixture")
TRACKERS = ("Euler–Maruyama", "ancestral, isotropic", "ancestral, diagonal", "PF-ODE, Heun")
SHAPE_SEED = 20241103  # of the means and variances, the same for every run


def spread_variances(dimensions: int) -> torch.Tensor:
    """Variances from 1e-3 to 4 with mean about 1, ``[D]``: a covariance like that of images."""
    share = (torch.arange(dimensions, dtype=torch.float64) + 0.5) / dimensions
    return 1e-3 + (4 - 1e-3) * share**3


def testbed(name: str, dimensions: int, schedule: NoiseSchedule) -> GaussianMixture:
    """A closed-form target: one of ``TARGETS``, in any number of dimensions.

    *mixture*: 3 components with isotropic variances 0.3, 0.1 and 0.03.  *gaussian*: one Gaussian
    with the variances of `spread_variances`.  *anisotropic mixture*: 4 components, each with those
    variances in an order of its own.  Raises ValueError for another name.
    """
    generator = np.random.Generator(np.random.Philox(key=[SHAPE_SEED, dimensions]))
    if name == "mixture":
        means = torch.from_numpy(generator.standard_normal((3, dimensions)))
        return GaussianMixture([0.5, 0.3, 0.2], means, [0.3, 0.1, 0.03], schedule)
    spread = spread_variances(dimensions)
    if name == "gaussian":
        return Gaussian(torch.zeros(dimensions), spread, schedule)
    if name == "anisotropic mixture":
        means = torch.from_numpy(generator.standard_normal((4, dimensions)))
        orders = [torch.from_numpy(generator.permutation(dimensions)) for _ in range(4)]
        return GaussianMixture([0.4, 0.3, 0.2, 0.1], means, spread[torch.stack(orders)], schedule)
    raise ValueError(f"target: {name!r} found, allowed: {', '.join(TARGETS)}")


@dataclass(frozen=True)
class Settings:
    """Settings that the closed-form experiments share: range of λ, number of samples, seed."""

    n_samples: int
    seed: int
    logsnr_min: float
    logsnr_max: float

    @property
    def schedule(self) -> NoiseSchedule:
        return VP(self.logsnr_min, self.logsnr_max)

    @property
    def seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.n_samples))


def tracking_errors(dimensions: int, steps: Sequence[int], settings: Settings) -> pd.DataFrame:
    """Tracked minus true log-density of samples, for every target, tracker and number of steps.

    One row a sample; ``error_nats`` is the tracked minus the true log-density at logsnr_max.
    """
    runs = [(name, tracker, n) for name in TARGETS for tracker in TRACKERS for n in steps]
    targets = {name: testbed(name, dimensions, settings.schedule) for name in TARGETS}
    tables = []
    for name, tracker, n in tqdm(runs, desc=f"trackers, D = {dimensions}"):
        target = targets[name]
        run = _track(target, tracker, n, settings)
        truth = target.log_prob(run.x, settings.logsnr_max)
        columns = {
            "target": name,
            "dimensions": dimensions,
            "tracker": tracker,
            "steps": n,
            "nfe": run.nfe,
            "seed": settings.seeds,
            "log_density_nats": truth,
            "error_nats": run.log_density - truth,
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _track(target: GaussianMixture, tracker: str, steps: int, settings: Settings):
    n, seed = settings.n_samples, settings.seed
    if tracker == "PF-ODE, Heun":
        return sample_ode(target, n, steps, solver="heun", divergence="exact", seed=seed)
    if tracker == "Euler–Maruyama":
        return track_reverse_sde(target, n, steps, "euler-maruyama", seed)
    covariance = tracker.split(", ")[1]
    return track_reverse_sde(target, n, steps, "ancestral", seed, covariance=covariance)


def high_density_gains(
    dimensions: int, switch_logsnrs: Sequence[float], steps: int, settings: Settings
) -> pd.DataFrame:
    """True log-densities of HD samples and of ordinary samples that start at the same x_t.

    One row a sample and switch point; both are exact, for the density is known, and at
    `equal_noise`.
    """
    schedule = settings.schedule
    tables = []
    for name in TARGETS:
        target = testbed(name, dimensions, schedule)
        for switch in switch_logsnrs:
            high = sample_high_density(
                target, settings.n_samples, steps, switch, settings.seed, divergence="none"
            )
            ordinary = reverse_sde_path(
                target,
                high.x_switch,
                high.log_density_switch,
                uniform_grid(switch, schedule.logsnr_max, steps),
                settings.seeds,
                track=False,
                purpose="ordinary sample from the switch",
            )
            columns = {
                "target": name,
                "dimensions": dimensions,
                "switch_logsnr": switch,
                "seed": settings.seeds,
                "log_density_nats": target.log_prob(equal_noise(high.x, target, settings.seeds)),
                "ordinary_log_density_nats": target.log_prob(
                    equal_noise(ordinary.x, target, settings.seeds)
                ),
            }
            tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)
