"""The noise that images get before their log-densities are compared."""

from collections.abc import Sequence

from torch import Tensor

from cartoonists.paths.scores import ScoreModel
from cartoonists.paths.streams import Streams


def with_noise(
    clean: Tensor, model: ScoreModel, seeds: Sequence[int], purpose: str = "equal noise"
) -> Tensor:
    """α x_0 + σ ε at logsnr_max, with an ε that depends on the seed and the ``purpose`` alone."""
    schedule = model.schedule
    alpha, sigma = schedule.alpha(schedule.logsnr_max), schedule.sigma(schedule.logsnr_max)
    noise = model.prepare(Streams(seeds, purpose).normal(model.shape))
    return alpha * clean + sigma * noise


def equal_noise(x: Tensor, model: ScoreModel, seeds: Sequence[int]) -> Tensor:
    """Samples at logsnr_max denoised once, `with_noise` of their seeds instead of their own.

    The reverse SDE ends with the noise of logsnr_max, the HD-ODE with next to none, and that noise
    alone costs up to ½ nat a dimension.  So samples of both kinds have the same.
    """
    return with_noise(model.denoise(x, model.schedule.logsnr_max), model, seeds)
