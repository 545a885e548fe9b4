"""docs/how-to/new-experiment.md, followed to the letter in a copy of the clone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from pages import blocks, patch
from workflow_clone import CLONE, Clone

VERDICTS = {"holds", "undecided"}  # at 64 samples
PAGE = CLONE / "docs" / "how-to" / "new-experiment.md"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def lines() -> list[str]:
    """The commands of the page."""
    return [
        line
        for language, text, _ in blocks(PAGE)
        if language == "sh"
        for line in text.split("\n")
        if line
    ]


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A copy of the clone with the page's topic; what a block holds that is no diff is new."""
    clone = Clone(tmp_path_factory.mktemp("toy"))
    for part in ("docs", "tests"):
        shutil.copytree(CLONE / part, clone.folder / part)
    shutil.copy(CLONE / "pyproject.toml", clone.folder)
    for language, text, file in blocks(PAGE):
        path = clone.folder / file
        if language == "diff":
            patch(path, text)
        elif language != "sh":
            assert not path.exists(), file
            path.write_text(text, encoding="utf-8")
    return clone


def test_the_topic_runs_by_the_command_of_the_page(followed):
    command = lines()[-1].split()
    assert command[:3] == ["snakemake", "--cores", "1"] and command[-1] == "toy"
    done = followed.snakemake("--cores", "1", "toy")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    results = followed.folder / "results"
    claims = pd.read_csv(results / "claims" / "toy.csv")
    rows = claims[claims["id"] == "toy-entropy"]
    assert len(rows) == 3 and rows["ours"].abs().max() < 0.5 and set(rows["verdict"]) <= VERDICTS
    record = json.loads((results / "theory" / "toy_entropy.csv.json").read_text())
    assert record["params"]["code"] and record["params"]["n_samples"] == 64
    for kind in ("png", "svg"):
        assert (results / "figures" / f"toy_entropy.{kind}").stat().st_size > 1000


def test_the_whole_run_has_the_topic(followed):
    done = followed.snakemake("--dry-run", "--forceall", "results/claims.csv", "notebooks")
    assert "results/claims/toy.csv" in done.stdout and "results/notebooks/toy.html" in done.stdout


def test_its_test_passes(followed):
    program, *arguments = lines()[0].split()
    assert program == "pytest"
    environment = os.environ | {"PYTHONPATH": str(followed.folder / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments],
        cwd=followed.folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


def test_what_the_page_adds_is_in_order(followed):
    tools = Path(sys.executable).parent
    for command in (
        ["ruff", "check", "src", "workflow"], ["ruff", "format", "--check", "src", "workflow"],
        ["snakefmt", "--check", "workflow/rules"], ["snakemake", "--lint"],
    ):  # fmt: skip
        done = subprocess.run(
            [tools / command[0], *command[1:]], cwd=followed.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_setting_that_the_schema_does_not_allow_ends_in_one_line(followed):
    done = followed.snakemake("toy", "--dry-run", toy={"variances": [-1.0]})
    assert "config error: toy.variances[0]: -1.0 found, allowed: " in done.stderr


def test_the_page_touches_three_places_besides_the_new_files():
    assert len({file for language, _, file in blocks(PAGE) if language == "diff"}) <= 3
