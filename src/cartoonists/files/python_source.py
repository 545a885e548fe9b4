"""Where a network of the user's own is defined: a function in a Python file or module.

Nothing here runs that code or imports PyTorch, so that a run can be planned with it.
"""

import re
import symtable
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

PREFIX = "python:"
SOURCE = re.compile(r"python:(?P<place>.+):(?P<function>[A-Za-z_]\w*)")


class SourceError(ValueError):
    """A function that is named in ``python:<file.py or module>:<function>`` cannot be had."""


@dataclass(frozen=True)
class PythonSource:
    """``python:<file.py or module>:<function>``: a path, or a dotted name that can be imported.

    Raises SourceError for another form.
    """

    place: str
    function: str

    @staticmethod
    def of(source: str) -> "PythonSource":
        match = SOURCE.fullmatch(source)
        if not match:
            raise SourceError(
                f"source: {source!r} found, allowed: python:<file.py or module>:<function>"
            )
        return PythonSource(match["place"], match["function"])

    @property
    def is_file(self) -> bool:
        """Whether the place is a path, not a module."""
        return self.place.endswith(".py")

    def path(self) -> Path:
        """The file that defines the function.  Raises SourceError where it is missing."""
        found = Path(self.place) if self.is_file else _module_file(self.place)
        if found is None or not found.is_file():
            kind = "file" if self.is_file else "module, installed or on PYTHONPATH"
            raise SourceError(f"source: {self.place} found, allowed: an existing Python {kind}")
        return found.resolve()

    def check(self) -> None:
        """Raise SourceError where the file is missing, damaged, or does not define the function."""
        path = self.path()
        try:
            text = path.read_text(encoding="utf-8")
            names, own = _names(text, str(path))
        except (OSError, SyntaxError, ValueError) as error:
            raise SourceError(f"source: {self.place} cannot be read ({error})") from None
        if self.function not in names and not re.search(r"import\s+\*", text):
            known = ", ".join(sorted(name for name in own if not name.startswith("_"))) or "none"
            raise SourceError(
                f"source: {self.function!r} of {self.place} found, allowed: what it defines, "
                f"{known}"
            )

    def files(self, arguments: Mapping[str, Any] | None = None) -> list[Path]:
        """The files that the model hangs on, sorted: a change of one is a change of the model.

        A file is itself alone; a module counts with every ``.py`` file of its outermost package.
        Beside it, every file that an argument names, and all files of a folder that one names.
        """
        found = {self.path()}
        if not self.is_file:
            top = _module_file(self.place.partition(".")[0])
            if top is not None and top.name == "__init__.py":
                found |= set(top.resolve().parent.rglob("*.py"))
        for place in named_places(arguments or {}).values():
            found |= {p for p in place.rglob("*") if p.is_file()} if place.is_dir() else {place}
        return sorted(found)

    def absolute(self, arguments: Mapping[str, Any] | None) -> tuple[str, Mapping[str, Any] | None]:
        """The source and the arguments with each file or folder by its absolute path."""
        place = self.path() if self.is_file else self.place
        named = {key: str(path) for key, path in named_places(arguments or {}).items()}
        return f"{PREFIX}{place}:{self.function}", {**arguments, **named} if arguments else None


def named_places(arguments: Mapping[str, Any]) -> dict[str, Path]:
    """Those arguments that name an existing file or folder, as absolute paths."""
    texts = {key: value for key, value in arguments.items() if isinstance(value, str) and value}
    return {key: Path(value).resolve() for key, value in texts.items() if Path(value).exists()}


def _module_file(module: str) -> Path | None:
    """The file of a dotted name, without running the packages around it as an import would."""
    places: list[str] | None = sys.path
    spec = None
    for i in range(module.count(".") + 1):
        spec = PathFinder.find_spec(".".join(module.split(".")[: i + 1]), places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or [])
    return Path(spec.origin) if spec is not None and spec.origin else None


def _names(text: str, name: str) -> tuple[set[str], set[str]]:
    """Names of a module's own level: all of them, and those that it defines itself."""
    symbols = symtable.symtable(text, name, "exec").get_symbols()
    own = {s.get_name() for s in symbols if s.is_namespace()}
    return own | {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()}, own
