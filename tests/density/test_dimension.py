"""Local intrinsic dimension against Gaussians of known rank and the heat equation."""

import math

import pytest
import torch

from cartoonists.density.dimension import local_dimension, local_intrinsic_dimension
from cartoonists.paths.bases import Cosine
from cartoonists.paths.schedules import VE, VP, RectifiedFlow
from cartoonists.paths.scores import Gaussian, GaussianMixture

SCHEDULES = {kind.__name__: kind(-10.0, 14.0) for kind in (VP, VE, RectifiedFlow)}
FLAT = 1e-9  # variance of the directions that the data does not fill


def gaussian_of_rank(rank, schedule, dimensions=12):
    variances = torch.full((dimensions,), FLAT, dtype=torch.float64)
    variances[:rank] = 1.0
    return Gaussian(torch.zeros(dimensions), variances, schedule, basis=Cosine())


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("rank", [1, 5, 12])
def test_rank_of_a_gaussian(kind, rank):
    target = gaussian_of_rank(rank, SCHEDULES[kind])
    x = target.basis.vector(
        torch.sqrt(target._variances[0]) * torch.randn(16, 12, generator=torch.manual_seed(0))
    )
    # what is left: a flat direction counts FLAT/ς² = 1.6e-4, a full one errs by ς² = 6e-6
    lid = local_intrinsic_dimension(target, x, 12.0)
    torch.testing.assert_close(lid, torch.full_like(lid, rank), atol=0.01, rtol=0)


def test_coarse_scale_counts_only_what_is_wider_than_the_noise():
    variances = torch.tensor([4.0, 1e-4], dtype=torch.float64)
    target = Gaussian(torch.zeros(2), variances, SCHEDULES["VE"])
    origin = torch.zeros(1, 2, dtype=torch.float64)
    expected = (variances / (variances + math.exp(-4.0))).sum()
    torch.testing.assert_close(local_intrinsic_dimension(target, origin, 4.0)[0], expected)
    assert 0.99 < local_intrinsic_dimension(target, origin, 4.0) < 1.01
    assert local_intrinsic_dimension(target, origin, 13.9) > 1.98


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("logsnr", [-3.0, 1.0, 5.0])
def test_equals_the_derivative_of_the_log_density_by_the_noise(kind, logsnr):
    schedule = SCHEDULES[kind]
    means = torch.tensor([[1.0, -0.5, 0.2], [-1.0, 0.3, 0.0]], dtype=torch.float64)
    target = GaussianMixture([0.3, 0.7], means, [0.3, 0.05], schedule)
    x = target.sample(8, seed=1)

    def log_density(level):  # of y = x_λ/α, whose noise is exp(-λ/2)
        alpha = schedule.alpha(level)
        return target.log_prob(alpha * x, level) + 3 * alpha.log()

    step = 1e-4
    slope = (log_density(logsnr + step) - log_density(logsnr - step)) / (2 * step)
    lid = local_intrinsic_dimension(target, x, logsnr)
    torch.testing.assert_close(lid, 3 - 2 * slope, atol=1e-6, rtol=1e-6)
    assert (lid - 3).abs().max() > 0.05  # the correction is there to be seen


def test_probes_average_to_the_exact_value_and_follow_the_seed():
    # correlated in the probes' basis (pixels), so that a probe does scatter
    target = gaussian_of_rank(5, SCHEDULES["VP"])
    x = target.sample(4, seed=3)
    exact = local_intrinsic_dimension(target, x, 6.0)
    options = {"divergence": "hutchinson", "seeds": [7, 8, 9, 10]}
    one = local_intrinsic_dimension(target, x, 6.0, **options)
    many = local_intrinsic_dimension(target, x, 6.0, **options, probes=400)
    assert (one - exact).abs().max() > 0.1
    torch.testing.assert_close(many, exact, atol=0.8, rtol=0)  # sd of the mean: about 0.2
    alone = local_intrinsic_dimension(target, x[2:3], 6.0, "hutchinson", seeds=[9])
    torch.testing.assert_close(alone, one[2:3])


@pytest.mark.parametrize("kind", SCHEDULES)
def test_flipd_of_a_standard_gaussian_varies_by_the_score_alone(kind):
    """FLIPD = D - D σ²/v + |σ s|², v the variance at λ, so that against log p it is -1."""
    schedule = SCHEDULES[kind]
    target = Gaussian(torch.zeros(12), 1.0, schedule)
    x = target.sample(32, seed=4)
    found = local_dimension(target, x, 1.0)
    alpha2, sigma2 = schedule.alpha(1.0) ** 2, schedule.sigma2(torch.tensor(1.0))
    variance = alpha2 + sigma2
    expected = sigma2 * alpha2 * x.square().sum(1) / variance**2
    torch.testing.assert_close(found.scaled_square, expected)
    torch.testing.assert_close(found.dimension, 12 * (1 - sigma2 / variance) + expected)
    ranks = found.dimension.argsort().tolist()
    assert ranks == target.log_prob(schedule.alpha(1.0) * x, 1.0).argsort().tolist()[::-1]


def test_arguments_are_checked():
    target = gaussian_of_rank(2, SCHEDULES["VP"])
    x = torch.zeros(1, 12, dtype=torch.float64)
    with pytest.raises(ValueError, match="logsnr: 20.0 found, allowed -10.0 to 14.0"):
        local_intrinsic_dimension(target, x, 20.0)
    with pytest.raises(ValueError, match="divergence: 'none' found"):
        local_intrinsic_dimension(target, x, 2.0, "none")
