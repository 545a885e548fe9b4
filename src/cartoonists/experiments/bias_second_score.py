"""A second score, learned on a model's own paths: where between its two bounds log p^SDE lies.

The tracked r lies above log p^SDE because s_θ is not the score of the paths that it draws, and the
ELBO lies below because s_θ is not the score of its samples noised again (Girsanov; `bias`):

    E[r - log p^SDE]    = ½ ∫ g² E|s_θ - ∇ log p^SDE_λ|² dλ,   x_λ on a path of the reverse SDE,
    E[log p^SDE - ELBO] = ½ ∫ g² E|s_θ - ∇ log q_λ|² dλ,       x_λ a sample with forward noise.

Either difference of scores, d, is a regression along single steps: if the chain went from x_λ to
x_μ, the forward kernel N(a x_μ, v) misses x_λ by v d(x_μ, μ) in the mean; if noise took x_μ to x_λ,
the reverse kernel N(m, τ²) misses x_μ by τ² d(x_λ, λ).  That is denoising score matching (Vincent,
2011) with the kernels of the chain in place of one kernel from x_0: s_θ + d is the second score.
It is the maximum likelihood of corrected kernels as well, so for *any* d the gain in log-likelihood
on paths that it has not seen is, in the mean, at most the divergence of the two laws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from cartoonists.density.ancestral import AncestralKernel, ancestral_path
from cartoonists.density.likelihood import elbo
from cartoonists.density.tracking import track_reverse_sde
from cartoonists.experiments.tiny import TinyField
from cartoonists.paths.schedules import uniform_grid
from cartoonists.paths.scores import ScoreModel
from cartoonists.paths.streams import Streams
from cartoonists.statistics.summaries import HALVES


@dataclass(frozen=True)
class SecondScoreSettings:
    """Numbers of training and held-out paths, steps of the chain, size of the second network."""

    n: int
    n_held_out: int
    steps: int
    width: int
    batches: int
    batch: int = 512


@dataclass(frozen=True)
class Steps:
    """Pairs of neighbours on paths: ``residual = scale · σ d(x, λ) + N(0, 1)`` in the mean.

    ``x``, ``residual`` and ``scale`` ``[steps, n, D]``, ``logsnr`` ``[steps]``, all float32, in the
    basis of the kernel.
    """

    x: Tensor
    residual: Tensor
    logsnr: Tensor
    scale: Tensor

    @staticmethod
    def collect(parts: Sequence[tuple[Tensor, Tensor, float, Tensor]]) -> "Steps":
        x, residual, logsnr, scale = zip(*parts, strict=True)
        wide = [part.float().expand_as(x[0]) for part in scale]
        return Steps(torch.stack(x), torch.stack(residual), torch.tensor(logsnr), torch.stack(wide))


def reverse_steps(kernel: AncestralKernel, grid: Sequence[float], seeds) -> tuple[Steps, Tensor]:
    """The chain's steps, each seen from its cleaner end, and the samples where it ends."""
    model, schedule = kernel.model, kernel.model.schedule
    x = model.sample_prior(Streams(seeds, "prior"))
    points = [kernel.basis.coordinates(x)]
    zero = torch.zeros(len(x), dtype=torch.float64)
    run = ancestral_path(
        kernel, x, zero, grid, Streams(seeds, "path"), track=False,
        callback=lambda _, x, __: points.append(kernel.basis.coordinates(x)),
    )  # fmt: skip
    parts = []
    for i, (noisier, cleaner) in enumerate(zip(grid[:-1], grid[1:], strict=True)):
        ratio, variance = schedule.transition(noisier, cleaner)
        residual = (points[i] - ratio * points[i + 1]) / variance.sqrt()
        scale = variance.sqrt() / schedule.sigma(cleaner)
        parts.append((points[i + 1].float(), residual.float(), cleaner, scale))
    return Steps.collect(parts), run.x


def forward_steps(kernel: AncestralKernel, x: Tensor, grid: Sequence[float], seeds) -> Steps:
    """Steps of noise from the samples x on, each seen from its noisier end."""
    schedule, noise = kernel.model.schedule, Streams(seeds, "noise")
    z = kernel.basis.coordinates(x)
    parts = []
    for noisier, cleaner in zip(grid[-2::-1], grid[:0:-1], strict=True):
        noisy = kernel.noise(z, noisier, cleaner, noise)
        mean, variance = kernel.moments(kernel.look(noisy, noisier, seeds), cleaner)
        residual = (z - mean) / variance.sqrt()
        scale = variance.sqrt() / schedule.sigma(noisier)
        parts.append((noisy.float(), residual.float(), noisier, scale))
        z = noisy
    return Steps.collect(parts)


def learn_correction(steps: Steps, settings: SecondScoreSettings, seed: int = 0) -> nn.Module:
    """Fit σ d by least squares: a `TinyField` that starts at 0; the learning rate falls to 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = TinyField(steps.x.shape[2], settings.width, silent=True)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    n = steps.x.shape[1]
    x, residual, scale = (t.flatten(0, 1) for t in (steps.x, steps.residual, steps.scale))
    for i in range(settings.batches):
        chosen = torch.randint(len(x), (settings.batch,), generator=generator)
        shift = scale[chosen] * network(x[chosen], steps.logsnr[chosen // n])
        loss = (residual[chosen] - shift).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.param_groups[0]["lr"] = 2e-3 * (1 - i / settings.batches)
        optimiser.step()
    return network.eval().requires_grad_(False)


def judge(correction: nn.Module, steps: Steps) -> tuple[Tensor, Tensor]:
    """Evaluate a correction: the integrand and the likelihood gain, both ``[steps, n]``, nats.

    With the mean shift δ = scale · σ d: ``½|δ|²``, whose sum is the integral that the theorem names
    with the learned score in place of the true one, and ``δ·residual - ½|δ|²``.
    """
    integrand, gain = [], []
    for x, residual, logsnr, scale in zip(
        steps.x, steps.residual, steps.logsnr, steps.scale, strict=True
    ):
        shift = (scale * correction(x, logsnr.expand(len(x)))).double()
        integrand.append(0.5 * shift.square().sum(1))
        gain.append((shift * residual).sum(1) - integrand[-1])
    return torch.stack(integrand), torch.stack(gain)


def second_score(
    model: ScoreModel, settings: SecondScoreSettings, halves: Sequence[str] = HALVES, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Estimate both halves of E[r - ELBO] with a score learned on ``n`` paths, evaluated on others.

    First table, a row a half and held-out path: ``integral_nats`` and ``gain_nats`` (`judge`).
    Their means bracket the half if the second score's error is not correlated with d: it adds to
    the first as much as it takes from the second.  The second alone is a bound without that.
    Second table, a row a half and λ: means of both a unit of λ, with standard errors.
    """
    schedule = model.schedule
    grid = uniform_grid(schedule.logsnr_min, schedule.logsnr_max, settings.steps)
    kernel = AncestralKernel(model, model.posterior, "diagonal")
    learned = range(seed, seed + settings.n)
    held_out = range(learned.stop, learned.stop + settings.n_held_out)
    own, own_ends = reverse_steps(kernel, grid, learned)
    other, other_ends = reverse_steps(kernel, grid, held_out)
    paths, levels = [], []
    for half in halves:
        if half == HALVES[1]:
            own = forward_steps(kernel, own_ends, grid, learned)
            other = forward_steps(kernel, other_ends, grid, held_out)
        integrand, gain = judge(learn_correction(own, settings, seed), other)
        columns = {"half": half, "seed": list(held_out)}
        sums = {"integral_nats": integrand.sum(0), "gain_nats": gain.sum(0)}
        paths.append(pd.DataFrame(columns | sums))
        levels.append(_by_level(half, other.logsnr, integrand, gain, grid[1] - grid[0]))
    return pd.concat(paths, ignore_index=True), pd.concat(levels, ignore_index=True)


def _by_level(half: str, logsnr: Tensor, integrand: Tensor, gain: Tensor, step: float):
    columns: dict = {"half": half, "logsnr": logsnr}
    for name, values in {"integrand": integrand / step, "gain": gain / step}.items():
        columns[name] = values.mean(1)
        columns[f"{name}_standard_error"] = values.std(1) / values.shape[1] ** 0.5
    return pd.DataFrame(columns)


def excess(model: ScoreModel, n: int, steps: Sequence[int], seed: int = 0) -> pd.DataFrame:
    """r - ELBO of n samples at each number of steps, in nats.

    It is the sum of both halves and of the discretisation error.  The seeds are the same at every
    number of steps.  No network is learned, so the result is independent of `second_score`.
    """
    parts = []
    for count in steps:
        grid = uniform_grid(model.schedule.logsnr_min, model.schedule.logsnr_max, count)
        run = track_reverse_sde(model, n, seed=seed, grid=grid, posterior=model.posterior)
        bound = elbo(model, run.x, paths=1, seed=seed, grid=grid, posterior=model.posterior)
        columns = {"steps": count, "seed": list(run.seeds)}
        parts.append(pd.DataFrame(columns | {"excess_nats": run.log_density - bound.elbo}))
    return pd.concat(parts, ignore_index=True)
