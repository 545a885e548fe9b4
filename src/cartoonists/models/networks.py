"""The bundled U-Net: a diffusers ``UNet2DModel`` behind a full-resolution stem and head."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cartoonists.files.errors import CheckpointError

TIMESTEP_SCALE = 1000.0  # range of the sinusoidal embedding that diffusers' U-Net expects
GROUPS = 8  # of the group norms
HEAD_DIM = 32  # channels of an attention head, at the lowest resolution
OUTPUTS = ("eps", "velocity")
MOST = 2**14  # of a number in an architecture: no width or size is near it


class PixelUNet(nn.Module):
    """A network ε(x, λ), or v(x, λ) of a flow, at half resolution that sees every pixel.

    A convolution at full resolution feeds a space-to-depth of 2, the U-Net runs on the half-sized
    map (four times cheaper), and two convolutions at full resolution draw the output; without them
    a faint 2×2 grid stays in flat areas.  The output is

        ε(x, λ) = σ_λ x + α_λ F(x, λ),

    the best linear predictor for unit-variance data plus the network, in the spirit of Karras et
    al. (2022, section 5), for the variance-preserving schedule: errors of the denoised image stay
    of the size of F's at every noise level.  With ``output`` *velocity* it is ``v = ε - x_0`` of
    the same F, for x of `RectifiedFlow`: z/(α + σ) for z of the variance-preserving schedule,

        v(x, λ) = (σ_λ - α_λ) z + (α_λ + σ_λ) F(z, λ),   z = (α_λ + σ_λ) x,

    α and σ being the variance-preserving ones.

    Shapes: x ``[batch, channels, size, size]`` with even size, logsnr ``[batch]``; output like x.
    Raises ``ValueError`` for an odd size, for widths that norms or attention cannot divide and for
    an unknown output.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        widths: tuple[int, ...],
        stem_width: int = 8,
        head_width: int = 16,
        layers_per_block: int = 1,
        dropout: float = 0.0,
        logsnr_min: float = -10.0,
        logsnr_max: float = 10.0,
        output: str = "eps",
    ):
        super().__init__()
        if size % 2:
            raise ValueError(f"PixelUNet: size must be even, got {size}")
        if any(width % GROUPS for width in widths) or widths[-1] < HEAD_DIM:
            raise ValueError(
                f"PixelUNet: widths must be multiples of {GROUPS}, the last at least {HEAD_DIM},"
                f" got {list(widths)}"
            )
        if output not in OUTPUTS:
            raise ValueError(f"output: {output!r} found, allowed: {', '.join(OUTPUTS)}")
        from diffusers import UNet2DModel

        self.logsnr_min, self.logsnr_max, self.output = logsnr_min, logsnr_max, output
        self.stem = nn.Conv2d(channels, stem_width, 3, padding=1)
        self.unet: Any = UNet2DModel(
            sample_size=size // 2,
            in_channels=4 * stem_width,
            out_channels=4 * stem_width,
            block_out_channels=tuple(widths),
            layers_per_block=layers_per_block,
            down_block_types=("DownBlock2D",) * len(widths),
            up_block_types=("UpBlock2D",) * len(widths),
            norm_num_groups=GROUPS,
            attention_head_dim=HEAD_DIM,
            dropout=dropout,
        )
        first = nn.Conv2d(2 * stem_width, head_width, 3, padding=1)
        last = nn.Conv2d(head_width, channels, 3, padding=1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.head = nn.Sequential(first, nn.SiLU(), last)

    def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
        span = self.logsnr_max - self.logsnr_min
        timestep = (logsnr - self.logsnr_min) * (TIMESTEP_SCALE / span)
        level = logsnr.view(-1, 1, 1, 1)
        alpha, sigma = torch.sigmoid(level).sqrt(), torch.sigmoid(-level).sqrt()
        if self.output == "eps":
            return sigma * x + alpha * self._residual(x, timestep)
        z = (alpha + sigma) * x
        return (sigma - alpha) * z + (alpha + sigma) * self._residual(z, timestep)

    def _residual(self, x: Tensor, timestep: Tensor) -> Tensor:
        """F, of images of unit variance with their noise."""
        with _full_precision(x):
            stem = F.silu(self.stem(x))
        coarse = self.unet(F.pixel_unshuffle(stem, 2), timestep).sample
        with _full_precision(x):
            fine = F.pixel_shuffle(coarse.to(stem.dtype), 2)
            return self.head(torch.cat([stem, fine], dim=1))


def build_network(architecture: dict) -> nn.Module:
    """The network that a card describes.  Raises CheckpointError for an unknown architecture."""
    options = dict(architecture)
    name = options.pop("name", None)
    if name != "PixelUNet":
        raise CheckpointError(f"architecture: {name!r} found, allowed: 'PixelUNet'")
    for key, value in options.items():
        if key == "output":  # a word, which PixelUNet itself checks
            continue
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, bool) or not isinstance(part, int | float) or abs(part) > MOST:
                raise CheckpointError(f"architecture, {key}: {value!r} found, allowed: numbers")
    try:
        return PixelUNet(**options)
    except (TypeError, ValueError, IndexError, RuntimeError, ZeroDivisionError) as error:
        raise CheckpointError(f"architecture: {' '.join(str(error).split())}") from None


def _full_precision(x: Tensor):
    """Outside autocast: bfloat16 rounds a pixel by 0.4%, at λ = 10 more than half of the noise."""
    return torch.autocast(x.device.type, enabled=False)
