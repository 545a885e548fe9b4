"""Synthetic images: flat shapes, texture of the promised spectrum, and the closed-form density."""

import math

import numpy as np
import pytest
import torch

from cartoonists import VP
from cartoonists.images.synthetic import (
    SyntheticSettings,
    flat_images,
    shape_mask,
    synthetic_images,
    synthetic_model,
    texture_spectrum,
)

SCHEDULE = VP(-10.0, 10.0)
ONE = SyntheticSettings(size=16, shapes=["disc"], positions=1, radius=5.0, strengths=[10.0])


def test_shapes_have_their_areas_and_two_grey_levels():
    settings = SyntheticSettings(size=64, positions=1, radius=20.0)
    centre = (32.0, 32.0)
    areas = {s: shape_mask(s, 64, centre, 20.0).sum() for s in settings.shapes}
    assert areas["disc"] == pytest.approx(math.pi * 400, rel=0.02)
    assert (areas["square"], areas["stripes"]) == (1600, 960)  # three of five bars
    assert np.unique(flat_images(settings)).tolist() == [64.0, 192.0]
    assert len(flat_images(settings)) == len(settings.components) == 9


def test_the_texture_has_its_strength_and_its_spectrum():
    model = synthetic_model(ONE, SCHEDULE)
    x = model.mixture.sample(400, 0) - model.mixture.means[0] * SCHEDULE.alpha(10.0)
    grey = x * model.scaling.std[0] * 256
    assert grey.std().item() == pytest.approx(10.0, rel=0.03)
    power = model.mixture.basis.coordinates(grey).square().mean(0)[0].numpy()
    k = np.arange(16)
    frequency = np.sqrt(1 + k[:, None] ** 2 + k[None, :] ** 2)
    slope = np.polyfit(np.log(frequency.ravel()), np.log(power.ravel()), 1)[0]
    assert slope == pytest.approx(-ONE.exponent, abs=0.05)
    assert texture_spectrum(16, 0.0) == pytest.approx(np.ones((16, 16)))


def test_the_log_density_is_that_of_the_shape_and_its_texture():
    """Of the flat image itself, by the determinant of the covariance in pixels."""
    model = synthetic_model(ONE, SCHEDULE)
    basis = model.mixture.basis
    identity = torch.eye(256, dtype=torch.float64).view(-1, 1, 16, 16)
    transform = basis.coordinates(identity).flatten(1)  # [pixels, coefficients]
    variances = (
        texture_spectrum(16, ONE.exponent).ravel() * (10 / (model.scaling.std[0] * 256)) ** 2
    )
    covariance = (transform.numpy() * variances) @ transform.numpy().T
    noisy = SCHEDULE.alpha(0.0).item() ** 2 * covariance + 0.5 * np.eye(256)
    expected = -0.5 * np.linalg.slogdet(2 * math.pi * noisy)[1]
    found = model.mixture.log_prob(model.mixture.means * SCHEDULE.alpha(0.0), 0.0)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_data_are_standardised_and_labelled_by_shape():
    settings = SyntheticSettings(size=16, positions=1, radius=5.0, strengths=[4.0, 8.0])
    model = synthetic_model(settings, SCHEDULE)
    x = model.mixture.sample(600, 0)
    assert x.mean().item() == pytest.approx(0, abs=0.05)
    assert x.std().item() == pytest.approx(1, abs=0.05)
    data = synthetic_images(model, 60)
    flat = flat_images(settings)
    of_label = flat[:: len(settings.strengths)][data.labels]
    assert np.abs(data.images - of_label).mean() < 10
    assert set(data.labels) == {0, 1, 2}


def test_texture_is_the_distance_to_the_nearest_flat_image():
    model = synthetic_model(ONE, SCHEDULE)
    shifted = model.mixture.means + 3.0 / (256 * model.scaling.std[0])
    assert model.texture(shifted) == pytest.approx(3.0)
    assert model.texture(model.mixture.means) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shapes": ["star"]}, r"shapes: \['star'\] found, allowed: disc, square, stripes"),
        ({"radius": 12.0}, "radius: 12.0 found, allowed: above 0, at most .*10.6667"),
        ({"background": -1.0}, "grey levels: .* found, allowed: 0 to 255"),
        ({"strengths": []}, r"strengths: \[\] found, allowed: above 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SyntheticSettings(**change)
