"""Shared closed-form targets; one thread, so that tests neither thrash nor hang on the machine."""

import pytest
import torch
from workflow_clone import Clone

from cartoonists import VE, VP, Gaussian, RectifiedFlow

torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Files with slow tests first, so that no process ends with one alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(params=[VP, VE, RectifiedFlow], ids=["VP", "VE", "RectifiedFlow"])
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
