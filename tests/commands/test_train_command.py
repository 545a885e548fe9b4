"""`cartoonists train`: what it leaves, resumption, and refusals."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from cartoonists.commands import training
from cartoonists.commands.app import app
from cartoonists.experiments import training as trainings
from cartoonists.models import training as loop
from cartoonists.models.checkpoints import load_model

TINY = ["--size", 8, "--grey", "--steps", 4, "--batch", 4, "--held-out", 2, "-q"]
PLACE = "dots.npy"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """20 images of 8 × 8 in an array, in an empty folder; a network of one block.

    The bound itself has its own tests.
    """

    def bound(model, images, n_images, steps):
        assert images.shape == (2, 1, 8, 8) and model.shape == (1, 8, 8) and steps == 64
        return {"images": n_images, "bits_per_dim": 7.25, "standard_error": 0.5}

    monkeypatch.setattr(trainings, "held_out_bound", bound)
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
    np.save(tmp_path / PLACE, images)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "WIDTHS", ([32],))
    return tmp_path


def call(*words, code=0):
    result = CliRunner().invoke(app, ["train", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.stdout + result.stderr
    return result


def test_a_model_is_left_that_loads_with_its_card(folder):
    said = json.loads(call(PLACE, *TINY, "-o", "m.safetensors", "--json").stdout)
    model = load_model(folder / "m.safetensors")
    assert model.shape == (1, 8, 8) and model.head == "eps"
    card = model.card
    assert card["name"] == "dots/m" and card["training"]["images"] == 18
    assert said["held_out"] == card["held_out"] and card["held_out"]["images"] == 2
    assert said["steps_done"] == 4 and said["settings"]["weighting"] == "likelihood"
    names = {file.name for file in folder.iterdir()} - {PLACE}
    assert names == {
        "m.safetensors", "m.safetensors.json", "m.json", "m.csv", "m.pictures.csv",
        "m.pictures.csv.json",
    }  # fmt: skip
    parts = pd.read_csv("m.pictures.csv")["split"].value_counts()
    assert parts.to_dict() == {"train": 18, "test": 2}
    before = (folder / "m.safetensors").stat().st_mtime_ns
    again = call(PLACE, *TINY, "-o", "m.safetensors")
    assert (folder / "m.safetensors").stat().st_mtime_ns == before
    assert "held out 7.250 ± 0.500 bits/dim" in again.stdout and again.stderr == ""


def test_a_flow_starts_from_a_diffusion_model(folder):
    """One step of next to no length: the same field, in the variable of the flow."""
    few = ["--batch", 4, "--held-out", 0, "-q"]
    call(PLACE, *TINY, "-o", "m.safetensors")
    flow = [PLACE, "--start", "m.safetensors", "--kind", "RectifiedFlow", "--steps", 1, *few]
    call(*flow, "--learning-rate", "1e-12", "-o", "f.safetensors")
    diffusion, flow = (load_model(folder / f"{name}.safetensors") for name in "mf")
    assert flow.head == "velocity" and flow.card["training"]["start"] == "m.safetensors"
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    scale = flow.schedule.power(1.0).sqrt()
    difference = flow.denoise(scale * x, 1.0) - diffusion.denoise(x, 1.0)
    assert difference.abs().max() < 1e-4


def test_a_stopped_training_ends_as_the_undisturbed_one(folder, monkeypatch):
    call(PLACE, *TINY, "-o", "whole.safetensors")
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    step, calls = loop.Trainer.step, iter(range(2))

    def stopping(trainer, *words):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return step(trainer, *words)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "step", stopping)
        assert "interrupted" in call(PLACE, *TINY, "-o", "out.safetensors", code=130).stderr
    assert torch.load(folder / "out.state.pt", weights_only=True)["step"] == 2
    call(PLACE, *TINY, "-o", "out.safetensors")
    whole, resumed = (folder / f"{name}.safetensors" for name in ("whole", "out"))
    assert whole.read_bytes() == resumed.read_bytes()
    assert (folder / "whole.csv").read_text() == (folder / "out.csv").read_text()
    assert not (folder / "out.state.pt").exists()


def test_a_dry_run_leaves_nothing(folder):
    said = call(PLACE, *TINY, "-o", "m.safetensors", "--dry-run").stdout
    assert said == "0 steps of 18 images done: m.safetensors\n"
    assert {file.name for file in folder.iterdir()} == {PLACE}


REFUSED = [
    (["-o", "m.pt"], "out: m.pt found, allowed: a name that ends in .safetensors"),
    (["-o", "m.safetensors", "--size", 7], "size: 7 found, allowed: an even number"),
    (["-o", "m.safetensors", "--kind", "VE"], "kind: 'VE' found, allowed 'VP' and"),
    (["-o", "m.safetensors", "--weighting", "uniform"], "allowed with kind 'VP' 'likelihood'"),
    (["-o", "m.safetensors", "--start", "absent/model"], "no such file or folder"),
    (["-o", "m.safetensors", "--device", "abacus"], "device: 'abacus' found"),
    (["-o", "begun.safetensors"], "begun with other settings (steps was 9, is 4"),
    (["-o", "mine.safetensors"], "of no training of this command"),
]


@pytest.mark.parametrize(("words", "named"), REFUSED, ids=lambda value: str(value)[:40])
def test_refusals_are_one_line(folder, words, named):
    (folder / "mine.safetensors").write_text("")
    asked = training.prepare(
        PLACE, training.recipe_of("VP", None, steps=9, batch=4),
        training.TrainSettings(8, 1, None, 2), folder / "begun.safetensors",
    )  # fmt: skip
    training.write_json(folder / "begun.safetensors.json", {"params": asked.settings})
    result = call(PLACE, *TINY, *words, code=1)
    assert result.stdout == "" and result.stderr.count("\n") == 1 and named in result.stderr


def test_a_data_set_of_another_size_is_refused(folder, monkeypatch):
    class Images:
        images = np.zeros((4, 1, 28, 28), np.uint8)

    monkeypatch.setattr(training, "find_dataset", lambda name: folder)
    monkeypatch.setitem(training.LOADERS, "fashion-mnist", lambda place, part: Images)
    said = call("fashion-mnist", *TINY, "-o", "m.safetensors", code=1).stderr
    assert "size: 1 × 8 × 8 found, allowed with fashion-mnist: 1 × 28 × 28" in said
