"""Score models of the latents of diffusers' pipelines: in memory, or from a whole folder.

Stable Diffusion 1, 2 and XL, DiT and PixArt under the variance-preserving schedule of their beta
tables; Stable Diffusion 3 and FLUX under `RectifiedFlow`.
"""

import inspect
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cartoonists.files.errors import CheckpointError
from cartoonists.files.weights import variants
from cartoonists.models.diffusers_models import plain, schedule_of, unet_model
from cartoonists.models.folders import component, scheduler_config
from cartoonists.models.image_models import parts_of, restrict, with_guidance
from cartoonists.models.latent_descriptions import (
    FAMILIES,
    check_condition,
    family_of,
    latent_scheduler,
    latent_shapes,
    text_parts,
)
from cartoonists.models.latent_models import LatentModel, load_encoder, load_tokenizer
from cartoonists.models.latent_networks import (
    FluxNetwork,
    LabelNetwork,
    LatentNetwork,
    PixArtNetwork,
    SD3Network,
    XLNetwork,
)
from cartoonists.models.scheduler_configs import (
    HEADS,
    SchedulerReading,
    read_scheduler,
)
from cartoonists.models.unets import load_network
from cartoonists.paths.schedules import RectifiedFlow
from cartoonists.paths.scores import ScoreModel

NETWORKS: dict[str, type[LatentNetwork]] = {
    "StableDiffusionPipeline": LatentNetwork,
    "StableDiffusionXLPipeline": XLNetwork,
    "DiTPipeline": LabelNetwork,
    "PixArtAlphaPipeline": PixArtNetwork,
    "PixArtSigmaPipeline": PixArtNetwork,
    "StableDiffusion3Pipeline": SD3Network,
    "FluxPipeline": FluxNetwork,
}
IN_PIXELS = ("DDPMPipeline", "DDIMPipeline")
FLUX_UNIT = 1000  # FLUX takes a flow's timestep in these units
Given = dict[str, Tensor]


def from_pipeline(
    pipe: Any,
    prompt: str = "",
    *,
    label: int | None = None,
    guidance: float = 1.0,
    resolution: int | None = None,
    logsnr_range: tuple[float, float] | None = None,
) -> ScoreModel:
    """The score model of what a diffusers pipeline draws: its scaled latents, or its pixels.

    ``s(x, λ) = -ε̂/σ`` with the noise estimate ε̂ of the pipeline's network for one ``prompt`` (a
    ``label`` for DiT); flows under ``α = 1 - t, σ = t`` (Liu et al., 2023), others under the
    scheduler's table.  guidance = w is the pipeline's ``guidance_scale``: with w other than 1 a
    ``GuidedModel`` of the prompt and the empty one (Ho & Salimans, 2022); a FLUX network that was
    distilled with guidance is told w instead.  Latents are ``[channels, height, width]``, those of
    FLUX before they are packed, for pictures of ``resolution`` pixels a side (by default the
    pipeline's own).  ``logsnr_range``: the part of the range of λ to use (`schedules.limited`);
    that of a flow is -10 to 10.
    The network stays where it is and is put into evaluation mode (no dropout); the pipeline's
    scheduler may be one of `cartoonists.schedulers`.
    Raises CheckpointError, in one line, for pipelines, schedulers and values that are not
    understood.
    """
    name = type(pipe).__name__
    if name in IN_PIXELS:
        model = _pixel_model(pipe, prompt, label, guidance)
    elif name in FAMILIES:
        model = _latent_model(pipe, prompt, label, guidance, resolution)
    else:
        raise CheckpointError(
            f"pipeline: a {name} found, allowed: {', '.join([*IN_PIXELS, *FAMILIES])}"
        )
    restrict(model, logsnr_range)
    for part in parts_of(model):
        part.device = pipe.device  # type: ignore[attr-defined]
    return model


def _pixel_model(pipe, prompt, label, guidance) -> Any:
    unet = pipe.unet.eval()
    if prompt:
        raise CheckpointError(f"prompt: {prompt!r} found, but {type(pipe).__name__} takes none")
    found = next(unet.parameters()).dtype
    if found != torch.float32:
        raise CheckpointError(f"unet: {found} found, allowed for pixels: torch.float32")
    return unet_model(unet, _scheduler(pipe), label=label, guidance=guidance)


def _latent_model(pipe, prompt, label, guidance, resolution) -> Any:
    name = type(pipe).__name__
    family = FAMILIES[name]
    network = getattr(pipe, family.part).eval()
    config, vae = plain(network.config), plain(pipe.vae.config)
    shape, pixels = latent_shapes(config, family.part, vae, "vae", resolution, family)
    check_condition(family, config, family.part, label, prompt)
    scheduler = _scheduler(pipe)
    reading = read_scheduler(scheduler, "scheduler", kinds=(family.noise,))
    schedule, timestep = _noise(reading, FLUX_UNIT if family.packed > 1 else 1)
    head = HEADS.get(reading.head, reading.head)
    given, empty, scale = _told(pipe, config, prompt, label, guidance, pixels)
    NETWORKS[name](network, timestep, **given).check(shape)
    told = {"label": label} if family.labels else {"text": prompt}
    card = {"format": "pipeline", "pipeline": name, "scheduler": scheduler, **told}

    def build(conditions: Given) -> LatentModel:
        wrapped = NETWORKS[name](network, timestep, **conditions)
        return LatentModel(wrapped.eval(), shape, schedule, pipe.vae, card, head=head)

    return with_guidance(build, given, empty, scale)


def _scheduler(pipe: Any) -> dict:
    """The scheduler's config with its class, for one of this project's schedulers that of its
    table."""
    scheduler = pipe.scheduler
    table = getattr(scheduler, "table", None)
    config = dict(scheduler.config if table is None else table.config)
    name = scheduler.config.get("source_class") or type(scheduler).__name__
    return {k: v for k, v in config.items() if not k.startswith("_")} | {"_class_name": name}


def _noise(reading: SchedulerReading, unit: int):
    """Schedule, and the map from logSNRs to the network's time."""
    if reading.kind == "table":
        table = schedule_of(reading)
        return table, table.timestep
    flow, steps = RectifiedFlow(), reading.steps or 0
    return flow, lambda logsnr: flow.time(logsnr) * (steps / unit)


# --- conditions -----------------------------------------------------------------------------------


def _told(pipe, *rest) -> tuple[Given, Given, float]:
    """`_conditions`, all of them finite numbers.  Raises CheckpointError."""
    try:
        given, empty, guidance = _conditions(pipe, *rest)
    except Exception as error:  # text encoders raise whatever is missing or does not fit
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"prompt: {type(pipe).__name__} cannot embed it ({reason})") from None
    values = [*given.values(), *empty.values()]
    if not all(torch.isfinite(value).all() for value in values):
        raise CheckpointError("prompt: embeddings that are not finite found")
    given, empty = ({k: v.to(pipe.device) for k, v in part.items()} for part in (given, empty))
    return given, empty, guidance


@torch.no_grad()
def _conditions(
    pipe, config: dict, prompt: str, label: int | None, guidance: float, pixels: tuple[int, ...]
) -> tuple[Given, Given, float]:
    """What `LatentNetwork` is given with the condition and without, and the scale between them."""
    name, height, width = type(pipe).__name__, *pixels[1:]
    if name == "DiTPipeline":
        assert label is not None
        labels = [
            torch.tensor([value]) for value in (label, config.get("num_embeds_ada_norm", 1000))
        ]
        given, empty = ({"label": value} for value in labels)
    elif name == "FluxPipeline":
        distilled = bool(config.get("guidance_embeds"))
        scale = torch.full((int(distilled),), float(guidance))
        given, empty = ({**_flux_texts(pipe, text), "scale": scale} for text in (prompt, ""))
        guidance = 1.0 if distilled else guidance
    else:
        given, empty = _texts(pipe, name, prompt)
        sizes = torch.zeros(0, 2)
        if name == "StableDiffusionXLPipeline":
            sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
        elif name == "PixArtAlphaPipeline" and config.get("sample_size") == 128:
            sizes = torch.tensor([[height, width]], dtype=torch.float32)
        if issubclass(NETWORKS[name], XLNetwork | PixArtNetwork):
            given, empty = given | {"sizes": sizes}, empty | {"sizes": sizes}
    return given, empty, guidance


def _texts(pipe, name: str, prompt: str) -> tuple[Given, Given]:
    """The pipeline's own embeddings of a prompt and of what it guides away from."""
    options: dict[str, Any] = {"device": pipe.device, "num_images_per_prompt": 1}
    if name == "StableDiffusion3Pipeline":
        options |= {"prompt_2": None, "prompt_3": None}
    elif name.startswith("PixArt"):
        options["clean_caption"] = True  # as its pipelines do where they can
    found = pipe.encode_prompt(prompt, do_classifier_free_guidance=True, **options)
    if name == "StableDiffusionPipeline":
        return {"prompt": found[0]}, {"prompt": found[1]}
    if name.startswith("PixArt"):
        return {"prompt": found[0], "mask": found[1]}, {"prompt": found[2], "mask": found[3]}
    return {"prompt": found[0], "pooled": found[2]}, {"prompt": found[1], "pooled": found[3]}


def _flux_texts(pipe, prompt: str) -> Given:
    text, pooled, places = pipe.encode_prompt(prompt, None, device=pipe.device)
    return {"prompt": text, "pooled": pooled, "words": places}


# --- folders --------------------------------------------------------------------------------------


def load_pipeline(
    folder: Path,
    *,
    prompt: str = "",
    label: int | None = None,
    guidance: float = 1.0,
    resolution: int | None = None,
    variant: str | None = None,
) -> ScoreModel:
    """`from_pipeline` of a diffusers folder; needs the package transformers, but for DiT.

    Weights are safetensors, classes those of diffusers and transformers that `latent_descriptions`
    lists; nothing of the folder is executed.  Raises CheckpointError.
    """
    folder = Path(folder)
    family, index = family_of(folder)
    latent_scheduler(folder, family.noise)
    parts: dict[str, Any] = dict.fromkeys(family.parts) | {"scheduler": _read_noise(folder)}
    for part, kind in ((family.part, family.kind), ("vae", "AutoencoderKL")):
        place, config = component(folder, part, kind)
        there = variant if part != "vae" or variant in variants(place) else None
        parts[part] = load_network(kind, config, place, there)
    for part, tokenizer in text_parts(folder, family, index).items():
        parts[part] = load_encoder(folder / part, family.texts[part], variant)
        parts[tokenizer] = load_tokenizer(folder / tokenizer, index[tokenizer][1])
    pipe = _assembled(index, parts)
    return from_pipeline(pipe, prompt, label=label, guidance=guidance, resolution=resolution)


def _read_noise(folder: Path) -> Any:
    """The scheduler's object, of a config that was read already."""
    import diffusers

    config = scheduler_config(folder)[0]
    return getattr(diffusers, config["_class_name"]).from_config(config)


def _assembled(index: dict, parts: dict[str, Any]) -> Any:
    """The pipeline of an index; parts that it does not need here are left out."""
    import diffusers

    kind = getattr(diffusers, index["_class_name"])
    wanted = inspect.signature(kind.__init__).parameters
    spare = {k: None for k, p in wanted.items() if k != "self" and p.default is inspect._empty}
    more = {"add_watermarker": False, **index, "requires_safety_checker": False}
    options = {k: v for k, v in more.items() if k in wanted and isinstance(v, bool)}
    with warnings.catch_warnings():  # of the steps of its scheduler, which are not taken here
        warnings.simplefilter("ignore", FutureWarning)
        return kind(**{**spare, **options, **parts})
