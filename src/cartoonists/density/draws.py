"""Draw samples in one of three ways, each with its log-density and the error of that."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cartoonists.density.guidance import sample_guided
from cartoonists.density.likelihood import LEAST_ORDER
from cartoonists.density.posterior import Posterior
from cartoonists.density.sampling import follow_high_density, sample_high_density, split_steps
from cartoonists.density.tracking import track_reverse_sde
from cartoonists.paths.numerics import Numerics
from cartoonists.paths.scores import ScoreModel
from cartoonists.paths.solvers import Callback

SOLVER = "exponential"  # of the ordinary differential equations


@dataclass(frozen=True)
class Draws:
    """Samples x ``[n, *shape]`` with log_density and its error, ``[n]``, nats, at logsnr_max.

    The error is of step halving; where the path has noise, that of one sample is as random as its
    path, and the root mean square over many tells how far the log-densities are off.  nfe: network
    evaluations a sample, those for the error included.
    """

    x: Tensor
    log_density: Tensor
    error: Tensor
    nfe: int


def draw_samples(
    model: ScoreModel,
    seeds: Sequence[int],
    steps: int = 64,
    *,
    switch_logsnr: float | None = None,
    strength: float | None = None,
    probes: int = 1,
    posterior: Posterior | None = None,
    callback: Callback | None = None,
) -> Draws:
    """Draw the sample of each seed and track its log-density, in nats at logsnr_max.

    Without ``switch_logsnr`` and ``strength`` by the ancestral chain (`track_reverse_sde`); with
    ``switch_logsnr`` by the HD-ODE from there on (`sample_high_density`; Karczewski et al., 2024,
    algorithm 1); with ``strength`` by density guidance (`sample_guided`), above 0 denser
    and below 0 less dense than the PF-ODE.

    ``posterior`` serves as in those functions.

    The chain estimates its error on its own path.  The differential equations are solved again
    from the same point in half as many steps, which gives |fine - coarse|/(2^p - 1), p the
    solver's order; it includes the noise of the probes and the change of the end point.
    Raises ValueError for both settings at once, fewer than 4 steps or wrong values, NonFiniteScore.
    """
    if switch_logsnr is not None and strength is not None:
        raise ValueError("strength: found with switch_logsnr, allowed: one of the two")
    if steps < 4:
        raise ValueError(f"steps: {steps} found, allowed: 4 or more")
    seeds = list(seeds)
    if switch_logsnr is not None:
        return _high_density(model, seeds, steps, switch_logsnr, probes, posterior)
    if strength is not None:
        return _guided(model, seeds, steps, strength, probes, posterior)
    run = track_reverse_sde(
        model, len(seeds), steps, seeds=seeds, posterior=posterior, callback=callback
    )
    return Draws(run.x, run.log_density, _present(run.error, run.log_density), run.nfe)


def _high_density(model, seeds, steps: int, switch: float, probes: int, posterior) -> Draws:
    run = sample_high_density(
        model, len(seeds), steps, switch, seeds=seeds, solver=SOLVER, probes=probes,
        posterior=posterior,
    )  # fmt: skip
    half = max(split_steps(model.schedule, switch, steps)[1] // 2, 1)
    coarse = follow_high_density(
        model, run.x_switch, run.log_density_switch, switch, half, seeds,
        Numerics(SOLVER, probes=probes),
    )  # fmt: skip
    error = _halved(run.log_density, coarse.log_density)
    error = error + _present(run.error_switch, run.log_density)
    return Draws(run.x, run.log_density, error, run.nfe + coarse.nfe)


def _guided(model, seeds, steps: int, strength: float, probes: int, posterior) -> Draws:
    fine, coarse = (
        sample_guided(
            model, len(seeds), n, strength, seeds=seeds, solver=SOLVER,
            probes=probes, posterior=posterior,
        )
        for n in (steps, steps // 2)
    )  # fmt: skip
    error = _halved(fine.log_density, coarse.log_density)
    return Draws(fine.x, fine.log_density, error, fine.nfe + coarse.nfe)


def _halved(fine: Tensor, coarse: Tensor) -> Tensor:
    return (fine - coarse).abs() / (2 ** LEAST_ORDER[SOLVER] - 1)


def _present(error: Tensor | None, log_density: Tensor) -> Tensor:
    """No stage with noise, no error of one."""
    return torch.zeros_like(log_density) if error is None else error
