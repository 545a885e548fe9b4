"""Estimates with their intervals, and the table of what was measured for the claims.

The units of every estimate are independent samples: seeds, images or repeats, never several rows of
one seed.  The intervals of all rows of one claim hold together (Bonferroni): a claim rests on many
rows, and each has an interval of coverage ``1 - (1 - confidence) / rows``.
"""

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from cartoonists.statistics.claims import Bootstrap, Interval

MEASURED = [
    "id", "model", "condition", "ours", "ci_low", "ci_high", "interval", "n", "n_left_out",
    "left_out_why", "artifact",
]  # fmt: skip
NUMBERS = ["ours", "ci_low", "ci_high"]
NOTHING = Interval.exact(math.nan)
EXACT = "exact"
ROUNDING = 1e-9  # of a squared correlation


@dataclass(frozen=True)
class Estimate:
    """A statistic of ``n`` independent units, and how its interval is made at a level."""

    n: int
    method: str
    made: Callable[[Bootstrap], Interval]

    @property
    def known(self) -> bool:
        """Whether there are units enough for an interval: two, or an exact number."""
        return self.n >= 2 or self.method == EXACT

    def interval(self, level: Bootstrap) -> Interval:
        """The value with its interval; `NOTHING` where it is not ``known``."""
        return self.made(level) if self.known else NOTHING


def exact(value: float, n: int = 1) -> Estimate:
    """A number without sampling error."""
    return Estimate(n, EXACT, lambda level: Interval.exact(float(value)))


def share(hits: Iterable[bool]) -> Estimate:
    """Share of units for which something is true, with Wilson's interval (Wilson, 1927)."""
    values = np.asarray(list(hits), dtype=bool)

    def interval(level: Bootstrap) -> Interval:
        from scipy.stats import binomtest  # half a second, which most jobs do without

        test = binomtest(int(values.sum()), len(values))
        ends = test.proportion_ci(level.confidence, method="wilson")
        return Interval(float(values.mean()), float(ends.low), float(ends.high))

    return Estimate(len(values), "Wilson", interval)


def mean_share(shares: Iterable[float]) -> Estimate:
    """Mean of a share a unit, in 0 … 1, with Wilson's interval of as many units.

    Values in 0 … 1 vary by p (1 - p) at most, as hits and misses do, so that the interval covers
    the mean at least as often as it says; it has a width where all units are alike.
    """
    values = np.asarray(list(shares), dtype=np.float64)

    def interval(level: Bootstrap) -> Interval:
        n, p = len(values), float(values.mean())
        z2 = float(special.ndtri(0.5 + level.confidence / 2)) ** 2
        centre, half = p + z2 / (2 * n), math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n**2)))
        low, high = (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
        return Interval(p, min(max(low, 0.0), p), max(min(high, 1.0), p))

    return Estimate(len(values), "Wilson, for units between 0 and 1", interval)


def share_gap(hits: Iterable[bool], others: Iterable[bool]) -> Estimate:
    """Share of units in ``hits`` minus that in ``others``, units paired (Agresti & Min, 2005).

    With b units in ``hits`` alone and c in ``others`` alone, and half a unit added to each of the
    four cells: ``Δ = (b - c)/(n + 2)``, its variance ``((b + c + 1)/(n + 2) - Δ²)/(n + 2)``.  The
    interval has a width where no unit differs.
    """
    pair = np.stack([np.asarray(list(column), dtype=bool) for column in (hits, others)])
    b, c = (int((pair[i] & ~pair[1 - i]).sum()) for i in (0, 1))
    n = pair.shape[1]

    def interval(level: Bootstrap) -> Interval:
        gap = (b - c) / (n + 2)
        error = math.sqrt(((b + c + 1) / (n + 2) - gap**2) / (n + 2))
        half = float(special.ndtri(0.5 + level.confidence / 2)) * error
        return Interval((b - c) / n, max(gap - half, -1.0), min(gap + half, 1.0))

    return Estimate(n, "Agresti–Min", interval)


def mean(values: Iterable[float]) -> Estimate:
    """Mean of a value a unit, with Student's interval."""
    found = np.asarray(list(values), dtype=np.float64)

    def interval(level: Bootstrap) -> Interval:
        centre, error = float(found.mean()), float(found.std(ddof=1)) / math.sqrt(len(found))
        half = float(special.stdtrit(len(found) - 1, 0.5 + level.confidence / 2)) * error
        return Interval(centre, centre - half, centre + half)

    return Estimate(len(found), "Student's t", interval)


def geometric_mean(ratios: Iterable[float]) -> Estimate:
    """Geometric mean of a positive ratio a unit: Student's interval of its logarithm."""
    logs = mean(np.log(np.asarray(list(ratios), dtype=np.float64)))

    def interval(level: Bootstrap) -> Interval:
        found = logs.interval(level)
        return Interval(math.exp(found.value), math.exp(found.low), math.exp(found.high))

    return Estimate(logs.n, "Student's t of the logarithm", interval)


def normal(value: float, standard_error: float, n: int) -> Estimate:
    """A value with a known standard error."""

    def interval(level: Bootstrap) -> Interval:
        half = float(special.ndtri(0.5 + level.confidence / 2)) * standard_error
        return Interval(value, value - half, value + half)

    return Estimate(n, "normal", interval)


def ratio_of_means(above: Iterable[float], below: Iterable[float]) -> Estimate:
    """Mean of one column by the mean of another, units paired; percentile bootstrap."""
    pair = (np.asarray(list(above), dtype=float), np.asarray(list(below), dtype=float))

    def ratio(a, b, axis):
        return np.mean(a, axis=axis) / np.mean(b, axis=axis)

    return bootstrapped(ratio, *pair)


def bootstrapped(statistic: Callable, *columns: Iterable[float]) -> Estimate:
    """``statistic(*columns, axis=-1)``, units resampled together; percentile bootstrap."""
    data = [np.asarray(column, dtype=np.float64) for column in columns]
    return Estimate(
        len(data[0]), "bootstrap of units", lambda level: level.interval(statistic, *data)
    )


# --- correlations ---------------------------------------------------------------------------------


def correlation(
    x: Iterable[float], y: Iterable[float], units: Iterable[Hashable] | None = None
) -> Estimate:
    """Pearson's correlation over rows; ``units`` says which rows belong to one (else each is one).

    Percentile bootstrap of units: all rows of a unit are drawn together.
    """
    return _of_correlations(lambda r: r[..., 0, 1], [x, y], units)


def correlation_gap(
    x: Iterable[float],
    one: Iterable[float],
    other: Iterable[float],
    units: Iterable[Hashable] | None = None,
) -> Estimate:
    """``|r(x, one)| - |r(x, other)|`` of Pearson's correlations, both of the same resamples."""
    return _of_correlations(
        lambda r: np.abs(r[..., 0, 1]) - np.abs(r[..., 0, 2]), [x, one, other], units
    )


def partial_rank_correlation(
    x: Iterable[float],
    y: Iterable[float],
    given: Iterable[float],
    units: Iterable[Hashable] | None = None,
) -> Estimate:
    """Spearman's correlation of x and y with what a third column explains taken out of both.

    ``(r_xy - r_xz r_yz) / √((1 - r_xz²)(1 - r_yz²))`` of the ranks in the whole table: Pearson's
    correlation of the residuals of both on the third.  NaN where the third leaves nothing of one.
    """

    from scipy.stats import rankdata  # half a second, which most jobs do without

    def partial(r: np.ndarray) -> np.ndarray:
        xy, xz, yz = r[..., 0, 1], r[..., 0, 2], r[..., 1, 2]
        left = (1 - xz**2) * (1 - yz**2)
        left = np.where(np.minimum(1 - xz**2, 1 - yz**2) > ROUNDING, left, math.nan)
        return (xy - xz * yz) / np.sqrt(left)

    return _of_correlations(partial, [rankdata(list(c)) for c in (x, y, given)], units)


def _of_correlations(statistic: Callable, columns: list, units) -> Estimate:
    """A statistic of the matrix of correlations ``[..., k, k]``, units resampled.

    Sums of products within each unit are all that a resample needs: drawing a unit twice counts its
    sums twice.
    """
    data = np.stack([np.asarray(list(column), dtype=np.float64) for column in columns])
    codes = np.arange(data.shape[1]) if units is None else pd.factorize(np.asarray(list(units)))[0]
    n = int(codes.max()) + 1 if len(codes) else 0

    def interval(level: Bootstrap) -> Interval:
        with np.errstate(invalid="ignore", divide="ignore"):
            sums = _sums(data, codes, n)
            value = float(statistic(_matrix(sums.sum(axis=0))))
            if math.isnan(value):
                return NOTHING
            draws = np.random.default_rng(level.seed).multinomial(
                n, np.full(n, 1 / n), level.resamples
            )
            resampled = statistic(_matrix(np.tensordot(draws, sums, axes=1)))
        known = resampled[np.isfinite(resampled)]
        if len(known) < level.resamples / 2:  # most resamples of so few units have no spread
            return NOTHING
        tail = (1 - level.confidence) / 2
        low, high = np.quantile(known, [tail, 1 - tail])
        return Interval(value, float(low), float(high))

    return Estimate(n, "bootstrap of units", interval)


def _sums(data: np.ndarray, codes: np.ndarray, n: int) -> np.ndarray:
    """Sums over each unit of the products of the columns and a column of ones ``[n, k+1, k+1]``."""
    spread = data.std(axis=1, keepdims=True)
    centred = (data - data.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    rows = np.concatenate([centred, np.ones((1, data.shape[1]))]).T
    sums = np.zeros((n, rows.shape[1], rows.shape[1]))
    np.add.at(sums, codes, rows[:, :, None] * rows[:, None, :])
    return sums


def _matrix(sums: np.ndarray) -> np.ndarray:
    """Correlations ``[..., k, k]`` from sums of products ``[..., k+1, k+1]``."""
    count = sums[..., -1:, -1:]
    means = sums[..., :-1, -1:] / count
    covariance = sums[..., :-1, :-1] / count - means * np.swapaxes(means, -1, -2)
    scale = np.sqrt(np.maximum(np.diagonal(covariance, axis1=-2, axis2=-1), 0))
    return covariance / (scale[..., :, None] * scale[..., None, :])


# --- the table ------------------------------------------------------------------------------------


class Measurements:
    """Collects what a script measures: one row a claim, model and condition."""

    def __init__(self, confidence: float, resamples: int, seed: int):
        self.bootstrap = Bootstrap(confidence, resamples, seed)
        self.rows: list[tuple[dict[str, Any], Estimate]] = []

    def add(
        self,
        claim: str,
        estimate: Estimate,
        artifact: str,
        *,
        model: str = "",
        condition: str = "",
        left_out: int = 0,
        why: str = "",
    ) -> None:
        """One row: ``claim`` is an id of the register, ``left_out`` the units that do not count."""
        row: dict[str, Any] = {
            "id": claim,
            "model": model,
            "condition": condition,
            "artifact": str(artifact),
        }
        row |= {"n": estimate.n, "n_left_out": int(left_out), "left_out_why": why * (left_out > 0)}
        self.rows.append((row, estimate))

    def table(self) -> pd.DataFrame:
        """Columns `MEASURED`, numbers with six digits; no numbers where there are no two units."""
        ids = [row["id"] for row, _ in self.rows]
        rows = [row | self._interval(e, ids.count(row["id"])) for row, e in self.rows]
        return pd.DataFrame(rows, columns=MEASURED)

    def _interval(self, estimate: Estimate, together: int) -> dict[str, Any]:
        level = self.bootstrap.simultaneous(together)
        of = f", {100 * self.bootstrap.confidence:g}%"
        of += f" for {together} rows together" if together > 1 else ""
        if estimate.method == EXACT:
            of = ""
        found = estimate.interval(level)
        values = {"ours": found.value, "ci_low": found.low, "ci_high": found.high}
        rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
        return rounded | {"interval": estimate.method + of if estimate.known else ""}


def read_rows(path: str | Path, columns: list[str]) -> pd.DataFrame:
    """Rows of a file of these columns: numbers may be missing, and empty text stays text.

    Raises ValueError for other columns.
    """
    table = pd.read_csv(path, keep_default_na=False)
    if list(table.columns) != columns:
        raise ValueError(f"{path}: columns {list(table.columns)} found, allowed: {columns}")
    return table.assign(**{name: pd.to_numeric(table[name]) for name in NUMBERS})
