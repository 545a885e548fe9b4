"""Networks of latents as ``network(x, λ)``, each with what its pipeline tells it at every step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from cartoonists.files.weights import damaged


class LatentNetwork(nn.Module):
    """A text-conditional U-Net of Stable Diffusion 1 and 2 for one prompt, and what all share.

    ``timestep`` maps logSNRs to the network's own time.  ``given`` are conditions of one sample
    with a batch dimension, here *prompt* ``[1, tokens, width]``; all samples have them.  A learned
    variance, the second half of the output's channels, is dropped.
    """

    prompt: Tensor

    def __init__(self, network: Any, timestep: Callable[[Tensor], Tensor], **given: Tensor):
        super().__init__()
        self.network, self.timestep = network, timestep
        self.dtype = next(network.parameters()).dtype
        for name, value in given.items():
            kept = value.to(self.dtype) if value.is_floating_point() else value
            self.register_buffer(name, kept, persistent=False)

    def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
        return self._call(self.network, x, self.timestep(logsnr.cpu()).to(x))

    def told(self, x: Tensor) -> dict[str, Any]:
        """What the network takes beside latents x and time."""
        return {"encoder_hidden_states": _rows(self.prompt, x)}

    def pack(self, x: Tensor) -> Tensor:
        """Latents as the network takes them."""
        return x

    def unpack(self, output: Tensor, x: Tensor) -> Tensor:
        """An output for x in the layout of latents."""
        return output

    def _call(self, network: Callable, x: Tensor, time: Tensor) -> Tensor:
        packed = self.pack(x.to(self.dtype))
        output = network(packed, timestep=time, **self.told(x)).sample
        return self.unpack(output, x)[:, : x.shape[1]].to(x.dtype)

    def check(self, shape: tuple[int, ...]) -> None:
        """Evaluate once without values (PyTorch's *meta* device), so that shapes must fit.

        Only where that fails the network itself is tried, for operations that *meta* does not have.
        Raises CheckpointError.
        """
        state = [*self.network.named_parameters(), *self.network.named_buffers()]
        values = {name: value.to("meta") for name, value in state}
        empty = self._like("meta")
        trials: list[tuple[LatentNetwork, Callable, str]] = [
            (empty, lambda *a, **k: functional_call(self.network, values, a, k), "meta"),
            (self, self.network, str(state[0][1].device)),
        ]
        for network, call, device in trials:
            x = torch.zeros(1, *shape, device=device)
            try:
                with torch.no_grad():
                    output = network._call(call, x, torch.ones(1, device=device))
                if output.shape != x.shape:
                    raise ValueError(f"output of shape {list(output.shape)} for {list(x.shape)}")
                return
            except Exception as error:  # whatever the layers raise
                failure = error
        raise damaged(Path(type(self.network).__name__), failure)

    def _like(self, device: str) -> "LatentNetwork":
        """The same around the same network, with its conditions on another device."""
        given = {name: value.to(device) for name, value in self.named_buffers(recurse=False)}
        return type(self)(self.network, self.timestep, **given)


class XLNetwork(LatentNetwork):
    """Stable Diffusion XL: a pooled text ``[1, width]`` and ``sizes`` ``[1, 6]`` beside."""

    pooled: Tensor
    sizes: Tensor

    def told(self, x):
        added = {"text_embeds": _rows(self.pooled, x), "time_ids": _rows(self.sizes, x)}
        return {**super().told(x), "added_cond_kwargs": added}


class LabelNetwork(LatentNetwork):
    """DiT (Peebles & Xie, 2023): a class ``label`` ``[1]``."""

    label: Tensor

    def told(self, x):
        return {"class_labels": _rows(self.label, x)}


class PixArtNetwork(LatentNetwork):
    """PixArt: a prompt with its ``mask``; of images of 1024 pixels their ``sizes`` ``[1, 2]``."""

    mask: Tensor
    sizes: Tensor

    def told(self, x):
        height, width = self.sizes[:, :1], self.sizes[:, 1:]
        known = len(self.sizes) > 0
        added = {
            "resolution": _rows(self.sizes, x) if known else None,
            "aspect_ratio": _rows(height / width, x) if known else None,
        }
        masked = {"encoder_attention_mask": _rows(self.mask, x), "added_cond_kwargs": added}
        return {**super().told(x), **masked}


class SD3Network(LatentNetwork):
    """Stable Diffusion 3: a prompt and a pooled one."""

    pooled: Tensor

    def told(self, x):
        return {**super().told(x), "pooled_projections": _rows(self.pooled, x)}


class FluxNetwork(SD3Network):
    """FLUX: 2×2 latents are a token, ``words`` and tokens have places, ``scale`` is guidance.

    ``scale`` ``[1]`` goes to a network that was distilled with guidance; it is empty for others.
    """

    words: Tensor
    scale: Tensor

    def pack(self, x):
        return F.pixel_unshuffle(x, 2).flatten(2).mT

    def unpack(self, output, x):
        height, width = x.shape[2] // 2, x.shape[3] // 2
        return F.pixel_shuffle(output.mT.unflatten(2, (height, width)), 2)

    def told(self, x):
        rows, columns = (torch.arange(side // 2, device=x.device) for side in x.shape[2:])
        places = torch.cartesian_prod(torch.zeros(1).to(rows), rows, columns).to(self.words)
        guidance = _rows(self.scale, x) if len(self.scale) else None
        ids = {"txt_ids": self.words, "img_ids": places}
        return {**super().told(x), **ids, "guidance": guidance}


def _rows(value: Tensor, x: Tensor) -> Tensor:
    """The same for every sample of x."""
    return value.expand(len(x), *value.shape[1:])
