"""Second derivatives of log p along a path: exactly, or by Hutchinson's estimator."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cartoonists.paths.bases import Basis, Pixels
from cartoonists.paths.schedules import Time
from cartoonists.paths.scores import ScoreModel, _dot
from cartoonists.paths.streams import Streams

STEP = 3e-3  # of a difference, in σ: measured in benchmarks/hutchinson_cost.py


@dataclass(frozen=True)
class Derivatives:
    """Score ``[batch, *shape]``, Δ = tr H and tr(PHP) ``[batch]`` at one point; H = ∇² log p_λ.

    P = I - s sᵀ/|s|² projects onto the directions orthogonal to the score.  A trace that was not
    computed is None.  ``products``: the probes v with H v, where probes estimated the traces.
    """

    score: Tensor
    laplacian: Tensor | None = None
    projected_laplacian: Tensor | None = None
    products: Sequence[tuple[Tensor, Tensor]] = ()


class Divergence(ABC):
    """How the second derivatives in formula (★) are computed.

    ``cost``: network evaluations that one call counts for.  An evaluation together with its
    vector-Jacobian product counts as one, though it takes about as long as two.
    """

    cost: int

    @abstractmethod
    def __call__(
        self, model: ScoreModel, x: Tensor, logsnr: Time, projected: bool = False
    ) -> Derivatives:
        """Score and traces at x."""


class NoDivergence(Divergence):
    """Compute the score alone: enough for the reverse SDE, where (★) has no Laplacian."""

    cost = 1

    def __call__(self, model, x, logsnr, projected=False):
        return Derivatives(model.score(x, logsnr))


class ExactDivergence(Divergence):
    """Compute the traces exactly: in closed form where known, else by D derivative passes."""

    cost = 1

    def __call__(self, model, x, logsnr, projected=False):
        score, laplacian = model.score(x, logsnr), model.laplacian(x, logsnr)
        if not projected:
            return Derivatives(score, laplacian)
        unit = _unit(score)
        along = _dot(unit, model.score_and_hvp(x, logsnr, unit)[1])
        return Derivatives(score, laplacian, laplacian - along)


class HutchinsonDivergence(Divergence):
    """Estimate the traces by random probes, ``tr H ≈ vᵀ H v`` (Hutchinson, 1989).

    v has independent entries ±1 (Rademacher), drawn anew at every evaluation. One probe has the
    variance ``2 Σ_{i≠j} H_ij²`` in the probes' basis, so the best basis is the one in which H is
    nearest to diagonal.  The estimate is the mean over ``probes`` probes.  With ``fresh=False``
    the same probes serve the whole path: adaptive solvers need that, at the price of far more
    noise in the result.  The same product gives ``tr(PHP) ≈ (P v)ᵀ H v``.
    """

    def __init__(
        self, streams: Streams, probes: int = 1, basis: Basis | None = None, fresh: bool = True
    ):
        if probes < 1:
            raise ValueError(f"probes: {probes} found, allowed: 1 or more")
        self.streams, self.probes, self.fresh = streams, probes, fresh
        self.basis = basis or Pixels()
        self.cost = probes
        self._kept: list[Tensor] = []

    def _draw(self, shape) -> list[Tensor]:
        if self._kept:
            return self._kept
        draws = [self.streams.rademacher(shape) for _ in range(self.probes)]
        vectors = [self.basis.vector(v) for v in draws]
        if not self.fresh:
            self._kept = vectors
        return vectors

    def _products(
        self, model: ScoreModel, x: Tensor, logsnr: Time, probes: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """The score, and H v of each probe."""
        pairs = [model.score_and_hvp(x, logsnr, v) for v in probes]
        return pairs[-1][0], [product for _, product in pairs]

    def __call__(self, model, x, logsnr, projected=False):
        probes = [v.to(x) for v in self._draw(model.shape)]
        score, products = self._products(model, x, logsnr, probes)
        mean = _mean_dot(probes, products)
        if not projected:
            return Derivatives(score, mean, products=list(zip(probes, products, strict=True)))
        unit = _unit(score)
        tangent = [v - unit * _dot(unit, v).view(-1, *[1] * len(model.shape)) for v in probes]
        return Derivatives(score, mean, _mean_dot(tangent, products))


class DifferenceDivergence(HutchinsonDivergence):
    """Estimate the traces by probes and differences: no derivative is taken.

    ``H v ≈ (s(x + h v) - s(x))/h`` with h = STEP σ.

    One call of the network on 1 + ``probes`` times the batch, and no stored activations.  The score
    is that of x itself; the error ``½ h Σ_ijk v_i v_j v_k ∂_k H_ij`` is odd in v: to first order in
    h, Rademacher probes add noise and no bias.  Rounding of a float32 network adds noise in
    proportion to 1/h; the rounding depends on the size of the batch.  Both are measured in
    docs/benchmarks.md, with the cost.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.cost = 1 + self.probes

    def _products(self, model, x, logsnr, probes):
        h = STEP * model.schedule.sigma(logsnr)
        points = torch.cat([x, *(x + h * v for v in probes)])
        score, *moved = model.score(points, logsnr).split(len(x))
        return score, [(there - score) / h for there in moved]


def _mean_dot(left: list[Tensor], right: list[Tensor]) -> Tensor:
    return torch.stack([_dot(a, b) for a, b in zip(left, right, strict=True)]).mean(0)


def _unit(score: Tensor) -> Tensor:
    norm = score.flatten(1).norm(dim=1).view(-1, *[1] * (score.ndim - 1))
    return score / norm.clamp_min(torch.finfo(score.dtype).tiny)


def default_divergence(model: ScoreModel) -> str:
    """*exact* for a model that has its Laplacian in closed form, else *hutchinson*.

    Without one an exact trace costs D derivative passes at every evaluation: days for one image.
    """
    return "hutchinson" if type(model).laplacian is ScoreModel.laplacian else "exact"


def make_divergence(
    kind: str, seeds, probes: int = 1, basis: Basis | None = None, fresh: bool = True
):
    """The `Divergence` of this name: *none*, *exact*, *hutchinson* or *difference*.

    Sample i draws its probes from a stream keyed by ``seeds[i]``.  Raises ValueError for other
    names.
    """
    if kind == "none":
        return NoDivergence()
    if kind == "exact":
        return ExactDivergence()
    if kind == "hutchinson":
        return HutchinsonDivergence(Streams(seeds, "probes"), probes, basis, fresh)
    if kind == "difference":
        return DifferenceDivergence(Streams(seeds, "probes"), probes, basis, fresh)
    raise ValueError(f"divergence: {kind!r} found, allowed: none, exact, hutchinson, difference")
