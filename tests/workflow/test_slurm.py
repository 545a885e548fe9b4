"""The workflow on a real Slurm of two nodes: the tables of a local run, and a job tried again."""

import random
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from workflow_clone import Clone

SCRIPT = Path(__file__).with_name("local_slurm.sh")
NOT_INSTALLED = 77
FAIL_ONCE = """
from pathlib import Path
if not Path("tried").exists():
    Path("tried").touch()
    raise SystemExit("first attempt")
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def slurm(monkeypatch):
    """A running Slurm, its clients on the path; munge wants a folder that all may enter."""
    folder, port = Path(tempfile.mkdtemp()), random.SystemRandom().randrange(20000, 30000)
    folder.chmod(0o755)
    try:
        started = subprocess.run(
            [SCRIPT, "start", folder, str(port)],
            capture_output=True, text=True, cwd="/", timeout=240,
        )  # fmt: skip
        if started.returncode == NOT_INSTALLED:
            pytest.skip("Slurm is not installed: apt-get install slurm-wlm munge")
        if started.returncode:  # what a container forbids is no fault of the workflow's
            reason = started.stderr.strip().splitlines() or ["no message"]
            pytest.skip(f"Slurm cannot be started here: {reason[-1]}")
        with monkeypatch.context() as patch:
            patch.setenv("PATH", str(folder / "bin"), prepend=":")
            yield
    except subprocess.TimeoutExpired:
        pytest.skip("Slurm cannot be started here within four minutes")
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=False)
        shutil.rmtree(folder)


def test_slurm_gives_the_same_table_and_tries_a_failed_job_again(slurm, tmp_path):
    target = "results/fashion-mnist/likelihood/likelihood.csv"
    local, remote = Clone(tmp_path / "local"), Clone(tmp_path / "remote")
    assert local.snakemake(target).returncode == 0
    script = remote.folder / "workflow" / "scripts" / "concatenate.py"
    script.write_text(FAIL_ONCE + script.read_text())
    command = remote.command(
        target, "--workflow-profile", "workflow/profiles/slurm", "--slurm-no-account",
        "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2",
        "--seconds-between-status-checks", "2", "--latency-wait", "10",
    )  # fmt: skip
    done = subprocess.run(**command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert (remote.folder / target).read_bytes() == (local.folder / target).read_bytes()

    asked = r"^rule likelihood_table:.*?mem_mb=(\d+).*?runtime=(\d+)"
    tries = re.findall(asked, done.stderr, re.M | re.S)
    assert tries == [("1000", "10"), ("2000", "20")]
    jobs = subprocess.run(
        ["squeue", "-h", "-t", "all", "-o", "%N"], capture_output=True, text=True, check=True
    )
    assert set(jobs.stdout.split()) == {"node1", "node2"}
