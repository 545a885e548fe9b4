"""Synthetic images with a known density: flat shapes as the means, texture as Gaussian noise.

The components of the mixture are shapes (discs, squares, stripes) at positions, each with every
strength of texture; the texture's covariance is diagonal in the cosine transform, with a power
spectrum that falls as a power of the frequency.  The shapes themselves are flat, but no draw is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from cartoonists.images.data import ImageSet, PixelScaling
from cartoonists.paths.bases import Cosine
from cartoonists.paths.schedules import NoiseSchedule
from cartoonists.paths.scores import GaussianMixture

SHAPES = ("disc", "square", "stripes")
GREY_LEVELS = 256.0


@dataclass(frozen=True)
class SyntheticSettings:
    """``size`` pixels a side; ``positions`` of the centre along each side; ``radius`` in pixels.

    ``background`` and ``foreground`` in grey levels; ``strengths``, standard deviations of the
    texture in grey levels; its power falls as ``frequency^-exponent`` (0: white noise).
    Raises ValueError for shapes that would leave the picture, grey levels outside 0 … 255,
    strengths not above 0, or an unknown shape.
    """

    size: int = 32
    shapes: Sequence[str] = SHAPES
    positions: int = 2
    radius: float = 6.0
    background: float = 64.0
    foreground: float = 192.0
    strengths: Sequence[float] = (6.0, 12.0, 24.0)
    exponent: float = 2.0

    def __post_init__(self):
        unknown = [name for name in self.shapes if name not in SHAPES]
        if unknown or not self.shapes:
            raise ValueError(f"shapes: {list(self.shapes)} found, allowed: {', '.join(SHAPES)}")
        if self.positions < 1 or not 0 < self.radius <= self.size / (self.positions + 1):
            raise ValueError(
                f"radius: {self.radius} found, allowed: above 0, at most the distance of the "
                f"centres to the border ({self.size / (self.positions + 1):g} pixels)"
            )
        levels = (self.background, self.foreground)
        if not all(0 <= level <= 255 for level in levels):
            raise ValueError(f"grey levels: {levels} found, allowed: 0 to 255")
        if not self.strengths or not all(value > 0 for value in self.strengths):
            raise ValueError(f"strengths: {list(self.strengths)} found, allowed: above 0")

    @property
    def components(self) -> list[tuple[str, tuple[float, float], float]]:
        """Shape, centre (row, column) and strength of each component."""
        step = self.size / (self.positions + 1)
        places = [step * (i + 1) for i in range(self.positions)]
        return list(product(self.shapes, product(places, places), self.strengths))


def shape_mask(shape: str, size: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    """Which pixels ``[size, size]`` have their middle inside the shape.

    A disc of that radius; a square and stripes of the same width, 2 radius: three bars across it.
    """
    row, column = np.meshgrid(*2 * [np.arange(size) + 0.5], indexing="ij")
    down, across = row - centre[0], column - centre[1]
    if shape == "disc":
        return np.hypot(down, across) <= radius
    inside = np.maximum(np.abs(down), np.abs(across)) <= radius
    if shape == "square":
        return inside
    return inside & (np.floor((down + radius) / (2 * radius) * 5) % 2 == 0)


def flat_images(settings: SyntheticSettings) -> np.ndarray:
    """The mean of each component, grey levels ``[K, 1, size, size]``: two levels, no texture."""
    masks = [
        shape_mask(shape, settings.size, centre, settings.radius)
        for shape, centre, _ in settings.components
    ]
    contrast = settings.foreground - settings.background
    return settings.background + contrast * np.stack(masks)[:, None]


def texture_spectrum(size: int, exponent: float) -> np.ndarray:
    """Variance of each DCT coefficient ``[size, size]``, mean 1: that of a pixel, on average.

    ``(1 + |k|²)^(-exponent/2)``, with |k| in half periods a side.
    """
    k = np.arange(size)
    power = (1.0 + k[:, None] ** 2 + k[None, :] ** 2) ** (-exponent / 2)
    return power / power.mean()


@dataclass(frozen=True)
class SyntheticModel:
    """The exact model, and the map between its space and grey levels."""

    mixture: GaussianMixture
    scaling: PixelScaling
    settings: SyntheticSettings

    def texture(self, x: Tensor) -> np.ndarray:
        """RMS distance of x ``[n, 1, size, size]`` to the nearest flat image, in grey levels."""
        flat = x.flatten(1)
        means = self.mixture.means[:: len(self.settings.strengths)].flatten(1)
        nearest = torch.cdist(flat, means, compute_mode="donot_use_mm_for_euclid_dist").min(1)
        scale = GREY_LEVELS * self.scaling.std[0] / math.sqrt(flat.shape[1])
        return nearest.values.numpy() * scale


def synthetic_model(settings: SyntheticSettings, schedule: NoiseSchedule) -> SyntheticModel:
    """The mixture of all components, equally likely, standardised by its own mean and variance."""
    grey = flat_images(settings)
    strengths = np.array([strength for *_, strength in settings.components])
    variance = grey.var() + (strengths**2).mean()
    scaling = PixelScaling(
        (float(grey.mean()) / GREY_LEVELS,), (math.sqrt(variance) / GREY_LEVELS,)
    )
    means = torch.from_numpy((grey - grey.mean()) / math.sqrt(variance))
    spectrum = texture_spectrum(settings.size, settings.exponent)
    variances = strengths[:, None, None, None] ** 2 * spectrum / variance
    weights = np.ones(len(strengths))
    mixture = GaussianMixture(weights, means, variances, schedule, Cosine())
    return SyntheticModel(mixture, scaling, settings)


def synthetic_images(model: SyntheticModel, n: int, seed: int = 0) -> ImageSet:
    """A data set of n draws: uint8 images, and the number of the shape in the settings as label.

    Rounded to grey levels and clipped to 0 … 255; the label is that of the likeliest component.
    """
    x = model.mixture.sample(n, seed)
    found = model.mixture.responsibilities(x, model.mixture.schedule.logsnr_max).argmax(1).numpy()
    names = [shape for shape, *_ in model.settings.components]
    labels = np.array([list(model.settings.shapes).index(names[k]) for k in found])
    return ImageSet(model.scaling.to_pixels(x / model.mixture.end_scale).numpy(), labels)
