"""One training of an image model: its network, and the weights and card that it leaves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cartoonists.experiments.likelihood import held_out_bound
from cartoonists.files.configs import read_json
from cartoonists.models.cards import make_card
from cartoonists.models.checkpoints import build_network, load_model, save_model, write_card
from cartoonists.models.recipes import Recipe
from cartoonists.models.training import Trained, TrainingImages


def architecture_for(architecture: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """The architecture with the output that the recipe trains.

    Raises ValueError where it names another.
    """
    head = recipe.loss.head
    if (found := architecture.get("output", head)) != head:
        raise ValueError(
            f"architecture.output: {found!r} found, allowed with kind {recipe.kind!r}: {head!r}"
        )
    return {**architecture, "output": head}


def first_network(
    architecture: Mapping[str, Any], recipe: Recipe, start: str | Path | None = None
) -> nn.Module:
    """The network that a training begins with: random weights of the recipe's seed, or a model's.

    ``start``, a name or path as of `load_model`, may be of the other kind: PixelUNet says noise and
    velocity by the same weights.  Raises ValueError, and CheckpointError for the architecture.
    """
    torch.manual_seed(recipe.seed)
    network = build_network(architecture_for(architecture, recipe))
    if start is not None:
        values = load_model(start, device="cpu").network.state_dict()
        try:
            network.load_state_dict(values)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"start: {start} is of another architecture ({reason})") from None
    return network


def store_model(
    weights: Path,
    name: str,
    settings: Mapping[str, Any],
    images: TrainingImages,
    recipe: Recipe,
    trained: Trained,
) -> dict:
    """Write weights and card of a training; ``settings``: its ``architecture`` and ``start``."""
    architecture = architecture_for(settings["architecture"], recipe)
    said = {"architecture": architecture, "start": settings["start"]}
    return save_model(weights, trained.network, make_card(name, images, recipe, said, trained))


def with_held_out(
    weights: Path, test: np.ndarray, n_images: int, steps: int, device: str = "cpu"
) -> dict:
    """The card of stored weights, with `held_out_bound` of at most n images if it lacks it."""
    path = Path(weights).with_suffix(".json")
    card = read_json(path)
    if "held_out" not in card:
        model = load_model(weights, device=device)
        bound = held_out_bound(model, test, min(n_images, len(test)), steps)
        card |= {"held_out": bound}
        write_card(path, card)
    return card
