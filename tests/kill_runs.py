"""Kill runs of the ci configuration with SIGKILL at random times; the tables must be the same.

    python tests/kill_runs.py RUNS KILLS [TARGET ...]    by default all but notebooks and report

Every run starts from nothing in a copy of the clone, is killed KILLS times with its whole process
group, and goes on each time with ``--rerun-incomplete``.  Prints one line a run and the counts;
exit status 1 where a table differs from that of an undisturbed run.
"""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from workflow_clone import CLONE, Clone, kill

TIMED = ("mode_cost.csv", "tracking_cost.csv", "timings.csv")  # their numbers are times
REGISTER = yaml.safe_load((CLONE / "workflow" / "claims.yaml").read_text(encoding="utf-8"))
TIMED_CLAIMS = [entry["id"] for entry in REGISTER if entry.get("times")]


def tables(clone: Clone) -> dict[str, bytes]:
    """Contents of every table of results but those of times, arrays without their records."""
    found = {}
    for path in sorted(clone.folder.glob("results/**/*")):
        name = path.relative_to(clone.folder / "results")
        if name.parts[0] in ("benchmarks", "logs") or path.name in TIMED:
            continue
        if path.suffix == ".csv":
            lines = path.read_text().splitlines()
            found[str(name)] = "\n".join(line for line in lines if not timed(line)).encode()
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                parts = [arrays[key].tobytes() for key in arrays.files if key != "record"]
            found[str(name)] = b"".join(parts)
    return found


def timed(line: str) -> bool:
    """Whether a row of a table of claims is of a claim about times."""
    return any(name in line.split(",") for name in TIMED_CLAIMS)


def run(clone: Clone, targets: list[str], **settings) -> float:
    """A run to its end; returns its seconds.  Raises RuntimeError where it fails."""
    clone.snakemake(*targets, "--unlock", **settings)  # a killed run leaves its lock
    start = time.monotonic()
    done = clone.snakemake(*targets, "--rerun-incomplete", **settings)
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-4000:])
    return time.monotonic() - start


def start_and_kill(clone: Clone, targets: list[str], after: float, **settings) -> bool:
    """Start a run and kill its process group after some seconds; whether it still ran by then."""
    clone.snakemake(*targets, "--unlock", **settings)  # a killed run leaves its lock
    process = clone.start(*targets, "--rerun-incomplete", **settings)
    try:
        process.wait(after)
        return False
    except subprocess.TimeoutExpired:
        kill(process)
        return True


def kill_runs(
    folder: Path, runs: int, targets: list[str], kills: int = 1, seed: int = 0, **settings
) -> list[str]:
    """Names of the tables that differ, over all runs; one line on the console for each run.

    Each run is killed ``kills`` times, once in each of as many parts of an undisturbed run's time.
    """
    whole = Clone(folder / "whole")
    seconds = run(whole, targets, **settings)
    expected, chance, differing, killed = tables(whole), random.Random(seed), [], 0
    for number in range(1, runs + 1):
        clone, there = Clone(folder / f"killed-{number}"), []
        for _ in range(kills):
            if start_and_kill(clone, targets, chance.uniform(0, seconds / kills), **settings):
                there.append(len(tables(clone)))
        run(clone, targets, **settings)
        found = tables(clone)
        wrong = [name for name in expected.keys() | found if expected.get(name) != found.get(name)]
        differing += wrong
        killed += len(there)
        print(
            f"run {number}: killed with {', '.join(map(str, there))} of {len(expected)} tables, "
            f"{len(wrong)} differ {' '.join(wrong)}",
            flush=True,
        )
    print(f"{killed} kills in {runs} runs, {len(expected)} tables each, {len(differing)} differ")
    return differing


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        chosen = sys.argv[3:] or ["results/claims.csv"]
        sys.exit(bool(kill_runs(Path(folder), int(sys.argv[1]), chosen, int(sys.argv[2]))))
