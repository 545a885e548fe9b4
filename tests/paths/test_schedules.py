import pytest
import torch

from cartoonists import VE, VP, DiscreteVP, RectifiedFlow
from cartoonists.paths.schedules import uniform_grid

LEVELS = [-9.5, -3.0, 0.0, 2.5, 9.0]


@pytest.mark.parametrize("logsnr", LEVELS)
def test_logsnr_is_log_of_signal_over_noise(schedule, logsnr):
    snr = schedule.alpha(logsnr) ** 2 / schedule.sigma2(logsnr)
    assert snr.log().item() == pytest.approx(logsnr, abs=1e-9)


@pytest.mark.parametrize("logsnr", LEVELS)
def test_f_is_the_derivative_of_log_alpha(schedule, logsnr):
    h = 1e-5
    slope = (schedule.alpha(logsnr + h).log() - schedule.alpha(logsnr - h).log()) / (2 * h)
    assert slope.item() == pytest.approx(schedule.f(logsnr).item(), abs=1e-9)


@pytest.mark.parametrize("logsnr", LEVELS)
def test_g2_keeps_the_marginal_variance(schedule, logsnr):
    """dσ²/dλ = 2 f σ² - g² is the variance equation of the forward process in λ."""
    h = 1e-5
    slope = (schedule.sigma2(logsnr + h) - schedule.sigma2(logsnr - h)) / (2 * h)
    expected = 2 * schedule.f(logsnr) * schedule.sigma2(logsnr) - schedule.g2(logsnr)
    assert slope.item() == pytest.approx(expected.item(), rel=1e-6)


def test_transitions_compose(schedule):
    """q(x_λ|x_ν) is q(x_λ|x_μ) after q(x_μ|x_ν)."""
    a1, v1 = schedule.transition(-1.0, 3.0)
    a2, v2 = schedule.transition(3.0, 7.0)
    a, v = schedule.transition(-1.0, 7.0)
    assert (a1 * a2).item() == pytest.approx(a.item(), rel=1e-12)
    assert (v1 + a1**2 * v2).item() == pytest.approx(v.item(), rel=1e-12)


def test_transition_from_clean_data_has_the_marginal_variance(schedule):
    _, variance = schedule.transition(0.5, 60.0)
    assert variance.item() == pytest.approx(schedule.sigma2(0.5).item(), rel=1e-12)


def test_a_flow_is_the_straight_path_in_its_time():
    """x_t = (1 - t) x_0 + t ε: α = 1 - t and σ = t, and λ goes back to t."""
    schedule = RectifiedFlow()
    t = torch.tensor([1e-3, 0.25, 0.5, 0.9, 0.9999], dtype=torch.float64)
    logsnr = schedule.logsnr(t)
    torch.testing.assert_close(schedule.sigma(logsnr), t)
    torch.testing.assert_close(schedule.alpha(logsnr), 1 - t)
    torch.testing.assert_close(schedule.time(logsnr), t)
    assert schedule.logsnr(0.5).item() == 0.0


@pytest.mark.parametrize("time", [0.0, 1.0, -0.1, float("nan")])
def test_the_ends_of_a_flow_have_no_finite_logsnr(time):
    with pytest.raises(ValueError, match="time: .* found, allowed: above 0 and below 1"):
        RectifiedFlow().logsnr(time)


def test_pure_noise_of_a_flow_is_at_minus_infinity():
    """x_t = (1 - t) x_0 + t ε at t = 1, and the step from there to t = 1/4."""
    schedule, end = RectifiedFlow(), -float("inf")
    assert (schedule.alpha(end).item(), schedule.sigma2(end).item()) == (0.0, 1.0)
    logsnr = 2 * torch.tensor(3.0).log()
    assert schedule.alpha(logsnr).item() == pytest.approx(0.75)
    assert [float(v) for v in schedule.transition(end, logsnr)] == pytest.approx([0.0, 1.0])


def test_power_is_the_variance_of_noised_data_of_unit_variance(schedule):
    for logsnr in LEVELS:
        ratio = schedule.alpha(logsnr) / VP().alpha(logsnr)
        assert schedule.power(logsnr).sqrt().item() == pytest.approx(ratio.item(), rel=1e-12)


def test_discrete_table_maps_its_own_logsnrs_to_its_timesteps():
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    table = torch.cumprod(1 - betas, 0)
    schedule = DiscreteVP(table)
    steps = schedule.timestep(torch.logit(table))
    assert torch.allclose(steps, torch.arange(1000, dtype=torch.float64), atol=1e-6)
    between = schedule.timestep(0.5 * (torch.logit(table[10]) + torch.logit(table[11])))
    assert between.item() == pytest.approx(10.5, abs=1e-9)
    assert schedule.logsnr_min == pytest.approx(torch.logit(table[-1]).item())


@pytest.mark.parametrize("bad", [[0.5, 0.9], [0.5], [1.0, 0.5], [0.5, 0.0]])
def test_discrete_table_is_checked(bad):
    with pytest.raises(ValueError, match="alphas_cumprod"):
        DiscreteVP(torch.tensor(bad))


@pytest.mark.parametrize("cls", [VP, VE, RectifiedFlow])
@pytest.mark.parametrize("ends", [(1.0, 1.0), (2.0, -2.0), (float("-inf"), 0.0)])
def test_range_is_checked(cls, ends):
    with pytest.raises(ValueError, match="logSNR range"):
        cls(*ends)


def test_uniform_grid_refuses_no_steps():
    with pytest.raises(ValueError, match="steps: 0 found"):
        uniform_grid(-10, 10, 0)
