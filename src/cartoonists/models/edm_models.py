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

from cartoonists.files.artifacts import atomic, write_json
from cartoonists.files.configs import number, refuse, rising_pair
from cartoonists.files.errors import CheckpointError
from cartoonists.files.resources import file_sha256
from cartoonists.models.descriptions import EDM_FORMAT, check_conditions, edm_card, unet_shape
from cartoonists.models.image_models import (
    ImageModel,
    as_column,
    check_sha256,
    expand_labels,
    scaling_for,
    with_guidance,
)
from cartoonists.models.unets import load_from
from cartoonists.paths.schedules import VE
from cartoonists.paths.scores import ScoreModel

LEVELS = ("sigma_min", "sigma_max")  # null in a card: no limit, as in the published networks
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
    good = all(
        isinstance(s, int | float) and not isinstance(s, bool) for s in (sigma_min, sigma_max)
    )
    if not good or not 0 < sigma_min < sigma_max < math.inf:
        raise CheckpointError(
            f"sigma_min, sigma_max: {sigma_min!r}, {sigma_max!r} found, allowed: above 0, finite "
            "and rising, such as 0.002 and 80, between which Karras et al. (2022) sample theirs "
            "(docs/edm.md)"
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
    sigma_data, sigma_min, sigma_max and the sha256 of the weights; data_range and logsnr_range
    where they differ from [-1, 1] and from those σ.  Raises CheckpointError.
    """
    weights = Path(weights)
    card = edm_card(weights.with_suffix(".json"))
    check_sha256(weights, card["sha256"], "its card")
    net = card["architecture"]
    shape, conditional = unet_shape(net, weights.with_suffix(".json"), "edm")
    unet = load_from("UNet2DModel", net, [weights], weights, shape)
    check_conditions(conditional, net.get("num_class_embeds"), label, null_label, guidance)
    schedule = card_schedule(card, weights.with_suffix(".json"))
    low, high = data_range or card.get("data_range") or (-1.0, 1.0)
    scaling = scaling_for(low, high, shape[0])

    def build(at: int | None) -> ImageModel:
        network = EDMNetwork(unet, card["sigma_data"], label=at)
        return ImageModel(network, shape, schedule, scaling, {**card, "label": at}, head="x0")

    return with_guidance(build, label, null_label, guidance)


def card_schedule(card: dict, place: Path) -> VE:
    """The VE schedule of a card: of its ``logsnr_range`` where it has one, else of its σ.

    The published networks say σ from 0 to ∞, where there is no logSNR: a range of λ makes such a
    card complete.  Raises CheckpointError.
    """
    chosen = card.get("logsnr_range")
    if chosen is None:
        return edm_schedule(*(card[level] for level in LEVELS))
    low, high = rising_pair(place, "logsnr_range", chosen)
    least = _logsnr(card, "sigma_max", math.inf, place)
    most = _logsnr(card, "sigma_min", 0.0, place)
    if not least <= low < high <= most:
        raise refuse(place, "logsnr_range", chosen, f"inside the card's own, {least:g} to {most:g}")
    return VE(low, high)


def _logsnr(card: dict, key: str, unlimited: float, place: Path) -> float:
    """λ = -2 ln σ of a card's σ; ±∞ where there is no limit (null, or 0 and ∞)."""
    if card[key] in (None, unlimited):
        return math.inf if unlimited == 0 else -math.inf
    return -2 * math.log(number(place, card, key, above=0.0))


def save_edm(weights: Path, unet: Any, card: dict) -> dict:
    """Write a network and its card (sigma_data, sigma_min, sigma_max, …), each whole or not at all.

    Returns the card with format, architecture and sha256 filled in.
    """
    weights = Path(weights)
    with atomic(weights) as temporary:
        save_file({k: v.contiguous() for k, v in unet.state_dict().items()}, temporary)
        digest = file_sha256(temporary)
    architecture = {k: v for k, v in dict(unet.config).items() if not k.startswith("_")}
    card = {k: None if v in (0, math.inf) and k in LEVELS else v for k, v in card.items()}
    card = {"format": EDM_FORMAT, **card, "architecture": architecture, "sha256": digest}
    write_json(weights.with_suffix(".json"), card)
    return card
