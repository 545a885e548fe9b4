"""The soft box: its derivatives, its density and its draws against ground truth."""

import numpy as np
import pytest
import torch
from scipy import stats

from cartoonists import VP
from cartoonists.density.tracking import track_reverse_sde
from cartoonists.paths.boxes import SoftBox
from cartoonists.paths.scores import ScoreModel

LEVELS = [-9.0, -2.0, 1.0, 9.0]


def box(schedule=None, dimensions=3):
    return SoftBox(dimensions, 1.2, 0.1, schedule or VP())


@pytest.mark.parametrize("logsnr", LEVELS)
def test_derivatives_are_those_of_autodiff(schedule, logsnr):
    target = box(schedule)
    x = 1.1 * target.sample(5, seed=1, logsnr=logsnr)
    points = x.clone().requires_grad_(True)
    (score,) = torch.autograd.grad(target.log_prob(points, logsnr).sum(), points)
    torch.testing.assert_close(target.score(x, logsnr), score, rtol=1e-9, atol=1e-9)
    jacobian = torch.autograd.functional.jacobian
    hessian = jacobian(lambda y: target.score(y, logsnr).sum(0), x).permute(1, 0, 2)
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(target.hessian_diagonal(x, logsnr), diagonal, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(target.laplacian(x, logsnr), diagonal.sum(1), rtol=1e-8, atol=1e-8)
    v = torch.ones_like(x)
    torch.testing.assert_close(target.score_and_hvp(x, logsnr, v)[1], hessian @ v[0])
    gradient = ScoreModel.laplacian_gradient(target, x, logsnr)
    torch.testing.assert_close(target.laplacian_gradient(x, logsnr), gradient, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("logsnr", LEVELS)
def test_the_density_is_that_of_a_uniform_with_noise_and_is_log_concave(schedule, logsnr):
    target = box(schedule, 1)
    edge, spread = (float(v) for v in target._scales(logsnr))
    x = torch.linspace(-edge - 9 * spread, edge + 9 * spread, 20_001, dtype=torch.float64)[:, None]
    density = target.log_prob(x, logsnr).exp()
    assert torch.trapezoid(density, x[:, 0]).item() == pytest.approx(1, abs=1e-6)
    uniform = np.linspace(-edge, edge, 2001)
    blurred = np.trapezoid(stats.norm.pdf(0.9 * edge, uniform, spread), uniform) / (2 * edge)
    found = target.log_prob(torch.full((1, 1), 0.9 * edge, dtype=torch.float64), logsnr).exp()
    assert found.item() == pytest.approx(blurred, rel=1e-4)
    assert target.hessian_diagonal(x, logsnr).max() < 1e-9  # rounding, where it is flat


def test_draws_have_the_density():
    target = box(dimensions=2000)
    x = target.sample(3, seed=4, logsnr=2.0).flatten().numpy()
    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    single = box(dimensions=1)
    steps = single.log_prob(grid[:, None], 2.0).exp().numpy() * 0.001
    cdf = np.interp(x, grid.numpy(), np.cumsum(steps))
    assert stats.kstest(cdf, "uniform").pvalue > 0.01


def test_the_tracked_value_of_a_box_is_its_log_density():
    target = box(dimensions=4)
    run = track_reverse_sde(target, 32, 96)
    gap = run.log_density - target.log_prob(run.x)
    assert abs(gap.mean().item()) < 4 * gap.std().item() / 32**0.5 + 0.2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((0, 1.0, 0.1), "dimensions: 0 found, allowed: 1 or more"),
        ((2, -1.0, 0.1), "half_width: -1.0 found, allowed: above 0"),
        ((2, 1.0, 0.0), "softness: 0.0 found, allowed: above 0"),
    ],
)
def test_a_box_of_no_size_is_refused(arguments, line):
    with pytest.raises(ValueError, match=line):
        SoftBox(*arguments, VP())
