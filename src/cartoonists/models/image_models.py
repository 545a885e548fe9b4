"""Score models of images: a network, its data scaling and its card, and guidance of two of them."""

import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cartoonists.files.errors import CheckpointError
from cartoonists.files.resources import file_sha256
from cartoonists.files.weights import TensorInfo, damaged, matched, tensors_in
from cartoonists.images.data import PixelScaling
from cartoonists.paths.schedules import Time, limited
from cartoonists.paths.scores import NetworkScore, ScoreModel
from cartoonists.paths.streams import Streams


class ImageModel(NetworkScore):
    """A network score model of images, with its data scaling and its card.

    ``card`` is the checkpoint's metadata: architecture, schedule, data statistics,
    training, held-out ELBO, sha256 (as far as its format has them).  ``clip`` is the value that the
    denoised image is clipped to where its scheduler config says so; scores and log-densities are of
    the network as it is.
    """

    def __init__(
        self,
        network,
        shape,
        schedule,
        scaling: PixelScaling,
        card: dict,
        *,
        clip: float | None = None,
        **options,
    ):
        super().__init__(network, shape, schedule, **options)
        self.scaling, self.card, self.clip = scaling, card, clip

    @property
    def pixel_shape(self) -> tuple[int, ...]:
        """Shape of one image, ``(channels, height, width)``."""
        return self.shape

    @property
    def largest_power(self) -> float:
        """The largest mean square that images can have in model space: all black or all white."""
        pairs = zip(self.scaling.mean, self.scaling.std, strict=True)
        return max(max(mean**2, (1 - mean) ** 2) / std**2 for mean, std in pairs)

    @property
    def log_pixels_per_unit(self) -> float:
        """Log-determinant of the map from model space to grey levels, for bits/dim."""
        clean = self.scaling.log_pixels_per_unit(self.shape)
        return clean - self.dimensions * math.log(self.end_scale)

    def from_pixels(self, pixels: Tensor, noise: Tensor | float = 0.5) -> Tensor:
        """Grey levels (uint8) to model space, x at logsnr_max; noise in [0, 1) dequantises."""
        return self.end_scale * self.scaling.from_pixels(pixels, noise)

    def to_pixels(self, x: Tensor) -> Tensor:
        """Model space, x at logsnr_max, to grey levels (uint8)."""
        return self.scaling.to_pixels(x / self.end_scale)

    def finish(self, x: Tensor) -> Tensor:
        """Grey levels of samples at logsnr_max, denoised once more (at λ = 10 noise is visible)."""
        return self.picture(self.denoise(x, self.schedule.logsnr_max))

    def picture(self, clean: Tensor) -> Tensor:
        """Grey levels of denoised images, clipped as the model's sampler does."""
        clipped = clean if self.clip is None else clean.clamp(-self.clip, self.clip)
        return self.scaling.to_pixels(clipped)


class GuidedModel(ScoreModel):
    """Classifier-free guidance, a score model of its own (Ho & Salimans, 2022, equation 6).

    ``s = s_0 + w (s_c - s_0)`` with s_c of ``conditional`` and s_0 of ``unconditional``, which
    share shape and schedule.  w = 1 is the conditional model and w = 0 the unconditional one.  For
    other w the fields s(·, λ) are not the scores of one density diffused by the schedule: the
    PF-ODE's change of variables still gives the density of *its own* samples, and the path ratio
    bounds that of the ancestral chain.

    Everything else (pixels, card) is the conditional model's.  Raises ValueError where the two do
    not fit.
    """

    def __init__(self, conditional: ImageModel, unconditional: ImageModel, scale: float):
        if conditional.shape != unconditional.shape:
            raise ValueError(
                f"guidance: shapes {conditional.shape} and {unconditional.shape} found, "
                "allowed equal"
            )
        if conditional.schedule != unconditional.schedule:
            raise ValueError("guidance: two schedules found, allowed one")
        self.conditional, self.unconditional, self.scale = conditional, unconditional, float(scale)
        self.shape, self.schedule = conditional.shape, conditional.schedule
        self.posterior = None  # of the guided field, not of either part

    def __getattr__(self, name):
        if name.startswith("_") or name == "conditional":
            raise AttributeError(name)
        return getattr(self.conditional, name)

    def _mix(self, with_condition: Tensor, without: Tensor) -> Tensor:
        return without + self.scale * (with_condition - without)

    def score(self, x: Tensor, logsnr: Time) -> Tensor:
        return self._mix(self.conditional.score(x, logsnr), self.unconditional.score(x, logsnr))

    def score_and_hvp(self, x: Tensor, logsnr: Time, v: Tensor) -> tuple[Tensor, Tensor]:
        first = self.conditional.score_and_hvp(x, logsnr, v)
        second = self.unconditional.score_and_hvp(x, logsnr, v)
        return self._mix(first[0], second[0]), self._mix(first[1], second[1])

    def prepare(self, x: Tensor) -> Tensor:
        return self.conditional.prepare(x)

    def sample_prior(self, streams: Streams) -> Tensor:
        return self.conditional.sample_prior(streams)

    def finish(self, x: Tensor) -> Tensor:
        """Grey levels of samples at logsnr_max, denoised once more by the guided field."""
        return self.conditional.picture(self.denoise(x, self.schedule.logsnr_max))


def parts_of(model: ScoreModel) -> tuple[ScoreModel, ...]:
    """The networks of a model: its own, or the two of a guided one."""
    if isinstance(model, GuidedModel):
        return model.conditional, model.unconditional
    return (model,)


def restrict(model: ScoreModel, logsnr_range: tuple[float, float] | None) -> None:
    """Leave a model the part of its range of λ that is to be used (`schedules.limited`).

    Raises CheckpointError for a range that it does not have.
    """
    first = parts_of(model)[0]
    power = first.largest_power if isinstance(first, ImageModel) else 1.0
    try:
        schedule = limited(model.schedule, logsnr_range, power)
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    for part in {*parts_of(model), model}:
        part.schedule = schedule


def check_sha256(path: Path, expected: str, origin: str) -> None:
    """Raise CheckpointError where a file's SHA-256 is not the one that ``origin`` says."""
    found = file_sha256(path)
    if found != expected:
        raise CheckpointError(f"{path}: sha256 {found} found, {origin} says {expected}")


def load_weights(network: nn.Module, weights: Path) -> Any:
    """The network with float32 weights from a safetensors file, for evaluation only.

    Raises CheckpointError where the file is damaged or holds other tensors than the network's.
    """
    return load_tensors(network, [Path(weights)], Path(weights))


def load_tensors(network: nn.Module, files: list[Path], place: Path) -> Any:
    """`load_weights` from one file or several shards: every tensor of the network and no other.

    Raises CheckpointError, naming tensors, for what is missing, unknown, of another shape, not a
    floating-point number or not finite.
    """
    named = match_tensors(network, files, place)
    state = {}
    for file in files:
        try:
            content = load_file(file)
        except (OSError, SafetensorError, RuntimeError, ValueError) as error:
            raise damaged(file, error) from None
        for name, tensor in named.items():
            if tensor.file == file:
                state[name] = content[tensor.name].float()
    for name, values in state.items():
        if not torch.isfinite(values).all():
            raise CheckpointError(f"{place}: {name} holds values that are not finite")
    network.load_state_dict(state)
    return ready(network)


def match_tensors(network: nn.Module, files: list[Path], place: Path) -> dict[str, TensorInfo]:
    """The network's names to the tensors of the files, from headers.  Raises CheckpointError."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    return matched(place, tensors_in(files), expected)


def scaling_for(low: float, high: float, channels: int) -> PixelScaling:
    """The scaling of a model whose data range from ``low`` (black) to ``high`` (white).

    A grey level is a bin of width (high - low)/256, as in Song et al. (2021): their bits/dim.
    """
    std = 1.0 / (high - low)
    return PixelScaling((-low * std,) * channels, (std,) * channels)


def ready(network: nn.Module) -> Any:
    """A network for evaluation only: no dropout, no gradients of weights."""
    return network.eval().requires_grad_(False)


def as_column(values: Tensor, x: Tensor) -> Tensor:
    """One value a sample, shaped to multiply ``[batch, *shape]``."""
    return values.view(-1, *[1] * (x.ndim - 1)).to(x)


def expand_labels(label: int | None, x: Tensor) -> Tensor | None:
    """A class label for every sample, or None."""
    if label is None:
        return None
    return torch.full((len(x),), label, dtype=torch.long, device=x.device)


def with_guidance(build, condition, null, guidance: float) -> ScoreModel:
    """``build(condition)``, guided away from ``build(null)`` unless guidance is 1."""
    if guidance == 1:
        return build(condition)
    return GuidedModel(build(condition), build(null), guidance)
