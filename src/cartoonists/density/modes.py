"""The mode of p(x_s|x_t) followed in λ_s: the mode-tracking ODE, the HD-ODE, and Newton's method.

``p(x_s|x_t) ∝ p_s(x_s) N(x_t; a x_s, v I)`` (Karczewski et al., 2024, section 4).  With
``ψ = a²/v = SNR_t/(σ_s² (SNR_s - SNR_t))`` and ``A = ∇² log p_s - ψ I`` its mode obeys, from
y = x_t at λ_t,

    dy/dλ = f y + g² s + ½ g² A⁻¹ ∇Δ log p.

ψ is infinite at the start, so everything here is written with ``ξ = 1/ψ``, which is
``σ_s² (exp(λ_s - λ_t) - 1)`` and starts at 0, and with ``M = I - ξ ∇² log p_s = -ξ A``: then
``A⁻¹ = -ξ M⁻¹``, and A is negative definite exactly when M is positive definite.  A Gaussian p_0
has ∇Δ = 0: the HD-ODE is the whole equation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cartoonists.density.tracking import reverse_sde_path
from cartoonists.paths.divergence import (
    Derivatives,
    Divergence,
    ExactDivergence,
    default_divergence,
    make_divergence,
)
from cartoonists.paths.processes import HighDensityODE, Process, ScoreDrift
from cartoonists.paths.schedules import NoiseSchedule, uniform_grid
from cartoonists.paths.scores import ClosedForm, GaussianMixture, ScoreModel, _dot, check_points
from cartoonists.paths.solvers import Callback, integrate
from cartoonists.paths.streams import Streams, sample_seeds

SOLVES = ("dense", "cg")
DENSE_UP_TO = 32  # dimensions; beyond, conjugate gradients are cheaper on the closed forms
CG_TOLERANCE = 1e-10  # of the residual, relative to the right-hand side
CONDITION_LIMIT = 100.0  # |M⁻¹| above which the equation is called ill-conditioned
GAP_LIMIT = 1e-3  # nats by which the end point may lie below its mode, or below another mode
STATUSES = ("ok", "indefinite", "ill-conditioned", "off the mode", "lower mode")


def xi(schedule: NoiseSchedule, logsnr_t: float, logsnr: float) -> Tensor:
    """ξ = 1/ψ = v/a² of the forward kernel from λ to the noisier λ_t; 0 at λ = λ_t."""
    difference = torch.as_tensor(logsnr - logsnr_t, dtype=torch.float64)
    return schedule.sigma2(logsnr) * torch.expm1(difference)


# --- linear systems M z = b -----------------------------------------------------------------------


@dataclass(frozen=True)
class Solution:
    """z ``[n, *shape]`` and the smallest eigenvalue of M ``[n]``.

    Conjugate gradients give the smallest Ritz value instead, an upper bound; where M is indefinite,
    a curvature that is not positive; for b = 0, where no product with M is needed, infinity.
    """

    z: Tensor
    smallest: Tensor


def dense_hessian(model: ScoreModel, x: Tensor, logsnr: float) -> tuple[Tensor, Tensor]:
    """Score ``[n, *shape]`` and symmetrised ∇² log p_λ ``[n, D, D]``, all columns in one call."""
    n, size = len(x), model.dimensions
    eye = torch.eye(size, dtype=torch.float64, device=x.device).repeat(n, 1)
    score, rows = model.score_and_hvp(
        x.repeat_interleave(size, dim=0), logsnr, eye.view(-1, *model.shape)
    )
    hessian = rows.reshape(n, size, size)
    return score[::size], 0.5 * (hessian + hessian.mT)


def solve_dense(hessian: Tensor, scale: Tensor, b: Tensor) -> Solution:
    """``(I - ξ H) z = b`` by eigendecomposition, which shows the smallest eigenvalue as well."""
    identity = torch.eye(hessian.shape[1], dtype=torch.float64, device=b.device)
    values, vectors = torch.linalg.eigh(identity - scale * hessian)
    tiny = torch.finfo(torch.float64).eps
    safe = torch.where(values.abs() < tiny, torch.full_like(values, tiny), values)
    rotated = torch.einsum("nij,ni->nj", vectors, b.flatten(1)) / safe
    z = torch.einsum("nij,nj->ni", vectors, rotated)
    return Solution(z.view_as(b), values[:, 0])


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], b: Tensor, max_iterations: int, tolerance=CG_TOLERANCE
) -> Solution:
    """``M z = b`` for symmetric positive definite M, matrix-free (Hestenes & Stiefel, 1952).

    The systems of a batch share each product with the Hessian, but each stops by itself, so its
    result does not depend on the others.  One that meets a
    direction of curvature ≤ 0 stops there and keeps what it has (the gradient if nothing), as in
    truncated Newton methods.
    """
    z, residual, direction = torch.zeros_like(b), b, b
    norm2 = _dot(b, b)
    target = tolerance**2 * norm2
    active = norm2 > 0
    smallest = torch.full_like(norm2, torch.inf)
    steps: list[Tensor] = []
    ratios: list[Tensor] = []
    for k in range(max_iterations):
        image = product(direction)
        curvature = _dot(direction, image)
        indefinite = active & (curvature <= 0)
        smallest = torch.where(indefinite, curvature / _dot(direction, direction), smallest)
        if k == 0:
            z = torch.where(_column(indefinite, z), b, z)
        active = active & ~indefinite
        if not active.any():
            break
        step = torch.where(active, norm2 / curvature, 0.0)
        z = z + _column(step, z) * direction
        residual = residual - _column(step, z) * image
        fresh = torch.where(active, _dot(residual, residual), norm2)
        ratio = torch.where(active, fresh / norm2, 0.0)
        steps.append(step)
        ratios.append(ratio)
        direction = torch.where(
            _column(active, z), residual + _column(ratio, z) * direction, direction
        )
        norm2 = fresh
        active = active & (norm2 > target)
        if not active.any():
            break
    return Solution(z, torch.minimum(smallest, _smallest_ritz(steps, ratios, smallest)))


def _smallest_ritz(steps: list[Tensor], ratios: list[Tensor], like: Tensor) -> Tensor:
    """Smallest eigenvalue of the Lanczos matrix that the coefficients of CG contain."""
    if not steps:
        return torch.full_like(like, torch.inf)
    step, ratio = torch.stack(steps, 1), torch.stack(ratios, 1)
    used = step > 0
    safe = torch.where(used, step, 1.0)
    diagonal = 1 / safe
    diagonal[:, 1:] += ratio[:, :-1] / safe[:, :-1]
    diagonal = torch.where(used, diagonal, torch.finfo(torch.float64).max ** 0.25)
    beside = torch.where(used[:, 1:], ratio[:, :-1].sqrt() / safe[:, :-1], 0.0)
    matrix = torch.diag_embed(diagonal) + torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)
    smallest = torch.linalg.eigvalsh(matrix)[:, 0]
    return torch.where(used[:, 0], smallest, torch.inf)


def _column(value: Tensor, like: Tensor) -> Tensor:
    return value.view(-1, *[1] * (like.ndim - 1))


def solve(model: ScoreModel, x: Tensor, logsnr: float, scale: Tensor, b: Tensor) -> Solution:
    """``(I - ξ ∇² log p_λ) z = b`` by conjugate gradients with Hessian-vector products."""

    def product(v: Tensor) -> Tensor:
        return v - scale * model.score_and_hvp(x, logsnr, v)[1]

    return conjugate_gradients(product, b, max_iterations=2 * model.dimensions + 10)


# --- the equation ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModeDerivatives(Derivatives):
    """With ``correction`` = ½ g² A⁻¹ ∇Δ, ``[batch, *shape]``."""

    correction: Tensor | None = None


@dataclass(frozen=True)
class ModeTracking(ScoreDrift):
    """``u = f x + g² s + ½ g² A⁻¹ ∇Δ``, φ = 0 (Karczewski et al., 2024, equation 13)."""

    def weight(self, at, logsnr):
        return torch.ones((), dtype=torch.float64)

    def drift(self, x, at, logsnr):
        return super().drift(x, at, logsnr) + at.correction


class ModeDivergence(Divergence):
    """Traces and the correction term; records for each sample whether A stayed negative definite.

    ``smallest``: smallest eigenvalue of M met so far; ``share``: summed |correction| over summed
    |f x + g² s|.
    A sample whose M was not positive definite, or |M⁻¹| too large, continues on the
    HD-ODE: its branch has ended, and the correction term no longer points to a mode.
    """

    def __init__(self, inner: Divergence, logsnr_t: float, method: str, n: int):
        self.inner, self.logsnr_t, self.dense = inner, logsnr_t, method == "dense"
        self.cost = inner.cost
        self.smallest = torch.full((n,), torch.inf, dtype=torch.float64)
        self._lengths = torch.zeros(2, n, dtype=torch.float64)

    @property
    def share(self) -> Tensor:
        return self._lengths[0] / self._lengths[1]

    def __call__(self, model, x, logsnr, projected=False):
        g2 = model.schedule.g2(logsnr)
        scale = xi(model.schedule, self.logsnr_t, logsnr).to(x.device)
        b = model.laplacian_gradient(x, logsnr)
        if self.dense:
            score, hessian = dense_hessian(model, x, logsnr)
            solution = solve_dense(hessian, scale, b)
            at = self._traces(model, x, logsnr, score, hessian)
        else:
            solution = solve(model, x, logsnr, scale, b)
            at = self.inner(model, x, logsnr)
        self.smallest = torch.minimum(self.smallest.to(x.device), solution.smallest)
        sound = self.smallest > 1 / CONDITION_LIMIT
        correction = -0.5 * g2 * scale * solution.z
        correction = torch.where(_column(sound, x), correction, torch.zeros_like(x))
        drift = model.schedule.f(logsnr) * x + g2 * at.score
        lengths = [part.flatten(1).norm(dim=1) for part in (correction, drift)]
        self._lengths = self._lengths.to(x.device) + torch.stack(lengths)
        return ModeDerivatives(at.score, at.laplacian, correction=correction)

    def _traces(self, model, x, logsnr, score, hessian) -> Derivatives:
        if isinstance(self.inner, ExactDivergence):  # the trace of what is there already
            return Derivatives(score, hessian.diagonal(dim1=1, dim2=2).sum(1))
        return self.inner(model, x, logsnr)


@dataclass(frozen=True)
class ModeTrack:
    """End points of the mode curves and checks of them; all ``[n]`` but x ``[n, *shape]``.

    log_density: log p at logsnr_max, nats.  status: *ok*, *indefinite* (A was not negative definite
    somewhere on the path), *ill-conditioned* (|M⁻¹| above ``CONDITION_LIMIT``), *off the mode* (a
    Newton step from the end point would gain ``gap_nats`` > ``GAP_LIMIT`` in log p(x_s|x_t)),
    *lower mode* (another start reached a higher one, by ``deficit_nats``).  ok: status is *ok*.
    smallest_eigenvalue: of M along the path (the end point alone without correction).
    correction_share: summed |correction| over summed |f x + g² s| along the path, NaN without.
    """

    x: Tensor
    log_density: Tensor
    ok: Tensor
    status: list[str]
    smallest_eigenvalue: Tensor
    gap_nats: Tensor
    deficit_nats: Tensor
    correction_share: Tensor
    nfe: int


def track_modes(
    model: ScoreModel,
    x_t: Tensor,
    logsnr_t: float,
    steps: int = 256,
    correction: bool | None = None,
    *,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    method: str | None = None,
    solver: str = "rk4",
    divergence: str | None = None,
    log_density: Tensor | None = None,
    starts: int = 4,
    callback: Callback | None = None,
) -> ModeTrack:
    """Follow the mode of p(x_s|x_t) from x_t ``[n, *shape]`` at λ_t to logsnr_max.

    With ``correction`` by the mode-tracking ODE (Karczewski et al., 2024, equation 13), without by
    the HD-ODE, which is exact for Gaussian p_0.  By default closed forms and models of at most
    `DENSE_UP_TO` dimensions are corrected: a network needs 2 D derivative passes at every
    evaluation.  method *dense* (eigendecomposition; D³ time, D² memory) or *cg* (conjugate
    gradients with Hessian-vector products), by default by D.
    log p is tracked by (★) from ``log_density`` at x_t, which closed forms know themselves; for
    networks it is NaN where not given, or with ``divergence`` *none*.
    The curve follows one branch, which need not stay the highest mode: closed forms are checked
    against ``starts`` ordinary samples of the reverse SDE from x_t, each taken to its nearest mode
    (sample i's from its own seed).  Networks have no log p to compare: there *ok* means that the
    end point is a mode, not that it is the highest.
    Raises ValueError for wrong arguments, NonFiniteScore.
    """
    schedule = model.schedule
    schedule.check(logsnr_t, "logsnr_t")
    check_points(model, x_t)
    if logsnr_t == schedule.logsnr_max:
        raise ValueError(f"logsnr_t: {logsnr_t} found, allowed: below logsnr_max")
    method = method or ("dense" if model.dimensions <= DENSE_UP_TO else "cg")
    if method not in SOLVES:
        raise ValueError(f"method: {method!r} found, allowed: {', '.join(SOLVES)}")
    if starts < 0:
        raise ValueError(f"starts: {starts} found, allowed: 0 or more")
    seeds = sample_seeds(seed, len(x_t)) if seeds is None else list(seeds)
    x_t = x_t.double()
    if log_density is None:
        log_density = torch.full((len(x_t),), torch.nan, dtype=torch.float64, device=x_t.device)
        if isinstance(model, ClosedForm):
            log_density = model.log_prob(x_t, logsnr_t)
    exact = default_divergence(model) == "exact" or model.dimensions <= DENSE_UP_TO
    correction = exact if correction is None else correction
    inner = make_divergence(divergence or ("exact" if exact else "hutchinson"), seeds)
    followed = ModeDivergence(inner, logsnr_t, method, len(x_t))
    process: Process = ModeTracking(schedule) if correction else HighDensityODE(schedule)
    path = integrate(
        process, model, x_t, log_density, uniform_grid(logsnr_t, schedule.logsnr_max, steps),
        followed if correction else inner, seeds, solver=solver, callback=callback,
    )  # fmt: skip
    return _judged(model, x_t, logsnr_t, path, followed, seeds, starts)


def _judged(model, x_t, logsnr_t, path, followed: ModeDivergence, seeds, starts) -> ModeTrack:
    """The end points with the checks of ``ModeTrack``."""
    peak = _Posterior(model, x_t, logsnr_t, model.schedule.logsnr_max)
    gap = peak.newton_gain(path.x)
    smallest = torch.minimum(followed.smallest, peak.smallest_eigenvalue(path.x, seeds))
    deficit = torch.full_like(gap, torch.nan)
    if isinstance(model, ClosedForm):
        deficit = torch.zeros_like(gap)
        here = peak.log_prob(path.x)
        for j in range(starts):
            other = peak.climb(_ordinary_sample(model, x_t, logsnr_t, seeds, j))
            deficit = torch.fmax(deficit, peak.log_prob(other) - here)
    status = ["ok"] * len(gap)
    indefinite = (smallest <= 0) | (gap < -GAP_LIMIT)  # -A of a mode makes no gain negative
    checks = (indefinite, smallest <= 1 / CONDITION_LIMIT, gap > GAP_LIMIT, deficit > GAP_LIMIT)
    for name, failed in reversed(list(zip(STATUSES[1:], checks, strict=True))):
        status = [name if bad else old for bad, old in zip(failed.tolist(), status, strict=True)]
    ok = torch.tensor([s == "ok" for s in status])
    return ModeTrack(
        path.x, path.log_density, ok, status, smallest, gap, deficit, followed.share, path.nfe
    )


def _ordinary_sample(model, x_t, logsnr_t, seeds, j: int, steps: int = 32) -> Tensor:
    schedule = model.schedule
    zero = torch.zeros(len(x_t), dtype=torch.float64)
    grid = uniform_grid(logsnr_t, schedule.logsnr_max, steps)
    purpose = f"other start {j}"
    return reverse_sde_path(model, x_t, zero, grid, seeds, purpose=purpose, track=False).x


# --- Newton's method ------------------------------------------------------------------------------


class _Posterior:
    """log p(x_s|x_t) up to a constant: ``log p_s(y) - |y - x_t/a|²/(2ξ)``."""

    def __init__(self, model: ScoreModel, x_t: Tensor, logsnr_t: float, logsnr: float):
        self.model: Any = model  # `log_prob` is asked of closed forms alone
        self.logsnr = logsnr
        self.centre = x_t / model.schedule.transition(logsnr_t, logsnr)[0]
        self.scale = xi(model.schedule, logsnr_t, logsnr)

    def log_prob(self, y: Tensor) -> Tensor:
        pull = (y - self.centre).square().flatten(1).sum(1)
        return self.model.log_prob(y, self.logsnr) - 0.5 * pull / self.scale

    def newton(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient of log p(x_s|x_t), times ξ, and the Newton step M⁻¹ of it."""
        gradient = self.scale * self.model.score(y, self.logsnr) + self.centre - y
        return gradient, solve(self.model, y, self.logsnr, self.scale, gradient).z

    def newton_gain(self, y: Tensor) -> Tensor:
        """What a Newton step would gain, ``½ ∇ᵀ(-A)⁻¹∇``, nats (half the squared decrement)."""
        gradient, step = self.newton(y)
        return 0.5 * _dot(gradient, step) / self.scale

    def smallest_eigenvalue(self, y: Tensor, seeds) -> Tensor:
        """Smallest eigenvalue of M seen from a random direction of each sample."""
        probe = Streams(seeds, "definiteness").rademacher(self.model.shape).to(y.device)
        return solve(self.model, y, self.logsnr, self.scale, probe).smallest

    def climb(self, y: Tensor, iterations: int = 60) -> Tensor:
        """To a mode by truncated Newton steps, halved until log p(x_s|x_t) rises.

        Where M is indefinite, conjugate gradients give an ascent direction all the same (Nocedal &
        Wright, 2006, algorithm 7.1).
        """
        value = self.log_prob(y)
        for _ in range(iterations):
            step = self.newton(y)[1]
            length = torch.ones_like(value)
            open_ = torch.ones_like(value, dtype=torch.bool)
            best, best_value = y, value
            for _ in range(40):
                trial = y + _column(length, y) * step
                trial_value = self.log_prob(trial)
                rises = open_ & (trial_value > value)
                best = torch.where(_column(rises, y), trial, best)
                best_value = torch.where(rises, trial_value, best_value)
                open_ = open_ & ~rises & (length * step.flatten(1).norm(dim=1) > 1e-12)
                length = 0.5 * length
                if not open_.any():
                    break
            moved = (best - y).flatten(1).norm(dim=1)
            y, value = best, best_value
            if not (moved > 1e-11).any():
                break
        return y


def log_posterior(target: ClosedForm, y: Tensor, x_t: Tensor, logsnr_t: float) -> Tensor:
    """log p(x_s|x_t) at y, s at logsnr_max, up to a constant that depends on x_t alone; ``[n]``."""
    return _Posterior(target, x_t, logsnr_t, target.schedule.logsnr_max).log_prob(y)


@dataclass(frozen=True)
class Modes:
    """Modes reached from each start: x ``[n, starts, *shape]``, log_posterior ``[n, starts]``.

    log_posterior is log p(x_s|x_t) up to a constant that depends on x_t alone; ``best`` is the
    highest mode of each x_t, ``[n, *shape]``.
    """

    x: Tensor
    log_posterior: Tensor

    @property
    def best(self) -> Tensor:
        return self.x[torch.arange(len(self.x)), self.log_posterior.argmax(1)]

    @property
    def best_log_posterior(self) -> Tensor:
        return self.log_posterior.max(1).values


def newton_modes(
    target: ClosedForm,
    x_t: Tensor,
    logsnr_t: float,
    logsnr: float | None = None,
    *,
    samples: int = 4,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
) -> Modes:
    """Modes of p(x_s|x_t) of a closed form by Newton's method: ground truth.

    p(x_s|x_t) of a mixture is a mixture itself; every mode of a mixture attracts one of the
    components' means as a rule (Carreira-Perpiñán, 2000), so these are the starts, with the
    posterior mean and ``samples`` draws of the reverse SDE.  Other closed forms here are
    log-concave: there is one mode, and one start, α_s E[x_0|x_t].  λ_s is logsnr_max where none is
    given.
    """
    schedule = target.schedule
    logsnr = schedule.logsnr_max if logsnr is None else logsnr
    seeds = sample_seeds(seed, len(x_t)) if seeds is None else list(seeds)
    peak = _Posterior(target, x_t, logsnr_t, logsnr)
    if isinstance(target, GaussianMixture):
        points = _mixture_starts(target, x_t, logsnr_t, logsnr, seeds, samples)
    else:
        points = [schedule.alpha(logsnr) * target.denoise(x_t, logsnr_t)]
    ends = [peak.climb(point) for point in points]
    return Modes(torch.stack(ends, 1), torch.stack([peak.log_prob(end) for end in ends], 1))


def _mixture_starts(target: GaussianMixture, x_t, logsnr_t, logsnr, seeds, samples: int):
    means = posterior_means(target, x_t, logsnr_t, logsnr)
    weighted = target.responsibilities(x_t, logsnr_t).view(*means.shape[:2], *[1] * (x_t.ndim - 1))
    points = [*means.unbind(1), (weighted * means).sum(1)]
    return points + [_draw(target, x_t, logsnr_t, logsnr, seeds, j) for j in range(samples)]


def posterior_means(target: GaussianMixture, x_t: Tensor, logsnr_t, logsnr) -> Tensor:
    """E[x_s|x_t, component k] ``[n, K, *shape]``.

    ``(ξ α m_k + C_k x_t/a)/(ξ + C_k)`` with C_k the variances of component k at λ_s.
    """
    alpha, sigma2 = target.schedule.alpha(logsnr), target.schedule.sigma2(logsnr)
    variance = alpha**2 * target._variances + sigma2
    scale = xi(target.schedule, logsnr_t, logsnr)
    centre = (
        target.basis.coordinates(x_t).flatten(1) / target.schedule.transition(logsnr_t, logsnr)[0]
    )
    means = (scale * alpha * target._centres + variance * centre[:, None]) / (scale + variance)
    return target._vector(means.flatten(0, 1)).view(len(x_t), -1, *target.shape)


def _draw(target, x_t, logsnr_t, logsnr, seeds, j: int) -> Tensor:
    """A draw of p(x_s|x_t, k) for a random component k of the posterior."""
    streams = Streams(seeds, f"mode start {j}")
    cumulative = target.responsibilities(x_t, logsnr_t).cumsum(1)
    k = (streams.uniform((1,)) > cumulative).sum(1).clamp(max=cumulative.shape[1] - 1)
    means = posterior_means(target, x_t, logsnr_t, logsnr)[torch.arange(len(x_t)), k]
    alpha, sigma2 = target.schedule.alpha(logsnr), target.schedule.sigma2(logsnr)
    variance = (alpha**2 * target._variances + sigma2)[k]
    scale = xi(target.schedule, logsnr_t, logsnr)
    spread = (variance * scale / (variance + scale)).sqrt()
    return means + target._vector(spread * streams.normal((target.dimensions,)))
