"""The exponential multistep rule: exact where x̂_0 stands still, of order 2, never unstable."""

import math

import numpy as np
import pytest
import torch
from closed_forms import mixture

from cartoonists import VE, VP, Gaussian, GaussianMixture, sample_guided
from cartoonists.density.guidance import DensityGuidance, ScaledScore
from cartoonists.paths.divergence import ExactDivergence, NoDivergence
from cartoonists.paths.processes import HighDensityODE, ProbabilityFlow, Process
from cartoonists.paths.schedules import RectifiedFlow, uniform_grid
from cartoonists.paths.solvers import integrate

SEEDS = list(range(8))
PROCESSES = {
    "PF-ODE": ProbabilityFlow,
    "HD-ODE": HighDensityODE,
    "temperature": lambda schedule: ScaledScore(schedule, 1.2),
    "guidance": lambda schedule: DensityGuidance(schedule, -0.8, bound=math.inf),
}


def path(process, target, ends, steps, solver="exponential", divergence=None):
    x = target.sample(len(SEEDS), seed=3, logsnr=ends[0])
    return integrate(
        process, target, x, target.log_prob(x, ends[0]), uniform_grid(*ends, steps),
        divergence or ExactDivergence(), SEEDS, solver=solver,
    )  # fmt: skip


def rms(difference):
    return difference.square().mean().sqrt().item()


@pytest.mark.parametrize("schedule", [VP, VE, RectifiedFlow], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", PROCESSES)
def test_the_end_and_its_log_density_converge_at_order_two(name, schedule):
    target = mixture(6, schedule(-4.0, 4.0), seed=1)
    check_order(PROCESSES[name](target.schedule), target, (-4.0, 4.0))


def test_towards_the_noise_it_converges_too():
    target = mixture(6, VP(-4.0, 4.0), seed=1)
    check_order(ProbabilityFlow(target.schedule), target, (4.0, -4.0))


def check_order(process, target, ends):
    exact = path(process, target, ends, 96, "rk4").x
    runs = {steps: path(process, target, ends, steps) for steps in (16, 32, 64)}
    moved = [rms(run.x - exact) for run in runs.values()]
    tracked = [rms(run.log_density - target.log_prob(run.x, ends[1])) for run in runs.values()]
    for errors in (moved, tracked):
        order = -np.polyfit(np.log(list(runs)), np.log(errors), 1)[0]
        assert order > 1.7 and errors[-1] < 0.05


def test_the_mode_of_a_gaussian_is_reached_in_one_step():
    """The HD-ODE of a Gaussian keeps x̂_0, so the rule is exact at any length of a step."""
    target = Gaussian(torch.ones(3), torch.tensor([0.05, 0.5, 2.0], dtype=torch.float64), VP())
    ends = (-6.0, 10.0)
    end, fine = (
        path(HighDensityODE(VP()), target, ends, steps, solver)
        for steps, solver in ((1, "exponential"), (256, "rk4"))
    )
    assert torch.allclose(end.x, fine.x, atol=1e-5)


@pytest.mark.parametrize("steps", [7, 11, 15])
@pytest.mark.parametrize("name", PROCESSES)
def test_few_long_steps_are_stable_in_flat_directions(name, steps):
    """Variances down to 1e-8, where Heun and Adams are off by hundreds of nats a dimension."""
    g = torch.Generator().manual_seed(0)
    variances = 1e-8 ** torch.rand(2, 64, generator=g)
    target = GaussianMixture([1.0, 1.0], 0.5 * torch.randn(2, 64, generator=g), variances, VP())
    run = path(PROCESSES[name](VP()), target, (-10.0, 10.0), steps)
    error = (run.log_density - target.log_prob(run.x)) / 64
    assert run.x.abs().max() < 4 and error.abs().max() < 1.0


def test_half_the_evaluations_of_heun_do_as_well():
    target = mixture(64, seed=3)
    for process in (HighDensityODE(VP()), DensityGuidance(VP(), 0.5)):
        exact = path(process, target, (-10.0, 10.0), 128, "rk4").x
        rule, heun = (
            path(process, target, (-10.0, 10.0), 31, solver) for solver in ("exponential", "heun")
        )
        assert (rule.nfe, heun.nfe) == (32, 62)
        for error in (
            lambda run, exact=exact: rms(run.x - exact),
            lambda run: rms(run.log_density - target.log_prob(run.x)),
        ):
            assert error(rule) < error(heun)


def test_a_path_that_is_not_tracked_has_the_same_points_for_an_evaluation_less():
    target, process = mixture(6), HighDensityODE(VP())
    tracked, plain = (
        path(process, target, (-2.0, 10.0), 8, divergence=divergence)
        for divergence in (ExactDivergence(), NoDivergence())
    )
    assert torch.equal(tracked.x, plain.x) and plain.log_density.isnan().all()
    assert (tracked.nfe, plain.nfe) == (9, 8)


def test_a_guided_sample_depends_on_its_seed_alone():
    whole, alone = (
        sample_guided(mixture(6), steps=12, strength=0.7, seeds=seeds, divergence="hutchinson")
        for seeds in (range(8), [5])
    )
    assert torch.allclose(alone.x, whole.x[5:6], atol=1e-12)
    assert torch.allclose(alone.log_density, whole.log_density[5:6], atol=1e-9)


def test_a_drift_that_is_no_multiple_of_the_score_is_refused():
    class Still(Process):
        def drift(self, x, at, logsnr):
            return 0 * x

    with pytest.raises(ValueError, match="not allowed with Still"):
        path(Still(VP()), mixture(2), (0.0, 10.0), 4)
