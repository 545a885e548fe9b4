"""The workflow by the address of a git repository, in a folder of its own, and as a module."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from workflow_clone import Clone

DEPLOYED = """
configfile: "config.yaml"

module cartoonists:
    snakefile: "{snakefile}"
    config: config
    {more}

use rule * from cartoonists
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A git repository with the files that a run needs, all in one commit."""
    folder = tmp_path_factory.mktemp("deploy") / "repository"
    Clone(folder)
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", "-C", folder, *command], check=True)
    return folder


def plan(folder: Path, repository: Path, snakefile: str, more: str = ""):
    """The plan of one topic in a folder that has the configuration, as snakedeploy leaves it."""
    folder.mkdir()
    (folder / "config.yaml").write_bytes((repository / "config.yaml").read_bytes())
    (folder / "Snakefile").write_text(DEPLOYED.format(snakefile=snakefile, more=more))
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", "--", "theory"]
    unset = ("PYTHONPATH", "GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE")
    environment = {k: v for k, v in os.environ.items() if k not in unset}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_an_address_of_a_repository_is_checked_out_and_planned(repository, tmp_path):
    git = ["git", "-C", repository, "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    address = f"git+file://{repository}/workflow/Snakefile@{commit}"
    done = plan(tmp_path / "my (run)", repository, address)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search("^theory +1$", done.stdout + done.stderr, re.M)
    checkout = tmp_path / "my (run)" / ".snakemake" / "checkouts" / commit
    assert (checkout / "resources" / "registry.csv").is_file()


@pytest.mark.parametrize(("more", "said"), [("", None), ('prefix: "a"', "prefix: 'a/' found")])
def test_a_module_is_planned_and_its_prefix_refused(repository, tmp_path, more, said):
    done = plan(tmp_path / "mine", repository, str(repository / "Snakefile"), more)
    if said is None:
        assert done.returncode == 0, done.stderr[-3000:]
    else:
        assert done.returncode == 1 and said in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
