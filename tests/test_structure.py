"""The house: who imports whom, and how long files and functions may get."""

import ast
from pathlib import Path

import networkx
import pytest

CLONE = Path(__file__).resolve().parents[1]
LIBRARY = CLONE / "src" / "cartoonists"
PROGRAMS = [*LIBRARY.glob("*.py"), *(CLONE / "workflow").rglob("*.py")]
LONGEST_FILE, LONGEST_FUNCTION = 500, 60  # lines


def imports(body) -> set[str]:
    """Modules of the library that these statements import."""
    froms = [node for node in body if isinstance(node, ast.ImportFrom) and node.module]
    return {n.module.split(".")[1] for n in froms if n.module.startswith("cartoonists.")}


def graph(local: bool) -> networkx.DiGraph:
    edges = networkx.DiGraph()
    for path in LIBRARY.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        body = ast.walk(tree) if local else tree.body
        if path.stem != "__init__":
            edges.add_edges_from((path.stem, other) for other in imports(body))
    return edges


def test_modules_import_each_other_in_one_direction():
    assert graph(local=False).number_of_edges() > 100
    assert networkx.is_directed_acyclic_graph(graph(local=False))


def test_imports_inside_functions_close_one_circle_only():
    """A network's Stein table is estimated from samples, and sampling uses the table."""
    parts = networkx.strongly_connected_components(graph(local=True))
    assert [part for part in parts if len(part) > 1] == [{"stein", "tracking"}]


def test_the_library_knows_neither_snakemake_nor_the_configuration():
    for path in LIBRARY.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in named} & {"snakemake", "yaml"}, path


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_files_and_functions_stay_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name


def test_public_names_are_described():
    for path in LIBRARY.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.stem}.{node.name}"
