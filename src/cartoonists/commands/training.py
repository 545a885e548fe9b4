"""Train a model of images: weights with a card, the loss, and the bound of held-out images."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from cartoonists.commands.runs import check_unchanged, identity
from cartoonists.experiments.training import (
    architecture_for,
    first_network,
    store_model,
    with_held_out,
)
from cartoonists.files.artifacts import (
    make_record,
    package_version,
    read_record,
    write_json,
    write_table,
)
from cartoonists.files.configs import read_json
from cartoonists.images.data import LOADERS, find_dataset
from cartoonists.images.own_data import split_for_training
from cartoonists.models.checkpoints import load_model
from cartoonists.models.execution import Execution
from cartoonists.models.recipes import LOSSES, Recipe
from cartoonists.models.training import TrainingImages, train

SUFFIX = ".safetensors"
WIDTHS = ([96], [32, 96], [32, 64, 128])  # by how often the half-sized map can be halved
SAVE_EVERY = 60.0  # seconds
BOUND_STEPS = 64  # of the chain whose bound is measured


@dataclass(frozen=True)
class TrainSettings:
    """What is asked beyond images and recipe: size and colour, the start, and what is held out."""

    size: int = 32
    channels: int = 3
    start: str | None = None
    held_out: int = 64  # images; 0 for none


@dataclass(frozen=True)
class Training:
    """A training that is checked and ready; ``settings`` tell it from others."""

    name: str
    images: TrainingImages
    test: np.ndarray
    table: pd.DataFrame  # of each picture: its part, and what was done to it
    architecture: dict[str, Any]
    recipe: Recipe
    asked: TrainSettings
    out: Path
    device: str
    settings: dict[str, Any]

    def network(self) -> nn.Module:
        """The network that it begins with."""
        return first_network(self.architecture, self.recipe, self.asked.start)

    def go(self, quiet: bool = False) -> dict[str, Any]:
        """Train, from where it was stopped, and measure what is held out; returns the card."""
        if not self.out.exists():
            self._train(quiet)
        if not self.asked.held_out:
            return read_json(self.out.with_suffix(".json"))
        return with_held_out(self.out, self.test, self.asked.held_out, BOUND_STEPS, self.device)

    def _train(self, quiet: bool) -> None:
        record = make_record("cartoonists train", self.settings, [])
        write_json(f"{self.out}.json", record)
        if len(self.table):
            write_table(self.out.with_suffix(".pictures.csv"), self.table, record)
        state, loss = self.out.with_suffix(".state.pt"), self.out.with_suffix(".csv")
        trained = train(
            self.network(), self.images, self.recipe, state, loss,
            save_every_s=SAVE_EVERY, device=self.device, quiet=quiet,
        )  # fmt: skip
        said = {"architecture": self.architecture, "start": self.asked.start}
        store_model(self.out, self.name, said, self.images, self.recipe, trained)
        state.unlink()


def recipe_of(kind: str, weighting: str | None, **options: Any) -> Recipe:
    """A recipe; without a weighting the first of its kind.  Raises ValueError."""
    known = LOSSES.get(kind)
    first = next(iter(known.weights)) if known else ""
    return Recipe(weighting or first, kind=kind, **options)


def prepare(
    place: str, recipe: Recipe, asked: TrainSettings, out: Path, device: str = "auto"
) -> Training:
    """The training of a network on the images of a place, into the file ``out``.

    Raises DataError, CheckpointError for ``start``, and ValueError for the settings and where
    ``out`` is of another training.
    """
    if out.suffix != SUFFIX:
        raise ValueError(f"out: {out} found, allowed: a name that ends in {SUFFIX}")
    architecture, of_start = _architecture(asked)
    shape = (architecture["channels"], architecture["size"], architecture["size"])
    train_images, test, table = read_split(place, shape)
    images = TrainingImages.of(train_images)
    settings = {
        "command": "train",
        "version": package_version("cartoonists"),
        "images": place,
        "images_sha256": images.digest,
        **asdict(recipe),
        **asdict(asked),
        "start_sha256": of_start,
    }
    settings = json.loads(json.dumps(settings))
    _check_place(out, settings)
    found = str(Execution(device).resolved_device)
    dataset = place if place in LOADERS else Path(place).resolve().stem
    made = architecture_for(architecture, recipe)
    name = f"{dataset}/{out.stem}"
    return Training(name, images, test, table, made, recipe, asked, out, found, settings)


def _architecture(asked: TrainSettings) -> tuple[dict[str, Any], str | None]:
    """The network of the asked size, or that of ``start``, and the SHA-256 of the latter."""
    if asked.start is not None:
        model = load_model(asked.start, device="cpu")
        found = getattr(model, "card", {}).get("architecture", {})
        if found.get("name") != "PixelUNet":
            raise ValueError(f"start: {asked.start} found, allowed: a model that was trained here")
        kept = {key: value for key, value in found.items() if key != "output"}
        return kept, identity("train", asked.start, model)["model_sha256"]
    if asked.size < 4 or asked.size % 2:
        raise ValueError(f"size: {asked.size} found, allowed: an even number, 4 or more")
    half, halvings = asked.size // 2, 0
    while half % 2 == 0 and halvings < len(WIDTHS) - 1:
        half, halvings = half // 2, halvings + 1
    made = {"name": "PixelUNet", "channels": asked.channels, "size": asked.size}
    stem = 12 if asked.channels == 3 else 8
    return {**made, "widths": WIDTHS[halvings], "stem_width": stem, "head_width": 16}, None


def read_split(
    place: str, shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Images to train on, those held out, and a row a picture of a place (`split_for_training`).

    A data set that is known by name is read from where a package or an earlier run has put it.
    Raises DataError.
    """
    if place in LOADERS and not Path(place).exists():
        folder = find_dataset(place)
        parts = [LOADERS[place](folder, part).images for part in ("train", "test")]
        if parts[0].shape[1:] != shape:
            sizes = [" × ".join(map(str, s)) for s in (shape, parts[0].shape[1:])]
            raise ValueError(f"size: {sizes[0]} found, allowed with {place}: {sizes[1]}")
        return parts[0], parts[1], pd.DataFrame()
    arrays, table = split_for_training(place, shape)
    return arrays["train_images"], arrays["test_images"], table


def _check_place(out: Path, settings: Mapping[str, Any]) -> None:
    """Raise ValueError where ``out`` has begun as another training, or is none."""
    record = Path(f"{out}.json")
    if record.exists():
        check_unchanged(out, read_record(out)["params"], settings)
    elif out.exists() or out.with_suffix(".json").exists():
        raise ValueError(f"{out}: there already, and of no training of this command; remove it")
