"""Measures of images and sets: jackknife against theory, tables against single functions."""

import numpy as np
import pandas as pd
import pytest

from cartoonists.images.measures import (
    Jackknife,
    compression_table,
    correlations,
    image_measures,
    set_measures,
    set_table,
    spectrum_table,
)
from cartoonists.images.pictures import (
    frechet_distance,
    gaussian_blur,
    mean_pairwise_distance,
)
from cartoonists.statistics.claims import Bootstrap


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_blur_lowers_every_measure_of_detail(rng):
    images = rng.integers(0, 256, (4, 3, 16, 16), dtype=np.uint8)
    sharp, soft = image_measures(images), image_measures(gaussian_blur(images, 1.5))
    assert len(sharp) == 4 and (soft < sharp).drop(columns="edge_share").all().all()
    # white noise: the same power, its variance, in every ring
    assert sharp["fine_power"].mean() == pytest.approx((256**2 - 1) / 12, rel=0.1)


def test_compression_table_has_a_size_a_codec(rng):
    images = rng.integers(0, 256, (3, 1, 12, 12), dtype=np.uint8)
    images[1] = 7
    table = compression_table(images)
    sizes = [name for name in table if name.endswith("_bytes")]
    assert {"png_bytes", "zlib_bytes", "lzma_bytes"} <= set(sizes)
    assert (table.loc[1, sizes] < table.loc[0, sizes]).all()
    assert table["total_variation"].tolist()[1] == 0


def test_jackknife_of_a_mean_is_the_standard_error(rng):
    values = rng.normal(size=(50, 1))
    interval = Jackknife.of(np.mean, values).interval()
    half = 1.959964 * values.std(ddof=1) / np.sqrt(50)
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.value == pytest.approx(half, rel=1e-6)
    twice = (Jackknife.of(np.mean, values) / Jackknife.of(np.mean, 2 * values)).interval()
    assert twice.low == pytest.approx(0.5) and twice.high == pytest.approx(0.5)  # pairs stay pairs
    with pytest.raises(ValueError, match="2 samples found"):
        Jackknife.of(np.mean, values[:2])
    with pytest.raises(ValueError, match="50 and 49 groups found"):
        Jackknife.of(np.mean, values) / Jackknife.of(np.mean, values[1:])


def test_jackknife_in_groups_has_the_same_standard_error_on_average(rng):
    sets = rng.normal(size=(300, 400, 1))  # of 400 samples, 20 groups
    found = [Jackknife.of(np.mean, values) for values in sets]
    assert {len(jackknife.left_out) for jackknife in found} == {20}
    halves = [(f.interval().high - f.value) ** 2 for f in found]
    assert np.mean(halves) == pytest.approx(1.959964**2 / 400, rel=0.1)


def test_jackknife_interval_of_the_pairwise_distance_covers(rng):
    """95% intervals of 200 sets hold the mean of all of them nearly always, but not always."""
    sets = rng.normal(size=(200, 30, 2))
    truth = np.sqrt(np.pi)  # E|X - Y| of two standard normal points of the plane
    intervals = [Jackknife.of(mean_pairwise_distance, values).interval() for values in sets]
    covered = np.mean([i.low <= truth <= i.high for i in intervals])
    assert 0.88 < covered < 0.99


def test_set_measures_see_collapse_and_shift(rng):
    data, samples = rng.normal(size=(2, 60, 4)) + 1
    wide, narrow = (
        {name: found.interval() for name, found in set_measures(values, data).items()}
        for values in (samples, 1 + 0.1 * (samples - 1))
    )
    assert narrow["vendi_score"].high < wide["vendi_score"].low
    assert narrow["mean_pairwise_distance"].value == pytest.approx(
        0.1 * wide["mean_pairwise_distance"].value
    )
    assert narrow["frechet_distance"].low > wide["frechet_distance"].high
    assert "frechet_distance" not in set_measures(samples, None)


def test_correlations_stay_within_a_kind(rng):
    x = rng.normal(size=400)
    kind = np.repeat(["a", "b"], 200)
    # within each kind y rises with x; between them a shift would turn it round
    table = pd.DataFrame({"kind": kind, "x": x, "y": x + 0.5 * rng.normal(size=400)})
    table.loc[table["kind"] == "b", "x"] += 10
    table.loc[table["kind"] == "b", "y"] -= 10
    found = correlations(table, ["x"], ["y"], Bootstrap(resamples=200))
    assert list(found["n"]) == [200] * 4
    pearson = found[found["statistic"] == "pearson"]
    assert ((pearson["ci_low"] < 1 / np.hypot(1, 0.5)) & (pearson["ci_high"] > 0.85)).all()
    assert (found["value"] > 0.8).all()


def test_set_table_compares_with_the_ordinary_samples(rng):
    ordinary, data = rng.normal(size=(30, 4)) + 2, rng.normal(size=(60, 4)) + 2
    features = np.stack([ordinary, 2 + 0.5 * (ordinary - 2)])
    table = set_table(features, [1.5], data).set_index(["sample", "measure"])
    ratio = table.loc[("high-density", "mean_pairwise_distance")]
    assert ratio[["ratio", "ratio_ci_low", "ratio_ci_high"]].tolist() == pytest.approx([0.5] * 3)
    assert ratio["switch_logsnr"] == 1.5 and ratio["n"] == 30
    own = table.loc[("ordinary", "frechet_distance")]
    assert own["value"] == pytest.approx(frechet_distance(ordinary, data[:30]))
    real = table.loc[("data", "frechet_distance"), "value"]
    assert real == pytest.approx(frechet_distance(data[30:], data[:30]))
    assert table.loc[("high-density", "frechet_distance"), "value"] > own["value"]


def test_too_few_images_leave_the_distance_out(rng):
    features = rng.normal(size=(2, 12, 8)) + 3
    few_data = set_table(features, [0.0], rng.normal(size=(10, 8)))
    assert set(few_data["measure"]) == {"mean_pairwise_distance", "vendi_score"}
    assert set(few_data["sample"]) == {"ordinary", "high-density"}
    many = set_table(features[:, :, :7], [0.0], rng.normal(size=(12, 7)))
    assert "frechet_distance" in set(many["measure"])  # 12 images are 1.7 a feature


def test_spectrum_table_of_white_noise_is_flat(rng):
    images = rng.integers(0, 256, (2, 200, 1, 12, 12), dtype=np.uint8)
    table = spectrum_table(images, [0.5])
    assert len(table) == 2 * 6
    deviation = (table["power"] - (256**2 - 1) / 12) / table["power_se"]
    assert deviation.abs().max() < 4 and deviation.std() > 0.3
