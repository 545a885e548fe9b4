"""Control of the log-density while sampling: guidance, temperature, latents, score alignment.

Every way is a process of ``processes.py`` (drift and noise), so (★) tracks it and no solver is
added.  Checked against closed forms, because the sources leave room for doubt:

* Stochastic guidance.  Projected noise φ̃ g P dW changes the rate of log p by ½ φ̃² g² tr(P H P),
  H = ∇² log p.  What cancels it is η - φ̃² tr(P H P)/|s|².  The Laplacian Δ in place of tr(P H P)
  leaves -½ φ̃² g² ŝᵀHŝ, about +½ φ̃² nats per unit of λ: of relative size 1/D, not zero.  Here the
  projected trace is used; Hutchinson's product gives it at no further cost.
* Score alignment.  Both forms are the derivative of log p_0 along the scaling of the latent and
  agree to the accuracy of their integration; for a Gaussian both equal |∇ log p_T(x_T)|².  For a
  network they need not agree: the form without the score is the derivative of the PF-ODE's own
  log-density, the other one trusts the network's score at logsnr_max to be that density's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from scipy import special
from torch import Tensor

from cartoonists.density.likelihood import sample_ode
from cartoonists.density.posterior import Posterior, spaced_grid
from cartoonists.paths.divergence import Derivatives, Divergence, NoDivergence
from cartoonists.paths.numerics import Numerics
from cartoonists.paths.processes import ProbabilityFlow, Process, ScoreDrift, per_sample
from cartoonists.paths.schedules import Time
from cartoonists.paths.scores import ScoreModel, _dot
from cartoonists.paths.solvers import Callback, Path, integrate
from cartoonists.paths.streams import Streams, sample_seeds

METHODS = ("guidance", "prior", "temperature")


@dataclass(frozen=True)
class ScaledScore(ScoreDrift):
    """``u = f x + ½ g² κ s``, φ = 0: the score multiplied by a constant κ (an inverse temperature).

    The naive control; κ = 1 is the PF-ODE and κ = 2 the HD-ODE.
    """

    scale: float = 1.0

    def weight(self, at, logsnr):
        return 0.5 * self.scale


@dataclass(frozen=True)
class DensityGuidance(ScoreDrift):
    """Density guidance (Karczewski et al., 2025, DG-ODE and DG-SDE).

    ``dx = (f x + ½ g² η s) dλ + φ̃ g P dW`` with P = I - s sᵀ/|s|² and

        η = 1 + z √(2D)/|σ s|² - φ̃² tr(P ∇² log p)/|s|².

    By (★) log p then changes as on the PF-ODE plus ½ z √(2D) nats per unit of λ, whatever the
    noise: a ``strength`` z above 0 raises it.  The follow-up calls it Φ⁻¹(q), of a q that is no
    quantile of log p_0.  ``stochasticity`` φ̃ acts for λ in [noise_from, noise_until) and is 0
    elsewhere; z = 0 without noise is the PF-ODE.

    Both additions grow without bound where |σ s|² ≪ D (around modes; for smooth data at large λ).
    ``bound`` b holds them: the strength's part to [-b, b], and -tr(P ∇² log p)/|s|², which is 1 on
    average (Stein's identity), to [1 - b, 1 + b].  The first acts where
    |σ s|² < √(2D) |z|/b (`bound_acts_below`).  With b = 1 the drift stays between f x and that
    of the HD-ODE (η = 2).  Tracking by (★) stays exact, for it sees the bounded drift; the rate
    above does not hold there.

    Raises ValueError for a strength that is not finite, negative noise, or a bound not above 0;
    and, while integrating with noise, where the divergence is *none*.
    """

    strength: float = 0.0
    stochasticity: float = 0.0
    noise_from: float = -math.inf
    noise_until: float = math.inf
    bound: float = 1.0

    def __post_init__(self):
        if not math.isfinite(self.strength):
            raise ValueError(f"strength: {self.strength} found, allowed: finite")
        if not self.stochasticity >= 0:
            raise ValueError(f"stochasticity: {self.stochasticity} found, allowed: 0 or more")
        if not self.bound > 0:
            raise ValueError(f"bound: {self.bound} found, allowed: above 0")

    @property
    def projected(self):
        return self.stochasticity > 0

    def is_deterministic(self):
        return self.stochasticity == 0

    def relative_noise(self, logsnr) -> float:
        """φ̃(λ)."""
        return self.stochasticity if self.noise_from <= logsnr < self.noise_until else 0.0

    def noise(self, logsnr):
        return self.relative_noise(logsnr) * self.schedule.g2(logsnr).sqrt()

    def requested_rate(self, at: Derivatives, logsnr: Time) -> Tensor:
        """½ z √(2D) nats per unit of λ where the bound does not act, 0 where it does, ``[batch]``.

        What log p gains by (★) beyond the PF-ODE's rate at the same point.
        """
        dimensions = at.score[0].numel()
        scaled = self.schedule.sigma2(logsnr) * _dot(at.score, at.score)
        free = scaled >= bound_acts_below(dimensions, self.strength, self.bound)
        return 0.5 * math.sqrt(2 * dimensions) * self.strength * free.to(scaled)

    def weight(self, at, logsnr):
        dimensions = at.score[0].numel()
        squares = _dot(at.score, at.score).clamp_min(torch.finfo(at.score.dtype).tiny)
        excess = math.sqrt(2 * dimensions) * self.strength
        excess = (excess / (self.schedule.sigma2(logsnr) * squares)).clamp(-self.bound, self.bound)
        relative = self.relative_noise(logsnr)
        if relative == 0:
            return 0.5 * (1 + excess)
        if at.projected_laplacian is None:
            raise ValueError(
                "divergence: 'none' found, guidance with noise needs exact, hutchinson"
            )
        ratio = -at.projected_laplacian / squares
        return 0.5 * (1 + excess + relative**2 * ratio.clamp(1 - self.bound, 1 + self.bound))


class _Requests(Divergence):
    """A divergence that notes, wherever it is called, the rate that guidance asks for there."""

    def __init__(self, divergence: Divergence, process: Process):
        self.divergence, self.process, self.cost = divergence, process, divergence.cost
        self.logsnrs: list[float] = []
        self.rates: list[Tensor] = []

    def __call__(self, model, x, logsnr, projected=False):
        at = self.divergence(model, x, logsnr, projected)
        if isinstance(self.process, DensityGuidance):
            self.logsnrs.append(float(logsnr))
            self.rates.append(self.process.requested_rate(at, logsnr))
        return at

    def integral(self, like: Tensor, stop: float) -> Tensor:
        """∫ dλ of the rates up to ``stop``, by trapezoids, ``[batch]``, nats."""
        if not self.rates:
            return torch.zeros_like(like)
        last = self.rates[-1] * (stop - self.logsnrs[-1])  # Euler sees the start of a step alone
        return torch.trapezoid(torch.stack(self.rates), like.new_tensor(self.logsnrs), dim=0) + last


def bound_acts_below(dimensions: int, strength: float, bound: float = 1.0) -> float:
    """|σ s|² below which ``bound`` holds the strength's part of η, √(2D) |z|/b."""
    return math.sqrt(2 * dimensions) * abs(strength) / bound


def constant_scale(dimensions: int, strength: float) -> float:
    """The constant κ that equals η at |σ s|² = D: 1 + √(2/D) z."""
    return 1 + math.sqrt(2 / dimensions) * strength


def rescale_latent(model: ScoreModel, x: Tensor, quantile: float = 0.5) -> Tensor:
    """The latent x at logsnr_min with its norm moved to a quantile of χ_D.

    The norm of D standard normal values follows χ_D; log p_T falls with it, so the quantile q of
    the *density* is the quantile 1 - q of the norm.  ½ gives the median norm.
    """
    if not 0 < quantile < 1:
        raise ValueError(f"quantile: {quantile} found, allowed: between 0 and 1")
    squared = 2 * float(special.gammaincinv(model.dimensions / 2, 1 - quantile))  # of χ²_D
    norm = math.sqrt(model.prior_variance() * squared)
    return x * per_sample(norm / x.flatten(1).norm(dim=1), x)


@dataclass(frozen=True)
class GuidedSamples:
    """Guided samples: x ``[n, *shape]`` and log_density ``[n]``, nats, at logsnr_max by (★).

    log_density is NaN where it was not tracked.  ``requested`` ``[n]``, nats, is the part of it
    that guidance asked for: the integral of `DensityGuidance.requested_rate` along the path; 0
    by the other methods.
    """

    x: Tensor
    log_density: Tensor
    requested: Tensor
    nfe: int
    seeds: Sequence[int]


def sample_guided(
    model: ScoreModel,
    n: int = 256,
    steps: int = 64,
    strength: float = 0.0,
    seed: int = 0,
    *,
    method: str = "guidance",
    stochasticity: float = 0.0,
    noise_window: tuple[float, float] | None = None,
    noise_steps: int | None = None,
    bound: float = 1.0,
    seeds=None,
    solver: str = "exponential",
    divergence: str | None = None,
    probes: int = 1,
    posterior: Posterior | None = None,
    track: bool = True,
) -> GuidedSamples:
    """Sample at a ``strength`` z: above 0 denser than the PF-ODE, below 0 less dense.

    *guidance*: from the latent at the median norm, `DensityGuidance`, with noise ``stochasticity``
    in ``noise_window`` (two logSNRs; everywhere where none is given).  *prior*: the latent at the
    quantile Φ(z) of `rescale_latent`, then the PF-ODE.  *temperature*: from the median norm,
    `ScaledScore` with `constant_scale`.

    The stages without noise use ``solver``, those with noise Euler–Maruyama, whose error is of
    order 1: ``noise_steps`` sets its steps.  Otherwise ``steps`` are shared in proportion to each
    stage's range of λ.  ``divergence`` is *exact* for closed forms and *hutchinson* for networks
    unless it is given; with ``track=False`` only the stages with noise use it. ``posterior``
    spaces the steps of each stage and gives the probes' basis. Raises ValueError for wrong
    arguments, NonFiniteScore.
    """
    schedule = model.schedule
    seeds = sample_seeds(seed, n) if seeds is None else list(seeds)
    process = _process(model, method, strength, stochasticity, bound)
    x = model.sample_prior(Streams(seeds, "prior"))
    x = rescale_latent(model, x, float(special.ndtr(strength)) if method == "prior" else 0.5)
    path = Path(x, model.prior_log_prob(x), 0)
    basis = None if posterior is None else posterior.basis
    numerics = Numerics(solver, divergence, probes, basis)
    estimator, noise = numerics.estimator(model, seeds), Streams(seeds, "guidance")
    requested = torch.zeros_like(path.log_density)
    for stage, grid in _stages(process, schedule, noise_window, steps, noise_steps, posterior):
        noisy = not stage.is_deterministic()
        requests = _Requests(estimator if track or noisy else NoDivergence(), stage)
        end = integrate(
            stage, model, path.x, path.log_density, grid, requests, seeds,
            solver="euler" if noisy else solver, noise=noise if noisy else None,
        )  # fmt: skip
        path = replace(end, nfe=path.nfe + end.nfe)
        requested = requested + requests.integral(requested, grid[-1])
    log_density = path.log_density if track else torch.full_like(path.log_density, math.nan)
    return GuidedSamples(path.x, log_density, requested, path.nfe, seeds)


def _process(model, method: str, strength: float, stochasticity: float, bound: float) -> Process:
    if method not in METHODS:
        raise ValueError(f"method: {method!r} found, allowed: {', '.join(METHODS)}")
    if stochasticity and method != "guidance":
        raise ValueError(f"stochasticity: {stochasticity} found, allowed with 'guidance' only")
    if method == "guidance":
        return DensityGuidance(model.schedule, strength, stochasticity, bound=bound)
    if method == "temperature":
        return ScaledScore(model.schedule, constant_scale(model.dimensions, strength))
    return ProbabilityFlow(model.schedule)


def _stages(process: Process, schedule, window, steps: int, noise_steps: int | None, posterior):
    """The process on each stage with its grid: without noise outside the window."""
    low, high = schedule.logsnr_min, schedule.logsnr_max
    if process.is_deterministic() or not isinstance(process, DensityGuidance):
        return [(process, spaced_grid(posterior, low, high, steps))]
    start, stop = (low, high) if window is None else (max(low, window[0]), min(high, window[1]))
    if not start < stop:
        raise ValueError(f"noise_window: {window} found, allowed: rising, within {low} to {high}")
    quiet = replace(process, stochasticity=0.0)

    def grid(a: float, b: float, fixed: int | None = None) -> list[float]:
        fair = max(1, round(steps * (b - a) / (high - low)))
        return spaced_grid(posterior, a, b, fixed or fair)

    stages = [(process, grid(start, stop, noise_steps))]
    if low < start:
        stages.insert(0, (quiet, grid(low, start)))
    if stop < high:
        stages.append((quiet, grid(stop, high)))
    return stages


@dataclass(frozen=True)
class Alignment:
    """Derivative of log p_λ along the latent's score, ``[n]``, nats, in both forms; x_λ at the end.

    Positive: shrinking the latent raises the log-density of what it becomes.  ``nfe`` counts the
    evaluations up to this λ.
    """

    with_score: Tensor
    without_score: Tensor
    x: Tensor
    nfe: int | Tensor


def score_alignment(
    model: ScoreModel,
    n: int = 64,
    steps: int = 64,
    seed: int = 0,
    *,
    seeds=None,
    width: float = 1e-3,
    solver: str = "heun",
    divergence: str | None = None,
    probes: int = 1,
    posterior: Posterior | None = None,
) -> Alignment:
    """Score alignment (Karczewski et al., 2025) of PF-ODE samples, with and without the score.

    ``v_T = -x_T/var`` is the score of the prior and the direction in which the latent shrinks;
    the linearised PF-ODE ``dv/dλ = ∂u/∂x v`` carries it to v_0.  *With* the score: v_0 · s(x_0).
    *Without*: ω_0, from ω_T = v_T · ∇ log p_T and ``ω' = -div(∂u/∂x v)``, because
    d log p/dλ = -div u along the PF-ODE.

    Both are central differences of two solutions, from ``x_T ± width v_T``: of x for v_0, of the
    tracked log-density for ω_0, the probes being the same for both.  The error is of order width².
    """
    (end,) = alignment_curve(
        model, [model.schedule.logsnr_max], n, steps, seed, seeds=seeds, width=width,
        solver=solver, divergence=divergence, probes=probes, posterior=posterior,
    ).values()  # fmt: skip
    return end


def alignment_curve(
    model: ScoreModel,
    logsnrs: Sequence[float],
    n: int = 64,
    steps: int = 64,
    seed: int = 0,
    *,
    seeds=None,
    width: float = 1e-3,
    solver: str = "heun",
    divergence: str | None = None,
    probes: int = 1,
    posterior: Posterior | None = None,
) -> dict[float, Alignment]:
    """`score_alignment` at several λ of the same two paths, by λ, rising.

    The paths end at the largest λ; each λ costs one evaluation more, of the score there.  Their
    grid is that of ``steps`` steps, its nearest points moved to the λ.  Raises ValueError for
    a λ outside the model's range, or for more of them than steps.
    """
    if not width > 0:
        raise ValueError(f"width: {width} found, allowed: above 0")
    schedule = model.schedule
    levels = sorted({float(logsnr) for logsnr in logsnrs})
    for level in levels:
        schedule.check(level, "logsnrs")
    seeds = sample_seeds(seed, n) if seeds is None else list(seeds)
    grid = _through(spaced_grid(posterior, schedule.logsnr_min, levels[-1], steps), levels)
    latent = model.sample_prior(Streams(seeds, "prior"))
    direction = -latent / model.prior_variance()
    paths: list[dict[float, tuple[Tensor, Tensor]]] = [{}, {}]
    nfe: int | Tensor = 0

    def into(path) -> Callback:
        return lambda logsnr, x, density: path.__setitem__(logsnr, (x, density))

    for sign, path in zip((1, -1), paths, strict=True):
        end = sample_ode(
            model, len(latent), steps, solver, divergence, seeds=seeds,
            probes=probes, posterior=posterior, grid=grid,
            x_prior=latent + sign * width * direction,
            callback=into(path),
        )  # fmt: skip
        nfe += end.nfe
        path[levels[-1]] = end.x, end.log_density
    if len(paths[0]) < len(levels):
        raise ValueError(f"solver: {solver!r} found, allowed for one λ alone")
    found = {}
    for level in levels:
        (x, density), (x_below, density_below) = (path[level] for path in paths)
        pushed = (x - x_below) / (2 * width)
        middle = 0.5 * (x + x_below)
        with_score = _dot(pushed, model.score(middle, level))
        change = (density - density_below) / (2 * width)
        share = nfe * grid.index(level) // (len(grid) - 1) + 1
        found[level] = Alignment(with_score, change, middle, share)
    return found


def _through(grid: Sequence[float], levels: Sequence[float]) -> list[float]:
    """The grid with the nearest point that is still free, behind the first, moved to each level."""
    points = [float(point) for point in grid]
    free = set(range(1, len(points)))
    if len(levels) > len(free):
        raise ValueError(f"logsnrs: {len(levels)} found, allowed: at most {len(free)}, the steps")
    for level in reversed(levels):  # the last is the end of the grid
        nearest = min(free, key=lambda i: abs(points[i] - level))
        free.remove(nearest)
        points[nearest] = level
    return sorted(points)
