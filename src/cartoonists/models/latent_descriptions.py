"""What a model of latents is, from its JSON files alone: pipelines, their networks, shapes.

Nothing here imports PyTorch.  What is not understood is refused in one line (CheckpointError).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cartoonists.files.configs import count, number, numbers, read_json, refuse, side_lengths
from cartoonists.files.errors import CheckpointError
from cartoonists.files.weights import variants
from cartoonists.models.folders import scheduler_config
from cartoonists.models.scheduler_configs import SchedulerReading, read_scheduler

CLIP, PROJECTED, T5 = "CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel"
ABSENT = (None, [None, None])  # a part in an index that a pipeline does without
TOKENIZERS = (
    "CLIPTokenizer", "CLIPTokenizerFast", "T5Tokenizer", "T5TokenizerFast",
    "PreTrainedTokenizerFast", "TokenizersBackend",
)  # fmt: skip
WORDS = ("requires_safety_checker", "force_zeros_for_empty_prompt")  # of an index, no parts
LIBRARIES = ("diffusers", "transformers")
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")  # parts without which all works
TOKENS_A_SIDE = 64  # of FLUX, whose network has no size of its own: what its pipeline draws


@dataclass(frozen=True)
class Family:
    """What a pipeline of latents consists of, beside its autoencoder.

    ``part`` is its network and ``kind`` the network's class; ``noise`` the kind of scheduler
    (`scheduler_configs`).  ``texts``: the classes of its text encoders, by their names; the one in
    ``spare`` may be missing.  ``labels``: it takes a class and no prompt.
    ``packed``: latents a side that make one token before the network sees them.
    """

    kind: str
    part: str = "transformer"
    noise: str = "table"
    texts: Mapping[str, str] = field(default_factory=dict)
    spare: str = ""
    labels: bool = False
    packed: int = 1

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """Every part that it may name, with the classes that are allowed there."""
        tokenizers = {name.replace("text_encoder", "tokenizer"): TOKENIZERS for name in self.texts}
        encoders = {name: (kind,) for name, kind in self.texts.items()}
        return {self.part: (self.kind,), "vae": ("AutoencoderKL",), **encoders, **tokenizers}


STABLE_DIFFUSION = Family("UNet2DConditionModel", "unet", texts={"text_encoder": CLIP})
_PIXART = Family("PixArtTransformer2DModel", texts={"text_encoder": T5})
FAMILIES: dict[str, Family] = {
    "StableDiffusionPipeline": STABLE_DIFFUSION,
    "StableDiffusionXLPipeline": Family(
        "UNet2DConditionModel", "unet", texts={"text_encoder": CLIP, "text_encoder_2": PROJECTED}
    ),
    "DiTPipeline": Family("DiTTransformer2DModel", labels=True),
    "PixArtAlphaPipeline": _PIXART,
    "PixArtSigmaPipeline": _PIXART,
    "StableDiffusion3Pipeline": Family(
        "SD3Transformer2DModel", noise="flow", spare="text_encoder_3",
        texts={"text_encoder": PROJECTED, "text_encoder_2": PROJECTED, "text_encoder_3": T5},
    ),
    "FluxPipeline": Family(
        "FluxTransformer2DModel", noise="flow", packed=2,
        texts={"text_encoder": CLIP, "text_encoder_2": T5},
    ),
}  # fmt: skip
NULLS = {  # what no family here has: key and the kind of model that has it
    "class_embed_type": "class-conditional latents",
    "num_class_embeds": "class-conditional latents (upscalers take a noise level so)",
    "encoder_hid_dim_type": "a projected condition",
    "time_cond_proj_dim": "a network distilled with guidance",
}
ADDED = "added conditions (Stable Diffusion XL and others)"


def family_of(folder: Path) -> tuple[Family, dict]:
    """The family of a pipeline's folder and its index, every part that this names known."""
    index = folder / "model_index.json"
    content = read_json(index)
    name = content.get("_class_name")
    if not isinstance(name, str) or name not in FAMILIES:
        raise refuse(index, "_class_name", name, ", ".join(FAMILIES))
    family = FAMILIES[name]
    for part, allowed in family.parts.items():
        found = content.get(part)
        spare = family.spare and part.endswith(family.spare.removeprefix("text_encoder"))
        if spare and found in ABSENT:
            continue
        if found not in [[library, kind] for library in LIBRARIES for kind in allowed]:
            raise refuse(index, part, found, f"{', '.join(allowed)} of {' or '.join(LIBRARIES)}")
    known = {*family.parts, *UNUSED, "scheduler"}
    for part, value in content.items():
        if isinstance(value, list) and value not in ABSENT and part not in known:
            raise CheckpointError(f"{index}: {part}: found, allowed: {', '.join(sorted(known))}")
    words = {k: content[k] for k in WORDS if k in content}
    for key, value in words.items():
        if not isinstance(value, bool):
            raise refuse(index, key, value, "true, false")
    return family, content


def text_parts(folder: Path, family: Family, index: dict) -> dict[str, str]:
    """The text encoders of a folder and their tokenizers, files of both there."""
    found = {}
    for part in family.texts:
        if part == family.spare and index.get(part) in ABSENT:
            continue
        found[part] = part.replace("text_encoder", "tokenizer")
        if not variants(folder / part, "model"):
            raise CheckpointError(f"{folder / part}: model.safetensors is missing")
        if not (folder / found[part]).is_dir():
            raise CheckpointError(f"{folder / found[part]} is missing")
    return found


def latent_scheduler(folder: Path, noise: str = "table") -> SchedulerReading:
    """The scheduler of a folder of latents.  Raises CheckpointError for one of another kind."""
    return read_scheduler(*scheduler_config(folder), kinds=(noise,))


def check_condition(family: Family, config: dict, place: Any, label: Any, prompt: str) -> None:
    """Raise CheckpointError for a label where a prompt is taken, or the reverse."""
    if not family.labels:
        if label is not None:
            raise CheckpointError(f"label: {label} found, but {family.kind} takes a prompt")
        return
    classes = count(place, config, "num_embeds_ada_norm", 1000)
    if prompt:
        raise CheckpointError(f"prompt: {prompt!r} found, but {family.kind} takes a label")
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < classes:
        found = "none" if label is None else repr(label)
        raise CheckpointError(f"label: {found} found, allowed: 0 to {classes - 1}")


def latent_shapes(
    config: dict,
    place: Any,
    vae: dict,
    around: Any,
    resolution: int | None,
    family: Family = STABLE_DIFFUSION,
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Shapes of latents and pictures, from the configs of network and autoencoder.

    ``resolution`` in pixels, by default the network's own.  Raises CheckpointError.
    """
    for key, words in NULLS.items():
        if config.get(key) is not None:
            raise CheckpointError(f"{place}: {key}: {config[key]!r} found, allowed: none ({words})")
    _check_added(config, place, family)
    default = 4 if family.part == "unet" else None
    inputs = count(place, config, "in_channels", default)
    check_outputs(config, place, inputs, default or inputs)
    if family.part == "unet":
        count(place, config, "cross_attention_dim", 1280)
    channels, rest = divmod(inputs, family.packed**2)
    latents = count(around, vae, "latent_channels", 4)
    if channels != latents or rest:
        raise CheckpointError(
            f"{place}: in_channels: {inputs} found, allowed: {latents * family.packed**2}, the "
            "channels of its latents (inpainting and editing networks take pictures beside them)"
        )
    factor = _factor(vae, around)
    height, width = _sides(config, place, factor, resolution, family)
    pictures = (count(around, vae, "out_channels", 3), factor * height, factor * width)
    return (channels, height, width), pictures


def _check_added(config: dict, place: Any, family: Family) -> None:
    """Added conditions are those of Stable Diffusion XL: a pooled text and sizes."""
    added, allowed = config.get("addition_embed_type"), "text_encoder_2" in family.texts
    if added is not None and not (allowed and added == "text_time"):
        words = "text_time" if allowed else f"none ({ADDED})"
        raise refuse(place, "addition_embed_type", added, words)


def _factor(vae: dict, around: Any) -> int:
    """Pixels a side of a latent, every value of the autoencoder that is used checked."""
    for key in ("in_channels", "out_channels"):
        if count(around, vae, key, 3) not in (1, 3):
            raise refuse(around, key, vae[key], "1, 3")
    blocks = vae.get("block_out_channels", [64])
    if not isinstance(blocks, list | tuple) or not 1 <= len(blocks) <= 12:
        raise refuse(around, "block_out_channels", blocks, "a list of 1 to 12 numbers")
    latent_statistics(vae, around)
    return 2 ** (len(blocks) - 1)


def _sides(
    config: dict, place: Any, factor: int, resolution: int | None, family: Family
) -> tuple[int, int]:
    """Height and width of the latents."""
    patch = family.packed
    if family.part == "transformer":
        patch *= count(place, config, "patch_size", 1)
    if resolution is None and family.packed > 1:
        height = width = TOKENS_A_SIDE * patch
    elif resolution is None:
        height, width = side_lengths(place, config)
    elif (
        isinstance(resolution, bool)
        or not isinstance(resolution, int)
        or resolution < factor * patch
        or resolution % (factor * patch)
    ):
        allowed = f"multiples of {factor * patch}"
        raise CheckpointError(f"resolution: {resolution} found, allowed: {allowed}")
    else:
        height = width = resolution // factor
    if height % patch or width % patch:
        raise refuse(place, "sample_size", config.get("sample_size"), f"multiples of {patch}")
    if family.labels and (height, width) != side_lengths(place, config):
        own = factor * side_lengths(place, config)[0]
        raise CheckpointError(f"resolution: {resolution} found, allowed: {own}, the network's own")
    return height, width


def check_outputs(config: dict, place: Any, channels: int, default: int) -> None:
    """Raise CheckpointError unless outputs are the inputs, or those with a learned variance."""
    out = count(place, config, "out_channels", default)
    if out not in (channels, 2 * channels):
        raise CheckpointError(
            f"{place}: out_channels: {out} found with in_channels {channels}, allowed: {channels}, "
            f"or {2 * channels} with a learned variance (inpainting, depth and segmentation "
            "networks take more than they give)"
        )


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
