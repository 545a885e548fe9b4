"""Artifacts are written whole or not at all, and carry how they were made."""

import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tqdm import tqdm

from cartoonists.files import artifacts


def test_a_failure_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("good")
    with pytest.raises(RuntimeError), artifacts.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "good"
    assert list(tmp_path.iterdir()) == [path]


def test_left_overs_of_a_killed_job_are_removed(tmp_path):
    (tmp_path / ".x.csv.999.tmp.csv").write_text("half")
    artifacts.write_table(tmp_path / "x.csv", pd.DataFrame({"a": [1]}), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.csv", "x.csv.json"]


def test_a_table_keeps_every_digit(tmp_path):
    table = pd.DataFrame({"x": [0.1 + 0.2, 1e-300, np.pi]})
    artifacts.write_table(tmp_path / "x.csv", table, {"rule": "test"})
    back = pd.read_csv(tmp_path / "x.csv")
    assert (back["x"] == table["x"]).all()
    assert artifacts.read_record(tmp_path / "x.csv") == {"rule": "test"}


def test_arrays_are_the_same_bytes_for_the_same_content(tmp_path):
    arrays = {"a": np.arange(3.0), "name": np.array("pixels")}
    for name in ("one.npz", "two.npz"):
        artifacts.write_arrays(tmp_path / name, arrays, {"seed": 1})
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    back, record = artifacts.read_arrays(tmp_path / "one.npz")
    assert (back["a"] == arrays["a"]).all() and str(back["name"]) == "pixels"
    assert record == {"seed": 1}


def test_arrays_with_objects_are_refused(tmp_path):
    np.savez(tmp_path / "bad.npz", x=np.array([{}], dtype=object), record=np.array("{}"))
    with pytest.raises(ValueError, match="allow_pickle"):
        artifacts.read_arrays(tmp_path / "bad.npz")


class _Named(dict):
    """As Snakemake's params: iterable by value, named by items()."""

    def __iter__(self):
        return iter(self.values())


def _snakemake(tmp_path):
    return types.SimpleNamespace(
        rule="demo",
        params=_Named(steps=3),
        input=["a.csv"],
        wildcards=_Named(chunk="2"),
        log=[str(tmp_path / "demo.log")],
    )


def test_a_job_records_what_made_it_and_logs(tmp_path, capsys):
    with artifacts.job(_snakemake(tmp_path)) as record:
        print("into the log")
    assert record["rule"] == "demo" and record["params"] == {"steps": 3}
    assert record["wildcards"] == {"chunk": "2"} and record["revision"]
    assert (tmp_path / "demo.log").read_text().splitlines()[1:] == ["into the log"]
    assert capsys.readouterr().out == ""


def test_progress_is_told_on_the_console_now_and_then(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(artifacts, "PROGRESS_SECONDS", 0.0)
    with artifacts.job(_snakemake(tmp_path)):
        for _ in tqdm(range(3), desc="steps", mininterval=0):
            pass
    assert "demo 2: steps: 100%" in capsys.readouterr().err
    log = (tmp_path / "demo.log").read_text()
    assert "3/3" in log and "\r" not in log


def test_a_failing_job_says_one_line_and_logs_the_traceback(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught, artifacts.job(_snakemake(tmp_path)):
        raise FloatingPointError("score: not finite for the sample with seed 3\nat logSNR 2")
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("demo 2: score: not finite for the sample with seed 3 at logSNR 2 (log:")
    assert said.count("\n") == 1
    assert "Traceback" in (tmp_path / "demo.log").read_text()


def test_a_run_that_lives_on_leaves_the_newer_file_alone(tmp_path, capsys):
    """The first run outlives its workflow; the job is run again, and then the first one writes."""
    path = tmp_path / "x.csv"
    with artifacts.job(_snakemake(tmp_path)):
        first = list(artifacts._claims)
        artifacts._claims.clear()  # the second run is another process
        with artifacts.job(_snakemake(tmp_path)) as record:
            artifacts.write_table(path, pd.DataFrame({"a": [2]}), record)
        artifacts._claims[:] = first
        artifacts.write_table(path, pd.DataFrame({"a": [1]}), {})
        raise AssertionError("written")
    assert pd.read_csv(path)["a"].tolist() == [2]
    assert artifacts.read_record(path)["rule"] == "demo"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demo.log", "x.csv", "x.csv.json"]
    assert "demo 2: another run of this job has begun" in capsys.readouterr().err


def test_a_run_superseded_while_it_writes_changes_nothing(tmp_path):
    path = tmp_path / "x.txt"
    with artifacts.job(_snakemake(tmp_path)), artifacts.atomic(path) as temporary:
        temporary.write_text("old")
        (tmp_path / "demo.log").unlink()
        artifacts._Claim(tmp_path / "demo.log")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demo.log"]


def revision_in(folder: Path) -> str:
    """What a copy of the package in that folder says, by a process that imports no other."""
    shutil.copytree(Path(artifacts.__file__).parents[1], folder / "cartoonists")
    code = (
        "from cartoonists.files import artifacts; print(artifacts.__file__, artifacts.revision())"
    )
    environment = os.environ | {"PYTHONPATH": str(folder), "GIT_DIR": str(folder / "nowhere")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    file, said = done.stdout.split()
    assert Path(file).is_relative_to(folder)
    return said


def committed(folder: Path, place: str) -> str:
    """A repository with one commit, in which a package's place may be tracked; its hash."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    person = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    for command in (
        ["init", "-q"], ["add", "-A", place], [*person, "commit", "-q", "--allow-empty", "-m", "x"],
    ):  # fmt: skip
        subprocess.run(["git", *command], cwd=folder, env=environment, check=True)
    command = ["git", "describe", "--always", "--abbrev=12"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("place", ["venv/site-packages", "vendored", "src"])
def test_the_revision_is_never_that_of_the_repository_around_the_package(tmp_path, place):
    """In an environment inside it, as a copy that it tracks, untracked at the same place."""
    folder = tmp_path / place
    folder.mkdir(parents=True)
    (tmp_path / "theirs.txt").touch()
    said = revision_in(folder)
    theirs = committed(tmp_path, "vendored" if place == "vendored" else "theirs.txt")
    shutil.rmtree(folder / "cartoonists")
    assert revision_in(folder) == said != theirs


def test_the_revision_is_that_of_the_clone(tmp_path):
    (tmp_path / "src").mkdir()
    revision_in(tmp_path / "src")
    ours = committed(tmp_path, "src")
    shutil.rmtree(tmp_path / "src" / "cartoonists")
    assert revision_in(tmp_path / "src").removesuffix("-dirty") == ours
