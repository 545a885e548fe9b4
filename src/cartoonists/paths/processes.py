"""Every path through the diffusion as a drift and a noise, and its log-density by one formula.

For ``dx = u dλ + φ dW`` the density of the model along the path obeys (Fokker–Planck and Itô;
Karczewski et al., 2024, theorem 1, is the case φ = g)

    d log p_λ(x) = [-f D - f x·s - ½ g²|s|² + s·u + ½(±φ² - g²) Δ] dλ + φ s·dW          (★)

with + for paths towards the data (dλ > 0) and - for paths towards the noise.  With noise projected
orthogonally to the score, φ P dW, the last term vanishes and φ²Δ becomes φ² tr(P ∇² log p P).
A new process is a drift and a noise; it gets tracking from (★).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from cartoonists.paths.divergence import Derivatives
from cartoonists.paths.schedules import NoiseSchedule, Time
from cartoonists.paths.scores import _dot

ZERO = torch.zeros((), dtype=torch.float64)


def per_sample(value: Tensor | float, like: Tensor) -> Tensor | float:
    """Reshape one value per sample, ``[batch]``, so that it multiplies ``[batch, *shape]``.

    Scalars are returned as they are.
    """
    if isinstance(value, Tensor) and value.ndim == 1:
        return value.view(-1, *[1] * (like.ndim - 1))
    return value


@dataclass(frozen=True)
class Process(ABC):
    """A path ``dx = u dλ + φ dW``; ``projected`` noise is orthogonal to the score."""

    schedule: NoiseSchedule
    projected = False

    @abstractmethod
    def drift(self, x: Tensor, at: Derivatives, logsnr: Time) -> Tensor:
        """u(x, λ), ``[batch, *shape]``."""

    def noise(self, logsnr: Time) -> Tensor:
        """φ(λ) ≥ 0, the scale of the noise; 0 for ordinary differential equations."""
        return ZERO

    def is_deterministic(self) -> bool:
        """Whether φ = 0 everywhere."""
        return type(self).noise is Process.noise

    def needs_laplacian(self) -> bool:
        """Whether tracking needs second derivatives: always, except where φ = g."""
        return True

    def log_density_rate(
        self, x: Tensor, drift: Tensor, at: Derivatives, logsnr: Time, direction: int
    ) -> Tensor:
        """The dλ part of (★), ``[batch]``, nats per unit of λ."""
        f, g2 = self.schedule.f(logsnr), self.schedule.g2(logsnr)
        rate = -f * at.score[0].numel() - f * _dot(x, at.score)
        rate = rate - 0.5 * g2 * _dot(at.score, at.score) + _dot(at.score, drift)
        if not self.needs_laplacian():
            return rate
        if at.laplacian is None:  # nobody estimates second derivatives: the path is not tracked
            return torch.full_like(rate, math.nan)
        spread = direction * self.noise(logsnr) ** 2
        trace = at.projected_laplacian if self.projected else at.laplacian
        noise_term = 0.0 if self.is_deterministic() or trace is None else 0.5 * spread * trace
        return rate + noise_term - 0.5 * g2 * at.laplacian


@dataclass(frozen=True)
class ScoreDrift(Process):
    """Processes whose drift is ``f x + w(x, λ) g² s``, by their weight w."""

    @abstractmethod
    def weight(self, at: Derivatives, logsnr: Time) -> Tensor | float:
        """w, a number or ``[batch]``."""

    def drift(self, x, at, logsnr):
        weight = per_sample(self.weight(at, logsnr), x)
        return self.schedule.f(logsnr) * x + weight * self.schedule.g2(logsnr) * at.score


@dataclass(frozen=True)
class ReverseSDE(ScoreDrift):
    """``u = f x + g² s``, φ = g (Anderson, 1982; Song et al., 2021): tracking needs no Δ."""

    def weight(self, at, logsnr):
        return 1.0

    def noise(self, logsnr):
        return self.schedule.g2(logsnr).sqrt()

    def needs_laplacian(self):
        return False


@dataclass(frozen=True)
class ForwardSDE(ScoreDrift):
    """``u = f x``, φ = g, run towards the noise (λ falls); tracking needs -g²Δ."""

    def weight(self, at, logsnr):
        return 0.0

    def noise(self, logsnr):
        return self.schedule.g2(logsnr).sqrt()


@dataclass(frozen=True)
class ProbabilityFlow(ScoreDrift):
    """PF-ODE ``u = f x + ½ g² s`` (Song et al., 2021); (★) is minus the divergence of u."""

    def weight(self, at, logsnr):
        return 0.5


@dataclass(frozen=True)
class MarginalFamily(ScoreDrift):
    """``u = f x + ½(g² + φ²) s`` with φ = stochasticity · g: the same marginals for any φ.

    0 is the PF-ODE and 1 the reverse SDE (Karras et al., 2022, equation 6).
    """

    stochasticity: float = 0.5

    def weight(self, at, logsnr):
        return 0.5 * (1 + self.stochasticity**2)

    def noise(self, logsnr):
        return self.stochasticity * self.schedule.g2(logsnr).sqrt()

    def is_deterministic(self):
        return self.stochasticity == 0

    def needs_laplacian(self):
        return self.stochasticity != 1


@dataclass(frozen=True)
class HighDensityODE(ScoreDrift):
    """HD-ODE ``u = f x + g² s``, φ = 0 (Karczewski et al., 2024, section 4).

    It approximates the curve of the mode of p(x_s|x_t) by leaving out the term with third
    derivatives; exact for Gaussian p_0.
    """

    def weight(self, at, logsnr):
        return 1.0
