"""Score models: closed-form densities and networks behind one interface.

Tensors are ``[batch, *shape]`` in float64; λ is a float or a 0-d tensor; log-densities are in nats.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cartoonists.paths.bases import Basis, Pixels
from cartoonists.paths.schedules import NoiseSchedule, RectifiedFlow, Time
from cartoonists.paths.streams import Streams, sample_seeds


class NonFiniteScore(FloatingPointError):
    """A score model returned NaN or infinity for the samples of ``seeds``, at ``logsnr``."""

    def __init__(self, seeds: Sequence[int], logsnr: float):
        self.seeds = list(seeds)
        more = f", and for {len(seeds) - 1} more" if len(seeds) > 1 else ""
        where = f"the sample with seed {seeds[0]} at logSNR {logsnr:.4g}"
        super().__init__(f"score: not finite for {where}{more}")


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each sample, ``[batch]``."""
    return (a * b).flatten(1).sum(1, dtype=torch.float64)


def _gradient_of_second_derivative(score: Tensor, x: Tensor, i: int) -> Tensor:
    """∇ ∂_i s_i of each sample, given ``score`` as a function of ``x`` in autograd's graph."""
    (row,) = torch.autograd.grad(score.flatten(1)[:, i].sum(), x, create_graph=True)
    second = row.flatten(1)[:, i].sum()
    if not second.requires_grad:  # a linear score
        return torch.zeros_like(x)
    return torch.autograd.grad(second, x, retain_graph=True, materialize_grads=True)[0]


class ScoreModel(ABC):
    """``s(x, λ) = ∇ log p_λ(x)`` on samples of a fixed shape, with its noise schedule."""

    shape: tuple[int, ...]
    schedule: NoiseSchedule
    posterior: Any = None  # a `stein.Posterior` that the model carries

    @property
    def dimensions(self) -> int:
        return math.prod(self.shape)

    @abstractmethod
    def score(self, x: Tensor, logsnr: Time) -> Tensor:
        """∇ log p_λ(x), ``[batch, *shape]``."""

    @abstractmethod
    def score_and_hvp(self, x: Tensor, logsnr: Time, v: Tensor) -> tuple[Tensor, Tensor]:
        """The score and the product of its Jacobian with v, ``∇² log p_λ(x) v``."""

    def denoise(self, x: Tensor, logsnr: Time) -> Tensor:
        """Posterior mean ``E[x_0|x_λ] = (x + σ² s)/α`` (Tweedie's formula; Efron, 2011)."""
        sigma2, alpha = self.schedule.sigma2(logsnr), self.schedule.alpha(logsnr)
        return (x + sigma2 * self.score(x, logsnr)) / alpha

    def laplacian(self, x: Tensor, logsnr: Time) -> Tensor:
        """Δ = tr ∇² log p_λ(x), ``[batch]``, exactly: one Hessian-vector product a dimension."""
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for i in range(self.dimensions):
            v = torch.zeros_like(x)
            v.flatten(1)[:, i] = 1.0
            total += _dot(v, self.score_and_hvp(x, logsnr, v)[1])
        return total

    def _score(self, x: Tensor, logsnr: Time) -> Tensor:
        """The score as a function that autograd can follow."""
        return self.score(x, logsnr)

    def laplacian_gradient(self, x: Tensor, logsnr: Time) -> Tensor:
        """∇Δ = ∇ tr ∇² log p_λ(x), ``[batch, *shape]``: two reverse passes a dimension.

        The third derivatives of a network must exist: smooth activations (SiLU, not ReLU).
        """
        total = torch.zeros_like(x)
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            score = self._score(x, logsnr)
            for i in range(self.dimensions):
                total += _gradient_of_second_derivative(score, x, i)
        return total

    def prior_variance(self) -> float:
        """Variance of x at logsnr_min for data of unit variance, α² + σ²."""
        return float(self.schedule.power(self.schedule.logsnr_min))

    @property
    def end_scale(self) -> float:
        """Scale of x at logsnr_max, √(α² + σ²): 1 for VP; for a flow about 1 - σ, a noise less."""
        return math.sqrt(float(self.schedule.power(self.schedule.logsnr_max)))

    def prepare(self, x: Tensor) -> Tensor:
        """Convert x to the dtype and device of the state between evaluations."""
        return x.double()

    def sample_prior(self, streams: Streams) -> Tensor:
        """Draw x at logsnr_min: N(0, α² + σ²) in each coordinate."""
        return self.prepare(streams.normal(self.shape) * math.sqrt(self.prior_variance()))

    def prior_log_prob(self, x: Tensor) -> Tensor:
        """Log-density of the distribution that ``sample_prior`` draws from, ``[batch]``, nats."""
        variance = self.prior_variance()
        constant = self.dimensions * math.log(2 * math.pi * variance)
        return -0.5 * (_dot(x, x) / variance + constant)


def check_points(model: ScoreModel, x: Tensor) -> None:
    """Raise ValueError unless x ``[n, *shape]`` are points of a model's space, in real numbers."""
    if tuple(x.shape[1:]) != model.shape:
        raise ValueError(
            f"x: samples of shape {tuple(x.shape[1:])} found, the model's are {model.shape}"
        )
    if not x.is_floating_point():
        raise ValueError(
            f"x: {str(x.dtype).removeprefix('torch.')} found, allowed: floating-point numbers in "
            "model space (the model's from_pixels makes them of grey levels)"
        )


class ClosedForm(ScoreModel):
    """A density that is known at every λ, with its derivatives up to the third."""

    basis: Basis

    @abstractmethod
    def log_prob(self, x: Tensor, logsnr: Time | None = None) -> Tensor:
        """log p_λ(x), ``[batch]``, nats; λ = logsnr_max where none is given."""

    @abstractmethod
    def hessian_diagonal(self, x: Tensor, logsnr: Time) -> Tensor:
        """Diagonal of ∇² log p_λ in ``self.basis``, ``[batch, *shape]``."""

    @abstractmethod
    def _draw(self, streams: Streams, logsnr: Time) -> Tensor:
        """One draw of p_λ for each stream."""

    def sample(self, n: int, seed: int = 0, logsnr: Time | None = None) -> Tensor:
        """n draws of p_λ, ``[n, *shape]``; λ = logsnr_max where none is given."""
        logsnr = self.schedule.logsnr_max if logsnr is None else logsnr
        return self._draw(Streams(sample_seeds(seed, n), "mixture"), logsnr)

    def sample_prior(self, streams: Streams) -> Tensor:
        """Draw x from the exact marginal at logsnr_min."""
        return self._draw(streams, self.schedule.logsnr_min)

    def prior_log_prob(self, x: Tensor) -> Tensor:
        """Exact log-density at logsnr_min."""
        return self.log_prob(x, self.schedule.logsnr_min)


class GaussianMixture(ClosedForm):
    """Mixture of Gaussians diffused in closed form: ``p_λ = Σ_k w_k N(α m_k, α² V_k + σ²)``.

    weights ``[K]`` (normalised here), means ``[K, *shape]``, variances ``[K]`` (isotropic) or
    ``[K, *shape]`` (diagonal in ``basis``; the means are given in ordinary coordinates).

    Raises ValueError for shapes that do not fit, negative weights, or variances not above zero.
    """

    def __init__(
        self, weights, means, variances, schedule: NoiseSchedule, basis: Basis | None = None
    ):
        weights, means, variances = (
            torch.as_tensor(a, dtype=torch.float64) for a in (weights, means, variances)
        )
        k = len(means)
        if weights.shape != (k,) or not (weights >= 0).all() or not weights.sum() > 0:
            raise ValueError(f"weights: expected {k} values of at least 0, not all 0")
        if variances.shape not in ((k,), means.shape):
            raise ValueError(
                f"variances: shape {tuple(variances.shape)} found, "
                f"allowed {(k,)} or {tuple(means.shape)}"
            )
        if not (variances > 0).all():
            raise ValueError(f"variances: {variances.min().item()} found, allowed: above 0")
        self.schedule = schedule
        self.shape = tuple(means.shape[1:])
        self.basis = basis or Pixels()
        self.means = means
        self.weights = weights / weights.sum()
        self._log_weights = self.weights.log()
        self._centres = self.basis.coordinates(means).flatten(1)  # [K, D]
        flat = variances.flatten(1) if variances.ndim > 1 else variances[:, None]
        self._variances = flat.expand(k, self._centres.shape[1])  # [K, D]

    def _components(self, x: Tensor, logsnr: Time):
        """Log responsibilities [n, K], component scores [n, K, D], precisions [K, D], log p [n]."""
        alpha, sigma2 = self.schedule.alpha(logsnr), self.schedule.sigma2(logsnr)
        variance = alpha**2 * self._variances + sigma2
        z = self.basis.coordinates(x).flatten(1)
        difference = z[:, None, :] - alpha * self._centres
        scores = -difference / variance
        log_norm = (2 * math.pi * variance).log().sum(1)
        log_joint = self._log_weights - 0.5 * (log_norm - (difference * scores).sum(2))
        log_prob = torch.logsumexp(log_joint, dim=1)
        return log_joint - log_prob[:, None], scores, 1 / variance, log_prob

    def log_prob(self, x: Tensor, logsnr: Time | None = None) -> Tensor:
        """log p_λ(x), ``[batch]``, nats; λ = logsnr_max where none is given."""
        logsnr = self.schedule.logsnr_max if logsnr is None else logsnr
        return self._components(x, logsnr)[3]

    def _mix(self, log_resp: Tensor, values: Tensor) -> Tensor:
        return torch.einsum("nk,nkd->nd", log_resp.exp(), values)

    def _vector(self, z: Tensor) -> Tensor:
        return self.basis.vector(z.view(-1, *self.shape))

    def score(self, x: Tensor, logsnr: Time) -> Tensor:
        log_resp, scores, _, _ = self._components(x, logsnr)
        return self._vector(self._mix(log_resp, scores))

    def responsibilities(self, x: Tensor, logsnr: Time) -> Tensor:
        """Posterior probability of each component, ``[batch, K]``."""
        return self._components(x, logsnr)[0].exp()

    def laplacian(self, x: Tensor, logsnr: Time) -> Tensor:
        """Δ = Σ_k r_k (|s_k|² - Σ_i 1/V_ki) - |s|²."""
        log_resp, scores, precision, _ = self._components(x, logsnr)
        inner = scores.square().sum(2) - precision.sum(1)
        return (log_resp.exp() * inner).sum(1) - self._mix(log_resp, scores).square().sum(1)

    def hessian_diagonal(self, x: Tensor, logsnr: Time) -> Tensor:
        """Diagonal of ∇² log p_λ in ``self.basis``, ``[batch, *shape]``."""
        log_resp, scores, precision, _ = self._components(x, logsnr)
        diagonal = self._mix(log_resp, scores.square() - precision)
        return (diagonal - self._mix(log_resp, scores).square()).view_as(x)

    def score_and_hvp(self, x: Tensor, logsnr: Time, v: Tensor) -> tuple[Tensor, Tensor]:
        log_resp, scores, precision, _ = self._components(x, logsnr)
        u = self.basis.coordinates(v).flatten(1)
        score = self._mix(log_resp, scores)
        along = (scores * u[:, None]).sum(2, keepdim=True)
        product = self._mix(log_resp, scores * along - precision * u[:, None])
        product = product - score * (score * u).sum(1, keepdim=True)
        return self._vector(score), self._vector(product)

    def laplacian_gradient(self, x: Tensor, logsnr: Time) -> Tensor:
        """∇Δ = Σ_k r_k [(s_k - s)(|s_k|² - tr P_k) - 2 P_k s_k] - 2 H s, P_k the precisions."""
        log_resp, scores, precision, _ = self._components(x, logsnr)
        score = self._mix(log_resp, scores)
        inner = (scores.square().sum(2) - precision.sum(1))[..., None]
        terms = (scores - score[:, None]) * inner - 2 * precision * scores
        product = self.score_and_hvp(x, logsnr, self._vector(score))[1]
        return self._vector(self._mix(log_resp, terms)) - 2 * product

    def hessian(self, x: Tensor, logsnr: Time) -> Tensor:
        """∇² log p_λ(x) in ordinary coordinates, ``[batch, D, D]``."""
        eye = torch.eye(self.dimensions, dtype=torch.float64)
        columns = [
            self.score_and_hvp(x, logsnr, e.view(1, *self.shape).expand_as(x))[1].flatten(1)
            for e in eye
        ]
        return torch.stack(columns, dim=2)

    def _draw(self, streams: Streams, logsnr: Time) -> Tensor:
        alpha, sigma2 = self.schedule.alpha(logsnr), self.schedule.sigma2(logsnr)
        cumulative = self.weights.cumsum(0)
        component = torch.searchsorted(cumulative, streams.uniform(()), right=True)
        component = component.clamp(max=len(cumulative) - 1)
        scale = (alpha**2 * self._variances[component] + sigma2).sqrt()
        noise = streams.normal((self.dimensions,))
        return self._vector(alpha * self._centres[component] + scale * noise)


class Gaussian(GaussianMixture):
    """One Gaussian: mean ``[*shape]``; variance a number or ``[*shape]``, diagonal in ``basis``."""

    def __init__(self, mean, variance, schedule: NoiseSchedule, basis: Basis | None = None):
        mean = torch.as_tensor(mean, dtype=torch.float64)
        variance = torch.as_tensor(variance, dtype=torch.float64)
        super().__init__([1.0], mean[None], variance[None], schedule, basis)


def _score_from_eps(output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return -output / sigma


def _score_from_x0(output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return (alpha * output - x) / sigma**2


def _score_from_v(output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """``v = α ε - σ x_0`` (Salimans & Ho, 2022); for α² + σ² = 1, ε = α v + σ x."""
    return -(alpha * output + sigma * x) / sigma


def _score_from_velocity(output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """``v = ε - x_0`` (Liu et al., 2023); for α + σ = 1, ε = x + α v, and x_0 = x - σ v."""
    return -(x + alpha * output) / sigma


HEADS = {
    "eps": _score_from_eps,
    "x0": _score_from_x0,
    "v": _score_from_v,
    "velocity": _score_from_velocity,
}


def _check_head(head: str, schedule: NoiseSchedule) -> None:
    """Raise ValueError for an unknown head, and for one that the schedule does not allow."""
    if head not in HEADS:
        raise ValueError(f"head: {head!r} found, allowed: {', '.join(HEADS)}")
    if head == "v":
        schedule.check_preserving("head 'v'")
    if head == "velocity" and not isinstance(schedule, RectifiedFlow):
        found = type(schedule).__name__
        raise ValueError(f"schedule: {found} found, allowed with head 'velocity': RectifiedFlow")


class NetworkScore(ScoreModel):
    """A network of any head as a score model.

    ``network(x, logsnr)`` takes float32 ``[batch, *shape]`` and λ ``[batch]`` and returns the
    head's output; head is *eps*, *x0* (an EDM denoiser is x0 under VE), *v* (VP only) or *velocity*
    (``ε - x_0``, RectifiedFlow only).
    The state stays in float64, on the CPU, around a network in float32, unless
    `models.execution` sets otherwise; only what enters and leaves the network travels to its
    device.  ``batch_size`` bounds the memory of one call and changes results only by the network's
    floating-point noise.

    Raises ValueError for an unknown head, or for one that does not belong to the schedule.
    """

    def __init__(self, network, shape, schedule: NoiseSchedule, head="eps", batch_size=128):
        _check_head(head, schedule)
        if batch_size < 1:
            raise ValueError(f"batch_size: {batch_size} found, allowed: 1 or more")
        self.network = network
        self.shape = tuple(shape)
        self.schedule = schedule
        self.head = head
        self.batch_size = batch_size
        self.posterior = None  # the model's Stein table, filled by cartoonists.density.stein
        self.device, self.state = torch.device("cpu"), torch.float64
        self.autocast: torch.dtype | None = None  # of the network alone; None is float32

    def prepare(self, x: Tensor) -> Tensor:
        return x.to(self.state)

    def _score(self, x: Tensor, logsnr: Time) -> Tensor:
        level = torch.as_tensor(logsnr, dtype=torch.float32, device=self.device).expand(len(x))
        reduced = self.autocast is not None
        with torch.autocast(self.device.type, self.autocast, enabled=reduced):
            output = self.network(x.to(self.device, torch.float32), level).to(x)
        alpha, sigma = self.schedule.alpha(logsnr), self.schedule.sigma(logsnr)
        return HEADS[self.head](output, x, alpha, sigma)

    def score(self, x: Tensor, logsnr: Time) -> Tensor:
        with torch.no_grad():
            return torch.cat([self._score(part, logsnr) for part in x.split(self.batch_size)])

    def score_and_hvp(self, x: Tensor, logsnr: Time, v: Tensor) -> tuple[Tensor, Tensor]:
        """Score and vᵀJ by one vector-Jacobian product (a network's J is only nearly symmetric)."""
        parts = zip(x.split(self.batch_size), v.split(self.batch_size), strict=True)
        pairs = [self._score_and_vjp(a, logsnr, b) for a, b in parts]
        return torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs])

    def _score_and_vjp(self, x: Tensor, logsnr: Time, v: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            score = self._score(x, logsnr)
            (product,) = torch.autograd.grad(score, x, v)
        return score.detach(), product
