"""Where and how precisely a network runs: device, precision, compilation, batch size."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
STATES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class Execution:
    """How a network is evaluated.

    device: *auto* (a GPU where there is one), *cpu*, *cuda* or *cuda:1*, of the network; the state
    stays on the CPU, so that results are formed by the same code everywhere.  precision: *fp32*, or
    *bf16* and *fp16* by autocast, for the network alone.  state: *float64* or *float32*, the dtype
    of x between evaluations (docs/precision.md has the error of each).  compile: torch.compile.
    batch_size: samples in one call, bounding memory; *auto* doubles it while memory lasts.
    Raises ValueError for other values, and for a GPU where there is none.
    """

    device: str = "cpu"
    precision: str = "fp32"
    state: str = "float64"
    compile: bool = False
    batch_size: int | str = 128

    def __post_init__(self):
        for name, value, allowed in (
            ("precision", self.precision, PRECISIONS),
            ("state", self.state, STATES),
        ):
            if value not in allowed:
                raise ValueError(f"{name}: {value!r} found, allowed: {', '.join(allowed)}")
        if self.batch_size != "auto" and not (
            isinstance(self.batch_size, int) and self.batch_size >= 1
        ):
            raise ValueError(f"batch_size: {self.batch_size!r} found, allowed: auto, or 1 or more")
        device = self.resolved_device
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device: {self.device!r} found, but PyTorch sees no GPU here")

    @property
    def resolved_device(self) -> torch.device:
        """The device, *auto* decided."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            return torch.device(self.device)
        except RuntimeError:
            raise ValueError(
                f"device: {self.device!r} found, allowed: auto, cpu, cuda, cuda:<number>"
            ) from None

    def apply(self, model):
        """Put a ``NetworkScore`` on the device with these settings; returns the model."""
        model.device = self.resolved_device
        # the faster one of each precision on a CPU, by benchmarks/network_speed.py
        layout = torch.channels_last if self.precision == "fp32" else torch.contiguous_format
        model.network.to(model.device, memory_format=layout)
        model.autocast, model.state = PRECISIONS[self.precision], STATES[self.state]
        if self.compile:  # once a batch size: sizes left open fail to compile on U-Nets' odd halves
            model.network = torch.compile(model.network, dynamic=False)
        model.batch_size = self.batch_size if self.batch_size != "auto" else fitting_batch(model)
        return model


def fitting_batch(model, most: int = 1024) -> int:
    """Largest power of two of samples whose vector-Jacobian product fits into memory.

    On a GPU by trial; on a CPU, where a trial would swap, ``min(most, 128)``.
    """
    if model.device.type != "cuda":
        return min(most, 128)

    def trial(n: int) -> None:
        x = torch.zeros(n, *model.shape, dtype=model.state)
        model.batch_size = n
        model.score_and_hvp(x, model.schedule.logsnr_max, x)

    return largest_batch(trial, most)


def largest_batch(trial: Callable[[int], None], most: int) -> int:
    """Largest power of two n ≤ most for which ``trial(n)`` does not run out of memory.

    Raises ValueError where even one sample does not fit.
    """
    fits, n = 0, 1
    while n <= most:
        try:
            trial(n)
        except torch.OutOfMemoryError:
            break
        finally:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        fits, n = n, 2 * n
    if not fits:
        raise ValueError("batch_size: not even one sample fits into the device's memory")
    return fits
