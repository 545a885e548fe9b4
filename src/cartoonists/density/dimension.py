"""Local intrinsic dimension from the score: how many directions a point's neighbourhood has."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cartoonists.paths.bases import Basis
from cartoonists.paths.divergence import default_divergence, make_divergence
from cartoonists.paths.schedules import Time
from cartoonists.paths.scores import ScoreModel, _dot, check_points
from cartoonists.paths.solvers import check_finite
from cartoonists.paths.streams import sample_seeds


@dataclass(frozen=True)
class LocalDimension:
    """FLIPD and what it holds of the score: ``dimension`` and ``scaled_square`` |σ s|², ``[n]``.

    log p holds |s|² as well (for a Gaussian nothing else varies), so that it has to be taken out of
    both before a correlation of the two says anything of dimensions.
    """

    dimension: Tensor
    scaled_square: Tensor


def local_intrinsic_dimension(
    model: ScoreModel,
    x: Tensor,
    logsnr: Time,
    divergence: str | None = None,
    seed: int = 0,
    *,
    seeds: Sequence[int] | None = None,
    probes: int = 1,
    basis: Basis | None = None,
) -> Tensor:
    """``LID(x) = D + σ² (Δ log p_λ + |∇ log p_λ|²)`` at ``α x`` (Kamkari et al., 2024, FLIPD).

    In VE scaling, y = x_λ/α with noise ς = σ/α = exp(-λ/2), it is ``D + ∂ log p_ς(x)/∂ log ς``
    (heat equation); near a manifold of d dimensions ``log p_ς`` grows as ``(d - D) log ς``.  The
    factors of α cancel, so the formula is the same for every schedule.

    x ``[n, *shape]`` in data space (no noise is added); λ sets the scale ς below which structure
    does not count.  Returns ``[n]``, a number of dimensions: it is an estimate, and neither an
    integer nor confined to 0 … D.  ``divergence`` *exact* (one derivative pass a
    dimension for a network; the default for closed forms) or *hutchinson* (for networks), with
    ``probes`` probes of sample i drawn from ``seeds[i]``, by default seed + i.  Raises ValueError
    for a λ outside the model's range, NonFiniteScore.
    """
    return local_dimension(
        model, x, logsnr, divergence, seed, seeds=seeds, probes=probes, basis=basis
    ).dimension


def local_dimension(
    model: ScoreModel,
    x: Tensor,
    logsnr: Time,
    divergence: str | None = None,
    seed: int = 0,
    *,
    seeds: Sequence[int] | None = None,
    probes: int = 1,
    basis: Basis | None = None,
) -> LocalDimension:
    """`local_intrinsic_dimension` and |σ s|² of one evaluation; arguments and errors alike."""
    model.schedule.check(float(logsnr), "logsnr")
    check_points(model, x)
    if divergence == "none":
        raise ValueError("divergence: 'none' found, allowed: exact, hutchinson")
    seeds = sample_seeds(seed, len(x)) if seeds is None else list(seeds)
    divergence = divergence or default_divergence(model)
    estimator = make_divergence(divergence, seeds, probes, basis)
    at = estimator(model, model.schedule.alpha(logsnr).to(x.device) * x.double(), logsnr)
    check_finite(at.score, seeds, float(logsnr))
    sigma2 = model.schedule.sigma2(torch.as_tensor(logsnr)).to(x.device)
    square = sigma2 * _dot(at.score, at.score)
    return LocalDimension(model.dimensions + sigma2 * at.laplacian + square, square)
