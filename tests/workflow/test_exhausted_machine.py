"""No room, no right to write, no memory: one clear line, and earlier results as they were."""

import re
import resource
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from cartoonists.files import artifacts


@pytest.fixture
def disk(tmp_path):
    """A disk of 64 KiB with an earlier result on it."""
    place = tmp_path / "results"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", place], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        artifacts.write_table(place / "earlier.csv", pd.DataFrame({"a": [1]}), {})
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def contents(place: Path) -> dict[str, bytes]:
    return {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}


def snakemake(log: Path) -> SimpleNamespace:
    return SimpleNamespace(rule="demo", params={}, input=[], wildcards={}, log=[str(log)])


def failing_line(capsys, log: Path, work) -> str:
    """The one line of a job that does ``work`` and fails."""
    with pytest.raises(SystemExit) as caught, artifacts.job(snakemake(log)) as record:
        work(record)
    assert caught.value.code == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("demo: ") and said.err.count("\n") == 1
    return said.err


LARGE = np.random.default_rng(0).random(100_000)
WRITERS = {
    "table": lambda path, record: artifacts.write_table(path, pd.DataFrame({"x": LARGE}), record),
    "arrays": lambda path, record: artifacts.write_arrays(path, {"x": LARGE}, record),
    "json": lambda path, record: artifacts.write_json(path, LARGE.tolist()),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("log_on_disk", [True, False])
def test_a_full_disk(disk, tmp_path, capsys, kind, log_on_disk):
    before = contents(disk)
    log = (disk if log_on_disk else tmp_path) / "demo.log"
    path = disk / "earlier.csv"
    line = failing_line(capsys, log, lambda record: WRITERS[kind](path, record))
    assert re.search(r"No space left on device: '.*earlier\.csv'", line), line
    after = contents(disk)
    after.pop("demo.log", None)
    assert after == before


def test_a_log_on_a_full_disk(disk, capsys):
    before = contents(disk)

    def work(_):
        print("x" * 100_000)

    assert "No space left on device" in failing_line(capsys, disk / "demo.log", work)
    assert contents(disk).items() >= before.items()


def test_results_that_may_only_be_read(disk, capsys):
    before = contents(disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    line = failing_line(capsys, disk / "demo.log", lambda _: None)
    assert re.search(r"Read-only file system: '.*demo\.log'", line), line
    with pytest.raises(OSError, match="Read-only file system: '.*earlier.csv"):
        artifacts.write_json(disk / "earlier.csv", 1)
    assert contents(disk) == before


@pytest.mark.parametrize("allocate", [np.ones, torch.ones], ids=["numpy", "torch"])
def test_no_memory(tmp_path, capsys, allocate):
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 2**26

    def work(record):
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        try:
            artifacts.write_arrays(tmp_path / "x.npz", {"x": np.asarray(allocate(2**28))}, record)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

    line = failing_line(capsys, tmp_path / "demo.log", work)
    assert "allocate" in line
    assert [p.name for p in tmp_path.iterdir()] == ["demo.log"]
