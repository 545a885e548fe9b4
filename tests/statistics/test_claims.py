"""Rows of the claims table: intervals with their coverage, verdicts, fragments put together."""

import numpy as np
import pandas as pd
import pytest

from cartoonists.statistics.claims import (
    COLUMNS,
    Bootstrap,
    Interval,
    answer,
    assemble,
    not_run,
    order_of_convergence,
    row,
    summary,
    to_table,
)


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


def _row(number, holds):
    return row(f"{number} text", "paper", "1", Interval(1.23456789, 1, 2), "nats", holds, "x.csv")


def test_verdicts():
    verdicts = [_row(1, holds).verdict for holds in (True, False, np.bool_(True), "no data")]
    assert verdicts == ["holds", "does not hold", "holds", "not comparable: no data"]


def test_fragments_are_put_together_by_claim_number(tmp_path):
    for name, numbers in (("b", (10, 2)), ("a", (9, 2))):
        to_table([_row(n, True) for n in numbers]).to_csv(tmp_path / f"{name}.csv", index=False)
    missing = [not_run("3 text", "paper", "config.yaml")]
    table = assemble([tmp_path / "b.csv", tmp_path / "a.csv"], missing)
    assert list(table.columns) == COLUMNS
    assert list(table["claim"].str.split().str[0]) == ["2", "2", "3", "9", "10"]
    assert table.loc[2, "verdict"] == "not comparable: not run" and np.isnan(table.loc[2, "ours"])
    assert (table["ours"].drop(2) == 1.23457).all()


def test_a_fragment_with_other_columns_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("claim,ours\n1,2\n")
    with pytest.raises(ValueError, match="columns"):
        assemble([tmp_path / "x.csv"])


def test_an_answer_shows_the_interval_beside_the_value(tmp_path):
    rows = [row("1 it holds (a)", "s", "1", Interval(1.0, 0.5, 2.0), "nats", True, "x")]
    to_table(rows).to_csv(tmp_path / "t.csv", index=False)
    shown = answer(tmp_path / "t.csv").data
    assert shown.loc[0, "ours"] == "1 [0.5, 2]" and shown.loc[0, "verdict"] == "holds"


def test_the_summary_counts_statements_in_order():
    table = pd.DataFrame(
        {
            "claim": ["2 b: at 3 (x)", "2 b: at 4 (x)", "1 a (y)"],
            "verdict": ["holds", "does not hold", "not comparable: why"],
        }
    )
    found = summary(table)
    assert found["claim"].tolist() == ["2 b", "1 a"]
    assert found["holds"].tolist() == [1, 0] and found["not comparable"].tolist() == [0, 1]
