"""The registry of bundled files: it is found, it is true, and it notices every change."""

import os
import shutil
from functools import partial
from pathlib import Path

import hostile
import pytest

from cartoonists.files import resources
from cartoonists.files.resources import (
    COLUMNS,
    ResourceError,
    file_sha256,
    register,
    registry,
    resources_dir,
    verified,
)

NOTES = {"version": "1", "source": "a, test", "url": "", "licence": "MIT"}
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.bin").write_bytes(b"content")
    register("in/a.bin", name="a", folder=tmp_path, **NOTES)
    return tmp_path


refused = partial(hostile.refused, error=ResourceError)


def test_every_registered_file_is_intact_and_every_file_registered():
    listed = {row.path for row in registry().values()}
    assert listed
    for path in listed:
        assert verified(path) == (resources_dir() / path).resolve()
    kinds = (".gz", ".png", ".safetensors")
    found = {
        path.relative_to(resources_dir()).as_posix()
        for path in resources_dir().rglob("*")
        if path.suffix in kinds
    }
    assert found <= listed


def test_every_licence_text_is_there():
    texts = [row.licence for row in registry().values()]
    named = {text.partition("(")[2].rstrip(")") for text in texts if "(" in text}
    permissive = {"licences/fashion-mnist-MIT.txt", "licences/foolbox-MIT.txt"}
    assert named == permissive | {"licences/CC-BY-4.0.txt"}
    for name in permissive:
        assert "without restriction" in (resources_dir() / name).read_text()


def test_bundled_files_are_small():
    for row in registry().values():
        assert (resources_dir() / row.path).stat().st_size <= 8 * 2**20


def test_folder_named_by_the_environment(folder, monkeypatch, tmp_path):
    monkeypatch.setenv(resources.RESOURCES_VARIABLE, str(folder))
    assert resources_dir() == folder
    assert list(registry()) == ["a"]
    assert verified("in/a.bin").read_bytes() == b"content"
    monkeypatch.setenv(resources.RESOURCES_VARIABLE, str(tmp_path / "none"))
    refused(resources_dir, str(tmp_path / "none"), "CARTOONISTS_RESOURCES", "registry.csv")


def test_hash_of_nothing(tmp_path):
    (tmp_path / "empty").touch()
    assert file_sha256(tmp_path / "empty") == EMPTY_SHA256


@pytest.mark.parametrize("change", [b"Content", b"content ", b"conten", b""])
def test_altered_file_is_refused(folder, change):
    assert verified("in/a.bin", folder) == folder / "in" / "a.bin"
    (folder / "in" / "a.bin").write_bytes(change)
    refused(lambda: verified("in/a.bin", folder), "a.bin", "found", "registered")


def test_missing_unregistered_and_outside_files_are_refused(folder):
    (folder / "b").touch()
    refused(lambda: verified("b", folder), "not in registry.csv")
    refused(lambda: verified("../b", folder), "outside the resources folder")
    refused(lambda: verified("/etc/passwd", folder), "outside the resources folder")
    target = folder.parent / f"{folder.name}-away"
    shutil.move(folder / "in" / "a.bin", target)
    refused(lambda: verified("in/a.bin", folder), "missing, though registry.csv lists it")
    (folder / "in" / "a.bin").symlink_to(target)
    refused(lambda: verified("in/a.bin", folder), "outside the resources folder")


def test_register_renews_and_keeps_order(folder):
    (folder / "0").write_bytes(b"zero")
    register("0", name="zero", folder=folder, **NOTES)
    assert list(registry(folder)) == ["zero", "a"]  # by path
    (folder / "0").write_bytes(b"other")
    row = register("0", name="zero", folder=folder, **{**NOTES, "version": "2"})
    assert registry(folder)["zero"] == row and len(registry(folder)) == 2
    assert row.version == "2" and row.source == "a, test"
    assert verified("0", folder).read_bytes() == b"other"
    assert sorted(os.listdir(folder)) == ["0", "in", "registry.csv"]


def row_text(**changes: str) -> str:
    row = dict.fromkeys(COLUMNS, "x") | {"sha256": EMPTY_SHA256, "path": "p"} | changes
    return ",".join(row[column] for column in COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "columns None"),
        ("name,path\n", "columns ['name', 'path'], allowed"),
        (",".join(COLUMNS) + "\n" + row_text(path="../p"), "path '../p' leaves the folder"),
        (",".join(COLUMNS) + "\n" + row_text(path="/p"), "path '/p' leaves the folder"),
        (",".join(COLUMNS) + "\n" + row_text(path=""), "path '' leaves the folder"),
        (",".join(COLUMNS) + "\n" + row_text(sha256="abc"), "line 2: sha256 'abc'"),
        (",".join(COLUMNS) + "\n" + row_text()[:-3] + "\n", "line 2: not 7 fields"),
        (",".join(COLUMNS) + "\n" + row_text(path="p,q"), "line 2: not 7 fields"),
        (",".join(COLUMNS) + "\n" + row_text() * 2, "name 'x' occurs twice"),
        (",".join(COLUMNS) + "\n" + row_text() + row_text(name="y"), "path 'p' occurs twice"),
    ],
)
def test_false_registry_is_refused(tmp_path, text, said):
    Path(tmp_path / "registry.csv").write_text(text)
    refused(lambda: registry(tmp_path), str(tmp_path / "registry.csv"), said)
