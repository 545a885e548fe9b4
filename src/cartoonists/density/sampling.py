"""High-density sampling: the reverse SDE to a switch point, then the HD-ODE."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cartoonists.density.posterior import Posterior
from cartoonists.density.tracking import reverse_sde_path
from cartoonists.paths.bases import Basis
from cartoonists.paths.numerics import Numerics
from cartoonists.paths.processes import HighDensityODE
from cartoonists.paths.schedules import NoiseSchedule, uniform_grid
from cartoonists.paths.scores import ScoreModel
from cartoonists.paths.solvers import Path, integrate
from cartoonists.paths.streams import Streams, sample_seeds

DEFAULT = Numerics("exponential")


@dataclass(frozen=True)
class HighDensitySamples:
    """High-density samples with their tracked log-densities.

    x ``[n, *shape]`` and log_density ``[n]``, nats, at logsnr_max; x_switch and
    log_density_switch: the point x_t at the switch, where the HD-ODE took over; nfe: network
    evaluations a sample; error_switch ``[n]``, nats: the step-halving error of log_density_switch,
    None where no step was taken before the switch.
    """

    x: Tensor
    log_density: Tensor
    x_switch: Tensor
    log_density_switch: Tensor
    nfe: int
    seeds: Sequence[int]
    error_switch: Tensor | None = None


def split_steps(schedule: NoiseSchedule, switch_logsnr: float, steps: int) -> tuple[int, int]:
    """Steps before and after the switch, in proportion to each stage's own range of λ."""
    span = schedule.logsnr_max - schedule.logsnr_min
    share = (switch_logsnr - schedule.logsnr_min) / span
    before = min(max(round(steps * share), 1), max(steps - 1, 1))
    return before, max(steps - before, 1)


def sample_high_density(
    model: ScoreModel,
    n: int = 256,
    steps: int = 64,
    switch_logsnr: float = 2.0,
    seed: int = 0,
    *,
    seeds=None,
    solver: str = "exponential",
    divergence: str | None = None,
    probes: int = 1,
    basis: Basis | None = None,
    posterior: Posterior | None = None,
    covariance: str = "diagonal",
) -> HighDensitySamples:
    """Draw high-density samples: the reverse SDE up to a switch point λ_t, then the HD-ODE.

    Algorithm 1 of Karczewski et al. (2024); the HD-ODE is ``dx = (f x + g² s) dλ``.  The
    log-density is tracked along both stages, in nats at logsnr_max: by the path ratio before the
    switch, by (★) after it.  The Laplacian in (★) is exact for closed forms and Hutchinson's
    estimate for networks, unless ``divergence`` names another (with *none* the log-density is
    NaN). Raises ValueError where the switch lies outside the range of λ; NonFiniteScore.
    """
    schedule = model.schedule
    schedule.check(switch_logsnr, "switch_logsnr")
    seeds = sample_seeds(seed, n) if seeds is None else list(seeds)
    path = sample_to_switch(model, steps, switch_logsnr, seeds, posterior, covariance)
    after = split_steps(schedule, switch_logsnr, steps)[1]
    end = follow_high_density(
        model, path.x, path.log_density, switch_logsnr, after, seeds,
        Numerics(solver, divergence, probes, basis),
    )  # fmt: skip
    return HighDensitySamples(
        end.x, end.log_density, path.x, path.log_density, path.nfe + end.nfe, seeds, path.error
    )


def sample_to_switch(
    model: ScoreModel,
    steps: int,
    switch_logsnr: float,
    seeds: Sequence[int],
    posterior: Posterior | None = None,
    covariance: str = "diagonal",
) -> Path:
    """The first stage: the reverse SDE from the prior to the switch, of ``steps`` over all of λ."""
    low = model.schedule.logsnr_min
    x = model.sample_prior(Streams(seeds, "prior"))
    log_density = model.prior_log_prob(x)
    if switch_logsnr == low:
        return Path(x, log_density, 0)
    grid = uniform_grid(low, switch_logsnr, split_steps(model.schedule, switch_logsnr, steps)[0])
    return reverse_sde_path(
        model, x, log_density, grid, seeds, posterior=posterior, covariance=covariance
    )


def follow_high_density(
    model: ScoreModel,
    x: Tensor,
    log_density: Tensor,
    switch_logsnr: float,
    steps: int,
    seeds: Sequence[int],
    numerics: Numerics = DEFAULT,
) -> Path:
    """Follow the HD-ODE from x at the switch to logsnr_max, tracking from ``log_density``."""
    schedule = model.schedule
    if switch_logsnr == schedule.logsnr_max:
        return Path(x, log_density, 0)
    process = HighDensityODE(schedule)
    return integrate(
        process, model, x, log_density, uniform_grid(switch_logsnr, schedule.logsnr_max, steps),
        numerics.estimator(model, seeds), seeds, solver=numerics.solver,
    )  # fmt: skip
