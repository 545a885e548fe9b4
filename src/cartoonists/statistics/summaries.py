"""What tables of runs say of each sample or pair: differences and brackets, without a network.

Nothing here needs PyTorch, so that the scripts and notebooks that only read tables start quickly.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from cartoonists.statistics.claims import Bootstrap
from cartoonists.statistics.trust import LEAST, trusted, trusted_whole

HALVES = ("tracked - log p", "log p - ELBO")  # of a second score (`second_score`)
NO_STEP = "no step"
NETWORK = "network"  # the name of the model that is no control


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """HD minus ordinary of the same seed, a row a seed and a column a switch point, in nats.

    NaN where one of the two cannot be trusted (`statistics.trust`), unless hardly any can.
    """
    kept = table[trusted(table)]
    complete = kept["seed"].value_counts().eq(table["switch_logsnr"].nunique() + 1)
    table = kept if complete.sum() >= LEAST else table
    return _over_ordinary(table, "log_density_nats", "log_density_nats")


def compared_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Every pair of an HD sample and the ordinary sample of its seed, a row a seed and switch.

    Columns ``seed``, ``switch_logsnr``, ``high_density_nats``, ``ordinary_nats``, the same with
    ``_bits`` a dimension, ``error_nats`` of the difference, and whether both can be ``trusted``.
    """
    kept = table.assign(trusted=trusted(table))
    columns = ["seed", "log_density_nats", "bits_per_dim", "error_nats", "trusted"]
    ordinary = kept.loc[kept["sample"] == "ordinary", columns]
    branch = kept.loc[kept["sample"] == "high-density", ["switch_logsnr", *columns]]
    pairs = branch.merge(ordinary, on="seed", suffixes=("", "_ordinary"))
    names = {"log_density_nats": "high_density_nats", "bits_per_dim": "high_density_bits"}
    names |= {"log_density_nats_ordinary": "ordinary_nats"}
    names |= {"bits_per_dim_ordinary": "ordinary_bits"}
    errors = np.hypot(pairs["error_nats"], pairs["error_nats_ordinary"])
    both = pairs["trusted"] & pairs["trusted_ordinary"]
    pairs = pairs.rename(columns=names).assign(error_nats=errors, trusted=both)
    return pairs[["seed", "switch_logsnr", *names.values(), "error_nats", "trusted"]]


def offsets_by_steps(table: pd.DataFrame) -> pd.DataFrame:
    """Tracked - PF-ODE log-density a dimension: a row a seed, a column a number of steps.

    The last column, `NO_STEP`, is extrapolated from the two largest numbers, for the tracked value
    is of first order in the step: ``(r fine - coarse)/(r - 1)`` with r the ratio of the numbers
    (Richardson, 1911).  Seeds whose values cannot all be trusted are left out.
    Raises ValueError for fewer than two numbers of steps.
    """
    ode = "ode_log_density_nats"
    gap = (table["tracked_log_density_nats"] - table[ode]) / table["dimensions"]
    gap = gap.where(trusted_whole(table, ["seed"], ode))
    values = table.assign(gap=gap).pivot(index="seed", columns="steps", values="gap")
    if values.shape[1] < 2:
        raise ValueError(f"steps: {list(values)} found, allowed: two or more numbers")
    few, many = values.columns[-2:]
    ratio = many / few
    values[NO_STEP] = (ratio * values[many] - values[few]) / (ratio - 1)
    return values.dropna()


def half_way_gap(levels: Sequence[float], forgotten: float | None = None) -> Callable:
    """A statistic of shares at these λ: where the measured one is half way, minus the predicted.

    Of ``2 len(levels)`` columns, measured and then predicted, a value a sample.  Half way is
    between 1 and the share where the sample is ``forgotten``, by default the predicted one at the
    smallest λ; between two λ the shares are interpolated, and beyond the ends the ends are taken.
    """

    def gap(*columns: np.ndarray, axis: int) -> np.ndarray:
        shares = np.stack([np.mean(column, axis=axis) for column in columns], axis=-1)
        rows = shares.reshape(-1, 2, len(levels))
        found = [
            _rises_to(measured, levels, middle) - _rises_to(predicted, levels, middle)
            for measured, predicted in rows
            for middle in [0.5 * (1 + (predicted[0] if forgotten is None else forgotten))]
        ]
        return np.array(found).reshape(shares.shape[:-1])

    return gap


def place_in_window(
    levels: Sequence[float], forgotten: float, lower: float, upper: float
) -> Callable:
    """A statistic of shares at these λ: where they are half way, as a part of a window of λ.

    Of ``len(levels)`` columns, a value a sample; 0 at ``lower``, 1 at ``upper``; half way as in
    `half_way_gap`.
    """

    def place(*columns: np.ndarray, axis: int) -> np.ndarray:
        shares = np.stack([np.mean(column, axis=axis) for column in columns], axis=-1)
        middle = 0.5 * (1 + forgotten)
        rows = shares.reshape(-1, len(levels))
        found = np.array([_rises_to(row, levels, middle) for row in rows])
        return ((found - lower) / (upper - lower)).reshape(shares.shape[:-1])

    return place


def _rises_to(shares: np.ndarray, levels: Sequence[float], value: float) -> float:
    return float(np.interp(value, np.maximum.accumulate(shares), levels))


def distance_from_even(own: np.ndarray, sibling: np.ndarray, axis: int) -> np.ndarray:
    """Total variation of (own, sibling, elsewhere) from (½, ½, 0); a statistic of indicators."""
    shares = [np.mean(column, axis=axis) for column in (own, sibling)]
    return sum(np.maximum(0.5 - share, 0) for share in shares)


def turning_point(levels: Sequence[float]) -> Callable:
    """A statistic of a measure at these rising λ: where its mean first reaches that of a reference.

    Of ``len(levels) + 1`` columns, a value a sample, the reference last.  Between two λ the ratio
    of means is interpolated; where the first already reaches 1 it is the first λ, and where none
    does the last.
    """

    def turn(*columns: np.ndarray, axis: int) -> np.ndarray:
        means = np.stack([np.mean(column, axis=axis) for column in columns], axis=-1)
        ratios = np.maximum.accumulate(means[..., :-1] / means[..., -1:], axis=-1)
        rows = ratios.reshape(-1, len(levels))
        found = np.array([_first_at_one(row, levels) for row in rows])
        return found.reshape(means.shape[:-1])

    return turn


def _first_at_one(rising: np.ndarray, levels: Sequence[float]) -> float:
    i = int(np.searchsorted(rising, 1.0))
    if i in (0, len(levels)):
        return float(levels[min(i, len(levels) - 1)])
    part = (1 - rising[i - 1]) / (rising[i] - rising[i - 1])
    return float(levels[i - 1] + part * (levels[i] - levels[i - 1]))


def bound_gains(table: pd.DataFrame, of_ordinary: str = "tracked") -> pd.DataFrame:
    """IWAE of HD minus *tracked*, or *iwae*, of the ordinary sample, columns as those of `gains`.

    Of the pairs that have bounds.  Against *tracked* its mean is at most the mean gain in log p^N;
    against *iwae* it compares two lower bounds, and proves nothing.
    """
    bounded = table[table["iwae_log_density_nats"].notna()]
    return _over_ordinary(bounded, "iwae_log_density_nats", f"{of_ordinary}_log_density_nats")


def _over_ordinary(table: pd.DataFrame, of_branch: str, of_ordinary: str) -> pd.DataFrame:
    """A column of the HD samples minus one of the ordinary sample of the same seed."""
    ordinary = table[table["sample"] == "ordinary"].set_index("seed")[of_ordinary]
    branch = table[table["sample"] == "high-density"]
    values = branch.pivot(index="seed", columns="switch_logsnr", values=of_branch)
    return values.sub(ordinary, axis=0)


def bits_by_estimator(table: pd.DataFrame) -> pd.DataFrame:
    """bits/dim of images: columns ``elbo``, ``iwae`` and ``ode``, a row an image.

    The bounds hold at any step; the PF-ODE's value is NaN where it cannot be trusted
    (`cartoonists.statistics.trust`): paths of saturated patches can run away.
    """
    bits = pd.DataFrame({name: table[f"{name}_bits_per_dim"] for name in ("elbo", "iwae", "ode")})
    return bits.assign(ode=bits["ode"].where(trusted(table, "ode_log_density_nats")))


def rises(table: pd.DataFrame) -> pd.DataFrame:
    """Change of log p from step to step, a row an image and a column a step (1, 2, …), in nats.

    ``table`` holds one operation at one λ without repeats; rows are keyed by its ``source`` (where
    it has one) and ``seed``.
    """
    values = table.pivot(index=_image_key(table), columns="step", values="log_density_nats")
    return values.diff(axis=1).iloc[:, 1:]


def estimator_spread(table: pd.DataFrame) -> tuple[float, float]:
    """Standard deviation over probes, in nats, of one log-density and of the first step's change.

    From the two estimates of each image at logsnr_max: half the variance of their difference.
    """
    first = table["operation"].iloc[0]
    rows = table[(table["operation"] == first) & (table["logsnr"] == table["logsnr"].max())]
    values = rows[rows["step"] <= 1].pivot(
        index=_image_key(table), columns=["repeat", "step"], values="log_density_nats"
    )
    value = values[1][0] - values[0][0]
    change = (values[1][1] - values[1][0]) - (values[0][1] - values[0][0])
    return _spread(value), _spread(change)


def _image_key(table: pd.DataFrame) -> list[str]:
    return [name for name in ("source", "seed") if name in table]


def _spread(gap: pd.Series) -> float:
    return float(np.sqrt((gap**2).mean() / 2))


def with_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Add the widths of the sandwich to a table with tracked, IWAE and ELBO columns."""
    return table.assign(
        width_nats=table["tracked_nats"] - table["iwae_nats"],
        excess_nats=table["tracked_nats"] - table["elbo_nats"],
    )


def brackets(paths: pd.DataFrame, excess: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """Means over held-out paths with intervals, ``truth`` where known; a row a model and half.

    ``below`` is the likelihood gain, ``formula`` the integral.  Of the network also the sum of both
    halves, with r - ELBO of the same paths in ``measured``, and ``above`` of its upper half: r -
    ELBO less the gain of the lower half, a bound on E X from above up to the error of the steps.
    The network's halves stand first, in ``paths`` too.
    """
    rows = []
    for (model, half), part in paths.groupby(["model", "half"], sort=False):
        rows.append({"model": model, "half": half, **_means(part, bootstrap)})
        rows[-1]["truth"] = part["truth_nats"].iloc[0]
    of_network = paths[paths["model"] == NETWORK]
    both = of_network.groupby("seed")[["integral_nats", "gain_nats"]].sum()
    measured = excess[excess["steps"] == excess["steps"].min()].set_index("seed")["excess_nats"]
    lower = of_network[of_network["half"] == HALVES[1]].set_index("seed")["gain_nats"]
    rows[0]["above"] = bootstrap.mean(measured - lower)
    total = {"model": NETWORK, "half": "tracked - ELBO", **_means(both, bootstrap)}
    rows.insert(len(HALVES), total | {"measured": bootstrap.mean(measured)})
    return pd.DataFrame(rows)


def _means(table: pd.DataFrame, bootstrap: Bootstrap) -> dict:
    return {
        "below": bootstrap.mean(table["gain_nats"]),
        "formula": bootstrap.mean(table["integral_nats"]),
    }
