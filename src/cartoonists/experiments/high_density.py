"""Pairs from the same point x_t: the reverse SDE goes on to one sample, the HD-ODE to another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cartoonists.density.ancestral import AncestralKernel, Look, ancestral_path
from cartoonists.density.flow import FlowSettings, flow_log_density
from cartoonists.density.likelihood import bits_per_dim, elbo
from cartoonists.density.posterior import Posterior
from cartoonists.density.sampling import follow_high_density, split_steps
from cartoonists.density.stein import needed_posterior
from cartoonists.density.tracking import reverse_sde_path
from cartoonists.experiments.noise import with_noise
from cartoonists.models.checkpoints import ImageModel
from cartoonists.paths.numerics import Numerics
from cartoonists.paths.schedules import uniform_grid
from cartoonists.paths.scores import ScoreModel
from cartoonists.paths.streams import Streams


@dataclass(frozen=True)
class HighDensityPairs:
    """Samples at logsnr_max of the same seeds.

    ``ordinary`` ``[n, *shape]`` ends the base path of the reverse SDE; ``tracked`` ``[n]`` is its
    path ratio in nats; ``high_density`` ``[k, n, *shape]`` left that path at ``switch_logsnr[k]``.
    The ordinary samples carry the noise of logsnr_max, the HD samples next to none: what is
    compared is `denoised` first.
    """

    seeds: Sequence[int]
    switch_logsnr: list[float]
    ordinary: Tensor
    tracked: Tensor
    high_density: Tensor

    def denoised(self, model: ScoreModel) -> Tensor:
        """All samples denoised once, ``[k + 1, n, *shape]``, the ordinary ones first."""
        ends = (self.ordinary, *self.high_density)
        return torch.stack([model.denoise(x, model.schedule.logsnr_max) for x in ends])


def on_grid(grid: Sequence[float], switches: Sequence[float]) -> list[float]:
    """The grid point nearest to each switch point, in rising order.

    Raises ValueError where two switches fall on the same point: the grid is too coarse for them.
    """
    nearest = [min(grid, key=lambda point: abs(point - switch)) for switch in sorted(switches)]
    if len(set(nearest)) < len(nearest):
        raise ValueError(
            f"switch_logsnr: {sorted(switches)} found, allowed: values on different points of the "
            f"grid of {len(grid) - 1} steps from {grid[0]:g} to {grid[-1]:g}"
        )
    return nearest


def high_density_pairs(
    model: ScoreModel,
    switch_logsnr: Sequence[float],
    seeds: Sequence[int],
    *,
    base_steps: int,
    steps: int,
    posterior: Posterior | None = None,
) -> HighDensityPairs:
    """Draw for each seed an ordinary sample, and one HD sample from each switch point on its path.

    The base path is the one that ``track_reverse_sde`` draws along a uniform ``grid`` of
    ``base_steps``, to the last bit; each switch is moved to the nearest point of that grid.  Given
    x_t the path's own end is a draw of p(x_0|x_t), whatever the switch: it is the ordinary sample
    of all pairs.
    ``steps`` are the HD-ODE's over the whole range of λ, of which each branch takes its share, one
    evaluation each.
    Raises ValueError for a switch outside the range of λ or a grid too coarse, NonFiniteScore.
    """
    schedule = model.schedule
    for switch in switch_logsnr:
        schedule.check(switch, "switch_logsnr")
    grid = uniform_grid(schedule.logsnr_min, schedule.logsnr_max, base_steps)
    switches = on_grid(grid, switch_logsnr)
    points = {}

    def keep(logsnr: float, x: Tensor, _: Tensor) -> None:
        if logsnr in switches:
            points[logsnr] = x

    x = model.sample_prior(Streams(seeds, "prior"))
    points[grid[0]] = x
    base = reverse_sde_path(
        model, x, model.prior_log_prob(x), grid, seeds, posterior=posterior, callback=keep
    )
    untracked = torch.zeros_like(base.log_density)
    ends = [
        follow_high_density(
            model, points[switch], untracked, switch, split_steps(schedule, switch, steps)[1],
            seeds, Numerics("exponential", "none"),
        ).x
        for switch in switches
    ]  # fmt: skip
    dense = torch.stack([base.x, *ends])[1:]  # none where there is no switch
    return HighDensityPairs(seeds, switches, base.x, base.log_density, dense)


def denoised_path(
    model: ImageModel, seeds: Sequence[int], steps: int, posterior: Posterior | None = None
) -> dict[str, np.ndarray]:
    """The base path of `high_density_pairs` of these seeds, as it is seen at every λ of its grid.

    Arrays to store: ``path_logsnr`` ``[k]``; ``path_seeds`` ``[n]``; ``path_images``
    ``[n, k, c, h, w]``, x̂_0 in grey levels; ``path_log_density`` ``[n, k]``, the tracked
    log p_λ(x_λ) in nats, and ``path_error``, its step-halving error.  One network evaluation a λ,
    those of the chain itself.  Raises NonFiniteScore.
    """
    schedule = model.schedule
    grid = uniform_grid(schedule.logsnr_min, schedule.logsnr_max, steps)
    kernel = AncestralKernel(model, needed_posterior(model, posterior, "diagonal"), "diagonal")
    images, densities, errors = [], [], []

    def watch(at: Look, log_density: Tensor, error: Tensor) -> None:
        images.append(model.picture(kernel.basis.vector(at.denoised)).numpy())
        densities.append(log_density.numpy())
        errors.append(error.numpy())

    x = model.sample_prior(Streams(seeds, "prior"))
    path = ancestral_path(
        kernel, x, model.prior_log_prob(x), grid, Streams(seeds, "path"), watch=watch
    )
    end = kernel.look(kernel.basis.coordinates(path.x), grid[-1], seeds)
    assert path.error is not None  # as it was tracked
    watch(end, path.log_density, path.error)
    return {
        "path_seeds": np.array(seeds, dtype=int),
        "path_logsnr": np.array(grid),
        "path_images": np.stack(images, axis=1),
        "path_log_density": np.stack(densities, axis=1),
        "path_error": np.stack(errors, axis=1),
    }


def pair_log_densities(
    model: ImageModel,
    pairs: HighDensityPairs,
    clean: Tensor,
    settings: FlowSettings,
    posterior: Posterior | None = None,
) -> pd.DataFrame:
    """Log-densities of all samples of the pairs at equal noise, by one estimator, a row a sample.

    ``clean`` are the samples `HighDensityPairs.denoised`.  Each gets the noise of its seed at
    logsnr_max, the same for every sample of that seed, so that what its log-density is compared by
    is the image alone.  The tracked value is of the ordinary sample with the noise it ended with.

    Columns: ``seed``, ``sample`` (*ordinary* or *high-density*), ``switch_logsnr`` (empty for
    ordinary samples), ``dimensions``, ``log_density_nats`` and ``bits_per_dim`` by the PF-ODE,
    ``error_nats``, estimated, ``tracked_log_density_nats`` of the ordinary ones.  Rows: all
    ordinary samples by seed, then the HD samples switch by switch.
    """

    def rows(sample: str, switch: float, x: Tensor) -> pd.DataFrame:
        noisy = with_noise(x, model, pairs.seeds)
        flow = flow_log_density(model, noisy, pairs.seeds, settings, posterior)
        bits = bits_per_dim(flow.log_density, model.dimensions, model.log_pixels_per_unit)
        return pd.DataFrame(
            {
                "seed": list(pairs.seeds),
                "sample": sample,
                "switch_logsnr": switch,
                "dimensions": model.dimensions,
                "log_density_nats": flow.log_density,
                "error_nats": flow.error,
                "bits_per_dim": bits,
            }
        )

    parts = [rows("ordinary", float("nan"), clean[0])]
    parts[0]["tracked_log_density_nats"] = pairs.tracked
    for switch, x in zip(pairs.switch_logsnr, clean[1:], strict=True):
        parts.append(rows("high-density", switch, x))
    return pd.concat(parts, ignore_index=True)


BOUNDS = ["elbo_log_density_nats", "iwae_log_density_nats", "elbo_error_nats"]


@dataclass(frozen=True)
class BoundSettings:
    """Which pairs get bounds: the first ``n_pairs`` seeds, at the switches nearest to these."""

    n_pairs: int
    switch_logsnr: Sequence[float]
    paths: int


def pair_bounds(
    model: ScoreModel,
    pairs: HighDensityPairs,
    clean: Tensor,
    settings: BoundSettings,
    *,
    first_seed: int,
    base_steps: int,
    posterior: Posterior | None = None,
) -> pd.DataFrame:
    """Lower bounds on log p^N, the density of the chain that drew the ordinary samples, in nats.

    ELBO and IWAE hold for any point, so for HD samples too.  From above only samples of the chain
    are bounded, by their tracked r in the mean: ``E IWAE(HD) > E r(ordinary)`` proves that HD
    samples are the denser ones under p^N.  So the ordinary samples are bounded as they ended, and
    the HD samples (of ``clean``, see `pair_log_densities`) with as much noise, that of their seeds.
    The grid is the base path's; seeds from ``first_seed`` + n_pairs on are left out.  Keys
    ``seed``, ``sample`` and ``switch_logsnr`` as in `pair_log_densities`; ``elbo_error_nats`` by
    step halving, though the bounds hold at any step.
    """
    schedule = model.schedule
    grid = uniform_grid(schedule.logsnr_min, schedule.logsnr_max, base_steps)
    chosen = [i for i, seed in enumerate(pairs.seeds) if seed < first_seed + settings.n_pairs]
    seeds = [pairs.seeds[i] for i in chosen]
    nearest = {
        min(range(len(pairs.switch_logsnr)), key=lambda i: abs(pairs.switch_logsnr[i] - wanted))
        for wanted in settings.switch_logsnr
    }
    kinds = [("ordinary", float("nan"), pairs.ordinary)]
    for i in sorted(nearest):
        noisy = with_noise(clean[i + 1], model, pairs.seeds)
        kinds.append(("high-density", pairs.switch_logsnr[i], noisy))
    parts = []
    for sample, switch, x in kinds if chosen else ():
        found = elbo(
            model, x[chosen], paths=settings.paths, seeds=seeds, posterior=posterior, grid=grid
        )
        columns = {"seed": seeds, "sample": sample, "switch_logsnr": switch}
        values = dict(zip(BOUNDS, (found.elbo, found.iwae, found.error), strict=True))
        parts.append(pd.DataFrame(columns | values))
    if not parts:  # a chunk behind the last bounded pair
        keys = {"seed": int, "sample": str, "switch_logsnr": float}
        return pd.DataFrame(columns=[*keys, *BOUNDS], dtype=float).astype(keys)
    return pd.concat(parts, ignore_index=True)


def collect_images(parts: Sequence[Mapping[str, np.ndarray]], n: int) -> dict[str, np.ndarray]:
    """Images of the first n seeds from the chunks' arrays, without those that were stopped.

    Each part holds ``seeds [m]``, ``switch_logsnr [k]`` and ``images [k + 1, m, c, h, w]``, the
    ordinary samples first, and ``stopped``, the seeds that have none (`experiments.survivors`).
    Raises ValueError where the parts have fewer than n, stopped ones among them.
    """
    seeds, stopped = (np.concatenate([part[key] for part in parts]) for key in ("seeds", "stopped"))
    wanted = np.sort(np.concatenate([seeds, stopped]))[:n]
    if len(wanted) < n:
        raise ValueError(f"images: {len(wanted)} found in the chunks, expected at least {n}")
    kept = np.isin(seeds, wanted)
    return {
        "seeds": seeds[kept],
        "switch_logsnr": parts[0]["switch_logsnr"],
        "images": np.concatenate([part["images"] for part in parts], axis=1)[:, kept],
    }


def collect_paths(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of `denoised_path` from those chunks that hold any; empty where none does."""
    parts = [part for part in parts if "path_seeds" in part]
    if not parts:
        return {}
    names = ("path_seeds", "path_images", "path_log_density", "path_error")
    joined = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return joined | {"path_logsnr": parts[0]["path_logsnr"]}
