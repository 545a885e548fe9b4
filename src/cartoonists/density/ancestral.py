"""The reverse chain of Gaussian kernels, and the path ratio that tracks its log-density."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cartoonists.density.posterior import Posterior
from cartoonists.paths.bases import Pixels
from cartoonists.paths.processes import per_sample
from cartoonists.paths.scores import ScoreModel, _dot
from cartoonists.paths.solvers import Callback, Halving, Path, check_finite
from cartoonists.paths.streams import Streams

COVARIANCES = ("diagonal", "isotropic", "per-sample", "none")
LEARNT = ("diagonal", "isotropic")  # asks for a posterior


@dataclass(frozen=True)
class Look:
    """One network evaluation at z: x̂_0 in the basis and the c of `AncestralKernel`."""

    z: Tensor
    logsnr: float
    denoised: Tensor
    variance: Tensor | float  # [*shape], a number, or one value a sample


class AncestralKernel:
    """The Gaussian reverse kernel ``p(x_μ|x_λ) = N(m, diag τ²)`` and its ratio to the forward one.

    With the forward kernel ``q(x_λ|x_μ) = N(a x_μ, v I)``, in the posterior's orthonormal basis,

        m = a (σ_μ²/σ_λ²) x_λ + k x̂_0,   k = α_μ v/σ_λ²,   τ_i² = v σ_μ²/σ_λ² + k² c_i.

    m and τ² are the first two moments of the exact posterior (diagonally), so one step is exact for
    a Gaussian that is diagonal in the basis.  c_i: *diagonal* from the posterior, *isotropic* its
    mean, *per-sample* from one Hutchinson probe of the Hessian's trace, or *none*, zero (the
    smaller of the two variances of Ho et al., 2020).  Raises ValueError where the covariance needs
    a posterior and none is given.
    """

    def __init__(self, model: ScoreModel, posterior: Posterior | None, covariance: str):
        if covariance not in COVARIANCES:
            raise ValueError(f"covariance: {covariance!r} found, allowed: {', '.join(COVARIANCES)}")
        if posterior is None and covariance in LEARNT:
            raise ValueError(f"posterior: none given, covariance {covariance!r} needs one")
        self.model, self.posterior, self.covariance = model, posterior, covariance
        self.basis = posterior.basis if posterior is not None else Pixels()
        self.nfe = 0

    def look(self, z: Tensor, logsnr: float, seeds) -> "Look":
        """Evaluate the network at coordinates z.  Raises NonFiniteScore."""
        self.nfe += 1
        x = self.basis.vector(z)
        score, probed = self._score(x, logsnr, seeds)
        check_finite(score, seeds, logsnr)
        return self.seen(x, logsnr, score, probed)

    def seen(self, x: Tensor, logsnr: float, score: Tensor, variance=None) -> "Look":
        """The look at x where the score is known already; ``variance``: c, where it is too."""
        sigma2, alpha = self.model.schedule.sigma2(logsnr), self.model.schedule.alpha(logsnr)
        z = self.basis.coordinates(x)
        denoised = self.basis.coordinates((x + sigma2 * score) / alpha)
        if variance is None:
            variance = self._variance(z, logsnr, denoised)
        return Look(z, logsnr, denoised, variance)

    def _score(self, x: Tensor, logsnr: float, seeds) -> tuple[Tensor, Tensor | float | None]:
        """The score and, where the covariance is *per-sample*, the variance that a probe finds."""
        model = self.model
        if self.covariance != "per-sample":
            return model.score(x, logsnr), None
        sigma2, alpha = model.schedule.sigma2(logsnr), model.schedule.alpha(logsnr)
        probe = Streams(seeds, f"probe {logsnr:.9g}").rademacher(model.shape).to(x)
        score, product = model.score_and_hvp(x, logsnr, probe)
        ratio = 1 + sigma2 * _dot(probe, product) / model.dimensions
        return score, per_sample((ratio * sigma2 / alpha**2).clamp_min(0), x)

    def _variance(self, z: Tensor, logsnr: float, denoised: Tensor) -> Tensor:
        if self.covariance == "none" or self.posterior is None:
            return torch.zeros((), dtype=torch.float64, device=z.device)
        if self.covariance == "diagonal":
            return self.posterior.variance(z, logsnr, denoised)
        return self.posterior.mean_variance(z, logsnr)

    def moments(self, at: "Look", cleaner: float) -> tuple[Tensor, Tensor]:
        """Mean ``[n, *shape]`` and variance (broadcastable to it) of x_μ given x_λ."""
        schedule = self.model.schedule
        ratio, variance = schedule.transition(at.logsnr, cleaner)
        shrink = schedule.sigma2(cleaner) / schedule.sigma2(at.logsnr)
        gain = schedule.alpha(cleaner) * variance / schedule.sigma2(at.logsnr)
        mean = ratio * shrink * at.z + gain * at.denoised
        return mean, variance * shrink + gain**2 * at.variance

    def draw(
        self, at: "Look", cleaner: float, noise: Streams, track: bool
    ) -> tuple[Tensor, Tensor]:
        """Draw x_μ from x_λ; returns it and the log-ratio of ``log_ratio`` (0 if untracked)."""
        mean, variance = self.moments(at, cleaner)
        xi = noise.normal(self.model.shape).to(at.z)
        cleaned = mean + variance.sqrt() * xi
        if not track:
            return cleaned, torch.zeros(len(at.z), dtype=torch.float64, device=at.z.device)
        log_reverse = _log_normal(_sum_of_squares(xi), variance, at.z)
        return cleaned, log_reverse - self._log_forward(at.z, cleaned, at.logsnr, cleaner)

    def noise(self, z: Tensor, noisier: float, cleaner: float, noise: Streams) -> Tensor:
        """Draw x_λ from x_μ by the forward kernel."""
        ratio, variance = self.model.schedule.transition(noisier, cleaner)
        return ratio * z + variance.sqrt() * noise.normal(self.model.shape).to(z)

    def log_ratio(self, at: "Look", z_clean: Tensor, cleaner: float) -> Tensor:
        """``log p(x_μ|x_λ) - log q(x_λ|x_μ)`` of a given pair, ``[n]``, nats."""
        mean, variance = self.moments(at, cleaner)
        standardised = (z_clean - mean) / variance.sqrt()
        log_reverse = _log_normal(_sum_of_squares(standardised), variance, z_clean)
        return log_reverse - self._log_forward(at.z, z_clean, at.logsnr, cleaner)

    def _log_forward(self, z_noisy, z_clean, noisier, cleaner) -> Tensor:
        ratio, variance = self.model.schedule.transition(noisier, cleaner)
        squares = _sum_of_squares(torch.add(z_noisy, z_clean, alpha=-float(ratio)))
        return _log_normal(squares / variance, variance, z_clean)


def path_log_ratios(
    policy: AncestralKernel,
    reference: AncestralKernel,
    x: Tensor,
    grid: Sequence[float],
    noise: Streams,
) -> tuple[Tensor, Tensor]:
    """x_μ at the end of a path of ``policy`` and ``log p(x_μ|x_λ)/p_ref(x_μ|x_λ)`` of its steps.

    ``[n, *shape]`` and ``[steps, n]``, nats; their sum over steps is the log-ratio of the whole
    path, as the policy gradients of Black et al. (2023) and Fan et al. (2023) need it, and its mean
    over paths of the policy the divergence KL(p ‖ p_ref) of paths, at least that of what they end
    in.  x ``[n, *shape]`` lies at ``grid[0]``; the grid rises.  One evaluation of each network a
    step.  Both kernels have one posterior, so that their variances cancel and the ratio is that of
    two means.  Raises ValueError where they have two.
    """
    if policy.posterior is not reference.posterior or policy.covariance != reference.covariance:
        raise ValueError("reference: another posterior than the policy's found, allowed: the same")
    z, ratios = policy.basis.coordinates(x), []
    for noisier, cleaner in zip(grid[:-1], grid[1:], strict=True):
        at, other = (k.look(z, noisier, noise.seeds) for k in (policy, reference))
        z = policy.draw(at, cleaner, noise, track=False)[0]
        ratios.append(policy.log_ratio(at, z, cleaner) - reference.log_ratio(other, z, cleaner))
    return policy.basis.vector(z), torch.stack(ratios)


def _sum_of_squares(z: Tensor) -> Tensor:
    """|z|² of each sample, ``[n]``, summed in double precision."""
    return torch.linalg.vector_norm(z.flatten(1), dim=1, dtype=torch.float64).square()


def _log_normal(squares: Tensor, variance: Tensor, like: Tensor) -> Tensor:
    """Log-density of a normal from |standardised|², without -½ D log 2π (it cancels).

    A variance that all samples share (a number, or one a coordinate) is summed once for all.
    """
    logs = variance.log().double()
    if logs.ndim < like.ndim:
        log_det = logs.sum() * (like[0].numel() / logs.numel())
    else:
        log_det = logs.expand_as(like).flatten(1).sum(1)
    return -0.5 * (squares + log_det)


def ancestral_path(
    kernel: AncestralKernel,
    x: Tensor,
    log_density: Tensor,
    grid: Sequence[float],
    noise: Streams,
    track: bool = True,
    callback: Callback | None = None,
    watch: Callable[[Look, Tensor, Tensor], None] | None = None,
) -> Path:
    """Run the ancestral chain along a rising grid, adding the path ratio to ``log_density``.

    ``error``: how far the path ratio moves when the same points are joined by steps twice as long,
    ``p(x_{k+2}|x_k)``, for which the network has been evaluated already.  ``watch`` is given what
    the network saw before each step, with the log-density there and its error.
    """
    z = kernel.basis.coordinates(x)
    start = kernel.nfe
    halving = Halving(log_density)
    for noisier, cleaner in zip(grid[:-1], grid[1:], strict=True):
        at = kernel.look(z, noisier, noise.seeds)
        if watch is not None:
            watch(at, log_density, halving.error(log_density))
        z, change = kernel.draw(at, cleaner, noise, track)
        log_density = log_density + change
        if track:
            halving.add(at, change, lambda since, z=z, to=cleaner: kernel.log_ratio(since, z, to))
        if callback is not None:
            callback(cleaner, kernel.basis.vector(z), log_density)
    if not track:
        log_density = torch.full_like(log_density, math.nan)
    error = halving.error(log_density)
    return Path(kernel.basis.vector(z), log_density, kernel.nfe - start, error)
