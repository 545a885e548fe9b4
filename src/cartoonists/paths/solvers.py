"""Solvers for the joint path of x and log p: one loop for every process."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cartoonists.paths.divergence import Derivatives, Divergence, _unit
from cartoonists.paths.processes import Process, ScoreDrift, per_sample
from cartoonists.paths.schedules import NoiseSchedule
from cartoonists.paths.scores import NonFiniteScore, ScoreModel, _dot
from cartoonists.paths.streams import Streams

# explicit Runge–Kutta schemes: nodes, stage weights, output weights (Hairer et al., 1993)
TABLEAUS = {
    "euler": ([0.0], [[]], [1.0]),
    "heun": ([0.0, 1.0], [[], [1.0]], [0.5, 0.5]),
    "rk4": ([0.0, 0.5, 0.5, 1.0], [[], [0.5], [0, 0.5], [0, 0, 1.0]], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
}

SOLVERS = (*TABLEAUS, "adams", "exponential")
# longest steps in λ that Adams takes from so many earlier slopes, by direction; beyond, from one
LONGEST = {1: {4: 0.4, 3: 0.8, 2: 1.7}, -1: {4: 1.0, 2: math.inf}}
MOST_SLOPES = 5  # those and the slope ahead

Callback = Callable[[float, Tensor, Tensor], None]  # (logsnr, x, log_density) after every step


@dataclass(frozen=True)
class Path:
    """The end of a path.

    x ``[batch, *shape]``; log_density ``[batch]``, nats; nfe: network evaluations a sample; error
    ``[batch]``, nats: the estimated error of log_density, None where there is no estimate.
    """

    x: Tensor
    log_density: Tensor
    nfe: int
    error: Tensor | None = None


class Halving:
    """Estimate the error of a tracked log-density without further network evaluations.

    Pairs of steps are joined to steps of twice the length over the same points, using the
    evaluations at every second point.  The difference from the original log-density estimates
    the discretisation error.
    """

    def __init__(self, log_density: Tensor):
        self.coarse = log_density
        self._open: tuple[Any, Tensor] | None = None

    def add(self, at, change: Tensor, joined: Callable) -> None:
        """Record one step.

        ``at``: the evaluation it started from; ``change``: of log p over the step; ``joined(at)``:
        the change of log p from an earlier evaluation to the end of this step.
        """
        if self._open is None:
            self._open = at, change
        else:
            self.coarse = self.coarse + joined(self._open[0])
            self._open = None

    def error(self, log_density: Tensor) -> Tensor:
        """|fine - coarse| at the end of the path, ``[batch]``."""
        left = 0 if self._open is None else self._open[1]
        return (log_density - self.coarse - left).abs()


def check_finite(score: Tensor, seeds: Sequence[int], logsnr: float) -> None:
    """Raise NonFiniteScore, naming λ and the seeds of all samples whose score is not finite."""
    finite = torch.isfinite(score).flatten(1).all(1).tolist()
    if not all(finite):
        raise NonFiniteScore([s for s, ok in zip(seeds, finite, strict=True) if not ok], logsnr)


class Slope(NamedTuple):
    """Drift ``[batch, *shape]``, the dλ part of (★) ``[batch]``, and what they were made of."""

    drift: Tensor
    rate: Tensor
    at: Derivatives


class Slopes:
    """The right-hand side of the equations of x and log p; ``nfe`` counts evaluations."""

    def __init__(self, process: Process, model: ScoreModel, divergence: Divergence, seeds):
        self.process, self.model, self.divergence, self.seeds = process, model, divergence, seeds
        self.nfe = 0

    def __call__(self, x: Tensor, logsnr: float, direction: int) -> Slope:
        """The slope at x, by one evaluation."""
        at = self.divergence(self.model, x, logsnr, self.process.projected)
        check_finite(at.score, self.seeds, logsnr)
        self.nfe += self.divergence.cost
        drift = self.process.drift(x, at, logsnr)
        rate = self.process.log_density_rate(x, drift, at, logsnr, direction)
        return Slope(drift, rate, at)


class RungeKutta:
    """One explicit step; ``advance`` returns the increments of x and log p, and the first score."""

    def __init__(self, nodes, stages, weights):
        self.nodes, self.stages, self.weights = nodes, stages, weights

    def advance(self, slopes: Slopes, x: Tensor, start: float, stop: float):
        step = stop - start
        direction = 1 if step > 0 else -1
        found: list[Slope] = []
        for node, coefficients in zip(self.nodes, self.stages, strict=True):
            terms = zip(coefficients, found, strict=True)
            y = x + step * sum(c * slope.drift for c, slope in terms if c)
            found.append(slopes(y, start + node * step, direction))
        return *_combine(self.weights, found, step), found[0].at.score


class Adams:
    """The predictor–corrector method of Adams–Bashforth–Moulton (Hairer et al., 1993, III.1).

    One evaluation a step; the order rises from 2 to 5 as slopes become known, which costs little
    because processes hardly move at either end of the range of λ.  How many slopes a step may use
    depends on its length, ``LONGEST``.  Towards the data flat directions contract as
    exp(-λ/2), and k slopes are stable for steps up to 2.0, 1.1, 0.6 and 0.3 for k = 1 … 4; a few
    steps beyond that gain more than they lose.  Towards the noise higher orders lose to their own
    extrapolation in long steps.  Both measured in benchmarks/NOTES.md.  Summed over a path, the
    corrector's weights are those of the trapezoidal rule with end corrections: fresh probes of the
    divergence weigh evenly.
    """

    def __init__(self):
        self.nodes: list[float] = []
        self.found: list[Slope] = []

    def advance(self, slopes: Slopes, x: Tensor, start: float, stop: float):
        direction = 1 if stop > start else -1
        if not self.nodes:
            self._remember(start, slopes(x, start, direction))
        score = self.found[-1].at.score
        used = slopes_used(stop - start)
        predicted = x + self._increments(used, start, stop)[0]
        self._remember(stop, slopes(predicted, stop, direction))
        return *self._increments(used + 1, start, stop), score

    def _increments(self, used: int, start: float, stop: float) -> tuple[Tensor, Tensor]:
        """∫ of the polynomial through the last slopes, at most ``used`` of them."""
        nodes, found = self.nodes[-used:], self.found[-used:]
        return _combine(_integration_weights(nodes, start, stop), found, stop - start)

    def _remember(self, node: float, slope: Slope) -> None:
        self.nodes = [*self.nodes, node][-MOST_SLOPES:]
        self.found = [*self.found, slope][-MOST_SLOPES:]


@dataclass(frozen=True)
class _Seen:
    """One evaluation of `Exponential`: its λ, x̂_0 and w ``[batch]`` there, and the slope."""

    logsnr: float
    denoised: Tensor
    weight: Tensor
    slope: Slope


class Exponential:
    """A multistep rule that integrates the decay towards x̂_0 exactly, in y = x/α.

    A drift ``f x + w g² s`` is ``y' = w (x̂_0 - y)``.  x̂_0 and w follow the line through the last
    two evaluations (DPM-Solver++(2M); Lu et al., 2022), so that y decays by exp(-∫w dλ): flat
    directions, where x̂_0 stands still, are exact at any length of a step, and nothing is unstable.
    Each evaluation also mends the point that it was made for, from which the next step starts (the
    corrector of UniPC; Zhao et al., 2023).  Order 2 with one evaluation a step, and one more at the
    end of a tracked path.

    The log-density is (★) along the points evaluated, whatever led to them: its rate and the drift
    by the quadratic through the last three, and ``s·dx`` of what the points left that drift by.
    Raises ValueError for a process that is no `ScoreDrift`.
    """

    mended: Tensor  # x at the last evaluation, after its correction

    def __init__(self):
        self.seen: list[_Seen] = []

    def advance(self, slopes: Slopes, x: Tensor, start: float, stop: float):
        if not self.seen or self.seen[-1].logsnr != start:
            self._look(slopes, x, start)
        now = self.seen[-1]
        dx = self._along(slopes.process.schedule, self.mended, start, stop) - x
        score = now.slope.at.score
        if now.slope.at.laplacian is None:  # the path is not tracked
            return dx, now.slope.rate, score
        self._look(slopes, x + dx, stop)
        nodes, found = [seen.logsnr for seen in self.seen], [seen.slope for seen in self.seen]
        drifted, change = _combine(_integration_weights(nodes, start, stop), found, stop - start)
        return dx, change + _dot(0.5 * (score + found[-1].at.score), dx - drifted), score

    def _look(self, slopes: Slopes, x: Tensor, logsnr: float) -> None:
        process = slopes.process
        if not isinstance(process, ScoreDrift):
            kind = type(process).__name__
            raise ValueError(f"solver: 'exponential' found, not allowed with {kind}")
        slope = slopes(x, logsnr, 1)
        schedule = process.schedule
        denoised = (x + schedule.sigma2(logsnr) * slope.at.score) / schedule.alpha(logsnr)
        weight = torch.as_tensor(process.weight(slope.at, logsnr)).to(slope.rate).expand(len(x))
        self.seen = [*self.seen, _Seen(logsnr, denoised, weight, slope)][-3:]
        if len(self.seen) == 1:
            self.mended = x
        else:
            self.mended = self._along(schedule, self.mended, self.seen[-2].logsnr, logsnr)

    def _along(self, schedule: NoiseSchedule, x: Tensor, start: float, stop: float) -> Tensor:
        """x at ``stop`` from x at ``start``, x̂_0 and w on the line through the last two."""
        before, now = self.seen[-2:] if len(self.seen) > 1 else self.seen * 2
        apart, step = now.logsnr - before.logsnr or 1.0, stop - start
        bend = (now.denoised - before.denoised) / apart
        change = (now.weight - before.weight) / apart
        middle = now.weight + change * (0.5 * (start + stop) - now.logsnr)
        floor = torch.where(torch.minimum(before.weight, now.weight) < 0, -math.inf, 0.0)
        decay = step * torch.maximum(middle, floor)  # no line makes a decay a growth
        gone = -torch.expm1(-decay)
        lag = torch.where(decay == 0, 0, 1 - gone / decay)
        towards = now.denoised + bend * (start - now.logsnr)
        moved = per_sample(gone, x) * towards + bend * step * per_sample(lag, x)
        kept = per_sample(1 - gone, x) * x / schedule.alpha(start)
        return schedule.alpha(stop) * (kept + moved)


def slopes_used(step: float) -> int:
    """Earlier slopes that Adams may use in a step of this length in λ, negative to the noise."""
    longest = LONGEST[1 if step > 0 else -1]
    return next((count for count, length in longest.items() if abs(step) <= length), 1)


def _integration_weights(nodes: Sequence[float], start: float, stop: float) -> list[float]:
    """w with ``(stop - start) Σ w_i p(node_i) = ∫ p`` for polynomials of degree < len(nodes)."""
    scaled = (np.asarray(nodes) - start) / (stop - start)
    powers = np.arange(len(nodes))
    moments = 1.0 / (powers + 1)
    return np.linalg.solve(scaled[None, :] ** powers[:, None], moments).tolist()


def _combine(weights, found, step: float) -> tuple[Tensor, Tensor]:
    terms = list(zip(weights, found, strict=True))
    return step * sum(w * s.drift for w, s in terms), step * sum(w * s.rate for w, s in terms)


def make_stepper(solver: str) -> RungeKutta | Adams | Exponential:
    """*euler*, *heun*, *rk4*, *adams* or *exponential*.  Raises ValueError for any other name."""
    if solver == "adams":
        return Adams()
    if solver == "exponential":
        return Exponential()
    if solver not in TABLEAUS:
        raise ValueError(f"solver: {solver!r} found, allowed: {', '.join(SOLVERS)}")
    return RungeKutta(*TABLEAUS[solver])


def integrate(
    process: Process,
    model: ScoreModel,
    x: Tensor,
    log_density: Tensor,
    grid: Sequence[float],
    divergence: Divergence,
    seeds: Sequence[int],
    *,
    solver: str = "heun",
    noise: Streams | None = None,
    callback: Callback | None = None,
) -> Path:
    """Integrate a process and (★) along a grid of logSNRs, rising or falling.

    *euler* with noise is Euler–Maruyama, the same increment for x and log p; *heun*, *rk4*,
    *adams* and *exponential* serve ordinary differential equations, the last two with one
    evaluation a step.
    Raises ValueError for an unknown solver or noise with any but *euler*; NonFiniteScore.
    """
    stepper = make_stepper(solver)
    stochastic = not process.is_deterministic()
    if stochastic and (solver != "euler" or noise is None):
        raise ValueError(f"solver: {solver!r} found, a process with noise allows 'euler' only")
    slopes = Slopes(process, model, divergence, seeds)
    for start, stop in zip(grid[:-1], grid[1:], strict=True):
        dx, dlog, score = stepper.advance(slopes, x, start, stop)
        if noise is not None and stochastic:
            jump = _jump(process, noise, score, start, stop)
            dx, dlog = dx + jump, dlog + _dot(score, jump)
        x, log_density = x + dx, log_density + dlog
        if callback is not None:
            callback(stop, x, log_density)
    return Path(x, log_density, slopes.nfe)


def _jump(process: Process, noise: Streams, score: Tensor, start: float, stop: float) -> Tensor:
    """φ √|Δλ| ξ, orthogonal to the score where the process projects its noise."""
    scale = process.noise(start) * abs(stop - start) ** 0.5
    jump = scale * noise.normal(score.shape[1:]).to(score)
    if not process.projected:
        return jump
    unit = _unit(score)
    return jump - unit * _dot(unit, jump).view(-1, *[1] * (score.ndim - 1))


def integrate_adaptive(
    process: Process,
    model: ScoreModel,
    x: Tensor,
    log_density: Tensor,
    start: float,
    stop: float,
    divergences: Sequence[Divergence],
    seeds: Sequence[int],
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Integrate with adaptive steps: Dormand–Prince 5(4) of torchdiffeq, log p in the error norm.

    Each sample is integrated by itself with its own step sizes, so its result does not depend on
    the rest of the batch.  ``divergences``: one estimator per sample, with kept probes.  Returns
    x, log_density and the number of evaluations of each sample.
    """
    from torchdiffeq import odeint

    ends, logs, counts = [], [], []
    direction = 1 if stop > start else -1
    for i, seed in enumerate(seeds):
        evaluations = 0

        def slope(t: Tensor, state, i=i, seed=seed):
            nonlocal evaluations
            evaluations += divergences[i].cost
            at = divergences[i](model, state[0], t, process.projected)
            check_finite(at.score, [seed], float(t))
            drift = process.drift(state[0], at, t)
            return drift, process.log_density_rate(state[0], drift, at, t, direction)

        times = torch.tensor([start, stop], dtype=torch.float64)
        state = odeint(
            slope, (x[i : i + 1], log_density[i : i + 1]), times, rtol=rtol, atol=atol,
            method="dopri5", options={"norm": _largest_rms},
        )  # fmt: skip
        ends.append(state[0][-1])
        logs.append(state[1][-1])
        counts.append(evaluations)
    return torch.cat(ends), torch.cat(logs), torch.tensor(counts)


def _largest_rms(state) -> Tensor:
    """The larger of the RMS errors of x and of log p, so that log p is not drowned by D pixels."""
    if isinstance(state, tuple):
        return torch.stack([part.square().mean().sqrt() for part in state]).max()
    return torch.maximum(state[:-1].square().mean().sqrt(), state[-1].abs())
