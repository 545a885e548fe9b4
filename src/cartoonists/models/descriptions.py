"""What a model is, from its JSON files and weights' headers alone: shape, kind, conditions.

The loaders check their folders here, and a plan asks the same before any job; so nothing here
imports PyTorch.  What is not understood is refused in one line (CheckpointError).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cartoonists.files.configs import (
    choice,
    count,
    number,
    numbers,
    read_json,
    refuse,
    rising_pair,
    side_lengths,
)
from cartoonists.files.errors import CheckpointError
from cartoonists.files.weights import tensors_in, variants, weight_files
from cartoonists.models.folders import check_parts, component, scheduler_config
from cartoonists.models.latent_descriptions import (
    STABLE_DIFFUSION,
    Family,
    check_condition,
    check_outputs,
    family_of,
    latent_scheduler,
    latent_shapes,
    text_parts,
)
from cartoonists.models.scheduler_configs import read_scheduler

NATIVE_FORMAT = "cartoonists/1"
EDM_FORMAT = "edm/1"
NATIVE_KEYS = {"format", "architecture", "schedule", "data", "head", "sha256"}
NATIVE_HEADS = {"VP": ("eps", "x0", "v"), "RectifiedFlow": ("velocity",)}  # by schedule
EDM_KEYS = {"format", "architecture", "sigma_data", "sigma_min", "sigma_max", "sha256"}
EDM_MORE = {"data_range", "logsnr_range", "data", "name", "version", "licence", "about", "training"}


@dataclass(frozen=True)
class ModelDescription:
    """A model before it is loaded.

    ``latent``: densities are of latents.  ``shape`` is that of the score model and ``pixel_shape``
    that of a picture, (channels, height, width) each.  ``conditional``: a label is needed.
    """

    format: str
    latent: bool
    shape: tuple[int, int, int]
    pixel_shape: tuple[int, int, int]
    conditional: bool = False


def describe(path: Path, form: str, options: Mapping[str, Any] | None = None) -> ModelDescription:
    """A model of one of the formats *native*, *edm*, *diffusers*, *latent* and *pipeline* here.

    ``options`` are the keys of its entry in the configuration.  Raises CheckpointError.
    """
    options, path = options or {}, Path(path)
    if form in ("native", "edm"):
        card = (native_card if form == "native" else edm_card)(path.with_suffix(".json"))
        found = _of_native(card) if form == "native" else _of_edm(card, path, options)
        tensors_in([path])
        return found
    if form == "diffusers":
        return _of_diffusers(path, options)
    if form == "latent":
        return _of_latent(path, options)
    if form == "pipeline":
        return _of_pipeline(path, options)
    raise refuse(path, "format", form, "native, edm, diffusers, latent, pipeline")


def _of_native(card: dict) -> ModelDescription:
    shape = tuple(card["data"]["shape"])
    return ModelDescription("native", False, shape, shape)


def _of_edm(card: dict, path: Path, options: Mapping[str, Any]) -> ModelDescription:
    shape, conditional = unet_shape(card["architecture"], path, "edm")
    classes = card["architecture"].get("num_class_embeds")
    check_conditions(conditional, classes, **_labels(options))
    return ModelDescription("edm", False, shape, shape, conditional)


def _of_diffusers(folder: Path, options: Mapping[str, Any]) -> ModelDescription:
    check_parts(folder, "diffusers")
    place, config = component(folder, "unet", "UNet2DModel")
    reading = read_scheduler(*scheduler_config(folder))
    shape, conditional = unet_shape(config, place, reading.kind)
    check_conditions(conditional, config.get("num_class_embeds"), **_labels(options))
    tensors_in(weight_files(place, options.get("variant")))
    return ModelDescription("diffusers", False, shape, shape, conditional)


def _of_latent(folder: Path, options: Mapping[str, Any]) -> ModelDescription:
    check_parts(folder, "latent")
    shapes = _latents(folder, options, STABLE_DIFFUSION)
    return ModelDescription("latent", True, *shapes)


def _of_pipeline(folder: Path, options: Mapping[str, Any]) -> ModelDescription:
    family, index = family_of(folder)
    text_parts(folder, family, index)
    shapes = _latents(folder, options, family)
    place, config = component(folder, family.part, family.kind)
    check_condition(family, config, place, options.get("label"), options.get("prompt") or "")
    return ModelDescription("pipeline", True, *shapes, conditional=family.labels)


def _latents(
    folder: Path, options: Mapping[str, Any], family: Family
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Shapes of latents and pictures of a folder whose scheduler and weights can be read."""
    place, config = component(folder, family.part, family.kind)
    around, vae = component(folder, "vae", "AutoencoderKL")
    latent_scheduler(folder, family.noise)
    shapes = latent_shapes(config, place, vae, around, options.get("resolution"), family)
    variant = options.get("variant")
    tensors_in(weight_files(place, variant))
    tensors_in(weight_files(around, variant if variant in variants(around) else None))
    return shapes


def _labels(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "label": options.get("label"),
        "null_label": options.get("null_label"),
        "guidance": options.get("guidance", 1.0),
    }


# --- networks -------------------------------------------------------------------------------------


def unet_shape(config: dict, place: Any, kind: str) -> tuple[tuple[int, int, int], bool]:
    """Shape of the images of a ``UNet2DModel`` config, and whether it needs a label.

    ``kind`` is that of its scheduler (`scheduler_configs`).  Raises CheckpointError for outputs
    that are neither the input nor the input with a learned variance, for sides that its halvings
    do not divide, and for embeddings of time or class that cannot be evaluated here.
    """
    channels = count(place, config, "in_channels", 3)
    check_outputs(config, place, channels, 3)
    height, width = side_lengths(place, config)
    blocks = config.get("block_out_channels", [0] * 4)
    if not isinstance(blocks, list | tuple) or not 1 <= len(blocks) <= 12:
        raise refuse(place, "block_out_channels", blocks, "a list of 1 to 12 numbers")
    step = 2 ** (len(blocks) - 1)
    if height % step or width % step:
        raise refuse(place, "sample_size", config["sample_size"], f"multiples of {step}")
    times = ("positional", "fourier") if kind == "ve" else ("positional",)
    choice(place, config, "time_embedding_type", times, "positional")
    embedding = config.get("class_embed_type")
    if embedding not in (None, "timestep"):
        raise refuse(place, "class_embed_type", embedding, "none, timestep")
    classes = config.get("num_class_embeds")
    if classes is not None:
        count(place, config, "num_class_embeds")
    return (channels, height, width), embedding is not None or classes is not None


def check_conditions(
    conditional: bool, classes: int | None, label: Any, null_label: Any, guidance: float
) -> None:
    """Raise CheckpointError where labels, guidance and network do not fit."""
    for name, value in (("label", label), ("null_label", null_label)):
        if value is None:
            continue
        if not conditional:
            raise CheckpointError(f"{name}: {value} found, but the network is unconditional")
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise CheckpointError(f"{name}: {value!r} found, allowed: {_range(classes)}")
        if classes and value >= classes:
            raise CheckpointError(f"{name}: {value} found, allowed: {_range(classes)}")
    if conditional and label is None:
        raise CheckpointError(
            f"label: none found, but the network is class-conditional (allowed: {_range(classes)})"
        )
    if guidance != 1 and null_label is None:
        raise CheckpointError(
            f"guidance: {guidance} found, allowed without a null_label: 1 (guidance off)"
        )


def _range(classes: int | None) -> str:
    return f"0 to {classes - 1}" if classes else "a class number"


# --- cards ----------------------------------------------------------------------------------------


def native_card(path: Path) -> dict:
    """The card of a native checkpoint, with every value that is used checked.  CheckpointError."""
    card = _card(path, NATIVE_FORMAT, NATIVE_KEYS)
    schedule, data, net = card["schedule"], card["data"], card["architecture"]
    kind = choice(path, schedule, "kind", tuple(NATIVE_HEADS), "VP")
    ends = [number(path, schedule, f"logsnr_{end}") for end in ("min", "max")]
    rising_pair(path, "schedule", ends)
    choice(path, card, "head", NATIVE_HEADS[kind])
    _check_output(path, net, "velocity" if kind == "RectifiedFlow" else "eps")
    shape = data.get("shape")
    if not isinstance(shape, list) or len(shape) != 3:
        raise refuse(path, "data.shape", shape, "channels, height, width")
    channels, height, width = (count(path, {"shape": n}, "shape", most=2**14) for n in shape)
    numbers(path, "data.mean", data.get("mean"), channels)
    if min(numbers(path, "data.std", data.get("std"), channels)) <= 0:
        raise refuse(path, "data.std", data["std"], "numbers above 0")
    promised = (net.get("channels"), net.get("size"), net.get("size"))
    if net.get("name") == "PixelUNet" and promised != (channels, height, width):
        raise refuse(path, "data.shape", shape, f"that of the architecture, {list(promised)}")
    return card


def _check_output(path: Path, architecture: dict, expected: str) -> None:
    """Raise CheckpointError where a network is scaled for x of another schedule."""
    found = architecture.get("output", "eps")
    if found != expected:
        raise refuse(path, "architecture.output", found, f"{expected} with this schedule")


def edm_card(path: Path) -> dict:
    """The card of an EDM checkpoint, with every value that is used checked.  CheckpointError."""
    card = _card(path, EDM_FORMAT, EDM_KEYS)
    for key in card:
        if key not in EDM_KEYS | EDM_MORE:
            raise CheckpointError(
                f"{path}: {key}: unknown key, allowed: {', '.join(sorted(EDM_KEYS | EDM_MORE))}"
            )
    if card["architecture"].get("_class_name", "UNet2DModel") != "UNet2DModel":
        raise refuse(path, "_class_name", card["architecture"]["_class_name"], "UNet2DModel")
    number(path, card, "sigma_data", above=0.0)
    for key in ("data_range", "logsnr_range"):
        if card.get(key) is not None:
            rising_pair(path, key, card[key])
    return card


def _card(path: Path, form: str, required: set[str]) -> dict:
    card = read_json(path)
    missing = required - set(card)
    if missing or card["format"] != form:
        raise CheckpointError(f"{path}: not a {form} card (missing: {sorted(missing)})")
    for key in ("architecture", "schedule", "data"):
        if key in required and not isinstance(card[key], dict):
            raise refuse(path, key, card[key], "a JSON object")
    return card
