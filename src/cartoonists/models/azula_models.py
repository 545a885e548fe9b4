"""Denoisers with the interface of the package azula, its plugins among them, as score models."""

from typing import Any

import torch
from torch import Tensor, nn

from cartoonists.models.image_models import ImageModel, as_column, scaling_for
from cartoonists.paths.schedules import VP

HALVINGS = 60  # of the interval of t: to the precision of float64


class DenoiserNetwork(nn.Module):
    """``E[x_0|x_t]`` of a denoiser with ``x_t = α_t x_0 + σ_t ε`` as a network of x of `VP` and λ.

    t is where the denoiser's own schedule has λ, and ``x_t = α_t x/α_λ``, α_λ being VP's.
    """

    def __init__(self, denoiser: Any, given: dict[str, Any]):
        super().__init__()
        self.denoiser, self.given = denoiser, given

    def logsnr(self, time: Tensor) -> Tensor:
        """``λ = 2 log(α_t/σ_t)`` of times t from 0 to 1, falling."""
        alpha, sigma = self.denoiser.schedule(time)
        return 2 * (torch.as_tensor(alpha).log() - torch.as_tensor(sigma).log())

    def time(self, logsnr: Tensor) -> Tensor:
        """t of each λ, by halving the interval."""
        low, high = torch.zeros_like(logsnr), torch.ones_like(logsnr)
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            early = self.logsnr(middle) > logsnr
            low, high = torch.where(early, middle, low), torch.where(early, high, middle)
        return 0.5 * (low + high)

    def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
        time = self.time(logsnr.double())
        alpha = torch.as_tensor(self.denoiser.schedule(time)[0]).expand_as(time)
        scale = alpha / VP().alpha(logsnr.double())
        return self.denoiser(as_column(scale, x) * x, time.to(x), **self.given).mean


def azula_model(
    denoiser: Any,
    shape: tuple[int, int, int],
    data_range: tuple[float, float] = (-1.0, 1.0),
    **given: Any,
) -> ImageModel:
    """A denoiser as a score model of images: ``denoiser(x_t, t, **given).mean`` is E[x_0|x_t].

    ``denoiser.schedule(t)`` gives α_t and σ_t for t from 0 (data) to 1 (noise), of any kind; x and
    its log-density are those of the variance-preserving variable of the same λ.  shape: (channels,
    height, width); data_range: the values of black and white; ``given`` goes to every call, such as
    a label.  Guidance and whatever else changes the mean is the denoiser's.

    Raises ValueError where λ is not finite at both ends or does not fall from t = 0 to 1.
    """
    network = DenoiserNetwork(denoiser, given)
    times = torch.linspace(0, 1, 257, dtype=torch.float64)
    levels = network.logsnr(times).expand_as(times)
    if not torch.isfinite(levels).all() or not (levels.diff() < 0).all():
        raise ValueError(
            f"denoiser.schedule: λ from {levels[0]:.4g} to {levels[-1]:.4g} found, allowed: finite "
            "and falling from t = 0 to 1"
        )
    schedule = VP(levels[-1].item(), levels[0].item())
    scaling = scaling_for(*data_range, shape[0])
    return ImageModel(network.eval(), shape, schedule, scaling, {}, head="x0")
