"""Critical windows: the range of λ in which a feature of the sample is decided.

Noise x_0 to λ and denoise it again: the share that keeps its feature falls from 1 at large λ to
chance at small λ (Li & Chen, 2024).  Under the exact reverse SDE the second sample is a draw of
p(x_0|x_λ), so on a mixture component k is redrawn with probability r_k(x_λ), its posterior
probability, and

    share kept(λ) = E Σ_k r_k(x_λ)².

For two components that is 1 - 2 ∫ ab/(a + b) with a = w_1 p_1, b = w_2 p_2: their overlap.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import special
from torch import Tensor

from cartoonists.density.modes import track_modes
from cartoonists.density.posterior import Posterior
from cartoonists.density.sampling import follow_high_density, split_steps
from cartoonists.density.tracking import reverse_sde_path, track_reverse_sde
from cartoonists.experiments.theory import testbed
from cartoonists.images.pictures import gradient_energy
from cartoonists.models.checkpoints import ImageModel
from cartoonists.models.classifier import Classifier
from cartoonists.paths.numerics import Numerics
from cartoonists.paths.schedules import NoiseSchedule, uniform_grid
from cartoonists.paths.scores import GaussianMixture, ScoreModel
from cartoonists.paths.streams import Streams

NODES = 64  # of the Gauss–Hermite rule
REACH, NODES_ALONG = 9.0, 4001  # of the normal coordinate in `total_variations`
EQUAL = 1e-9  # relative difference of variances that are taken as one
MARGIN = 0.1  # ε of T_lower and T_upper


# --- noise and denoise ----------------------------------------------------------------------------


def renoise(model: ScoreModel, x: Tensor, logsnr: float, seeds: Sequence[int]) -> Tensor:
    """x_λ ~ q(x_λ | x at logsnr_max), ``[n, *shape]``; each seed reuses its noise at every λ."""
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
    """The HD-ODE from x_λ to logsnr_max: the mode of p(x_0|x_λ), nearly."""
    zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    after = split_steps(model.schedule, logsnr, steps)[1]
    untracked = Numerics("exponential", "none")
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
    full overlap (T_kj = w_j).  Ours; Li & Chen (2024) bound the window by total variations of pairs
    (`critical_window`).
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


# --- Li & Chen's windows --------------------------------------------------------------------------


def total_variations(target: GaussianMixture, logsnr: float) -> Tensor:
    """Total variation between every two components at λ, ``[K, K]``, of isotropic components.

    ``TV = P_k(p_k > p_j) + P_j(p_j > p_k) - 1``.  With d the distance of the diffused means in
    units of √V_k, u the normal coordinate along it and q the χ² of the D - 1 others, x drawn from
    component k has p_k > p_j where

        q (V_k/V_j - 1) > D log(V_k/V_j) + u² - (u + d)² V_k/V_j,

    so that the probability is an integral over u of a distribution of χ².
    Raises ValueError where a component is not isotropic.
    """
    if not (target._variances == target._variances[:, :1]).all():
        raise ValueError("variances: anisotropic components found, allowed: isotropic ones")
    alpha, sigma2 = target.schedule.alpha(logsnr), target.schedule.sigma2(logsnr)
    variances = (alpha**2 * target._variances[:, 0] + sigma2).tolist()
    distances = torch.cdist(alpha * target._centres, alpha * target._centres).tolist()
    own = np.full((len(variances),) * 2, 0.5)  # P_k(p_k > p_j)
    for k, j in np.ndindex(own.shape):
        if k != j:
            distance = distances[k][j] / math.sqrt(variances[k])
            own[k, j] = _more_likely(variances[k] / variances[j], distance, target.dimensions)
    return torch.from_numpy(own + own.T - 1)


def _more_likely(ratio: float, distance: float, dimensions: int) -> float:
    """P_k(p_k > p_j) for V_k/V_j = ``ratio`` and means ``distance`` √V_k apart."""
    if abs(ratio - 1) < EQUAL:
        return float(special.ndtr(distance / 2))
    u = np.linspace(-REACH, REACH, NODES_ALONG)
    least = (dimensions * math.log(ratio) + u**2 - (u + distance) ** 2 * ratio) / (ratio - 1)
    others = dimensions - 1
    beyond = special.chdtrc(others, np.maximum(least, 0)) if others else (least < 0).astype(float)
    weights = np.exp(-(u**2) / 2)
    return float((weights * (beyond if ratio > 1 else 1 - beyond)).sum() / weights.sum())


def critical_window(
    target: GaussianMixture, groups: Sequence[int], parents: Sequence[int], margin: float = MARGIN
) -> tuple[float, float]:
    """λ at T_lower and at T_upper of Li & Chen (2024): where a group is decided within its parent.

    ``groups`` and ``parents``: a label for each component.  T_lower: no two components of one
    parent are further apart than ``margin`` in total variation, so that the group is forgotten
    below this λ; T_upper: no two of different groups are nearer than 1 - ``margin``, so that it is
    kept above.  By bisection; NaN for an end that the schedule's range does not hold.
    Raises ValueError for a margin outside (0, ½), and as `total_variations`.
    """
    if not 0 < margin < 0.5:
        raise ValueError(f"margin: {margin} found, allowed: between 0 and 0.5")
    group, parent = torch.as_tensor(groups), torch.as_tensor(parents)
    related, foreign = parent[:, None] == parent[None], group[:, None] != group[None]
    return (
        _crossing(lambda t: total_variations(target, t)[related].max().item(), margin, target),
        _crossing(lambda t: total_variations(target, t)[foreign].min().item(), 1 - margin, target),
    )


def _crossing(rising: Callable[[float], float], level: float, target: GaussianMixture) -> float:
    low, high = target.schedule.logsnr_min, target.schedule.logsnr_max
    if not rising(low) < level < rising(high):
        return math.nan
    while high - low > 1e-3:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if rising(middle) < level else (low, middle)
    return 0.5 * (low + high)


def forgotten_share(
    target: GaussianMixture, groups: Sequence[int], parents: Sequence[int]
) -> float:
    """Share that keeps its group where the group is forgotten and the parent is not."""
    group, parent = torch.as_tensor(groups), torch.as_tensor(parents)
    inside = {label: target.weights[parent == label].sum().item() for label in set(parent.tolist())}
    return sum(
        target.weights[(group == g) & (parent == label)].sum().item() ** 2 / inside[label]
        for g, label in set(zip(group.tolist(), parent.tolist(), strict=True))
    )


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


def hierarchy(dimensions: int, schedule: NoiseSchedule, near: float = 6.0, far: float = 96.0):
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


@dataclass(frozen=True)
class Feature:
    """A feature of a mixture: the group of each component, and the parent that holds the groups."""

    target: GaussianMixture
    groups: Sequence[int]
    parents: Sequence[int]
    modes: bool = False  # whether the mode-tracking ODE is followed too

    @property
    def labels(self) -> Tensor:
        return torch.as_tensor(self.groups)


def features(dimensions: Sequence[int], schedule: NoiseSchedule) -> dict[str, Feature]:
    """Both levels of the `hierarchy` in the plane, and three components in each ``dimensions``."""
    nested, groups = hierarchy(2, schedule)
    found = {
        "2 × 2 components, D = 2: members": Feature(nested, range(4), groups, modes=True),
        "2 × 2 components, D = 2: groups": Feature(nested, groups, [0] * 4),
    }
    for size in dimensions:
        target = testbed("mixture", size, schedule)
        found[f"3 components, D = {size}"] = Feature(target, range(3), [0] * 3)
    return found


def predicted_windows(dimensions: Sequence[int], schedule: NoiseSchedule) -> pd.DataFrame:
    """`critical_window` and `forgotten_share` of `features`, a row each."""
    rows = []
    for name, feature in features(dimensions, schedule).items():
        of = (feature.target, feature.groups, feature.parents)
        lower, upper = critical_window(*of)
        columns = {"target": name, "t_lower_logsnr": lower, "t_upper_logsnr": upper}
        rows.append(columns | {"forgotten_share": forgotten_share(*of)})
    return pd.DataFrame(rows)


def mixture_windows(
    feature: Feature, logsnrs: Sequence[float], seeds: Sequence[int], steps: int, n_modes: int
) -> pd.DataFrame:
    """Which group each sample has after noising to λ and denoising, one row a sample and λ.

    ``kept_sde``: whether the group is the one it was;
    ``own_probability``: r of its own at x_λ, whose mean over samples is the exact share;
    ``predicted``: `predicted_share`.  Of the first ``n_modes`` seeds, else NaN: ``kept_hd``, as
    kept_sde by the HD-ODE; ``peak_missed``: it ended elsewhere than in the component with the
    highest peak; for a feature with ``modes``, ``branch_jumped``: the mode-tracking ODE from
    x_λ did not end in the highest mode (`track_modes` says not ok).
    """
    target, labels = feature.target, feature.labels
    x = target._draw(Streams(seeds, "mixture"), target.schedule.logsnr_max)
    own = labels[component(target, x)]
    tables = []
    for logsnr in logsnrs:
        noisy = renoise(target, x, logsnr, seeds)
        sde = component(target, denoise_by_sde(target, noisy, logsnr, steps, seeds))
        same = (labels[None] == own[:, None]).double()
        columns = {
            "seed": list(seeds),
            "logsnr": logsnr,
            "kept_sde": labels[sde] == own,
            "own_probability": (target.responsibilities(noisy, logsnr) * same).sum(1),
            "predicted": predicted_share(target, logsnr, feature.groups),
        }
        few = _of_modes(feature, noisy[:n_modes], own[:n_modes], logsnr, steps, seeds[:n_modes])
        tables.append(pd.DataFrame(columns).join(few))
    return pd.concat(tables, ignore_index=True)


def _of_modes(feature: Feature, noisy, own, logsnr, steps, seeds) -> pd.DataFrame:
    target = feature.target
    hd = component(target, denoise_by_hd(target, noisy, logsnr, steps, seeds))
    columns = {
        "kept_hd": (feature.labels[hd] == own).double(),
        "peak_missed": (hd != peak_component(target, noisy, logsnr)).double(),
    }
    if feature.modes:
        columns["branch_jumped"] = (
            ~track_modes(target, noisy, logsnr, steps, seeds=seeds).ok
        ).double()
    return pd.DataFrame(columns)


def between_windows(schedule: NoiseSchedule, seeds: Sequence[int], steps: int) -> pd.DataFrame:
    """Where samples of the `hierarchy` end that are noised to between its two windows.

    λ is half way from T_upper of the groups to T_lower of the members.  One row a seed:
    ``kept_group``, ``kept_member`` after the reverse SDE.
    """
    target, groups = hierarchy(2, schedule)
    labels = torch.as_tensor(groups)
    decided = critical_window(target, groups, [0] * 4)[1]
    forgotten = critical_window(target, range(4), groups)[0]
    logsnr = 0.5 * (decided + forgotten)
    x = target._draw(Streams(seeds, "mixture"), schedule.logsnr_max)
    end = denoise_by_sde(target, renoise(target, x, logsnr, seeds), logsnr, steps, seeds)
    before, after = component(target, x), component(target, end)
    columns = {"seed": list(seeds), "logsnr": logsnr, "decided_logsnr": decided}
    columns |= {"forgotten_logsnr": forgotten, "kept_group": labels[before] == labels[after]}
    return pd.DataFrame(columns | {"kept_member": before == after})


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
