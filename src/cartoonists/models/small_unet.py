"""The U-Net inside the bundled networks, in the layers of diffusers' ``UNet2DModel``.

That class has many more, and importing it takes longer than most jobs that load a bundled network;
names and values of weights are the same in both, and so are the outputs.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 8  # of the group norms
HEAD_DIM = 32  # channels of an attention head
LONGEST = 10_000  # period of the slowest sinusoid, in timesteps


class SmallUNet(nn.Module):
    """Residual blocks on the way down and up, self-attention at the lowest resolution.

    The U-Net of Ho et al. (2020, appendix B): group norms, SiLU, a sinusoidal embedding of the
    timestep that each residual block adds.  ``layers`` residual blocks a width on the way down and
    one more on the way up, of ``widths``, halving the resolution between them.  x ``[batch,
    channels, h, w]``, timestep ``[batch]``; output like x.
    """

    def __init__(self, channels: int, widths: Sequence[int], layers: int, dropout: float):
        super().__init__()
        first, last, embedded = widths[0], widths[-1], 4 * widths[0]
        self.conv_in = nn.Conv2d(channels, first, 3, padding=1)
        self.time_embedding = _TimeEmbedding(first, embedded)
        self.down_blocks: Any = nn.ModuleList()
        held = [first]  # channels of each map that the way up takes again
        for i, width in enumerate(widths):
            inputs = [held[-1], *[width] * (layers - 1)]
            more = i < len(widths) - 1
            self.down_blocks.append(_Block(inputs, width, embedded, dropout, _Down, more))
            held += [width] * (layers + more)
        self.mid_block = _Middle(last, embedded, dropout)
        self.up_blocks: Any = nn.ModuleList()
        below = last
        for i, width in enumerate(reversed(widths)):
            inputs = [n + held.pop() for n in [below, *[width] * layers]]
            more = i < len(widths) - 1
            self.up_blocks.append(_Block(inputs, width, embedded, dropout, _Up, more))
            below = width
        self.conv_norm_out = nn.GroupNorm(GROUPS, first)
        self.conv_out = nn.Conv2d(first, channels, 3, padding=1)

    def forward(self, x: Tensor, timestep: Tensor) -> Tensor:
        level = self.time_embedding(timestep)
        x = self.conv_in(x)
        held = [x]
        for block in self.down_blocks:
            for residual in block.resnets:
                x = residual(x, level)
                held.append(x)
            for halve in block.downsamplers:
                x = halve(x)
                held.append(x)
        x = self.mid_block(x, level)
        for block in self.up_blocks:
            for residual in block.resnets:
                x = residual(torch.cat([x, held.pop()], dim=1), level)
            for double in block.upsamplers:
                x = double(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class _TimeEmbedding(nn.Module):
    def __init__(self, width: int, embedded: int):
        super().__init__()
        self.width = width
        self.linear_1 = nn.Linear(width, embedded)
        self.linear_2 = nn.Linear(embedded, embedded)

    def forward(self, timestep: Tensor) -> Tensor:
        half = self.width // 2
        exponents = -math.log(LONGEST) * torch.arange(half, device=timestep.device) / half
        phases = timestep[:, None].float() * exponents.exp()
        waves = torch.cat([phases.cos(), phases.sin()], dim=-1).to(self.linear_1.weight.dtype)
        return self.linear_2(F.silu(self.linear_1(waves)))


class _Residual(nn.Module):
    def __init__(self, inputs: int, width: int, embedded: int, dropout: float):
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, inputs)
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1)
        self.time_emb_proj = nn.Linear(embedded, width)
        self.norm2 = nn.GroupNorm(GROUPS, width)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, width, 1) if inputs != width else nn.Identity()

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        y = y + self.time_emb_proj(F.silu(level))[:, :, None, None]
        y = self.conv2(self.dropout(F.silu(self.norm2(y))))
        return self.conv_shortcut(x) + y


class _Down(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class _Up(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class _Block(nn.Module):
    """The residual blocks of one resolution, and the change to the next, if there is ``more``."""

    def __init__(
        self, inputs: list[int], width: int, embedded: int, dropout: float, change: type, more: bool
    ):
        super().__init__()
        self.resnets = nn.ModuleList(_Residual(n, width, embedded, dropout) for n in inputs)
        changes = nn.ModuleList([change(width)] if more else [])
        self.downsamplers = changes if change is _Down else nn.ModuleList()
        self.upsamplers = changes if change is _Up else nn.ModuleList()


class _Middle(nn.Module):
    def __init__(self, width: int, embedded: int, dropout: float):
        super().__init__()
        first = _Residual(width, width, embedded, dropout)
        self.attentions = nn.ModuleList([_Attention(width)])
        self.resnets = nn.ModuleList([first, _Residual(width, width, embedded, dropout)])

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        x = self.attentions[0](self.resnets[0](x, level))
        return self.resnets[1](x, level)


class _Attention(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.heads = width // HEAD_DIM
        inner = self.heads * HEAD_DIM
        self.group_norm = nn.GroupNorm(GROUPS, width)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, inner) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(inner, width)])

    def forward(self, x: Tensor) -> Tensor:
        rows = self.group_norm(x.flatten(2)).transpose(1, 2)  # [batch, pixels, channels]
        query, key, value = (
            part(rows).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.to_q, self.to_k, self.to_v)
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return x + self.to_out[0](mixed).transpose(1, 2).reshape(x.shape)
