"""A box with soft edges: log-concave, closed in form, and not Gaussian."""

import math

import torch
from torch import Tensor
from torch.special import log_ndtr

from cartoonists.paths.bases import Pixels
from cartoonists.paths.schedules import NoiseSchedule, Time
from cartoonists.paths.scores import ClosedForm
from cartoonists.paths.streams import Streams


class SoftBox(ClosedForm):
    """Uniform on [-w, w] in each coordinate, plus N(0, s²): log-concave as a convolution of such.

    At λ each coordinate has ``p(x) = [Φ(u) - Φ(l)]/(2 α w)`` with ``u, l = (x ± α w)/τ`` and
    ``τ² = α² s² + σ²``.  With ``p_u = φ(u)/(τ [Φ(u) - Φ(l)])``, and p_l likewise, the ratios
    ``r_1 = p_u - p_l``, ``r_2 = (l p_l - u p_u)/τ`` and ``r_3 = ((u² - 1) p_u - (l² - 1) p_l)/τ²``
    of derivatives to the density give the score r_1, the Hessian ``r_2 - r_1²`` (diagonal) and
    ∇Δ = ``r_3 - 3 r_1 r_2 + 2 r_1³``.

    Raises ValueError unless half_width > 0, softness > 0 and dimensions ≥ 1.
    """

    def __init__(
        self, dimensions: int, half_width: float, softness: float, schedule: NoiseSchedule
    ):
        if dimensions < 1:
            raise ValueError(f"dimensions: {dimensions} found, allowed: 1 or more")
        for name, value in {"half_width": half_width, "softness": softness}.items():
            if not value > 0:
                raise ValueError(f"{name}: {value} found, allowed: above 0")
        self.shape, self.basis, self.schedule = (dimensions,), Pixels(), schedule
        self.half_width, self.softness = half_width, softness

    def _scales(self, logsnr: Time) -> tuple[Tensor, Tensor]:
        """α w and τ."""
        alpha, sigma2 = self.schedule.alpha(logsnr), self.schedule.sigma2(logsnr)
        return alpha * self.half_width, (alpha**2 * self.softness**2 + sigma2).sqrt()

    def _log_mass(self, x: Tensor, logsnr: Time) -> Tensor:
        """log[Φ(u) - Φ(l)], both taken from the lower tail, where no digits are lost."""
        edge, spread = self._scales(logsnr)
        more, less = log_ndtr((edge - x.abs()) / spread), log_ndtr(-(edge + x.abs()) / spread)
        return more + torch.log1p(-(less - more).exp())

    def _ratios(self, x: Tensor, logsnr: Time) -> tuple[Tensor, Tensor, Tensor]:
        """First, second and third derivative of each coordinate's density, by the density."""
        edge, spread = self._scales(logsnr)
        upper, lower = (x + edge) / spread, (x - edge) / spread
        mass = self._log_mass(x, logsnr) + spread.log() + 0.5 * math.log(2 * math.pi)
        at_upper, at_lower = ((-0.5 * end.square() - mass).exp() for end in (upper, lower))
        second = (lower * at_lower - upper * at_upper) / spread
        third = (upper.square() - 1) * at_upper - (lower.square() - 1) * at_lower
        return at_upper - at_lower, second, third / spread**2

    def log_prob(self, x: Tensor, logsnr: Time | None = None) -> Tensor:
        logsnr = self.schedule.logsnr_max if logsnr is None else logsnr
        edge = self._scales(logsnr)[0]
        return (self._log_mass(x, logsnr) - (2 * edge).log()).sum(1)

    def score(self, x: Tensor, logsnr: Time) -> Tensor:
        return self._ratios(x, logsnr)[0]

    def hessian_diagonal(self, x: Tensor, logsnr: Time) -> Tensor:
        first, second, _ = self._ratios(x, logsnr)
        return second - first.square()

    def laplacian(self, x: Tensor, logsnr: Time) -> Tensor:
        return self.hessian_diagonal(x, logsnr).sum(1)

    def score_and_hvp(self, x: Tensor, logsnr: Time, v: Tensor) -> tuple[Tensor, Tensor]:
        first, second, _ = self._ratios(x, logsnr)
        return first, (second - first.square()) * v

    def laplacian_gradient(self, x: Tensor, logsnr: Time) -> Tensor:
        first, second, third = self._ratios(x, logsnr)
        return third - 3 * first * second + 2 * first**3

    def _draw(self, streams: Streams, logsnr: Time) -> Tensor:
        edge, spread = self._scales(logsnr)
        inside = 2 * streams.uniform(self.shape) - 1
        return edge * inside + spread * streams.normal(self.shape)
