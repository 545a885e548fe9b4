"""How a sample moves from one noise level to the next, given x̂_0 there.

A walk is made for one run of a pipeline.  In ``y = x/α`` every deterministic sampler obeys
``y' = ½ η (x̂_0 - y)`` in logSNR time, as do processes with ``u = f x + ½ g² η s``: η = 1 is the
PF-ODE (DDIM, and Euler's method for a flow), η = 2 the HD-ODE, η(strength) density guidance.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from cartoonists.density.ancestral import AncestralKernel, Look
from cartoonists.density.posterior import Posterior
from cartoonists.paths.processes import per_sample
from cartoonists.paths.schedules import NoiseSchedule
from cartoonists.paths.scores import ScoreModel, _dot
from cartoonists.paths.streams import Streams

NOISE = -10.0  # where η begins to act in a step from pure noise, λ = -∞, as t = 1 of a flow


class PipelineVariable(ScoreModel):
    """The variable that a pipeline draws; the pipeline calls the network, so `score` cannot."""

    def __init__(self, shape: Sequence[int], schedule: NoiseSchedule):
        self.shape, self.schedule = tuple(shape), schedule

    def score(self, x, logsnr):
        raise NotImplementedError("score: the pipeline calls the network")

    def score_and_hvp(self, x, logsnr, v):
        raise NotImplementedError("score_and_hvp: the pipeline calls the network")


def held_step(at: Look, cleaner: float, rate: Tensor | float, schedule: NoiseSchedule) -> Tensor:
    """x at the cleaner level by ``y' = ½ η (x̂_0 - y)`` with x̂_0 held, ``[batch, *shape]``.

    ``y_μ = x̂_0 + (y_λ - x̂_0) exp(-η (μ - λ)/2)``, here as
    ``x_μ = α_μ x̂_0 + σ_μ exp(-(η - 1)(μ - λ)/2) ε̂`` with ``ε̂ = (x_λ - α_λ x̂_0)/σ_λ``, which holds
    at λ = -∞ too.  η = ``rate``, a number or one a sample.  Exact for constant x̂_0; of order 1.
    """
    start = min(cleaner, NOISE) if math.isinf(at.logsnr) else at.logsnr
    span = cleaner - start
    factor = torch.exp(torch.as_tensor(-0.5 * span * (rate - 1.0), dtype=at.z.dtype))
    noise = per_sample(factor.to(at.z.device), at.z) * noise_estimate(at, schedule)
    return schedule.alpha(cleaner) * at.denoised + schedule.sigma(cleaner) * noise


def noise_estimate(at: Look, schedule: NoiseSchedule) -> Tensor:
    """``ε̂ = (x - α x̂_0)/σ``, which is -σ s."""
    return (at.z - schedule.alpha(at.logsnr) * at.denoised) / schedule.sigma(at.logsnr)


class Walk(ABC):
    """One run: ``step`` takes what is known at one level to the next.

    ``seen`` keeps x as it was at the logSNRs that were asked for, ``wanted``.
    """

    def __init__(self, schedule: NoiseSchedule, wanted: Sequence[float]):
        self.schedule, self.wanted = schedule, sorted(wanted)
        self.seen: dict[float, Tensor] = {}

    def step(self, at: Look, cleaner: float, dtype: torch.dtype) -> Tensor:
        """x at the next level, or x̂_0 where ``cleaner`` is infinite, with values of ``dtype``.

        Wanted logSNRs on the way are passed through.
        """
        if at.logsnr in self.wanted:
            self.seen.setdefault(at.logsnr, at.z)
        for stop in [w for w in self.wanted if at.logsnr < w < cleaner]:
            at = self.carry(at, self._moved(at, stop, dtype), stop)
            self.seen[stop] = at.z
        if math.isinf(cleaner):
            return self.last(at)
        return self._moved(at, cleaner, dtype)

    def _moved(self, at: Look, cleaner: float, dtype: torch.dtype) -> Tensor:
        x = self.move(at, cleaner).to(dtype).to(at.z)  # what the pipeline will hold
        self.passed(at, x, cleaner)
        return x

    def last(self, at: Look) -> Tensor:
        """What leaves the pipeline after the last level."""
        return at.denoised

    @abstractmethod
    def move(self, at: Look, cleaner: float) -> Tensor:
        """x at a cleaner level."""

    def passed(self, at: Look, x: Tensor, cleaner: float) -> None:  # noqa: B027 (a hook)
        """Told of every move: from where, to x at ``cleaner``."""

    def carry(self, at: Look, x: Tensor, logsnr: float) -> Look:
        """What is known at x, between two calls of the network."""
        return replace(at, z=x, logsnr=logsnr)


class FlowWalk(Walk):
    """The PF-ODE, in steps of order 2, to x_0 itself.

    x̂_0 goes on from the last two evaluations as ``a + b u²``, ``u = σ/α`` (the noise over the
    signal, squared: towards the data E[x_0|x] of smooth densities moves so), for which the ODE has
    the solution ``y = a - b u² + C u``; it ends at u = 0 in a.
    """

    before: Look | None = None
    slope: Tensor | float = 0.0

    def move(self, at, cleaner):
        self._compare(at)
        noise = noise_estimate(at, self.schedule)
        if self.before is not None:
            noise = noise + 2 * self.slope * math.exp(-0.5 * at.logsnr)
        clean = self._limit(at) - self.slope * math.exp(-cleaner)
        self.before = at
        return self.schedule.alpha(cleaner) * clean + self.schedule.sigma(cleaner) * noise

    def last(self, at):
        self._compare(at)
        return self._limit(at)

    def _compare(self, at: Look) -> None:
        if self.before is not None:
            span = math.exp(-self.before.logsnr) - math.exp(-at.logsnr)
            self.slope = (self.before.denoised - at.denoised) / span

    def _limit(self, at: Look) -> Tensor:
        """a, x̂_0 without noise."""
        if self.before is None:
            return at.denoised
        return at.denoised - self.slope * math.exp(-at.logsnr)


class GuidedWalk(Walk):
    """Density guidance (Karczewski et al., 2025), ``η = 1 + strength √(2D)/|ε̂|²``.

    log p changes as on the PF-ODE plus ``strength ½ √(2D)`` nats per unit of λ, where ``bound``
    does not hold η within 1 ± bound.
    """

    def __init__(self, schedule, wanted, strength: float, bound: float):
        super().__init__(schedule, wanted)
        self.strength, self.bound = strength, bound

    def move(self, at, cleaner):
        noise = noise_estimate(at, self.schedule)
        squares = _dot(noise, noise).clamp_min(torch.finfo(torch.float64).tiny)
        excess = self.strength * math.sqrt(2 * noise[0].numel()) / squares
        rate = 1 + excess.clamp(-self.bound, self.bound)
        return held_step(at, cleaner, rate, self.schedule)


class AncestralWalk(Walk):
    """The chain of `AncestralKernel`, one stream of noise a sample."""

    def __init__(self, schedule, wanted, x: Tensor, posterior: Posterior | None, seeds):
        super().__init__(schedule, wanted)
        covariance = "none" if posterior is None else "isotropic"
        variable = PipelineVariable(x.shape[1:], schedule)
        self.kernel = AncestralKernel(variable, posterior, covariance)
        self.noise = Streams(seeds, "path")

    def move(self, at, cleaner):
        return self.kernel.draw(at, cleaner, self.noise, track=False)[0]

    def carry(self, at, x, logsnr):
        """x_0 given both x_λ and the x drawn from it: both are Gaussian given x_0."""
        mean, variance = self.kernel.moments(at, logsnr)
        schedule = self.schedule
        spread = schedule.transition(at.logsnr, logsnr)[1]
        gain = schedule.alpha(logsnr) * spread / schedule.sigma2(at.logsnr)
        weight = gain * at.variance / variance
        denoised = at.denoised + weight * (x - mean)
        return Look(x, logsnr, denoised, at.variance * (1 - gain * weight))


class HighDensityWalk(AncestralWalk):
    """The ancestral chain to the switch, then the HD-ODE (Karczewski et al., 2024, algorithm 1)."""

    def __init__(self, schedule, wanted, x, posterior, seeds, switch: float):
        super().__init__(schedule, [*wanted, switch], x, posterior, seeds)
        self.switch = switch

    def move(self, at, cleaner):
        if at.logsnr >= self.switch:
            return held_step(at, cleaner, 2.0, self.schedule)
        return super().move(at, cleaner)

    def carry(self, at, x, logsnr):
        if at.logsnr >= self.switch:
            return Walk.carry(self, at, x, logsnr)
        return super().carry(at, x, logsnr)


class RenoisingWalk(Walk):
    """x_0 noised afresh at every level, and the error ``x_0 - x̂_0`` there, whatever was drawn.

    ``start`` is the noise that x_0 came from, of unit variance.  The first level is left out: its x
    is the pipeline's own noise.  ``errors``: λ to ``[batch, 4]``, |x_0 - x̂_0|²/D and what it
    hangs on, whose expectations are 0: |start|²/D - 1, |ξ|²/D - 1 and start·ξ/D of the noise ξ.
    """

    def __init__(self, schedule, clean: Tensor, start: Tensor, seeds):
        super().__init__(schedule, [])
        self.clean, self.start, self.noise = clean, start, Streams(seeds, "table")
        self.errors: dict[float, Tensor] = {}
        self._drawn: Tensor | None = None

    def step(self, at, cleaner, dtype):
        if self._drawn is not None:
            self.errors[at.logsnr] = self._compare(at, self._drawn)
        if math.isinf(cleaner):
            return self.clean
        return super().step(at, cleaner, dtype)

    def move(self, at, cleaner):
        self._drawn = self.noise.normal(self.clean.shape[1:]).to(self.clean)
        return (
            self.schedule.alpha(cleaner) * self.clean + self.schedule.sigma(cleaner) * self._drawn
        )

    def _compare(self, at: Look, noise: Tensor) -> Tensor:
        error = at.denoised - self.clean
        pairs = [(error, error), (self.start, self.start), (noise, noise), (self.start, noise)]
        values = torch.stack([_dot(a, b) for a, b in pairs], dim=1) / self.clean[0].numel()
        return values - torch.tensor([0.0, 1.0, 1.0, 0.0]).to(values)
