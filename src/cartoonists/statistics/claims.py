"""Intervals of what is measured, by bootstrap."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

IN_EACH_TAIL = 10  # resamples beyond each end of an interval, at least


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


@dataclass(frozen=True)
class Bootstrap:
    """Percentile bootstrap (Efron, 1979) over samples, with a seed of its own."""

    confidence: float = 0.95
    resamples: int = 2000
    seed: int = 0

    def simultaneous(self, intervals: int) -> "Bootstrap":
        """For this many intervals that hold together with this confidence (Bonferroni)."""
        tail = (1 - self.confidence) / intervals / 2
        resamples = max(self.resamples, math.ceil(IN_EACH_TAIL / tail))
        return replace(self, confidence=1 - 2 * tail, resamples=resamples)

    def interval(self, statistic: Callable, *columns: Iterable[float]) -> Interval:
        """Interval of ``statistic(*columns, axis=-1)``; the columns are resampled together.

        Raises ValueError for fewer than two samples or values that are not finite.
        """
        from scipy.stats import bootstrap  # half a second, which most jobs do without

        data = [np.asarray(column, dtype=np.float64) for column in columns]
        if min(len(column) for column in data) < 2:
            raise ValueError("bootstrap: fewer than 2 samples found, allowed: 2 or more")
        if not all(np.isfinite(column).all() for column in data):
            raise ValueError("bootstrap: non-finite values found, allowed: finite")
        result = bootstrap(
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
        from scipy.stats import rankdata

        return self.interval(
            lambda a, b, axis: _pearson(rankdata(a, axis=axis), rankdata(b, axis=axis), axis),
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
