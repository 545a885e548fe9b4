"""Image operations and measures: blur and its controls, codec sizes, detail, diversity, distance.

Images are arrays ``[n, channels, height, width]``; grey levels run from 0 to 255.  The operations
take uint8 or floating-point images and give back the same dtype: uint8 results are rounded and
clipped, floating-point ones are neither.  Measures give float64 or int64, one value an image unless
stated.  All raise ValueError for another number of axes, or for other dtypes.
"""

import io
import lzma
import math
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, features
from scipy import linalg, ndimage
from scipy.spatial.distance import pdist

JPEG_QUALITY = 90
AVIF_QUALITY = 90
STRONGEST = 0.1  # of the pixels of an image, whose gradients count as edges
LZMA_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 2**16}]


def _checked(images: np.ndarray, *, only_uint8: bool = False) -> np.ndarray:
    images = np.asarray(images)
    floats = np.issubdtype(images.dtype, np.floating) and not only_uint8
    if images.ndim != 4 or not (images.dtype == np.uint8 or floats):
        allowed = "uint8" if only_uint8 else "uint8 or floating point"
        raise ValueError(
            f"images: {images.dtype} of shape {images.shape}, "
            f"allowed {allowed} of shape (n, channels, height, width)"
        )
    return images


def _like(values: np.ndarray, images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return values.astype(images.dtype)


# --- operations -----------------------------------------------------------------------------------


def gaussian_blur(images: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur with standard deviation ``sigma`` in pixels (0 changes nothing).

    The kernel is cut at 4 sigma; edges are reflected, so the mean grey level stays.
    """
    images = _checked(images)
    if not 0 <= sigma < np.inf:
        raise ValueError(f"sigma: {sigma} found, allowed 0 or more, in pixels")
    if sigma == 0:
        return images.copy()
    axes = (0, 0, sigma, sigma)
    return _like(ndimage.gaussian_filter(images.astype(np.float64), axes), images)


def add_noise(images: np.ndarray, sigma: float, seeds: Sequence[int]) -> np.ndarray:
    """Add white Gaussian noise of ``sigma`` grey levels, image i from the stream ``seeds[i]``.

    So an image's noise depends on its seed alone, not on its place in the batch, and two strengths
    share the same pattern.
    """
    images = _checked(images)
    if not 0 <= sigma < np.inf:
        raise ValueError(f"sigma: {sigma} found, allowed 0 or more, in grey levels")
    if len(seeds) != len(images):
        raise ValueError(f"seeds: {len(seeds)} found, allowed {len(images)}, one an image")
    shape = images.shape[1:]
    noise = np.array([np.random.default_rng(seed).standard_normal(shape) for seed in seeds])
    return _like(images + sigma * noise.reshape(images.shape), images)


def scale_contrast(images: np.ndarray, factor: float) -> np.ndarray:
    """``mean + factor (x - mean)`` with the mean of each image and channel (1 changes nothing)."""
    images = _checked(images)
    if not 0 <= factor < np.inf:
        raise ValueError(f"factor: {factor} found, allowed 0 or more")
    values = images.astype(np.float64)
    mean = values.mean(axis=(2, 3), keepdims=True)
    return _like(mean + factor * (values - mean), images)


def down_up(images: np.ndarray, factor: int) -> np.ndarray:
    """Shrink by averaging ``factor × factor`` blocks, then enlarge again, bilinearly.

    ``factor`` must divide height and width (1 changes nothing).
    """
    images = _checked(images)
    n, channels, height, width = images.shape
    if factor != int(factor) or factor < 1 or height % factor or width % factor:
        raise ValueError(f"factor: {factor} found, allowed common divisors of {height} and {width}")
    blocks = images.reshape(n, channels, height // factor, factor, width // factor, factor).astype(
        np.float64
    )
    small = blocks.mean(axis=(3, 5))
    # pixels are areas (grid_mode), and the outermost half block repeats its edge
    large = ndimage.zoom(small, (1, 1, factor, factor), order=1, mode="nearest", grid_mode=True)
    return _like(large, images)


# --- codec sizes ----------------------------------------------------------------------------------


def _saved(image: Image.Image, form: str, **options) -> int:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.tell()


_CODECS: dict[str, tuple[str | None, Callable[[Image.Image], int]]] = {
    # name: (Pillow feature that it needs, size in bytes of one image)
    "png": ("zlib", lambda image: _saved(image, "PNG", optimize=True)),
    "webp_lossless": (
        "webp",
        lambda image: _saved(image, "WEBP", lossless=True, quality=75, method=4),
    ),
    "jpeg": (
        "jpg",
        lambda image: _saved(image, "JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True),
    ),
    "jpeg2000": ("jpg_2000", lambda image: _saved(image, "JPEG2000", irreversible=False)),
    "avif": (
        "avif",
        lambda image: _saved(
            image, "AVIF", quality=AVIF_QUALITY, subsampling="4:4:4", speed=6, max_threads=1
        ),
    ),
    "zlib": (None, lambda image: len(zlib.compress(image.tobytes(), 9))),
    "lzma": (None, lambda image: len(_lzma(image.tobytes()))),
}


def _lzma(raw: bytes) -> bytes:
    return lzma.compress(raw, format=lzma.FORMAT_RAW, filters=LZMA_FILTERS)


def available_codecs() -> list[str]:
    """Names of the codecs that this machine's Pillow can write, and zlib and LZMA of raw bytes.

    png: lossless, optimised; webp_lossless: middle effort; jpeg: quality 90, all colours
    kept at full resolution; jpeg2000: lossless (reversible wavelet); avif: quality 90, as for
    jpeg; zlib (level 9) and lzma (raw LZMA2 stream): of the pixel bytes,
    row by row, channels interleaved.
    """
    return [name for name, (need, _) in _CODECS.items() if need is None or features.check(need)]


def codec_sizes(images: np.ndarray, codecs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Bytes of each uint8 image (1 or 3 channels) in each codec: name to ``[n]`` int64.

    ``codecs`` defaults to `available_codecs`; an unknown or unavailable one raises ValueError.
    Sizes are those of whole files: headers are near
    constant, but not small beside a 28 × 28 image.
    """
    images = _checked(images, only_uint8=True)
    if images.shape[1] not in (1, 3):
        raise ValueError(f"images: {images.shape[1]} channels found, allowed 1 and 3")
    available = available_codecs()
    chosen = available if codecs is None else list(codecs)
    for name in chosen:
        if name not in available:
            raise ValueError(f"codec: {name!r} found, allowed {', '.join(available)}")
    pictures = [to_picture(image) for image in images]
    return {
        name: np.array([_CODECS[name][1](picture) for picture in pictures], dtype=np.int64)
        for name in chosen
    }


def to_picture(image: np.ndarray) -> Image.Image:
    """One uint8 image ``[1 or 3, height, width]`` as a Pillow image (grey or RGB)."""
    grey = image.shape[0] == 1
    return Image.fromarray(np.ascontiguousarray(image[0] if grey else image.transpose(1, 2, 0)))


# --- detail ---------------------------------------------------------------------------------------


def total_variation(images: np.ndarray) -> np.ndarray:
    """Isotropic total variation ``Σ sqrt((∂_h x)² + (∂_v x)²)`` in grey levels.

    Rudin, Osher and Fatemi (1992).  Forward differences, zero past the last row and column; summed
    over pixels and channels.
    """
    values = _checked(images).astype(np.float64)
    horizontal = np.diff(values, axis=3, append=values[:, :, :, -1:])
    vertical = np.diff(values, axis=2, append=values[:, :, -1:])
    return np.hypot(horizontal, vertical).sum(axis=(1, 2, 3))


def gradient_energy(images: np.ndarray) -> np.ndarray:
    """``mean |∂_h x| + mean |∂_v x|``, grey levels a pixel, over the differences that exist."""
    values = _checked(images).astype(np.float64)
    horizontal = np.abs(np.diff(values, axis=3)).mean(axis=(1, 2, 3))
    vertical = np.abs(np.diff(values, axis=2)).mean(axis=(1, 2, 3))
    return horizontal + vertical


def edge_share(images: np.ndarray) -> np.ndarray:
    """Share of the squared gradients that lies in the strongest tenth of the pixels.

    ``|∇x|² = Σ_channels (∂_h x)² + (∂_v x)²`` by forward differences, where both exist; 1 where
    flat regions meet in few edges, somewhat over a third for grey white noise, and 0.1 for a ramp
    or a flat image.  Smoothing away texture raises it, blurring edges lowers it; contrast does
    neither.
    """
    values = _checked(images).astype(np.float64)
    horizontal, vertical = np.diff(values, axis=3)[:, :, :-1], np.diff(values, axis=2)[..., :-1]
    energy = (horizontal**2 + vertical**2).sum(axis=1).reshape(len(values), -1)
    strongest = math.ceil(STRONGEST * energy.shape[1])
    total = energy.sum(axis=1)
    top = np.sort(energy, axis=1)[:, -strongest:].sum(axis=1)
    evenly = np.full(len(values), strongest / energy.shape[1])
    return np.divide(top, total, out=evenly, where=total > 0)


def radial_power_spectrum(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean power per Fourier coefficient in rings of the frequency plane.

    Returns the rings' frequencies ``[k]`` in cycles a pixel (j/size for j = 1 … size/2, ring j
    holding the coefficients within half a step of it) and power ``[n, k]`` in squared grey levels,
    the mean over channels of ``|FFT(x)|²/(h w)``: white noise of variance v has v in every ring.
    The constant is left out, and so are the corners beyond size/2.  No window is applied, so an
    image's edges leak into both axes.  Images must be square.
    """
    values = _checked(images).astype(np.float64)
    size = values.shape[-1]
    if values.shape[-2] != size:
        raise ValueError(f"images: shape {values.shape}, allowed square images")
    power = (np.abs(np.fft.fft2(values)) ** 2 / size**2).mean(axis=1).reshape(len(values), -1)
    steps = np.fft.fftfreq(size) * size
    ring = np.rint(np.hypot(steps[:, None], steps[None, :])).astype(int).ravel()
    rings = np.arange(1, size // 2 + 1)
    means = [power[:, ring == j].mean(axis=1) for j in rings]
    return rings / size, np.stack(means, axis=1)


def distinct_colours(images: np.ndarray, levels: int = 256) -> np.ndarray:
    """Number of distinct colours in each uint8 image, quantised to ``levels`` a channel.

    256 counts exactly; 16 merges colours that the eye hardly tells apart.  A colour is the tuple of
    a pixel's channels.
    """
    images = _checked(images, only_uint8=True)
    if not 1 <= levels <= 256:
        raise ValueError(f"levels: {levels} found, allowed 1 to 256")
    quantised = images.astype(np.int64) * levels // 256
    weights = 256 ** np.arange(images.shape[1], dtype=np.int64)
    codes = (quantised * weights[None, :, None, None]).sum(axis=1).reshape(len(images), -1)
    return np.array([len(np.unique(row)) for row in codes], dtype=np.int64)


# --- sets of images, by their features ------------------------------------------------------------


def _checked_features(values: np.ndarray, least: int = 2) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or len(values) < least or not np.isfinite(values).all():
        raise ValueError(
            f"features: shape {values.shape}, finite {bool(np.isfinite(values).all())}; "
            f"allowed finite [n, d] with n at least {least}"
        )
    return values


def mean_pairwise_distance(values: np.ndarray) -> float:
    """Mean Euclidean distance over the pairs of features ``[n, d]``, in the features' unit."""
    return float(pdist(_checked_features(values)).mean())


def vendi_score(values: np.ndarray) -> float:
    """Effective number of different images, from 1 (all alike) to n (Friedman and Dieng, 2023).

    ``exp(-Σ λ_i log λ_i)`` with λ the eigenvalues of ``K/n``, K the cosine similarities of the
    features ``[n, d]`` about the origin.  At most d.  An image with features all zero raises.
    """
    values = _checked_features(values, least=1)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    if not norms.all():
        raise ValueError("features: a row of zeros found, its cosine similarity has no value")
    singular = linalg.svdvals(values / norms)  # eigenvalues of K are their squares
    shares = singular**2 / len(values)
    shares = shares[shares > 1e-15]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Fréchet distance between Gaussians fitted to two sets of features (Dowson and Landau, 1982).

    ``|μ₁ - μ₂|² + tr(C₁ + C₂ - 2 (C₁^½ C₂ C₁^½)^½)`` for features ``[n, d]`` and ``[m, d]``, in
    squared feature units; with Inception features it is the FID (Heusel et al., 2017), with the
    bundled classifiers' it is not and must not be called so.  Biased upwards by about 1/n: compare
    sets of equal size only, with n well above d.

    This is what clean-fid's ``frechet_distance`` computes, from singular values: that function
    imports torchvision (seconds), rests on a signature of scipy's ``sqrtm`` that is being
    removed, and perturbs singular covariances.
    """
    first, second = _checked_features(first), _checked_features(second)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"features: {first.shape[1]} and {second.shape[1]} found, allowed equal")
    gap = first.mean(axis=0) - second.mean(axis=0)
    one, two = np.atleast_2d(np.cov(first.T)), np.atleast_2d(np.cov(second.T))
    # tr (C₁^½ C₂ C₁^½)^½ is the sum of the singular values of C₁^½ C₂^½
    cross = linalg.svdvals(_square_root(one) @ _square_root(two)).sum()
    return float(gap @ gap + np.trace(one) + np.trace(two) - 2 * cross)


def enough_for_frechet(n: int, dimensions: int) -> bool:
    """Whether n images determine a covariance of that many features: more than 1.5 an axis."""
    return n > 1.5 * dimensions


def _square_root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
