import math

import pytest
import torch
from closed_forms import mixture

from cartoonists import VE, VP, Gaussian, GaussianMixture, NetworkScore, RectifiedFlow
from cartoonists.density.tracking import track_reverse_sde
from cartoonists.paths.bases import Columns, Cosine
from cartoonists.paths.scores import NonFiniteScore

LEVELS = [-4.0, 0.0, 3.0]


def autodiff(target, x, logsnr):
    """Score and Hessian of log_prob by automatic differentiation."""

    def log_prob(y):
        return target.log_prob(y.view(1, *target.shape), logsnr)[0]

    flat = x.flatten(1)
    score = torch.stack([torch.func.grad(log_prob)(y) for y in flat])
    hessian = torch.stack([torch.func.hessian(log_prob)(y) for y in flat])
    return score.view_as(x), hessian


@pytest.mark.parametrize("logsnr", LEVELS)
@pytest.mark.parametrize("anisotropic", [False, True])
def test_mixture_derivatives_match_autodiff(schedule, logsnr, anisotropic):
    target = mixture(5, schedule, anisotropic=anisotropic)
    x = target.sample(4, seed=1, logsnr=logsnr)
    score, hessian = autodiff(target, x, logsnr)
    assert torch.allclose(target.score(x, logsnr), score, atol=1e-8)
    trace = hessian.diagonal(dim1=1, dim2=2)
    assert torch.allclose(target.laplacian(x, logsnr), trace.sum(1), rtol=1e-7, atol=1e-7)
    assert torch.allclose(target.hessian_diagonal(x, logsnr), trace, rtol=1e-7, atol=1e-7)
    assert torch.allclose(target.hessian(x, logsnr), hessian, rtol=1e-7, atol=1e-7)


def test_derivatives_in_another_basis():
    """A mixture that is diagonal in cosines: shapes [1, 4, 4], score and Hessian by autodiff."""
    g = torch.Generator().manual_seed(2)
    means = torch.randn(2, 1, 4, 4, generator=g)
    variances = 0.05 + torch.rand(2, 1, 4, 4, generator=g)
    target = GaussianMixture([1.0, 2.0], means, variances, VP(), basis=Cosine())
    x = target.sample(3, seed=0, logsnr=1.0)
    score, hessian = autodiff(target, x, 1.0)
    assert torch.allclose(target.score(x, 1.0), score, atol=1e-8)
    trace = hessian.diagonal(dim1=1, dim2=2).sum(1)
    assert torch.allclose(target.laplacian(x, 1.0), trace, rtol=1e-7)
    v = torch.randn(3, 1, 4, 4, generator=g, dtype=torch.float64)
    product = torch.einsum("nij,nj->ni", hessian, v.flatten(1)).view_as(v)
    assert torch.allclose(target.score_and_hvp(x, 1.0, v)[1], product, atol=1e-7)


def test_densities_integrate_to_one(schedule):
    target = mixture(1, schedule, spread=2.0)
    for logsnr in (0.0, 8.0):
        scale = float(schedule.sigma(logsnr)) + 8
        x = torch.linspace(-2 * scale, 2 * scale, 200_001, dtype=torch.float64)[:, None]
        total = torch.trapezoid(target.log_prob(x, logsnr).exp(), x[:, 0])
        assert total.item() == pytest.approx(1.0, abs=1e-6)


def test_ve_and_vp_are_one_density_after_rescaling():
    """x_VP = α x_VE at the same λ, so log p_VE(x) = log p_VP(α x) + D log α."""
    vp, ve = mixture(6, VP()), mixture(6, VE())
    for logsnr in LEVELS:
        x = ve.sample(5, seed=0, logsnr=logsnr)
        alpha = VP().alpha(logsnr)
        expected = vp.log_prob(alpha * x, logsnr) + 6 * alpha.log()
        assert torch.allclose(ve.log_prob(x, logsnr), expected, atol=1e-9)


def test_denoiser_is_the_posterior_mean():
    """For one Gaussian E[x_0|x] is linear regression: m + αv/(α²v+σ²)(x - αm)."""
    schedule, v, m = VP(), 0.4, torch.full((3,), 1.5, dtype=torch.float64)
    target = Gaussian(m, v, schedule)
    x = target.sample(4, seed=3, logsnr=-1.0)
    a, s2 = schedule.alpha(-1.0), schedule.sigma2(-1.0)
    expected = m + a * v / (a**2 * v + s2) * (x - a * m)
    assert torch.allclose(target.denoise(x, -1.0), expected, atol=1e-12)


def test_samples_have_the_moments_of_the_mixture():
    target = mixture(4, seed=5)
    x = target.sample(20_000, seed=0, logsnr=40.0)
    mean = target.weights @ target.means
    error = (x.mean(0) - mean).abs()
    assert (error < 4 * x.std(0) / math.sqrt(20_000)).all()


HEADS = [
    *((head, kind) for head in ("eps", "x0") for kind in (VP, VE, RectifiedFlow)),
    ("v", VP),
    ("velocity", RectifiedFlow),
]


@pytest.mark.parametrize("head, kind", HEADS)
def test_every_head_recovers_the_score(head, kind):
    schedule = kind()
    target = mixture(6, schedule)

    def network(x, logsnr):
        score = target.score(x.double(), float(logsnr[0]))
        a, s = schedule.alpha(float(logsnr[0])), schedule.sigma(float(logsnr[0]))
        eps = -s * score
        x0 = (x - s * eps) / a
        return {"eps": eps, "x0": x0, "v": a * eps - s * x0, "velocity": eps - x0}[head]

    model = NetworkScore(network, (6,), schedule, head=head, batch_size=3)
    x = target.sample(7, seed=0, logsnr=0.5)
    assert torch.allclose(model.score(x, 0.5), target.score(x, 0.5), atol=1e-5)
    v = torch.ones_like(x)
    got = model.score_and_hvp(x, 0.5, v)[1]
    assert torch.allclose(got, target.score_and_hvp(x, 0.5, v)[1], atol=1e-4)


def test_exact_laplacian_of_a_network_sums_hessian_vector_products():
    target = mixture(4)
    model = NetworkScore(lambda x, t: -target.schedule.sigma(float(t[0])) * target.score(x, t[0]),
                         (4,), target.schedule)  # fmt: skip
    x = target.sample(3, logsnr=1.0)
    assert torch.allclose(model.laplacian(x, 1.0), target.laplacian(x, 1.0), atol=1e-4)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="head: 'score' found"):
        NetworkScore(None, (2,), VP(), head="score")
    with pytest.raises(ValueError, match="variance-preserving"):
        NetworkScore(None, (2,), VE(), head="v")
    with pytest.raises(ValueError, match="variance-preserving"):
        NetworkScore(None, (2,), RectifiedFlow(), head="v")
    for schedule in (VP(), VE()):
        with pytest.raises(ValueError, match="allowed with head 'velocity': RectifiedFlow"):
            NetworkScore(None, (2,), schedule, head="velocity")
    with pytest.raises(ValueError, match="variances"):
        GaussianMixture([1.0], torch.zeros(1, 2), [0.0], VP())
    with pytest.raises(ValueError, match="weights"):
        GaussianMixture([-1.0, 2.0], torch.zeros(2, 2), [1.0, 1.0], VP())
    with pytest.raises(ValueError, match="orthonormal"):
        Columns(torch.ones(2, 2))


def test_non_finite_score_names_seed_and_level():
    def network(x, logsnr):
        return torch.where((logsnr > 0).view(-1, 1), torch.nan, 0.0) * x

    model = NetworkScore(network, (2,), VP())
    with pytest.raises(NonFiniteScore, match=r"seed 11 at logSNR"):
        track_reverse_sde(model, n=2, steps=8, seed=11, covariance="none")
