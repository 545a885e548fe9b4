"""The code hash changes with the library code that a script reaches, and with nothing else."""

import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / "workflow"))
import revision  # noqa: E402

MODULE = '''"""Docstring."""
from cartoonists.inner import helper


def double(x):
    """Twice."""
    return 2 * helper(x)  # comment
'''


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small package: outer imports inner; other stands alone."""
    package = tmp_path / "src" / "cartoonists"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from cartoonists.outer import double\n")
    (package / "outer.py").write_text(MODULE)
    (package / "inner.py").write_text("def helper(x):\n    return x\n")
    (package / "other.py").write_text("VALUE = 1\n")
    (tmp_path / "script.py").write_text("from cartoonists.outer import double\n")
    monkeypatch.setattr(revision, "CLONE", tmp_path)
    monkeypatch.setattr(revision, "SOURCES", package)
    yield tmp_path
    forget()


def forget():
    for function in (revision._all_modules, revision._homes, revision._module):
        function.cache_clear()


def hash_of(tree, name="script.py"):
    forget()
    return revision.code_hash(name)


def edit(tree, module, old, new):
    path = tree / "src" / "cartoonists" / f"{module}.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [("outer", "2 *", "3 *"), ("inner", "return x", "return x + 1")],
)
def test_reached_code_counts(tree, module, old, new):
    before = hash_of(tree)
    edit(tree, module, old, new)
    assert hash_of(tree) != before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("outer", "# comment", "# another comment"),
        ("outer", "Twice.", "Two times."),
        ("outer", "2 * helper(x)", "(2 * helper(x))"),
        ("other", "VALUE = 1", "VALUE = 2"),
    ],
)
def test_comments_docstrings_layout_and_other_modules_do_not(tree, module, old, new):
    before = hash_of(tree)
    edit(tree, module, old, new)
    assert hash_of(tree) == before


def test_every_way_to_import_reaches_the_same_modules(tree):
    before = hash_of(tree)
    for text in (
        "from cartoonists import double",
        "from cartoonists import outer",
        "import cartoonists.outer",
    ):
        (tree / "script.py").write_text(text)
        assert hash_of(tree) == before


def test_modules_of_a_room_are_reached_by_their_full_names(tree):
    room = tree / "src" / "cartoonists" / "room"
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "near.py").write_text("from cartoonists.inner import helper\n")
    (room / "far.py").write_text("")
    (tree / "script.py").write_text("from cartoonists.room.near import helper\n")
    near = hash_of(tree)
    for text in ("from cartoonists.room import near", "import cartoonists.room.near"):
        (tree / "script.py").write_text(text)
        assert hash_of(tree) == near
    edit(tree, "inner", "return x", "return x + 1")
    assert hash_of(tree) != near
    (tree / "script.py").write_text("import cartoonists.room")
    whole = hash_of(tree)
    assert whole != near
    (room / "far.py").write_text("VALUE = 1\n")
    assert hash_of(tree) != whole


def test_a_notebook_is_read_by_its_code_cells(tree):
    cells = (
        '[{"cell_type": "markdown", "source": ["from cartoonists.other import VALUE"]},'
        ' {"cell_type": "code", "source": ["from cartoonists.outer import double\\n", "1"]}]'
    )
    (tree / "book.ipynb").write_text(f'{{"cells": {cells}}}')
    assert hash_of(tree, "book.ipynb") == hash_of(tree)


def test_every_script_and_notebook_of_the_workflow_has_a_hash():
    for folder, pattern in (("workflow/scripts", "*.py"), ("notebooks", "*.ipynb")):
        for path in sorted((CLONE / folder).glob(pattern)):
            assert len(revision.code_hash(path.relative_to(CLONE))) == 16, path
