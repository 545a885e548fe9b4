"""The posterior covariance of a model, coordinate by coordinate: the Stein table.

The ancestral tracker needs ``c_i = Cov[x_0|x_λ]_ii = ρ_i exp(-λ)`` with ``ρ_i = 1 + σ² ∂_i s_i``.
A closed form knows it at every x.  For a network its mean over x comes free of derivatives from
Stein's identity, ``E ρ_i = 1 - σ² E s_i²`` in every orthonormal basis (Bao et al., 2022, use the
mean over i too).  ρ falls from 1 at the data to 0 at the noise; for Gaussian data logit ρ is linear
in λ, so the table stores and interpolates logit ρ.

What a mean over x leaves out is in part seen in x̂_0: a pixel that is black for certain and one that
is grey differ in what is still unknown of them.  `Levels` holds that, one function of x̂_0,i for all
coordinates, from the same network evaluations.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cartoonists.bases import Basis, Pixels
from cartoonists.schedules import uniform_grid
from cartoonists.scores import GaussianMixture, ScoreModel
from cartoonists.streams import Streams, sample_seeds

SMALLEST = 1e-12  # ρ stays inside (0, 1), so that its logit is finite
BINS = 32  # of x̂_0 between the least and the largest of the pilot samples
LEAST_GAIN = 1e-3  # of a bin
PRIOR = 10  # values whose squares are as expected, added to each bin: few found say little
LEAST_DENSITY = 0.1  # of grid points, relative to the most, where log p hardly changes


class Posterior(ABC):
    """Variance of x_0 given x_λ in an orthonormal basis."""

    basis: Basis

    @abstractmethod
    def variance(self, z: Tensor, logsnr: float, denoised: Tensor) -> Tensor:
        """c_i in the basis at coordinates z ``[n, *shape]``; broadcastable to z.

        ``denoised`` is x̂_0 at z, in the basis: who asks has evaluated the network already.
        """

    @abstractmethod
    def mean_variance(self, z: Tensor, logsnr: float) -> Tensor:
        """The mean of c_i over i, broadcastable to z: the isotropic variant."""

    def time_grid(self, start: float, stop: float, steps: int) -> list[float]:
        """``steps + 1`` logSNRs from start to stop, spaced to suit this posterior."""
        return uniform_grid(start, stop, steps)


class MixturePosterior(Posterior):
    """The exact posterior variance of a closed form, at every x, in the mixture's own basis."""

    def __init__(self, target: GaussianMixture):
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
    """How c_i depends on x̂_0,i: its ratio g to the mean over x, one function for all coordinates.

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
    """Bin of each value among equal ones from ``low`` to ``high``, the outer ones open."""
    return ((denoised - low) * (bins / max(high - low, SMALLEST))).long().clamp(0, bins - 1)


@dataclass(frozen=True)
class PosteriorTable(Posterior):
    """logit E ρ on a rising grid of logSNRs: ``logits`` is ``[len(grid), *shape]`` in ``basis``.

    With ``levels``, c_i is that mean times their ratio at x̂_0,i.
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
        """Steps in inverse proportion to the cube root of the mean ``|α² - ρ_i|``.

        Along the PF-ODE of a VP schedule ``d log p/dλ = ½ Σ (α² - ρ_i)`` in the mean.  Halving the
        error of a second-order step where this is large costs least with the cube root; where the
        data hardly matter (the noise), steps are longest.
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
    """``steps + 1`` logSNRs as the posterior spaces them; uniform where there is none."""
    space = uniform_grid if posterior is None else posterior.time_grid
    return space(start, stop, steps)


def posterior_of(model: ScoreModel) -> Posterior:
    """Exact for a closed form; the table that a model carries; else estimated once and kept."""
    if isinstance(model, GaussianMixture):
        return MixturePosterior(model)
    if model.posterior is None:
        model.posterior = estimate_table(model, sample_seeds(0, 64))
    return model.posterior


def mixture_table(target: GaussianMixture, points: int = 81, samples: int = 128) -> PosteriorTable:
    """What a table would hold for a closed form: its Hessian's diagonal averaged over samples.

    It shows what the average over x costs; for a single Gaussian, nothing.
    """
    schedule = target.schedule
    grid = uniform_grid(schedule.logsnr_min, schedule.logsnr_max, points - 1)
    rows = []
    for i, logsnr in enumerate(grid):
        x = target.sample(samples, seed=1_000_000 + i * samples, logsnr=logsnr)
        ratio = 1 + schedule.sigma2(logsnr) * target.hessian_diagonal(x, logsnr).mean(0)
        rows.append(torch.logit(ratio, eps=SMALLEST))
    return PosteriorTable(torch.tensor(grid, dtype=torch.float64), torch.stack(rows), target.basis)


def estimate_table(
    model: ScoreModel,
    seeds: Sequence[int],
    basis: Basis | None = None,
    points: int = 41,
    pilot_steps: int = 64,
) -> PosteriorTable:
    """Estimate a network's table from its own samples; no derivative is needed.

    A pilot chain draws x at logsnr_max; noised again to each λ of the grid it gives two estimates,
    ``1 - E ε̂_i²`` (Stein's identity; accurate where ρ is near 1, lost in noise where it is near 0)
    and ``exp(λ) E(x̂_0 - x_0)_i²`` (the regression error; the reverse).  Each coordinate takes the
    first where it exceeds one half, else the second.  In pixels the `Levels` are the regression
    error where x̂_0,i falls into a bin, over its mean.
    """
    return estimate_tables(model, seeds, [basis or Pixels()], points, pilot_steps)[0]


def estimate_tables(
    model: ScoreModel,
    seeds: Sequence[int],
    bases: Sequence[Basis],
    points: int = 41,
    pilot_steps: int = 64,
) -> list[PosteriorTable]:
    """``estimate_table`` in several bases from the same network evaluations."""
    from cartoonists.tracking import AncestralKernel, ancestral_path

    schedule = model.schedule
    x = model.sample_prior(Streams(seeds, "prior"))
    pilot_grid = uniform_grid(schedule.logsnr_min, schedule.logsnr_max, pilot_steps)
    kernel = AncestralKernel(model, None, "none")
    zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    x = ancestral_path(kernel, x, zero, pilot_grid, Streams(seeds, "pilot"), track=False).x
    clean = model.denoise(x, schedule.logsnr_max)
    noise = Streams(seeds, "table")
    grid = uniform_grid(schedule.logsnr_min, schedule.logsnr_max, points - 1)
    estimates = [_TableEstimate(basis, clean) for basis in bases]
    for logsnr in grid:
        ratio, variance = schedule.transition(logsnr, schedule.logsnr_max)
        noisy = ratio * x + variance.sqrt() * noise.normal(model.shape).to(x)
        denoised = model.denoise(noisy, logsnr)
        eps = (noisy - schedule.alpha(logsnr) * denoised) / schedule.sigma(logsnr)
        for estimate in estimates:
            estimate.add(logsnr, denoised, eps)
    return [estimate.table(grid) for estimate in estimates]


class _TableEstimate:
    """The table in one basis, from x̂_0 and ε̂ of the same samples at one logSNR after the other.

    Levels are those of pixels: coefficients of another basis have no common scale.
    """

    def __init__(self, basis: Basis, clean: Tensor):
        self.basis, self.clean = basis, basis.coordinates(clean)
        self.with_levels = isinstance(basis, Pixels)
        self.low, self.high = float(clean.min()), float(clean.max())
        self.logits: list[Tensor] = []
        self.log_gains: list[Tensor] = []

    def add(self, logsnr: float, denoised: Tensor, eps: Tensor) -> None:
        denoised = self.basis.coordinates(denoised)
        stein = 1 - self.basis.coordinates(eps).square().mean(0)
        squares = (denoised - self.clean).square()
        error = squares.mean(0)
        regression = error * math.exp(logsnr)
        self.logits.append(torch.logit(torch.where(stein > 0.5, stein, regression), eps=SMALLEST))
        if self.with_levels:
            bins = level_bins(denoised, self.low, self.high).flatten()
            self.log_gains.append(_gains(bins, squares, error.expand_as(squares)).log())

    def table(self, grid: Sequence[float]) -> PosteriorTable:
        levels = None
        if self.with_levels:  # at the last point nothing was noised, so that no error is left
            gains = torch.stack([*self.log_gains[:-1], self.log_gains[-2]])
            levels = Levels(self.low, self.high, gains)
        points = torch.tensor(grid, dtype=torch.float64)
        return PosteriorTable(points, torch.stack(self.logits), self.basis, levels)


def _gains(bins: Tensor, squares: Tensor, expected: Tensor) -> Tensor:
    """Sum of squares over that of the expected ones in each bin, drawn to 1 where there are few."""
    sums = torch.zeros(2, BINS, dtype=torch.float64, device=squares.device)
    sums.index_add_(1, bins, torch.stack([squares.flatten(), expected.flatten()]).double())
    prior = (PRIOR * expected.mean()).clamp_min(SMALLEST**2)  # of images without any variance
    return ((sums[0] + prior) / (sums[1] + prior)).clamp_min(LEAST_GAIN)
