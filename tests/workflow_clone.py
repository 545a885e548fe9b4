"""A copy of this clone in which Snakemake runs with the ci settings, for tests."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import yaml

CLONE = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "config.yaml", "config", "envs", "notebooks", "resources", "src", "workflow")


class Clone:
    """The files that a run needs, in a folder of their own."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        for part in PARTS:
            source = CLONE / part
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(source, folder / part, ignore=ignored)
            else:
                shutil.copy(source, folder / part)

    def command(self, *arguments: str, **settings) -> dict:
        """Arguments of ``subprocess.run`` or ``Popen`` for a run with these settings."""
        overlay = self.folder / "overlay.yaml"
        overlay.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", "snakemake", *arguments]
        command += ["--configfile", "config/ci.yaml", *(["overlay.yaml"] if settings else [])]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "HF_HUB_OFFLINE": "1"}
        environment.pop("PYTHONPATH", None)  # the workflow finds its library without help
        return {"args": command, "cwd": self.folder, "env": environment}

    def snakemake(self, *arguments: str, **settings) -> subprocess.CompletedProcess:
        """One run, on two cores unless ``arguments`` say otherwise."""
        command = self.command("--cores", "2", *arguments, **settings)
        return subprocess.run(**command, capture_output=True, text=True)

    def start(self, *arguments: str, **settings) -> subprocess.Popen:
        """A run in a process group of its own, for `kill`."""
        command = self.command("--cores", "2", *arguments, **settings)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(**command, **quiet, start_new_session=True)

    def planned(self, *targets: str, **settings) -> dict[str, int]:
        """Jobs that a run would do: rule name to number."""
        done = self.snakemake(*targets, "--dry-run", "--quiet", "rules", **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        table = (done.stdout + done.stderr).partition("Job stats:")[2].split("\n\n")[0]
        return {m[1]: int(m[2]) for m in re.finditer(r"^(\w+) +(\d+)$", table, re.M)}


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to a run's whole process group."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
