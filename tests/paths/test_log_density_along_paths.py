"""Formula (★) for every process: tracked against true log-density at the end of the path.

Errors must vanish at the order of the scheme: Runge–Kutta's own for ordinary differential
equations, strong order about ½ under noise.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from cartoonists.density.guidance import DensityGuidance, ScaledScore
from cartoonists.paths.divergence import ExactDivergence, HutchinsonDivergence
from cartoonists.paths.processes import (
    ForwardSDE,
    HighDensityODE,
    MarginalFamily,
    ProbabilityFlow,
    Process,
    ReverseSDE,
    ScoreDrift,
)
from cartoonists.paths.schedules import VE, VP, RectifiedFlow, uniform_grid
from cartoonists.paths.scores import GaussianMixture
from cartoonists.paths.solvers import integrate
from cartoonists.paths.streams import Streams, sample_seeds

SEEDS = sample_seeds(0, 64)
D = 6


def mixture(schedule=None):
    means = torch.from_numpy(np.random.default_rng(0).standard_normal((3, D)))
    variances = torch.from_numpy(np.random.default_rng(1).uniform(0.1, 1.0, (3, D)))
    return GaussianMixture([0.5, 0.3, 0.2], means, variances, schedule or VP(-3.0, 3.0))


def tracked_error(process, target, steps, solver, seeds=SEEDS, falling=False):
    """Tracked minus true log-density at the end, ``[n]``, nats."""
    schedule = target.schedule
    ends = (schedule.logsnr_min, schedule.logsnr_max)
    start, stop = ends[::-1] if falling else ends
    x = target._draw(Streams(seeds, "start"), start)
    path = integrate(
        process, target, x, target.log_prob(x, start), uniform_grid(start, stop, steps),
        ExactDivergence(), seeds, solver=solver, noise=Streams(seeds, "noise"),
    )  # fmt: skip
    return path.log_density - target.log_prob(path.x, stop)


def order(errors: dict[int, torch.Tensor]) -> float:
    """Slope of -log RMS error against log steps."""
    rms = [e.square().mean().sqrt().log().item() for e in errors.values()]
    return -np.polyfit(np.log(list(errors)), rms, 1)[0]


S = VP(-3.0, 3.0)
ODES = {
    "PF-ODE": ProbabilityFlow(S),
    "HD-ODE": HighDensityODE(S),
    "temperature": ScaledScore(S, 1.3),
    "density guidance": DensityGuidance(S, -0.8, bound=math.inf),
}
SDES = {
    "reverse SDE": ReverseSDE(S),
    "family at 0.5": MarginalFamily(S, 0.5),
    "family at 1.5": MarginalFamily(S, 1.5),
    "projected noise": DensityGuidance(S, -0.3, 0.7),
    "projected noise in a window": DensityGuidance(S, 0.3, 1.0, -1.0, 1.5),
}
NOISY_STEPS = (8, 32, 128, 384)


@pytest.fixture(params=[VP, VE, RectifiedFlow], ids=["VP", "VE", "RectifiedFlow"])
def short(request):
    return request.param(-3.0, 3.0)


@pytest.mark.parametrize("name", ODES)
@pytest.mark.parametrize("solver, expected", [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_odes_track_at_the_order_of_the_scheme(name, solver, expected, short):
    process, target = replace(ODES[name], schedule=short), mixture(short)
    errors = {n: tracked_error(process, target, n, solver) for n in (16, 32, 64)}
    assert order(errors) == pytest.approx(expected, abs=0.3)
    bound = {"euler": 0.5, "heun": 1e-2, "rk4": 5e-4}[solver]
    if isinstance(short, VE) and solver != "rk4":
        bound *= 2  # its x is larger towards the noise
    assert errors[64].abs().max() < bound


def test_tracking_sees_the_bounded_drift():
    """At q = 0.9 in six dimensions the bound acts on every path; the kink lowers the order."""
    process = DensityGuidance(S, 1.3)
    errors = {n: tracked_error(process, mixture(), n, "heun") for n in (32, 64, 128)}
    assert order(errors) > 1.2
    assert errors[128].abs().max() < 0.02


@pytest.mark.parametrize("name", SDES)
def test_sdes_track_at_strong_order_one_half(name, short):
    process, target = replace(SDES[name], schedule=short), mixture(short)
    errors = {n: tracked_error(process, target, n, "euler") for n in NOISY_STEPS}
    assert 0.35 < order(errors) < 1.1
    assert errors[NOISY_STEPS[-1]].square().mean().sqrt() < 0.8
    assert errors[NOISY_STEPS[-1]].mean().abs() < 0.3


def test_forward_sde_tracks_towards_the_noise(short):
    process, target = ForwardSDE(short), mixture(short)
    errors = {n: tracked_error(process, target, n, "euler", falling=True) for n in NOISY_STEPS}
    assert 0.35 < order(errors) < 1.1
    assert errors[NOISY_STEPS[-1]].square().mean().sqrt() < 0.5


@dataclass(frozen=True)
class Orthogonal(ScoreDrift):
    """The PF-ODE with the same noise projected or not: a check of the projection alone."""

    projected = True

    def weight(self, at, logsnr):
        return torch.tensor(0.5, dtype=torch.float64)

    def noise(self, logsnr):
        return self.schedule.g2(logsnr).sqrt()


@dataclass(frozen=True)
class WrongTrace(Orthogonal):
    """The full Laplacian where the projected one belongs."""

    def log_density_rate(self, x, drift, at, logsnr, direction):
        return Process.log_density_rate(
            self, x, drift, type(at)(at.score, at.laplacian, at.laplacian), logsnr, direction
        )


def test_projected_noise_needs_the_projected_laplacian():
    right, wrong = (tracked_error(p(S), mixture(), 256, "euler") for p in (Orthogonal, WrongTrace))
    assert right.mean().abs() < 0.1
    assert wrong.mean().abs() > 1.0


@pytest.mark.parametrize(
    "family, limit, solver",
    [
        (MarginalFamily(S, 0.0), ProbabilityFlow(S), "heun"),
        (MarginalFamily(S, 1.0), ReverseSDE(S), "euler"),
        (DensityGuidance(S, 0.0), ProbabilityFlow(S), "heun"),
        (ScaledScore(S, 1.0), ProbabilityFlow(S), "heun"),
        (ScaledScore(S, 2.0), HighDensityODE(S), "heun"),
        (DensityGuidance(S, 1e9, bound=1.0), HighDensityODE(S), "heun"),
    ],
)
def test_limits_of_the_families(family, limit, solver):
    """φ = 0 and η = 1 are the PF-ODE, φ = g the reverse SDE, η = 2 the HD-ODE."""
    errors = [tracked_error(p, mixture(), 16, solver, range(16)) for p in (family, limit)]
    torch.testing.assert_close(errors[0], errors[1], rtol=1e-9, atol=1e-9)


def test_hutchinson_probes_estimate_the_projected_laplacian():
    target, seeds = mixture(), sample_seeds(0, 4)
    x = target.sample(4, logsnr=0.0)
    exact = ExactDivergence()(target, x, 0.0, projected=True)
    estimate = HutchinsonDivergence(Streams(seeds, "probes"), 1000)(target, x, 0.0, projected=True)
    for name in ("laplacian", "projected_laplacian"):
        scale = 4 * target.hessian(x, 0.0).flatten(1).norm(dim=1) * math.sqrt(2 / 1000)
        assert ((getattr(estimate, name) - getattr(exact, name)).abs() < scale).all()
    assert ((exact.laplacian - exact.projected_laplacian).abs() > 0.1).all()
