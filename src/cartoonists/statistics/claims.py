"""Rows of the claims table: what the paper says, what was measured, the interval, the verdict."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler
from scipy import stats

HOLDS = "holds"
FAILS = "does not hold"
NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Interval:
    """An estimate with the two ends of its confidence interval."""

    value: float
    low: float
    high: float

    @staticmethod
    def exact(value: float) -> "Interval":
        """A number without sampling error."""
        return Interval(value, value, value)

    def above(self, bound: float) -> bool:
        """Whether the whole interval lies above the bound."""
        return self.low > bound

    def below(self, bound: float) -> bool:
        """Whether the whole interval lies below the bound."""
        return self.high < bound

    def within(self, low: float, high: float) -> bool:
        """Whether the whole interval lies between the bounds."""
        return low <= self.low and self.high <= high


@dataclass(frozen=True)
class Bootstrap:
    """Percentile bootstrap (Efron, 1979) over samples, with a seed of its own."""

    confidence: float = 0.95
    resamples: int = 2000
    seed: int = 0

    def interval(self, statistic: Callable, *columns: Iterable[float]) -> Interval:
        """Interval of ``statistic(*columns, axis=-1)``; the columns are resampled together.

        Raises ValueError for fewer than two samples or values that are not finite.
        """
        data = [np.asarray(column, dtype=np.float64) for column in columns]
        if min(len(column) for column in data) < 2:
            raise ValueError("bootstrap: fewer than 2 samples found, allowed: 2 or more")
        if not all(np.isfinite(column).all() for column in data):
            raise ValueError("bootstrap: non-finite values found, allowed: finite")
        result = stats.bootstrap(
            data,
            statistic,
            paired=len(data) > 1,
            vectorized=True,
            n_resamples=self.resamples,
            confidence_level=self.confidence,
            method="percentile",
            rng=np.random.default_rng(self.seed),
        ).confidence_interval
        value = float(statistic(*data, axis=-1))
        return Interval(value, float(result.low), float(result.high))

    def mean(self, values: Iterable[float]) -> Interval:
        return self.interval(np.mean, values)

    def median(self, values: Iterable[float]) -> Interval:
        return self.interval(np.median, values)

    def pearson(self, x: Iterable[float], y: Iterable[float]) -> Interval:
        """Pearson's correlation, resampling pairs."""
        return self.interval(_pearson, x, y)

    def spearman(self, x: Iterable[float], y: Iterable[float]) -> Interval:
        """Spearman's rank correlation, resampling pairs (ranked anew in each resample)."""
        return self.interval(
            lambda a, b, axis: _pearson(
                stats.rankdata(a, axis=axis), stats.rankdata(b, axis=axis), axis
            ),
            x,
            y,
        )


def _pearson(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    x = x - x.mean(axis=axis, keepdims=True)
    y = y - y.mean(axis=axis, keepdims=True)
    norm = np.sqrt((x**2).sum(axis=axis) * (y**2).sum(axis=axis))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norm > 0, (x * y).sum(axis=axis) / norm, 0.0)


def order_of_convergence(errors: pd.DataFrame, bootstrap: Bootstrap) -> Interval:
    """Slope of -log |mean error| against log steps, least squares; columns are numbers of steps.

    Rows are samples and are resampled together.  The order p of an error proportional to steps^-p.
    """
    steps = np.log(np.asarray(errors.columns, dtype=np.float64))
    centred = (steps - steps.mean()) / ((steps - steps.mean()) ** 2).sum()

    def slope(*columns, axis):
        means = np.stack([np.abs(np.mean(column, axis=axis)) for column in columns], axis=-1)
        return -(np.log(np.maximum(means, 1e-300)) * centred).sum(axis=-1)

    return bootstrap.interval(slope, *(errors[n] for n in errors.columns))


@dataclass(frozen=True)
class Claim:
    """One row of ``results/claims.csv``."""

    claim: str
    source: str
    paper: str
    ours: float
    ci_low: float
    ci_high: float
    unit: str
    verdict: str
    artifact: str


COLUMNS = [field.name for field in fields(Claim)]


def row(
    claim: str, source: str, paper: str, ours: Interval, unit: str, holds: bool | str, artifact: str
) -> Claim:
    """A claim with its verdict: True, False, or the reason why it cannot be compared."""
    measured = HOLDS if holds else FAILS
    verdict = f"{NOT_COMPARABLE}: {holds}" if isinstance(holds, str) else measured
    return Claim(claim, source, paper, ours.value, ours.low, ours.high, unit, verdict, artifact)


def not_run(claim: str, source: str, artifact: str) -> Claim:
    """The row of a claim that this run says nothing of: no numbers."""
    nothing = Interval.exact(float("nan"))
    return row(claim, source, "made for this model", nothing, "", "not run", artifact)


def to_table(rows: Iterable[Claim]) -> pd.DataFrame:
    """Claims as a table, numbers rounded to six significant digits."""
    table = pd.DataFrame([asdict(claim) for claim in rows], columns=COLUMNS)
    for column in ("ours", "ci_low", "ci_high"):
        table[column] = [float(f"{value:.6g}") for value in table[column]]
    return table


def assemble(fragments: Iterable[str | Path], more: Iterable[Claim] = ()) -> pd.DataFrame:
    """One table from the fragments of all topics and more rows, ordered by claim number.

    Raises ValueError where a fragment has other columns.
    """
    tables = []
    for fragment in fragments:
        table = pd.read_csv(fragment, keep_default_na=False)
        if list(table.columns) != COLUMNS:
            raise ValueError(f"{fragment}: columns {list(table.columns)}, allowed {COLUMNS}")
        tables.append(table)
    together = pd.concat([*tables, to_table(more)], ignore_index=True)
    number = together["claim"].str.extract(r"^(\d+)", expand=False).astype(int)
    return together.iloc[np.argsort(number, kind="stable")].reset_index(drop=True)


def answer(fragment: str | Path) -> Styler:
    """The claims of one topic as a table to show: ours with its interval, and the verdict."""
    table = pd.read_csv(fragment, keep_default_na=False)
    ours = [
        f"{value:.3g} [{low:.3g}, {high:.3g}]"
        for value, low, high in zip(table["ours"], table["ci_low"], table["ci_high"], strict=True)
    ]
    columns = ["claim", "paper", "ours", "unit", "verdict"]
    return (
        table.assign(ours=ours)[columns]
        .style.hide(axis="index")
        .set_properties(**{"text-align": "left"})
    )


def summary(claims: pd.DataFrame) -> pd.DataFrame:
    """Numbers of rows by statement and verdict, in the order of the claims table.

    A statement is what stands before the first colon or parenthesis of a claim.
    """
    statement = claims["claim"].str.split(r": | \(", regex=True).str[0].rename("claim")
    verdict = claims["verdict"].str.split(":").str[0]
    counts = pd.crosstab(statement, verdict)
    counts = counts.reindex(columns=[HOLDS, FAILS, NOT_COMPARABLE], fill_value=0)
    return counts.loc[statement.unique()].rename_axis(columns=None).reset_index()
