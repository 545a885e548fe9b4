"""Cost against steps, samples and D; memory against samples; two processes against one.

    python benchmarks/scaling.py [--only slopes|chunks|processes] [--repeats 5]

Writes scaling.csv and scaling_slopes.csv (processor time of the tracked reverse SDE; fitted
exponents, of which 1 is expected of each), chunks.csv (processor time a sample and peak resident
memory of a process that works through its samples in chunks) and processes.csv (time on the clock:
two processes, a core each, against one with all of the work; on a machine that is otherwise idle),
and a figure of the first.
"""

import argparse
import os
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pandas as pd
import torch
from interleaved import RESULTS, high_water, interleaved, machine, ratio_columns, write

from cartoonists import (
    VP,
    Gaussian,
    NetworkScore,
    load_model,
    ode_log_density,
    track_reverse_sde,
)
from cartoonists.experiments.theory import testbed
from cartoonists.experiments.tiny import TinyNetwork
from cartoonists.paths.scores import ScoreModel
from cartoonists.report import plots
from cartoonists.statistics.claims import Bootstrap

MODEL = "fashion-mnist/likelihood"
SIZES = {
    "steps": (4, 8, 16, 32),
    "samples": (16, 32, 64, 128),
    "dimensions": (3072, 12288, 49152, 196608),
}
CHUNK = 64
CLOSED_FORM, TINY = "mixture, 64 dimensions", "perceptron, 64 dimensions"
CHUNKED = {
    CLOSED_FORM: (64, 1024, 16384, 65536),
    TINY: (64, 1024, 16384, 65536),
    MODEL: (64, 256, 1024),
}
EXPECTED = 1.0


def run_of(quantity: str, size: int):
    """A tracked run whose cost should grow as the size of this quantity."""
    if quantity == "dimensions":
        target = Gaussian(torch.zeros(size), 0.3, VP())
        return partial(track_reverse_sde, target, n=8, steps=8, method="euler-maruyama")
    n, steps = (16, size) if quantity == "steps" else (size, 4)
    model = load_model(MODEL, device="cpu")
    return partial(track_reverse_sde, model, n=n, steps=steps, method="euler-maruyama")


def slopes(repeats: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Seconds by size, and the exponent of each quantity with its interval over rounds."""
    rows, fits = [], []
    for quantity, sizes in SIZES.items():
        seconds = interleaved({str(size): run_of(quantity, size) for size in sizes}, repeats)
        for size in sizes:
            cost = seconds[str(size)].median()
            rows.append({"quantity": quantity, "size": size, "seconds": cost})
        exponents = [np.polyfit(np.log(sizes), np.log(row), 1)[0] for row in seconds.to_numpy()]
        found = Bootstrap().median(exponents)
        fits.append({"quantity": quantity, "expected": EXPECTED, "exponent": found.value,
                     "ci_low": found.low, "ci_high": found.high} | machine())  # fmt: skip
    return pd.DataFrame(rows), pd.DataFrame(fits)


def scored(name: str) -> ScoreModel:
    """A model of CHUNKED."""
    if name == CLOSED_FORM:
        return testbed("mixture", 64, VP())
    if name == TINY:
        torch.manual_seed(0)
        return NetworkScore(TinyNetwork(64, 192).requires_grad_(False), (64,), VP())
    return load_model(name, device="cpu")


def work(name: str, first: int, last: int) -> float:
    """What a job of the workflow does, for the seeds of this range in chunks of CHUNK.

    Returns the processor seconds after a first chunk that warms up.
    """
    torch.set_num_threads(1)
    model = scored(name)
    kept = []

    def chunk(start: int) -> None:
        seeds = range(start, min(start + CHUNK, last))
        run = track_reverse_sde(model, seeds=seeds, n=len(seeds), steps=4, method="euler-maruyama")
        flow = ode_log_density(
            model, run.x, steps=2, solver="adams", divergence="hutchinson", seeds=seeds
        )
        kept.append(torch.stack([run.log_density, flow.log_density]))

    chunk(first)
    start = time.process_time()
    for seed in range(first, last, CHUNK):
        chunk(seed)
    return time.process_time() - start


def child(name: str, first: int, last: int, core: int | None = None) -> subprocess.Popen:
    """The same in a process of its own, bound to a core; it prints its memory (MiB) and seconds."""
    where = "" if core is None else str(core)
    command = [sys.executable, __file__, "--child", name, str(first), str(last), where]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def chunks(repeats: int) -> pd.DataFrame:
    """Cost a sample and peak memory by number of samples, in interleaved rounds."""
    rows = []
    for name, sizes in CHUNKED.items():
        found: dict[int, list[tuple[float, float]]] = {n: [] for n in sizes}
        for _ in range(repeats):
            for n in sizes:
                peak, seconds = child(name, 0, n).communicate()[0].split()
                found[n].append((float(peak), float(seconds) / n))
        of_first = pd.Series([cost for _, cost in found[sizes[0]]])
        for n in sizes:
            cost = pd.Series([each for _, each in found[n]])
            rows.append({
                "model": name, "samples": n, "chunk": CHUNK,
                "peak_MiB": max(peak for peak, _ in found[n]), "ms_a_sample": 1e3 * cost.median(),
                **ratio_columns(cost, of_first),
            })  # fmt: skip
    return pd.DataFrame(rows)


def processes(repeats: int, samples: int) -> pd.DataFrame:
    """Seconds on the clock, from the start of the processes to the end of the last."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit("processes: 1 core found, 2 are needed")

    def one() -> None:
        child(MODEL, 0, 2 * samples, cores[0]).communicate()

    def two() -> None:
        halves = enumerate(cores)
        running = [child(MODEL, i * samples, (i + 1) * samples, core) for i, core in halves]
        for process in running:
            process.communicate()

    seconds = interleaved({"one": one, "two": two}, repeats, clock=time.perf_counter)
    found = Bootstrap().median(seconds["one"] / seconds["two"])
    load = os.getloadavg()[2] / (os.cpu_count() or 1)
    row = {"samples": 2 * samples, "one_s": seconds["one"].median(),
           "two_s": seconds["two"].median(), "speed_up": found.value, "ci_low": found.low,
           "ci_high": found.high, "load_a_core": load}  # fmt: skip
    return pd.DataFrame([row])


def draw(table: pd.DataFrame, fits: pd.DataFrame) -> None:
    plots.use_style()
    figure, axes = plots.panels(SIZES, sharey=True)
    for axis, (quantity, of) in zip(axes[0], table.groupby("quantity", sort=False), strict=True):
        fit = fits.set_index("quantity").loc[quantity]
        axis.loglog(of["size"], of["seconds"], marker="o", label="measured")
        ideal = of["seconds"].iloc[-1] * of["size"] / of["size"].iloc[-1]
        axis.loglog(of["size"], ideal, color="0.3", ls="--", label="expected exponent 1")
        axis.set_xscale("log", base=2)
        axis.set_xlabel(f"{quantity} (exponent {fit['exponent']:.2f})")
    axes[0, 0].set_ylabel("processor seconds")
    plots.legend_above(figure, axes[0, 0], 2)
    plots.save(figure, [RESULTS / f"scaling.{kind}" for kind in ("png", "svg")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("slopes", "chunks", "processes"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--samples", type=int, default=512, help="of each of two processes")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.child:
        name, first, last, core = given.child
        if core:
            os.sched_setaffinity(0, {int(core)})
        seconds = work(name, int(first), int(last))
        print(high_water(), seconds)
        return
    if given.only in (None, "slopes"):
        table, fits = slopes(given.repeats)
        print(write("scaling", table), write("scaling_slopes", fits))
        draw(table, fits)
    if given.only in (None, "chunks"):
        print(write("chunks", chunks(given.repeats)))
    if given.only in (None, "processes"):
        print(write("processes", processes(given.repeats, given.samples)))


if __name__ == "__main__":
    main()
