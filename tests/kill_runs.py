"""Kill runs of the ci configuration with SIGKILL at random times; the tables must be the same.

    python tests/kill_runs.py RUNS [TARGET ...]     by default everything but notebooks and report

Every run starts from nothing in a copy of the clone, is killed once with its whole process group,
and goes on with ``--rerun-incomplete``.  Prints one line a run and the count; exit status 1 where a
table differs from that of an undisturbed run.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from workflow_clone import Clone

TIMED = ("mode_cost.csv", "tracking_cost.csv")  # their numbers are times
TIMED_CLAIMS = "CPU time"


def tables(clone: Clone) -> dict[str, bytes]:
    """Contents of every table of results but those of times, arrays without their records."""
    found = {}
    for path in sorted(clone.folder.glob("results/**/*")):
        name = path.relative_to(clone.folder / "results")
        if name.parts[0] in ("benchmarks", "logs") or path.name in TIMED:
            continue
        if path.suffix == ".csv":
            lines = path.read_text().splitlines()
            found[str(name)] = "\n".join(x for x in lines if TIMED_CLAIMS not in x).encode()
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                parts = [arrays[key].tobytes() for key in arrays.files if key != "record"]
            found[str(name)] = b"".join(parts)
    return found


def run(clone: Clone, targets: list[str], **settings) -> float:
    """A run to its end; returns its seconds.  Raises RuntimeError where it fails."""
    clone.snakemake(*targets, "--unlock", **settings)  # a killed run leaves its lock
    start = time.monotonic()
    done = clone.snakemake(*targets, "--rerun-incomplete", **settings)
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-4000:])
    return time.monotonic() - start


def start_and_kill(clone: Clone, targets: list[str], after: float, **settings) -> None:
    """Start a run in a process group of its own, and kill the group after some seconds."""
    command = clone.command("--cores", "2", *targets, **settings)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(**command, **quiet, start_new_session=True)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def kill_runs(folder: Path, runs: int, targets: list[str], seed: int = 0, **settings) -> list[str]:
    """Names of the tables that differ, over all runs; one line on the console for each run."""
    whole = Clone(folder / "whole")
    seconds = run(whole, targets, **settings)
    expected, chance, differing = tables(whole), random.Random(seed), []
    for number in range(1, runs + 1):
        clone = Clone(folder / f"killed-{number}")
        after = chance.uniform(0, seconds)
        start_and_kill(clone, targets, after, **settings)
        there = len(tables(clone))
        run(clone, targets, **settings)
        found = tables(clone)
        wrong = [name for name in expected.keys() | found if expected.get(name) != found.get(name)]
        differing += wrong
        print(
            f"run {number}: killed after {after:.0f} s with {there} of {len(expected)} tables, "
            f"{len(wrong)} differ {' '.join(wrong)}",
            flush=True,
        )
    print(f"{runs} runs killed, {len(expected)} tables each, {len(differing)} differ")
    return differing


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        chosen = sys.argv[2:] or ["results/claims.csv"]
        sys.exit(bool(kill_runs(Path(folder), int(sys.argv[1]), chosen)))
