"""Log-densities of samples and of held-out images by every estimator."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import special
from torch import Tensor
from tqdm import tqdm

from cartoonists.density.flow import FlowSettings, flow_log_density
from cartoonists.density.likelihood import bits_per_dim, elbo, sample_ode
from cartoonists.density.posterior import PosteriorTable
from cartoonists.density.stein import estimate_tables
from cartoonists.density.tracking import track_reverse_sde
from cartoonists.models.checkpoints import ImageModel
from cartoonists.paths.bases import basis_named
from cartoonists.paths.scores import ScoreModel
from cartoonists.paths.streams import Streams

ESTIMATED = (
    "ode_log_density_nats",
    "ode_error_nats",
    "elbo_log_density_nats",
    "elbo_error_nats",
    "iwae_log_density_nats",
)


@dataclass(frozen=True)
class LikelihoodSettings:
    """Steps of each estimator, paths of the IWAE bound, probes of Hutchinson's estimate."""

    sde_steps: int
    ode_solver: str
    ode_steps: int
    bound_steps: int
    paths: int
    probes: int

    @property
    def flow(self) -> FlowSettings:
        """Settings of the PF-ODE estimator."""
        return FlowSettings(self.ode_steps, self.probes, self.ode_solver)

    @property
    def cost(self) -> int:
        """Solver steps of the PF-ODE and of the bounds, for progress bars."""
        return self.ode_steps + self.bound_steps * self.paths


def sample_log_densities(
    model: ImageModel, table: PosteriorTable, seeds: Sequence[int], settings: LikelihoodSettings
) -> pd.DataFrame:
    """All log-densities of the same samples, a row per sample and tracker, in nats at logsnr_max.

    Columns: ``tracked`` along the reverse SDE; ``ode`` from data to noise by the PF-ODE and
    ``ode_back`` from that noise to data again, ``ode_back_rms`` the distance between the sample
    and its return; ``elbo`` and ``iwae``; ``*_error_nats``, estimated; ``seed``, ``tracker``,
    evaluations.
    """
    tables = []
    bar = tqdm(total=2 * (settings.sde_steps + settings.cost) + settings.ode_steps, unit="step")
    for tracker in ("ancestral", "euler-maruyama"):
        run = track_reverse_sde(
            model, steps=settings.sde_steps, method=tracker, seeds=seeds, posterior=table,
            callback=lambda *_: bar.update(),
        )  # fmt: skip
        columns = {
            "seed": list(seeds),
            "tracker": tracker,
            "dimensions": model.dimensions,
            "nfe": run.nfe,
            "tracked_log_density_nats": run.log_density,
            "tracked_error_nats": run.error,
        }
        back = tracker == "ancestral"
        measured = _estimates(model, table, run.x, seeds, settings, bar, back)
        tables.append(pd.DataFrame(columns | measured))
    bar.close()
    return pd.concat(tables, ignore_index=True).sort_values(["seed", "tracker"], kind="stable")


def tracked_offsets(
    model: ScoreModel,
    table: PosteriorTable,
    seeds: Sequence[int],
    steps: Sequence[int],
    flow: FlowSettings,
) -> pd.DataFrame:
    """Tracked and PF-ODE log-density of samples of the ancestral chain, at each number of steps.

    One row a number of steps and seed, in nats at logsnr_max; ``ode_error_nats``, estimated.
    The PF-ODE has the same steps for all, so that only those of the chain differ.
    """
    tables = []
    for count in steps:
        run = track_reverse_sde(model, steps=count, seeds=seeds, posterior=table)
        ode = flow_log_density(model, run.x, seeds, flow, table)
        columns = {
            "seed": list(seeds),
            "steps": count,
            "dimensions": model.dimensions,
            "tracked_log_density_nats": run.log_density,
            "ode_log_density_nats": ode.log_density,
            "ode_error_nats": ode.error,
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def image_log_densities(
    model: ImageModel,
    table: PosteriorTable,
    images: np.ndarray,
    seeds: Sequence[int],
    settings: LikelihoodSettings,
) -> pd.DataFrame:
    """PF-ODE, ELBO and IWAE of dequantised uint8 images ``[n, c, h, w]``, a row per image.

    Nats in model space at logsnr_max, and bits/dim of the grey levels (NaN for latent models).
    """
    bounds = ("ode", "elbo", "iwae")
    if len(images) == 0:  # no data, or a chunk behind the last image
        names = [*ESTIMATED, *(f"{name}_bits_per_dim" for name in bounds)]
        return pd.DataFrame(columns=["image", "dimensions", *names])
    noise = Streams(seeds, "dequantisation").uniform(model.pixel_shape)
    x = model.from_pixels(torch.from_numpy(images), noise)
    with tqdm(total=settings.cost, unit="step") as bar:
        measured = _estimates(model, table, x, seeds, settings, bar, back=False)
    columns = {"image": list(seeds), "dimensions": model.dimensions} | measured
    for name in bounds:
        columns[f"{name}_bits_per_dim"] = to_bits_per_dim(
            model, torch.as_tensor(measured[f"{name}_log_density_nats"])
        )
    return pd.DataFrame(columns)


def held_out_bound(model: ImageModel, images: np.ndarray, n_images: int, steps: int) -> dict:
    """ELBO of the first ``n_images`` held-out images (uint8), in bits/dim, with its standard error.

    The chain's covariance is diagonal, in the better of pixels and cosines.
    """
    tables = estimate_tables(model, range(1000, 1048), [basis_named(b) for b in ("pixels", "dct")])
    noise = Streams(range(n_images), "dequantisation").uniform(model.shape)
    x = model.from_pixels(torch.from_numpy(images[:n_images].copy()), noise)
    found = [
        to_bits_per_dim(model, elbo(model, x, steps, paths=1, posterior=table).elbo)
        for table in tables
    ]
    bits, table = min(zip(found, tables, strict=True), key=lambda pair: float(pair[0].mean()))
    return {
        "split": "test",
        "images": n_images,
        "estimator": f"ELBO of the ancestral chain, {steps} steps, diagonal in {table.basis.name}",
        "bits_per_dim": round(float(bits.mean()), 4),
        "standard_error": round(float(bits.std()) / len(bits) ** 0.5, 4),
        "background_bits_per_dim": round(background_cost(images, noise_in_levels(model)), 4),
    }


def noise_in_levels(model: ImageModel) -> float:
    """Standard deviation of the noise at logsnr_max in grey levels, the mean over channels."""
    end = model.schedule.logsnr_max
    relative = model.schedule.sigma(end) / model.schedule.alpha(end)
    return float(relative) * 256 * float(np.mean(model.scaling.std))


def background_cost(images: np.ndarray, noise_levels: float) -> float:
    """The least cost, in bits/dim, of the noise at logsnr_max on a background of one grey level.

    A pixel known to be at its level, uniformly dequantised (u) and blurred by noise of
    ``noise_levels`` grey levels s, has a density of ``Φ((1-u)/s) - Φ(-u/s)`` at u instead of 1.
    Returns the mean of -log2 of it times the share of pixels at the commonest level.
    """
    u = (np.arange(1000) + 0.5) / 1000
    density = special.ndtr((1 - u) / noise_levels) - special.ndtr(-u / noise_levels)
    share = np.bincount(images.ravel(), minlength=256).max() / images.size
    return float(share * -np.log2(density).mean())


def to_bits_per_dim(model: ImageModel, log_density: Tensor) -> Tensor:
    """bits/dim of a log-density in model space."""
    return bits_per_dim(log_density, model.dimensions, model.log_pixels_per_unit)


def _estimates(
    model: ImageModel,
    table: PosteriorTable,
    x: Tensor,
    seeds: Sequence[int],
    settings: LikelihoodSettings,
    bar: tqdm,
    back: bool,
) -> dict[str, Tensor]:
    ends: list[Tensor] = []

    def keep_end(_, y, __):
        ends[:] = [y]
        bar.update()

    flow = flow_log_density(model, x, seeds, settings.flow, table, callback=keep_end)
    bound = elbo(model, x, settings.bound_steps, settings.paths, seeds=seeds, posterior=table)
    bar.update(settings.bound_steps * settings.paths)
    values = (flow.log_density, flow.error, bound.elbo, bound.error, bound.iwae)
    columns: dict[str, Any] = dict(zip(ESTIMATED, values, strict=True))
    if back:
        returned = sample_ode(
            model, len(x), settings.ode_steps, divergence="hutchinson", seeds=seeds,
            x_prior=ends[0], probes=settings.probes, posterior=table,
            callback=lambda *_: bar.update(),
        )  # fmt: skip
        columns["ode_back_log_density_nats"] = returned.log_density
        columns["ode_back_rms"] = (returned.x - x).square().flatten(1).mean(1).sqrt()
    return columns


def tracking_cost(
    model: ScoreModel, table: PosteriorTable, n_samples: int, steps: int, repeats: int
) -> pd.DataFrame:
    """CPU seconds of sampling with and without tracking, interleaved, one row a repeat.

    CPU time of this process, so that other jobs on the machine weigh less than on the clock.
    """
    rows = []
    for repeat in range(-1, repeats):  # the first warms up
        seconds = {}
        for track in (True, False) if repeat % 2 else (False, True):
            start = time.process_time()
            track_reverse_sde(model, n_samples, steps, posterior=table, track=track)
            seconds[track] = time.process_time() - start
        rows.append({"repeat": repeat, "tracked_s": seconds[True], "untracked_s": seconds[False]})
    return pd.DataFrame(rows[1:])
