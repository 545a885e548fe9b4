"""Tables of measures: of single images, of sets of images, and of how sizes follow density."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cartoonists.images.pictures import (
    codec_sizes,
    distinct_colours,
    edge_share,
    enough_for_frechet,
    frechet_distance,
    gradient_energy,
    mean_pairwise_distance,
    radial_power_spectrum,
    total_variation,
    vendi_score,
)
from cartoonists.statistics.claims import Bootstrap, Interval

FINE = 0.25  # cycles a pixel; waves shorter than four pixels count as fine detail
MOST_GROUPS = 200  # sets of more samples are left out in FEW_GROUPS groups: each costs a statistic
FEW_GROUPS = 20
COARSE_LEVELS = 16  # grey levels a channel among which colours are counted


def image_measures(images: np.ndarray) -> pd.DataFrame:
    """Size, detail and colours of uint8 images ``[n, 1 or 3, h, h]``, one row an image.

    ``png_bytes``; ``gradient_energy`` (grey levels a pixel); ``fine_power`` (squared grey levels),
    the mean power of the rings at `FINE` cycles a pixel and above; ``distinct_colours`` among 16
    levels a channel; ``edge_share``, of the squared gradients in the strongest tenth of them;
    ``total_variation`` (grey levels).
    """
    frequencies, power = radial_power_spectrum(images)
    return pd.DataFrame(
        {
            "png_bytes": codec_sizes(images, ["png"])["png"],
            "gradient_energy": gradient_energy(images),
            "fine_power": power[:, frequencies >= FINE].mean(axis=1),
            "distinct_colours": distinct_colours(images, COARSE_LEVELS),
            "edge_share": edge_share(images),
            "total_variation": total_variation(images),
        }
    )


def compression_table(images: np.ndarray) -> pd.DataFrame:
    """Bytes of uint8 images in every available codec (``png_bytes``, …) and total variation."""
    sizes = {f"{codec}_bytes": size for codec, size in codec_sizes(images).items()}
    return pd.DataFrame(sizes | {"total_variation": total_variation(images)})


@dataclass(frozen=True)
class Jackknife:
    """A statistic of samples and its values with each group of them left out (Tukey, 1958).

    ``var = (g - 1)/g Σ_i (θ_(i) - θ̄)²`` over g groups: single samples, or `FEW_GROUPS` equal parts
    of more than `MOST_GROUPS`.  Statistics of paired samples stay paired under arithmetic.  For
    statistics that a bootstrap spoils because it repeats samples (distances, diversity).
    """

    value: float
    left_out: np.ndarray

    @staticmethod
    def of(statistic: Callable[[np.ndarray], float], samples: np.ndarray) -> "Jackknife":
        """Of samples ``[n, …]``.  Raises ValueError for fewer than three."""
        n = len(samples)
        if n < 3:
            raise ValueError(f"jackknife: {n} samples found, allowed: 3 or more")
        groups = np.array_split(np.arange(n), n if n <= MOST_GROUPS else FEW_GROUPS)
        left_out = [statistic(np.delete(samples, group, axis=0)) for group in groups]
        return Jackknife(float(statistic(samples)), np.array(left_out))

    def __truediv__(self, other: "Jackknife") -> "Jackknife":
        """The ratio of two statistics of as many samples, sample i of one paired with that of the
        other.  Raises ValueError for other numbers of groups."""
        if len(self.left_out) != len(other.left_out):
            raise ValueError(
                f"jackknife: {len(self.left_out)} and {len(other.left_out)} groups found, "
                "allowed: equal"
            )
        return Jackknife(self.value / other.value, self.left_out / other.left_out)

    def interval(self, confidence: float = 0.95) -> Interval:
        """The normal interval about the value."""
        spread = np.sqrt((len(self.left_out) - 1) * np.var(self.left_out))
        half = statistics.NormalDist().inv_cdf(0.5 + confidence / 2) * spread
        return Interval(self.value, self.value - half, self.value + half)


def set_measures(
    features: np.ndarray, data: np.ndarray | None, distance: str = "frechet_distance"
) -> dict[str, Jackknife]:
    """Diversity of a set of images and its distance to the data, by their features ``[n, d]``.

    ``mean_pairwise_distance``; ``vendi_score``; and where there are ``data`` features the Fréchet
    distance, under the name ``distance``.  It needs more images than features and is biased upwards
    by about 1/n, so that only sets of equal size compare.
    """
    measures = {"mean_pairwise_distance": mean_pairwise_distance, "vendi_score": vendi_score}
    if data is not None:
        measures[distance] = lambda values: frechet_distance(values, data)
    return {name: Jackknife.of(measure, features) for name, measure in measures.items()}


def set_table(
    features: np.ndarray,
    switch_logsnr: Sequence[float],
    data: np.ndarray,
    confidence: float = 0.95,
    distance: str = "frechet_distance",
) -> pd.DataFrame:
    """Diversity, and Fréchet distance to the data, of each set of samples: one row a measure.

    ``features [k + 1, n, d]`` of the ordinary samples and of the HD samples of each switch point,
    ``data [m, d]`` of real images; ``distance`` names the Fréchet distance in these features.
    Columns: ``sample``, ``switch_logsnr``, ``measure``, ``value`` with ``ci_low`` and ``ci_high``,
    and the same as ``ratio`` to the ordinary samples (jackknife over pairs).  n real images are the
    reference of the Fréchet distance, so that all sets have equal sizes; the next n, where there
    are, give its value for real images (sample *data*).  Where there are too few images for the
    features it is left out.
    """
    n = features.shape[1]
    usable = enough_for_frechet(n, features.shape[2]) and len(data) >= n
    reference = data[:n] if usable else None
    sets = [("ordinary", float("nan"), features[0])]
    sets += [("high-density", s, f) for s, f in zip(switch_logsnr, features[1:], strict=True)]
    if len(data) >= 2 * n:
        sets.append(("data", float("nan"), data[n : 2 * n]))
    rows, ordinary = [], set_measures(features[0], reference, distance)
    for sample, switch, values in sets:
        measured = ordinary if sample == "ordinary" else set_measures(values, reference, distance)
        for name, found in measured.items():
            absolute, ratio = (f.interval(confidence) for f in (found, found / ordinary[name]))
            interval = [absolute.value, absolute.low, absolute.high]
            rows.append([sample, switch, name, n, *interval, ratio.value, ratio.low, ratio.high])
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
