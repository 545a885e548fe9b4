"""Trackers against closed forms: error, exactness, sandwich, distribution, seeds."""

import math
from dataclasses import replace

import pytest
import scipy.stats
import torch
from closed_forms import mixture

from cartoonists import VE, VP, Gaussian, GaussianMixture, elbo, track_reverse_sde
from cartoonists.density.ancestral import AncestralKernel, path_log_ratios
from cartoonists.density.posterior import ExactPosterior, mixture_table
from cartoonists.density.stein import estimate_table
from cartoonists.paths.schedules import uniform_grid
from cartoonists.paths.scores import ScoreModel
from cartoonists.paths.streams import Streams


def errors(target, **options):
    run = track_reverse_sde(target, **options)
    return run.log_density - target.log_prob(run.x)


def image_like_gaussian(dimensions=3072):
    variance = torch.logspace(-3, math.log10(4), dimensions, dtype=torch.float64)
    return Gaussian(torch.zeros(dimensions), variance / variance.mean(), VP())


def test_one_gaussian_is_exact_at_any_number_of_steps(schedule):
    """Anisotropic, non-zero mean: the kernel has the exact moments, so r = log p to rounding."""
    g = torch.Generator().manual_seed(0)
    mean = torch.randn(16, generator=g)
    target = Gaussian(mean, 10 ** (-2 * torch.rand(16, generator=g)), schedule)
    for steps in (1, 7):
        assert errors(target, n=16, steps=steps).abs().max() < 1e-6


def test_mixture_in_64_dimensions_meets_the_published_row():
    error = errors(mixture(64, seed=1), n=256, steps=32)
    assert abs(error.mean()) < 1.0
    assert error.std() < 1.5


def test_isotropic_tracker_on_an_image_like_spectrum():
    error = errors(image_like_gaussian(), n=32, steps=64, covariance="isotropic")
    assert 0 < error.mean() < 190  # the stated row: +167 ± 17
    exact = errors(image_like_gaussian(), n=8, steps=64)
    assert exact.abs().max() < 1e-4


def test_euler_maruyama_bias_falls_as_one_over_steps():
    target = mixture(64, seed=2)
    options = {"n": 64, "method": "euler-maruyama"}
    coarse = errors(target, steps=128, **options).mean()
    fine = errors(target, steps=512, **options).mean()
    assert coarse > 4
    assert 2.5 < coarse / fine < 6.5


def test_ancestral_error_falls_with_the_step():
    target = mixture(32, seed=3, anisotropic=True)
    steps = [8, 16, 32, 64]
    spread = [errors(target, n=128, steps=s).square().mean().sqrt().item() for s in steps]
    slope = scipy.stats.linregress([math.log(s) for s in steps], [math.log(e) for e in spread])
    assert slope.slope < -0.7


def test_table_of_a_gaussian_is_exact():
    target = image_like_gaussian(64)
    table, zero = mixture_table(target, points=9, samples=4), torch.zeros(1, 64).double()
    for logsnr in (-9.3, 0.1, 7.7):
        exact = 1 / (1 / target._variances[0] + math.exp(logsnr))
        got = table.variance(zero, logsnr, zero)
        assert torch.allclose(got, exact, rtol=1e-6)
    error = errors(target, n=16, steps=8, posterior=table)
    assert error.abs().max() < 1e-3


def test_estimated_table_finds_the_posterior_variance():
    """Derivative-free estimate from own samples against the closed form, within sampling error."""
    variance = torch.logspace(-2, 0.3, 24, dtype=torch.float64)
    target = Gaussian(torch.zeros(24), variance, VP())
    table = estimate_table(target, range(400), points=11, pilot_steps=200)
    zero = torch.zeros(1, 24, dtype=torch.float64)
    for logsnr in (-8.0, -2.0, 2.0, 6.0):
        exact = 1 / (1 / variance + math.exp(logsnr))
        ratio = table.variance(zero, logsnr, zero) / exact
        assert (ratio - 1).abs().max() < 0.3
        assert abs(ratio.mean() - 1) < 0.06


def test_levels_see_what_a_mean_over_x_cannot():
    """Coordinates that are 0 or 2: what is unknown of them is seen in x̂_0, in its mean not."""
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 2.0], dtype=torch.float64)] * 4)
    weights = 0.7 ** (corners == 0).sum(1) * 0.3 ** (corners == 2).sum(1)
    target = GaussianMixture(weights, corners, torch.full((16,), 0.01), VP())
    table = estimate_table(target, range(300), points=21, pilot_steps=100)
    flat, exact = replace(table, levels=None), ExactPosterior(target)
    for logsnr in (-1.0, 0.0, 0.5):
        z = target.sample(200, seed=7, logsnr=logsnr)
        denoised, truth = target.denoise(z, logsnr), exact.variance(z, logsnr, z)
        deviation = [
            (posterior.variance(z, logsnr, denoised) - truth).square().mean().sqrt() / truth.mean()
            for posterior in (flat, table)
        ]
        assert deviation[1] < 0.5 * deviation[0]
    gaps = [errors(target, n=400, steps=12, posterior=p).mean() for p in (flat, table)]
    assert gaps[1] < 0.8 * gaps[0]


@pytest.mark.parametrize("covariance", ["diagonal", "isotropic", "per-sample"])
def test_sandwich(covariance):
    """E r ≥ log p ≥ IWAE-64 ≥ ELBO within three standard errors."""
    target = mixture(16, seed=4)
    run = track_reverse_sde(target, n=256, steps=8, covariance=covariance)
    gap = run.log_density - target.log_prob(run.x)
    assert gap.mean() > -3 * gap.std() / math.sqrt(len(gap))
    x = target.sample(32, seed=900)
    low = elbo(target, x, steps=8, paths=64, covariance=covariance)
    below = target.log_prob(x) - low.iwae
    assert below.mean() > -3 * below.std() / math.sqrt(len(x))
    assert (low.iwae >= low.elbo).all()
    assert (target.log_prob(x) - low.elbo).mean() > below.mean()


@pytest.mark.parametrize("method", ["ancestral", "euler-maruyama"])
def test_samples_follow_the_target(method):
    """KS test of projections on random directions against exact draws."""
    target = mixture(16, seed=6)
    steps = 64 if method == "ancestral" else 256
    x = track_reverse_sde(target, n=400, steps=steps, method=method, seed=50, track=False).x
    exact = target.sample(4000, seed=1)
    g = torch.Generator().manual_seed(0)
    directions = torch.randn(16, 6, generator=g, dtype=torch.float64)
    for d in directions.T:
        assert scipy.stats.ks_2samp((x @ d).numpy(), (exact @ d).numpy()).pvalue > 0.005


@pytest.mark.parametrize("method", ["ancestral", "euler-maruyama"])
@pytest.mark.parametrize("batch", [1, 7])
def test_sample_depends_on_its_seed_alone(method, batch):
    target = mixture(8)
    whole = track_reverse_sde(target, n=16, steps=8, method=method, seed=3)
    part = track_reverse_sde(target, n=batch, steps=8, method=method, seed=3 + 5)
    assert torch.allclose(part.x, whole.x[5 : 5 + batch], atol=1e-12)
    assert torch.allclose(part.log_density, whole.log_density[5 : 5 + batch], atol=1e-9)


def test_ve_and_vp_track_the_same_density():
    """The ancestral chains of both schedules are one chain after x_VP = α x_VE."""
    vp, ve = mixture(8, VP()), mixture(8, VE())
    a, b = track_reverse_sde(vp, n=8, steps=24), track_reverse_sde(ve, n=8, steps=24)
    alpha = VP().alpha(10.0)
    assert torch.allclose(a.x, alpha * b.x, atol=1e-8)
    assert torch.allclose(a.log_density + 8 * alpha.log(), b.log_density, atol=1e-6)


def test_untracked_samples_are_the_tracked_ones():
    target = mixture(8)
    tracked = track_reverse_sde(target, n=4, steps=8)
    bare = track_reverse_sde(target, n=4, steps=8, track=False)
    assert torch.equal(tracked.x, bare.x)
    assert bare.log_density.isnan().all()


def test_callback_sees_every_step():
    target, seen = mixture(4), []
    run = track_reverse_sde(target, n=2, steps=5, callback=lambda *a: seen.append(a))
    assert [round(a[0]) for a in seen] == [-6, -2, 2, 6, 10]
    assert torch.equal(seen[-1][1], run.x)
    assert run.nfe == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "ddim"}, "method: 'ddim' found, allowed: ancestral"),
        ({"covariance": "full"}, "covariance: 'full' found"),
        ({"steps": 0}, "steps: 0 found"),
        ({"steps": -3}, "steps: -3 found"),
        ({"n": 0}, "n: 0 found"),
        ({"seed": -1}, "seed: -1 found"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        track_reverse_sde(mixture(2), **{"n": 2, "steps": 2, **options})


def test_diagonal_mixture_beats_the_averaged_table():
    """The exact posterior at each x against its mean over x, anisotropic components."""
    target = mixture(256, components=4, seed=7, anisotropic=True)
    exact = errors(target, n=64, steps=16)
    averaged = errors(target, n=64, steps=16, posterior=mixture_table(target))
    assert exact.abs().mean() < 0.5 * averaged.abs().mean()


def test_mixture_with_shape_of_images():
    g = torch.Generator().manual_seed(0)
    means = torch.randn(2, 3, 4, 4, generator=g)
    target = GaussianMixture([1.0, 1.0], means, [0.1, 0.2], VP())
    run = track_reverse_sde(target, n=8, steps=64)
    assert run.x.shape == (8, 3, 4, 4)
    assert (run.log_density - target.log_prob(run.x)).abs().mean() < 1.0


def test_a_table_spaces_steps_where_the_density_changes():
    table = mixture_table(mixture(16, anisotropic=True), points=41, samples=32)
    grid = torch.tensor(table.time_grid(-10.0, 10.0, 32))
    steps = grid.diff()
    assert grid[0] == -10.0 and grid[-1] == 10.0 and (steps > 0).all()
    assert steps[0] > 2 * steps.min()  # nothing happens in pure noise
    assert table.time_grid(10.0, -10.0, 32) == pytest.approx(grid.flip(0).tolist())
    with pytest.raises(ValueError, match="steps: 0 found"):
        table.time_grid(-10.0, 10.0, 0)


def test_step_halving_tells_the_error_of_the_ancestral_chain():
    """First order in the step: twice as long a step moves the value by about the error left."""
    target = Gaussian(torch.zeros(64), torch.linspace(0.1, 3.0, 64), VP())
    options = {"covariance": "isotropic", "grid": uniform_grid(-10, 10, 128)}
    run = track_reverse_sde(target, n=64, **options)
    error = run.log_density - target.log_prob(run.x)
    assert 0.4 < (run.error.square().mean() / error.square().mean()).sqrt() < 2
    exact = track_reverse_sde(target, n=8, steps=33)
    assert (exact.error < 1e-6).all()  # diagonal in its basis: exact at every step, odd ones too


def test_the_log_ratio_of_a_path_is_that_of_its_ends_for_gaussians():
    """Both chains are exact then, and their forward kernels are the same."""
    targets = [Gaussian(torch.full((3,), mean), 0.4, VP()) for mean in (0.5, -0.2)]
    variance = ExactPosterior(targets[0])
    policy, reference = (AncestralKernel(target, variance, "isotropic") for target in targets)
    x = targets[0].sample_prior(Streams(range(5), "prior"))
    grid = uniform_grid(-10.0, 10.0, 7)
    end, ratios = path_log_ratios(policy, reference, x, grid, Streams(range(5), "path"))
    before, after = (
        targets[0].log_prob(at, logsnr) - targets[1].log_prob(at, logsnr)
        for at, logsnr in ((x, -10.0), (end, 10.0))
    )
    truth = after - before
    assert ratios.shape == (7, 5) and truth.abs().max() > 0.3
    torch.testing.assert_close(ratios.sum(0), truth, rtol=0, atol=1e-8)
    with pytest.raises(ValueError, match="another posterior than the policy's found"):
        path_log_ratios(policy, AncestralKernel(targets[1], None, "none"), x, grid, None)


@pytest.mark.parametrize("steps", [16, 64])
def test_the_path_ratio_tells_the_error_of_euler_maruyama(steps):
    """Joined steps share the path and its bias; the ratio over the same points has neither."""
    target = mixture(256, seed=1, anisotropic=True)
    options = {"n": 64, "steps": steps, "method": "euler-maruyama"}
    run = track_reverse_sde(target, **options)
    error = (run.log_density - target.log_prob(run.x)).abs()
    assert ((run.error > error / 3) & (run.error < 3 * error)).double().mean() > 0.8
    assert (run.error < error / 3).double().mean() < 0.05
    gaussian = image_like_gaussian(64)
    run = track_reverse_sde(gaussian, **options)
    assert run.error == pytest.approx((run.log_density - gaussian.log_prob(run.x)).abs(), abs=1e-6)


class Bare(ScoreModel):
    """The score of a closed form whose posterior nobody knows."""

    def __init__(self, target):
        self.target, self.shape, self.schedule = target, target.shape, target.schedule

    def score(self, x, logsnr):
        return self.target.score(x, logsnr)

    def score_and_hvp(self, x, logsnr, v):
        return self.target.score_and_hvp(x, logsnr, v)


def test_euler_maruyama_has_no_error_without_a_posterior():
    target = mixture(8)
    bare = Bare(target)
    options = {"n": 2, "steps": 4, "method": "euler-maruyama"}
    assert track_reverse_sde(bare, **options).error is None
    assert track_reverse_sde(target, track=False, **options).error is None
    table = mixture_table(target, points=11, samples=16)
    assert track_reverse_sde(bare, posterior=table, **options).error.isfinite().all()
