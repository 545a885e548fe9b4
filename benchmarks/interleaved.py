"""Times of actions, interleaved, by the processor time of this process.

Rounds hold each action once, in an order drawn from a visible seed, so that whatever slows the
machine for a while slows all of them; what is reported are ratios within rounds.
"""

import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cartoonists.statistics.claims import Bootstrap, Interval

RESULTS = Path(__file__).resolve().parent / "results"


def interleaved(
    actions: Mapping[str, Callable[[], object]],
    repeats: int,
    seed: int = 0,
    clock: Callable[[], float] = time.process_time,
    warm_up: int = 1,
) -> pd.DataFrame:
    """Seconds of each action (columns) in each round (rows), after ``warm_up`` uncounted rounds.

    ``clock`` counts processor time by default; with several threads take ``time.perf_counter``.
    """
    order = np.random.default_rng(seed)
    rows = []
    for _ in range(warm_up + repeats):
        seconds = {}
        for name in order.permutation(list(actions)):
            start = clock()
            actions[name]()
            seconds[name] = clock() - start
        rows.append(seconds)
    return pd.DataFrame(rows[warm_up:], columns=list(actions))


def ratio(over: pd.Series, under: pd.Series, seed: int = 0) -> Interval:
    """Median over rounds of the ratio within a round, with its 95% bootstrap interval."""
    return Bootstrap(seed=seed).median(over / under)


def ratio_columns(over: pd.Series, under: pd.Series, name: str = "ratio") -> dict[str, float]:
    """The same as columns of a table: ``name``, ``name_ci_low``, ``name_ci_high``."""
    found = ratio(over, under)
    return {name: found.value, f"{name}_ci_low": found.low, f"{name}_ci_high": found.high}


def machine() -> dict[str, str | int]:
    """What the times hang on, as columns of a table."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [s for s in info.read_text().splitlines() if s.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return {
        "processor": model,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def write(name: str, table: pd.DataFrame) -> Path:
    """A table of results, four significant digits, under benchmarks/results."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.csv"
    table.to_csv(path, index=False, float_format="%.4g")
    return path


def high_water() -> float:
    """MiB at most of this process alone."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
