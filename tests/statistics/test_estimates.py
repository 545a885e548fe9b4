"""Estimates: their intervals against known ones, their units, and the table of rows."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cartoonists.statistics.claims import Bootstrap
from cartoonists.statistics.estimates import (
    MEASURED,
    Measurements,
    correlation,
    correlation_gap,
    exact,
    geometric_mean,
    mean,
    mean_share,
    normal,
    partial_rank_correlation,
    ratio_of_means,
    share,
    share_gap,
)

LEVEL = Bootstrap(resamples=2000)


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_a_share_has_wilsons_interval_and_never_one_of_zero_width():
    found = share([True] * 6).interval(LEVEL)
    z2 = stats.norm.ppf(0.975) ** 2
    assert found.value == found.high == 1 and found.low == pytest.approx(6 / (6 + z2))
    none = share([False] * 6).interval(LEVEL)
    assert none.low == 0 and none.high == pytest.approx(1 - found.low)
    half = share([True, False] * 50).interval(LEVEL)
    assert half.low == pytest.approx(0.4038, abs=1e-4) and half.high == pytest.approx(
        0.5962, abs=1e-4
    )


def test_a_mean_of_shares_is_wilsons_for_hits_and_covers_for_shares():
    hits = [True] * 7 + [False] * 13
    found, known = mean_share(hits).interval(LEVEL), share(hits).interval(LEVEL)
    assert (found.value, found.low) == pytest.approx((known.value, known.low))
    assert found.high == pytest.approx(known.high)
    alike = mean_share([1.0] * 6).interval(LEVEL)
    assert alike.value == alike.high == 1 and alike.low == pytest.approx(6 / (6 + 3.841459))
    rng, covered = np.random.default_rng(0), 0
    for _ in range(500):  # three steps an image, the image's own chance uniform: a mean of one half
        found = mean_share(rng.binomial(3, rng.uniform(size=30)) / 3).interval(LEVEL)
        covered += found.low <= 0.5 <= found.high
    assert covered / 500 > 0.94


def test_a_gap_of_paired_shares_covers_and_never_has_an_interval_of_zero_width():
    alike = share_gap([True] * 20, [True] * 20).interval(LEVEL)
    assert alike.value == 0 and alike.low == -alike.high < -0.05
    one, other = np.arange(40) < 30, np.arange(40) >= 6  # 6 in the first alone, 10 in the other
    found = share_gap(one, other).interval(LEVEL)
    gap, error = -4 / 42, np.sqrt((17 / 42 - (4 / 42) ** 2) / 42)
    assert found.value == -0.1 and found.low == pytest.approx(gap - 1.959964 * error)
    back = share_gap(other, one).interval(LEVEL)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))
    rng, covered = np.random.default_rng(0), 0
    for _ in range(500):  # most units alike: 0.8 and 0.6, together in two thirds
        cell = rng.choice(4, size=50, p=[0.55, 0.25, 0.05, 0.15])
        found = share_gap(cell <= 1, (cell == 0) | (cell == 2)).interval(LEVEL)
        covered += found.low <= 0.2 <= found.high
    assert covered / 500 > 0.93


def test_a_mean_has_students_interval():
    values = normals(9)
    found = mean(values).interval(LEVEL)
    known = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((known.low, known.high))
    ratio = geometric_mean(np.exp(values)).interval(LEVEL)
    assert np.log([ratio.low, ratio.high]) == pytest.approx([known.low, known.high])


def test_the_interval_of_a_known_error_is_normal():
    found = normal(1.0, 0.5, 20).interval(LEVEL)
    assert found.high - found.value == pytest.approx(0.5 * 1.959964)


def test_a_ratio_of_means_resamples_pairs():
    base = np.exp(normals(80))
    found = ratio_of_means(3 * base, base).interval(LEVEL)
    assert found.low == pytest.approx(3) and found.high == pytest.approx(3)


def test_correlations_are_those_of_pandas():
    x, y, z = normals(3, 60)
    frame = pd.DataFrame({"x": x, "y": x + y, "z": x + 0.5 * z})
    pearson = frame.corr()
    assert correlation(frame.x, frame.y).interval(LEVEL).value == pytest.approx(pearson.x.y)
    gap = correlation_gap(frame.x, frame.z, frame.y).interval(LEVEL)
    assert gap.value == pytest.approx(pearson.x.z - pearson.x.y) and gap.low > 0
    r = frame.corr("spearman")
    expected = (r.y.z - r.x.y * r.x.z) / np.sqrt((1 - r.x.y**2) * (1 - r.x.z**2))
    partial = partial_rank_correlation(frame.y, frame.z, frame.x).interval(LEVEL)
    assert partial.value == pytest.approx(expected) and partial.low < 0 < partial.high


def test_what_both_hold_is_no_evidence_once_it_is_given():
    """FLIPD and log p of N(0, I), of constant dimension: -1 by |s|² alone, nothing given it."""
    square = np.random.default_rng(0).chisquare(64, size=200)
    flipd, log_density = 64 - 0.3 * 64 + 0.3 * square, -square / 2
    assert correlation(flipd, log_density).interval(LEVEL).value == pytest.approx(-1)
    exactly = partial_rank_correlation(flipd, log_density, square).interval(LEVEL)
    assert np.isnan([exactly.value, exactly.low, exactly.high]).all()
    probes, steps = normals(2, 200, seed=3)  # errors of the two estimates
    given = partial_rank_correlation(flipd + probes, log_density + steps, square).interval(LEVEL)
    assert given.low < 0 < given.high
    # a dimension that does vary with log p is found
    varies = partial_rank_correlation(flipd + probes - steps, log_density + steps, square).interval(
        LEVEL
    )
    assert varies.high < -0.3


def test_the_interval_of_a_correlation_covers_it_as_often_as_it_says():
    rho, hits = 0.6, 0
    for seed in range(200):
        x, y = normals(2, 50, seed=seed)
        y = rho * x + np.sqrt(1 - rho**2) * y
        found = correlation(x, y).interval(Bootstrap(confidence=0.9, resamples=400))
        hits += found.low <= rho <= found.high
    assert 0.82 < hits / 200 < 0.95  # three standard errors around 0.88


def test_rows_of_one_unit_count_once():
    """Each unit three times over says no more than each unit once."""
    x = normals(40)
    y = x + normals(40, seed=1)
    once = correlation(x, y)
    thrice = correlation(np.tile(x, 3), np.tile(y, 3), np.tile(np.arange(40), 3))
    blind = correlation(np.tile(x, 3), np.tile(y, 3))
    assert thrice.n == once.n == 40 and blind.n == 120
    width = {k: e.interval(LEVEL) for k, e in {"once": once, "thrice": thrice, "b": blind}.items()}
    sizes = {name: found.high - found.low for name, found in width.items()}
    assert sizes["thrice"] == pytest.approx(sizes["once"], rel=1e-6) and sizes["b"] < sizes["once"]


def test_rows_of_one_claim_have_intervals_that_hold_together():
    values = normals(30)
    alone, both = Measurements(0.95, 100, 0), Measurements(0.95, 100, 0)
    alone.add("a", mean(values), "x.csv")
    for condition in ("one", "two"):
        both.add("a", mean(values), "x.csv", condition=condition, left_out=3, why="bad")
    both.add("b", mean(values), "x.csv", why="nothing was left out")
    single, table = alone.table(), both.table()
    assert list(table.columns) == MEASURED
    known = stats.ttest_1samp(values, 0).confidence_interval(0.975)
    assert table.loc[0, "ci_low"] == pytest.approx(known.low, rel=1e-5)
    assert table.loc[2, "ci_low"] == single.loc[0, "ci_low"] > table.loc[0, "ci_low"]
    assert table["interval"].tolist()[1:] == [
        "Student's t, 95% for 2 rows together", "Student's t, 95%"
    ]  # fmt: skip
    assert table["left_out_why"].tolist() == ["bad", "bad", ""]
    assert table["n_left_out"].tolist() == [3, 3, 0] and table["n"].tolist() == [30] * 3


@pytest.mark.parametrize("values", [[], [1.0]])
def test_fewer_than_two_units_have_no_number(values):
    measured = Measurements(0.95, 100, 0)
    for estimate in (mean(values), share(values), correlation(values, values)):
        measured.add("a", estimate, "x.csv")
    measured.add("b", exact(2.0), "x.csv")
    table = measured.table()
    assert table[["ours", "ci_low", "ci_high"]].iloc[:3].isna().all(axis=None)
    assert (
        table.loc[3, "ours"] == table.loc[3, "ci_low"] == 2 and table.loc[3, "interval"] == "exact"
    )
