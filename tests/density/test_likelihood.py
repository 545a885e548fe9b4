"""PF-ODE, ELBO and bits/dim against closed forms."""

import math

import pytest
import scipy.stats
import torch
from closed_forms import mixture

from cartoonists import (
    VE,
    VP,
    Gaussian,
    GaussianMixture,
    bits_per_dim,
    elbo,
    ode_log_density,
    sample_ode,
)
from cartoonists.images.data import PixelScaling
from cartoonists.paths.bases import Cosine
from cartoonists.paths.streams import Streams


def observed_order(target, x, solver, steps):
    exact = target.log_prob(x)
    error = [
        (ode_log_density(target, x, steps=s, solver=solver).log_density - exact).abs().mean().item()
        for s in steps
    ]
    fit = scipy.stats.linregress([math.log(s) for s in steps], [math.log(e) for e in error])
    return -fit.slope


@pytest.mark.parametrize(
    ("solver", "steps", "order"),
    [
        ("euler", [512, 1024, 2048], 0.9),
        ("heun", [128, 256, 512], 1.8),
        ("rk4", [24, 48, 96], 3.6),
        ("adams", [64, 96, 128], 2.8),
    ],
)
def test_order_of_convergence(schedule, solver, steps, order):
    target = mixture(6, schedule, seed=1)
    x = target.sample(16, seed=2)
    assert observed_order(target, x, solver, steps) > order


def test_mixture_in_64_dimensions_at_256_heun_steps():
    target = mixture(64, seed=3)
    x = target.sample(32, seed=0)
    found = ode_log_density(target, x, steps=256, solver="heun", divergence="exact")
    assert (found.log_density - target.log_prob(x)).abs().max() < 0.05
    assert found.nfe == 512


def test_adams_needs_a_quarter_of_the_evaluations_of_heun():
    target = mixture(64, seed=3)
    x = target.sample(32, seed=0)
    exact = target.log_prob(x)
    adams = ode_log_density(target, x, steps=31, solver="adams")
    heun = ode_log_density(target, x, steps=64, solver="heun")
    assert (adams.nfe, heun.nfe) == (32, 128)
    error = [(run.log_density - exact).square().mean().sqrt() for run in (adams, heun)]
    assert error[0] < error[1]


@pytest.mark.parametrize(
    ("least", "steps", "allowed"),
    [*((1e-4, steps, 2.0) for steps in (16, 20, 24, 28)), (1e-8, 28, 1.0), (1e-8, 32, 1.0)],
)
def test_adams_is_stable_towards_the_data(least, steps, allowed):
    """Flat directions (variances down to ``least``) contract; long steps must not blow them up."""
    g = torch.Generator().manual_seed(0)
    variances = least ** torch.rand(2, 64, generator=g)
    target = GaussianMixture([1.0, 1.0], 0.5 * torch.randn(2, 64, generator=g), variances, VP())
    run = sample_ode(target, n=16, steps=steps, solver="adams")
    error = run.log_density - target.log_prob(run.x)
    assert error.abs().median() < allowed


def test_sampling_direction_tracks_the_density():
    target = mixture(12, seed=4)
    run = sample_ode(target, n=16, steps=64, solver="rk4")
    assert (run.log_density - target.log_prob(run.x)).abs().max() < 1e-3
    back = ode_log_density(target, run.x, steps=64, solver="rk4")
    assert torch.allclose(back.log_density, run.log_density, atol=1e-3)


def test_hutchinson_is_unbiased_over_seeds():
    target = mixture(8, seed=5, anisotropic=True)
    x = target.sample(1, seed=0).repeat(300, 1)
    options = {"steps": 24, "solver": "rk4"}
    exact = ode_log_density(target, x[:1], divergence="exact", **options).log_density
    noisy = ode_log_density(target, x, divergence="hutchinson", seed=10, **options).log_density
    error = noisy - exact
    assert error.std() > 1e-3
    assert abs(error.mean()) < 3 * error.std() / math.sqrt(len(error))


def test_probes_in_the_basis_of_the_hessian_have_no_variance():
    target = Gaussian(torch.zeros(1, 4, 4), 0.1 + torch.rand(1, 4, 4), VP(), basis=Cosine())
    x = target.sample(4)
    options = {"steps": 16, "solver": "rk4"}
    exact = ode_log_density(target, x, divergence="exact", **options).log_density
    same = ode_log_density(target, x, divergence="hutchinson", basis=Cosine(), **options)
    assert torch.allclose(same.log_density, exact, atol=1e-9)
    pixels = ode_log_density(target, x, divergence="hutchinson", **options)
    assert (pixels.log_density - exact).abs().max() > 1e-2


def test_fresh_probes_are_quieter_than_kept_ones():
    """One probe kept along the path adds its errors up; fresh ones average out."""
    from cartoonists.paths.divergence import make_divergence
    from cartoonists.paths.processes import ProbabilityFlow
    from cartoonists.paths.schedules import uniform_grid
    from cartoonists.paths.solvers import integrate

    target = mixture(32, seed=8)
    x = target.sample(1).repeat(200, 1)
    spread = {}
    for fresh in (True, False):
        estimator = make_divergence("hutchinson", range(200), fresh=fresh)
        path = integrate(
            ProbabilityFlow(target.schedule), target, x, torch.zeros(200).double(),
            uniform_grid(10.0, -10.0, 32), estimator, range(200), solver="heun",
        )  # fmt: skip
        spread[fresh] = path.log_density.std().item()
    assert spread[True] < 0.7 * spread[False]


def test_differences_have_the_score_itself_and_an_error_odd_in_the_probe(monkeypatch):
    """(s(x + hv) - s(x))/h: error of first order in h, which +v and -v cancel to second order."""
    from cartoonists.paths import divergence

    target = mixture(6, seed=5, anisotropic=True)
    x = target.sample(4, seed=1, logsnr=0.0)
    v = Streams(range(4), "probes").rademacher(target.shape)
    exact = (v * target.score_and_hvp(x, 0.0, v)[1]).sum(1)
    single, paired = [], []
    for step in (0.02, 0.01):
        monkeypatch.setattr(divergence, "STEP", step)
        sides = []
        for sign in (1.0, -1.0):
            estimator = divergence.make_divergence("difference", range(4))
            monkeypatch.setattr(estimator, "_draw", lambda shape, probe=sign * v: [probe])
            at = estimator(target, x, 0.0)
            torch.testing.assert_close(at.score, target.score(x, 0.0), rtol=1e-12, atol=1e-12)
            sides.append(at.laplacian - exact)
        single.append(sides[0].norm().item())
        paired.append((sides[0] + sides[1]).norm().item())
    assert 1.8 < single[0] / single[1] < 2.2
    assert 3.5 < paired[0] / paired[1] < 4.5


def test_differences_give_the_log_density_of_derivatives_with_the_same_probes():
    target = mixture(16, seed=6, anisotropic=True)
    x = target.sample(16, seed=2)
    options = {"steps": 24, "solver": "adams", "probes": 2, "seed": 3}
    exact = ode_log_density(target, x, divergence="exact", steps=24, solver="adams").log_density
    derived = ode_log_density(target, x, divergence="hutchinson", **options)
    differed = ode_log_density(target, x, divergence="difference", **options)
    assert (differed.nfe, derived.nfe) == (3 * 25, 2 * 25)
    noise = (derived.log_density - exact).std()
    assert (differed.log_density - derived.log_density).std() < 0.05 * noise


def test_more_probes_divide_the_variance():
    target = mixture(8, seed=9, anisotropic=True)
    x = target.sample(1).repeat(300, 1)
    options = {"steps": 12, "solver": "heun", "divergence": "hutchinson"}
    one = ode_log_density(target, x, probes=1, **options).log_density.var()
    four = ode_log_density(target, x, probes=4, **options).log_density.var()
    assert 2.5 < one / four < 6.5


def test_adaptive_solver_reports_evaluations_and_is_independent_of_the_batch():
    target = mixture(6, seed=10)
    x = target.sample(5, seed=0)
    run = ode_log_density(target, x, solver="dopri5", rtol=1e-7, atol=1e-7)
    assert (run.log_density - target.log_prob(x)).abs().max() < 1e-4
    assert run.nfe.shape == (5,)
    alone = ode_log_density(target, x[3:4], solver="dopri5", rtol=1e-7, atol=1e-7, seed=3)
    assert torch.equal(alone.log_density, run.log_density[3:4])


def test_ve_and_vp_agree_after_rescaling():
    vp, ve = mixture(6, VP()), mixture(6, VE())
    x = ve.sample(8, seed=0)
    alpha = VP().alpha(10.0)
    a = ode_log_density(ve, x, steps=64, solver="rk4").log_density
    b = ode_log_density(vp, alpha * x, steps=64, solver="rk4").log_density
    assert torch.allclose(a, b + 6 * alpha.log(), atol=1e-3)


@pytest.mark.parametrize("batch", [1, 7])
def test_a_point_depends_on_its_seed_alone(batch):
    target = mixture(8, seed=11)
    x = target.sample(16, seed=0)
    options = {"steps": 8, "divergence": "hutchinson"}
    whole = ode_log_density(target, x, seed=20, **options).log_density
    part = ode_log_density(target, x[4 : 4 + batch], seed=24, **options).log_density
    assert torch.allclose(part, whole[4 : 4 + batch], atol=1e-9)
    low = elbo(target, x, steps=8, paths=2, seed=20)
    part = elbo(target, x[4 : 4 + batch], steps=8, paths=2, seed=24)
    assert torch.allclose(part.elbo, low.elbo[4 : 4 + batch], atol=1e-9)


def test_elbo_of_a_gaussian_is_its_log_density():
    """One Gaussian has an exact reverse kernel: every path gives the same weight, log p."""
    target = Gaussian(torch.zeros(5), 0.1 + torch.rand(5), VP())
    x = target.sample(6)
    low = elbo(target, x, steps=4, paths=3)
    assert torch.allclose(low.elbo, target.log_prob(x), atol=1e-8)
    assert torch.allclose(low.iwae, target.log_prob(x), atol=1e-8)


def test_bits_per_dim_of_uniform_grey_levels_is_eight():
    """A density that is uniform over the 256 levels costs 8 bits, whatever the data scaling."""
    scaling = PixelScaling((0.2, 0.5, 0.6), (0.3, 0.1, 0.7))
    shape = (3, 4, 5)
    volume = sum(20 * math.log(1 / s) for s in scaling.std)  # of [0, 1]^D in model space
    bits = bits_per_dim(torch.tensor(-volume), 60, scaling.log_pixels_per_unit(shape))
    assert bits.item() == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "rk5"}, "solver: 'rk5' found"),
        ({"divergence": "none-such"}, "divergence: 'none-such' found"),
        ({"steps": 0}, "steps: 0 found"),
        ({"probes": 0, "divergence": "hutchinson"}, "probes: 0 found"),
        ({"seeds": [1]}, "seeds: 1 found"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ode_log_density(mixture(2), torch.zeros(3, 2).double(), **options)


def test_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"\(3,\) found, the model's are \(2,\)"):
        ode_log_density(mixture(2), torch.zeros(1, 3).double())
