"""Bundled files: where they are, what the registry says of them, and whether they are intact."""

import csv
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, files
from itertools import chain
from pathlib import Path, PurePosixPath

RESOURCES_VARIABLE = "CARTOONISTS_RESOURCES"
REGISTRY_NAME = "registry.csv"


class ResourceError(RuntimeError):
    """A bundled file is missing, altered or not in the registry."""


@dataclass(frozen=True)
class Resource:
    """One row of the registry; ``path`` is relative to the resources folder, with slashes."""

    name: str
    version: str
    source: str
    url: str
    sha256: str
    licence: str
    path: str


COLUMNS = [field.name for field in fields(Resource)]


def resources_dir() -> Path:
    """The bundled files: ``$CARTOONISTS_RESOURCES``, else the clone's, else the installed wheel's.

    Raises ResourceError where none holds a registry.
    """
    named = os.environ.get(RESOURCES_VARIABLE)
    clone = Path(__file__).resolve().parents[3] / "resources"
    first = Path(named) if named else clone
    for folder in chain([first], () if named else _installed()):
        if (folder / REGISTRY_NAME).is_file():
            return folder
    origin = f"named by {RESOURCES_VARIABLE}" if named else "of the clone that holds this package"
    raise ResourceError(
        f"{first}: no {REGISTRY_NAME} there (folder {origin}); install the wheel or a clone "
        f"with pip, or set {RESOURCES_VARIABLE} to the resources folder of a clone"
    )


def _installed() -> Iterator[Path]:
    """Where a wheel has put its bundled files, if this package comes from one.

    The distribution's list of files is read only where this is asked for: not in a clone.
    """
    with suppress(PackageNotFoundError):
        for file in files("cartoonists") or []:
            if file.name == REGISTRY_NAME:
                yield Path(str(file.locate())).resolve().parent


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 lower-case hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def registry(folder: Path | None = None) -> dict[str, Resource]:
    """Rows of ``registry.csv`` by name; ``folder`` defaults to `resources_dir`.

    Raises ResourceError for wrong columns, a name or path that occurs twice, a checksum that is
    not one, or a path that leaves the folder.
    """
    table = (folder or resources_dir()) / REGISTRY_NAME
    with table.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if reader.fieldnames != COLUMNS:
            raise ResourceError(f"{table}: columns {reader.fieldnames}, allowed {COLUMNS}")
        rows = [_checked_row(row, table, reader.line_num) for row in reader]
    for column in ("name", "path"):
        values = [getattr(row, column) for row in rows]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ResourceError(f"{table}: {column} {twice[0]!r} occurs twice, allowed once")
    return {row.name: row for row in rows}


def _checked_row(row: dict, table: Path, line: int) -> Resource:
    if set(row) != set(COLUMNS) or None in row.values():
        raise ResourceError(f"{table}, line {line}: not {len(COLUMNS)} fields")
    resource = Resource(**row)
    digest = resource.sha256
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise ResourceError(f"{table}, line {line}: sha256 {digest!r} is not 64 hexadecimal digits")
    path = PurePosixPath(resource.path)
    if not resource.path or path.is_absolute() or ".." in path.parts:
        raise ResourceError(f"{table}, line {line}: path {resource.path!r} leaves the folder")
    return resource


def verified(path: str | Path, folder: Path | None = None) -> Path:
    """The registered file at ``path`` (relative to the resources folder, or inside it), intact.

    Raises ResourceError where it is missing, unregistered, outside the folder (through a link as
    well) or its SHA-256 is not the registered one.
    """
    folder = (folder or resources_dir()).resolve()
    file = (folder / path).resolve()
    if not file.is_relative_to(folder):
        raise ResourceError(f"{path}: outside the resources folder {folder}")
    relative = file.relative_to(folder).as_posix()
    row = next((r for r in registry(folder).values() if r.path == relative), None)
    if row is None:
        raise ResourceError(f"{file}: not in {REGISTRY_NAME}")
    if not file.is_file():
        raise ResourceError(f"{file}: missing, though {REGISTRY_NAME} lists it")
    found = file_sha256(file)
    if found != row.sha256:
        raise ResourceError(f"{file}: sha256 {found} found, {row.sha256} registered")
    return file


def register(
    path: str,
    *,
    name: str,
    version: str,
    source: str,
    url: str,
    licence: str,
    folder: Path | None = None,
) -> Resource:
    """Add the file at ``path`` (relative) to the registry, or renew its row; returns the row."""
    folder = folder or resources_dir()
    resource = Resource(name, version, source, url, file_sha256(folder / path), licence, path)
    rows = registry(folder) if (folder / REGISTRY_NAME).exists() else {}
    kept = [row for row in rows.values() if row.name != name and row.path != path]
    temporary = folder / f"{REGISTRY_NAME}.part"
    with temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        ordered = sorted([*kept, resource], key=lambda row: row.path)
        writer.writerows(asdict(row) for row in ordered)
    os.replace(temporary, folder / REGISTRY_NAME)
    return resource
