"""High-density sampling against closed forms."""

import pytest
import torch
from closed_forms import mixture

from cartoonists import VP, Gaussian, sample_high_density
from cartoonists.density.sampling import split_steps


@pytest.mark.parametrize("switch", [-6.0, 0.0, 4.0])
def test_tracked_density_is_the_closed_form(switch, schedule):
    target = mixture(12, schedule, seed=1)
    run = sample_high_density(target, n=32, steps=256, switch_logsnr=switch, solver="heun")
    error = run.log_density - target.log_prob(run.x)
    assert abs(error.mean()) < 0.2
    assert error.abs().max() < 2.0


def test_samples_are_denser_than_ordinary_ones(schedule):
    target = mixture(12, schedule, seed=2)
    ordinary = target.log_prob(target.sample(64, seed=5)).mean()
    means = [
        target.log_prob(sample_high_density(target, n=64, steps=64, switch_logsnr=s).x).mean()
        for s in (-6.0, 0.0, 4.0)
    ]
    assert means[0] > means[1] > means[2] > ordinary


def test_hd_ode_ends_at_the_mode_of_a_gaussian(schedule):
    """For Gaussian p_0 the HD-ODE is exact: x_s = argmax p(x_s|x_t) (brief facts, section 5)."""
    variance = torch.tensor([0.05, 0.5, 2.0], dtype=torch.float64)
    target = Gaussian(torch.ones(3), variance, schedule)
    run = sample_high_density(target, n=5, steps=400, switch_logsnr=0.0, solver="rk4")
    a, v = schedule.transition(0.0, 10.0)
    end = schedule.alpha(10.0) ** 2 * variance + schedule.sigma2(10.0)
    prior = schedule.alpha(10.0) * torch.ones(3)
    mode = (prior / end + a * run.x_switch / v) / (1 / end + a**2 / v)
    assert torch.allclose(run.x, mode, atol=1e-5)


def test_sample_depends_on_its_seed_alone():
    target = mixture(6)
    whole = sample_high_density(target, n=8, steps=16, seed=1, divergence="hutchinson")
    part = sample_high_density(target, n=1, steps=16, seed=6, divergence="hutchinson")
    assert torch.allclose(part.x, whole.x[5:6], atol=1e-12)
    assert torch.allclose(part.log_density, whole.log_density[5:6], atol=1e-9)


def test_steps_are_shared_in_proportion_to_the_range():
    assert split_steps(VP(), 0.0, 64) == (32, 32)
    assert split_steps(VP(), 5.0, 64) == (48, 16)
    assert split_steps(VP(), -10.0, 64) == (1, 63)
    assert sum(split_steps(VP(), 9.99, 10)) == 10


def test_without_divergence_the_density_is_missing_not_wrong():
    run = sample_high_density(mixture(3), n=2, steps=8, divergence="none")
    assert run.log_density.isnan().all()
    assert torch.isfinite(run.x).all()


def test_switch_outside_the_range_is_named():
    with pytest.raises(ValueError, match="switch_logsnr: 11.0 found, allowed -10.0 to 10.0"):
        sample_high_density(mixture(3), n=2, steps=8, switch_logsnr=11.0)
