"""Make ``import torchvision`` work beside a CPU build of PyTorch.

The package index serves torchvision only as a CUDA build.  Next to a CPU build of PyTorch its
compiled operators cannot load, and the import then fails while registering shape functions for two
operators that nobody declared.  Neither diffusers nor clean-fid calls them, so declaring their
signatures is enough.  With a working torchvision this module does nothing.
"""

import importlib
import sys

import torch

_DECLARATIONS: list[torch.library.Library] = []  # a Library withdraws its operators when collected


def import_torchvision():
    """Import torchvision, declaring its two missing operators only if the plain import fails."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _DECLARATIONS.append(library)
    return importlib.import_module("torchvision")
