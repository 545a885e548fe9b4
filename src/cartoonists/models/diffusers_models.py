"""Models in diffusers' folder format: ``UNet2DModel`` with a scheduler config, safetensors only.

Two layouts are read: a pipeline (``unet/``, ``scheduler/``) and the flat one of the first models
(``config.json``, ``scheduler_config.json`` and the weights side by side).
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from cartoonists.files.errors import CheckpointError
from cartoonists.models.edm_models import EDMNetwork, edm_schedule
from cartoonists.models.image_models import (
    ImageModel,
    as_column,
    check_labels,
    damaged,
    expand_labels,
    read_json,
    ready,
    scaling_for,
    with_guidance,
)
from cartoonists.paths.schedules import DiscreteVP, NoiseSchedule
from cartoonists.paths.scores import ScoreModel

WEIGHTS = "diffusion_pytorch_model"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
HEADS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}


def beta_table(kind: str, steps: int, start: float, end: float) -> Tensor:
    """Noise variances β_1 … β_T of a discrete schedule, ``[steps]``, float64.

    *linear* (Ho et al., 2020): equally spaced.  *scaled_linear* (Rombach et al., 2022): squares of
    equally spaced roots.  *squaredcos_cap_v2* (Nichol & Dhariwal, 2021, equation 17):
    ``β_t = min(1 - ᾱ(t)/ᾱ(t - 1), 0.999)`` with ``ᾱ(t) = cos²((t/T + 0.008)/1.008 · π/2)``.
    Raises CheckpointError for another kind.
    """
    if kind == "linear":
        return torch.linspace(start, end, steps, dtype=torch.float64)
    if kind == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    if kind == "squaredcos_cap_v2":
        at = torch.arange(steps + 1, dtype=torch.float64) / steps
        signal = torch.cos((at + 0.008) / 1.008 * math.pi / 2) ** 2
        return (1 - signal[1:] / signal[:-1]).clamp(max=0.999)
    raise CheckpointError(
        f"beta_schedule: {kind!r} found, allowed: linear, scaled_linear, squaredcos_cap_v2"
    )


def discrete_schedule(config: dict) -> DiscreteVP:
    """The schedule of a scheduler config: its table of ᾱ_t as logSNRs.

    Raises CheckpointError for a table that is not one, or that ends in pure noise (logSNR -∞, as
    ``rescale_betas_zero_snr`` makes it).
    """
    if config.get("rescale_betas_zero_snr"):
        raise CheckpointError("rescale_betas_zero_snr: true found, allowed: false (finite logSNR)")
    try:
        betas = config.get("trained_betas")
        if betas is None:
            betas = beta_table(
                config.get("beta_schedule", "linear"), int(config.get("num_train_timesteps", 1000)),
                float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02)),
            )  # fmt: skip
        return DiscreteVP(torch.cumprod(1 - torch.as_tensor(betas, dtype=torch.float64), dim=0))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"scheduler config: {error}") from None


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
) -> ScoreModel:
    """A diffusers folder as an ``ImageModel`` (or a ``GuidedModel`` where guidance is not 1).

    The schedule follows the scheduler config: a beta table is variance preserving on the table's
    range of λ; σ_min and σ_max (ScoreSdeVe) variance exploding with the score as output; σ_data
    (EDM schedulers) the preconditioning of Karras et al. (2022).  ``data_range`` is what black and
    white map to: by default [0, 1] for ScoreSdeVe and [-1, 1] else, as their pipelines have it.
    A class-conditional network needs ``label``; guidance needs ``null_label`` too.
    Raises CheckpointError for anything else that is found.
    """
    folder = Path(folder)
    unet = ready(load_component(folder, "unet", "UNet2DModel"))
    scheduler = scheduler_config(folder)
    channels, size = unet.config.in_channels, unet.config.sample_size
    if not size:
        raise CheckpointError(f"{folder}: the network's config has no sample_size")
    shape = (channels, *((size, size) if isinstance(size, int) else tuple(size)))
    exploding = scheduler.get("_class_name", "").startswith("ScoreSdeVe")
    low, high = data_range or ((0.0, 1.0) if exploding else (-1.0, 1.0))
    scaling = scaling_for(low, high, channels)
    check_labels(unet, label, null_label, guidance)

    def build(at: int | None) -> ImageModel:
        network, schedule, head = wrap_unet(unet, scheduler, at)
        card = {"format": "diffusers", "scheduler": scheduler, "label": at}
        return ImageModel(network, shape, schedule, scaling, card, head=head)

    return with_guidance(build, label, null_label, guidance)


def wrap_unet(unet, scheduler: dict, label) -> tuple[nn.Module, NoiseSchedule, str]:
    """Network, schedule and head for a U-Net and its scheduler config.  Raises CheckpointError."""
    if scheduler.get("_class_name", "").startswith("ScoreSdeVe"):
        levels = scheduler.get("sigma_min", 0.01), scheduler.get("sigma_max", 1348.0)
        return SigmaNetwork(unet, label), edm_schedule(*levels), "eps"
    kind = scheduler.get("prediction_type", "epsilon")
    if "sigma_data" in scheduler:
        levels = scheduler.get("sigma_min", 0.002), scheduler.get("sigma_max", 80.0)
        scale = 1.0
        if scheduler.get("_class_name") == "KarrasEDMScheduler":  # of Song et al. (2023)
            scale, kind = 1000.0, "epsilon" if scheduler.get("precondition_type") == "edm" else kind
        network = EDMNetwork(unet, scheduler["sigma_data"], kind, label, scale)
        return network, edm_schedule(*levels), "x0"
    if kind not in HEADS:
        raise CheckpointError(f"prediction_type: {kind!r} found, allowed: {', '.join(HEADS)}")
    schedule = discrete_schedule(scheduler)
    return TimestepNetwork(unet, schedule, label), schedule, HEADS[kind]


def scheduler_config(folder: Path) -> dict:
    """The scheduler config of either layout."""
    nested = folder / "scheduler" / "scheduler_config.json"
    return read_json(nested if nested.is_file() else folder / "scheduler_config.json")


def load_component(folder: Path, name: str, kind: str) -> nn.Module:
    """One network of a pipeline, weights from safetensors.

    Raises CheckpointError where config or weights are missing or damaged, are pickles, or belong to
    another class than ``kind``.
    """
    place = folder / name if (folder / name).is_dir() else folder
    config = read_json(place / "config.json")
    found = config.get("_class_name", kind)
    if found != kind:
        raise CheckpointError(f"{place}: a {found} found, allowed: {kind}")
    refuse_pickles(place)
    import diffusers

    try:
        return getattr(diffusers, kind).from_pretrained(
            place, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False,
            torch_dtype=torch.float32,
        )  # fmt: skip
    except Exception as error:  # diffusers raises whatever the damage leads to
        raise damaged(place, error) from None


def refuse_pickles(place: Path) -> None:
    """Raise CheckpointError unless there are safetensors; pickles beside them stay unread."""
    if any(place.glob(f"{WEIGHTS}*.safetensors")):
        return
    pickled = sorted(p.name for p in place.iterdir() if p.suffix in PICKLES)
    if pickled:
        raise CheckpointError(
            f"{place}: only pickled weights found ({pickled[0]}), allowed: safetensors "
            "(loading a pickle runs what is in it; docs/models.md says how to convert it)"
        )
    raise CheckpointError(f"{place}: {WEIGHTS}.safetensors is missing")
