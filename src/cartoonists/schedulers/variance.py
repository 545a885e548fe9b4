"""The posterior variance c(λ) of a pipeline's variable, a number at each λ, and its file."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cartoonists.density.posterior import SMALLEST, Posterior
from cartoonists.files.artifacts import write_json
from cartoonists.paths.bases import Pixels

FORMAT = "cartoonists calibration 1"


class CalibrationError(ValueError):
    """A calibration that is damaged, or of another kind of scheduler."""


class IsotropicVariance(Posterior):
    """``c(λ) = Cov[x_0|x_λ]_ii`` as a function of λ alone, the same for all i and x."""

    basis = Pixels()

    def __init__(self, function: Callable[[float], float]):
        self.function = function

    def variance(self, z: Tensor, logsnr: float, denoised: Tensor) -> Tensor:
        return self.mean_variance(z, logsnr)

    def mean_variance(self, z: Tensor, logsnr: float) -> Tensor:
        return torch.as_tensor(self.function(float(logsnr)), dtype=z.dtype, device=z.device)

    @staticmethod
    def gaussian(variance: float) -> "IsotropicVariance":
        """The exact one of data ~ N(m, variance I): ``1/c = 1/variance + exp(λ)``, for any m."""
        return IsotropicVariance(lambda logsnr: 1 / (1 / variance + math.exp(logsnr)))


@dataclass(frozen=True)
class Calibration:
    """c at rising logSNRs, as `CalibrationRun` measured it; between them logit(c exp λ) is linear.

    Written as ``1/c = 1/w + exp(λ)``, w is the variance that Gaussian data of that c would have:
    constant for Gaussian data, here linear in log w, and beyond either end as at that end.  That
    covers pure noise, λ = -∞, where c = w.  ``coordinates``: *vp*, *edm* or *flow*.
    """

    coordinates: str
    logsnrs: Sequence[float]
    variances: Sequence[float]
    steps: int
    samples: int
    dimensions: int

    def __post_init__(self):
        levels, c = np.asarray(self.logsnrs, float), np.asarray(self.variances, float)
        if levels.ndim != 1 or levels.shape != c.shape or len(levels) < 1:
            raise CalibrationError("logsnrs, variances: expected equally many, at least one")
        if not (np.isfinite(levels).all() and (np.diff(levels) > 0).all()):
            raise CalibrationError("logsnrs: expected finite, rising values")
        if not (np.isfinite(c).all() and (c >= 0).all()):
            raise CalibrationError("variances: expected finite values of at least 0")
        share = np.clip(c * np.exp(levels), SMALLEST, 1 - SMALLEST)
        object.__setattr__(self, "_log_data", np.log(share) - np.log1p(-share) - levels)

    def __call__(self, logsnr: float) -> float:
        """c(λ)."""
        log_data = np.interp(logsnr, self.logsnrs, self._log_data)  # type: ignore[attr-defined]
        return float(1 / (np.exp(-log_data) + np.exp(logsnr)))

    def save(self, path: str | Path) -> None:
        """Write the table as JSON."""
        write_json(path, {"format": FORMAT, **asdict(self)})

    @staticmethod
    def load(path: str | Path, coordinates: str) -> "Calibration":
        """Read what `save` wrote.  Raises CalibrationError unless it is a table of such a kind."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            found = content.pop("format")
            table = Calibration(**content)
        except CalibrationError as error:
            raise CalibrationError(f"{path}: {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CalibrationError(f"{path}: not a calibration ({error!r})") from None
        if found != FORMAT:
            raise CalibrationError(f"{path}: format {found!r} found, allowed: {FORMAT!r}")
        if table.coordinates != coordinates:
            raise CalibrationError(
                f"{path}: coordinates {table.coordinates!r} found, allowed: {coordinates!r}"
            )
        return table
