"""Latent diffusion pipelines (Rombach et al., 2022): a text-conditional U-Net inside a VAE.

Density is that of the *latents*, scaled by the VAE's scaling factor; images are decoded at the end.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cartoonists.files.errors import CheckpointError
from cartoonists.models.diffusers_models import (
    HEADS,
    discrete_schedule,
    load_component,
    scheduler_config,
)
from cartoonists.models.image_models import ready, with_guidance
from cartoonists.paths.schedules import DiscreteVP
from cartoonists.paths.scores import NetworkScore, ScoreModel

DECODE_BATCH = 4  # images decoded at once: a decoder at full resolution needs far more memory


class PromptNetwork(nn.Module):
    """A text-conditional U-Net as ``network(z, logsnr)`` for one prompt, ``[tokens, width]``."""

    prompt: Tensor

    def __init__(self, unet: nn.Module, schedule: DiscreteVP, prompt: Tensor):
        super().__init__()
        self.unet, self.schedule = unet, schedule
        self.register_buffer("prompt", prompt.float(), persistent=False)

    def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
        timestep = self.schedule.timestep(logsnr.cpu()).to(x)
        prompt = self.prompt.expand(len(x), *self.prompt.shape)
        return self.unet(x, timestep, encoder_hidden_states=prompt).sample[:, : x.shape[1]]


class LatentModel(NetworkScore):
    """A score model of scaled latents ``[channels, h, w]`` with the autoencoder around it.

    ``log_pixels_per_unit`` is NaN: the decoder is not invertible, so a density of latents has no
    bits/dim of images.
    """

    def __init__(self, network, shape, schedule, autoencoder: Any, card: dict, **options):
        super().__init__(network, shape, schedule, **options)
        self.autoencoder, self.card = autoencoder, card
        self.scale = float(autoencoder.config.scaling_factor)

    log_pixels_per_unit = float("nan")

    @property
    def pixel_shape(self) -> tuple[int, ...]:
        """Shape of one decoded image, ``(channels, height, width)``."""
        factor = _downsampling(self.autoencoder)
        return (self.autoencoder.config.out_channels, *(factor * n for n in self.shape[1:]))

    @torch.no_grad()
    def from_pixels(self, pixels: Tensor, noise: Tensor | float = 0.5) -> Tensor:
        """Grey levels (uint8) ``[n, 3, H, W]`` to scaled latents: the mean of the encoder."""
        images = (pixels.double() + noise) / 128.0 - 1.0
        encoder = self.autoencoder.to(self.device)
        parts = [
            encoder.encode(part.float().to(self.device)).latent_dist.mode()
            for part in images.split(DECODE_BATCH)
        ]
        return self.prepare(torch.cat(parts).cpu() * self.scale)

    @torch.no_grad()
    def to_pixels(self, x: Tensor) -> Tensor:
        """Scaled latents to grey levels (uint8): decoded, with [-1, 1] as black to white."""
        decoder = self.autoencoder.to(self.device)
        parts = [
            decoder.decode(part.float().to(self.device) / self.scale).sample
            for part in x.split(DECODE_BATCH)
        ]
        pixels = torch.floor((torch.cat(parts).cpu().double() + 1) * 128)
        return pixels.clamp(0, 255).to(torch.uint8)

    def finish(self, x: Tensor) -> Tensor:
        """Grey levels of samples at logsnr_max: denoised once more, then decoded."""
        return self.to_pixels(self.denoise(x, self.schedule.logsnr_max))


def load_latent(
    folder: Path,
    *,
    prompt: str = "",
    embeddings: Path | None = None,
    guidance: float = 1.0,
    resolution: int | None = None,
) -> ScoreModel:
    """A Stable Diffusion pipeline as a score model of its latents for one prompt.

    The prompt is embedded by the pipeline's own text encoder (needs the package transformers), or
    comes as ``embeddings``: a safetensors file with *prompt* and, for guidance, *empty*,
    ``[tokens, width]`` each.  guidance = w makes a ``GuidedModel`` of prompt and empty prompt; 1 is
    guidance off.  ``resolution`` in pixels, by default the network's own.  Raises CheckpointError.
    """
    folder = Path(folder)
    scheduler = scheduler_config(folder)
    kind = scheduler.get("prediction_type", "epsilon")
    if kind not in HEADS:
        raise CheckpointError(f"prediction_type: {kind!r} found, allowed: {', '.join(HEADS)}")
    unet = ready(load_component(folder, "unet", "UNet2DConditionModel"))
    autoencoder = ready(load_component(folder, "vae", "AutoencoderKL"))
    schedule = discrete_schedule(scheduler)
    shape = _latent_shape(unet, autoencoder, resolution)
    texts = read_embeddings(Path(embeddings)) if embeddings else embed(folder, [prompt, ""])
    needed = ("prompt", "empty") if guidance != 1 else ("prompt",)
    for name in needed:
        width = unet.config.cross_attention_dim
        if name not in texts or texts[name].ndim != 2 or texts[name].shape[1] != width:
            found = tuple(texts[name].shape) if name in texts else "none"
            raise CheckpointError(
                f"embeddings, {name!r}: {found} found, allowed: [tokens, {width}]"
            )

    def build(name: str) -> LatentModel:
        network = PromptNetwork(unet, schedule, texts[name])
        card = {
            "format": "latent",
            "scheduler": scheduler,
            "text": prompt if name == "prompt" else "",
        }
        return LatentModel(network, shape, schedule, autoencoder, card, head=HEADS[kind])

    return with_guidance(build, "prompt", "empty", guidance)


def _latent_shape(unet, autoencoder, resolution: int | None) -> tuple[int, int, int]:
    factor = _downsampling(autoencoder)
    if resolution is None:
        size = unet.config.sample_size
    elif resolution % factor or resolution < factor:
        raise CheckpointError(f"resolution: {resolution} found, allowed: multiples of {factor}")
    else:
        size = resolution // factor
    return (unet.config.in_channels, size, size)


def _downsampling(autoencoder) -> int:
    """Pixels a side of one latent."""
    return 2 ** (len(autoencoder.config.block_out_channels) - 1)


def read_embeddings(path: Path) -> dict[str, Tensor]:
    """Prompt embeddings from a safetensors file.  Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"embeddings: {path} is missing")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not safetensors ({error})") from None


def embed(folder: Path, texts: list[str]) -> dict[str, Tensor]:
    """Embeddings of [prompt, empty prompt] by the pipeline's own CLIP text encoder.

    Raises CheckpointError where the package transformers is not installed.
    """
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError:
        raise CheckpointError(
            "prompt: the package transformers is not installed; install it, or give 'embeddings'"
        ) from None
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    encoder = CLIPTextModel.from_pretrained(
        folder / "text_encoder", use_safetensors=True, local_files_only=True
    ).eval()
    tokens = tokenizer(
        texts, padding="max_length", truncation=True, max_length=tokenizer.model_max_length,
        return_tensors="pt",
    )  # fmt: skip
    with torch.no_grad():
        states = encoder(tokens.input_ids)[0]
    return {"prompt": states[0], "empty": states[1]}
