"""Machines as people have them: line ends, homes, paths and styles of their own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cartoonists.files.resources import file_sha256, registry

CLONE = Path(__file__).resolve().parents[2]


def git(*arguments: str, folder: Path = CLONE) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command = ["git", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("autocrlf", ["true", "input", "false"])
def test_a_clone_has_the_registered_bytes_whatever_git_does_to_line_ends(tmp_path, autocrlf):
    if git("rev-parse").returncode:
        pytest.skip("this is no git clone")
    shutil.copy(CLONE / ".gitattributes", tmp_path)  # as it is now, committed or not
    copy = tmp_path / "copy"
    options = ["-c", f"core.autocrlf={autocrlf}", "-c", "core.eol=crlf"]
    done = git(*options, "clone", "--quiet", "--no-checkout", str(CLONE), str(copy))
    assert done.returncode == 0, done.stderr
    attributes = ["-c", f"core.attributesFile={CLONE / '.gitattributes'}"]
    done = git(*options, *attributes, "checkout", "--quiet", "HEAD", folder=copy)
    assert done.returncode == 0, done.stderr
    rows = registry(copy / "resources").values()
    assert len(rows) > 10
    for row in rows:
        assert file_sha256(copy / "resources" / row.path) == row.sha256, row.path
    for name in ("Makefile", "Snakefile", ".ci/run", "tests/workflow/local_slurm.sh"):
        assert b"\r" not in (copy / name).read_bytes(), name


def makes(**environment: str) -> str:
    """The home folder of what ``make`` runs."""
    text = (CLONE / "Makefile").read_text() + "\nhome:\n\t@echo $$HOME\n"
    command = ["make", "-s", "-f", "-", "home"]
    settings = os.environ | environment
    done = subprocess.run(
        command, input=text, cwd=CLONE, env=settings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_home_that_cannot_be_written_to_is_replaced(tmp_path):
    assert makes(HOME=str(tmp_path)) == str(tmp_path)
    for home in ("/dev/null", "/sys/fs"):
        assert makes(HOME=home) == f"{CLONE}/.home"


def test_nothing_in_a_shell_command_is_unquoted():
    """Paths of the working folder, of the clone and of what stands in ``params``."""
    for path in [CLONE / "Snakefile", *(CLONE / "workflow" / "rules").glob("*.smk")]:
        for command in re.findall(r"^    shell:\n((?:        .*\n)+)", path.read_text(), re.M):
            for name in re.findall(r"\{(\w[^}]*)\}", command):
                assert name.endswith(":q") or name == "params.drop", f"{path.name}: {{{name}}}"


def test_jobs_find_an_interpreter_whose_path_needs_quotes(tmp_path):
    folder = tmp_path / "-a (b) ü"
    folder.mkdir()
    environment = folder / "environment"
    environment.symlink_to(sys.prefix)
    code = """
import subprocess, sys
sys.path.insert(0, "workflow")
import plan
before = sys.prefix
plan.use_python_of_path()
ask = sys.executable + " -c 'import sys; print(sys.prefix)'"
done = subprocess.run(ask, shell=True, capture_output=True, text=True)
print(done.stdout.strip() == before, sys.executable)
"""
    done = subprocess.run(
        [environment / "bin" / "python", "-c", code], cwd=CLONE, capture_output=True, text=True
    )
    assert done.stdout.split() == ["True", "python"], done.stderr


def test_jobs_draw_into_no_window(monkeypatch):
    monkeypatch.syspath_prepend(str(CLONE / "workflow"))
    import plan

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONPATH"):
        monkeypatch.setenv(name, "1")  # restored afterwards, as the next is
    monkeypatch.setenv("MPLBACKEND", "TkAgg")
    plan.use_clone(str(CLONE))
    assert "MPLBACKEND" not in os.environ
