"""Log-densities of given or sampled points: PF-ODE in both directions, ELBO and IWAE, bits/dim."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cartoonists.density.ancestral import AncestralKernel
from cartoonists.density.posterior import Posterior, spaced_grid
from cartoonists.density.stein import needed_posterior
from cartoonists.paths.bases import Basis
from cartoonists.paths.divergence import HutchinsonDivergence
from cartoonists.paths.flow_error import FlowError
from cartoonists.paths.numerics import Numerics
from cartoonists.paths.processes import ProbabilityFlow
from cartoonists.paths.schedules import check_grid
from cartoonists.paths.scores import ScoreModel, check_points
from cartoonists.paths.solvers import Callback, Halving, integrate, integrate_adaptive
from cartoonists.paths.streams import Streams, sample_seeds

LEAST_ORDER = {"euler": 1, "heun": 2, "rk4": 4, "adams": 2, "exponential": 2}
FAR = 3.0  # standard deviations of |z|², above which a path's end z is none of the prior's


@dataclass(frozen=True)
class Likelihood:
    """Points and their log-densities by the PF-ODE.

    x ``[n, *shape]``; log_density ``[n]``, nats, at logsnr_max; nfe: network evaluations a sample,
    an int on a fixed grid and a tensor ``[n]`` from an adaptive solver (without the halving of
    paths that ran off); error ``[n]``, nats, where it was asked for: of the path's own evaluations
    (`FlowError`), or of step halving.
    """

    x: Tensor
    log_density: Tensor
    nfe: int | Tensor
    error: Tensor | None = None


def ode_log_density(
    model: ScoreModel,
    x: Tensor,
    steps: int = 64,
    solver: str = "heun",
    divergence: str | None = None,
    seed: int = 0,
    *,
    seeds=None,
    probes: int = 1,
    basis: Basis | None = None,
    posterior: Posterior | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    grid=None,
    error: bool = False,
    callback: Callback | None = None,
) -> Likelihood:
    """The log-density of given points under the PF-ODE, at logsnr_max, in nats.

    The PF-ODE is integrated from the data to the noise: ``log p(x) = log p_T(x_T) + ∫ ∇·u dλ``
    (Chen et al., 2018; Song et al., 2021, equation 39).  x ``[n, *shape]``.  Sample i draws its
    probes from ``seeds[i]``, by default seed + i.  divergence *exact*, *hutchinson*, *difference*
    or *none*, by default exact for closed forms and Hutchinson's for networks.
    solver *euler*, *heun*, *rk4*, *exponential* or *adams* (the last two with one evaluation a
    step, *adams* the best of all) on a fixed ``grid``, or *dopri5* with adaptive steps (each sample
    by itself, with kept probes).  The grid is uniform unless it is given or a ``posterior`` spaces
    it; a posterior also sets the basis of the probes.  ``error=True`` tells the error, the noise of
    the probes included: of *adams* with probes from its own evaluations (`FlowError`); of any other
    solver, or where the trace is exact, by integrating again on every second point of the grid, for
    half as many evaluations, |fine - coarse|/(2^p - 1) (Richardson), p the solver's least order.
    Where the noise z that a path ends in has ``|z|² > D + 3 √(2D)``, so is none of the prior's, a
    network may have been asked for scores of points that it never saw, and small errors grow: of
    these paths alone the error is at least |fine - coarse|.
    Raises ValueError for wrong shapes, types, names or grids, NonFiniteScore.
    """
    schedule = model.schedule
    check_points(model, x)
    seeds = _seeds(seed, seeds, len(x))
    x = model.prepare(x)
    numerics = Numerics(solver, divergence, probes, _probe_basis(basis, posterior), rtol, atol)
    if grid is None:
        grid = spaced_grid(posterior, schedule.logsnr_max, schedule.logsnr_min, steps)
    check_grid(schedule, [*grid][::-1])

    if not error:
        return Likelihood(x, *_encoded(model, x, grid, numerics, seeds, callback)[:2])
    if watched := _watched(model, numerics, seeds):
        callback = watched.then(callback)
        log_density, nfe, noise = _encoded(model, x, grid, numerics, seeds, callback, watched)
        told = watched.error()
        if far := _far(model, noise):
            its = [seeds[i] for i in far]
            coarse, *_ = _encoded(model, x[far], _every_second(grid, solver), numerics, its)
            told[far] = torch.maximum(told[far], (log_density[far] - coarse).abs())
        return Likelihood(x, log_density, nfe, told)
    coarse, more, _ = _encoded(model, x, _every_second(grid, solver), numerics, seeds)
    log_density, nfe, _ = _encoded(model, x, grid, numerics, seeds, callback)
    change = (log_density - coarse).abs()
    return Likelihood(x, log_density, nfe + more, change / (2 ** LEAST_ORDER[solver] - 1))


def _encoded(model, x, grid, numerics: Numerics, seeds, callback=None, estimator=None):
    """Log-density at the start of a path to the noise, evaluations, and the noise."""
    zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    noise, change, nfe = _flow(model, x, zero, grid, numerics, seeds, callback, estimator)
    return model.prior_log_prob(noise) - change, nfe, noise


def _watched(model: ScoreModel, numerics: Numerics, seeds) -> FlowError | None:
    """What tells the error of this integration as it goes, None where nothing does."""
    if numerics.solver != "adams":
        return None
    estimator = numerics.estimator(model, seeds)
    return FlowError(estimator) if isinstance(estimator, HutchinsonDivergence) else None


def _far(model: ScoreModel, noise: Tensor) -> list[int]:
    """Which of these are not the prior's noise: |z|² more than `FAR` standard deviations high."""
    # the prior's log-density is that of its middle less |z|²/2
    squared = 2 * (model.prior_log_prob(torch.zeros_like(noise)) - model.prior_log_prob(noise))
    dimensions = noise[0].numel()
    return (squared > dimensions + FAR * (2 * dimensions) ** 0.5).nonzero().flatten().tolist()


def _every_second(grid, solver: str) -> list[float]:
    if solver == "dopri5":
        raise ValueError("error: step halving needs a fixed grid, solver 'dopri5' chooses its own")
    if len(grid) < 3:
        raise ValueError(f"steps: {len(grid) - 1} found, step halving needs 2 or more")
    return [*grid[:-1:2], grid[-1]]


def sample_ode(
    model: ScoreModel,
    n: int,
    steps: int = 64,
    solver: str = "exponential",
    divergence: str | None = None,
    seed: int = 0,
    *,
    seeds=None,
    x_prior: Tensor | None = None,
    probes: int = 1,
    basis: Basis | None = None,
    posterior: Posterior | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    grid=None,
    callback: Callback | None = None,
) -> Likelihood:
    """Sample by the PF-ODE and track the log-density of each sample, in nats at logsnr_max.

    The path starts from drawn noise or from ``x_prior`` ``[n, *shape]``, at logsnr_min.  Solvers,
    grids and probes as in `ode_log_density`; towards the data few long steps are stable with
    *exponential* alone.
    """
    schedule = model.schedule
    seeds = _seeds(seed, seeds, n)
    x = model.sample_prior(Streams(seeds, "prior")) if x_prior is None else x_prior
    check_points(model, x)
    numerics = Numerics(solver, divergence, probes, _probe_basis(basis, posterior), rtol, atol)
    if grid is None:
        grid = spaced_grid(posterior, schedule.logsnr_min, schedule.logsnr_max, steps)
    check_grid(schedule, grid)
    start = model.prior_log_prob(x)
    end, log_density, nfe = _flow(model, x, start, grid, numerics, seeds, callback)
    return Likelihood(end, log_density, nfe)


def _probe_basis(basis: Basis | None, posterior: Posterior | None) -> Basis | None:
    return posterior.basis if basis is None and posterior is not None else basis


def _flow(model, x, log_density, grid, numerics: Numerics, seeds, callback, estimator=None):
    process = ProbabilityFlow(model.schedule)
    if numerics.solver == "dopri5":
        kept = [numerics.estimator(model, [seed], fresh=False) for seed in seeds]
        return integrate_adaptive(
            process, model, x, log_density, grid[0], grid[-1], kept, seeds,
            rtol=numerics.rtol, atol=numerics.atol,
        )  # fmt: skip
    path = integrate(
        process, model, x, log_density, grid, estimator or numerics.estimator(model, seeds), seeds,
        solver=numerics.solver, callback=callback,
    )  # fmt: skip
    return path.x, path.log_density, path.nfe


@dataclass(frozen=True)
class LowerBound:
    """Lower bounds on the log-density of each point: ``elbo`` ≤ ``iwae`` in expectation.

    Both ``[n]``, nats; nfe: network evaluations a sample; error ``[n]``, nats: the change of the
    ELBO when the same paths are walked in steps twice as long.
    """

    elbo: Tensor
    iwae: Tensor
    nfe: int
    error: Tensor


def elbo(
    model: ScoreModel,
    x: Tensor,
    steps: int = 64,
    paths: int = 8,
    seed: int = 0,
    *,
    seeds=None,
    posterior: Posterior | None = None,
    covariance: str = "diagonal",
    grid=None,
) -> LowerBound:
    """Lower bounds (ELBO, IWAE) on log p^N(x), the density of the ancestral chain at logsnr_max.

    Each path noises x with the forward kernels and sums ``log p(x_μ|x_λ) - log q(x_λ|x_μ)`` over
    its steps and ``log p_T(x_T)`` at its end; call the sum w.  ``E w`` is the ELBO, and ``log mean
    exp w`` over K = ``paths`` paths is the IWAE bound (Burda et al., 2016, equation 8).
    """
    if paths < 1:
        raise ValueError(f"paths: {paths} found, allowed: 1 or more")
    schedule = model.schedule
    check_points(model, x)
    seeds = _seeds(seed, seeds, len(x))
    posterior = needed_posterior(model, posterior, covariance)
    if grid is None:
        grid = spaced_grid(posterior, schedule.logsnr_min, schedule.logsnr_max, steps)
    check_grid(schedule, grid)
    kernel = AncestralKernel(model, posterior, covariance)
    x = model.prepare(x)
    weights, errors = [], []
    streams = Streams(seeds, "forward")
    for _ in range(paths):
        z = kernel.basis.coordinates(x)
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        halving = Halving(total)
        for noisier, cleaner in zip(grid[-2::-1], grid[:0:-1], strict=True):
            z_noisy = kernel.noise(z, noisier, cleaner, streams)
            at = kernel.look(z_noisy, noisier, seeds)
            change = kernel.log_ratio(at, z, cleaner)
            total = total + change
            halving.add(
                (z, cleaner), change, lambda since, at=at: kernel.log_ratio(at, since[0], since[1])
            )
            z = z_noisy
        errors.append(halving.error(total))
        weights.append(total + model.prior_log_prob(kernel.basis.vector(z)))
    stacked = torch.stack(weights)
    iwae = torch.logsumexp(stacked, dim=0) - math.log(paths)
    error = torch.stack(errors).mean(0)
    return LowerBound(stacked.mean(0), iwae, paths * (len(grid) - 1), error)


def bits_per_dim(log_density: Tensor, dimensions: int, log_pixels_per_unit: float) -> Tensor:
    """Convert log-densities to bits per dimension of uniformly dequantised images.

    ``bits = -(log p(x) - log|d pixel/dx|)/(D log 2)``.      ``log_density`` in nats in model
    space; ``log_pixels_per_unit`` is the log-determinant of the map from model space to grey
    levels (``PixelScaling.log_pixels_per_unit``), D log(256 std) for one channel: one grey level
    is a bin of width 1 (Theis et al., 2016, section 3.1).
    """
    return -(log_density - log_pixels_per_unit) / (dimensions * math.log(2))


def _seeds(seed: int, seeds, n: int):
    seeds = sample_seeds(seed, n) if seeds is None else list(seeds)
    if len(seeds) != n:
        raise ValueError(f"seeds: {len(seeds)} found, expected one a sample, {n}")
    return seeds
