"""EDM models (Karras et al., 2022): preconditioned denoisers under the variance-exploding schedule.

On disk a ``.safetensors`` file with a JSON card beside it; docs/models.md says how published
pickles are converted outside the workflow.
"""

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cartoonists.files.errors import CheckpointError
from cartoonists.files.resources import file_sha256
from cartoonists.models.image_models import (
    ImageModel,
    as_column,
    check_labels,
    check_sha256,
    damaged,
    expand_labels,
    load_weights,
    read_json,
    scaling_for,
    with_guidance,
)
from cartoonists.paths.schedules import VE
from cartoonists.paths.scores import ScoreModel

EDM_FORMAT = "edm/1"
REQUIRED = {"format", "architecture", "sigma_data", "sigma_min", "sigma_max", "sha256"}
OUTPUTS = {"epsilon": 1.0, "v_prediction": -1.0}  # sign of c_out; EDM's own networks are the first


class EDMNetwork(nn.Module):
    """The denoiser ``D(x, σ) = c_skip x + c_out F(c_in x, c_noise)`` (Karras et al., 2022, eq. 7).

    ``c_skip = σ_d²/(σ² + σ_d²)``, ``c_out = σ σ_d/√(σ² + σ_d²)``, ``c_in = 1/√(σ² + σ_d²)``,
    ``c_noise = ln(σ)/4`` (table 1), with σ = exp(-λ/2).  For data of variance σ_d², F's inputs and
    targets have unit variance.  F is called as ``unet(x, noise_scale c_noise, class_labels=…)``;
    noise_scale is 1 in the paper and 1000 in the networks of Song et al. (2023).
    """

    def __init__(
        self,
        unet: nn.Module,
        sigma_data: float,
        output: str = "epsilon",
        label: int | None = None,
        noise_scale: float = 1.0,
    ):
        super().__init__()
        if output not in OUTPUTS:
            raise CheckpointError(
                f"prediction_type: {output!r} found, allowed: {', '.join(OUTPUTS)}"
            )
        if not 0 < sigma_data < math.inf:
            raise CheckpointError(f"sigma_data: {sigma_data} found, allowed: above 0")
        self.unet, self.sigma_data, self.label = unet, float(sigma_data), label
        self.sign, self.noise_scale = OUTPUTS[output], noise_scale

    def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
        sigma2 = torch.exp(-logsnr)
        total = sigma2 + self.sigma_data**2
        skip, scale = self.sigma_data**2 / total, total.rsqrt()
        out = self.sign * self.sigma_data * sigma2.sqrt() * scale
        inner = as_column(scale, x) * x
        noise = -logsnr / 8 * self.noise_scale
        raw = self.unet(inner, noise, class_labels=expand_labels(self.label, x)).sample
        return as_column(skip, x) * x + as_column(out, x) * raw[:, : x.shape[1]].float()


def edm_schedule(sigma_min: float, sigma_max: float) -> VE:
    """The VE schedule between two noise levels, λ = -2 ln σ.  Raises CheckpointError."""
    if not 0 < sigma_min < sigma_max < math.inf:
        raise CheckpointError(
            f"sigma_min, sigma_max: {sigma_min}, {sigma_max} found, allowed: above 0, rising"
        )
    return VE(-2 * math.log(sigma_max), -2 * math.log(sigma_min))


def load_edm(
    weights: Path,
    *,
    label: int | None = None,
    null_label: int | None = None,
    guidance: float = 1.0,
    data_range: tuple[float, float] | None = None,
) -> ScoreModel:
    """An EDM checkpoint as an ``ImageModel`` (a ``GuidedModel`` where guidance is not 1).

    The card holds format ``edm/1``, architecture (the config of a diffusers ``UNet2DModel``),
    sigma_data, sigma_min, sigma_max and the sha256 of the weights.  Raises CheckpointError.
    """
    weights = Path(weights)
    card = read_json(weights.with_suffix(".json"))
    missing = REQUIRED - set(card)
    if missing or card["format"] != EDM_FORMAT:
        raise CheckpointError(f"{weights}: not an {EDM_FORMAT} card (missing: {sorted(missing)})")
    check_sha256(weights, card["sha256"], "its card")
    unet = load_weights(_network(weights, card["architecture"]), weights)
    check_labels(unet, label, null_label, guidance)
    channels, size = unet.config.in_channels, unet.config.sample_size
    schedule = edm_schedule(card["sigma_min"], card["sigma_max"])
    low, high = data_range or card.get("data_range", (-1.0, 1.0))
    scaling = scaling_for(low, high, channels)

    def build(at: int | None) -> ImageModel:
        network = EDMNetwork(unet, card["sigma_data"], label=at)
        return ImageModel(
            network, (channels, size, size), schedule, scaling, {**card, "label": at}, head="x0"
        )

    return with_guidance(build, label, null_label, guidance)


def _network(weights: Path, architecture: dict) -> nn.Module:
    from diffusers import UNet2DModel

    try:
        return UNet2DModel.from_config(architecture)
    except Exception as error:  # diffusers raises whatever a wrong config leads to
        raise damaged(weights.with_suffix(".json"), error) from None


def save_edm(weights: Path, unet: Any, card: dict) -> dict:
    """Write a network and its card (sigma_data, sigma_min, sigma_max, …), each whole or not at all.

    Returns the card with format, architecture and sha256 filled in.
    """
    from cartoonists.files.artifacts import atomic, write_json

    weights = Path(weights)
    with atomic(weights) as temporary:
        save_file({k: v.contiguous() for k, v in unet.state_dict().items()}, temporary)
        digest = file_sha256(temporary)
    architecture = {k: v for k, v in dict(unet.config).items() if not k.startswith("_")}
    card = {"format": EDM_FORMAT, **card, "architecture": architecture, "sha256": digest}
    write_json(weights.with_suffix(".json"), card)
    return card
