"""A wheel outside the clone has the bundled files, or says in one line what is missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

CLONE = Path(__file__).resolve().parents[2]
PACKAGES = Path(numpy.__file__).parents[1]
OTHERS = ("cartoonists", "__editable__")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the wheel installed, and with this environment's other packages."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CLONE / name, source)
    for name in ("src", "resources"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(CLONE / name, source / name, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    pip += ["--ignore-installed"]  # else pip removes the package from this environment
    more = ["--no-build-isolation", "--no-compile", "--prefix", str(folder / "prefix"), str(source)]
    done = subprocess.run([*pip, *more], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    shutil.rmtree(source)
    (site,) = (folder / "prefix").rglob("site-packages")
    for entry in PACKAGES.iterdir():
        if not entry.name.startswith(OTHERS) and not (site / entry.name).exists():
            (site / entry.name).symlink_to(entry)
    return site


def run(site: Path, code: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "CARTOONISTS_RESOURCES"}
    environment["PYTHONPATH"] = str(site)
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, cwd=site, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_a_wheel_holds_every_registered_file_and_finds_it(installed):
    code = """
from cartoonists.files import resources
assert "/prefix/share/" in str(resources.resources_dir())
for row in resources.registry().values():
    resources.verified(row.path)
print(len(resources.registry()))
"""
    rows = (CLONE / "resources" / "registry.csv").read_text().splitlines()
    assert int(run(installed, code)) == len(rows) - 1 > 10


def test_a_bundled_model_is_loaded_by_its_name(installed):
    code = "from cartoonists import load_model; print(load_model('fashion-mnist/quality').shape)"
    assert run(installed, code) == "(1, 28, 28)"


def test_without_the_files_one_line_says_what_is_missing(installed):
    registry = next((installed.parents[2] / "share").rglob("registry.csv"))
    registry.rename(registry.with_name("away.csv"))
    code = """
from cartoonists import load_model
from cartoonists.files.resources import ResourceError
try:
    load_model("fashion-mnist/quality")
except ResourceError as error:
    print(error)
"""
    try:
        said = run(installed, code)
    finally:
        registry.with_name("away.csv").rename(registry)
    assert "no registry.csv there" in said and "CARTOONISTS_RESOURCES" in said
    assert "\n" not in said
