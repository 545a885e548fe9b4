"""docs/how-to/own-network.md to the letter: from a network to jobs of the workflow."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from workflow_clone import CLONE, Clone

from cartoonists import load_model

PAGE = (CLONE / "docs" / "how-to" / "own-network.md").read_text()


def block(language: str) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)[0]


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "own.py").write_text(block("python"))
    (tmp_path / "network.yaml").write_text(block("yaml"))
    return tmp_path


def test_the_code_is_short_and_the_model_loads_under_its_name(folder, monkeypatch):
    code = [line for line in block("python").splitlines() if line.strip()]
    assert len(code) <= 15
    monkeypatch.chdir(folder)
    (name,) = re.findall(r'load_model\("(python:[^"]+)"\)', PAGE)
    assert name in block("yaml")
    model = load_model(name)
    pixels = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    assert torch.equal(model.to_pixels(model.from_pixels(pixels)), pixels)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_topic_is_planned_a_job_runs_and_a_change_of_the_file_makes_it_anew(folder):
    clone = Clone(folder / "clone")
    (clone.folder / "own.py").write_text(block("python"))
    settings = yaml.safe_load(block("yaml"))
    planned = clone.planned(**settings)
    assert planned["fetch_model"] == 1
    assert {"likelihood", "high_density", "compression", "blur", "control"} <= planned.keys()
    table = "results/digits/own/stein.npz"
    done = clone.snakemake(table, **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    assert clone.planned(table, **settings) == {}
    with (clone.folder / "own.py").open("a") as file:
        file.write("# another network\n")
    assert clone.planned(table, **settings) == {"fetch_model": 1, "stein": 1, "total": 2}
