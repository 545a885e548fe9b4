"""Let ``import torchvision`` work beside a CPU build of PyTorch, without a user's doing.

The package index serves torchvision only as a CUDA build.  Next to a CPU build of PyTorch its
compiled operators cannot load, and the import then fails while registering shape functions for two
operators that nobody declared, and with it the import of diffusers.  Neither diffusers nor
clean-fid calls them, so declaring their signatures is enough.  ``import cartoonists`` puts a finder
before the others, which does so when torchvision is first asked for, by whomever, where it must.
"""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

OPERATORS = ("nms", "qnms")
_DECLARATIONS: list[Any] = []  # a Library withdraws its operators when collected


class _Watch(MetaPathFinder):
    """Finds nothing; sees that torchvision is about to be imported."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            _declare_missing_operators()
        return None


def watch_for_torchvision() -> None:
    """Make the first import of torchvision find its operators declared."""
    if "torchvision" not in sys.modules:
        sys.meta_path.insert(0, _Watch())


def _declare_missing_operators() -> None:
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    torch = import_module("torch")  # by name: reading a table imports the package, and no PyTorch
    for library in Path(spec.origin).parent.glob("_C*"):
        try:
            torch.ops.load_library(str(library))  # what torchvision itself does next
        except OSError:
            continue
    missing = [name for name in OPERATORS if not hasattr(torch.ops.torchvision, name)]
    if missing:
        fragment = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            fragment.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARATIONS.append(fragment)
