"""Trackers: the log-density of samples of the reverse SDE, recorded while they are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from cartoonists.density.ancestral import AncestralKernel, Look, ancestral_path
from cartoonists.density.posterior import Posterior, spaced_grid
from cartoonists.density.stein import known_posterior, needed_posterior
from cartoonists.paths.divergence import Derivatives, Divergence, NoDivergence
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
    sample; seeds: one per sample; error ``[n]``, nats: of the ancestral chain the change of
    log_density when the same points are joined by steps twice as long, of Euler–Maruyama its
    distance from the path ratio over the same points (`PathRatio`), None without a posterior.
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


class PathRatio(Divergence):
    """Evaluate the score alone, and add up the ancestral path ratio over the points asked for.

    The ratio `AncestralKernel.log_ratio` of any two points needs only the score at the first.
    Where the kernel is exact, as for a Gaussian that is diagonal in its basis, the sum is
    ``log p(x_n) - log p(x_0)`` whatever path joins them: it tells how far another tracker is off.
    (Joined steps cannot tell: they share the path, and with it the bias of Euler–Maruyama.)
    """

    cost = 1

    def __init__(self, kernel: AncestralKernel):
        self.kernel = kernel
        self.total: Tensor | float = 0.0
        self._last: Look | None = None

    def __call__(self, model, x, logsnr, projected=False):
        score = model.score(x, logsnr)
        self.until(x, logsnr)
        self._last = self.kernel.seen(x, float(logsnr), score)
        return Derivatives(score)

    def until(self, x: Tensor, logsnr: float) -> Tensor | float:
        """Add the step from the last point to x; the sum so far, ``[n]``, nats."""
        if self._last is not None:
            z = self.kernel.basis.coordinates(x)
            self.total = self.total + self.kernel.log_ratio(self._last, z, logsnr)
        return self.total


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
        known = known_posterior(model, posterior) if track else None
        check = None if known is None else PathRatio(AncestralKernel(model, known, "diagonal"))
        path = integrate(
            ReverseSDE(model.schedule), model, x, log_density, grid, check or NoDivergence(), seeds,
            solver="euler", noise=noise, callback=callback,
        )  # fmt: skip
        if check is None:
            return path
        ratio = check.until(path.x, grid[-1])
        return replace(path, error=(path.log_density - log_density - ratio).abs())
    raise ValueError(f"method: {method!r} found, allowed: {', '.join(METHODS)}")
