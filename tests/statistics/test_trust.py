"""Trust: what is left out, and what is warned of."""

import numpy as np
import pandas as pd

from cartoonists.statistics.summaries import bits_by_estimator
from cartoonists.statistics.trust import keep, keep_each, keep_whole, report, trusted


def values(error):
    rng = np.random.default_rng(0)
    density = rng.normal(100, 10, 50)
    table = pd.DataFrame({"log_density_nats": density, "error_nats": error, "dimensions": 100})
    table.loc[0, "log_density_nats"] = np.nan
    table.loc[1, "error_nats"] = 11.0
    return table


def test_values_beyond_the_tolerance_are_left_out_and_counted():
    table = values(1.0)
    assert trusted(table).sum() == 48 and not trusted(table)[:2].any()
    found = report({"model": table}).iloc[0]
    assert found["not finite"] == 1 and found["error above 0.1 nats/dim"] == 1
    assert found["warning"] == ""


def test_where_nothing_can_be_trusted_all_is_kept_and_said():
    table = values(50.0)
    assert not trusted(table).any() and len(keep(table)) == 49


def test_each_group_is_kept_by_itself():
    table = values(1.0).assign(kind=["a"] * 48 + ["b"] * 2)
    table.loc[48:, "error_nats"] = 50.0  # nothing of b can be trusted
    kept = keep_each(table, "kind")
    assert kept["kind"].value_counts().to_dict() == {"a": 46, "b": 2} and kept.index[-1] == 49


def test_an_image_is_kept_whole_or_not_at_all():
    table = values(1.0).assign(seed=np.arange(50) // 5, step=np.arange(50) % 5)
    kept = keep_whole(table, ["seed"])
    assert kept["seed"].unique().tolist() == list(range(1, 10)) and len(kept) == 45
    assert keep_whole(table.assign(error_nats=50.0), ["seed"]).equals(table.assign(error_nats=50.0))


def test_an_error_as_large_as_the_spread_is_said():
    table = values(9.0)
    assert report({"model": table}).iloc[0]["warning"] == "error as large as the spread"


def test_bits_of_a_path_that_ran_away_are_left_out_and_bounds_stay():
    table = pd.DataFrame({"dimensions": 10, "ode_log_density_nats": [1.0, -1e9]})
    table["ode_error_nats"] = [0.5, 1e8]  # 0.05 and 1e7 nats/dim
    for name in ("elbo", "iwae", "ode"):
        table[f"{name}_bits_per_dim"] = [3.0, 4.0]
    bits = bits_by_estimator(table)
    assert bits["ode"].tolist()[0] == 3.0 and np.isnan(bits["ode"][1])
    assert bits["elbo"].tolist() == bits["iwae"].tolist() == [3.0, 4.0]
