"""The second score where E X is known, and the bounds that it gives."""

import pandas as pd
import pytest
import torch

from cartoonists import VP
from cartoonists.density.ancestral import AncestralKernel
from cartoonists.density.stein import posterior_of
from cartoonists.experiments.bias import PerturbedGaussian, chain_bias, predicted_bias
from cartoonists.experiments.bias_second_score import (
    SecondScoreSettings,
    excess,
    forward_steps,
    judge,
    reverse_steps,
    second_score,
)
from cartoonists.paths.schedules import uniform_grid
from cartoonists.statistics.claims import Bootstrap
from cartoonists.statistics.summaries import HALVES, NETWORK, brackets

SCHEDULE = VP(-8.0, 6.0)


def true_upper_correction(model, grid):
    """σ d of a linear score, exactly: E[x_λ - a x_μ | x_μ] of the chain's joint Gaussian."""
    from cartoonists.experiments.bias import _kernel

    schedule, w, slopes = model.schedule, model.prior_variance(), {}
    for noisier, cleaner in zip(grid[:-1], grid[1:], strict=True):
        gain, noise = _kernel(model, noisier, cleaner)
        ratio, variance = (v.item() for v in schedule.transition(noisier, cleaner))
        after = gain**2 * w + noise
        miss = gain * w / after - ratio
        slopes[torch.tensor(cleaner).item()] = miss / variance * schedule.sigma(cleaner).item()
        w = after
    return lambda x, logsnr: slopes[logsnr[0].item()] * x


def exact_estimates(model, steps):
    """Integral and gain, ``[128]`` each, with the correction that need not be learned."""
    grid = uniform_grid(-8.0, 6.0, steps)
    pairs, _ = reverse_steps(
        AncestralKernel(model, posterior_of(model), "diagonal"), grid, range(128)
    )
    integrand, gain = judge(true_upper_correction(model, grid), pairs)
    return integrand.sum(0), gain.sum(0)


def test_the_exact_correction_finds_the_predicted_bias():
    model = PerturbedGaussian(32, 0.3, 0.2, SCHEDULE)
    (coarse, _), (fine, gain) = exact_estimates(model, 64), exact_estimates(model, 128)
    truth = predicted_bias(model).bias
    assert (2 * fine - coarse).mean().item() == pytest.approx(truth, rel=0.04)  # of first order
    assert abs((gain - fine).mean()) < 4 * (gain - fine).std() / 128**0.5
    # the kernel's variance is off by O(step) too, of which a shift of its mean wins nothing
    assert gain.mean() < chain_bias(model, 128).bias + 4 * gain.std() / 128**0.5


def test_what_is_learned_lies_around_the_truth_and_the_gain_below():
    model = PerturbedGaussian(4, 0.3, 0.3, SCHEDULE)
    settings = SecondScoreSettings(512, 256, steps=24, width=16, batches=500, batch=256)
    paths, levels = second_score(model, settings, HALVES[:1])
    assert paths["seed"].tolist() == list(range(512, 768))
    grid = uniform_grid(-8.0, 6.0, 24)
    pairs, _ = reverse_steps(
        AncestralKernel(model, posterior_of(model), "diagonal"), grid, range(512, 768)
    )
    truth = judge(true_upper_correction(model, grid), pairs)[0].sum(0).mean().item()
    gain, integral = paths["gain_nats"], paths["integral_nats"]
    assert 0.5 * truth < gain.mean() < truth + 3 * gain.sem()
    assert integral.mean() == pytest.approx(truth, rel=0.3)
    assert levels["integrand"].mean() * 14 == pytest.approx(integral.mean(), rel=1e-5)


def test_nothing_is_found_where_the_score_is_right():
    model = PerturbedGaussian(4, 0.3, 0.0, SCHEDULE)
    settings = SecondScoreSettings(n=256, n_held_out=128, steps=24, width=8, batches=60, batch=128)
    paths, _ = second_score(model, settings)
    assert paths.groupby("half")["gain_nats"].mean().max() < 3 * paths["gain_nats"].sem()
    assert paths["integral_nats"].mean() < 0.2
    assert excess(model, 8, [8, 16])["excess_nats"].abs().max() < 1e-9


def test_forward_steps_are_unbiased_for_an_exact_chain():
    model = PerturbedGaussian(8, 0.3, 0.0, SCHEDULE)
    kernel = AncestralKernel(model, posterior_of(model), "diagonal")
    grid = uniform_grid(-8.0, 6.0, 12)
    _, ends = reverse_steps(kernel, grid, range(128))
    steps = forward_steps(kernel, ends, grid, range(128))
    assert steps.residual.square().mean().item() == pytest.approx(1, abs=0.05)
    assert (steps.residual * steps.x).mean().abs() < 0.05


def test_brackets_add_the_halves_and_bound_from_above():
    both = pd.DataFrame(
        {
            "model": NETWORK,
            "half": 3 * [HALVES[0]] + 3 * [HALVES[1]],
            "seed": 2 * [1, 2, 3],
            "integral_nats": [2.0, 2.0, 2.0, 3.0, 3.0, 3.0],
            "gain_nats": [1.0, 1.0, 1.0, 2.5, 2.5, 2.5],
            "truth_nats": float("nan"),
        }
    )
    width = pd.DataFrame({"steps": 3 * [8] + 3 * [16], "seed": 2 * [1, 2, 3], "excess_nats": 6.0})
    table = brackets(both, width, Bootstrap(resamples=100)).set_index("half")
    assert table.loc[HALVES[0], "above"].value == pytest.approx(3.5)
    assert table.loc["tracked - ELBO", "formula"].value == pytest.approx(5)
    assert table.loc["tracked - ELBO", "below"].value == pytest.approx(3.5)
    assert table.loc["tracked - ELBO", "measured"].value == pytest.approx(6)


def test_held_out_paths_depend_on_their_seed_alone():
    model = PerturbedGaussian(4, 0.3, 0.2, SCHEDULE)
    kernel = AncestralKernel(model, posterior_of(model), "diagonal")
    grid = uniform_grid(-8.0, 6.0, 6)
    together, _ = reverse_steps(kernel, grid, [3, 4, 5])
    alone, _ = reverse_steps(kernel, grid, [4])
    torch.testing.assert_close(together.residual[:, 1:2], alone.residual)
