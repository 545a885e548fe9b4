"""Density guidance, latents, temperature and score alignment against closed forms."""

import math
from dataclasses import dataclass

import pytest
import torch
from closed_forms import mixture
from scipy import stats

from cartoonists import VE, VP, Gaussian, RectifiedFlow, sample_ode
from cartoonists.density.guidance import (
    METHODS,
    DensityGuidance,
    alignment_curve,
    bound_acts_below,
    constant_scale,
    rescale_latent,
    sample_guided,
    score_alignment,
)
from cartoonists.paths.divergence import Derivatives
from cartoonists.paths.streams import Streams, sample_seeds

D, SHORT = 64, VP(-3.0, 3.0)
GAUSSIAN = Gaussian(torch.zeros(D), 0.3, SHORT)


@pytest.fixture(params=[VP, VE, RectifiedFlow], ids=["VP", "VE", "RectifiedFlow"])
def short(request):
    return request.param(-3.0, 3.0)


def radius(x, logsnr, schedule=SHORT):
    """|x|²/v_λ of the Gaussian target: D on average."""
    variance = 0.3 * schedule.alpha(logsnr) ** 2 + schedule.sigma2(logsnr)
    return x.square().sum(1) / variance


def predicted_radius(target, strength):
    """|x|²/v_λ falls by z √(2D) per unit of λ, from the median of χ²_D."""
    latent = rescale_latent(target, torch.ones(1, D, dtype=torch.float64))
    start = radius(latent, -3.0, target.schedule)
    return (start - 6 * math.sqrt(2 * D) * strength).item()


@pytest.mark.parametrize("strength", [-0.8, 0.0, 0.25])
def test_guidance_of_a_gaussian_follows_the_closed_form(strength, short):
    target = Gaussian(torch.zeros(D), 0.3, short)
    errors = []
    for steps in (32, 64):
        run = sample_guided(target, 8, steps, strength, bound=math.inf, solver="heun")
        torch.testing.assert_close(
            run.log_density, target.log_prob(run.x), rtol=0, atol=0.05 * (64 / steps) ** 2
        )
        error = radius(run.x, 3.0, short) - predicted_radius(target, strength)
        errors.append(error.abs().max().item())
    assert errors[1] < (0.15 if isinstance(short, VE) else 0.05)  # VE: x is larger
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3)  # Heun: order 2


@pytest.mark.parametrize("window", [None, (-1.0, 1.0)], ids=["everywhere", "window"])
def test_noise_changes_nothing_of_the_density_that_is_reached(window, short):
    """Towards the same closed form as without noise, at strong order ½ to 1."""
    spread, target = [], Gaussian(torch.zeros(D), 0.3, short)
    for steps in (64, 512):
        run = sample_guided(
            target, 64, steps, 0.25, stochasticity=1.0, noise_window=window, bound=math.inf
        )
        error = radius(run.x, 3.0, short) - predicted_radius(target, 0.25)
        spread.append(error.square().mean().sqrt().item())
        tracking = run.log_density - target.log_prob(run.x)
        assert tracking.square().mean().sqrt() < 6 * (64 / steps) ** 0.5
    assert 0.35 < math.log(spread[0] / spread[1]) / math.log(8) < 1.1
    assert error.mean().abs() < 1.5
    assert spread[1] < 4


@dataclass(frozen=True)
class WithFullLaplacian(DensityGuidance):
    """Δ instead of the projected trace in η."""

    def weight(self, at, logsnr):
        return super().weight(Derivatives(at.score, at.laplacian, at.laplacian), logsnr)


def test_the_full_laplacian_leaves_the_stated_drift(monkeypatch):
    """+½ φ̃² σ²/v_λ nats per unit of λ on a Gaussian, as the module says; same noise for both."""
    ends = [sample_guided(GAUSSIAN, 64, 192, 0.0, stochasticity=1.0, bound=math.inf)]
    monkeypatch.setattr("cartoonists.density.guidance.DensityGuidance", WithFullLaplacian)
    ends.append(sample_guided(GAUSSIAN, 64, 192, 0.0, stochasticity=1.0, bound=math.inf))
    levels = torch.linspace(-3, 3, 2001, dtype=torch.float64)
    variance = 0.3 * SHORT.alpha(levels) ** 2 + SHORT.sigma2(levels)
    drift = torch.trapezoid(0.5 * SHORT.sigma2(levels) / variance, levels).item()
    right, wrong = (-0.5 * radius(run.x, 3.0) for run in ends)
    assert drift > 1.5
    assert (wrong - right).mean().item() == pytest.approx(drift, rel=0.15)


def test_bound_acts_where_it_says_and_holds_eta():
    threshold = bound_acts_below(D, 1.3, 0.5)
    for factor, bounded in ((1.01, False), (0.99, True), (1e-6, True)):
        size = math.sqrt(factor * threshold / D / SHORT.sigma2(0.0).item())
        at = Derivatives(torch.full((1, D), size, dtype=torch.float64))
        for strength in (1.3, -1.3):
            sign = math.copysign(1, strength)
            free = DensityGuidance(SHORT, strength, bound=math.inf).weight(at, 0.0)
            held = DensityGuidance(SHORT, strength, bound=0.5)
            rate = 0.0 if bounded else 0.5 * math.sqrt(2 * D) * strength
            assert held.requested_rate(at, 0.0).item() == pytest.approx(rate)
            held = held.weight(at, 0.0)
            assert (abs(free - held) > 1e-9).item() == bounded
            assert held.item() == pytest.approx(0.5 * (1 + sign * 0.5 / max(factor, 1)), rel=1e-6)


@pytest.mark.parametrize("options", [{}, {"stochasticity": 0.5}], ids=["quiet", "noisy"])
def test_what_is_requested_is_reached_beyond_the_flow_of_the_same_path(options):
    """On N(0, v I): ∫ -div u of the PF-ODE is known, whatever the path, so the rest is guidance."""
    levels = torch.linspace(-3, 3, 2001, dtype=torch.float64)
    variance = 0.3 * SHORT.alpha(levels) ** 2 + SHORT.sigma2(levels)
    rate = -D * (SHORT.f(levels) - 0.5 * SHORT.g2(levels) / variance)
    flow = torch.trapezoid(rate, levels)
    x = rescale_latent(GAUSSIAN, GAUSSIAN.sample_prior(Streams(range(8), "prior")))
    for strength in (-0.8, 0.0, 0.25):
        run = sample_guided(GAUSSIAN, 8, 512, strength, bound=math.inf, **options)
        assert run.requested[0].item() == pytest.approx(3 * math.sqrt(2 * D) * strength)
        found = GAUSSIAN.log_prob(run.x) - GAUSSIAN.prior_log_prob(x) - flow
        torch.testing.assert_close(found, run.requested, atol=4 if options else 0.01, rtol=0)
    held = sample_guided(GAUSSIAN, 8, 64, 30.0)
    assert (held.requested < 0.5 * 3 * math.sqrt(2 * D) * 30).all()
    assert (sample_guided(GAUSSIAN, 8, 8, 0.5, method="prior").requested == 0).all()


def test_without_the_bound_no_path_can_be_followed_past_the_mode():
    """At strength 1.3 over 20 units of λ the Gaussian's mode lies before the end of the path."""
    target = Gaussian(torch.zeros(D), 0.3, VP())
    held, free = (sample_guided(target, 8, 64, 1.3, bound=b) for b in (1.0, math.inf))
    error = [(run.log_density - target.log_prob(run.x)).abs() for run in (held, free)]
    assert error[0].max() < 0.1 and error[1].min() > 5
    assert (target.log_prob(torch.zeros(1, D)) - target.log_prob(held.x)).max() < 1


def test_strength_zero_is_the_probability_flow():
    target, seeds = mixture(8), sample_seeds(0, 8)
    latent = rescale_latent(target, target.sample_prior(Streams(seeds, "prior")))
    plain = sample_ode(target, 8, 32, "exponential", x_prior=latent)
    for method in METHODS:
        run = sample_guided(target, 8, 32, 0.0, method=method)
        torch.testing.assert_close(run.x, plain.x)
        torch.testing.assert_close(run.log_density, plain.log_density)
        assert run.nfe == plain.nfe


@pytest.mark.parametrize("kind", [VP, VE, RectifiedFlow])
def test_latents_move_to_the_quantiles_of_chi(kind):
    target = mixture(8, kind())
    x = target.sample_prior(Streams(range(64), "prior"))
    unit = math.sqrt(target.prior_variance())
    for quantile in (0.1, 0.5, 0.9):
        moved = rescale_latent(target, x, quantile)
        share = stats.chi(8).sf(moved.norm(dim=1) / unit)  # denser: smaller norm
        assert share == pytest.approx(quantile)
        torch.testing.assert_close(
            moved / moved.norm(dim=1, keepdim=True), x / x.norm(dim=1)[:, None]
        )


@pytest.mark.parametrize(
    "options",
    [
        {"method": "guidance"},
        {"method": "prior"},
        {"method": "temperature"},
        {"method": "guidance", "stochasticity": 0.5, "noise_window": (1.0, 5.0)},
    ],
    ids=["guidance", "prior", "temperature", "late noise"],
)
def test_log_density_rises_with_the_strength(options):
    target = mixture(D, seed=1)
    values = []
    for strength in (-1.3, -0.5, 0.0, 0.5, 1.3):
        run = sample_guided(target, 32, 64, strength, track=False, **options)
        assert run.log_density.isnan().all()
        values.append(target.log_prob(run.x))
    rises = torch.stack(values).diff(dim=0) > 0
    assert rises.all(0).double().mean() >= 0.95


def test_early_noise_changes_the_component_and_late_noise_does_not():
    target = mixture(16, seed=2)
    runs = {
        window: sample_guided(
            target, 64, 64, 0.0, stochasticity=0.0 if window is None else 1.0,
            noise_window=window, track=False,
        )
        for window in (None, (-8.0, -1.0), (4.0, 8.0))
    }  # fmt: skip
    label = [target.responsibilities(run.x, 10.0).argmax(1) for run in runs.values()]
    assert (label[1] != label[0]).double().mean() > 0.1
    assert (label[2] == label[0]).all()
    assert ((runs[(4.0, 8.0)].x - runs[None].x).norm(dim=1) > 0.1).all()


def test_a_sample_depends_on_its_seed_alone():
    target = mixture(4)
    options = {"stochasticity": 1.0, "noise_window": (-2.0, 2.0), "divergence": "hutchinson"}
    batch = sample_guided(target, steps=16, seeds=[7, 3, 5], strength=0.5, **options)
    alone = sample_guided(target, steps=16, seeds=[5], strength=0.5, **options)
    torch.testing.assert_close(batch.x[2:], alone.x)
    torch.testing.assert_close(batch.log_density[2:], alone.log_density)


def test_both_forms_of_alignment_on_an_anisotropic_gaussian(short):
    """The flow is linear: both are Σ x_T²/(var v_T), to rounding for ω, whose right side is 0."""
    variance = torch.linspace(0.1, 2, 8, dtype=torch.float64)
    target = Gaussian(torch.zeros(8), variance, short)
    run = score_alignment(target, 16, 64)
    x = target.sample_prior(Streams(range(16), "prior"))
    alpha2, sigma2 = short.alpha(-3.0) ** 2, short.sigma2(-3.0)
    expected = (x.square() / (alpha2 * variance + sigma2)).sum(1) / target.prior_variance()
    torch.testing.assert_close(run.without_score, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(run.with_score, expected, rtol=5e-3, atol=0)


def test_alignment_of_a_gaussian_is_the_same_at_every_level(short):
    """No λ changes Σ x_T²/(var v_T), and reading along the path costs only the score there."""
    variance = torch.linspace(0.1, 2, 8, dtype=torch.float64)
    target = Gaussian(torch.zeros(8), variance, short)
    levels = [-1.3, 1.0, 1.05, 3.0]
    found = alignment_curve(target, levels, 8, 64)
    assert list(found) == levels
    x = target.sample_prior(Streams(range(8), "prior"))
    alpha2, sigma2 = short.alpha(-3.0) ** 2, short.sigma2(-3.0)
    expected = (x.square() / (alpha2 * variance + sigma2)).sum(1) / target.prior_variance()
    for run in found.values():
        torch.testing.assert_close(run.without_score, expected, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(run.with_score, expected, rtol=5e-3, atol=0)
    alone = score_alignment(target, 8, 64)
    assert found[3.0].nfe == alone.nfe == 2 * 128 + 1
    assert 0 < found[-1.3].nfe < found[1.0].nfe < alone.nfe
    # a path that ends at λ = 1 walks over another grid, to the same number
    (early,) = alignment_curve(target, [1.0], 8, 64).values()
    torch.testing.assert_close(early.with_score, found[1.0].with_score, rtol=5e-3, atol=0)


def test_levels_of_alignment_are_checked():
    with pytest.raises(ValueError, match="logsnrs: 3 found, allowed: at most 2, the steps"):
        alignment_curve(GAUSSIAN, [0.0, 1.0, 2.0], 2, 2)
    with pytest.raises(ValueError, match="logsnrs: 4.0 found"):
        alignment_curve(GAUSSIAN, [4.0], 2, 2)
    with pytest.raises(ValueError, match="solver: 'dopri5' found, allowed for one λ alone"):
        alignment_curve(GAUSSIAN, [0.0, 1.0], 2, 2, solver="dopri5")


def test_both_forms_of_alignment_are_the_derivative_along_the_scaling(short):
    """On a mixture, against reverse-mode differentiation of log p_0 of the PF-ODE's end."""
    target = mixture(8, short, seed=3)
    latent = target.sample_prior(Streams(range(16), "prior")).requires_grad_(True)
    end = sample_ode(target, 16, 48, solver="rk4", x_prior=latent).x
    (gradient,) = torch.autograd.grad(target.log_prob(end).sum(), latent)
    truth = -(gradient * latent.detach()).sum(1) / target.prior_variance()
    errors = {}
    unit = target.prior_variance()  # the latent moves by width x_T/unit
    for width in (1e-2, 5e-3):
        run = score_alignment(target, 16, 48, width=width * unit, solver="rk4")
        for name in ("with_score", "without_score"):
            errors[name, width] = (getattr(run, name) - truth).abs().max().item()
    for name in ("with_score", "without_score"):
        assert errors[name, 5e-3] < 0.01 * truth.abs().max()
        assert errors[name, 1e-2] / errors[name, 5e-3] == pytest.approx(4, rel=0.2)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"strength": math.inf}, "strength: inf found, allowed: finite"),
        ({"method": "cooling"}, "method: 'cooling' found, allowed: guidance, prior, temperature"),
        ({"stochasticity": -1.0}, "stochasticity: -1.0 found, allowed: 0 or more"),
        ({"bound": 0.0}, "bound: 0.0 found, allowed: above 0"),
        ({"method": "prior", "stochasticity": 1.0}, "allowed with 'guidance' only"),
        ({"stochasticity": 1.0, "noise_window": (3.0, 1.0)}, "noise_window: .* allowed: rising"),
        ({"stochasticity": 1.0, "divergence": "none"}, "divergence: 'none' found"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        sample_guided(mixture(2), 2, 4, **options)
    with pytest.raises(ValueError, match="width: 0 found"):
        score_alignment(mixture(2), 2, 4, width=0)


def test_constant_scale_is_eta_at_its_typical_value():
    sigma = SHORT.sigma(0.0).item()
    at = Derivatives(torch.full((1, D), 1 / sigma, dtype=torch.float64))
    weight = DensityGuidance(SHORT, 0.8).weight(at, 0.0)
    assert 2 * weight.item() == pytest.approx(constant_scale(D, 0.8))
