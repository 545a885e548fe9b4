"""Models on disk: safetensors weights with a JSON card beside them, bundled by name or by path."""

import json
import os
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cartoonists.data import PixelScaling
from cartoonists.resources import file_sha256, resources_dir
from cartoonists.schedules import VP
from cartoonists.scores import NetworkScore

BUNDLED = "models"  # folder under resources/
NATIVE_FORMAT = "cartoonists/1"


class CheckpointError(RuntimeError):
    """A checkpoint is missing, altered, damaged or of an unknown format."""


class ImageModel(NetworkScore):
    """A network score model of images, with its data scaling and its card.

    ``card`` is the JSON beside the weights: architecture, schedule, data statistics, training,
    held-out ELBO, sha256.
    """

    def __init__(self, network, shape, schedule, scaling: PixelScaling, card: dict, **options):
        super().__init__(network, shape, schedule, **options)
        self.scaling, self.card = scaling, card

    @property
    def log_pixels_per_unit(self) -> float:
        """Log-determinant of the map from model space to grey levels, for bits/dim."""
        return self.scaling.log_pixels_per_unit(self.shape)

    def from_pixels(self, pixels: Tensor, noise: Tensor | float = 0.5) -> Tensor:
        """Grey levels (uint8) to model space; noise in [0, 1) dequantises."""
        return self.scaling.from_pixels(pixels, noise)

    def to_pixels(self, x: Tensor) -> Tensor:
        """Model space to grey levels (uint8)."""
        return self.scaling.to_pixels(x)

    def finish(self, x: Tensor) -> Tensor:
        """Grey levels of samples at logsnr_max, denoised once more (at λ = 10 noise is visible)."""
        return self.to_pixels(self.denoise(x, self.schedule.logsnr_max))


def bundled_models() -> list[str]:
    """Names of the bundled models, such as *fashion-mnist/likelihood*."""
    folder = resources_dir() / BUNDLED
    return sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.json"))


def load_model(name: str | Path, *, device: str = "cpu", batch_size: int = 128) -> ImageModel:
    """Load a bundled model by name, or a native checkpoint by the path of its ``.safetensors``.

    Raises CheckpointError where it is missing, its sha256 is not the card's, or it is damaged.
    """
    weights, card_path = _locate(str(name))
    card = _read_card(card_path)
    found = file_sha256(weights)
    if found != card["sha256"]:
        raise CheckpointError(f"{weights}: sha256 {found} found, its card says {card['sha256']}")
    network = build_network(card["architecture"])
    try:
        state = {key: value.float() for key, value in load_file(weights).items()}
        network.load_state_dict(state)
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{weights}: damaged or of another architecture ({error})") from None
    network.eval().requires_grad_(False).to(device)
    schedule = VP(card["schedule"]["logsnr_min"], card["schedule"]["logsnr_max"])
    scaling = PixelScaling(tuple(card["data"]["mean"]), tuple(card["data"]["std"]))
    shape = tuple(card["data"]["shape"])
    return ImageModel(
        network, shape, schedule, scaling, card, head=card["head"], batch_size=batch_size
    )


def _locate(name: str) -> tuple[Path, Path]:
    if name.endswith(".safetensors"):
        weights = Path(name)
    elif re.fullmatch(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+", name):
        weights = resources_dir() / BUNDLED / f"{name}.safetensors"
    else:
        raise CheckpointError(
            f"model {name!r}: allowed are {', '.join(bundled_models())}, or a .safetensors path"
        )
    card = weights.with_suffix(".json")
    for file in (weights, card):
        if not file.is_file():
            known = ", ".join(bundled_models())
            raise CheckpointError(f"model {name!r}: {file} is missing (bundled: {known})")
    return weights, card


def _read_card(path: Path) -> dict:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        missing = {"format", "architecture", "schedule", "data", "head", "sha256"} - set(card)
    except (ValueError, TypeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: not a JSON card ({error})") from None
    if missing or card["format"] != NATIVE_FORMAT:
        raise CheckpointError(f"{path}: not a {NATIVE_FORMAT} card (missing: {sorted(missing)})")
    return card


def build_network(architecture: dict) -> nn.Module:
    """The network that a card describes.  Raises CheckpointError for an unknown architecture."""
    from cartoonists.networks import PixelUNet

    options = dict(architecture)
    name = options.pop("name", None)
    if name != "PixelUNet":
        raise CheckpointError(f"architecture: {name!r} found, allowed: 'PixelUNet'")
    try:
        return PixelUNet(**options)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"architecture: {error}") from None


def save_model(weights: Path, network: nn.Module, card: dict) -> dict:
    """Write weights in half precision and the card beside them, each whole or not at all.

    What is stored is the model: figures in the card should be measured after ``load_model``.
    Returns the card with its format and sha256 filled in.
    """
    weights = Path(weights)
    weights.parent.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in _state(network)}
    temporary = weights.with_suffix(".safetensors.part")
    save_file(state, temporary)
    card = {"format": NATIVE_FORMAT, **card, "sha256": file_sha256(temporary)}
    os.replace(temporary, weights)
    write_card(weights.with_suffix(".json"), card)
    return card


def write_card(path: Path, card: dict) -> None:
    """Write a card, whole or not at all."""
    temporary = path.with_suffix(".json.part")
    temporary.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _state(network: nn.Module):
    return sorted(network.state_dict().items())
