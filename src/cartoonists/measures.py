"""Tables of measures: of single images, of sets of images, and of how sizes follow density."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from cartoonists.claims import Bootstrap, Interval
from cartoonists.images import (
    codec_sizes,
    distinct_colours,
    frechet_distance,
    gradient_energy,
    mean_pairwise_distance,
    radial_power_spectrum,
    total_variation,
    vendi_score,
)

FINE = 0.25  # cycles a pixel; waves shorter than four pixels count as fine detail
COARSE_LEVELS = 16  # grey levels a channel among which colours are counted


def image_measures(images: np.ndarray) -> pd.DataFrame:
    """Size, detail and colours of uint8 images ``[n, 1 or 3, h, h]``, one row an image.

    ``png_bytes``; ``gradient_energy`` (grey levels a pixel); ``fine_power`` (squared grey levels),
    the mean power of the rings at `FINE` cycles a pixel and above; ``distinct_colours`` among 16
    levels a channel; ``total_variation`` (grey levels).
    """
    frequencies, power = radial_power_spectrum(images)
    return pd.DataFrame(
        {
            "png_bytes": codec_sizes(images, ["png"])["png"],
            "gradient_energy": gradient_energy(images),
            "fine_power": power[:, frequencies >= FINE].mean(axis=1),
            "distinct_colours": distinct_colours(images, COARSE_LEVELS),
            "total_variation": total_variation(images),
        }
    )


def compression_table(images: np.ndarray) -> pd.DataFrame:
    """Bytes of uint8 images in every available codec (``png_bytes``, …) and total variation."""
    sizes = {f"{codec}_bytes": size for codec, size in codec_sizes(images).items()}
    return pd.DataFrame(sizes | {"total_variation": total_variation(images)})


def jackknife(statistic: Callable, *sets: np.ndarray, confidence: float = 0.95) -> Interval:
    """A statistic of sets of samples ``[n, d]`` with its jackknife interval (Tukey, 1958).

    ``var = (n - 1)/n Σ_i (θ_(i) - θ̄)²`` with sample i left out of every set at once, so sets of
    pairs stay paired; the interval is normal.  For statistics that a bootstrap spoils because it
    repeats samples (distances, diversity).  Raises ValueError for sets of unequal size.
    """
    from scipy.stats import norm

    n = len(sets[0])
    if n < 3 or any(len(values) != n for values in sets):
        sizes = ", ".join(str(len(values)) for values in sets)
        raise ValueError(f"jackknife: sets of {sizes} samples found, allowed: equal, 3 or more")
    value = float(statistic(*sets))
    left_out = [statistic(*(np.delete(values, i, axis=0) for values in sets)) for i in range(n)]
    half = norm.ppf(0.5 + confidence / 2) * np.sqrt((n - 1) * np.var(left_out))
    return Interval(value, value - half, value + half)


def set_measures(
    features: np.ndarray, data: np.ndarray | None, confidence: float = 0.95
) -> dict[str, Interval]:
    """Diversity of a set of images and its distance to the data, by classifier features ``[n, d]``.

    ``mean_pairwise_distance``; ``vendi_score``; and where there are ``data`` features
    ``frechet_distance``, which is not FID: other features.  It needs more images than features and
    is biased upwards by about 1/n, so that only sets of equal size compare.
    """
    return {
        name: jackknife(statistic, features, confidence=confidence)
        for name, statistic in _statistics(data).items()
    }


def _statistics(data: np.ndarray | None) -> dict[str, Callable]:
    statistics = {"mean_pairwise_distance": mean_pairwise_distance, "vendi_score": vendi_score}
    if data is not None:
        statistics["frechet_distance"] = lambda values: frechet_distance(values, data)
    return statistics


def set_table(
    features: np.ndarray,
    switch_logsnr: Sequence[float],
    data: np.ndarray,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Diversity, and Fréchet distance to the data, of each set of samples: one row a measure.

    ``features [k + 1, n, d]`` of the ordinary samples and of the HD samples of each switch point,
    ``data [m, d]`` of real images.  Columns: ``sample``, ``switch_logsnr``, ``measure``, ``value``
    with ``ci_low`` and ``ci_high``, and the same as ``ratio`` to the ordinary samples (jackknife
    over pairs).  n real images are the reference of the Fréchet distance, so that all sets have
    equal sizes; the next n, where there are, give its value for real images (sample *data*).
    Where there are too few images for the features it is left out.
    """
    ordinary, n = features[0], features.shape[1]
    usable = enough_for_frechet(n, features.shape[2]) and len(data) >= n
    reference = data[:n] if usable else None
    sets = [("ordinary", float("nan"), ordinary)]
    sets += [("high-density", s, f) for s, f in zip(switch_logsnr, features[1:], strict=True)]
    if len(data) >= 2 * n:
        sets.append(("data", float("nan"), data[n : 2 * n]))
    rows = []
    for sample, switch, values in sets:
        measured = set_measures(values, reference, confidence)
        for name, found in measured.items():
            statistic = _statistics(reference)[name]
            ratio = jackknife(
                lambda a, b, f=statistic: f(a) / f(b), values, ordinary, confidence=confidence
            )
            interval = [found.value, found.low, found.high, ratio.value, ratio.low, ratio.high]
            rows.append([sample, switch, name, n, *interval])
    columns = ["sample", "switch_logsnr", "measure", "n", "value", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=[*columns, "ratio", "ratio_ci_low", "ratio_ci_high"])


def spectrum_table(images: np.ndarray, switch_logsnr: Sequence[float]) -> pd.DataFrame:
    """Mean radial power spectrum of each set ``images [k + 1, n, c, h, w]``, ordinary ones first.

    Columns: ``sample``, ``switch_logsnr``, ``frequency_cycles_per_pixel``, ``power`` in squared
    grey levels and its standard error over images, ``power_se``.
    """
    names = [("ordinary", float("nan")), *(("high-density", s) for s in switch_logsnr)]
    tables = []
    for (sample, switch), part in zip(names, images, strict=True):
        frequencies, power = radial_power_spectrum(part)
        columns = {"sample": sample, "switch_logsnr": switch}
        columns |= {"frequency_cycles_per_pixel": frequencies, "power": power.mean(axis=0)}
        error = power.std(axis=0, ddof=1) / np.sqrt(len(part))
        tables.append(pd.DataFrame(columns | {"power_se": error}))
    return pd.concat(tables, ignore_index=True)


def enough_for_frechet(n: int, dimensions: int) -> bool:
    """Whether n images determine a covariance of that many features: more than 1.5 an axis."""
    return n > 1.5 * dimensions


def correlations(
    table: pd.DataFrame, left: Sequence[str], right: Sequence[str], bootstrap: Bootstrap
) -> pd.DataFrame:
    """Pearson and Spearman of each pair of columns within each ``kind``, with their intervals.

    Columns: ``kind``, ``n``, ``x``, ``y``, ``statistic``, ``value``, ``ci_low``, ``ci_high``.
    """
    rows = []
    for kind, part in table.groupby("kind", sort=False):
        for x in left:
            for y in right:
                pair = part[[x, y]].dropna()
                for name in ("pearson", "spearman"):
                    found = getattr(bootstrap, name)(pair[x], pair[y])
                    rows.append([kind, len(pair), x, y, name, found.value, found.low, found.high])
    columns = ["kind", "n", "x", "y", "statistic", "value", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)
