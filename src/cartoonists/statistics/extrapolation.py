"""What the tables of the topic extrapolation say of each score.

Scores are named *exact* and, for networks, *32 units*, …, in the order of the table.
"""

import pandas as pd

ORDINARY = "ordinary"
EXACT = "exact"
TRUE = "equal_noise_log_density_nats"  # HD and ordinary samples with the same noise
FLATNESS = "neighbour_difference"


def networks(table: pd.DataFrame) -> list[str]:
    """Names of the networks, in the order of the table."""
    return [name for name in table["score"].unique() if name != EXACT]


def per_dimension(table: pd.DataFrame, column: str) -> pd.Series:
    """A column of nats as nats a dimension."""
    return table[column] / table["dimensions"]


def by_kind(table: pd.DataFrame, score: str, values: pd.Series) -> pd.DataFrame:
    """Values of one score, a row a seed; columns *ordinary* and the switch points, rising."""
    part = table[table["score"] == score].assign(value=values)
    part["kind"] = part["switch_logsnr"].astype(object).where(part["sample"] != ORDINARY, ORDINARY)
    kinds = [ORDINARY, *sorted(part["switch_logsnr"].dropna().unique())]
    return part.pivot(index="seed", columns="kind", values="value")[kinds]


def changes(table: pd.DataFrame, score: str, values: pd.Series) -> pd.DataFrame:
    """HD minus ordinary of the same seed and score, a row a seed and a column a switch point."""
    wide = by_kind(table, score, values)
    return wide.drop(columns=ORDINARY).sub(wide[ORDINARY], axis=0)


def overestimate(table: pd.DataFrame) -> pd.Series:
    """A score's own log p minus the true one at the same point, nats a dimension."""
    own = per_dimension(table, "own_log_density_nats")
    return own - per_dimension(table, "log_density_nats")


def integrated_errors(errors: pd.DataFrame, score: str) -> tuple[pd.Series, pd.Series]:
    """Score error of a network on HD trajectories and on noised data, by seed, at the same λ.

    Means over all switch points and levels; noised data count at each level as often as the
    trajectories do.
    """
    part = errors[errors["score"] == score]
    on_path = part[part["switch_logsnr"].notna()]
    on_data = part[part["switch_logsnr"].isna()][["seed", "logsnr", "squared_error"]]
    both = on_path.merge(on_data, on=["seed", "logsnr"], suffixes=("", "_data"))
    means = both.groupby("seed")[["squared_error", "squared_error_data"]].mean()
    return means["squared_error"], means["squared_error_data"]
