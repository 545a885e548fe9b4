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
from cartoonists.models.scheduler_configs import SchedulerReading, read_scheduler

NATIVE_FORMAT = "cartoonists/1"
EDM_FORMAT = "edm/1"
NATIVE_KEYS = {"format", "architecture", "schedule", "data", "head", "sha256"}
NATIVE_HEADS = {"VP": ("eps", "x0", "v"), "RectifiedFlow": ("velocity",)}  # by schedule
EDM_KEYS = {"format", "architecture", "sigma_data", "sigma_min", "sigma_max", "sha256"}
EDM_MORE = {"data_range", "logsnr_range", "data", "name", "version", "licence", "about", "training"}
PIPELINES = {
    "diffusers": (
        "DDPMPipeline", "DDIMPipeline", "PNDMPipeline", "ScoreSdeVePipeline", "RePaintPipeline",
        "ConsistencyModelPipeline", "KarrasEDMPipeline",
    ),
    "latent": ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"),
}  # fmt: skip
PARTS = {
    "diffusers": {"unet", "scheduler"},
    "latent": {"unet", "scheduler", "vae", "text_encoder", "tokenizer", "safety_checker",
               "feature_extractor"},
}  # fmt: skip
INDEX_WORDS = (  # of an index, no parts; *model* is what early indices call the network
    "requires_safety_checker", "force_zeros_for_empty_prompt", "model",
)  # fmt: skip
LATENT_NULLS = {  # what Stable Diffusion 1 and 2 have not: key and the kind of model that has it
    "addition_embed_type": "added conditions (Stable Diffusion XL and others)",
    "class_embed_type": "class-conditional latents",
    "num_class_embeds": "class-conditional latents (upscalers take a noise level so)",
    "encoder_hid_dim_type": "a projected condition",
    "time_cond_proj_dim": "a network distilled with guidance",
}


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
    """A model of one of the formats *native*, *edm*, *diffusers* and *latent* on this machine.

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
    raise refuse(path, "format", form, "native, edm, diffusers, latent")


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
    place, config = component(folder, "unet", "UNet2DConditionModel")
    around, vae = component(folder, "vae", "AutoencoderKL")
    latent_scheduler(folder)
    shape, pixels = latent_shapes(config, place, vae, around, options.get("resolution"))
    variant = options.get("variant")
    tensors_in(weight_files(place, variant))
    tensors_in(weight_files(around, variant if variant in variants(around) else None))
    return ModelDescription("latent", True, shape, pixels)


def _labels(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "label": options.get("label"),
        "null_label": options.get("null_label"),
        "guidance": options.get("guidance", 1.0),
    }


# --- folders --------------------------------------------------------------------------------------


def folder_format(folder: Path) -> str:
    """*latent* or *diffusers*: which of the two a folder is, from its network's class and parts."""
    index, unet = folder / "model_index.json", folder / "unet" / "config.json"
    named = read_json(index).get("_class_name") if index.is_file() else None
    kind = read_json(unet).get("_class_name") if unet.is_file() else None
    latent = named in PIPELINES["latent"] or kind == "UNet2DConditionModel"
    return "latent" if latent or (folder / "vae").is_dir() else "diffusers"


def check_parts(folder: Path, form: str) -> None:
    """Raise CheckpointError where a folder holds, or its index names, parts of another kind.

    An index (``model_index.json``) is that of a pipeline class and of parts that are known; and no
    other folder with a ``config.json`` lies beside them: a network between an encoder and a decoder
    is no model of images.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is missing, or no folder")
    index = folder / "model_index.json"
    known = PARTS[form]
    if index.is_file():
        content = read_json(index)
        choice(index, content, "_class_name", PIPELINES[form])
        for name, value in content.items():
            if name.startswith("_") or name in known or name in INDEX_WORDS:
                continue
            if value is not None and value != [None, None]:
                raise CheckpointError(
                    f"{index}: {name}: found, allowed with format {form!r}: "
                    f"{', '.join(sorted(known))}{_hint(name, form)}"
                )
    for path in sorted(folder.glob("*/config.json")):
        if path.parent.name not in known:
            raise CheckpointError(
                f"{path.parent}: found, allowed with format {form!r}: "
                f"{', '.join(sorted(known))}{_hint(path.parent.name, form)}"
            )


def _hint(name: str, form: str) -> str:
    if name == "vae" and form == "diffusers":
        return " (a latent model: format: latent)"
    if name in ("vqvae", "movq", "vae", "dcae"):
        return f" (a latent model behind {name}, which has no loader here)"
    if name == "text_encoder_2":
        return " (Stable Diffusion XL has no loader here)"
    return ""


def component(folder: Path, name: str, kind: str) -> tuple[Path, dict]:
    """The place of one network of a folder and its config, of the class ``kind``.

    Raises CheckpointError where it is missing or of another class.
    """
    place = folder / name if (folder / name).is_dir() else folder
    config = read_json(place / "config.json")
    found = config.get("_class_name", kind)
    if found != kind:
        raise CheckpointError(f"{place}: a {found} found, allowed: {kind}")
    return place, config


def scheduler_config(folder: Path) -> tuple[dict, Path]:
    """The scheduler config of either layout, and where it stands."""
    nested = folder / "scheduler" / "scheduler_config.json"
    place = nested if nested.is_file() else folder / "scheduler_config.json"
    return read_json(place), place


def latent_scheduler(folder: Path) -> SchedulerReading:
    """The scheduler of a latent folder: a table.  Raises CheckpointError."""
    reading = read_scheduler(*scheduler_config(folder))
    if reading.kind != "table":
        raise CheckpointError(f"{folder}: {reading.name} found, allowed with latents: a beta table")
    return reading


# --- networks -------------------------------------------------------------------------------------


def unet_shape(config: dict, place: Any, kind: str) -> tuple[tuple[int, int, int], bool]:
    """Shape of the images of a ``UNet2DModel`` config, and whether it needs a label.

    ``kind`` is that of its scheduler (`scheduler_configs`).  Raises CheckpointError for outputs
    that are neither the input nor the input with a learned variance, for sides that its halvings
    do not divide, and for embeddings of time or class that cannot be evaluated here.
    """
    channels = count(place, config, "in_channels", 3)
    _check_outputs(config, place, channels, 3)
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


def _check_outputs(config: dict, place: Any, channels: int, default: int) -> None:
    out = count(place, config, "out_channels", default)
    if out not in (channels, 2 * channels):
        raise CheckpointError(
            f"{place}: out_channels: {out} found with in_channels {channels}, allowed: {channels}, "
            f"or {2 * channels} with a learned variance (inpainting, depth and segmentation "
            "networks take more than they give)"
        )


def latent_shapes(
    config: dict, place: Any, vae: dict, around: Any, resolution: int | None
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Shapes of latents and pictures of a Stable Diffusion 1 or 2 folder.  CheckpointError."""
    for key, words in LATENT_NULLS.items():
        if config.get(key) is not None:
            raise CheckpointError(f"{place}: {key}: {config[key]!r} found, allowed: none ({words})")
    channels = count(place, config, "in_channels", 4)
    _check_outputs(config, place, channels, 4)
    count(place, config, "cross_attention_dim", 1280)
    latents = count(around, vae, "latent_channels", 4)
    if channels != latents:
        raise CheckpointError(
            f"{place}: in_channels: {channels} found, allowed: {latents}, the channels of its "
            "latents (inpainting and editing networks take pictures beside them)"
        )
    for key in ("in_channels", "out_channels"):
        if count(around, vae, key, 3) not in (1, 3):
            raise refuse(around, key, vae[key], "1, 3")
    blocks = vae.get("block_out_channels", [64])
    if not isinstance(blocks, list | tuple) or not 1 <= len(blocks) <= 12:
        raise refuse(around, "block_out_channels", blocks, "a list of 1 to 12 numbers")
    latent_statistics(vae, around)
    factor = 2 ** (len(blocks) - 1)
    if resolution is None:
        height, width = side_lengths(place, config)
    elif (
        isinstance(resolution, bool)
        or not isinstance(resolution, int)
        or resolution < factor
        or resolution % factor
    ):
        raise CheckpointError(f"resolution: {resolution} found, allowed: multiples of {factor}")
    else:
        height = width = resolution // factor
    pictures = (count(around, vae, "out_channels", 3), factor * height, factor * width)
    return (channels, height, width), pictures


def latent_statistics(vae: dict, place: Any) -> tuple[float, list[float], list[float]]:
    """scaling_factor s, means m and standard deviations d: scaled latents are ``s (z - m)/d``.

    m is latents_mean, or shift_factor in every channel; d is latents_std or 1.  Raises
    CheckpointError for values of another type, and for more than one of the two shifts.
    """
    channels = count(place, vae, "latent_channels", 4)
    scale = number(place, vae, "scaling_factor", 0.18215, above=0.0)
    shift = number(place, vae, "shift_factor", 0.0)
    given = [key for key in ("latents_mean", "latents_std") if vae.get(key) is not None]
    if not given:
        return scale, [shift] * channels, [1.0] * channels
    if len(given) == 1 or vae.get("shift_factor") is not None:
        keys = [key for key in ("shift_factor", *given) if vae.get(key) is not None]
        raise CheckpointError(
            f"{place}: {', '.join(keys)} found, allowed: latents_mean with latents_std, or "
            "shift_factor, or none of them"
        )
    means = numbers(place, "latents_mean", vae["latents_mean"], channels)
    deviations = numbers(place, "latents_std", vae["latents_std"], channels)
    if min(deviations) <= 0:
        raise refuse(place, "latents_std", vae["latents_std"], "numbers above 0")
    return scale, list(means), list(deviations)


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
