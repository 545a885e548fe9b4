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


def files_hash(folder: str | Path) -> str:
    """Hash (16 hexadecimal digits) of the files in a folder of this clone, names and content."""
    digest = hashlib.sha256()
    for path in sorted((CLONE / folder).iterdir()):
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _tree(path: Path) -> ast.Module:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [c["source"] for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
        text = "\n".join("".join(cell) for cell in cells)
    return ast.parse(text, filename=str(path))


def _imports(tree: ast.Module) -> set[str]:
    """Modules of the package, as ``room.module``, that a syntax tree imports.

    Names of the package's ``__init__`` count as the module that defines them.  The package imports
    itself by full names only (ruff's rule TID252).
    """
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                found |= _reached(node.module, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                found |= _reached(*alias.name.rpartition(".")[::2])
    return found


def _reached(base: str, name: str) -> set[str]:
    """Modules that ``from base import name`` reaches; of a whole room or package, all."""
    full = f"{base}.{name}".strip(".")
    if full.split(".")[0] != PACKAGE:
        return set()
    inside, of_base = full.removeprefix(PACKAGE).strip("."), base.removeprefix(PACKAGE).strip(".")
    for module in (inside, of_base, _homes().get(name) if base == PACKAGE else None):
        if module in _all_modules():
            return {module}
    whole = inside if _modules_of(inside) else of_base  # a room, or a name that its __init__ gives
    return _modules_of(whole)


def _modules_of(room: str) -> set[str]:
    return {
        module for module in _all_modules() if f"{module}.".startswith(f"{room}." if room else "")
    }


@cache
def _all_modules() -> set[str]:
    files = (path.relative_to(SOURCES) for path in SOURCES.rglob("*.py"))
    return {".".join(path.with_suffix("").parts) for path in files if path.stem != "__init__"}


@cache
def _homes() -> dict[str, str]:
    init = SOURCES / "__init__.py"
    if not init.exists():
        return {}
    nodes = [n for n in ast.walk(_tree(init)) if isinstance(n, ast.ImportFrom)]
    return {
        alias.asname or alias.name: (node.module or "").removeprefix(f"{PACKAGE}.")
        for node in nodes
        for alias in node.names
    }


@cache
def _module(module: str) -> tuple[set[str], str]:
    """What a module imports, and its syntax tree without docstrings as text; parsed once."""
    tree = _tree(SOURCES / f"{module.replace('.', '/')}.py")
    imported = _imports(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) or not node.body:
            continue
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            node.body = node.body[1:] or [ast.Pass()]
    return imported, hashlib.sha256(ast.dump(tree).encode()).hexdigest()
