"""The house: who imports whom, and how long files and functions may get."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[2]
LIBRARY = CLONE / "src" / "cartoonists"
PROGRAMS = [*LIBRARY.rglob("*.py"), *(CLONE / "workflow").rglob("*.py")]
LONGEST_FILE, LONGEST_FUNCTION = 500, 60  # lines


def lint_imports(folder: Path) -> subprocess.CompletedProcess:
    """import-linter on the package in a folder, by the contracts of the folder's pyproject.toml."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_rooms_are_layers():
    """The contracts in pyproject.toml: layers, no circle, no PyTorch where tables are read."""
    done = lint_imports(CLONE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Contracts: 4 kept, 0 broken." in done.stdout


def test_an_import_from_a_higher_room_is_seen(tmp_path):
    """Also inside a function."""
    copy = tmp_path / "src" / "cartoonists"
    shutil.copytree(LIBRARY, copy)
    shutil.copy(CLONE / "pyproject.toml", tmp_path)
    with (copy / "paths" / "scores.py").open("a", encoding="utf-8") as stream:
        stream.write(
            "\n\ndef late():\n    from cartoonists.density import flow\n\n    return flow\n"
        )
    done = lint_imports(tmp_path)
    assert done.returncode == 1 and "cartoonists.paths.scores" in done.stdout


def test_every_room_says_what_lives_there_and_what_it_may_import():
    rooms = [path for path in LIBRARY.iterdir() if (path / "__init__.py").is_file()]
    assert len(rooms) >= 8
    for room in rooms:
        text = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
        assert "import" in text, room


def test_the_tests_mirror_the_rooms():
    rooms = {path.name for path in LIBRARY.iterdir() if (path / "__init__.py").is_file()}
    folders = {path.parent.name for path in (CLONE / "tests").rglob("test_*.py")}
    assert folders <= rooms | {"workflow", "project"} and rooms <= folders


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_files_and_functions_stay_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name


def test_public_names_are_described():
    for path in LIBRARY.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.stem}.{node.name}"
