"""What the tables say, on tables whose answer is known, and that the figures show it."""

import numpy as np
import pandas as pd
import pytest

from cartoonists.report import extrapolation as report
from cartoonists.statistics import extrapolation as tables
from cartoonists.statistics.claims import Bootstrap
from cartoonists.statistics.estimates import ratio_of_means

GAIN = {-2.0: 8.0, 2.0: 4.0}  # nats, of the exact score; networks win a quarter less


@pytest.fixture
def table():
    generator = np.random.default_rng(0)
    rows = []
    for score, factor, gap in ((tables.EXACT, 1.0, 0.0), ("8 units", 0.75, -1.6)):
        for seed in range(12):
            base = generator.normal()
            for switch in (np.nan, *GAIN):
                log_density = base + factor * GAIN.get(switch, 0.0)
                rows.append(
                    {
                        "score": score, "seed": seed, "dimensions": 16, "switch_logsnr": switch,
                        "sample": tables.ORDINARY if np.isnan(switch) else "high-density",
                        "log_density_nats": log_density, tables.TRUE: log_density,
                        "own_log_density_nats": log_density + gap,
                        tables.FLATNESS: 10.0 - factor * GAIN.get(switch, 0.0) / 2,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def errors():
    rows = []
    for seed in range(6):
        for switch, levels, error in ((0.0, (2, 4), 1.0), (2.0, (4,), 4.0), (np.nan, (0, 2, 4), 2)):
            for logsnr in levels:
                rows.append(["8 units", switch, float(logsnr), seed, float(error)])
    columns = ["score", "switch_logsnr", "logsnr", "seed", "squared_error"]
    return pd.DataFrame(rows, columns=columns)


def test_changes_pair_each_seed_with_its_own_ordinary_sample(table):
    found = tables.changes(table, tables.EXACT, tables.per_dimension(table, tables.TRUE))
    assert list(found) == [-2.0, 2.0] and len(found) == 12
    np.testing.assert_allclose(found[-2.0], 0.5)
    np.testing.assert_allclose(tables.changes(table, "8 units", table[tables.FLATNESS])[2.0], -1.5)


def test_overestimates_and_ratios(table):
    learned = table[table["score"] == "8 units"]
    np.testing.assert_allclose(tables.overestimate(learned), -0.1)
    flat = [
        tables.changes(table, s, table[tables.FLATNESS]).mean(axis=1)
        for s in (tables.EXACT, "8 units")
    ]
    found = ratio_of_means(*flat).interval(Bootstrap(resamples=100))
    assert found.value == pytest.approx(4 / 3)


def test_errors_are_compared_at_the_same_levels_only(errors):
    on_path, on_data = tables.integrated_errors(errors, "8 units")
    np.testing.assert_allclose(on_path, (1 + 1 + 4) / 3)
    np.testing.assert_allclose(on_data, 2.0)  # λ = 0 has no trajectory


def test_figures_show_every_score_and_kind(table, errors):
    figure = report.densities(table)
    assert [axis.get_title() for axis in figure.axes] == ["how dense", "how flat"]
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks == ["HD from -2", "HD from 2", "ordinary"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [tables.EXACT, "8 units"]
    left, right = report.freedom(table, errors).axes
    assert [label.get_text() for label in left.get_xticklabels()] == ["8"]
    assert right.get_yscale() == "log" and "8 units" in right.get_title()


def test_pictures_name_every_row():
    images = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 1, 4, 4)
    arrays = {"switch_logsnr": np.array([-2.0]), "images": np.stack([images, images])}
    scores = {tables.EXACT: arrays, "8 units": arrays, "16 units": arrays}
    figure = report.pictures({"data": images, "draws": images}, scores, 2)
    names = [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]
    assert names[2:] == [
        "exact, ordinary",
        "exact, HD from -2",
        "16 units, ordinary",
        "16 units, HD from -2",
    ]
    assert len(figure.axes) == 6 * 2
