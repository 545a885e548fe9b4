"""A published MNIST DDPM (Yichizz/hot_vs_cold_diffusion, MIT) as a score model.

ε(x, t/1000) with a linear table of 1,000 steps; data are grey levels/255 - ½.  The weights are a
PyTorch file, read as tensors alone; ``config/published.yaml`` has its address and SHA-256.
"""

import math

import torch
from torch import Tensor, nn

from cartoonists import ImageModel, ddpm_model

WIDTHS = (1, 16, 32, 32, 16)
FREQUENCIES = 16


class Layer(nn.Module):
    """A 7×7 convolution, a norm over the whole image, GELU."""

    def __init__(self, before: int, after: int):
        super().__init__()
        convolution = nn.Conv2d(before, after, 7, padding=3)
        self.net = nn.Sequential(convolution, nn.LayerNorm((after, 28, 28)), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Network(nn.Module):
    """Four such layers and a last convolution; time is added after the first."""

    def __init__(self):
        super().__init__()
        layers = [Layer(a, b) for a, b in zip(WIDTHS[:-1], WIDTHS[1:], strict=True)]
        self.blocks = nn.ModuleList([*layers, nn.Conv2d(WIDTHS[-1], 1, 3, padding=1)])
        sizes = (2 * FREQUENCIES, 128, 128, 128, WIDTHS[1])
        dense = [nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
        self.time_embed = nn.Sequential(*[m for d in dense for m in (d, nn.GELU())][:-1])
        octaves = [0.0] + [2 * math.pi * 1.5**i for i in range(FREQUENCIES - 1)]
        self.register_buffer("frequencies", torch.tensor(octaves))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        phases = (t[:, None] + 1) / 1000 * self.frequencies  # the table's first step has t = 1
        time = self.time_embed(torch.cat([phases.sin(), phases.cos() - 1], dim=1))
        h = self.blocks[0](x) + time[:, :, None, None]
        for block in self.blocks[1:]:
            h = block(h)
        return h


def model(weights: str) -> ImageModel:
    """The model from a file of weights."""
    state = torch.load(weights, map_location="cpu", weights_only=True)
    network = Network()
    prefix = "gt."
    tensors = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    network.load_state_dict(tensors)
    signal = state["alpha_t"].double()  # of steps 0 to 1,000, of which the first was not trained
    betas = 1 - signal[1:] / torch.cat([torch.ones(1), signal[1:-1]])
    return ddpm_model(network, betas, (1, 28, 28), data_range=(-0.5, 0.5))
