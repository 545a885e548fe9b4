"""One model under three schedules: x under each is x under VP times α/α_VP at the same λ.

So log p differs by D log(α/α_VP), for every way to sample and to tell a density.  What is a chain
of given noise is the same chain; what is an integral is the same to the accuracy of its steps.
"""

import math

import pytest
import torch
from closed_forms import mixture

from cartoonists import (
    VE,
    VP,
    NetworkScore,
    RectifiedFlow,
    elbo,
    ode_log_density,
    sample_high_density,
    sample_ode,
    track_modes,
    track_reverse_sde,
)
from cartoonists.density.dimension import local_intrinsic_dimension
from cartoonists.density.guidance import sample_guided, score_alignment
from cartoonists.density.posterior import mixture_table
from cartoonists.density.stein import estimate_table
from cartoonists.paths.streams import Streams

D, END = 8, 10.0
LEVELS = [-10.0, -4.0, 0.0, 3.0, END]


@pytest.fixture(params=[VE, RectifiedFlow], ids=["VE", "RectifiedFlow"])
def pair(request):
    """A mixture under VP and under another schedule."""
    return mixture(D), mixture(D, request.param())


def ratio(target, logsnr=END):
    """x of this schedule over x of VP at the same λ."""
    return target.schedule.alpha(logsnr) / VP().alpha(logsnr)


def agree(first, second, other, atol):
    """Whether a run under VP and one under ``other``'s schedule are one, in x and in log p."""
    scale = ratio(other)
    torch.testing.assert_close(first.x * scale, second.x, rtol=0, atol=atol)
    moved = first.log_density - D * scale.log()
    torch.testing.assert_close(moved, second.log_density, rtol=0, atol=D * atol)


@pytest.mark.parametrize("logsnr", LEVELS)
def test_densities_scores_and_denoisers(pair, logsnr):
    vp, other = pair
    x, scale = vp.sample(5, seed=0, logsnr=logsnr), ratio(other, logsnr)
    moved = vp.log_prob(x, logsnr) - D * scale.log()
    torch.testing.assert_close(other.log_prob(scale * x, logsnr), moved)
    torch.testing.assert_close(other.score(scale * x, logsnr) * scale, vp.score(x, logsnr))
    torch.testing.assert_close(other.denoise(scale * x, logsnr), vp.denoise(x, logsnr))
    torch.testing.assert_close(scale, other.schedule.power(logsnr).sqrt())


def test_the_prior_of_a_network(pair):
    """N(0, α² + σ²) at logsnr_min, VP's N(0, I): ½ α_VP² nats a dimension from unit data's x."""
    models = [NetworkScore(None, (D,), target.schedule) for target in pair]
    streams = [Streams(range(4), "prior") for _ in models]
    first, second = (m.sample_prior(s) for m, s in zip(models, streams, strict=True))
    scale = ratio(pair[1], -END)
    torch.testing.assert_close(first * scale, second)
    moved = models[0].prior_log_prob(first) - D * scale.log()
    torch.testing.assert_close(models[1].prior_log_prob(second), moved)
    power, sigma2 = models[1].prior_variance(), models[1].schedule.sigma2(-END)
    divergence = 0.5 * (math.log(power) - sigma2.log())  # of q(x|x_0), in the mean over x_0
    assert divergence.item() == pytest.approx(0.5 * VP().alpha(-END).item() ** 2, rel=1e-3)
    assert power == pytest.approx(
        {VE: math.exp(10) + 1, RectifiedFlow: 0.98670389}[type(pair[1].schedule)]
    )


@pytest.mark.parametrize("covariance", ["diagonal", "isotropic", "per-sample", "none"])
def test_the_ancestral_chain_is_one_chain(pair, covariance):
    runs = [track_reverse_sde(target, n=4, steps=12, covariance=covariance) for target in pair]
    agree(*runs, pair[1], atol=1e-8)
    torch.testing.assert_close(runs[0].error, runs[1].error, rtol=1e-6, atol=1e-7)


def test_tables_of_the_posterior_and_their_grids_are_the_same(pair):
    tables = [mixture_table(target, points=21, samples=16) for target in pair]
    torch.testing.assert_close(tables[0].logits, tables[1].logits, rtol=0, atol=1e-6)
    found = [estimate_table(target, range(16), points=11, pilot_steps=16) for target in pair]
    torch.testing.assert_close(found[0].logits, found[1].logits, rtol=0, atol=1e-6)
    runs = [
        track_reverse_sde(target, n=4, steps=12, posterior=table)
        for target, table in zip(pair, found, strict=True)
    ]
    agree(*runs, pair[1], atol=1e-6)


def test_bounds_of_given_points(pair):
    vp, other = pair
    x, scale = vp.sample(4, seed=3), ratio(other)
    first, second = elbo(vp, x, 12, paths=3), elbo(other, scale * x, 12, paths=3)
    for name in ("elbo", "iwae"):
        moved = getattr(first, name) - D * scale.log()
        torch.testing.assert_close(getattr(second, name), moved, rtol=0, atol=1e-6)


def test_the_flow_in_both_directions(pair):
    vp, other = pair
    x, scale, options = vp.sample(4, seed=3), ratio(other), {"steps": 64, "solver": "rk4"}
    moved = ode_log_density(vp, x, **options).log_density - D * scale.log()
    found = ode_log_density(other, scale * x, **options).log_density
    torch.testing.assert_close(found, moved, rtol=0, atol=1e-3)
    agree(*(sample_ode(target, 4, **options) for target in pair), other, atol=1e-4)


def test_high_density_samples(pair):
    runs = [sample_high_density(target, 4, 96, 0.0, solver="rk4") for target in pair]
    scale = ratio(pair[1], 0.0)
    torch.testing.assert_close(runs[0].x_switch * scale, runs[1].x_switch)
    agree(*runs, pair[1], atol=1e-4)


@pytest.mark.parametrize("method", ["guidance", "prior", "temperature"])
def test_guided_samples(pair, method):
    runs = [sample_guided(target, 4, 96, 0.5, method=method, solver="rk4") for target in pair]
    agree(*runs, pair[1], atol=1e-3)


def test_score_alignment(pair):
    """The latent's own scale enters squared: it moves by x_T/var, in units of x_T."""
    first, second = (score_alignment(target, 4, 64, solver="rk4") for target in pair)
    unit = ratio(pair[1], -END).square()
    for name in ("with_score", "without_score"):
        expected = getattr(first, name) / unit
        torch.testing.assert_close(getattr(second, name), expected, rtol=1e-3, atol=1e-4 / unit)


def test_modes_and_local_dimensions(pair):
    vp, other = pair
    x_t = vp.sample(3, seed=4, logsnr=1.0)
    first = track_modes(vp, x_t, 1.0, 48, starts=1)
    second = track_modes(other, ratio(other, 1.0) * x_t, 1.0, 48, starts=1)
    assert first.ok.all() and second.ok.all()
    agree(first, second, other, atol=1e-5)
    x = vp.sample(3, seed=5)
    dimension = local_intrinsic_dimension(vp, x, 2.0)
    torch.testing.assert_close(local_intrinsic_dimension(other, x, 2.0), dimension)
