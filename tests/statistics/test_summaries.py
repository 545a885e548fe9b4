"""What tables of runs say: pairs that can be compared, and where a window is half way."""

import numpy as np
import pandas as pd
import pytest

from cartoonists.statistics.claims import Bootstrap
from cartoonists.statistics.estimates import bootstrapped
from cartoonists.statistics.summaries import (
    NO_STEP,
    compared_pairs,
    distance_from_even,
    half_way_gap,
    offsets_by_steps,
    place_in_window,
    turning_point,
)
from cartoonists.statistics.trust import trusted_whole


def pairs():
    rows = [("ordinary", np.nan, seed, 10.0 * seed, 1.0) for seed in range(3)]
    rows += [
        ("high-density", s, seed, 10.0 * seed + s, 2.0) for s in (-2.0, 5.0) for seed in (0, 1)
    ]
    columns = ["sample", "switch_logsnr", "seed", "log_density_nats", "error_nats"]
    table = pd.DataFrame(rows, columns=columns).assign(dimensions=100)
    return table.assign(bits_per_dim=-table["log_density_nats"])


def test_pairs_are_those_of_one_seed_and_both_values_have_to_be_trusted():
    table = pairs()
    table.loc[1, "error_nats"] = 11.0  # the ordinary sample of seed 1
    found = compared_pairs(table)
    assert len(found) == 4 and found["seed"].tolist() == [0, 1, 0, 1]
    gain = found["high_density_nats"] - found["ordinary_nats"]
    assert gain.tolist() == found["switch_logsnr"].tolist() == [-2, -2, 5, 5]
    assert (found["ordinary_bits"] - found["high_density_bits"]).tolist() == gain.tolist()
    assert found["trusted"].tolist() == [True, False, True, False]
    assert found["error_nats"][0] == pytest.approx(5**0.5)


def test_a_key_with_one_bad_row_is_not_whole():
    table = pairs()
    table.loc[3, "log_density_nats"] = np.nan
    whole = trusted_whole(table, ["seed"])
    assert whole[table["seed"] > 0].all() and not whole[table["seed"] == 0].any()


def test_a_window_that_lies_two_further_up_is_found_there():
    levels = [-4.0, -2.0, 0.0, 2.0, 4.0]
    rng = np.random.default_rng(0)
    chance = 0.2

    def kept(middle, n=4000):
        return [rng.random(n) < chance + (1 - chance) / (1 + np.exp(middle - x)) for x in levels]

    gap = half_way_gap(levels)
    found = gap(*kept(1.5), *kept(-0.5), axis=-1)
    assert found == pytest.approx(2.0, abs=0.3)
    same = bootstrapped(gap, *kept(0.0, 300), *kept(0.0, 300)).interval(Bootstrap(resamples=100))
    assert same.low < 0 < same.high and same.high - same.low < 1.5


def test_half_way_counts_from_what_is_left_by_chance():
    """A share that falls to 0.6 is half way at 0.8."""
    levels = [0.0, 1.0, 2.0]
    shares = np.array([0.6, 0.8, 1.0])
    columns = [np.array([share, share]) for share in shares]
    later = [np.array([share, share]) for share in (0.6, 0.7, 1.0)]
    assert half_way_gap(levels)(*later, *columns, axis=-1) == pytest.approx(1 / 3)


def test_a_measure_turns_where_its_mean_first_reaches_the_reference():
    levels = [-4.0, -2.0, 0.0, 2.0]
    turn = turning_point(levels)

    def of(*means):
        return [mean + np.array([-1.0, 1.0]) for mean in means]

    assert turn(*of(5, 8, 12, 9), *of(10), axis=-1) == pytest.approx(-1.0)
    assert turn(*of(5, 4, 8, 12), *of(10), axis=-1) == pytest.approx(0 + 2 * 0.5)
    assert turn(*of(11, 5, 5, 5), *of(10), axis=-1) == -4
    assert turn(*of(5, 5, 5, 5), *of(10), axis=-1) == 2
    two = [np.stack([column, column]) for column in (*of(5, 8, 12, 9), *of(10))]
    np.testing.assert_allclose(turn(*two, axis=-1), [-1.0, -1.0])
    rng = np.random.default_rng(0)
    noisy = [mean + rng.standard_normal(200) for mean in (5, 8, 12, 9, 10)]
    found = bootstrapped(turn, *noisy).interval(Bootstrap(resamples=200))
    assert found.low < -1 < found.high and found.high - found.low < 0.5


def shares(levels, place, n=4):
    """Columns of a share that rises linearly from ½ two λ before ``place`` to 1 two λ after."""
    rising = np.interp(levels, [place - 2, place + 2], [0.5, 1.0])
    return [np.full(n, share) for share in rising]


def test_half_way_is_between_what_is_forgotten_and_one():
    levels = [-6.0, -3.0, 0.0, 3.0]
    measured, predicted = shares(levels, -1.0), shares(levels, -1.5)
    gap = half_way_gap(levels, 0.5)(*measured, *predicted, axis=-1)
    expected = np.interp(0.75, np.array(measured)[:, 0], levels)
    expected -= np.interp(0.75, np.array(predicted)[:, 0], levels)
    assert gap == pytest.approx(expected)
    assert half_way_gap(levels)(*measured, *measured, axis=-1) == 0


@pytest.mark.parametrize(("place", "part"), [(-2.0, 0.5), (-4.0, 0.0), (1.0, 1.25)])
def test_a_place_is_a_part_of_the_window(place, part):
    levels = np.arange(-8.0, 6.5, 0.5).tolist()
    statistic = place_in_window(levels, 0.5, -4.0, 0.0)
    assert statistic(*shares(levels, place), axis=-1) == pytest.approx(part)
    repeated = [np.stack([column, column]) for column in shares(levels, place)]
    assert statistic(*repeated, axis=-1) == pytest.approx([part, part])


@pytest.mark.parametrize(
    ("own", "sibling", "distance"), [(0.5, 0.5, 0.0), (1.0, 0.0, 0.5), (0.4, 0.4, 0.2), (0, 0, 1)]
)
def test_distance_from_an_even_choice(own, sibling, distance):
    columns = [(np.arange(10) < 10 * share).astype(float) for share in (own, sibling)]
    assert distance_from_even(*columns, axis=-1) == pytest.approx(distance)
    elsewhere = 1 - own - sibling
    assert distance == pytest.approx(0.5 * (abs(own - 0.5) + abs(sibling - 0.5) + elsewhere))


def test_an_error_of_first_order_is_extrapolated_away():
    rows = [(seed, n, seed + 3.0 / n) for seed in (0, 1, 2) for n in (8, 32, 128)]
    table = pd.DataFrame(rows, columns=["seed", "steps", "tracked_log_density_nats"])
    table = table.assign(dimensions=2, ode_log_density_nats=0.0, ode_error_nats=0.0)
    table.loc[table["steps"] == 8, "tracked_log_density_nats"] = 99.0  # only the two largest count
    table.loc[8, "ode_error_nats"] = 1.0  # one of seed 2
    found = offsets_by_steps(table)
    assert list(found) == [8, 32, 128, NO_STEP] and found.index.tolist() == [0, 1]
    assert found[NO_STEP].tolist() == pytest.approx([0.0, 0.5])
    assert offsets_by_steps(table.assign(ode_error_nats=1.0)).empty
    with pytest.raises(ValueError, match="steps: .*128.* found, allowed: two or more"):
        offsets_by_steps(table[table["steps"] == 128])
