"""A published 64×64 colour model (anime faces, 63.2 M parameters, MIT) as a score model.

wangjia184/diffusion_model's ``64x64_cosin_300``: a noise-prediction U-Net with a cosine table of
300 steps, saved for TensorFlow.js as ``model.json`` and 61 shards of bytes.  This file says the
architecture anew in PyTorch and reads the shards as numbers; nothing in them is executed.
``config/published.yaml`` has the address and the SHA-256 of each file.
"""

import json
import math
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cartoonists import ImageModel, ddpm_model

STEPS = 300
WIDTHS = (64, 128, 256, 512)
ATTENTION = (256, 512)  # widths of the levels that have it
TIME = 256


def norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(8, width, eps=1e-3)


class Residual(nn.Module):
    """Norm, SiLU, conv, plus the time; norm, SiLU, conv; plus the input, its width matched."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.skip = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        self.time = nn.Linear(TIME, after)
        self.norm1, self.conv1 = norm(before), nn.Conv2d(before, after, 3, padding=1)
        self.norm2, self.conv2 = norm(after), nn.Conv2d(after, after, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(time))[:, :, None, None]
        return self.conv2(F.silu(self.norm2(h))) + self.skip(x)


class Attention(nn.Module):
    """One head over the pixels, added to the *normalised* input."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = norm(width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x).flatten(2).transpose(1, 2)
        weights = self.query(h) @ self.key(h).transpose(1, 2) * h.shape[2] ** -0.5
        h = h + self.out(weights.softmax(2) @ self.value(h))
        return h.transpose(1, 2).view_as(x)


class Block(nn.Module):
    def __init__(self, before: int, after: int, attention: bool):
        super().__init__()
        self.residual = Residual(before, after)
        self.attention = Attention(after) if attention else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.attention(self.residual(x, time))


class Down(nn.Conv2d):
    """3×3, stride 2; TensorFlow pads one row and column after the image and none before."""

    def __init__(self, width: int):
        super().__init__(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1)))


class Up(nn.Conv2d):
    def __init__(self, width: int):
        super().__init__(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class FacesUNet(nn.Module):
    """ε(x, t) of x ``[batch, 3, 64, 64]`` and t ``[batch]`` in 0 … 299, fractions included.

    Modules are made in the order in which the original numbers its layers.
    """

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, WIDTHS[0], 3, padding=1)
        self.time = nn.Sequential(nn.Linear(TIME, TIME), nn.SiLU(), nn.Linear(TIME, TIME))
        self.down, self.middle, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        widths, width = [WIDTHS[0]], WIDTHS[0]
        for level in WIDTHS:
            for _ in range(2):
                self.down.append(Block(width, level, level in ATTENTION))
                width = level
                widths.append(width)
            if level != WIDTHS[-1]:
                self.down.append(Down(width))
                widths.append(width)
        self.middle.extend([Block(width, width, True), Block(width, width, False)])
        for level in reversed(WIDTHS):
            for _ in range(3):
                self.up.append(Block(width + widths.pop(), level, level in ATTENTION))
                width = level
            if level != WIDTHS[0]:
                self.up.append(Up(width))
        self.norm, self.last = norm(width), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        half = TIME // 2
        rates = torch.exp(-math.log(10_000) * torch.arange(half, device=x.device) / (half - 1))
        angles = t[:, None].to(x) * rates.to(x)
        time = self.time(torch.cat([angles.sin(), angles.cos()], dim=1))
        h = self.first(x)
        kept = [h]
        for part in self.down:
            h = part(h, time) if isinstance(part, Block) else part(h)
            kept.append(h)
        for part in self.middle:
            h = part(h, time)
        for part in self.up:
            h = part(torch.cat([h, kept.pop()], 1), time) if isinstance(part, Block) else part(h)
        return self.last(F.silu(self.norm(h)))


def read_shards(folder: Path) -> dict[str, np.ndarray]:
    """The float tensors of a TensorFlow.js model by name; uint8 codes become scale · q + min."""
    tensors = {}
    for group in json.loads((folder / "model.json").read_text())["weightsManifest"]:
        content = b"".join((folder / name).read_bytes() for name in group["paths"])
        place = 0
        for entry in group["weights"]:
            code = entry.get("quantization", {})
            kind = np.dtype(code.get("dtype", entry["dtype"])).newbyteorder("<")
            count = math.prod(entry["shape"])
            values = np.frombuffer(content, kind, count, place).reshape(entry["shape"])
            place += count * kind.itemsize
            if entry["dtype"] == "float32":
                scale, least = code.get("scale", 1.0), code.get("min", 0.0)
                tensors[entry["name"]] = (values * scale + least).astype(np.float32)
        if place != len(content):
            raise ValueError(f"{folder}: {len(content)} bytes found, the manifest says {place}")
    return tensors


LAYERS = {"conv2d": nn.Conv2d, "dense": nn.Linear, "group_normalization": nn.GroupNorm}
NAME = re.compile(r"(conv2d|dense|group_normalization)_(\d+)/(\w+)/ReadVariableOp$")
BIASES = ("BiasAdd", "Reshape_2")  # beside Conv2D, MatMul, Tensordot and Reshape_1


def load_tensors(network: nn.Module, tensors: dict[str, np.ndarray]) -> int:
    """Fill the network, each kind of layer in the order of its numbers; how many were used.

    Raises ValueError where counts or shapes differ.
    """
    found: dict[str, dict[int, dict[bool, Tensor]]] = {kind: {} for kind in LAYERS}
    for name, values in tensors.items():
        if match := NAME.search(name):
            kind, number, role = match[1], int(match[2]), match[3] in BIASES
            found[kind].setdefault(number, {})[role] = torch.from_numpy(values)
    used = 0
    for kind, module in LAYERS.items():
        layers = [layer for layer in network.modules() if isinstance(layer, module)]
        if len(layers) != len(found[kind]):
            raise ValueError(f"{kind}: {len(found[kind])} layers found, expected {len(layers)}")
        for layer, number in zip(layers, sorted(found[kind]), strict=True):
            weight, bias = found[kind][number][False], found[kind][number][True]
            order = (3, 2, 0, 1) if weight.ndim == 4 else range(weight.ndim)[::-1]
            state = {"weight": weight.permute(*order), "bias": bias}
            layer.load_state_dict(state)
            used += len(state)
    return used


def cosine_betas(steps: int = STEPS) -> Tensor:
    """β of Nichol & Dhariwal (2021, equation 17), held between 0.0001 and 0.9999."""
    at = torch.arange(steps + 1, dtype=torch.float64) / steps
    signal = torch.cos((at + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - signal[1:] / signal[:-1]).clamp(1e-4, 0.9999)


def model(folder: str) -> ImageModel:
    """The model from a folder with ``model.json`` and the shards."""
    network = FacesUNet()
    load_tensors(network, read_shards(Path(folder)))
    return ddpm_model(network, cosine_betas(), (3, 64, 64))
