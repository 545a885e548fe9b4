"""Blur and its controls: the curves' bookkeeping and their direction where it is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from closed_forms import SHAPE, gaussian_images

from cartoonists.density.flow import FlowSettings
from cartoonists.experiments.blur import (
    black_level_curves,
    degradation_curves,
    degrade,
    image_log_density,
    noised_image,
    with_black_level,
)
from cartoonists.images.pictures import gaussian_blur
from cartoonists.statistics.summaries import estimator_spread, rises

FLOW = FlowSettings(steps=16)
STRENGTHS = {"blur": [0.5, 1.0, 2.0], "noise": [40.0], "contrast": [0.5], "down-up": [2]}


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)


@pytest.fixture
def model():
    return gaussian_images()[0]


def test_levels_are_the_true_densities_along_the_flow(images):
    model, target = gaussian_images()
    seeds = range(5)
    levels, error = image_log_density(model, images, seeds, FlowSettings(steps=40))
    start = noised_image(model, images, seeds)
    np.testing.assert_allclose(levels[10.0], target.log_prob(start), atol=0.5)
    assert (np.abs(levels[10.0] - target.log_prob(start).numpy()) < 5 * error).all()
    assert list(levels) == sorted(levels, reverse=True) and len(levels) == 41
    # a Gaussian's flow scales every coordinate by the ratio of its standard deviations
    for logsnr in (5.0, 0.0, -10.0):
        schedule, variances = target.schedule, target._variances.view(SHAPE)
        scale = [
            (schedule.alpha(t) ** 2 * variances + schedule.sigma2(t)).sqrt() for t in (logsnr, 10.0)
        ]
        carried = start * scale[0] / scale[1]
        np.testing.assert_allclose(levels[logsnr], target.log_prob(carried, logsnr), atol=0.5)


def test_an_image_keeps_its_noise_whatever_is_done_to_it_or_beside_it(images, model):
    seeds = [4, 9, 2, 7, 5]
    start = noised_image(model, images, seeds)
    brighter = noised_image(model, images + 1.5, seeds)
    shift = model.schedule.alpha(10.0) * 1.5 / 256 / 0.25
    torch.testing.assert_close(brighter - start, torch.full_like(start, shift.item()))
    torch.testing.assert_close(noised_image(model, images[2:3], [2]), start[2:3])
    half_level = (model.schedule.sigma(10.0) * 0.25 * 256).item()
    assert 0.3 < half_level < 0.6


def test_curves_hold_every_strength_and_repeat_and_blur_raises_density(model):
    smooth = gaussian_blur(np.random.default_rng(1).normal(128, 20, (6, *SHAPE)), 0.4)
    table = degradation_curves(model, smooth, range(6), STRENGTHS, FLOW)
    assert len(table) == 6 * (4 + 2 + 2 + 2 + 2) * (FLOW.steps + 1)
    main = table[(table["repeat"] == 0) & (table["logsnr"] == 10.0)]
    one = degradation_curves(model, smooth[2:3], [2], STRENGTHS, FLOW)
    merged = table[table["seed"] == 2].reset_index(drop=True)
    np.testing.assert_allclose(merged["log_density_nats"], one["log_density_nats"], atol=1e-2)
    changes = {name: rises(part) for name, part in main.groupby("operation")}
    assert {name: c.shape[1] for name, c in changes.items()} == {
        name: len(values) for name, values in STRENGTHS.items()
    }
    assert (changes["contrast"] > 0).to_numpy().all()  # towards the mode of a centred Gaussian
    assert (changes["noise"] < 0).to_numpy().all()
    assert changes["blur"].sum(axis=1).gt(0).all()


def test_spread_is_that_of_the_probes():
    rows = []
    rng = np.random.default_rng(0)
    for seed in range(4000):
        level = rng.normal(0, 100)
        for repeat in (0, 1):
            noise = rng.normal(0, 3.0)
            for step in (0, 1):
                value = level + noise + step * (20 + rng.normal(0, 0.5))
                rows.append([seed, "blur", step, repeat, 10.0, value])
    columns = ["seed", "operation", "step", "repeat", "logsnr", "log_density_nats"]
    value, change = estimator_spread(pd.DataFrame(rows, columns=columns))
    assert value == pytest.approx(3.0, rel=0.05) and change == pytest.approx(0.5, rel=0.05)


def test_operations_keep_fractions_and_names_are_checked(images):
    blurred = degrade(images, "blur", 1.0, range(5))
    assert blurred.dtype == np.float64 and np.abs(blurred - np.rint(blurred)).max() > 0.1
    with pytest.raises(ValueError, match="operation: 'sharpen' found"):
        degrade(images, "sharpen", 1.0, range(5))


def test_black_levels_differ_in_nothing_but_the_level(images):
    lifted = {level: with_black_level(images, level, 32.0) for level in (0.0, 4.0, 32.0)}
    for level, values in lifted.items():
        np.testing.assert_allclose(values - lifted[0.0], level)
        assert values.min() >= level and values.max() <= 255
    white = np.full((1, *SHAPE), 255, dtype=np.uint8)
    np.testing.assert_allclose(with_black_level(white, 32.0, 32.0), 255)
    for level, highest in ((-1.0, 32.0), (33.0, 32.0), (0.0, 255.0)):
        with pytest.raises(ValueError, match=f"level, highest: {level}, {highest} found"):
            with_black_level(images, level, highest)


def test_black_level_curves_are_the_true_log_densities(images):
    model, target = gaussian_images()
    table = black_level_curves(
        model, images, range(5), [0.0, 32.0], [0.5, 1.0], FlowSettings(steps=40)
    )
    assert len(table) == 5 * 2 * 3
    for (level, strength), part in table.groupby(["black_level", "strength"]):
        seen = gaussian_blur(with_black_level(images, level, 32.0), strength)
        true = target.log_prob(noised_image(model, seen, range(5)))
        np.testing.assert_allclose(part["log_density_nats"], true, atol=0.5)
        assert (part["error_nats"] < 8).all()  # far from the density: all of the change counts
