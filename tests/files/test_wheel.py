"""A wheel, alone with what it depends on, does what the README shows, without the clone."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
import tiny_models
from packaging.requirements import Requirement

CLONE = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((CLONE / "pyproject.toml").read_text())["project"]


def needed(requirements: Iterable[str]) -> dict[str, Distribution]:
    """The packages that these requirements bring, without those of any extra."""
    found: dict[str, Distribution] = {}
    pending = list(map(Requirement, requirements))
    while pending:
        requirement = pending.pop()
        if requirement.name in found:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found[requirement.name] = distribution(requirement.name)
            pending += map(Requirement, found[requirement.name].requires or [])
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the wheel installed, and of this environment what it depends on."""
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
    for package in needed(PROJECT["dependencies"]).values():
        for name in {file.parts[0] for file in package.files or [] if file.parts[0] != ".."}:
            if not (site / name).exists():
                (site / name).symlink_to(package.locate_file(name))
    return site


def run(site: Path, *arguments: str) -> str:
    """What Python says with the packages of this folder alone."""
    environment = {k: v for k, v in os.environ.items() if k != "CARTOONISTS_RESOURCES"}
    environment["PYTHONPATH"] = str(site)
    command = [sys.executable, "-S", *(arguments if arguments[1:] else ["-c", *arguments])]
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


def test_the_example_of_the_readme_runs(installed):
    (code,) = re.findall(r"^```python\n(.*?)^```", (CLONE / "README.md").read_text(), re.M | re.S)
    small = {"my-ddpm": "fashion-mnist/likelihood", "n=8": "n=1", "steps=64": "steps=4"}
    for long, short in small.items():
        assert long in code
        code = code.replace(long, short)
    assert "network evaluations a sample" in run(installed, code)


def test_a_folder_of_diffusers_is_read_without_torchvision(installed, tmp_path):
    tiny_models.save_diffusers(tmp_path, tiny_models.tiny_unet(sample_size=32))
    code = f"from cartoonists import load_model; print(load_model({str(tmp_path)!r}).shape)"
    said = run(installed, f"import sys; {code}; print('torchvision' in sys.modules)")
    assert said.splitlines() == ["(3, 32, 32)", "False"]


def test_the_command_scores_images_with_a_bundled_model(installed, tmp_path):
    (command,) = [p for p in installed.parents[2].rglob("bin/cartoonists") if p.is_file()]
    arguments = ["score", "fashion-mnist/likelihood", "fashion-mnist", "--limit", "1"]
    table = tmp_path / "scores.csv"
    run(installed, str(command), *arguments, "--steps", "4", "--out", str(table))
    assert len(table.read_text().splitlines()) == 2


def test_the_wheel_says_that_it_is_typed(installed):
    assert (installed / "cartoonists" / "py.typed").is_file()


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
