"""Intervals by bootstrap, with their coverage."""

import numpy as np
import pandas as pd
import pytest

from cartoonists.statistics.claims import Bootstrap, order_of_convergence


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    generator = np.random.default_rng(1)
    bootstrap = Bootstrap(confidence=0.9, resamples=300)
    hits = 0
    for _ in range(300):
        interval = bootstrap.mean(generator.normal(3.0, 2.0, size=40))
        hits += interval.low <= 3.0 <= interval.high
    assert 0.84 < hits / 300 < 0.94  # three standard errors around 0.89


def test_correlations_agree_with_pandas():
    generator = np.random.default_rng(2)
    x = generator.normal(size=200)
    y = np.exp(x + 0.5 * generator.normal(size=200))
    frame = pd.DataFrame({"x": x, "y": y})
    bootstrap = Bootstrap(resamples=200)
    for method in ("pearson", "spearman"):
        interval = getattr(bootstrap, method)(x, y)
        assert interval.value == pytest.approx(frame.corr(method).loc["x", "y"], abs=1e-12)
        assert interval.low < interval.value < interval.high


def test_pairs_are_resampled_together():
    x = np.random.default_rng(3).normal(size=50)
    interval = Bootstrap(resamples=200).pearson(x, 2 * x + 1)
    assert interval.low == pytest.approx(1.0) and interval.high == pytest.approx(1.0)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(4).normal(size=30)
    assert Bootstrap(seed=1).mean(values) == Bootstrap(seed=1).mean(values)
    assert Bootstrap(seed=1).mean(values) != Bootstrap(seed=2).mean(values)


@pytest.mark.parametrize("values", [[1.0], [1.0, np.nan], [1.0, np.inf]])
def test_values_that_carry_no_interval_are_refused(values):
    with pytest.raises(ValueError, match="bootstrap: .* found, allowed"):
        Bootstrap().mean(values)


def test_the_order_of_an_error_that_falls_as_the_square_of_the_step():
    steps = [8, 16, 32, 64]
    noise = np.random.default_rng(5).normal(1.0, 0.1, size=(100, 4))
    errors = pd.DataFrame(noise * 50.0 / np.array(steps) ** 2, columns=steps)
    order = order_of_convergence(errors, Bootstrap(resamples=200))
    assert order.value == pytest.approx(2.0, abs=0.05)
    assert order.low < 2.0 < order.high


def test_intervals_that_hold_together_are_wider_and_have_resamples_in_their_tails():
    alone, together = Bootstrap(), Bootstrap().simultaneous(25)
    assert together.confidence == pytest.approx(1 - 0.05 / 25)
    assert together.resamples * (1 - together.confidence) / 2 >= 10 > alone.resamples / 2000 * 2
    assert alone.simultaneous(1) == alone
