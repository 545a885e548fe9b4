"""What is measured on an image model, on a network whose density is known."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import solve_ivp

from cartoonists import VP
from cartoonists.density.flow import FlowSettings
from cartoonists.experiments.bias import PerturbedGaussian, predicted_bias
from cartoonists.experiments.likelihood import (
    LikelihoodSettings,
    background_cost,
    image_log_densities,
    sample_log_densities,
    tracked_offsets,
    tracking_cost,
)
from cartoonists.experiments.tables import TableSettings, choose_table, table_from_arrays
from cartoonists.images.data import PixelScaling
from cartoonists.models.checkpoints import ImageModel
from cartoonists.statistics.summaries import NO_STEP, bits_by_estimator, offsets_by_steps

SHAPE = (1, 4, 4)
VARIANCE = 0.2
SETTINGS = LikelihoodSettings(32, "adams", 64, 32, 2, 1)


class GaussianEps(torch.nn.Module):
    """The exact ε-head of images whose pixels are independent N(0, VARIANCE)."""

    def forward(self, x, logsnr):
        level = logsnr.double().view(-1, 1, 1, 1)
        alpha2, sigma2 = torch.sigmoid(level), torch.sigmoid(-level)
        return (sigma2.sqrt() * x.double() / (alpha2 * VARIANCE + sigma2)).float()


@pytest.fixture(scope="module")
def model():
    scaling = PixelScaling((0.5,), (0.25,))
    card = {"data": {"name": "fashion-mnist"}}
    return ImageModel(GaussianEps(), SHAPE, VP(), scaling, card)


@pytest.fixture(scope="module")
def table(model):
    settings = TableSettings(256, 41, 64, ["dct", "pixels"], 16, 16)
    arrays, measured = choose_table(model, settings)
    assert measured["basis"] in ("dct", "pixels") and arrays["basis"] == measured["basis"]
    assert measured["sandwich_width_nats"][measured["basis"]] == min(
        measured["sandwich_width_nats"].values()
    )
    return table_from_arrays(arrays)


def true_log_density(x):
    variance = torch.sigmoid(torch.tensor(10.0)) * VARIANCE + torch.sigmoid(torch.tensor(-10.0))
    normal = torch.distributions.Normal(0.0, float(variance) ** 0.5)
    return normal.log_prob(x).flatten(1).sum(1)


def test_all_log_densities_of_a_gaussian_agree(model, table):
    rows = sample_log_densities(model, table, range(24), SETTINGS)
    assert list(rows["seed"]) == [seed for seed in range(24) for _ in range(2)]
    ours = rows[rows["tracker"] == "ancestral"]
    for other in ("ode", "elbo", "iwae"):
        difference = ours["tracked_log_density_nats"] - ours[f"{other}_log_density_nats"]
        assert abs(difference.mean()) < 0.5, other
    back = ours["ode_back_log_density_nats"] - ours["ode_log_density_nats"]
    assert abs(back.mean()) < 0.1 and ours["ode_back_rms"].max() < 1e-2
    assert rows[rows["tracker"] != "ancestral"]["ode_back_rms"].isna().all()


def test_a_sample_depends_on_its_seed_alone(model, table):
    together = sample_log_densities(model, table, range(3, 8), SETTINGS)
    alone = sample_log_densities(model, table, [5], SETTINGS)
    same = together[together["seed"] == 5].drop(columns="tracker").to_numpy()
    np.testing.assert_allclose(same, alone.drop(columns="tracker").to_numpy(), atol=1e-4)


def test_bits_per_dim_of_images_whose_density_is_known(model, table):
    generator = np.random.default_rng(0)
    grey = 256 * (0.5 + 0.25 * np.sqrt(VARIANCE) * generator.standard_normal((40, *SHAPE)))
    images = np.clip(grey, 0, 255).astype(np.uint8)
    rows = image_log_densities(model, table, images, range(40), SETTINGS)
    # entropy of N(128, (64 sqrt(VARIANCE))²) grey levels in bits; binning and noise add little
    expected = 0.5 * np.log2(2 * np.pi * np.e * (64**2 * VARIANCE))
    for name in ("ode", "elbo", "iwae"):
        assert rows[f"{name}_bits_per_dim"].mean() == pytest.approx(expected, abs=0.06), name


def test_no_images_give_no_rows(model, table):
    images = np.zeros((1, *SHAPE), np.uint8)
    none, one = (image_log_densities(model, table, images[:n], range(n), SETTINGS) for n in (0, 1))
    assert len(none) == 0 and set(none.columns) == set(one.columns)


def test_a_file_without_images_is_read_as_no_bits(model, table, tmp_path):
    empty = np.zeros((0, *SHAPE), np.uint8)
    image_log_densities(model, table, empty, [], SETTINGS).to_csv(tmp_path / "held_out.csv")
    assert len(bits_by_estimator(pd.read_csv(tmp_path / "held_out.csv"))) == 0


def test_the_cost_of_tracking_is_measured_in_pairs(model, table):
    rows = tracking_cost(model, table, n_samples=2, steps=4, repeats=3)
    assert len(rows) == 3 and (rows[["tracked_s", "untracked_s"]] > 0).all(axis=None)


def test_background_costs_what_blurring_a_uniform_bin_costs():
    images = np.zeros((4, 1, 8, 8), dtype=np.uint8)
    images[:, :, :4] = np.arange(1, 33).reshape(4, 8)  # half of the pixels vary
    assert background_cost(images, 1e-3) == pytest.approx(0, abs=0.01)
    rng = np.random.default_rng(0)
    u = rng.random(200_000)
    bins = np.abs(u[:, None] + 0.6 * rng.normal(size=(len(u), 1)) - 0.5) < 0.5
    # the mean of the density itself is the share that stays in its bin; Jensen bounds its log
    assert background_cost(images, 0.6) > -0.5 * np.log2(bins.mean())
    assert background_cost(images, 0.6) == pytest.approx(0.43, abs=0.02)


def test_the_offset_in_the_limit_of_small_steps_is_the_bias_and_the_difference_of_two_densities():
    """N(0, v0 I) and a score that is wrong by εx: E X + KL(p^SDE | p^ODE), both known."""
    model = PerturbedGaussian(64, 0.3, 0.2, VP())
    table = tracked_offsets(model, model.posterior, range(256), [64, 256], FlowSettings(48))
    gap = table["tracked_log_density_nats"] - table["ode_log_density_nats"]
    limits = 64 * offsets_by_steps(table.assign(ode_error_nats=0.0))[NO_STEP]
    sde = predicted_bias(model)

    def variance(logsnr, w):
        slope = model.schedule.f(logsnr) + 0.5 * model.schedule.g2(logsnr) * model.slope(logsnr)
        return 2 * slope.item() * w

    ode = solve_ivp(variance, (-10, 10), [model.prior_variance()], rtol=1e-9).y[0, -1]
    ratio = sde.variance / ode
    expected = sde.bias + 0.5 * 64 * (ratio - 1 - math.log(ratio))
    assert limits.mean() == pytest.approx(expected, abs=4 * limits.sem())
    coarse = gap[table["steps"] == 64]
    assert coarse.mean() - expected > 4 * coarse.sem()  # not without the extrapolation
    assert (table["ode_error_nats"] < 0.05 * expected).all()
