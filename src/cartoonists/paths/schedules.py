"""Noise schedules in logSNR time λ = log(α²/σ²): data at large λ, noise at small λ.

``x_λ = α_λ x_0 + σ_λ ε`` (Kingma & Gao, 2023).  Every process runs on λ itself, so a schedule is
four functions of λ and the range that is integrated over.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

PRIOR_TOLERANCE = 1e-3  # nats a dimension

Time = float | Tensor  # a logSNR: a number or a 0-d tensor (or one value a sample where it says so)


def _time(logsnr: Time) -> Tensor:
    return torch.as_tensor(logsnr, dtype=torch.float64)


@dataclass(frozen=True)
class NoiseSchedule(ABC):
    """Signal scale α(λ), noise scale σ(λ), and the drift f and diffusion g² of the forward process.

    ``f(λ) = d log α/dλ`` and ``g²(λ) = σ²``: in logSNR time the diffusion is the same for all
    schedules, because ``dσ²/dλ = 2 f σ² - σ²`` follows from λ = log(α²/σ²).

    Raises ValueError unless logsnr_min < logsnr_max, both finite.
    """

    logsnr_min: float = -10.0
    logsnr_max: float = 10.0

    def __post_init__(self):
        if not -math.inf < self.logsnr_min < self.logsnr_max < math.inf:
            raise ValueError(
                f"logSNR range: [{self.logsnr_min}, {self.logsnr_max}] found, "
                "allowed: finite, minimum below maximum"
            )

    @abstractmethod
    def alpha(self, logsnr: Time) -> Tensor:
        """Scale of the signal."""

    @abstractmethod
    def f(self, logsnr: Time) -> Tensor:
        """Drift coefficient d log α/dλ."""

    def sigma(self, logsnr: Time) -> Tensor:
        """Scale of the noise, α exp(-λ/2)."""
        return self.sigma2(logsnr).sqrt()

    @abstractmethod
    def sigma2(self, logsnr: Time) -> Tensor:
        """Variance of the noise, σ²."""

    def g2(self, logsnr: Time) -> Tensor:
        """Squared diffusion coefficient g² = σ²."""
        return self.sigma2(logsnr)

    def power(self, logsnr: Time) -> Tensor:
        """Variance of x_λ for data of unit variance, ``α² + σ²``: 1 for VP.

        ``x_λ/√(α² + σ²)`` is the variable of VP, whatever the schedule.
        """
        return self.alpha(logsnr) ** 2 + self.sigma2(logsnr)

    def check_preserving(self, user: str) -> None:
        """Raise ValueError, naming who asks, unless the schedule preserves variance."""
        if abs(self.power(0.0).item() - 1) > 1e-9:
            raise ValueError(
                f"schedule: {type(self).__name__} found, allowed with {user}: "
                "a variance-preserving schedule"
            )

    def transition(self, noisier: Time, cleaner: Time) -> tuple[Tensor, Tensor]:
        """Forward kernel ``q(x_λ | x_μ) = N(a x_μ, v I)`` from the cleaner μ to the noisier λ.

        ``a = α_λ/α_μ`` and ``v = σ_λ² - a² σ_μ² = σ_λ² (1 - exp(λ - μ))``, without cancellation.
        """
        noisier, cleaner = _time(noisier), _time(cleaner)
        ratio = self.alpha(noisier) / self.alpha(cleaner)
        return ratio, -self.sigma2(noisier) * torch.expm1(noisier - cleaner)

    def check(self, logsnr: float, name: str) -> None:
        """Raise ValueError, naming the argument, where a logSNR lies outside the range."""
        if not self.logsnr_min <= logsnr <= self.logsnr_max:
            raise ValueError(
                f"{name}: {logsnr} found, allowed {self.logsnr_min} to {self.logsnr_max}"
            )

    def part(self, logsnr_min: float, logsnr_max: float) -> Self:
        """The same schedule on a part of its range.  Raises ValueError where it is none."""
        low, high = self._whole()
        if not low <= logsnr_min < logsnr_max <= high:
            raise ValueError(
                f"logsnr_range: [{logsnr_min:g}, {logsnr_max:g}] found, allowed: rising, inside "
                f"the model's own range of λ, {low:.6g} to {high:.6g}"
            )
        chosen = copy.copy(self)
        object.__setattr__(chosen, "logsnr_min", float(logsnr_min))
        object.__setattr__(chosen, "logsnr_max", float(logsnr_max))
        return chosen

    def _whole(self) -> tuple[float, float]:
        """The widest range that there can be."""
        return self.logsnr_min, self.logsnr_max

    def inside(self, logsnrs: Sequence[float], name: str) -> list[float]:
        """The given logSNRs that lie inside the range.  Raises ValueError where none does."""
        found = [value for value in logsnrs if self.logsnr_min < value < self.logsnr_max]
        if not found:
            raise ValueError(
                f"{name}: {list(logsnrs)} found, allowed: at least one between "
                f"{self.logsnr_min:g} and {self.logsnr_max:g}, the model's range"
            )
        return found


class VP(NoiseSchedule):
    """Variance preserving: ``α² = sigmoid(λ)``, ``σ² = sigmoid(-λ)``, ``f = sigmoid(-λ)/2``."""

    def alpha(self, logsnr: Time) -> Tensor:
        return torch.sigmoid(_time(logsnr)).sqrt()

    def sigma2(self, logsnr: Time) -> Tensor:
        return torch.sigmoid(-_time(logsnr))

    def f(self, logsnr: Time) -> Tensor:
        return 0.5 * torch.sigmoid(-_time(logsnr))


class VE(NoiseSchedule):
    """Variance exploding (and EDM's σ): ``α = 1``, ``σ = exp(-λ/2)``, ``f = 0``."""

    def alpha(self, logsnr: Time) -> Tensor:
        return torch.ones_like(_time(logsnr))

    def sigma2(self, logsnr: Time) -> Tensor:
        return torch.exp(-_time(logsnr))

    def f(self, logsnr: Time) -> Tensor:
        return torch.zeros_like(_time(logsnr))


class RectifiedFlow(NoiseSchedule):
    """The straight path of flow matching, ``x_t = (1 - t) x_0 + t ε`` (Liu et al., 2023).

    With λ = 2 log((1 - t)/t): ``α = 1 - t = sigmoid(λ/2)``, ``σ = t = sigmoid(-λ/2)``, ``f = σ/2``.
    t = 1, pure noise, is λ = -∞, where α = 0 and σ = 1; a range of λ ends before it and before
    t = 0.
    """

    def alpha(self, logsnr: Time) -> Tensor:
        return torch.sigmoid(0.5 * _time(logsnr))

    def sigma(self, logsnr: Time) -> Tensor:
        return torch.sigmoid(-0.5 * _time(logsnr))

    def sigma2(self, logsnr: Time) -> Tensor:
        return self.sigma(logsnr).square()

    def f(self, logsnr: Time) -> Tensor:
        return 0.5 * self.sigma(logsnr)

    def time(self, logsnr: Time) -> Tensor:
        """The time t = sigmoid(-λ/2) of each λ: 0 at the data, 1 at the noise; it equals σ."""
        return self.sigma(logsnr)

    def logsnr(self, time: Time) -> Tensor:
        """λ = 2 log((1 - t)/t) of each time t.  Raises ValueError outside 0 < t < 1."""
        time = _time(time)
        if not ((time > 0) & (time < 1)).all():
            raise ValueError(
                f"time: {time.tolist()} found, allowed: above 0 and below 1, where λ is finite"
            )
        return -2 * torch.logit(time)


class DiscreteVP(VP):
    """The variance-preserving schedule of a discrete DDPM table (Ho et al., 2020).

    In logSNR time it equals VP.  The table adds the range of λ and the map from λ to the timestep
    that the network was trained with, interpolated linearly in the table's logSNR.

    Raises ValueError unless ``alphas_cumprod`` falls strictly from near 1 towards 0.
    """

    _table: Tensor

    def __init__(self, alphas_cumprod: Tensor):
        signal = torch.as_tensor(alphas_cumprod, dtype=torch.float64)
        table = torch.logit(signal)
        if signal.ndim != 1 or len(signal) < 2 or not torch.isfinite(table).all():
            raise ValueError("alphas_cumprod: expected a vector of at least 2 values in (0, 1)")
        if not (table.diff() < 0).all():
            raise ValueError("alphas_cumprod: expected a strictly falling table")
        super().__init__(table[-1].item(), table[0].item())
        object.__setattr__(self, "_table", table)

    def _whole(self) -> tuple[float, float]:
        return self._table[-1].item(), self._table[0].item()

    def timestep(self, logsnr: Tensor) -> Tensor:
        """Fractional timestep of each λ, clamped to the table's ends."""
        rising = self._table.flip(0)
        logsnr = _time(logsnr).clamp(rising[0], rising[-1])
        right = torch.searchsorted(rising, logsnr.contiguous()).clamp(1, len(rising) - 1)
        low, high = rising[right - 1], rising[right]
        fraction = (logsnr - low) / (high - low)
        return len(rising) - 1 - (right - 1 + fraction)


def prior_logsnr(tolerance: float = PRIOR_TOLERANCE, second_moment: float = 1.0) -> float:
    """λ at which N(0, I) replaces x_λ of a VP schedule at ``tolerance`` nats a dimension.

    ``E KL(q(x_λ|x_0) ‖ N(0, I))/D = ½ (α² m - α² - log(1 - α²)) = ½ α² m + O(α⁴)``, m being the
    mean square of the data: the prior term of the ELBO (Kingma et al., 2021, equation 11), hence
    ``α² = sigmoid(λ) = 2 tolerance/m``.  -6.2 for 0.001 nats and data of unit power.
    """
    signal = 2 * tolerance / second_moment
    return math.log(signal / (1 - signal))


def limited(
    schedule: NoiseSchedule,
    logsnr_range: tuple[float, float] | None = None,
    second_moment: float = 1.0,
) -> NoiseSchedule:
    """The part of a model's schedule to use: as given, else what its prior leaves to be done.

    A discrete table may reach far into the noise (a cosine table to λ = -20), where the network's
    error counts exp(-λ/2) times in x̂_0 and nothing is won, for N(0, I) is right at `prior_logsnr`
    already.  So without ``logsnr_range`` a `DiscreteVP` begins there, or at its own end if that
    comes later; other schedules say their range themselves and stay whole.  ``second_moment`` is
    the largest mean square that the data can have.
    Raises ValueError for a range that is none or that the schedule does not have.
    """
    if logsnr_range is not None:
        return schedule.part(*logsnr_range)
    if not isinstance(schedule, DiscreteVP):
        return schedule
    start = prior_logsnr(second_moment=max(second_moment, 1.0))
    return schedule.part(max(schedule.logsnr_min, start), schedule.logsnr_max)


def check_grid(schedule: NoiseSchedule, grid: Sequence[float]) -> None:
    """Raise ValueError unless a grid rises from logsnr_min, the prior's λ, inside the range."""
    values = [float(value) for value in grid]
    near = 1e-6 * (schedule.logsnr_max - schedule.logsnr_min)
    rises = all(a < b for a, b in zip(values[:-1], values[1:], strict=True))
    if len(values) < 2 or not rises or abs(values[0] - schedule.logsnr_min) > near:
        raise ValueError(
            f"grid: {_ends(values)} found, allowed: at least 2 logSNRs in order, at the noise "
            f"{schedule.logsnr_min:.6g}, where the prior is"
        )
    if values[-1] > schedule.logsnr_max + near:
        raise ValueError(
            f"grid: {_ends(values)} found, allowed: inside the model's range, "
            f"{schedule.logsnr_min:.6g} to {schedule.logsnr_max:.6g}"
        )


def _ends(values: Sequence[float]) -> str:
    return " to ".join(f"{value:.6g}" for value in (*values[:1], *values[1:][-1:])) or "nothing"


def uniform_grid(start: float, stop: float, steps: int) -> list[float]:
    """``steps + 1`` equally spaced logSNRs from start to stop.  Raises ValueError if steps < 1."""
    if steps < 1:
        raise ValueError(f"steps: {steps} found, allowed: 1 or more")
    return torch.linspace(start, stop, steps + 1, dtype=torch.float64).tolist()
