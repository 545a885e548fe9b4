"""What the explorer shows of a model: samples by setting, paths along λ, real and blurred images.

Made from tables and arrays that experiments left.
"""

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cartoonists.images.pictures import gaussian_blur, radial_power_spectrum, to_picture

DIGITS = 5


@dataclass(frozen=True)
class Sweep:
    """Samples of the same seeds at every setting of one control, in the order of the slider.

    ``log_density`` and its ``error`` (nats/dim) and ``png_bytes`` are ``[settings][seeds]``,
    ``images`` PNG files as data addresses likewise, ``spectra`` ``[settings][seeds][frequencies]``;
    ``reference`` is the setting that the others are held against.  ``code`` is the Python that
    makes one of the samples, a text a setting, ``SEED`` standing for the seed.
    """

    control: str
    settings: list[str]
    reference: int
    seeds: list[int]
    log_density: list[list[float | None]]
    error: list[list[float | None]]
    png_bytes: list[list[int]]
    images: list[list[str]]
    frequencies: list[float]
    spectra: list[list[list[float]]]
    code: list[str]


@dataclass(frozen=True)
class LambdaPath:
    """x̂_0 and the tracked log p_λ(x_λ) with its error, nats/dim, of seeds along the reverse SDE.

    ``log_density``, ``error`` and ``images`` are ``[seeds][λ]``.
    """

    seeds: list[int]
    logsnr: list[float]
    log_density: list[list[float | None]]
    error: list[list[float | None]]
    images: list[list[str]]


@dataclass(frozen=True)
class Anchor:
    """A real image, or (``blur`` above 0, pixels) that image blurred, measured as samples are."""

    image: int
    blur: float
    log_density: float | None
    error: float | None
    png_bytes: int
    picture: str


@dataclass(frozen=True)
class Shown:
    """All that the page shows of one model; ``path`` is None where none was kept."""

    sweeps: list[Sweep]
    path: LambdaPath | None
    anchors: list[Anchor]


def high_density_sweep(
    arrays: Mapping[str, np.ndarray], table: pd.DataFrame, options: Mapping[str, Any]
) -> Sweep:
    """High-density samples by switch point, rising, and the ordinary ones as the last setting.

    ``arrays`` holds ``images [k + 1, n, c, h, w]`` (ordinary first), ``seeds`` and
    ``switch_logsnr``; ``table`` is high_density.csv; ``options`` are the arguments of
    `experiments.shown.high_density_shown` but seed and switch point.
    """
    switches, seeds = [float(s) for s in arrays["switch_logsnr"]], arrays["seeds"]
    keyed = _per_dim(table.assign(setting=table["switch_logsnr"].fillna(np.inf).round(6)))
    order = [*(round(s, 6) for s in switches), np.inf]
    names = [*(f"λ = {s:.3g}" for s in switches), "ordinary"]
    images = np.concatenate([arrays["images"][1:], arrays["images"][:1]])
    code = [_code("high_density_shown", options, switch_logsnr=s) for s in [*switches, None]]
    return _sweep("Switch point", names, len(switches), seeds, images, keyed, order, code)


def guidance_sweep(
    arrays: Mapping[str, np.ndarray], table: pd.DataFrame, options: Mapping[str, Any]
) -> Sweep:
    """Samples of density guidance by strength, rising; the reference is strength 0.

    ``arrays`` holds ``images [k, n, c, h, w]`` and ``strengths``; ``table`` is control.csv;
    ``options`` are the arguments of `experiments.shown.guided_shown` but seed and strength.
    """
    strengths = [float(z) for z in arrays["strengths"]]
    guided = table[table["control"] == "guidance"]
    keyed = _per_dim(guided.assign(setting=guided["strength"].round(6)))
    seeds = guided["seed"].unique()[: arrays["images"].shape[1]]
    names = [f"z = {z:g}" for z in strengths]
    order, plain = [round(z, 6) for z in strengths], strengths.index(0.0)
    code = [_code("guided_shown", options, strength=z) for z in strengths]
    return _sweep("Strength", names, plain, seeds, arrays["images"], keyed, order, code)


def _code(function: str, options: Mapping[str, Any], **setting) -> str:
    """Three lines of Python that draw and measure one sample; ``SEED`` stands for its seed."""
    named = {"seed": "SEED"} | {k: repr(v) for k, v in [*setting.items(), *options.items()]}
    arguments = ", ".join(f"{name}={value}" for name, value in named.items())
    return (
        f"from cartoonists.experiments.shown import {function}\n"
        f"shown = {function}({arguments})\n"
        'shown.picture.save("shown.png"); print(shown.log_density, "±", shown.error, "nats/dim")'
    )


def _per_dim(table: pd.DataFrame) -> pd.DataFrame:
    values = table[["log_density_nats", "error_nats"]].div(table["dimensions"], axis=0)
    return values.set_axis(pd.MultiIndex.from_frame(table[["setting", "seed"]]))


def _sweep(control, names, reference, seeds, images, keyed, order, code) -> Sweep:
    files = [[_png(image) for image in row] for row in images]
    frequencies, power = radial_power_spectrum(images.reshape(-1, *images.shape[2:]))
    spectra = power.reshape(*images.shape[:2], -1)
    densities, errors = (
        [[_number(keyed.loc[(s, i), name]) for i in seeds] for s in order] for name in keyed
    )
    return Sweep(
        control=control,
        settings=names,
        reference=reference,
        seeds=[int(seed) for seed in seeds],
        log_density=densities,
        error=errors,
        png_bytes=[[len(file) for file in row] for row in files],
        images=[[_address(file) for file in row] for row in files],
        frequencies=[round(float(f), DIGITS) for f in frequencies],
        spectra=[[[float(f"{p:.4g}") for p in sample] for sample in row] for row in spectra],
        code=code,
    )


def lambda_path(arrays: Mapping[str, np.ndarray]) -> LambdaPath | None:
    """The arrays of `experiments.high_density.denoised_path`; None where there are none."""
    if "path_seeds" not in arrays:
        return None
    images = arrays["path_images"]
    dimensions = math.prod(images.shape[2:])
    per_dim = (arrays[name] / dimensions for name in ("path_log_density", "path_error"))
    densities, errors = ([[_number(value) for value in row] for row in part] for part in per_dim)
    return LambdaPath(
        seeds=[int(seed) for seed in arrays["path_seeds"]],
        logsnr=[round(float(value), DIGITS) for value in arrays["path_logsnr"]],
        log_density=densities,
        error=errors,
        images=[[_address(_png(image)) for image in row] for row in images],
    )


def anchors(
    real: np.ndarray, compression: pd.DataFrame, blur: pd.DataFrame | None = None
) -> list[Anchor]:
    """Real images ``[n, c, h, w]`` with their blurred versions, image by image.

    ``compression`` is compression.csv and ``blur``, where the model has one, blur.csv: the tables
    that measured these images, which they number from 0.  What they left out is left out.
    Raises ValueError where the tables are of other images, by the size of the files.
    """
    found = compression[compression["kind"] == "data"].assign(strength=0.0)
    if blur is not None:
        kept = (blur["source"] == "data") & (blur["operation"] == "blur") & (blur["repeat"] == 0)
        blurred = blur[kept & (blur["strength"] > 0) & (blur["logsnr"] == blur["logsnr"].max())]
        found = pd.concat([found, blurred])
    found = found[found["seed"] < len(real)].sort_values(["seed", "strength"])
    return [_anchor(real[int(row.seed)], row) for row in found.itertuples()]


def _anchor(image: np.ndarray, row) -> Anchor:
    file = _png(gaussian_blur(image[None], float(row.strength))[0])
    if row.strength == 0 and len(file) != row.png_bytes:
        raise ValueError(
            f"anchors: image {row.seed} of {len(file)} bytes found, the table says {row.png_bytes}"
        )
    return Anchor(
        image=int(row.seed),
        blur=float(row.strength),
        log_density=_number(row.log_density_nats / row.dimensions),
        error=_number(row.error_nats / row.dimensions),
        png_bytes=len(file),
        picture=_address(file),
    )


def _number(value: float) -> float | None:
    return round(float(value), DIGITS) if math.isfinite(value) else None


def _png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    to_picture(image).save(stream, "PNG", optimize=True)  # the size that `codec_sizes` counts
    return stream.getvalue()


def _address(file: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(file).decode()
