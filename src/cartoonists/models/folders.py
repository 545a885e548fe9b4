"""Folders of diffusers models: which layout and pipeline they are, and where their parts lie.

Nothing here imports PyTorch.  What is not understood is refused in one line (CheckpointError).
"""

from pathlib import Path

from cartoonists.files.configs import choice, read_json
from cartoonists.files.errors import CheckpointError

PIPELINES = {
    "diffusers": (
        "DDPMPipeline", "DDIMPipeline", "PNDMPipeline", "ScoreSdeVePipeline", "RePaintPipeline",
        "ConsistencyModelPipeline", "KarrasEDMPipeline",
    ),
    "latent": ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"),
    "pipeline": (  # of latents; Stable Diffusion 1 and 2 too, where the format is named
        "StableDiffusionXLPipeline", "DiTPipeline", "PixArtAlphaPipeline", "PixArtSigmaPipeline",
        "StableDiffusion3Pipeline", "FluxPipeline",
    ),
}  # fmt: skip
PARTS = {
    "diffusers": {"unet", "scheduler"},
    "latent": {"unet", "scheduler", "vae", "text_encoder", "tokenizer", "safety_checker",
               "feature_extractor"},
}  # fmt: skip
INDEX_WORDS = (  # of an index, no parts; *model* is what early indices call the network
    "requires_safety_checker", "force_zeros_for_empty_prompt", "model",
)  # fmt: skip


def folder_format(folder: Path) -> str:
    """*latent*, *pipeline* or *diffusers*: what a folder is, from its class, network and parts."""
    index, unet = folder / "model_index.json", folder / "unet" / "config.json"
    named = read_json(index).get("_class_name") if index.is_file() else None
    kind = read_json(unet).get("_class_name") if unet.is_file() else None
    if named in PIPELINES["pipeline"]:
        return "pipeline"
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
        return " (Stable Diffusion XL: format: pipeline)"
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
