"""Which log-densities can be trusted: the estimated error relative to the differences reported."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

TOLERANCE = 0.1  # nats/dim of estimated error beyond which a value is left out of statistics
UNTRUSTED = f"estimated error above {TOLERANCE:g} nats/dim, or not finite"
LEAST = 3  # values that statistics need
VISIBLE = 0.5  # of the spread: a larger error can be seen in a figure of the values


def _error(density: str) -> str:
    return density.replace("log_density_nats", "error_nats")


def trusted(table: pd.DataFrame, density: str = "log_density_nats") -> pd.Series:
    """Rows whose log-density is finite with an error of at most TOLERANCE nats/dim.

    ``density`` names the column; its error stands in ``…error_nats``.
    """
    error = table[_error(density)] / table["dimensions"]
    values = table[density].astype(float)  # columns of an empty file have no type
    return np.isfinite(values) & (error <= TOLERANCE)


def keep(table: pd.DataFrame, density: str = "log_density_nats") -> pd.DataFrame:
    """The rows that can be trusted; where they are fewer than LEAST, all finite ones.

    For figures; the claims leave out all that cannot be trusted, however few are left.
    """
    kept = table[trusted(table, density)]
    return kept if len(kept) >= LEAST else table[np.isfinite(table[density])]


def keep_each(table: pd.DataFrame, by: str, density: str = "log_density_nats") -> pd.DataFrame:
    """`keep` of every group by the column ``by``, in the order of the table."""
    return pd.concat([keep(part, density) for _, part in table.groupby(by)]).sort_index()


def trusted_whole(
    table: pd.DataFrame, key: list[str], density: str = "log_density_nats"
) -> pd.Series:
    """Rows of those ``key`` all of whose rows can be trusted (`trusted`)."""
    return trusted(table, density).groupby([table[name] for name in key]).transform("all")


def keep_whole(
    table: pd.DataFrame, key: list[str], density: str = "log_density_nats"
) -> pd.DataFrame:
    """The rows of `trusted_whole`; all rows, where fewer than LEAST keys are left."""
    kept = table[trusted_whole(table, key, density)]
    return kept if len(kept.drop_duplicates(key)) >= LEAST else table


def report(tables: Mapping[str, pd.DataFrame], density: str = "log_density_nats") -> pd.DataFrame:
    """One row a model: values, those not finite, those beyond TOLERANCE, median error, spread.

    ``warning`` says where the median error is more than VISIBLE of the standard deviation of the
    values, so that a figure of them shows numerical error.
    """
    rows = []
    for model, table in tables.items():
        kept = trusted(table, density)
        finite = np.isfinite(table[density])
        error = (table.loc[finite, _error(density)] / table["dimensions"]).median()
        spread = (table.loc[kept, density] / table["dimensions"]).std()
        rows.append(
            {
                "model": model,
                "values": len(table),
                "not finite": int((~finite).sum()),
                f"error above {TOLERANCE:g} nats/dim": int((finite & ~kept).sum()),
                "median error [nats/dim]": error,
                "standard deviation [nats/dim]": spread,
                "warning": "" if error <= VISIBLE * spread else "error as large as the spread",
            }
        )
    return pd.DataFrame(rows)
