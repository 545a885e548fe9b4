"""docs/how-to/new-process.md, followed to the letter in a copy of the clone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import blocks, patch

CLONE = Path(__file__).resolve().parents[2]
PAGE = CLONE / "docs" / "how-to" / "new-process.md"
FIGURE = """
from cartoonists import GaussianMixture, VP
from cartoonists.experiments.control import path_errors
table = path_errors(GaussianMixture([1.0], [[0.0] * 4], [1.0], VP(-3, 3)), range(4), [8])
assert "tempered" in set(table["process"])
"""


def python(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def followed(tmp_path):
    for part in ("src", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(CLONE / part, tmp_path / part, ignore=ignored)
    shutil.copy(CLONE / "pyproject.toml", tmp_path)
    (_, process, file), *rest = blocks(PAGE)
    (tmp_path / file).write_text(process, encoding="utf-8")
    for language, text, file in rest:
        if language == "diff":
            patch(tmp_path / file, text)
    return tmp_path


def test_the_steps_of_the_page_work(followed):
    (command,) = [text for language, text, _ in blocks(PAGE) if language == "sh"]
    program, *arguments = command.split()
    assert program == "pytest"
    assert "9 passed" in python(followed, "-m", "pytest", "-q", *arguments)
    python(followed, "-c", FIGURE)
    example = [text for language, text, _ in blocks(PAGE) if language == "python"][-1]
    assert float(python(followed, "-c", example).split("(")[1].split(",")[0].rstrip(")\n ")) < 0.1


def test_the_page_touches_two_places_besides_the_new_file():
    changed = {file for language, _, file in blocks(PAGE) if language == "diff"}
    assert len(changed) == 2
