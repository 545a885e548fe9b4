"""Synthetic images of a known density: draws, and high-density samples of the exact score."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from cartoonists.density.stein import posterior_of
from cartoonists.experiments.high_density import high_density_pairs
from cartoonists.images.measures import image_measures
from cartoonists.images.synthetic import SyntheticModel


def judge_synthetic(
    model: SyntheticModel,
    *,
    n_draws: int,
    n_samples: int,
    switch_logsnr: Sequence[float],
    steps: int,
    seed: int = 0,
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Draws of the model, and HD samples of its exact score, each with its true log-density.

    A row an image: ``kind`` (*draw* or *high-density*), ``switch_logsnr``, ``seed``,
    ``strength`` of the likeliest component and ``texture`` (`SyntheticModel.texture`) in grey
    levels, ``log_density_nats`` at logsnr_max, and `measures.image_measures` of the image denoised
    once.  HD samples of one seed leave the same path of the reverse SDE.  Images
    ``[k + 1, n_samples, 1, size, size]`` (uint8): draws first.
    """
    seeds = list(range(seed, seed + n_samples))
    pairs = high_density_pairs(
        model.mixture, switch_logsnr, seeds, base_steps=steps, steps=steps,
        posterior=posterior_of(model.mixture),
    )  # fmt: skip
    draws = model.mixture.sample(n_draws, seed)
    found = [_described(model, draws, "draw", float("nan"), list(range(seed, seed + n_draws)))]
    for switch, x in zip(pairs.switch_logsnr, pairs.high_density, strict=True):
        found.append(_described(model, x, "high-density", switch, seeds))
    tables, images = zip(*found, strict=True)
    arrays = {
        "switch_logsnr": np.array(pairs.switch_logsnr),
        "images": np.stack([part[:n_samples] for part in images]),
    }
    return pd.concat(tables, ignore_index=True), arrays


def _described(
    model: SyntheticModel, x: Tensor, kind: str, switch: float, seeds: list[int]
) -> tuple[pd.DataFrame, np.ndarray]:
    mixture, last = model.mixture, model.mixture.schedule.logsnr_max
    clean = mixture.denoise(x, last)
    images = model.scaling.to_pixels(clean).numpy()
    likeliest = mixture.responsibilities(x, last).argmax(1).tolist()
    columns = {
        "kind": kind,
        "switch_logsnr": switch,
        "seed": seeds,
        "dimensions": mixture.dimensions,
        "strength": [model.settings.components[k][2] for k in likeliest],
        "texture": model.texture(clean),
        "log_density_nats": mixture.log_prob(x),
    }
    return pd.DataFrame(columns).join(image_measures(images)), images
