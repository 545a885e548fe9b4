"""Solvers for the joint path of x and log p: one loop for every process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cartoonists.divergence import Derivatives, Divergence, _unit
from cartoonists.processes import Process
from cartoonists.scores import NonFiniteScore, ScoreModel, _dot
from cartoonists.streams import Streams

# explicit Runge–Kutta schemes: nodes, stage weights, output weights (Hairer et al., 1993)
TABLEAUS = {
    "euler": ([0.0], [[]], [1.0]),
    "heun": ([0.0, 1.0], [[], [1.0]], [0.5, 0.5]),
    "rk4": ([0.0, 0.5, 0.5, 1.0], [[], [0.5], [0, 0.5], [0, 0, 1.0]], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
}

Callback = Callable[[float, Tensor, Tensor], None]  # (logsnr, x, log_density) after every step


@dataclass(frozen=True)
class Path:
    """Where a path ended: x ``[batch, *shape]``, log_density ``[batch]`` (nats), evaluations."""

    x: Tensor
    log_density: Tensor
    nfe: int


def check_finite(score: Tensor, seeds: Sequence[int], logsnr: float) -> None:
    """Raise NonFiniteScore, naming seed and λ, at the first sample whose score is not finite."""
    finite = torch.isfinite(score).flatten(1).all(1)
    if not finite.all():
        first = int((~finite).nonzero()[0])
        raise NonFiniteScore(
            f"score: not finite for the sample with seed {seeds[first]} at logSNR {logsnr:.4g}"
        )


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

    *euler* with noise is Euler–Maruyama, the same increment for x and log p; the Runge–Kutta
    schemes *heun* and *rk4* serve ordinary differential equations.
    Raises ValueError for an unknown solver or noise with a Runge–Kutta scheme; NonFiniteScore.
    """
    if solver not in TABLEAUS:
        raise ValueError(f"solver: {solver!r} found, allowed: {', '.join(TABLEAUS)}")
    stochastic = not process.is_deterministic()
    if stochastic and (solver != "euler" or noise is None):
        raise ValueError(f"solver: {solver!r} found, a process with noise allows 'euler' only")
    nodes, stages, weights = TABLEAUS[solver]
    nfe = 0
    for start, stop in zip(grid[:-1], grid[1:], strict=True):
        step = stop - start
        direction = 1 if step > 0 else -1
        slopes: list[tuple[Tensor, Tensor]] = []
        first: Derivatives | None = None
        for node, coefficients in zip(nodes, stages, strict=True):
            here = start + node * step
            y = x
            for c, (slope, _) in zip(coefficients, slopes, strict=True):
                y = y + (step * c) * slope if c else y
            at = divergence(model, y, here, process.projected)
            check_finite(at.score, seeds, here)
            drift = process.drift(y, at, here)
            slopes.append((drift, process.log_density_rate(y, drift, at, here, direction)))
            first = first or at
            nfe += divergence.cost
        dx, dlog = (
            sum(w * s[i] for w, s in zip(weights, slopes, strict=True)) * step for i in (0, 1)
        )
        if stochastic:
            jump = process.noise(start) * abs(step) ** 0.5 * noise.normal(model.shape).to(x.device)
            if process.projected:
                unit = _unit(first.score)
                jump = jump - unit * _dot(unit, jump).view(-1, *[1] * len(model.shape))
            dx, dlog = dx + jump, dlog + _dot(first.score, jump)
        x, log_density = x + dx, log_density + dlog
        if callback is not None:
            callback(stop, x, log_density)
    return Path(x, log_density, nfe)


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
    """Dormand–Prince 5(4) by torchdiffeq, each sample alone, log p inside the error norm.

    One step size a sample: a stiff neighbour changes nothing, so a result depends on its own seed
    alone.  ``divergences`` holds one estimator a sample, with kept probes.  Returns x, log_density
    and the number of evaluations of each sample.
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
