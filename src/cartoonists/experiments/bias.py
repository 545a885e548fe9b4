"""The bias of tracked log-densities: by how much r_0 exceeds log p of the process that was sampled.

A score s_θ that is not the gradient of the density of its own reverse SDE gives (Karczewski et al.,
2024, section 3), with p^SDE_λ the density of the samples at λ,

    r_0 = log p^SDE_0(x_0) + X,   E X = ½ ∫ g² E|s_θ - ∇ log p^SDE_λ|² dλ ≥ 0.

The chain of the ancestral tracker has the same in discrete form, at any number of steps:
``E r - E log p^N = KL(p^N(path) ‖ p^N(x_0) q(path|x_0)) ≥ 0``.  With `elbo` below: a sandwich.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import integrate as quadrature
from torch import Tensor

from cartoonists.density.likelihood import LowerBound
from cartoonists.density.posterior import Posterior
from cartoonists.density.tracking import TrackedSamples, track_reverse_sde
from cartoonists.paths.bases import Pixels
from cartoonists.paths.schedules import NoiseSchedule, Time, uniform_grid
from cartoonists.paths.scores import ScoreModel
from cartoonists.statistics.summaries import with_gaps

FINE = 512  # steps at which the exact bias of the chain is extrapolated
SMALLEST_VARIANCE = (
    1e-12  # of x_0 given x_λ, relative to exp(-λ): a wrong slope can make it negative
)


class PerturbedGaussian(ScoreModel):
    """``s_θ(x, λ) = (ε - 1/v_λ) x`` for data N(0, v0 I), ``v_λ = α² v0 + σ²``: wrong by εx.

    Its reverse SDE stays Gaussian, so everything about its bias is known.
    Raises ValueError unless v0 > 0 and dimensions ≥ 1.
    """

    def __init__(self, dimensions: int, v0: float, epsilon: float, schedule: NoiseSchedule):
        if not v0 > 0:
            raise ValueError(f"v0: {v0} found, allowed: above 0")
        if dimensions < 1:
            raise ValueError(f"dimensions: {dimensions} found, allowed: 1 or more")
        self.shape, self.v0, self.epsilon, self.schedule = (dimensions,), v0, epsilon, schedule
        self.posterior = LinearPosterior(self)

    def slope(self, logsnr: Time) -> Tensor:
        """ε - 1/v_λ, a scalar."""
        alpha, sigma2 = self.schedule.alpha(logsnr), self.schedule.sigma2(logsnr)
        return self.epsilon - 1 / (alpha**2 * self.v0 + sigma2)

    def score(self, x, logsnr):
        return self.slope(logsnr) * x

    def score_and_hvp(self, x, logsnr, v):
        return self.slope(logsnr) * x, self.slope(logsnr) * v

    def prior_variance(self) -> float:
        """v at logsnr_min, the exact marginal there."""
        return 1 / (self.epsilon - self.slope(self.schedule.logsnr_min).item())


class LinearPosterior(Posterior):
    """Cov[x_0|x_λ] that the slope of the score implies, ``(1 + σ² ∂s) exp(-λ)``, not below zero."""

    def __init__(self, model: PerturbedGaussian):
        self.model, self.basis = model, Pixels()

    def variance(self, z, logsnr, denoised):
        return self.mean_variance(z, logsnr)

    def mean_variance(self, z, logsnr):
        ratio = 1 + self.model.schedule.sigma2(logsnr) * self.model.slope(logsnr)
        inverse_snr = torch.exp(-torch.as_tensor(logsnr, dtype=torch.float64))
        return ratio.clamp_min(SMALLEST_VARIANCE) * inverse_snr


@dataclass(frozen=True)
class Prediction:
    """E X in nats and the variance of each coordinate of the samples at logsnr_max."""

    bias: float
    variance: float


def predicted_bias(model: PerturbedGaussian) -> Prediction:
    """E X of the continuous process by adaptive quadrature (scipy's DOP853).

    With w the variance of a coordinate under the reverse SDE and h the slope of s_θ,
    ``dw/dλ = 2(f + g² h) w + g²`` and ``dE X/dλ = ½ g² D (h + 1/w)² w``, from w = v at logsnr_min.
    """
    schedule = model.schedule

    def rates(logsnr, state):
        f, g2 = schedule.f(logsnr).item(), schedule.g2(logsnr).item()
        h, w = model.slope(logsnr).item(), state[0]
        return [2 * (f + g2 * h) * w + g2, 0.5 * g2 * model.dimensions * (h + 1 / w) ** 2 * w]

    span = (schedule.logsnr_min, schedule.logsnr_max)
    start = [model.prior_variance(), 0.0]
    end = quadrature.solve_ivp(rates, span, start, method="DOP853", rtol=1e-9, atol=1e-12).y[:, -1]
    return Prediction(float(end[1]), float(end[0]))


def chain_bias(model: PerturbedGaussian, steps: int) -> Prediction:
    """E X of the ancestral chain of ``steps`` steps, exactly.

    All kernels of the chain are linear Gaussian:
    ``x_μ = m x_λ + τ ξ`` has variance ``w_μ = m² w_λ + τ²``; then E X is a sum of expected logs of
    normal densities, and the difference to `predicted_bias` is discretisation error alone.
    """
    schedule = model.schedule
    grid = uniform_grid(schedule.logsnr_min, schedule.logsnr_max, steps)
    w = prior = model.prior_variance()
    total = -0.5 * (math.log(prior) + 1)  # E log p_T; the constants -½ log 2π cancel throughout
    for noisier, cleaner in zip(grid[:-1], grid[1:], strict=True):
        gain, noise = _kernel(model, noisier, cleaner)
        ratio, variance = (value.item() for value in schedule.transition(noisier, cleaner))
        square = (1 - ratio * gain) ** 2 * w + ratio**2 * noise  # E (x_λ - a x_μ)²
        total += -0.5 * (math.log(noise) + 1) + 0.5 * (math.log(variance) + square / variance)
        w = gain**2 * w + noise
    return Prediction(model.dimensions * (total + 0.5 * (math.log(w) + 1)), w)


def chain_limit(model: PerturbedGaussian, steps: int = FINE) -> float:
    """E X of the ancestral chain in the limit of small steps, without sampling.

    Richardson's extrapolation of `chain_bias` at ``steps / 4``, ``steps / 2`` and ``steps``, whose
    error has the orders 1 and 2 of the step.
    """
    coarse, half, fine = (chain_bias(model, n).bias for n in (steps // 4, steps // 2, steps))
    first, second = 2 * half - coarse, 2 * fine - half
    return (4 * second - first) / 3


def _kernel(model: PerturbedGaussian, noisier: float, cleaner: float) -> tuple[float, float]:
    """m and τ² of ``x_μ = m x_λ + τ ξ`` (the moments of ``AncestralKernel`` for a linear score)."""
    schedule = model.schedule
    ratio, variance = schedule.transition(noisier, cleaner)
    sigma2 = schedule.sigma2(noisier)
    shrink = schedule.sigma2(cleaner) / sigma2
    weight = schedule.alpha(cleaner) * variance / sigma2
    denoiser = (1 + sigma2 * model.slope(noisier)) / schedule.alpha(noisier)
    covariance = model.posterior.mean_variance(torch.zeros(1), noisier)
    mean = ratio * shrink + weight * denoiser
    return mean.item(), (variance * shrink + weight**2 * covariance).item()


def euler_variance(model: PerturbedGaussian, steps: int) -> float:
    """Variance of a coordinate of Euler–Maruyama's samples at logsnr_max, exactly."""
    schedule = model.schedule
    grid = uniform_grid(schedule.logsnr_min, schedule.logsnr_max, steps)
    w = model.prior_variance()
    for start, stop in zip(grid[:-1], grid[1:], strict=True):
        f, g2, h = (value.item() for value in (
            schedule.f(start), schedule.g2(start), model.slope(start)
        ))  # fmt: skip
        w = (1 + (stop - start) * (f + g2 * h)) ** 2 * w + (stop - start) * g2
    return w


def measured_bias(
    model: PerturbedGaussian, n: int, steps: int, method: str = "ancestral", seed: int = 0
) -> Tensor:
    """X of n samples: tracked log-density minus the log-density of the sampled chain, nats.

    method *ancestral* or *euler-maruyama*; each chain's own Gaussian density is known.
    """
    run = track_reverse_sde(model, n, steps, method, seed)
    chain = chain_bias(model, steps).variance
    variance = chain if method == "ancestral" else euler_variance(model, steps)
    squares = run.x.square().sum(1) / variance
    log_density = -0.5 * (squares + model.dimensions * math.log(2 * math.pi * variance))
    return run.log_density - log_density


METHODS = ("ancestral", "euler-maruyama")


def closed_form_bias(
    epsilons: Sequence[float],
    variances: Sequence[float],
    *,
    dimensions: int,
    n: int,
    steps: int,
    schedule: NoiseSchedule,
    seed: int = 0,
) -> pd.DataFrame:
    """Predicted and measured E X over a grid of ε and v0, a row each, for both trackers; nats.

    ``measured_nats`` ± standard error is at ``steps`` steps, ``half_steps_nats`` at half of them;
    ``extrapolated_nats`` = 2 measured - half (Richardson; both trackers are of first order) is
    compared with ``predicted_nats`` of the continuous process.  ``discretisation_nats`` is what the
    steps added: exact for the ancestral chain (its own E X is known), measured for
    Euler–Maruyama.  ``chain_limit_nats`` is the ancestral chain's own E X without sampling,
    extrapolated to no step (`chain_limit`); NaN for Euler–Maruyama.
    """
    cases = [(e, v, method) for e in epsilons for v in variances for method in METHODS]
    rows = []
    for i, (epsilon, v0, method) in enumerate(cases):  # seeds of its own for every row
        model = PerturbedGaussian(dimensions, v0, epsilon, schedule)
        rows.append(_bias_row(model, method, n, steps, seed + 2 * n * i))
    return pd.DataFrame(rows)


def _bias_row(model: PerturbedGaussian, method: str, n: int, steps: int, seed: int) -> dict:
    predicted = predicted_bias(model).bias
    full = measured_bias(model, n, steps, method, seed).numpy()
    half = measured_bias(model, n, steps // 2, method, seed + n).numpy()
    extrapolated = 2 * full.mean() - half.mean()
    error = math.hypot(2 * _standard_error(full), _standard_error(half))
    ancestral = method == "ancestral"
    chain = chain_bias(model, steps).bias if ancestral else full.mean()
    return {
        "epsilon": model.epsilon,
        "v0": model.v0,
        "tracker": method,
        "dimensions": model.dimensions,
        "n_samples": n,
        "steps": steps,
        "predicted_nats": predicted,
        "measured_nats": full.mean(),
        "measured_standard_error_nats": _standard_error(full),
        "half_steps_nats": half.mean(),
        "discretisation_nats": chain - predicted,
        "extrapolated_nats": extrapolated,
        "extrapolated_standard_error_nats": error,
        "deviation_in_standard_errors": (extrapolated - predicted) / error,
        "chain_limit_nats": chain_limit(model) if ancestral else math.nan,
    }


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def sandwich(tracked: TrackedSamples, bounds: LowerBound) -> pd.DataFrame:
    """Upper and lower estimates of log p^N of the same samples, one row per seed, in nats.

    ``E r ≥ E log p^N ≥ E IWAE-K ≥ E ELBO`` over samples of the chain, if tracker and bounds used
    the same grid and posterior; no further assumption.  ``width_nats`` = r - IWAE holds log p^N
    between them; the mean of ``excess_nats`` = r - ELBO is the sum of the two KL divergences of
    paths.
    Raises ValueError where the numbers of samples differ.
    """
    if len(tracked.log_density) != len(bounds.elbo):
        raise ValueError(
            f"bounds: {len(bounds.elbo)} found, expected one a sample, {len(tracked.log_density)}"
        )
    columns = {
        "seed": list(tracked.seeds),
        "tracked_nats": tracked.log_density.cpu().numpy(),
        "iwae_nats": bounds.iwae.cpu().numpy(),
        "elbo_nats": bounds.elbo.cpu().numpy(),
    }
    return with_gaps(pd.DataFrame(columns))
