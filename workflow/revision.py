"""A hash of the library code that a script or notebook reaches: its change reruns the rule."""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path

PACKAGE = "cartoonists"
CLONE = Path(__file__).resolve().parents[1]
SOURCES = CLONE / "src" / PACKAGE


def code_hash(source: str | Path) -> str:
    """Hash (16 hexadecimal digits) of the library modules that a script or notebook imports.

    ``source`` is a path in this clone.  Imports are followed inside the package.  Comments,
    docstrings and layout do not count.
    """
    tree = _tree(CLONE / source)
    reached: set[str] = set()
    pending = _imports(tree)
    while pending:
        module = pending.pop()
        if module not in reached:
            reached.add(module)
            pending |= _module(module)[0]
    digest = hashlib.sha256()
    for module in sorted(reached):
        digest.update(f"{module}\n{_module(module)[1]}\n".encode())
    return digest.hexdigest()[:16]


def _tree(path: Path) -> ast.Module:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [c["source"] for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
        text = "\n".join("".join(cell) for cell in cells)
    return ast.parse(text, filename=str(path))


def _imports(tree: ast.Module) -> set[str]:
    """Modules of the package that a syntax tree imports, names of ``__init__`` resolved."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            base = f"{PACKAGE}.{module}".strip(".") if node.level else module
            if base == PACKAGE:
                for alias in node.names:
                    found |= _exported(alias.name)
            elif base.startswith(f"{PACKAGE}."):
                found.add(base.split(".")[1])
        elif isinstance(node, ast.Import):
            parts = [alias.name.split(".") for alias in node.names]
            found |= {p[1] for p in parts if p[0] == PACKAGE and len(p) > 1}
            if [PACKAGE] in parts:
                found |= _all_modules()
    return found & _all_modules()


def _exported(name: str) -> set[str]:
    """The module that ``from cartoonists import name`` reaches: itself, or where it is defined."""
    if name in _all_modules():
        return {name}
    home = _homes().get(name)
    return {home} if home else _all_modules()


@cache
def _all_modules() -> set[str]:
    return {path.stem for path in SOURCES.glob("*.py")} - {"__init__"}


@cache
def _homes() -> dict[str, str]:
    init = SOURCES / "__init__.py"
    if not init.exists():
        return {}
    nodes = [n for n in ast.walk(_tree(init)) if isinstance(n, ast.ImportFrom)]
    return {
        alias.asname or alias.name: (node.module or "").removeprefix(f"{PACKAGE}.").split(".")[0]
        for node in nodes
        for alias in node.names
    }


@cache
def _module(module: str) -> tuple[set[str], str]:
    """What a module imports, and its syntax tree without docstrings as text; parsed once."""
    tree = _tree(SOURCES / f"{module}.py")
    imported = _imports(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) or not node.body:
            continue
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            node.body = node.body[1:] or [ast.Pass()]
    return imported, ast.dump(tree)
