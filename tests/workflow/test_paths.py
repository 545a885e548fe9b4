"""Clone, working folder, interpreter, data and model in paths that a shell would take apart."""

import shutil
import subprocess
import sys

import pytest
import yaml
from PIL import Image
from workflow_clone import CLONE, Clone

TRAINING = {
    "data": "path:my pictures (ü)",
    "start": None,
    "architecture": {"name": "PixelUNet", "channels": 1, "size": 4, "widths": [8, 32]},
    "recipe": {"weighting": "likelihood", "steps": 1},
    "held_out": {"n_images": 1, "steps": 1},
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_jobs_run_in_any_path(tmp_path):
    """A script, its interpreter, and pictures; the whole run is planned with a model there too."""
    folder = tmp_path / "-a (b) ü's"
    clone = Clone(folder)
    (folder / "environment").symlink_to(sys.prefix)
    (folder / "my pictures (ü)").mkdir()
    for i in range(10):
        Image.new("L", (4, 4), i).save(folder / "my pictures (ü)" / f"{i} (copy).png")
    weights = CLONE / "resources" / "models" / "fashion-mnist" / "likelihood.safetensors"
    (folder / "-my model").mkdir()
    for file in (weights, weights.with_suffix(".json")):
        shutil.copy(file, folder / "-my model")
    settings = {
        "training": {"pets/likelihood": TRAINING},
        "models": {
            "pets/likelihood": {"source": "trained"},
            "mine/a": {"source": f"path:{folder}/-my model/likelihood.safetensors"},
        },
        "run_models": ["pets/likelihood", "mine/a"],
        "briefly": [],
    }
    command = clone.command("--cores", "1", "results/config.yaml", "results/pets/pictures.csv")
    command["args"][0] = str(folder / "environment" / "bin" / "python")
    command["args"] = command["args"] + ["overlay.yaml"]
    (folder / "overlay.yaml").write_text(yaml.safe_dump(settings))
    done = subprocess.run(**command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (folder / "results" / "pets" / "pictures.csv").read_text().count("(copy).png") == 10
    assert yaml.safe_load((folder / "results" / "config.yaml").read_text())["run_models"]
    assert clone.planned(**settings)["report"] == 1
