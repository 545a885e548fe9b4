"""Runs killed with SIGKILL end with the tables, and the weights, of an undisturbed one."""

import time

import numpy as np
import pytest
import torch
from kill_runs import kill_runs
from workflow_clone import Clone, kill
from written_data import write_fashion

# few jobs: a model's table from two chunks, and a table of closed forms from two parts
TARGETS = ["results/fashion-mnist/likelihood/likelihood.csv", "results/theory/high_density.csv"]
SMALL = {
    "run_models": ["fashion-mnist/likelihood"],
    "stein": {"n_samples": 2, "points": 3, "pilot_steps": 4, "trial_samples": 1},
    "likelihood": {"estimators": {"sde_steps": 4, "ode_steps": 2, "bound_steps": 2}},
    "theory": {"n_samples": 4, "steps": [4, 8]},
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_run_ends_with_the_same_tables(tmp_path):
    assert kill_runs(tmp_path, 1, TARGETS, kills=2, **SMALL) == []  # or once, if it ends before


STEPS = 300
TRAINED = "results/training/fashion-mnist/likelihood"
RECIPE = {
    "start": None,
    "architecture": {"name": "PixelUNet", "channels": 1, "size": 28, "widths": [8, 32]},
    "recipe": {"weighting": "likelihood", "steps": STEPS, "batch": 4},
    "held_out": {"n_images": 2, "steps": 2},
    "save_every_s": 1,
}


def trained(clone, **settings):
    done = clone.snakemake("train", "--rerun-incomplete", **settings)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    files = [clone.folder / f"{TRAINED}.{kind}" for kind in ("safetensors", "json", "csv")]
    return [file.read_bytes() for file in files]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_training_ends_with_the_same_weights_and_losses(tmp_path):
    rng = np.random.default_rng(0)
    for prefix in ("train", "t10k"):
        images, labels = rng.integers(0, 256, (40, 28, 28)), np.arange(40) % 10
        write_fashion(tmp_path / "data", images.astype(np.uint8), labels.astype(np.uint8), prefix)
    settings = {
        "data_dir": str(tmp_path / "data"),
        "training": {"fashion-mnist/likelihood": RECIPE},
    }
    expected = trained(Clone(tmp_path / "whole"), **settings)

    clone = Clone(tmp_path / "killed")
    state, steps = clone.folder / f"{TRAINED}.state.pt", 0
    run = clone.start("train", **settings)
    while steps < STEPS // 2:  # a row of losses is written by then
        assert run.poll() is None
        time.sleep(0.1)
        steps = torch.load(state, weights_only=True)["step"] if state.exists() else 0
    kill(run)
    steps = torch.load(state, weights_only=True)["step"]
    assert steps < STEPS and not (clone.folder / f"{TRAINED}.csv").exists()
    clone.snakemake("train", "--unlock", **settings)
    assert trained(clone, **settings) == expected
    log = (clone.folder / "results/logs/training/fashion-mnist/likelihood.log").read_text()
    assert f" {steps}/{STEPS} " in log and f" 0/{STEPS} " not in log  # it went on from there
