"""Closed-form targets, and an image model whose network is exact, for tests of every room."""

import torch

from cartoonists import VP, Gaussian, GaussianMixture, ImageModel
from cartoonists.images.data import PixelScaling

SHAPE = (1, 6, 6)


def mixture(dimensions, schedule=None, components=3, seed=0, spread=1.0, anisotropic=False):
    """A random mixture with well-separated scales; variances 0.1 to 0.6 where isotropic."""
    g = torch.Generator().manual_seed(seed)
    options = {"generator": g, "dtype": torch.float64}
    weights = 0.5 + torch.rand(components, **options)
    means = spread * torch.randn(components, dimensions, **options)
    if anisotropic:
        variances = 10 ** (-2.5 + 3 * torch.rand(components, dimensions, **options))
    else:
        variances = 0.1 + 0.5 * torch.rand(components, **options)
    return GaussianMixture(weights, means, variances, schedule or VP())


def gaussian_images():
    """An image model whose network is the exact score of N(0, V), and that Gaussian."""
    schedule = VP()
    variances = torch.logspace(-2, 0.5, 36, dtype=torch.float64).view(SHAPE)
    target = Gaussian(torch.zeros(SHAPE), variances, schedule)

    def network(x, logsnr):
        level = logsnr.view(-1, 1, 1, 1)
        alpha2, sigma2 = torch.sigmoid(level), torch.sigmoid(-level)
        return sigma2.sqrt() * x / (alpha2 * variances.float() + sigma2)

    return ImageModel(network, SHAPE, schedule, PixelScaling((0.5,), (0.25,)), {}), target
