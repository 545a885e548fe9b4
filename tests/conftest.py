"""Shared closed-form targets; one thread, so that tests neither thrash nor hang on the machine."""

import pytest
import torch
from workflow_clone import Clone

from cartoonists import VE, VP, Gaussian, GaussianMixture

torch.set_num_threads(1)


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


@pytest.fixture(params=[VP, VE], ids=["VP", "VE"])
def schedule(request):
    return request.param()


@pytest.fixture
def gaussian():
    return Gaussian(torch.zeros(8), 0.3, VP())


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """A copy of this clone with the results of the ci configuration."""
    clone = Clone(tmp_path_factory.mktemp("clone"))
    done = clone.snakemake()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return clone
