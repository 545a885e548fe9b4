"""What others expect of a repository: environments, metadata, licences, use as a module."""

import csv
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

CLONE = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^([\w.-]+)==([\w.]+)(\+cpu)?$")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def lock() -> dict[str, str]:
    lines = (CLONE / "requirements.lock").read_text().splitlines()
    pins = [PIN.match(line) for line in lines if not line.startswith("#")]
    return {normal(pin[1]): pin[2] for pin in pins if pin}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((CLONE / "pyproject.toml").read_text())["project"]


def environment(name: str) -> dict[str, str]:
    content = yaml.safe_load((CLONE / "envs" / name).read_text())
    (packages,) = [entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict)]
    pins = [PIN.match(package) for package in packages if not package.startswith("--")]
    return {normal(pin[1]): pin[2] for pin in pins if pin}


@pytest.mark.parametrize("name", ["cpu.yaml", "gpu.yaml"])
def test_conda_environments_have_the_versions_of_the_lock(lock, name):
    packages = environment(name)
    assert packages.items() <= lock.items()
    assert packages == environment("cpu.yaml")


def test_conda_environments_hold_what_the_library_needs(project):
    needed = {normal(re.split(r"[<>=]", entry)[0]) for entry in project["dependencies"]}
    assert needed <= set(environment("cpu.yaml"))


def test_the_lock_holds_every_extra_that_the_default_run_needs(project, lock):
    for extra, entries in project["optional-dependencies"].items():
        names = {normal(re.split(r"[<>=\[]", entry)[0]) for entry in entries}
        assert names <= set(lock) or extra in ("text", "live"), extra


def test_the_version_is_the_same_everywhere(project):
    citation = yaml.safe_load((CLONE / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert f"\n## {project['version']}" in (CLONE / "CHANGELOG.md").read_text()


def test_every_bundled_file_of_others_is_among_the_third_party_licences():
    text = (CLONE / "resources" / "THIRD_PARTY.md").read_text()
    folders = {f"images/{name}" for name in re.findall(r"`images/([\w-]+)/", text)}
    with (CLONE / "resources" / "registry.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    others = [row for row in rows if not row["source"].startswith("trained by")]
    assert {row["path"].rpartition("/")[0] for row in others} == folders
    for row in others:
        licence = re.search(r"\((.+)\)", row["licence"])[1]
        assert (CLONE / "resources" / licence).is_file() and licence in text


def test_continuous_integration_calls_targets_of_the_makefile():
    actions = yaml.safe_load((CLONE / ".github" / "workflows" / "ci.yml").read_text())
    targets = actions["jobs"]["make"]["strategy"]["matrix"]["target"]
    documented = re.findall(r"^make (\w+)", (CLONE / "CONTRIBUTING.md").read_text(), re.M)
    assert targets == documented and len(targets) == 3
    makefile = (CLONE / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)


def planned(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", "-n", *arguments, "--quiet", "rules"]
    overlay = ["--configfile", str(CLONE / "config" / "ci.yaml")]
    done = subprocess.run([*command, *overlay], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_another_workflow_can_use_this_one_as_a_module(tmp_path):
    (tmp_path / "Snakefile").write_text(
        f"""
configfile: "{CLONE}/config.yaml"

module cartoonists:
    snakefile: "{CLONE}/Snakefile"
    config: config

use rule * from cartoonists as cartoonists_*

rule mine:
    input: "results/theory/tracking.csv", "results/cifar10/quality/likelihood.csv"
    output: "mine.txt"
    shell: "cat {{input}} > {{output}}"
"""
    )
    plan = planned(tmp_path, "mine")
    assert re.search(r"^cartoonists_theory_table +1$", plan, re.M)
    assert re.search(r"^cartoonists_likelihood_chunk +2$", plan, re.M)


def test_the_catalogue_finds_the_workflow_where_it_looks(tmp_path):
    catalogue = yaml.safe_load((CLONE / ".snakemake-workflow-catalog.yml").read_text())
    assert catalogue["usage"]["software-stack-deployment"]["conda"]
    assert (CLONE / "config" / "README.md").is_file()
    plan = planned(tmp_path, "--snakefile", str(CLONE / "workflow" / "Snakefile"))
    assert re.search(r"^report +1$", plan, re.M)


def test_an_address_without_a_clone_ends_in_one_line(tmp_path):
    """What snakedeploy writes: the configuration is there, the helpers of the rules are not."""
    assert (CLONE / "config" / "config.yaml").read_text() == (CLONE / "config.yaml").read_text()
    if subprocess.run(["git", "rev-parse"], cwd=CLONE, capture_output=True).returncode:
        pytest.skip("this is no git clone")
    (tmp_path / "Snakefile").write_text(
        f"""
configfile: "{CLONE}/config/config.yaml"
module cartoonists:
    snakefile: "git+file://{CLONE}/Snakefile@HEAD"
    config: config
use rule * from cartoonists
"""
    )
    command = [sys.executable, "-m", "snakemake", "-n"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    said = done.stderr.strip().splitlines()[-1]
    assert "no local clone" in said and "docs/how-to/module.md" in said
