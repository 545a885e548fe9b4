"""The log-density of images after blur and after control operations of rising strength."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cartoonists.density.flow import FlowSettings, flow_log_density
from cartoonists.density.posterior import Posterior
from cartoonists.experiments.noise import with_noise
from cartoonists.images.pictures import add_noise, down_up, gaussian_blur, scale_contrast
from cartoonists.models.checkpoints import ImageModel
from cartoonists.paths.streams import Streams

OPERATIONS = ("blur", "noise", "contrast", "down-up")
WHITE = 255.0
UNALTERED = {"blur": 0.0, "noise": 0.0, "contrast": 1.0, "down-up": 1.0}


def degrade(
    images: np.ndarray, operation: str, strength: float, seeds: Sequence[int]
) -> np.ndarray:
    """Images ``[n, c, h, w]`` after one operation, in grey levels, neither rounded nor clipped.

    *blur*: standard deviation in pixels; *noise*: in grey levels, from each image's seed;
    *contrast*: factor about the image's mean; *down-up*: factor of shrinking and enlarging.
    Raises ValueError for another name or a strength that the operation does not allow.
    """
    values: np.ndarray = images.astype(np.float64)
    if operation == "blur":
        return gaussian_blur(values, strength)
    if operation == "noise":
        return add_noise(values, strength, seeds)
    if operation == "contrast":
        return scale_contrast(values, strength)
    if operation == "down-up":
        return down_up(values, int(strength))
    raise ValueError(f"operation: {operation!r} found, allowed: {', '.join(OPERATIONS)}")


def noised_image(model: ImageModel, images: np.ndarray, seeds: Sequence[int]) -> Tensor:
    """Grey levels as a draw of p at logsnr_max, ``α x_0 + σ ε`` with x_0 uniformly dequantised.

    The density of samples is that of p at logsnr_max, whose noise σ is about half a grey level:
    images get the same noise, so that both are measured on one scale.  Dequantisation and ε depend
    on the seed alone, not on the image: two versions of one image share them.
    """
    grey = torch.from_numpy(np.asarray(images))
    x = model.from_pixels(grey, Streams(seeds, "dequantisation").uniform(model.pixel_shape))
    return with_noise(x / model.end_scale, model, seeds, "final noise")


def image_log_density(
    model: ImageModel,
    images: np.ndarray,
    seeds: Sequence[int],
    settings: FlowSettings,
    posterior: Posterior | None = None,
    repeat: int = 0,
) -> tuple[dict[float, np.ndarray], np.ndarray]:
    """log p_λ along the PF-ODE that starts at each noised image.

    Returns a mapping of λ to ``[n]``, nats, and the estimated error ``[n]`` of the first.  The
    first λ is logsnr_max and gives the log-density of the image; the other λ give log p_λ along
    the path, at no extra cost.  ``repeat`` above 0 draws other probes for the same image.
    """
    changes: dict[float, Tensor] = {}
    probe_seeds = [seed + repeat * 2**32 for seed in seeds]
    flow = flow_log_density(
        model, noised_image(model, images, seeds), probe_seeds, settings, posterior,
        callback=lambda logsnr, _, change: changes.__setitem__(logsnr, change),
    )  # fmt: skip
    start = flow.log_density
    levels = {model.schedule.logsnr_max: start.numpy()}
    levels |= {logsnr: (start + change).numpy() for logsnr, change in changes.items()}
    return levels, np.asarray(flow.error)


def degradation_curves(
    model: ImageModel,
    images: np.ndarray,
    seeds: Sequence[int],
    strengths: Mapping[str, Sequence[float]],
    settings: FlowSettings,
    posterior: Posterior | None = None,
) -> pd.DataFrame:
    """log p_λ of every image after every operation and strength; a row per image, strength and λ.

    Step 0 of each operation is the unaltered image.  Rows with ``repeat`` 1 measure the unaltered
    image and the first strength of the first operation again with other probes: their spread is
    the estimator's.  Columns: ``seed``, ``operation``, ``step``, ``strength``, ``repeat``,
    ``logsnr``, ``log_density_nats``, ``error_nats`` (of the image's own, at logsnr_max).
    """
    tables = []

    def add(operation, step, strength, measured, repeat=0):
        levels, error = measured
        for logsnr, values in levels.items():
            columns = {"seed": list(seeds), "operation": operation, "step": step}
            columns |= {"strength": strength, "repeat": repeat, "logsnr": logsnr}
            columns |= {"log_density_nats": values, "error_nats": error}
            tables.append(pd.DataFrame(columns))

    def measure(values, repeat=0):
        return image_log_density(model, values, seeds, settings, posterior, repeat)

    unaltered = measure(images)
    for operation, values in strengths.items():
        add(operation, 0, UNALTERED[operation], unaltered)
        for step, strength in enumerate(values, start=1):
            add(operation, step, strength, measure(degrade(images, operation, strength, seeds)))
    first = next(iter(strengths))
    add(first, 0, UNALTERED[first], measure(images, 1), repeat=1)
    again = degrade(images, first, strengths[first][0], seeds)
    add(first, 1, strengths[first][0], measure(again, 1), repeat=1)
    return pd.concat(tables, ignore_index=True)


def with_black_level(images: np.ndarray, level: float, highest: float) -> np.ndarray:
    """Images ``a x + level`` in grey levels, with the contrast ``a = 1 - highest/255``.

    The contrast is that of the highest black level, at which white stays white: one for all levels,
    so that they differ in nothing but the level, and nothing clips.  Raises ValueError for a level
    outside 0 … highest, or a highest of 255 or more.
    """
    if not 0 <= level <= highest < WHITE:
        raise ValueError(
            f"level, highest: {level}, {highest} found, allowed: 0 or more, at most the highest, "
            f"which is below {WHITE:g}"
        )
    return (1 - highest / WHITE) * images.astype(np.float64) + level


def black_level_curves(
    model: ImageModel,
    images: np.ndarray,
    seeds: Sequence[int],
    levels: Sequence[float],
    strengths: Sequence[float],
    settings: FlowSettings,
    posterior: Posterior | None = None,
) -> pd.DataFrame:
    """log p of images under rising blur, with their black at each level; a row an image and step.

    An intervention: all versions of an image share its contrast, dequantisation, noise and probes
    (`with_black_level`, `noised_image`).  Step 0 is not blurred.  Columns: ``seed``,
    ``black_level``, ``step``, ``strength`` (pixels), ``log_density_nats``, ``error_nats``.
    """
    tables = []
    for level in levels:
        lifted = with_black_level(images, level, max(levels))
        for step, strength in enumerate([0.0, *strengths]):
            blurred = gaussian_blur(lifted, strength)
            along, error = image_log_density(model, blurred, seeds, settings, posterior)
            columns = {"seed": list(seeds), "black_level": level, "step": step}
            columns |= {"strength": strength, "log_density_nats": along[max(along)]}
            tables.append(pd.DataFrame(columns | {"error_nats": error}))
    return pd.concat(tables, ignore_index=True)
