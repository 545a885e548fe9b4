"""Targets of known density for the error benchmarks, and how an error is summed up."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from figures import error_curves
from tqdm import tqdm

from cartoonists.experiments.theory import testbed
from cartoonists.paths.bases import Cosine
from cartoonists.paths.schedules import NoiseSchedule
from cartoonists.paths.scores import GaussianMixture

RESULTS = Path(__file__).parent / "results"
IMAGE = (3, 32, 32)
TARGETS = ("gaussian", "isotropic components", "diagonal in pixels", "correlated components")
SHAPE_SEED = 20250207  # of the means, orientations and weights, the same for every run


def target(name: str, schedule: NoiseSchedule) -> GaussianMixture:
    """A closed form in 3,072 dimensions: one Gaussian, or a mixture.

    *correlated components*: four components on 3×32×32, each with a power spectrum 1/f² of its own
    orientation, diagonal in the 2-D DCT and thus far from diagonal in pixels, mean variance 1.
    """
    if name == "gaussian":
        return testbed("gaussian", 3072, schedule)
    if name == "isotropic components":
        return testbed("mixture", 3072, schedule)
    if name == "diagonal in pixels":
        return testbed("anisotropic mixture", 3072, schedule)
    generator = np.random.Generator(np.random.Philox(key=[SHAPE_SEED, 0]))
    frequency = torch.arange(32, dtype=torch.float64)
    rows, columns = frequency[:, None], frequency[None, :]
    spectra, means = [], []
    for _ in range(4):
        across, along = generator.uniform(0.5, 2.0, 2)
        power = 1 / (0.5 + (across * rows) ** 2 + (along * columns) ** 2)
        spectra.append((power / power.mean()).expand(IMAGE))
        coarse = torch.from_numpy(generator.standard_normal((3, 8, 8)))
        means.append(torch.nn.functional.interpolate(coarse[None], size=32, mode="bilinear")[0])
    return GaussianMixture(
        [0.4, 0.3, 0.2, 0.1], 0.5 * torch.stack(means), torch.stack(spectra), schedule, Cosine()
    )


def summary(error: torch.Tensor) -> dict[str, float]:
    """Median and 95% of the absolute error, and the mean error with its standard error, in nats."""
    size = error.abs()
    return {
        "median_nats": size.median().item(),
        "q95_nats": size.quantile(0.95).item(),
        "mean_nats": error.mean().item(),
        "standard_error_nats": error.std().item() / len(error) ** 0.5,
    }


def appended(rows: pd.DataFrame, path: Path, key: Sequence[str] = ("model",)) -> None:
    """Write rows to a CSV in the place of those with the same key that it holds."""
    if path.exists():
        before, keys = pd.read_csv(path), rows[list(key)].apply(tuple, axis=1)
        same = before[list(key)].apply(tuple, axis=1).isin(keys)
        rows = pd.concat([before[~same], rows])
    rows.to_csv(path, index=False, float_format="%.5g")


def benchmark(doc: str, rows: Callable[[int, int], Iterable[dict]], name: str, **figure) -> None:
    """The command of a benchmark: options, rows of (samples, seed), name.csv and its figure."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    table = pd.DataFrame(tqdm(rows(settings.samples, settings.seed), unit="row"))
    table.to_csv(RESULTS / f"{name}.csv", index=False, float_format="%.5g")
    error_curves(table, RESULTS / name, **figure)
