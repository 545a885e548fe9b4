"""Handle samples whose score becomes non-finite: leave them out, count them, measure the others."""

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
    """Call ``measure`` on the seeds whose scores stay finite; also returns the other seeds.

    As a sample depends on its seed alone, the others are measured again without those that failed,
    until none fails.  Each failure is written to stderr with its seed and λ.
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
    """Add rows for the stopped seeds, with NaN in every measured column.

    Column ``key`` holds the seeds.  `cartoonists.statistics.trust` counts such rows as not finite.
    """
    known = [name for name in CONDITIONS if name in table]
    rows = table.loc[table[key] == table[key].iloc[0], known] if stopped else table[:0]
    return pd.concat([table, *(rows.assign(**{key: seed}) for seed in stopped)], ignore_index=True)
