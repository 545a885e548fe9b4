"""Trackers: the log-density of samples of the reverse SDE, recorded while they are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cartoonists.density.ancestral import AncestralKernel, ancestral_path
from cartoonists.density.posterior import Posterior, spaced_grid
from cartoonists.density.stein import needed_posterior
from cartoonists.paths.divergence import NoDivergence
from cartoonists.paths.processes import ReverseSDE
from cartoonists.paths.schedules import check_grid
from cartoonists.paths.scores import ScoreModel
from cartoonists.paths.solvers import Callback, Path, integrate
from cartoonists.paths.streams import Streams, sample_seeds

METHODS = ("ancestral", "euler-maruyama")


@dataclass(frozen=True)
class TrackedSamples:
    """Samples of the reverse SDE and their tracked log-densities.

    x ``[n, *shape]`` and log_density ``[n]``, nats, both at logsnr_max; nfe: network evaluations a
    sample; seeds: one per sample; error ``[n]``, nats: the change of log_density when the same
    points are joined by steps twice as long, which estimates the error of a first-order tracker.
    """

    x: Tensor
    log_density: Tensor
    nfe: int
    seeds: Sequence[int]
    error: Tensor | None


def track_reverse_sde(
    model: ScoreModel,
    n: int = 256,
    steps: int = 64,
    method: str = "ancestral",
    seed: int = 0,
    *,
    seeds=None,
    posterior: Posterior | None = None,
    covariance: str = "diagonal",
    grid=None,
    track: bool = True,
    callback: Callback | None = None,
) -> TrackedSamples:
    """Sample the reverse SDE and track the log-density of each sample at logsnr_max, in nats.

    method *ancestral*: the chain of `AncestralKernel`.  Its tracked value r is the log-ratio of the
    reverse to the forward path, so ``E[r|x_0] - log p^N(x_0) = KL ≥ 0`` at any number of steps.
    method *euler-maruyama*: formula (★) with φ = g (Karczewski et al., 2024, theorem 1); its error
    falls only as 1/steps.
    Sample i has the seed ``seeds[i]``, by default seed + i, and depends on nothing else.
    Each step evaluates the network once.  The posterior spaces the steps unless ``grid`` is given.
    Raises ValueError for wrong arguments, NonFiniteScore.
    """
    schedule = model.schedule
    seeds = sample_seeds(seed, n) if seeds is None else list(seeds)
    x = model.sample_prior(Streams(seeds, "prior"))
    if method == "ancestral":
        posterior = needed_posterior(model, posterior, covariance)
    if grid is None:
        grid = spaced_grid(posterior, schedule.logsnr_min, schedule.logsnr_max, steps)
    check_grid(schedule, grid)
    path = reverse_sde_path(
        model, x, model.prior_log_prob(x), grid, seeds, method=method, posterior=posterior,
        covariance=covariance, track=track, callback=callback,
    )  # fmt: skip
    return TrackedSamples(path.x, path.log_density, path.nfe, seeds, path.error)


def reverse_sde_path(
    model: ScoreModel,
    x: Tensor,
    log_density: Tensor,
    grid: Sequence[float],
    seeds: Sequence[int],
    *,
    method: str = "ancestral",
    posterior: Posterior | None = None,
    covariance: str = "diagonal",
    track: bool = True,
    purpose: str = "path",
    callback: Callback | None = None,
) -> Path:
    """Continue the reverse SDE from x at grid[0] to grid[-1], tracking from ``log_density``."""
    noise = Streams(seeds, purpose)
    if method == "ancestral":
        posterior = needed_posterior(model, posterior, covariance)
        kernel = AncestralKernel(model, posterior, covariance)
        return ancestral_path(kernel, x, log_density, grid, noise, track, callback)
    if method == "euler-maruyama":
        return integrate(
            ReverseSDE(model.schedule), model, x, log_density, grid, NoDivergence(), seeds,
            solver="euler", noise=noise, callback=callback,
        )  # fmt: skip
    raise ValueError(f"method: {method!r} found, allowed: {', '.join(METHODS)}")
