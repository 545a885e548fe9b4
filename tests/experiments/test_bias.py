"""The bias theorem where everything about it is known, and the sandwich."""

import math

import pandas as pd
import pytest
import torch
from closed_forms import mixture

from cartoonists import VE, VP, RectifiedFlow, elbo, track_reverse_sde
from cartoonists.experiments.bias import (
    PerturbedGaussian,
    chain_bias,
    chain_limit,
    closed_form_bias,
    euler_variance,
    measured_bias,
    predicted_bias,
    sandwich,
)


def test_no_error_no_bias(schedule):
    model = PerturbedGaussian(8, 0.3, 0.0, schedule)
    prediction = predicted_bias(model)
    assert prediction.bias == pytest.approx(0, abs=1e-9)
    end = schedule.alpha(10.0) ** 2 * 0.3 + schedule.sigma2(10.0)
    assert prediction.variance == pytest.approx(end.item(), rel=1e-6)


def test_the_prediction_of_the_brief():
    """16 dimensions, v0 = 0.3, ε = 0.02: E X = 0.029 nats (computed independently)."""
    assert predicted_bias(PerturbedGaussian(16, 0.3, 0.02, VP())).bias == pytest.approx(
        0.029, abs=5e-4
    )


@pytest.mark.parametrize("epsilon", [-0.1, 0.1])
@pytest.mark.parametrize(
    "schedule", [VP(), VE(-2.0, 10.0), RectifiedFlow()], ids=["VP", "VE", "RectifiedFlow"]
)
def test_the_prediction_agrees_with_a_plain_sum(epsilon, schedule):
    """The same integral by Euler's rule on a fine grid, written from the definition."""
    model = PerturbedGaussian(1, 0.3, epsilon, schedule)
    w, total, n = model.prior_variance(), 0.0, 4_000
    step = (schedule.logsnr_max - schedule.logsnr_min) / n
    for i in range(n):
        at = schedule.logsnr_min + (i + 0.5) * step
        v = math.exp(at) * schedule.sigma2(at).item() * 0.3 + schedule.sigma2(at).item()
        g2, f = schedule.sigma2(at).item(), schedule.f(at).item()
        slope = epsilon - 1 / v
        total += 0.5 * g2 * (slope + 1 / w) ** 2 * w * step
        w += (2 * (f + g2 * slope) * w + g2) * step
    found = predicted_bias(model)
    assert found.bias == pytest.approx(total, rel=2e-2)
    assert found.variance == pytest.approx(w, rel=2e-2)


@pytest.mark.parametrize("epsilon, v0", [(0.1, 0.3), (-0.1, 0.3), (0.05, 2.0)])
def test_the_chains_bias_is_measured_and_tends_to_the_integral(epsilon, v0):
    model = PerturbedGaussian(128, v0, epsilon, VP())
    x = measured_bias(model, 64, 24)
    standard_error = x.std() / 8
    assert abs(x.mean() - chain_bias(model, 24).bias) < 4 * standard_error
    predicted = predicted_bias(model)
    errors = [chain_bias(model, n).bias - predicted.bias for n in (64, 128, 256)]
    ratios = [errors[0] / errors[1], errors[1] / errors[2]]
    assert ratios == pytest.approx([2, 2], abs=0.3)  # of first order
    assert chain_bias(model, 2048).variance == pytest.approx(predicted.variance, rel=2e-3)


@pytest.mark.parametrize(("epsilon", "v0"), [(-0.1, 0.05), (0.1, 2.0)])
def test_the_chains_bias_without_sampling_is_the_formula_to_a_thousandth(epsilon, v0):
    model = PerturbedGaussian(16, v0, epsilon, VP())
    assert chain_limit(model, 256) == pytest.approx(predicted_bias(model).bias, rel=2e-3)
    assert abs(chain_bias(model, 256).bias / predicted_bias(model).bias - 1) > 0.02  # not by itself


def test_the_chains_have_the_variances_that_are_claimed(schedule):
    model = PerturbedGaussian(512, 0.3, 0.1, schedule)
    for method, variance in (
        ("ancestral", chain_bias(model, 16).variance),
        ("euler-maruyama", euler_variance(model, 16)),
    ):
        x = track_reverse_sde(model, 16, 16, method).x
        spread = math.sqrt(2 / x.numel())  # relative standard error of a Gaussian's variance
        assert x.square().mean().item() == pytest.approx(variance, rel=4 * spread)


def test_closed_form_table_agrees_within_three_standard_errors():
    table = closed_form_bias([0.1], [0.3], dimensions=64, n=64, steps=96, schedule=VP(), seed=3)
    assert list(table["tracker"]) == ["ancestral", "euler-maruyama"]
    assert (table["deviation_in_standard_errors"].abs() < 3).all()
    ancestral, euler = table.itertuples()
    assert 0 < ancestral.discretisation_nats < euler.discretisation_nats / 10
    assert ancestral.predicted_nats == euler.predicted_nats > 0


def test_sandwich_holds_on_a_mixture_with_a_coarse_grid():
    target = mixture(8)
    run = track_reverse_sde(target, 64, 12, covariance="isotropic")
    low = elbo(target, run.x, 12, paths=8, covariance="isotropic")
    table = sandwich(run, low)
    assert list(table["seed"]) == list(range(64))
    gap = table["iwae_nats"] - table["elbo_nats"]
    assert (gap >= 0).all()  # Jensen, for each sample
    for column in ("width_nats", "excess_nats"):
        assert table[column].mean() > 2 * table[column].std() / 8
    assert table["width_nats"].mean() < table["excess_nats"].mean()


def test_sandwich_closes_where_the_chain_is_exact():
    """One Gaussian: every kernel is the exact posterior, so r = log p = ELBO without noise."""
    model = PerturbedGaussian(4, 0.3, 0.0, VE())
    run = track_reverse_sde(model, 3, 8)
    table = sandwich(run, elbo(model, run.x, 8, paths=2))
    assert table[["width_nats", "excess_nats"]].abs().to_numpy().max() < 1e-9
    assert isinstance(table, pd.DataFrame)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="v0: 0.0"):
        PerturbedGaussian(2, 0.0, 0.1, VP())
    with pytest.raises(ValueError, match="dimensions: 0"):
        PerturbedGaussian(0, 0.3, 0.1, VP())
    target = mixture(2)
    run = track_reverse_sde(target, 3, 4)
    with pytest.raises(ValueError, match="bounds: 2 found"):
        sandwich(run, elbo(target, run.x[:2], 4, paths=1))


def test_the_bias_depends_on_the_seed_alone():
    model = PerturbedGaussian(4, 0.3, 0.1, VP())
    together = measured_bias(model, 5, 8, seed=10)
    torch.testing.assert_close(together[2:3], measured_bias(model, 1, 8, seed=12))
