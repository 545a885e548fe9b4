"""Are cartoons in the density, or in the network's extrapolation?

A mixture of Gaussians is fitted to images, and is from then on the truth: its score and its
log-density are known everywhere.  Networks learn from a data set drawn from it.  High-density (HD)
sampling with the exact score shows what lies in the density; with a network, what lies in the
network; and the true log-density judges the samples of both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from cartoonists.density.flow import FlowSettings, flow_log_density
from cartoonists.density.posterior import Posterior, mixture_table
from cartoonists.density.sampling import sample_to_switch, split_steps
from cartoonists.density.stein import estimate_table, posterior_of
from cartoonists.experiments.high_density import high_density_pairs
from cartoonists.experiments.noise import with_noise
from cartoonists.experiments.tiny import WhitenedNetwork
from cartoonists.images.data import PixelScaling
from cartoonists.images.measures import image_measures
from cartoonists.images.pictures import gradient_energy
from cartoonists.paths.bases import Columns
from cartoonists.paths.divergence import NoDivergence
from cartoonists.paths.processes import HighDensityODE
from cartoonists.paths.schedules import NoiseSchedule, uniform_grid
from cartoonists.paths.scores import GaussianMixture, NetworkScore, ScoreModel
from cartoonists.paths.solvers import integrate
from cartoonists.paths.streams import Streams

EXACT = "exact"  # the name of the mixture's own score
SIDES = (8, 16, 28)
LEVELS = 10  # of λ at which scores are compared
TABLE_POINTS, TABLE_SAMPLES = 31, 64  # of the Stein tables that space the PF-ODE's steps
PILOT_SEED = 1_000_000
DRAWN_AT_ONCE = 2048


class PairedMixture(GaussianMixture):
    """A mixture whose paths start from the noise that a network's start from, N(0, α² + σ²).

    So a seed means the same noise for both, from the first point on.  The difference to the exact
    marginal at logsnr_min, where α² = 5e-5, is far below a nat.
    """

    sample_prior = ScoreModel.sample_prior
    prior_log_prob = ScoreModel.prior_log_prob


@dataclass(frozen=True)
class Truth:
    """The fitted mixture and the map between its space and grey levels."""

    mixture: PairedMixture
    scaling: PixelScaling

    def __post_init__(self):
        self.mixture.schedule.check_preserving("a truth, whose draws at logsnr_max are the data")

    def arrays(self) -> dict[str, np.ndarray]:
        """All that `of_arrays` needs, by name."""
        mixture = self.mixture
        assert isinstance(mixture.basis, Columns)
        return {
            "weights": mixture.weights.numpy(),
            "means": mixture.means.numpy(),
            "variances": mixture._variances.view(mixture.means.shape).numpy(),
            "axes": mixture.basis.matrix.numpy(),
            "scaling": np.array([self.scaling.mean, self.scaling.std]),
        }

    @staticmethod
    def of_arrays(arrays: Mapping[str, np.ndarray], schedule: NoiseSchedule) -> "Truth":
        """The inverse of `arrays`."""
        weights, means, variances, axes = (
            torch.from_numpy(arrays[name]) for name in ("weights", "means", "variances", "axes")
        )
        mean, std = (tuple(row) for row in arrays["scaling"].tolist())
        mixture = PairedMixture(weights, means, variances, schedule, Columns(axes))
        return Truth(mixture, PixelScaling(mean, std))


def shrink_images(images: np.ndarray, side: int) -> np.ndarray:
    """Images ``[n, 1, 28, 28]`` (uint8) to ``[n, 1, side, side]``: zero border to 32, means.

    28 leaves them as they are.  Raises ValueError for another side than 8, 16 or 28.
    """
    if side not in SIDES:
        raise ValueError(f"side: {side} found, allowed: {', '.join(map(str, SIDES))}")
    if side == 28:
        return images
    padded = F.pad(torch.from_numpy(images).double(), (2, 2, 2, 2))
    return F.avg_pool2d(padded, 32 // side).round().to(torch.uint8).numpy()


def fit_truth(
    images: np.ndarray, components: int, floor: float, schedule: NoiseSchedule, seed: int = 0
) -> Truth:
    """Fit a mixture to uint8 images ``[n, 1, side, side]``, diagonal in their principal components.

    By expectation maximisation (Dempster et al., 1977; scikit-learn's), of standardised images;
    ``floor`` is added to every variance, so that no direction is flat.  From then on it is the
    truth, however well it fits: nothing below depends on that.
    """
    from sklearn.mixture import GaussianMixture as Fit  # a second to import

    scaling = PixelScaling.of(images)
    x = scaling.from_pixels(torch.from_numpy(images))
    basis = Columns.principal(x)
    z = basis.coordinates(x).flatten(1).numpy()
    fit = Fit(components, covariance_type="diag", reg_covar=floor, random_state=seed).fit(z)
    means, variances = (
        torch.from_numpy(values).view(-1, *x.shape[1:]) for values in (fit.means_, fit.covariances_)
    )
    mixture = PairedMixture(fit.weights_, basis.vector(means), variances, schedule, basis)
    return Truth(mixture, scaling)


def draw_data(mixture: GaussianMixture, n: int, first_seed: int) -> Tensor:
    """A data set of n images drawn from the mixture at logsnr_max, float32."""
    starts = range(0, n, DRAWN_AT_ONCE)
    parts = [mixture.sample(min(DRAWN_AT_ONCE, n - i), first_seed + i).float() for i in starts]
    return torch.cat(parts)


def network_arrays(model: NetworkScore) -> dict[str, np.ndarray]:
    """The weights of a `WhitenedNetwork`, by name."""
    return {name: tensor.numpy() for name, tensor in model.network.state_dict().items()}


def network_of_arrays(arrays: Mapping[str, np.ndarray], truth: Truth) -> NetworkScore:
    """The inverse of `network_arrays`, for images like the truth's."""
    shape = truth.mixture.shape
    width = len(arrays["field.body.0.bias"])
    network = WhitenedNetwork(torch.eye(truth.mixture.dimensions).view(-1, *shape), width)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    network.eval().requires_grad_(False)
    return NetworkScore(network, shape, truth.mixture.schedule, batch_size=1024)


@dataclass(frozen=True)
class SamplingSettings:
    """Switch points, steps of the base path and of the HD-ODE over the whole range, PF-ODE."""

    switch_logsnr: Sequence[float]
    steps: int
    flow: FlowSettings


def judge_samples(
    name: str, model: ScoreModel, truth: Truth, seeds: Sequence[int], settings: SamplingSettings
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Ordinary and HD samples of one score, judged by the truth: a row a sample; and the images.

    ``log_density_nats``: the true log p at logsnr_max of the sample as it ends.
    ``equal_noise_log_density_nats``: of the sample denoised once by its own score, with the noise
    of its seed added, the same for all samples of that seed: ordinary samples end with noise and HD
    samples without, and both are compared with it.  ``own_log_density_nats``: by the PF-ODE of the
    score itself at the very point of the first, with ``own_error_nats``, estimated.
    ``neighbour_difference``: mean absolute difference of neighbours, across plus down, in grey
    levels of the denoised image before rounding and clipping; then `measures.image_measures`.
    Images ``[k + 1, n, 1, side, side]`` (uint8), ordinary ones first.
    """
    steps = settings.steps
    posterior = _table(model, truth)
    pairs = high_density_pairs(
        model, settings.switch_logsnr, seeds, base_steps=steps, steps=steps, posterior=posterior
    )
    kinds = [("ordinary", float("nan"), pairs.ordinary)]
    for switch, x in zip(pairs.switch_logsnr, pairs.high_density, strict=True):
        kinds.append(("high-density", switch, x))
    tables, images = [], []
    for sample, switch, x in kinds:
        own = flow_log_density(model, x, seeds, settings.flow, posterior)
        clean = model.denoise(x, model.schedule.logsnr_max)
        columns = {
            "score": name,
            "sample": sample,
            "switch_logsnr": switch,
            "seed": list(seeds),
            "dimensions": model.dimensions,
            "log_density_nats": truth.mixture.log_prob(x),
            "equal_noise_log_density_nats": truth.mixture.log_prob(with_noise(clean, model, seeds)),
            "own_log_density_nats": own.log_density,
            "own_error_nats": own.error,
        }
        images.append(truth.scaling.to_pixels(clean).numpy())
        tables.append(pd.DataFrame(columns).join(_measured(clean, images[-1], truth.scaling)))
    arrays = {"seeds": np.array(seeds), "switch_logsnr": np.array(pairs.switch_logsnr)}
    return pd.concat(tables, ignore_index=True), arrays | {"images": np.stack(images)}


def _table(model: ScoreModel, truth: Truth) -> Posterior:
    """What the base path and the PF-ODE's steps need: estimated from paths of other seeds."""
    if isinstance(model, GaussianMixture):
        return mixture_table(model, TABLE_POINTS, TABLE_SAMPLES)
    pilots = range(PILOT_SEED, PILOT_SEED + TABLE_SAMPLES)
    return estimate_table(model, pilots, truth.mixture.basis, TABLE_POINTS)


def _measured(clean: Tensor, images: np.ndarray, scaling: PixelScaling) -> pd.DataFrame:
    grey_levels = clean.numpy() * (256.0 * np.array(scaling.std)[:, None, None])
    rough = {"neighbour_difference": gradient_energy(grey_levels)}
    return pd.DataFrame(rough).join(image_measures(images))


def score_errors(
    networks: Mapping[str, NetworkScore],
    truth: Truth,
    seeds: Sequence[int],
    switch_logsnr: Sequence[float],
    steps: int,
) -> pd.DataFrame:
    """σ²|s_θ - s|²/D of each network on the exact HD trajectories, and on noised data, same λ.

    It is the mean squared error of ε; ½ D times its integral over λ is a divergence in nats (Song
    et al., 2021, theorem 1).  If HD points lay outside of what a network has learned, it would err
    more there.  A row a network, seed, λ and place: ``switch_logsnr`` of the trajectory, empty for
    a draw of the mixture at that λ.
    """
    schedule = truth.mixture.schedule
    levels = uniform_grid(min(switch_logsnr), schedule.logsnr_max, LEVELS)
    tables = []
    for place, logsnr, x in _places(truth.mixture, seeds, switch_logsnr, levels, steps):
        exact = truth.mixture.score(x, logsnr)
        for name, model in networks.items():
            gap = (model.score(x, logsnr) - exact).square().flatten(1).mean(1)
            columns = {"score": name, "switch_logsnr": place, "logsnr": logsnr, "seed": list(seeds)}
            tables.append(pd.DataFrame(columns | {"squared_error": schedule.sigma2(logsnr) * gap}))
    return pd.concat(tables, ignore_index=True)


def _places(
    mixture: PairedMixture,
    seeds: Sequence[int],
    switch_logsnr: Sequence[float],
    levels: Sequence[float],
    steps: int,
) -> Iterator[tuple[float, float, Tensor]]:
    """Switch point (NaN: noised data), λ and points ``[n, *shape]`` there, at the levels."""
    schedule = mixture.schedule
    untracked = torch.zeros(len(seeds), dtype=torch.float64)
    for switch in switch_logsnr:
        x = sample_to_switch(mixture, steps, switch, seeds, posterior_of(mixture)).x
        stops = [level for level in levels if level > switch]
        for start, stop in zip([switch, *stops[:-1]], stops, strict=True):
            count = split_steps(schedule, schedule.logsnr_max - (stop - start), steps)[1]
            grid = uniform_grid(start, stop, count)
            x = integrate(
                HighDensityODE(schedule), mixture, x, untracked, grid, NoDivergence(), seeds,
                solver="heun",
            ).x  # fmt: skip
            yield switch, stop, x
    for level in levels[1:]:
        yield float("nan"), level, mixture._draw(Streams(seeds, f"draw {level:.9g}"), level)
