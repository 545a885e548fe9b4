"""Shared closed-form targets; one thread, so that tests neither thrash nor hang on the machine."""

import pytest
import torch
from workflow_clone import Clone

from cartoonists import VE, VP, Gaussian, RectifiedFlow

torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Keep the tests of a file, and those of the one clone, in one process; slow ones first."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    groups = {item: "clone" if "clone" in item.fixturenames else item.path.stem for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: (groups[item] != "clone", item.path not in slow))


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
