"""One sample of the explorer again: drawn and measured as the workflow drew and measured it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from cartoonists.density.flow import FlowSettings, flow_log_density
from cartoonists.density.guidance import sample_guided
from cartoonists.density.posterior import PosteriorTable
from cartoonists.experiments.high_density import high_density_pairs
from cartoonists.experiments.noise import with_noise
from cartoonists.experiments.tables import read_table
from cartoonists.images.pictures import to_picture
from cartoonists.models.checkpoints import ImageModel, load_model


@dataclass(frozen=True)
class Shown:
    """A picture and its log-density by the PF-ODE with its estimated error, both nats/dim."""

    picture: Image.Image
    log_density: float
    error: float


def high_density_shown(
    reference: str,
    stein: str | Path,
    *,
    seed: int,
    switch_logsnr: float | None,
    base_steps: int,
    steps: int,
    flow: Mapping[str, Any],
    execution: Mapping[str, Any] | None = None,
) -> Shown:
    """The HD sample of a seed from a switch point, or, with None, the ordinary sample.

    Measured as by `high_density.pair_log_densities`, at equal noise.  ``stein`` is the stein.npz of
    the run.  Raises ValueError for a switch outside the range of λ, CheckpointError.
    """
    model, table = _load(reference, stein, execution)
    switch = model.schedule.logsnr_max if switch_logsnr is None else switch_logsnr
    pairs = high_density_pairs(
        model, [switch], [seed], base_steps=base_steps, steps=steps, posterior=table
    )
    clean = pairs.denoised(model)[0 if switch_logsnr is None else 1]
    noisy = with_noise(clean, model, [seed])
    return _measured(model, model.picture(clean), noisy, seed, flow, table)


def guided_shown(
    reference: str,
    stein: str | Path,
    *,
    seed: int,
    strength: float,
    steps: int,
    bound: float,
    flow: Mapping[str, Any],
    execution: Mapping[str, Any] | None = None,
) -> Shown:
    """The sample of a seed under density guidance, measured as it ended (`control.model_control`).

    Raises ValueError for a strength that is not finite, CheckpointError.
    """
    model, table = _load(reference, stein, execution)
    run = sample_guided(
        model, steps=steps, strength=strength, seeds=[seed], bound=bound, posterior=table,
        track=False,
    )  # fmt: skip
    return _measured(model, model.finish(run.x), run.x, seed, flow, table)


def _load(reference, stein, execution) -> tuple[ImageModel, PosteriorTable]:
    return load_model(reference, **execution or {}), read_table(stein)


def _measured(
    model: ImageModel, pixels: Tensor, x: Tensor, seed: int, flow, table: PosteriorTable
) -> Shown:
    found = flow_log_density(model, x, [seed], FlowSettings(**flow), table)
    values = (found.log_density, torch.as_tensor(found.error))
    density, error = (value.item() / model.dimensions for value in values)
    return Shown(to_picture(pixels.numpy()[0]), density, error)
