"""One table of densities, sizes and dimensions: each column against the function it comes from."""

import numpy as np
import pytest
import torch
from closed_forms import SHAPE, gaussian_images

from cartoonists.density.dimension import local_dimension
from cartoonists.density.flow import FlowSettings
from cartoonists.experiments.blur import noised_image
from cartoonists.experiments.compression import (
    CompressionSettings,
    data_rows,
    density_correlations,
    model_rows,
    sample_rows,
)
from cartoonists.experiments.high_density import high_density_pairs, pair_log_densities
from cartoonists.images.pictures import codec_sizes
from cartoonists.statistics.claims import Bootstrap

SETTINGS = CompressionSettings(5, [2.0, 5.0], 300, FlowSettings(steps=40))


@pytest.fixture(scope="module")
def model():
    return gaussian_images()[0]


def test_data_are_measured_at_their_noised_grey_levels(model):
    target = gaussian_images()[1]
    images = np.random.default_rng(0).integers(60, 200, (5, *SHAPE), dtype=np.uint8)
    table = data_rows(model, images, range(5), SETTINGS)
    true = target.log_prob(noised_image(model, images, range(5)))
    np.testing.assert_allclose(table["log_density_nats"], true, atol=0.5)
    np.testing.assert_array_equal(table["png_bytes"], codec_sizes(images, ["png"])["png"])
    assert set(table["kind"]) == {"data"} and table["switch_logsnr"].isna().all()
    x = model.from_pixels(torch.from_numpy(images))
    for level in (2.0, 5.0):  # the Hessian is diagonal in pixels, so that probes are exact
        exact = local_dimension(target, x, level)
        np.testing.assert_allclose(table[f"lid_at_{level:g}"], exact.dimension, rtol=1e-3)
        square = table[f"scaled_square_at_{level:g}"]
        np.testing.assert_allclose(square, exact.scaled_square, rtol=1e-3)


def test_samples_keep_the_density_of_their_own_seed_and_switch(model):
    pairs = high_density_pairs(model, [-2.0, 2.0], range(6), base_steps=20, steps=20)
    densities = pair_log_densities(model, pairs, pairs.denoised(model), FlowSettings(steps=10))
    images = np.stack([model.finish(x).numpy() for x in (pairs.ordinary, *pairs.high_density)])
    found = {"seeds": np.arange(4), "switch_logsnr": np.array([-2.0, 2.0]), "images": images[:, :4]}
    shuffled = densities.sample(frac=1, random_state=0)
    settings = CompressionSettings(4, [3.0], 1, FlowSettings(steps=10))
    table = sample_rows(model, shuffled, found, settings)
    expected = densities[densities["seed"] < 4]
    np.testing.assert_array_equal(table["log_density_nats"], expected["log_density_nats"])
    np.testing.assert_allclose(table["bits_per_dim"], expected["bits_per_dim"])
    assert table["kind"].tolist() == expected["sample"].tolist()
    correlations = density_correlations(table, Bootstrap(resamples=200))
    assert set(correlations["kind"]) == {"ordinary", "high-density"}
    png = correlations[
        (correlations["y"] == "png_bytes") & (correlations["kind"] == "high-density")
    ]
    part = table[table["kind"] == "high-density"]
    by_hand = part["log_density_nats"].corr(part["png_bytes"])
    row = png[(png["x"] == "log_density_nats") & (png["statistic"] == "pearson")]
    assert row["value"].item() == pytest.approx(by_hand)
    assert set(png["x"]) == {"log_density_nats", "lid_at_3"}


def test_a_model_without_pairs_draws_the_ordinary_samples_that_pairs_have(model):
    settings = CompressionSettings(3, [], 1, FlowSettings(steps=10))
    real = np.random.default_rng(0).integers(60, 200, (3, *SHAPE), dtype=np.uint8)
    table = model_rows(model, real, range(4), settings, base_steps=20)
    assert table["kind"].tolist() == ["data"] * 3 + ["ordinary"] * 4
    pairs = high_density_pairs(model, [2.0], range(4), base_steps=20, steps=20)
    known = pair_log_densities(model, pairs, pairs.denoised(model), settings.flow)
    ordinary = table[table["kind"] == "ordinary"]
    np.testing.assert_allclose(ordinary["log_density_nats"], known["log_density_nats"][:4])
    data = data_rows(model, real, range(3), settings)
    np.testing.assert_allclose(table["log_density_nats"][:3], data["log_density_nats"])
    assert "png_bytes" in table and not any(name.startswith("lid_at") for name in table)
