"""docs/how-to/own-data.md, to the letter: a folder of pictures, one configuration, one command."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from workflow_clone import CLONE, Clone

PAGE = (CLONE / "docs" / "how-to" / "own-data.md").read_text()
OWN = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)[0]
FEW = {  # what takes its time in the page's own configuration
    "steps: 20000": "steps: 4, batch: 4, warmup: 2",
    "widths: [32, 64, 128], stem_width: 12": "widths: [8, 32], stem_width: 4",
    "held_out: {n_images: 64, steps: 64}": "held_out: {n_images: 2, steps: 4}",
    "size: 32": "size: 8",
}
TINY = {
    "likelihood": {"n_samples": 2, "n_images": 4},
    "stein": {"n_samples": 2, "points": 3, "pilot_steps": 4, "bases": ["pixels"]},
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone with a folder of 31 pictures, one of them turned, and the page's configuration."""
    clone = Clone(tmp_path_factory.mktemp("own"))
    chance = np.random.default_rng(0)
    for i in range(31):
        folder = clone.folder / "my pets" / ("cats" if i % 2 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 6 if i == 4 else 1
        pixels = chance.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png", exif=exif)
    (clone.folder / "my pets" / "cats" / "._01.png").write_bytes(b"of a Mac")
    text = OWN.replace("/data/pets", f"{clone.folder}/my pets")
    for long, short in FEW.items():
        assert long in text
        text = text.replace(long, short)
    (clone.folder / "own.yaml").write_text(text)
    return clone


def test_one_command_goes_from_a_folder_of_pictures_to_the_figures(clone):
    done = clone.snakemake("results/pets/likelihood/held_out.csv", **settings(clone))
    assert done.returncode == 0, done.stderr[-3000:]
    results = clone.folder / "results"
    pictures = pd.read_csv(results / "pets" / "pictures.csv", keep_default_na=False)
    assert pictures["split"].value_counts().to_dict() == {"train": 28, "test": 3}
    turned = pictures[pictures["treatment"] != ""]
    assert turned[["file", "treatment"]].values.tolist() == [
        ["dogs/04.png", "turned (EXIF orientation 6)"]
    ]
    table = pd.read_csv(results / "pets" / "likelihood" / "held_out.csv")
    held_out = pictures[pictures["split"] == "test"]
    assert table["file"].tolist() == held_out["file"].tolist()
    assert table["image"].tolist() == [0, 1, 2]
    assert np.isfinite(table["ode_bits_per_dim"]).all()
    card = json.loads((results / "training" / "pets" / "likelihood.json").read_text())
    assert card["training"]["images"] == 28 and card["held_out"]["images"] == 2


def test_every_figure_can_be_planned(clone):
    plan = clone.planned(**settings(clone))
    assert plan["report"] == 1 and "own_data" not in plan
    assert "windows_model" not in plan  # there is no classifier of pets


def settings(clone) -> dict:
    return yaml.safe_load((clone.folder / "own.yaml").read_text()) | TINY
