"""The posterior table of a model: estimated, its basis chosen by a trial, stored as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cartoonists.density.likelihood import elbo
from cartoonists.density.posterior import Levels, PosteriorTable
from cartoonists.density.stein import estimate_tables
from cartoonists.density.tracking import track_reverse_sde
from cartoonists.experiments.survivors import without_stopped
from cartoonists.files.artifacts import read_arrays
from cartoonists.paths.bases import basis_named
from cartoonists.paths.scores import ScoreModel


@dataclass(frozen=True)
class TableSettings:
    """How a Stein table is estimated, and how its basis is chosen."""

    n_samples: int
    points: int
    pilot_steps: int
    bases: Sequence[str]
    trial_samples: int
    trial_steps: int


def choose_table(
    model: ScoreModel, settings: TableSettings, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict]:
    """Estimate the Stein table in several bases and keep the one with the narrowest sandwich.

    The width is the mean of tracked minus ELBO of the same samples, in nats: by the two bounds on
    log p^N it is the path's Kullback–Leibler divergence both ways.  Returns the arrays to store
    (`table_from_arrays` reads them), the widths measured and the seeds that were stopped.
    """
    seeds = range(seed, seed + settings.n_samples)
    bases = [basis_named(name) for name in settings.bases]
    tables, stopped = without_stopped(
        lambda left: estimate_tables(model, left, bases, settings.points, settings.pilot_steps),
        seeds,
    )
    # samples of other seeds than the table's own, so that no basis profits from having seen them
    trial = range(seeds.stop, seeds.stop + settings.trial_samples)

    def sandwich_widths(left: list[int]) -> dict[str, float]:
        return {
            name: _sandwich_width(model, table, settings.trial_steps, left)
            for name, table in zip(settings.bases, tables, strict=True)
        }

    widths, stopped_in_trial = without_stopped(sandwich_widths, trial)
    best = min(widths, key=lambda name: widths[name])
    table = tables[list(settings.bases).index(best)]
    stopped += stopped_in_trial
    return table_arrays(table), {"basis": best, "sandwich_width_nats": widths, "stopped": stopped}


def _sandwich_width(
    model: ScoreModel, table: PosteriorTable, steps: int, seeds: list[int]
) -> float:
    run = track_reverse_sde(model, steps=steps, seeds=seeds, posterior=table)
    bound = elbo(model, run.x, steps=steps, paths=1, seeds=seeds, posterior=table)
    return float((run.log_density - bound.elbo).mean())


def table_arrays(table: PosteriorTable) -> dict[str, np.ndarray]:
    """The table as arrays to store; `table_from_arrays` reads them."""
    arrays = {
        "logsnr": table.grid.numpy(),
        "logit_ratio": table.logits.numpy().astype(np.float32),
        "basis": np.array(table.basis.name),
    }
    if table.levels is not None:
        arrays["level_range"] = np.array([table.levels.low, table.levels.high])
        arrays["log_gain"] = table.levels.log_gains.numpy().astype(np.float32)
    return arrays


def table_from_arrays(arrays: dict[str, np.ndarray]) -> PosteriorTable:
    """Rebuild the table from the arrays of `table_arrays`."""
    levels = None
    if "log_gain" in arrays:
        low, high = map(float, arrays["level_range"])
        levels = Levels(low, high, torch.from_numpy(arrays["log_gain"]).double())
    return PosteriorTable(
        torch.from_numpy(arrays["logsnr"]),
        torch.from_numpy(arrays["logit_ratio"]).double(),
        basis_named(str(arrays["basis"])),
        levels,
    )


def read_table(path: str | Path) -> PosteriorTable:
    """The table of a file that `table_arrays` were written to, such as a run's stein.npz."""
    return table_from_arrays(read_arrays(path)[0])
