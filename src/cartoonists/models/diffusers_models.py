"""Models in diffusers' folder format: ``UNet2DModel`` with a scheduler config, safetensors only.

Two layouts are read: a pipeline (``unet/``, ``scheduler/``) and the flat one of the first models
(``config.json``, ``scheduler_config.json`` and the weights side by side).  Which classes and keys
are understood is said in `scheduler_configs` and `descriptions`; tables are diffusers' own.
"""

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cartoonists.files.configs import refuse
from cartoonists.files.errors import CheckpointError
from cartoonists.models.descriptions import check_conditions, unet_shape
from cartoonists.models.edm_models import EDMNetwork, edm_schedule
from cartoonists.models.folders import check_parts, component, scheduler_config
from cartoonists.models.image_models import (
    ImageModel,
    as_column,
    expand_labels,
    scaling_for,
    with_guidance,
)
from cartoonists.models.scheduler_configs import HEADS, SchedulerReading, read_scheduler
from cartoonists.models.unets import load_network
from cartoonists.paths.schedules import DiscreteVP, NoiseSchedule
from cartoonists.paths.scores import ScoreModel

NOISY = -1.5  # above it N(0, I) may be wrong by more than 0.1 nats a dimension
UNCLIPPED = "pictures alone are clipped to ±{}: scores and log-densities are the network's own"


def discrete_schedule(config: dict) -> DiscreteVP:
    """The schedule of a scheduler config: diffusers' own ``alphas_cumprod`` as logSNRs.

    With ``rescale_betas_zero_snr`` the last step is pure noise (logSNR -∞) and is left out.
    Raises CheckpointError for a config that is no table, or whose table does not fall.
    """
    reading = read_scheduler(config)
    if reading.kind != "table":
        raise CheckpointError(f"scheduler config: {reading.name} found, allowed: a beta table")
    return schedule_of(reading)


def schedule_of(reading: SchedulerReading) -> DiscreteVP:
    """`discrete_schedule` of a config that was read already."""
    import diffusers

    options = reading.table or {}
    scheduler_class = getattr(diffusers, reading.name, None)
    known = inspect.signature(scheduler_class.__init__).parameters if scheduler_class else {}
    for key in options:
        if key not in known and options[key] is not False:
            raise refuse("scheduler config", key, options[key], f"none with {reading.name}")
    try:
        scheduler = scheduler_class(**{k: v for k, v in options.items() if k in known})  # type: ignore[misc]
        table = scheduler.alphas_cumprod.double()
        if options.get("rescale_betas_zero_snr"):
            table = table[:-1]
        schedule = DiscreteVP(table)
    except Exception as error:  # diffusers raises whatever a value leads to
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"scheduler config: {reading.name}: no table ({reason})") from None
    if schedule.logsnr_min > NOISY:
        raise CheckpointError(
            f"scheduler config: a table that ends at logSNR {schedule.logsnr_min:.3g} found, "
            f"allowed: one that ends in noise, below {NOISY}"
        )
    return schedule


def plain(config: Any) -> dict:
    """The config of an object of diffusers as a mapping."""
    return dict(config) if hasattr(config, "keys") else dict(vars(config))


class TimestepNetwork(nn.Module):
    """A diffusers U-Net as ``network(x, logsnr)``: λ to the timestep that it was trained with.

    ``label`` is the class of every sample, or None.  Outputs for a learned variance, the second
    half of the channels (Nichol & Dhariwal, 2021), are dropped.
    """

    def __init__(self, unet: nn.Module, schedule: DiscreteVP, label: int | None = None):
        super().__init__()
        self.unet, self.schedule, self.label = unet, schedule, label

    def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
        timestep = self.schedule.timestep(logsnr.cpu()).to(x)
        output = self.unet(x, timestep, class_labels=expand_labels(self.label, x)).sample
        return output[:, : x.shape[1]]


class SigmaNetwork(nn.Module):
    """NCSN++ (Song et al., 2021) as diffusers stores it: σ in, score out, returned as ε = -σ s."""

    def __init__(self, unet: nn.Module, label: int | None = None):
        super().__init__()
        self.unet, self.label = unet, label

    def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
        sigma = torch.exp(-0.5 * logsnr)
        score = self.unet(x, sigma, class_labels=expand_labels(self.label, x)).sample
        return -as_column(sigma, x) * score[:, : x.shape[1]]


def load_diffusers(
    folder: Path,
    *,
    label: int | None = None,
    null_label: int | None = None,
    guidance: float = 1.0,
    data_range: tuple[float, float] | None = None,
    variant: str | None = None,
) -> ScoreModel:
    """A diffusers folder as an ``ImageModel`` (or a ``GuidedModel`` where guidance is not 1).

    The schedule follows the scheduler config: a beta table is variance preserving on the table's
    range of λ; σ_min and σ_max (ScoreSdeVe) variance exploding with the score as output; σ_data
    (EDM schedulers) the preconditioning of Karras et al. (2022).  ``data_range`` is what black and
    white map to: by default [0, 1] for ScoreSdeVe and [-1, 1] else, as their pipelines have it.
    A class-conditional network needs ``label``; guidance needs ``null_label`` too.  ``variant`` is
    the word in the name of the weights, such as *fp16*.
    Raises CheckpointError for anything else that is found.
    """
    folder = Path(folder)
    check_parts(folder, "diffusers")
    reading = read_scheduler(*scheduler_config(folder))
    place, config = component(folder, "unet", "UNet2DModel")
    shape, _ = unet_shape(config, place, reading.kind)
    unet = load_network("UNet2DModel", config, place, variant, shape)
    return unet_model(
        unet, scheduler_config(folder)[0], label=label, null_label=null_label, guidance=guidance,
        data_range=data_range,
    )  # fmt: skip


def unet_model(
    unet: Any,
    scheduler: dict,
    *,
    label: int | None = None,
    null_label: int | None = None,
    guidance: float = 1.0,
    data_range: tuple[float, float] | None = None,
) -> ScoreModel:
    """A ``UNet2DModel`` in memory and a scheduler's config as `load_diffusers` gives a folder."""
    reading = read_scheduler(scheduler)
    config = plain(unet.config)
    shape, conditional = unet_shape(config, "unet", reading.kind)
    check_conditions(conditional, config.get("num_class_embeds"), label, null_label, guidance)
    low, high = data_range or ((0.0, 1.0) if reading.kind == "ve" else (-1.0, 1.0))
    scaling, clip = scaling_for(low, high, shape[0]), reading.clip

    def build(at: int | None) -> ImageModel:
        network, schedule, head = wrap_unet(unet, scheduler, at)
        card = {"format": "diffusers", "scheduler": scheduler, "label": at}
        if clip is not None:
            card["clipped"] = UNCLIPPED.format(f"{clip:g}")
        return ImageModel(network, shape, schedule, scaling, card, clip=clip, head=head)

    return with_guidance(build, label, null_label, guidance)


def wrap_unet(unet, scheduler: dict, label) -> tuple[nn.Module, NoiseSchedule, str]:
    """Network, schedule and head for a U-Net and its scheduler config.  Raises CheckpointError."""
    reading = read_scheduler(scheduler)
    if reading.kind == "table":
        table = schedule_of(reading)
        return TimestepNetwork(unet, table, label), table, HEADS[reading.head]
    assert reading.levels is not None
    levels = edm_schedule(*reading.levels)
    if reading.kind == "ve":
        return SigmaNetwork(unet, label), levels, "eps"
    assert reading.sigma_data is not None
    network = EDMNetwork(unet, reading.sigma_data, reading.head, label, reading.noise_scale)
    return network, levels, "x0"
