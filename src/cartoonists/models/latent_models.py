"""Latent diffusion pipelines (Rombach et al., 2022): a text-conditional U-Net inside a VAE.

Density is that of the *latents*, scaled by the VAE's scaling factor; images are decoded at the end.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cartoonists.files.errors import CheckpointError
from cartoonists.files.weights import WEIGHTS, damaged, variants
from cartoonists.models.diffusers_models import schedule_of
from cartoonists.models.folders import check_parts, component, scheduler_config
from cartoonists.models.image_models import with_guidance
from cartoonists.models.latent_descriptions import (
    latent_scheduler,
    latent_shapes,
    latent_statistics,
)
from cartoonists.models.latent_networks import LatentNetwork
from cartoonists.models.scheduler_configs import HEADS
from cartoonists.models.unets import load_network
from cartoonists.paths.scores import NetworkScore, ScoreModel

DECODE_BATCH = 4  # images decoded at once: a decoder at full resolution needs far more memory


class LatentModel(NetworkScore):
    """A score model of scaled latents ``[channels, h, w]`` with the autoencoder around it.

    z of the autoencoder is scaled to ``x = s (z - m)/d`` with its scaling_factor s and, where it
    has them, its shift_factor or latents_mean m and latents_std d.
    ``log_pixels_per_unit`` is NaN: the decoder is not invertible, so a density of latents has no
    bits/dim of images.
    """

    def __init__(self, network, shape, schedule, autoencoder: Any, card: dict, **options):
        super().__init__(network, shape, schedule, **options)
        self.autoencoder, self.card = autoencoder, card
        scale, means, deviations = latent_statistics(dict(autoencoder.config), "vae")
        self.shift = torch.tensor(means, dtype=torch.float64).view(-1, 1, 1)
        self.unit = torch.tensor(deviations, dtype=torch.float64).view(-1, 1, 1) / scale

    log_pixels_per_unit = float("nan")

    @property
    def pixel_shape(self) -> tuple[int, ...]:
        """Shape of one decoded image, ``(channels, height, width)``."""
        factor = 2 ** (len(self.autoencoder.config.block_out_channels) - 1)
        return (self.autoencoder.config.out_channels, *(factor * n for n in self.shape[1:]))

    @torch.no_grad()
    def from_pixels(self, pixels: Tensor, noise: Tensor | float = 0.5) -> Tensor:
        """Grey levels (uint8) ``[n, 3, H, W]`` to scaled latents, as x at logsnr_max.

        It is the mean of the encoder.
        """
        images = (pixels.double() + noise) / 128.0 - 1.0
        encoder = self.autoencoder.to(self.device)
        parts = [
            encoder.encode(part.to(self.device, encoder.dtype)).latent_dist.mode()
            for part in images.split(DECODE_BATCH)
        ]
        clean = (_finite(parts, "encoder") - self.shift) / self.unit
        return self.prepare(self.end_scale * clean)

    def to_pixels(self, x: Tensor) -> Tensor:
        """Scaled latents, as x at logsnr_max, to grey levels (uint8)."""
        return self.picture(x / self.end_scale)

    def finish(self, x: Tensor) -> Tensor:
        """Grey levels of samples at logsnr_max: denoised once more, then decoded."""
        return self.picture(self.denoise(x, self.schedule.logsnr_max))

    @torch.no_grad()
    def picture(self, clean: Tensor) -> Tensor:
        """Grey levels of denoised latents: decoded, with [-1, 1] as black to white."""
        decoder = self.autoencoder.to(self.device)
        latents = clean.double() * self.unit + self.shift
        parts = [
            decoder.decode(part.to(self.device, decoder.dtype)).sample
            for part in latents.split(DECODE_BATCH)
        ]
        pixels = torch.floor((_finite(parts, "decoder") + 1) * 128)
        return pixels.clamp(0, 255).to(torch.uint8)


def _finite(parts: list[Tensor], name: str) -> Tensor:
    """Outputs of an autoencoder in float64.  Raises FloatingPointError: some overflow in fp16."""
    values = torch.cat(parts).cpu().double()
    if not torch.isfinite(values).all():
        raise FloatingPointError(
            f"vae: outputs of the {name} that are not finite found in {parts[0].dtype}, allowed: "
            "finite ones (try the autoencoder in torch.float32)"
        )
    return values


def load_latent(
    folder: Path,
    *,
    prompt: str = "",
    embeddings: Path | None = None,
    guidance: float = 1.0,
    resolution: int | None = None,
    variant: str | None = None,
) -> ScoreModel:
    """A Stable Diffusion pipeline as a score model of its latents for one prompt.

    The prompt is embedded by the pipeline's own text encoder (needs the package transformers), or
    comes as ``embeddings``: a safetensors file with *prompt* and, for guidance, *empty*,
    ``[tokens, width]`` each.  guidance = w makes a ``GuidedModel`` of prompt and empty prompt; 1 is
    guidance off.  ``resolution`` in pixels, by default the network's own.  Raises CheckpointError.
    """
    folder = Path(folder)
    check_parts(folder, "latent")
    reading, scheduler = latent_scheduler(folder), scheduler_config(folder)[0]
    place, config = component(folder, "unet", "UNet2DConditionModel")
    around, vae = component(folder, "vae", "AutoencoderKL")
    shape, _ = latent_shapes(config, place, vae, around, resolution)
    schedule = schedule_of(reading)
    texts_like = torch.zeros(1, 1, config.get("cross_attention_dim") or 1280)
    unet = load_network(
        "UNet2DConditionModel", config, place, variant, shape, encoder_hidden_states=texts_like
    )
    autoencoder = load_network("AutoencoderKL", vae, around, _there(around, variant))
    texts = (
        read_embeddings(Path(embeddings)) if embeddings else embed(folder, [prompt, ""], variant)
    )
    needed = ("prompt", "empty") if guidance != 1 else ("prompt",)
    for name in needed:
        width = unet.config.cross_attention_dim
        if name not in texts or texts[name].ndim != 2 or texts[name].shape[1] != width:
            found = tuple(texts[name].shape) if name in texts else "none"
            raise CheckpointError(
                f"embeddings, {name!r}: {found} found, allowed: [tokens, {width}]"
            )
        if not texts[name].is_floating_point() or not torch.isfinite(texts[name]).all():
            raise CheckpointError(f"embeddings, {name!r}: allowed: finite floating-point numbers")

    def build(name: str) -> LatentModel:
        network = LatentNetwork(unet, schedule.timestep, prompt=texts[name][None])
        card = {
            "format": "latent",
            "scheduler": scheduler,
            "text": prompt if name == "prompt" else "",
        }
        return LatentModel(network, shape, schedule, autoencoder, card, head=HEADS[reading.head])

    return with_guidance(build, "prompt", "empty", guidance)


def read_embeddings(path: Path) -> dict[str, Tensor]:
    """Prompt embeddings from a safetensors file.  Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"embeddings: {path} is missing")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not safetensors ({error})") from None


def embed(folder: Path, texts: list[str], variant: str | None = None) -> dict[str, Tensor]:
    """Embeddings of [prompt, empty prompt] by the pipeline's own CLIP text encoder.

    Raises CheckpointError where the package transformers is not installed, and where the encoder is
    missing, damaged or incomplete.
    """
    tokenizer = load_tokenizer(folder / "tokenizer", "CLIPTokenizer")
    encoder = load_encoder(folder / "text_encoder", "CLIPTextModel", variant)
    try:
        tokens = tokenizer(
            texts, padding="max_length", truncation=True, max_length=tokenizer.model_max_length,
            return_tensors="pt",
        )  # fmt: skip
        with torch.no_grad():
            states = encoder(tokens.input_ids)[0]
    except Exception as error:  # transformers raises whatever the damage leads to
        raise damaged(folder / "text_encoder", error) from None
    return {"prompt": states[0], "empty": states[1]}


def load_encoder(place: Path, kind: str, variant: str | None = None) -> Any:
    """A text encoder of a class of transformers, in float32.  Raises CheckpointError."""
    wanted = {"use_safetensors": True, "output_loading_info": True}
    chosen = _there(place, variant, "model") or _only(place)
    encoder, info = _from_pretrained(kind, place, variant=chosen, **wanted)
    if info["missing_keys"]:
        raise CheckpointError(f"{place}: missing: {', '.join(sorted(info['missing_keys'])[:3])}")
    return encoder.eval().float()


def load_tokenizer(place: Path, kind: str) -> Any:
    """A tokenizer of a class of transformers.  Raises CheckpointError."""
    return _from_pretrained(kind, place)


def _from_pretrained(kind: str, place: Path, **options: Any) -> Any:
    try:
        import transformers
    except ImportError:
        raise CheckpointError(
            "prompt: the package transformers is not installed; install it, or give 'embeddings'"
        ) from None
    try:
        return getattr(transformers, kind).from_pretrained(place, local_files_only=True, **options)
    except Exception as error:  # transformers raises whatever the damage leads to
        raise damaged(place, error) from None


def _there(place: Path, variant: str | None, stem: str = WEIGHTS) -> str | None:
    """The variant, where this part of a pipeline has it: one may be published for some alone."""
    return variant if variant in variants(place, stem) else None


def _only(place: Path) -> str | None:
    """The variant of a text encoder that has nothing else."""
    found = variants(place, "model")
    return next(iter(found)) if found and "" not in found else None
