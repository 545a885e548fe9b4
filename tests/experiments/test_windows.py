"""Critical windows on mixtures: predictions against sampling, closed forms and limits."""

import math

import pytest
import torch
from closed_forms import mixture
from scipy import stats

from cartoonists import VE, VP, Gaussian, GaussianMixture
from cartoonists.experiments.windows import (
    between_windows,
    component,
    critical_window,
    denoise_by_hd,
    denoise_by_sde,
    features,
    forgotten_share,
    hierarchy,
    log_ratio,
    mixture_windows,
    peak_component,
    predicted_share,
    redraw_probabilities,
    renoise,
    total_variations,
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


@pytest.mark.parametrize("dimensions", [1, 2, 40])
def test_total_variations_of_equal_variances_are_in_closed_form(dimensions):
    means = torch.zeros(2, dimensions)
    means[1, 0] = 1.4
    target = GaussianMixture([0.5, 0.5], means, [0.2, 0.2], VP())
    for logsnr in (-8.0, 0.0, 4.0):
        alpha, sigma2 = VP().alpha(logsnr), VP().sigma2(logsnr)
        distance = (1.4 * alpha / (alpha**2 * 0.2 + sigma2).sqrt()).item()
        expected = 2 * stats.norm.cdf(distance / 2) - 1
        found = total_variations(target, logsnr)
        assert found[0, 1].item() == pytest.approx(expected, abs=1e-7)
        assert found[0, 0].item() == found[1, 1].item() == 0


@pytest.mark.parametrize("dimensions", [1, 3, 100])
def test_total_variations_are_those_of_sampling(dimensions):
    """Unequal variances: E over component k of 1 - p_j/p_k, where it is above 0."""
    target = mixture(dimensions, seed=7)
    found = total_variations(target, -2.0)
    torch.testing.assert_close(found, found.T)
    for k in range(3):
        one = Gaussian(target.means[k], target._variances[k], target.schedule)
        x = one.sample(10_000, logsnr=-2.0)
        log_densities = target.responsibilities(x, -2.0).log() - target.weights.log()
        below = (log_densities - log_densities[:, k : k + 1]).exp()
        sampled = (1 - below).clamp_min(0)
        assert ((sampled.mean(0) - found[k]).abs() < 4 * sampled.std(0) / 100 + 1e-6).all()


def test_total_variations_grow_with_the_signal():
    target = mixture(5, seed=8)
    along = torch.stack([total_variations(target, level) for level in LEVELS])
    assert (along.diff(dim=0) > -1e-9).all()


def test_the_window_of_two_equal_components_is_known():
    """TV = 2 Φ(d/2) - 1 is 0.1 at d = 0.2513 and 0.9 at d = 3.2897."""
    target = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.01, 0.01], VE())
    ends = critical_window(target, [0, 1], [0, 0])
    expected = [-math.log((2 / d) ** 2 - 0.01) for d in (0.2513, 3.2897)]
    assert ends == pytest.approx(expected, abs=3e-3)


def test_coarse_features_are_decided_before_fine_ones():
    target, groups = hierarchy(8, VP())
    coarse, fine = (
        critical_window(target, groups, [0] * 4),
        critical_window(target, range(4), groups),
    )
    assert coarse[0] < coarse[1] < fine[0] < fine[1]
    shares = [predicted_share(target, level, groups) for level in LEVELS]
    assert shares == sorted(shares) and shares[-1] > 0.999
    assert forgotten_share(target, groups, [0] * 4) == pytest.approx(0.5)
    assert forgotten_share(target, range(4), groups) == pytest.approx(0.5)
    between = between_windows(VP(), range(400), 32)
    assert coarse[1] < between["logsnr"].iloc[0] < fine[0]
    assert between["kept_group"].mean() > 0.9
    assert between["kept_member"].mean() == pytest.approx(0.5, abs=0.1)


def test_a_window_that_the_range_does_not_hold_has_no_end():
    near = GaussianMixture([0.5, 0.5], [[-0.1], [0.1]], [0.1, 0.1], VP())
    assert math.isnan(critical_window(near, [0, 1], [0, 0])[1])
    far = GaussianMixture([0.5, 0.5], [[-9.0], [9.0]], [0.1, 0.1], VP(-4.0, 8.0))
    assert math.isnan(critical_window(far, [0, 1], [0, 0])[0])


def test_forgotten_share_of_a_flat_mixture_is_chance():
    assert forgotten_share(pair(), [0, 1], [0, 0]) == pytest.approx(0.7**2 + 0.3**2)


def test_the_table_follows_modes_from_the_first_seeds_alone():
    feature = features([], VP())["2 × 2 components, D = 2: members"]
    table = mixture_windows(feature, [-1.0, 2.0], range(5), 16, 2)
    for name in ("kept_hd", "peak_missed", "branch_jumped"):
        assert table[name].notna().tolist() == 2 * [True, True, False, False, False]
    assert table["kept_sde"].dtype == bool and len(table) == 10


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
        critical_window(pair(), [0, 1], [0, 0], margin=0.5)
    with pytest.raises(ValueError, match="anisotropic components found"):
        total_variations(mixture(3, anisotropic=True), 0.0)
    with pytest.raises(ValueError, match="dimensions: 1 found, allowed: 2 or more"):
        hierarchy(1, VP())
