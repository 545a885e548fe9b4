"""Log-density, size in every codec and local intrinsic dimension of the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from cartoonists.density.dimension import local_dimension
from cartoonists.density.flow import FlowSettings, flow_log_density
from cartoonists.density.likelihood import bits_per_dim
from cartoonists.density.posterior import Posterior
from cartoonists.experiments.blur import noised_image
from cartoonists.experiments.high_density import high_density_pairs, pair_log_densities
from cartoonists.images.measures import compression_table, correlations
from cartoonists.models.checkpoints import ImageModel
from cartoonists.statistics.claims import Bootstrap
from cartoonists.statistics.trust import trusted


@dataclass(frozen=True)
class CompressionSettings:
    """Number of images of each kind, noise levels and probes of the local dimension, estimator."""

    n_images: int
    lid_logsnr: Sequence[float]
    lid_probes: int
    flow: FlowSettings


def described(
    model: ImageModel,
    images: np.ndarray,
    seeds: Sequence[int],
    log_density: np.ndarray,
    settings: CompressionSettings,
    posterior: Posterior | None = None,
) -> pd.DataFrame:
    """A table with a row per uint8 image: log-density, bytes in every codec, local dimension.

    Columns: ``seed``, ``dimensions``, ``log_density_nats``, ``bits_per_dim``, ``<codec>_bytes``,
    ``total_variation``; at the grey levels' centres, samples and data alike, ``lid_at_<λ>`` and the
    |σ s|² in it, ``scaled_square_at_<λ>``.
    """
    table = pd.DataFrame(
        {"seed": list(seeds), "dimensions": model.dimensions, "log_density_nats": log_density}
    )
    table["bits_per_dim"] = bits_per_dim(
        torch.as_tensor(log_density), model.dimensions, model.log_pixels_per_unit
    )
    table = pd.concat([table, compression_table(images)], axis=1)
    clean = model.from_pixels(torch.from_numpy(images)) / model.end_scale
    basis = None if posterior is None else posterior.basis
    for logsnr in settings.lid_logsnr:
        found = local_dimension(
            model, clean, logsnr, "hutchinson", seeds=seeds, probes=settings.lid_probes, basis=basis
        )
        table[f"lid_at_{logsnr:g}"] = found.dimension
        table[f"scaled_square_at_{logsnr:g}"] = found.scaled_square
    return table


def data_rows(
    model: ImageModel,
    images: np.ndarray,
    seeds: Sequence[int],
    settings: CompressionSettings,
    posterior: Posterior | None = None,
) -> pd.DataFrame:
    """`described` for real images, by the estimator that measured the samples; kind *data*."""
    noisy = noised_image(model, images, seeds)
    flow = flow_log_density(model, noisy, seeds, settings.flow, posterior)
    table = described(model, images, seeds, flow.log_density.numpy(), settings, posterior)
    return table.assign(kind="data", switch_logsnr=np.nan, error_nats=flow.error)


def sample_rows(
    model: ImageModel,
    pairs: pd.DataFrame,
    found: dict[str, np.ndarray],
    settings: CompressionSettings,
    posterior: Posterior | None = None,
) -> pd.DataFrame:
    """`described` for ordinary and HD samples whose log-densities stand in ``pairs``.

    ``pairs`` is the table of HD pairs and ``found`` their images (`collect_images`).
    """
    sets = [("ordinary", np.nan), *(("high-density", s) for s in found["switch_logsnr"])]
    tables = []
    for (kind, switch), images in zip(sets, found["images"], strict=True):
        rows = pairs[pairs["sample"] == kind]
        if kind == "high-density":
            rows = rows[np.isclose(rows["switch_logsnr"], switch)]
        rows = rows.set_index("seed").loc[found["seeds"]]
        density, error = (rows[name].to_numpy() for name in ("log_density_nats", "error_nats"))
        table = described(model, images, found["seeds"].tolist(), density, settings, posterior)
        tables.append(table.assign(kind=kind, switch_logsnr=switch, error_nats=error))
    return pd.concat(tables, ignore_index=True)


def model_rows(
    model: ImageModel,
    real: np.ndarray,
    seeds: Sequence[int],
    settings: CompressionSettings,
    base_steps: int,
    posterior: Posterior | None = None,
) -> pd.DataFrame:
    """`data_rows` of real images, seeds 0 to their number, and `sample_rows` of ordinary samples.

    Of a model that high-density sampling leaves out: the samples are drawn here, by the chain of
    ``base_steps``, denoised once and measured at equal noise, as those of the pairs are.
    """
    pairs = high_density_pairs(
        model, [], seeds, base_steps=base_steps, steps=1, posterior=posterior
    )
    clean = pairs.denoised(model)
    densities = pair_log_densities(model, pairs, clean, settings.flow, posterior)
    images = np.stack([model.picture(x).numpy() for x in clean])
    found = {"seeds": np.array(seeds), "switch_logsnr": np.array([]), "images": images}
    tables = [sample_rows(model, densities, found, settings, posterior)]
    if len(real):
        tables.insert(0, data_rows(model, real, range(len(real)), settings, posterior))
    return pd.concat(tables, ignore_index=True)


def density_correlations(table: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """Correlations within each kind: log-density with every size and dimension, dimension with PNG.

    Kinds with fewer than three images are left out, and images whose log-density cannot be trusted.
    """
    table = table[trusted(table)]
    table = table.groupby("kind", sort=False).filter(lambda part: len(part) >= 3)
    sizes = [name for name in table if name.endswith("_bytes")] + ["total_variation"]
    dimensions = [name for name in table if name.startswith("lid_at_")]
    parts = [
        correlations(table, ["log_density_nats"], sizes + dimensions, bootstrap),
        correlations(table, dimensions, ["png_bytes"], bootstrap),
    ]
    return pd.concat(parts, ignore_index=True)
