"""Critical windows on mixtures: predictions against sampling, closed forms and limits."""

import math

import pytest
import torch
from closed_forms import mixture

from cartoonists import VP, Gaussian, GaussianMixture
from cartoonists.experiments.windows import (
    component,
    critical_window,
    denoise_by_hd,
    denoise_by_sde,
    hierarchy,
    log_ratio,
    peak_component,
    predicted_share,
    redraw_probabilities,
    renoise,
)
from cartoonists.paths.schedules import uniform_grid
from cartoonists.paths.streams import sample_seeds

LEVELS = uniform_grid(-8.0, 8.0, 8)


def pair(variances=(0.2, 0.2), weights=(0.7, 0.3)):
    means = torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 0.5]])
    return GaussianMixture(weights, means, variances, VP())


def monte_carlo(target, logsnr, n=10_000):
    """P(redrawn as j | was k) = E_k r_j(x_λ), by sampling each component."""
    rows = []
    for k in range(len(target.weights)):
        one = Gaussian(target.means[k], target._variances[k].view(target.shape), target.schedule)
        rows.append(target.responsibilities(one.sample(n, logsnr=logsnr), logsnr).mean(0))
    return torch.stack(rows)


@pytest.mark.parametrize("logsnr", LEVELS)
def test_two_components_of_equal_covariance_are_predicted_exactly(logsnr):
    target = pair()
    error = redraw_probabilities(target, logsnr) - monte_carlo(target, logsnr)
    assert error.abs().max() < 0.02  # four standard errors of the sampling


def test_more_components_and_unequal_covariances_are_predicted_closely():
    for target in (
        pair((0.05, 0.5)),
        mixture(3, seed=4),
        mixture(16, seed=5),
        hierarchy(4, VP())[0],
    ):
        for logsnr in (-4.0, -1.0, 2.0):
            error = redraw_probabilities(target, logsnr) - monte_carlo(target, logsnr, 2000)
            assert error.abs().max() < 0.08


def test_moments_of_the_log_ratio():
    target = mixture(5, seed=6, anisotropic=True)
    moments = log_ratio(target, 0.5)
    for k in range(3):
        one = Gaussian(target.means[k], target._variances[k], target.schedule)
        x = one.sample(10_000, logsnr=0.5)
        resp = target.responsibilities(x, 0.5).log()
        values = resp[:, k : k + 1] - resp
        deviation = (values.var(0) / len(x)).sqrt() + 1e-12
        assert ((values.mean(0) - moments.mean[k]).abs() < 4 * deviation).all()
        torch.testing.assert_close(values.var(0), moments.variance[k], rtol=0.15, atol=1e-9)


def test_limits_of_the_prediction():
    target = pair((0.05, 0.5))
    wide = GaussianMixture(target.weights, target.means, [0.05, 0.5], VP(-25.0, 25.0))
    full = redraw_probabilities(wide, -25.0)
    torch.testing.assert_close(full, target.weights.expand(2, 2), rtol=0, atol=1e-4)
    apart = GaussianMixture([0.5, 0.5], [[-5.0], [5.0]], [0.1, 0.1], VP())
    torch.testing.assert_close(redraw_probabilities(apart, 10.0), torch.eye(2).double())


@pytest.mark.parametrize("logsnr", [-3.0, -1.0, 1.0])
def test_measured_share_agrees_with_the_prediction(logsnr):
    target, seeds = pair((0.01, 0.01)), sample_seeds(0, 400)
    x = target.sample(400)
    noisy = renoise(target, x, logsnr, seeds)
    kept = component(target, denoise_by_sde(target, noisy, logsnr, 64, seeds)) == component(
        target, x
    )
    share = kept.double().mean().item()
    predicted = predicted_share(target, logsnr)
    assert abs(share - predicted) < 4 * math.sqrt(0.25 / 400)
    own = target.responsibilities(noisy, logsnr).gather(1, component(target, x)[:, None])
    assert abs(own.mean().item() - predicted) < 4 * own.std().item() / 20


def test_draws_given_the_same_noisy_point_are_independent():
    target, seeds = pair(), sample_seeds(0, 300)
    noisy = renoise(target, target.sample(1).expand(300, -1), -1.0, seeds)
    ends = [denoise_by_sde(target, noisy, -1.0, 32, seeds, draw=i) for i in (0, 1)]
    labels = torch.stack([component(target, end) for end in ends]).double()
    resp = target.responsibilities(noisy, -1.0)
    agree = (labels[0] == labels[1]).double().mean().item()
    assert abs(agree - resp.square().sum(1).mean().item()) < 4 * math.sqrt(0.25 / 300)


def test_hd_ode_ends_in_the_component_with_the_highest_peak_unless_branches_jump():
    """Late, or for equal covariances; early, the narrowest peak wins and the HD-ODE misses it."""
    seeds = sample_seeds(0, 100)
    for target, logsnr, low, high in (
        (pair(), -1.0, 0.95, 1.0),
        (mixture(16, seed=5), 2.0, 0.9, 1.0),
        (mixture(16, seed=5), -1.0, 0.3, 0.85),
    ):
        noisy = renoise(target, target.sample(100), logsnr, seeds)
        end = denoise_by_hd(target, noisy, logsnr, 64, seeds)
        agree = component(target, end) == peak_component(target, noisy, logsnr)
        assert low <= agree.double().mean() <= high


def test_coarse_features_are_decided_before_fine_ones():
    target, groups = hierarchy(8, VP())
    coarse, fine = critical_window(target, groups), critical_window(target)
    assert coarse[0] < coarse[1] < fine[1] and coarse[0] < fine[0]
    assert predicted_share(target, sum(coarse) / 2, groups) > predicted_share(
        target, sum(coarse) / 2
    )
    shares = [predicted_share(target, level, groups) for level in LEVELS]
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(0.5, abs=0.02) and shares[-1] > 0.999


def test_window_of_two_components_lies_where_the_overlap_says():
    """Equal weights: (share - ½)/½ = E tanh²(L/2) passes both margins at the window's ends."""
    target = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.01, 0.01], VP())
    low, high = critical_window(target, margin=0.2)
    for level, progress in ((low, 0.2), (high, 0.8)):
        x = target.sample(20_000, logsnr=level)
        resp = target.responsibilities(x, level)
        measured = 2 * resp.square().sum(1).mean().item() - 1
        assert measured == pytest.approx(progress, abs=0.02)


def test_noise_and_result_depend_on_the_seed_alone():
    target = pair()
    x = target.sample(3)
    batch = renoise(target, x, 0.0, [4, 9, 2])
    alone = renoise(target, x[2:], 0.0, [2])
    torch.testing.assert_close(batch[2:], alone)
    ends = denoise_by_sde(target, batch, 0.0, 16, [4, 9, 2])
    torch.testing.assert_close(ends[2:], denoise_by_sde(target, alone, 0.0, 16, [2]))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="logsnr: 11.0 found, allowed -10.0 to 10.0"):
        renoise(pair(), torch.zeros(1, 3), 11.0, [0])
    with pytest.raises(ValueError, match="margin: 0.5 found"):
        critical_window(pair(), margin=0.5)
    with pytest.raises(ValueError, match="dimensions: 1 found, allowed: 2 or more"):
        hierarchy(1, VP())
