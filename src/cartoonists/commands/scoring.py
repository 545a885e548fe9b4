"""Score images: PF-ODE and, where they are asked for, ELBO and IWAE, a row an image."""

import hashlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cartoonists.commands.runs import Run, Store, identity, image_model, kept_table
from cartoonists.density.flow import FlowSettings, flow_log_density
from cartoonists.density.likelihood import bits_per_dim, elbo
from cartoonists.images.data import LOADERS, ImageSet
from cartoonists.images.own_data import held_out_set
from cartoonists.images.picture_files import PICTURES, Pictures
from cartoonists.models.image_models import ImageModel
from cartoonists.paths.streams import Streams


@dataclass(frozen=True)
class ScoreSettings:
    """Steps and probes of the PF-ODE, paths of the bounds (0 for none), seed of all noise."""

    steps: int = 64
    probes: int = 1
    paths: int = 0
    seed: int = 0
    precision: str = "fp32"


def prepare(
    name: str,
    places: Sequence[str],
    limit: int | None,
    settings: ScoreSettings,
    out: Path | None,
    device: str = "auto",
) -> Run:
    """The run that scores the images of some places under a model.

    Raises CheckpointError, DataError, and ValueError where ``out`` holds something else.
    """
    model = image_model(name, device, settings.precision)
    keys, pixels = read_images(places, model.pixel_shape, limit, settings.seed)
    by_seed = dict(zip(keys["seed"], pixels, strict=True))

    store = Store(out, identity("score", name, model) | asdict(settings))

    def measure(seeds: Sequence[int], advance: Callable[..., None]) -> pd.DataFrame:
        if model.posterior is None:
            model.posterior = kept_table(model, store.settings)
        chosen = np.stack([by_seed[seed] for seed in seeds])
        return image_scores(model, chosen, seeds, settings, advance)

    return Run(store, keys, "image", settings.steps * (1 + settings.paths), measure)


def read_images(
    places: Sequence[str], shape: Sequence[int], limit: int | None, seed: int
) -> tuple[pd.DataFrame, np.ndarray]:
    """Columns ``image`` (a name), ``seed`` and ``treatment``, and the pixels ``[n, *shape]``.

    A place is a picture file, a bundled data set, or what `own_data.parts` reads (its part *test*
    where it has parts).  An image that two places name is read once.  Raises DataError.
    """
    frames, pixels = [], []
    for place in places:
        found = _read(place, shape, limit or sys.maxsize)
        names = [f"{place}[{i}]" for i in range(len(found))]
        if found.files:
            names = [str(Path(place) / file) for file in found.files]
        seeds = [image_seed(image, seed) for image in found.images]
        treatment = list(found.treatments) or [""] * len(found)
        columns = {"image": names, "seed": seeds, "treatment": treatment}
        frames.append(pd.DataFrame(columns))
        pixels.append(found.images)
    keys = pd.concat(frames, ignore_index=True)
    first = ~keys.duplicated("image").to_numpy()
    return keys[first].reset_index(drop=True), np.concatenate(pixels)[first]


def _read(place: str, shape: Sequence[int], limit: int) -> ImageSet:
    path = Path(place)
    if path.is_file() and path.suffix.lower() in PICTURES:
        found = Pictures((path,), (path.name,), np.array([-1])).read(shape)
        return replace(found, files=("",))  # the place is the name
    name = place if place in LOADERS and not path.exists() else f"path:{place}"
    return held_out_set(name, shape, limit)


def image_seed(pixels: np.ndarray, seed: int) -> int:
    """The seed of an image's noise: 48 bits of the SHA-256 of ``seed`` and its pixels.

    So it depends on no other image, and different images have independent noise.
    """
    content = f"{seed} {pixels.shape} ".encode() + pixels.tobytes()
    return int.from_bytes(hashlib.sha256(content).digest()[:6], "big")


def image_scores(
    model: ImageModel,
    pixels: np.ndarray,
    seeds: Sequence[int],
    settings: ScoreSettings,
    advance: Callable[..., None],
) -> pd.DataFrame:
    """Log-densities (nats, model space) and bits/dim of uint8 images ``[n, *pixel_shape]``."""
    noise = Streams(seeds, "dequantisation").uniform(pixels.shape[1:])
    x = model.from_pixels(torch.from_numpy(pixels), noise)
    steps, paths = settings.steps, settings.paths
    flow = flow_log_density(
        model, x, seeds, FlowSettings(steps, settings.probes), model.posterior, callback=advance
    )
    columns = {"seed": list(seeds)}
    columns |= _columns(model, "ode", flow.log_density, flow.error)
    if paths:
        bound = elbo(model, x, steps, paths, seeds=seeds, posterior=model.posterior)
        columns |= _columns(model, "elbo", bound.elbo, bound.error)
        columns |= _columns(model, "iwae", bound.iwae)
    return pd.DataFrame(columns)


def _columns(model: ImageModel, name: str, log_density, error=None) -> dict:
    """A log-density and its error in nats and in bits/dim."""
    size, unit = model.dimensions, model.log_pixels_per_unit
    values = {
        f"{name}_log_density_nats": log_density,
        f"{name}_error_nats": error,
        f"{name}_bits_per_dim": bits_per_dim(log_density, size, unit),
        f"{name}_error_bits_per_dim": None if error is None else error / (size * math.log(2)),
    }
    return {key: value for key, value in values.items() if value is not None}
