"""Estimate a network's posterior table from its own samples, without derivatives.

Stein's identity, ``E ρ_i = 1 - σ² E s_i²``, holds in every orthonormal basis (Bao et al., 2022, use
the mean over i too), so network evaluations alone fill a `PosteriorTable`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cartoonists.density.ancestral import LEARNT, AncestralKernel, ancestral_path
from cartoonists.density.posterior import (
    BINS,
    SMALLEST,
    ExactPosterior,
    Levels,
    Posterior,
    PosteriorTable,
    level_bins,
)
from cartoonists.paths.bases import Basis, Pixels
from cartoonists.paths.schedules import uniform_grid
from cartoonists.paths.scores import ClosedForm, ScoreModel
from cartoonists.paths.streams import Streams, sample_seeds

LEAST_GAIN = 1e-3  # of a bin
PRIOR = 10  # values whose squares are as expected, added to each bin: few found say little


def posterior_of(model: ScoreModel) -> Posterior:
    """The posterior of a model: exact for a closed form, else the model's table.

    A model without a table gets one, estimated from 64 samples and kept on the model.
    """
    known = known_posterior(model, None)
    if known is None:
        known = model.posterior = estimate_table(model, sample_seeds(0, 64))
    return known


def known_posterior(model: ScoreModel, posterior: Posterior | None) -> Posterior | None:
    """The given posterior, or the one that the model has already, without an evaluation."""
    if posterior is None and isinstance(model, ClosedForm):
        return ExactPosterior(model)
    return posterior or model.posterior


def needed_posterior(
    model: ScoreModel, posterior: Posterior | None, covariance: str
) -> Posterior | None:
    """The given posterior, or `posterior_of` the model where the covariance needs one."""
    if posterior is None and covariance in LEARNT:
        return posterior_of(model)
    return posterior


def estimate_table(
    model: ScoreModel,
    seeds: Sequence[int],
    basis: Basis | None = None,
    points: int = 41,
    pilot_steps: int = 64,
) -> PosteriorTable:
    """Estimate a network's table from its own samples, without derivatives.

    A pilot chain draws x at logsnr_max.  Noised again to each λ of the grid, x gives two estimates
    of ρ_i, ``1 - E ε̂_i²`` (Stein's identity; accurate where ρ is near 1, lost in noise where it
    is near 0) and ``exp(λ) E(x̂_0 - x_0)_i²`` (the regression error; the reverse).  Each
    coordinate takes the first where it exceeds one half, else the second.  In the pixel basis the
    table also has `Levels`: the regression error of the values whose x̂_0,i falls in a bin,
    divided by its mean.
    """
    return estimate_tables(model, seeds, [basis or Pixels()], points, pilot_steps)[0]


def estimate_tables(
    model: ScoreModel,
    seeds: Sequence[int],
    bases: Sequence[Basis],
    points: int = 41,
    pilot_steps: int = 64,
) -> list[PosteriorTable]:
    """`estimate_table` in several bases at once, from the same network evaluations."""
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
