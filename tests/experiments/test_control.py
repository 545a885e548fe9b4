"""Tables of density control and critical windows: columns, closed forms, independence of batch."""

import numpy as np
import pytest
import torch
from closed_forms import mixture

from cartoonists import VP, Gaussian
from cartoonists.density.flow import FlowSettings
from cartoonists.experiments.control import (
    ControlSettings,
    NoiseWindow,
    aligned_at,
    alignment_table,
    closed_form_control,
    guided_measures,
    guided_sets,
    low_frequency_share,
    model_control,
    path_errors,
    path_processes,
)
from cartoonists.experiments.frechet import pixel_space
from cartoonists.experiments.windows import model_windows

LEVELS = [-6.0, 0.0, 6.0]


class Picture(Gaussian):
    """A Gaussian over 8 × 8 images that can be written as grey levels."""

    log_pixels_per_unit = 0.0

    def finish(self, x):
        return (128 + 40 * x).clamp(0, 255).to(torch.uint8)


class Brightness:
    """Class 1 for the brighter images; features: mean and contrast."""

    def labels(self, pixels):
        return (pixels.mean(axis=(1, 2, 3)) > 128).astype(int)

    def features(self, pixels):
        return np.stack([pixels.mean(axis=(1, 2, 3)), pixels.std(axis=(1, 2, 3))], axis=1)


PICTURE = Picture(torch.zeros(1, 8, 8), torch.full((1, 8, 8), 0.3), VP())
SETTINGS = ControlSettings(
    strengths=[-0.5, 0.0, 0.5], n_measured=3, n_compared=2, steps=32, noise_strengths=[0.0, 0.5],
    noise={"early": NoiseWindow((-4.0, -1.0), 1.0, 32), "late": NoiseWindow((3.0, 6.0), 1.0, 32)},
    bound=1.0, width=0.01, flow=FlowSettings(40, 1),
)  # fmt: skip


def test_every_process_of_the_table_converges():
    table = path_errors(mixture(4), range(8), [16, 128])
    rms = table["error_nats"].pow(2).groupby([table["process"], table["steps"]]).mean().unstack()
    assert set(rms.index) == set(path_processes(VP()))
    assert (rms[128] < 0.5 * rms[16]).all()


def test_closed_form_control_knows_the_truth():
    target = mixture(16)
    table = closed_form_control(target, [-0.5, 0.0, 0.5], [1.0, 0.25], range(6), 64)
    quiet = table[table["control"] != "guidance with noise"]
    error = quiet["tracked_log_density_nats"] - quiet["log_density_nats"]
    assert error.abs().max() < 0.5
    means = table.groupby(["control", "strength"])["log_density_nats"].mean().unstack()
    assert (means.diff(axis=1).iloc[:, 1:] > 0).all().all()
    assert len(table) == 5 * 3 * 6


def test_model_control_measures_all_samples_alike():
    table, images = model_control(PICTURE, range(5), SETTINGS, None, Brightness())
    assert images.shape == (3, 5, 1, 8, 8) and images.dtype == np.uint8
    sizes = table.groupby("control").size().to_dict()
    assert sizes == {
        "guidance": 9, "prior": 4, "temperature": 4,
        "guidance, early noise": 4, "guidance, late noise": 4,
    }  # fmt: skip
    guided = table[table["control"] == "guidance"]
    values = guided.pivot(index="seed", columns="strength", values="log_density_nats")
    assert (values.diff(axis=1).iloc[:, 1:] > 0).all().all()
    noisy = table["control"].str.endswith("noise")
    assert (table["feature_distance"].notna() == noisy).all()
    gained = guided["log_density_nats"] - guided["tracked_log_density_nats"]
    assert gained.abs().max() < 0.5  # the score is exact: formula (★) holds what was requested
    assert (guided["requested_nats"] * guided["strength"] >= 0).all()
    assert table.loc[table["control"] != "guidance", "requested_nats"].isna().all()
    alone, _ = model_control(PICTURE, range(1), SETTINGS, None, Brightness())
    joint = table[table["seed"] == 0].reset_index(drop=True)
    np.testing.assert_allclose(alone["log_density_nats"], joint["log_density_nats"], rtol=1e-9)


def test_measures_and_sets_of_guided_images_are_those_of_each_strength():
    rng, strengths = np.random.default_rng(0), [-1.0, 0.0, 1.0]
    shape = (3, 90, 1, 8, 8)
    images = 128 + rng.normal(size=shape) * np.array([40, 5, 1])[:, None, None, None, None]
    images = images.astype(np.uint8)
    table = guided_measures(images, strengths, range(90))
    assert len(table) == 270 and "surely_classified" not in table
    means = table.groupby("strength")[["gradient_energy", "png_bytes"]].mean()
    assert (means.diff().iloc[1:] < 0).all().all()
    real = (128 + 5 * rng.normal(size=shape[1:])).astype(np.uint8)
    table = guided_sets(images, strengths, real, pixel_space())
    distance = table[table["measure"] == "frechet_pixels_4px"].set_index("strength")
    assert distance["n"].eq(90).all() and distance.loc[0.0, "ratio"] == 1
    assert (distance.loc[[-1.0, 1.0], "ratio_ci_low"] > 1.5).all()
    few = guided_sets(images[:, :50], strengths, real[:0], pixel_space())
    assert not few["measure"].str.contains("frechet").any()


def test_low_frequency_share_of_waves():
    i = np.arange(16)
    slow = np.cos(2 * np.pi * i / 16)[:, None] * np.ones(16)
    fast = np.cos(2 * np.pi * 7 * i / 16)[:, None] * np.ones(16)
    waves = np.stack([slow, fast, np.zeros((16, 16))])[:, None]
    share = low_frequency_share(waves)
    assert share[0] == pytest.approx(1.0) and share[1] == pytest.approx(0.0)
    assert np.isnan(share[2])


def test_alignment_table_of_a_gaussian():
    levels = aligned_at(PICTURE.schedule, [1.0, 30.0])
    assert levels == [1.0, 10.0]
    table = alignment_table(PICTURE, range(4), 48, 0.01, levels)
    assert table["logsnr_end"].tolist() == [1.0] * 4 + [10.0] * 4
    assert (table["with_score_nats"] > 0).all()
    np.testing.assert_allclose(table["with_score_nats"], table["without_score_nats"], rtol=0.05)


def test_model_windows_keep_the_label_late_and_lose_it_early():
    table, images = model_windows(PICTURE, Brightness(), LEVELS, range(40), 24)
    assert images.shape == (7, 40, 1, 8, 8)
    kept = (table["label_sde"] == table["label"]).groupby(table["logsnr"]).mean()
    again = (table["label_sde"] == table["label_again"]).groupby(table["logsnr"]).mean()
    assert kept[6.0] > 0.75 and kept[-6.0] < 0.75
    assert abs(kept[-6.0] - again[-6.0]) < 0.4
    late = table["hd_gradient_energy"][table["logsnr"] == -6.0].mean()
    assert late < 0.2 * table["gradient_energy"][table["logsnr"] == -6.0].mean()
