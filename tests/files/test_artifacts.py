"""Artifacts are written whole or not at all, and carry how they were made."""

import types

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
