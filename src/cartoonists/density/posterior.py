"""The posterior covariance of a model, coordinate by coordinate, as the trackers use it.

The ancestral tracker needs ``c_i = Cov[x_0|x_λ]_ii = ρ_i exp(-λ)`` with ``ρ_i = 1 + σ² ∂_i s_i``.
A closed form knows it at every x (`ExactPosterior`); for a network a table holds its mean over x
(`PosteriorTable`, estimated in `cartoonists.density.stein`).  ρ falls from 1 at the data to 0 at
the noise; for Gaussian data logit ρ is linear in λ, so the table interpolates logit ρ.

A mean over x hides what x̂_0 shows: a pixel that is certainly black and one that is grey differ in
how uncertain they are.  `Levels` corrects the mean by one function of x̂_0,i, shared by all
coordinates and found with the same network evaluations.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cartoonists.paths.bases import Basis
from cartoonists.paths.schedules import uniform_grid
from cartoonists.paths.scores import ClosedForm, GaussianMixture

SMALLEST = 1e-12  # ρ stays inside (0, 1), so that its logit is finite
BINS = 32  # of x̂_0 between the least and the largest of the pilot samples


LEAST_DENSITY = 0.1  # of grid points, relative to the most, where log p hardly changes


class Posterior(ABC):
    """Variance of x_0 given x_λ in an orthonormal basis."""

    basis: Basis

    @abstractmethod
    def variance(self, z: Tensor, logsnr: float, denoised: Tensor) -> Tensor:
        """c_i in the basis at coordinates z ``[n, *shape]``; broadcastable to z.

        ``denoised``: x̂_0 at z in the basis, from the evaluation that the caller has made.
        """

    @abstractmethod
    def mean_variance(self, z: Tensor, logsnr: float) -> Tensor:
        """The mean of c_i over i, broadcastable to z: the isotropic variant."""

    def time_grid(self, start: float, stop: float, steps: int) -> list[float]:
        """``steps + 1`` logSNRs from start to stop, spaced to suit this posterior."""
        return uniform_grid(start, stop, steps)


class ExactPosterior(Posterior):
    """The exact posterior variance of a closed form, at every x, in its own basis."""

    def __init__(self, target: ClosedForm):
        self.target, self.basis = target, target.basis

    def variance(self, z, logsnr, denoised):
        sigma2 = self.target.schedule.sigma2(logsnr)
        diagonal = self.target.hessian_diagonal(self.basis.vector(z), logsnr)
        return (1 + sigma2 * diagonal).clamp_min(0) * _inverse_snr(logsnr)

    def mean_variance(self, z, logsnr):
        sigma2 = self.target.schedule.sigma2(logsnr)
        trace = self.target.laplacian(self.basis.vector(z), logsnr)
        ratio = (1 + sigma2 * trace / self.target.dimensions).clamp_min(0)
        return ratio.view(-1, *[1] * (z.ndim - 1)) * _inverse_snr(logsnr)


def _inverse_snr(logsnr: float) -> Tensor:
    return torch.exp(-torch.as_tensor(logsnr, dtype=torch.float64))


@dataclass(frozen=True)
class Levels:
    """The factor g by which c_i differs from its mean over x, as a function of x̂_0,i.

    One function serves all coordinates.

    ``log_gains`` ``[len(grid), bins]``: log g at each λ of the table, in equal bins of x̂_0 from
    ``low`` to ``high``, the outer ones open.
    """

    low: float
    high: float
    log_gains: Tensor

    def bins(self, denoised: Tensor) -> Tensor:
        """Bin of each coordinate of x̂_0, integer, shaped like it."""
        return level_bins(denoised, self.low, self.high, self.log_gains.shape[1])


def level_bins(denoised: Tensor, low: float, high: float, bins: int = BINS) -> Tensor:
    """Index of each value's bin: equal bins from ``low`` to ``high``, the outer ones open."""
    return ((denoised - low) * (bins / max(high - low, SMALLEST))).long().clamp(0, bins - 1)


@dataclass(frozen=True)
class PosteriorTable(Posterior):
    """A table of E ρ_i over a grid of logSNRs, interpolated linearly in logit ρ.

    ``grid``: rising logSNRs; ``logits``: logit E ρ_i, ``[len(grid), *shape]``, in ``basis``.  With
    ``levels``, the mean is multiplied by their factor at x̂_0,i.
    """

    grid: Tensor
    logits: Tensor
    basis: Basis
    levels: Levels | None = None

    def __post_init__(self):
        mean = torch.sigmoid(self.logits).flatten(1).mean(1)
        object.__setattr__(self, "_mean_logits", torch.logit(mean, eps=SMALLEST))

    def variance(self, z, logsnr, denoised):
        mean = self._posterior_variance(self.logits, logsnr).to(z)
        if self.levels is None:
            return mean
        gains = self._at(self.levels.log_gains, logsnr).exp().to(z)
        return mean * gains[self.levels.bins(denoised)]

    def mean_variance(self, z, logsnr):
        return self._posterior_variance(self._mean_logits, logsnr).to(z)

    def time_grid(self, start: float, stop: float, steps: int) -> list[float]:
        """``steps + 1`` logSNRs, dense where log p changes fast along the PF-ODE.

        Step lengths are in inverse proportion to the cube root of the mean ``|sigmoid(λ) - ρ_i|``.

        Along the PF-ODE of VP, where ``α² = sigmoid(λ)``, ``d log p/dλ = ½ Σ (α² - ρ_i)`` in the
        mean.  Halving the error of a second-order step where this is large costs least with the
        cube root; where the data hardly matter (the noise), steps are longest.  Other schedules
        differ by a change of scale, ``x = √(α² + σ²) x_VP``, which moves log p by as much at every
        x: they get the same grid, and so the same chain of the reverse SDE.
        """
        if steps < 1:
            raise ValueError(f"steps: {steps} found, allowed: 1 or more")
        signal = torch.sigmoid(self.grid).view(-1, *[1] * (self.logits.ndim - 1))
        change = (signal - torch.sigmoid(self.logits)).abs().flatten(1).mean(1)
        density = (change / change.max().clamp_min(SMALLEST)) ** (1 / 3) + LEAST_DENSITY
        low, high = min(start, stop), max(start, stop)
        fine = np.linspace(low, high, 2001)
        heights = np.interp(fine, self.grid.numpy(), density.numpy())
        passed = np.concatenate([[0.0], np.cumsum((heights[1:] + heights[:-1]) / 2)])
        points = np.interp(np.linspace(0, passed[-1], steps + 1), passed, fine)
        points[0], points[-1] = low, high
        return points.tolist() if start < stop else points[::-1].tolist()

    def _posterior_variance(self, logits: Tensor, logsnr: float) -> Tensor:
        return torch.sigmoid(self._at(logits, logsnr)) * _inverse_snr(logsnr)

    def _at(self, values: Tensor, logsnr: float) -> Tensor:
        right = int(torch.searchsorted(self.grid, float(logsnr)).clamp(1, len(self.grid) - 1))
        low, high = self.grid[right - 1], self.grid[right]
        return torch.lerp(values[right - 1], values[right], (logsnr - low) / (high - low))


def spaced_grid(posterior: Posterior | None, start: float, stop: float, steps: int) -> list[float]:
    """``steps + 1`` logSNRs from start to stop, spaced by the posterior; uniform without one."""
    space = uniform_grid if posterior is None else posterior.time_grid
    return space(start, stop, steps)


def mixture_table(target: GaussianMixture, points: int = 81, samples: int = 128) -> PosteriorTable:
    """The table of a closed form: the diagonal of its Hessian, averaged over its samples.

    Compared with `ExactPosterior` it shows what averaging over x costs (nothing for one
    Gaussian).
    """
    schedule = target.schedule
    grid = uniform_grid(schedule.logsnr_min, schedule.logsnr_max, points - 1)
    rows = []
    for i, logsnr in enumerate(grid):
        x = target.sample(samples, seed=1_000_000 + i * samples, logsnr=logsnr)
        ratio = 1 + schedule.sigma2(logsnr) * target.hessian_diagonal(x, logsnr).mean(0)
        rows.append(torch.logit(ratio, eps=SMALLEST))
    return PosteriorTable(torch.tensor(grid, dtype=torch.float64), torch.stack(rows), target.basis)
