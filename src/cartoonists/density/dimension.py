"""Local intrinsic dimension from the score: how many directions a point's neighbourhood has."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cartoonists.paths.bases import Basis
from cartoonists.paths.divergence import default_divergence, make_divergence
from cartoonists.paths.schedules import Time
from cartoonists.paths.scores import ScoreModel, _dot, check_points
from cartoonists.paths.solvers import check_finite
from cartoonists.paths.streams import sample_seeds


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
    return model.dimensions + sigma2 * (at.laplacian + _dot(at.score, at.score))
