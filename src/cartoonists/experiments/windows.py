"""Critical windows: the range of λ in which a feature of the sample is decided.

Noise x_0 to λ and denoise it again: the share that keeps its feature falls from 1 at large λ to
chance at small λ (Li & Chen, 2024).  Under the exact reverse SDE the second sample is a draw of
p(x_0|x_λ), so on a mixture component k is redrawn with probability r_k(x_λ), its posterior
probability, and

    share kept(λ) = E Σ_k r_k(x_λ)².

For two components that is 1 - 2 ∫ ab/(a + b) with a = w_1 p_1, b = w_2 p_2: their overlap.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cartoonists.density.modes import track_modes
from cartoonists.density.posterior import Posterior
from cartoonists.density.sampling import follow_high_density, split_steps
from cartoonists.density.tracking import reverse_sde_path, track_reverse_sde
from cartoonists.images.pictures import gradient_energy
from cartoonists.models.checkpoints import ImageModel
from cartoonists.models.classifier import Classifier
from cartoonists.paths.numerics import Numerics
from cartoonists.paths.schedules import NoiseSchedule, uniform_grid
from cartoonists.paths.scores import GaussianMixture, ScoreModel
from cartoonists.paths.streams import Streams

NODES = 64  # of the Gauss–Hermite rule


# --- noise and denoise ----------------------------------------------------------------------------


def renoise(model: ScoreModel, x: Tensor, logsnr: float, seeds: Sequence[int]) -> Tensor:
    """x_λ ~ q(x_λ | x at logsnr_max), ``[n, *shape]``; the noise belongs to the seed, not to λ."""
    model.schedule.check(logsnr, "logsnr")
    ratio, variance = model.schedule.transition(logsnr, model.schedule.logsnr_max)
    noise = Streams(seeds, "window noise").normal(model.shape).to(x)
    return ratio * x + variance.sqrt() * noise


def denoise_by_sde(
    model: ScoreModel,
    x: Tensor,
    logsnr: float,
    steps: int,
    seeds: Sequence[int],
    *,
    draw: int = 0,
    posterior: Posterior | None = None,
) -> Tensor:
    """A draw of p(x_0|x_λ) by the ancestral chain; ``steps`` are those of the whole range of λ.

    Draws of different number are independent given x_λ.
    """
    schedule = model.schedule
    grid = uniform_grid(logsnr, schedule.logsnr_max, split_steps(schedule, logsnr, steps)[1])
    zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    return reverse_sde_path(
        model, x, zero, grid, seeds, posterior=posterior, track=False,
        purpose=f"window draw {draw}",
    ).x  # fmt: skip


def denoise_by_hd(
    model: ScoreModel, x: Tensor, logsnr: float, steps: int, seeds: Sequence[int]
) -> Tensor:
    """The HD-ODE from x_λ to logsnr_max: the mode of p(x_0|x_λ), nearly.  Heun: two evaluations."""
    zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    after = split_steps(model.schedule, logsnr, steps)[1]
    untracked = Numerics(divergence="none")
    return follow_high_density(model, x, zero, logsnr, after, seeds, untracked).x


# --- predictions on mixtures ----------------------------------------------------------------------


@dataclass(frozen=True)
class LogRatio:
    """Mean and variance ``[K, K]`` of log(w_k p_k/(w_j p_j)) at λ for x drawn from component k."""

    mean: Tensor
    variance: Tensor


def log_ratio(target: GaussianMixture, logsnr: float) -> LogRatio:
    """Moments of the log-likelihood ratios of all pairs of components, in closed form.

    With ρ = V_k/V_j of the diffused variances and d the diffused distance of the means, coordinate
    by coordinate: mean ``½ Σ (ρ - 1 - log ρ + d²/V_j)``, the Kullback–Leibler divergence, plus
    log(w_k/w_j); variance ``Σ ½ (ρ - 1)² + V_k d²/V_j²``.
    """
    alpha, sigma2 = target.schedule.alpha(logsnr), target.schedule.sigma2(logsnr)
    variance = alpha**2 * target._variances + sigma2
    centres = alpha * target._centres
    ratio = variance[:, None] / variance[None]
    squares = (centres[:, None] - centres[None]).square() / variance[None]
    mean = 0.5 * (ratio - 1 - ratio.log() + squares).sum(2)
    log_weights = target.weights.log()
    mean = mean + log_weights[:, None] - log_weights[None]
    return LogRatio(mean, (0.5 * (ratio - 1).square() + ratio * squares).sum(2))


def redraw_probabilities(target: GaussianMixture, logsnr: float) -> Tensor:
    """Predicted P(redrawn as j | was k) ``[K, K]``, from the overlap of pairs alone.

    A pair by itself: ``ρ_kj = E sigmoid(-L)``, L the log-ratio under component k, taken as normal
    with the moments of `log_ratio` (exact for equal covariances) and integrated by Gauss–Hermite.
    Pairs are put together by their odds: ``T_kj ∝ ρ_kj/(1 - ρ_kj)``, ``T_kk ∝ 1``.  Exact for two
    components of equal covariance, and for any number in both limits, no overlap (identity) and
    full overlap (T_kj = w_j).  Ours; Li & Chen (2024) bound the window by
    total variations of pairs.
    """
    moments = log_ratio(target, logsnr)
    places, masses = np.polynomial.hermite_e.hermegauss(NODES)
    nodes, weights = torch.from_numpy(places), torch.from_numpy(masses / masses.sum())
    values = moments.mean[..., None] + moments.variance.sqrt()[..., None] * nodes
    switched = (torch.sigmoid(-values) * weights).sum(2)
    kept = (torch.sigmoid(values) * weights).sum(2)
    odds = switched / kept
    odds.fill_diagonal_(1.0)
    return odds / odds.sum(1, keepdim=True)


def predicted_share(
    target: GaussianMixture, logsnr: float, groups: Sequence[int] | None = None
) -> float:
    """Predicted share that keeps its component, or its group of components (a label each)."""
    labels = torch.arange(len(target.weights)) if groups is None else torch.as_tensor(groups)
    same = (labels[:, None] == labels[None]).double()
    return float((target.weights[:, None] * redraw_probabilities(target, logsnr) * same).sum())


def critical_window(
    target: GaussianMixture, groups: Sequence[int] | None = None, margin: float = 0.1
) -> tuple[float, float]:
    """The range of λ in which the predicted share rises from chance to 1.

    Its ends are where the share has covered ``margin`` and 1 - ``margin`` of that way, by
    bisection within the schedule's range.  Raises ValueError for a margin outside (0, ½).
    """
    if not 0 < margin < 0.5:
        raise ValueError(f"margin: {margin} found, allowed: between 0 and 0.5")
    labels = np.arange(len(target.weights)) if groups is None else np.asarray(groups)
    totals = [target.weights[torch.as_tensor(labels == g)].sum().item() for g in set(labels)]
    chance = sum(total**2 for total in totals)

    def progress(logsnr: float) -> float:
        return (predicted_share(target, logsnr, groups) - chance) / (1 - chance)

    return _crossing(progress, margin, target.schedule), _crossing(
        progress, 1 - margin, target.schedule
    )


def _crossing(rising: Callable[[float], float], level: float, schedule: NoiseSchedule) -> float:
    low, high = schedule.logsnr_min, schedule.logsnr_max
    while high - low > 1e-3:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if rising(middle) < level else (low, middle)
    return 0.5 * (low + high)


def peak_component(target: GaussianMixture, x: Tensor, logsnr: float) -> Tensor:
    """The component with the highest peak of p(x_0|x_λ), ``[n]``: where its mode is expected.

    ``argmax_k log r_k(x) - ½ Σ_i log τ_ki`` with τ_k = V_k σ²/(α² V_k + σ²), the posterior variance
    within component k; the peaks are taken one by one, which is right where they are apart.
    """
    alpha, sigma2 = target.schedule.alpha(logsnr), target.schedule.sigma2(logsnr)
    spread = target._variances * sigma2 / (alpha**2 * target._variances + sigma2)
    log_resp = target._components(x, logsnr)[0]
    return (log_resp - 0.5 * spread.log().sum(1)).argmax(1)


def component(target: GaussianMixture, x: Tensor) -> Tensor:
    """The component that a sample at logsnr_max belongs to, ``[n]``."""
    return target.responsibilities(x, target.schedule.logsnr_max).argmax(1)


def hierarchy(dimensions: int, schedule: NoiseSchedule, near: float = 6.0, far: float = 48.0):
    """Two groups of two components: mixture, and the group of each component.

    Equal weights and variances of 0.1; group means ``far`` standard deviations apart along the
    first axis, members ``near`` along the second.  Two features, decided in two windows.
    Raises ValueError below 2 dimensions.
    """
    if dimensions < 2:
        raise ValueError(f"dimensions: {dimensions} found, allowed: 2 or more")
    means = torch.zeros(4, dimensions, dtype=torch.float64)
    scale = 0.5 * 0.1**0.5
    means[:, 0] = scale * far * torch.tensor([-1.0, -1.0, 1.0, 1.0])
    means[:, 1] = scale * near * torch.tensor([-1.0, 1.0, -1.0, 1.0])
    return GaussianMixture([1.0] * 4, means, [0.1] * 4, schedule), [0, 0, 1, 1]


# --- tables ---------------------------------------------------------------------------------------


def mixture_windows(
    target: GaussianMixture,
    logsnrs: Sequence[float],
    seeds: Sequence[int],
    steps: int,
    groups: Sequence[int] | None = None,
    modes: bool = False,
) -> pd.DataFrame:
    """Which component each sample has after noising to λ and denoising, one row a sample and λ.

    ``kept_sde``, ``kept_hd``: whether the component (or its group) is the one it was;
    ``own_probability``: r of its own at x_λ, whose mean over samples is the exact share;
    ``predicted``: `predicted_share`; ``peak_missed``: the HD-ODE ended elsewhere than in the
    component with the highest peak; with ``modes``, ``branch_jumped``: the mode-tracking ODE from
    x_λ did not end in the highest mode (`track_modes` says not ok).
    """
    labels = torch.arange(len(target.weights)) if groups is None else torch.as_tensor(groups)
    x = target._draw(Streams(seeds, "mixture"), target.schedule.logsnr_max)
    own = labels[component(target, x)]
    tables = []
    for logsnr in logsnrs:
        noisy = renoise(target, x, logsnr, seeds)
        ends = [f(target, noisy, logsnr, steps, seeds) for f in (denoise_by_sde, denoise_by_hd)]
        sde, hd = (component(target, end) for end in ends)
        same = (labels[None] == own[:, None]).double()
        columns = {
            "seed": list(seeds),
            "logsnr": logsnr,
            "kept_sde": labels[sde] == own,
            "kept_hd": labels[hd] == own,
            "own_probability": (target.responsibilities(noisy, logsnr) * same).sum(1),
            "predicted": predicted_share(target, logsnr, groups),
            "peak_missed": hd != peak_component(target, noisy, logsnr),
        }
        if modes:
            modes_found = track_modes(target, noisy, logsnr, steps, seeds=seeds)
            columns["branch_jumped"] = (~modes_found.ok).double()  # NaN where not asked for
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def model_windows(
    model: ImageModel,
    classifier: Classifier,
    logsnrs: Sequence[float],
    seeds: Sequence[int],
    steps: int,
    posterior: Posterior | None = None,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Which class each of the model's own samples has after noising to λ and denoising.

    One row a sample and λ: ``label`` before, ``label_sde`` and ``label_again`` of two independent
    draws of p(x_0|x_λ), ``label_hd`` of the HD-ODE's end; ``gradient_energy`` of the first draw
    and ``hd_gradient_energy`` (grey levels a pixel).  If the model's chain were exact, the sample
    and both draws would be exchangeable given x_λ, so the share of agreeing draws predicts the
    share that keeps its class.  Also images uint8 ``[1 + 2k, n, c, h, w]``: the samples, then at
    each λ the first draw and the HD-ODE's end.
    """
    x = track_reverse_sde(model, steps=steps, seeds=seeds, posterior=posterior, track=False).x
    images = [model.finish(x).numpy()]
    label = classifier.labels(images[0])
    tables = []
    for logsnr in logsnrs:
        noisy = renoise(model, x, logsnr, seeds)
        draws = [
            denoise_by_sde(model, noisy, logsnr, steps, seeds, draw=i, posterior=posterior)
            for i in (0, 1)
        ]
        # Heun evaluates twice a step
        ends = [*draws, denoise_by_hd(model, noisy, logsnr, max(1, steps // 2), seeds)]
        pictures = [model.finish(end).numpy() for end in ends]
        columns = {"seed": list(seeds), "logsnr": logsnr, "label": label}
        for name, picture in zip(("sde", "again", "hd"), pictures, strict=True):
            columns[f"label_{name}"] = classifier.labels(picture)
        columns["gradient_energy"] = gradient_energy(pictures[0])
        columns["hd_gradient_energy"] = gradient_energy(pictures[2])
        tables.append(pd.DataFrame(columns))
        images += [pictures[0], pictures[2]]
    return pd.concat(tables, ignore_index=True), np.stack(images)
