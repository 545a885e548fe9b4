"""Samples whose score becomes non-finite: stopped alone and counted, the others go on as ever."""

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import pandas as pd

from cartoonists.paths.scores import NonFiniteScore

Result = TypeVar("Result")
CONDITIONS = ("tracker", "sample", "switch_logsnr", "dimensions", "nfe")  # known before measuring


def without_stopped(
    measure: Callable[[list[int]], Result], seeds: Sequence[int]
) -> tuple[Result, list[int]]:
    """``measure`` of the seeds whose scores all are finite, and the seeds that were stopped.

    As a sample depends on its seed alone, the others are measured again without those that failed,
    each time that some do.  What failed is said on stderr, the log of a job, with its λ.
    Raises NonFiniteScore where no sample is left.
    """
    left = list(seeds)
    stopped: list[int] = []
    while True:
        try:
            return measure(left), sorted(stopped)
        except NonFiniteScore as error:
            failed = set(left) & set(error.seeds)
            if failed in (set(), set(left)):
                raise
            names = ", ".join(map(str, sorted(failed)))
            print(f"stopped: seed {names} ({error})", file=sys.stderr)
            left = [seed for seed in left if seed not in failed]
            stopped += failed


def with_stopped(table: pd.DataFrame, stopped: Sequence[int], key: str = "seed") -> pd.DataFrame:
    """The table with the rows that the stopped seeds would have had, all that is measured NaN.

    Column ``key`` holds the seeds.  `cartoonists.statistics.trust` counts such rows as not finite.
    """
    known = [name for name in CONDITIONS if name in table]
    rows = table.loc[table[key] == table[key].iloc[0], known] if stopped else table[:0]
    return pd.concat([table, *(rows.assign(**{key: seed}) for seed in stopped)], ignore_index=True)
