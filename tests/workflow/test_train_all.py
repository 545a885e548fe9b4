"""`make train-all` on tiny settings: everything is left, a second run adds nothing."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from written_data import write_fashion

from cartoonists.experiments import training as trainings
from cartoonists.files.errors import DataError
from cartoonists.models.checkpoints import load_model
from cartoonists.models.recipes import Recipe

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / "workflow"))

import train_all  # noqa: E402  (after the path above)

TINY = {
    "start": None,
    "share": 1,
    "architecture": {"name": "PixelUNet", "channels": 1, "size": 28, "widths": [8, 32]},
    "recipe": {"weighting": "quality", "steps": 1, "batch": 4, "warmup": 1},
    "held_out": {"n_images": 2, "steps": 2},
}


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for prefix in ("train", "t10k"):
        images = rng.integers(0, 256, (8, 28, 28), dtype=np.uint8)
        write_fashion(tmp_path / "data", images, np.arange(8, dtype=np.uint8), prefix)
    recipes = {"training": {"fashion-mnist/quality": TINY}}
    (tmp_path / "recipes.yaml").write_text(yaml.safe_dump(recipes))
    return tmp_path


def run(folder):
    train_all.main(
        ["train", str(folder / "out"), "--minutes", "0.02", "--pack", str(folder / "pack.npz"),
         "--recipes", str(folder / "recipes.yaml")]
    )  # fmt: skip
    return {file.name: file.stat().st_mtime_ns for file in (folder / "out").rglob("*.*")}


def test_everything_is_trained_evaluated_and_kept(folder, capsys, monkeypatch):
    def bound(model, images, n_images, steps):  # the bound itself has its own tests
        assert images.shape == (8, 1, 28, 28) and model.shape == (1, 28, 28) and steps == 2
        return {"images": n_images, "bits_per_dim": 5.0}

    monkeypatch.setattr(trainings, "held_out_bound", bound)
    train_all.main(["pack", str(folder / "pack.npz"), "--data", f"fashion-mnist={folder}/data"])
    first = run(folder)
    assert set(first) == {"quality.safetensors", "quality.json", "throughput.csv"}
    model = load_model(folder / "out/fashion-mnist/quality.safetensors")
    assert model.card["name"] == "fashion-mnist/quality" and model.card["held_out"]["images"] == 2
    training = model.card["training"]
    assert training["minutes"] > 0 and training["steps"] >= 1 and training["images"] == 8
    rates = pd.read_csv(folder / "out/throughput.csv")
    assert list(rates["precision"]) == ["fp32", "bf16"] and rates["chosen"].sum() == 1
    assert training["precision"] == rates.loc[rates["chosen"], "precision"].item()
    assert "fashion-mnist/quality: 5.0 bits/dim held out" in capsys.readouterr().out
    assert run(folder) == first


def test_a_network_too_large_and_a_missing_pack_are_refused(folder):
    with pytest.raises(ValueError, match=r"a/b: weights of \d+ bytes in fp16, allowed 8388608"):
        large = {**TINY["architecture"], "widths": [256, 256]}
        train_all.network_for("a/b", {"architecture": large}, Recipe("quality", 1))
    with pytest.raises(DataError, match="no pack of images"):
        run(folder)
    with pytest.raises(SystemExit):
        train_all.main(["pack", "out", "--data", "fashion-mnist"])


def test_every_recipe_of_the_project_can_be_trained():
    recipes = yaml.safe_load(train_all.RECIPES.read_text())["training"]
    plan = train_all.Plan(recipes, Path("pack"), Path("out"), 60, "cpu")
    assert sum(plan.minutes.values()) == pytest.approx(48)
    for name, settings in recipes.items():
        recipe = plan.recipe(name)
        assert name.split("/")[1] in (recipe.weighting, "flow")
        assert (recipe.loss.head == "velocity") == name.endswith("/flow")
        train_all.network_for(name, settings, recipe)
