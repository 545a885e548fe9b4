"""Runs that store each batch when it is done and go on from what is stored."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from cartoonists.density.posterior import PosteriorTable
from cartoonists.density.stein import estimate_table
from cartoonists.experiments.survivors import without_stopped
from cartoonists.experiments.tables import table_arrays, table_from_arrays
from cartoonists.files.artifacts import (
    make_record,
    package_version,
    read_arrays,
    read_record,
    write_arrays,
    write_table,
)
from cartoonists.files.downloads import cache_dir
from cartoonists.files.errors import CheckpointError
from cartoonists.files.python_source import PREFIX, PythonSource
from cartoonists.files.resources import file_sha256
from cartoonists.models import checkpoints
from cartoonists.models.image_models import GuidedModel, ImageModel
from cartoonists.paths.scores import NonFiniteScore, ScoreModel
from cartoonists.paths.streams import sample_seeds

TEXTS = ("image", "file", "treatment")  # columns that hold words
TABLE_SAMPLES = 64  # from which a Stein table is estimated

Measure = Callable[[Sequence[int]], pd.DataFrame]  # of seeds, a row a seed in column "seed"


class Store:
    """A table in memory, and in a CSV file where ``path`` is given, with the settings beside it."""

    def __init__(self, path: Path | None, settings: dict[str, Any]):
        self.path = path
        self.settings = json.loads(json.dumps(settings))  # as they are read back
        self.rows = pd.DataFrame()
        if path is not None and path.exists():
            self.rows = self._stored(path)

    def _stored(self, path: Path) -> pd.DataFrame:
        """Rows of an earlier run.  Raises ValueError unless it had the same settings."""
        try:
            found = read_record(path)["params"]
            words = pd.read_csv(path, dtype=str, keep_default_na=False)
            columns = {n: map(_number, words[n]) for n in words.columns if n not in TEXTS}
            rows = words.assign(**{name: list(values) for name, values in columns.items()})
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: no table of this command; remove it ({reason})") from None
        check_unchanged(path, found, self.settings)
        return rows

    def add(self, rows: pd.DataFrame) -> None:
        """Add rows; the file is replaced whole."""
        self.rows = pd.concat([self.rows, rows], ignore_index=True)
        self.write(self.rows)

    def write(self, rows: pd.DataFrame) -> None:
        """Replace all rows."""
        self.rows = rows
        if self.path is not None:
            write_table(self.path, rows, self._record)

    @cached_property
    def _record(self) -> dict[str, Any]:
        return make_record(f"cartoonists {self.settings['command']}", self.settings, [])


def check_unchanged(path: Path, found: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise ValueError, naming them, where settings differ from those that ``path`` began with."""
    changed = [
        f"{key} was {found.get(key)!r}, is {value!r}"
        for key, value in asked.items()
        if found.get(key) != value
    ]
    if changed:
        raise ValueError(f"{path}: begun with other settings ({'; '.join(changed)}); remove it")


def _number(word: str) -> int | float:
    """Every digit of a number in a table; pandas rounds in some versions."""
    return int(word) if word.isdigit() else float(word or "nan")


@dataclass
class Run:
    """What is asked (``keys``, a row each, in order), what is stored, and how the rest is measured.

    ``name`` is the column of ``keys`` that, with ``seed``, tells the rows apart.  ``measure`` gets
    seeds and a function to call after each step.
    """

    store: Store
    keys: pd.DataFrame
    name: str
    cost: int  # steps a batch, for the progress bar
    measure: Callable[[Sequence[int], Callable[..., None]], pd.DataFrame]

    def __post_init__(self):
        asked, stored = set(self._identities(self.keys)), self._identities(self.store.rows)
        others = [key[0] for key in stored if key not in asked]
        if others:
            raise ValueError(
                f"{self.store.path}: holds {len(others)} rows that were not asked for "
                f"({others[0]}), allowed: another place"
            )

    def _identities(self, rows: pd.DataFrame) -> list[tuple]:
        return [] if rows.empty else list(zip(rows[self.name], rows["seed"], strict=True))

    def missing(self, batch: int) -> Iterator[pd.DataFrame]:
        """The rows of ``keys`` that are not stored, in the batches of an undisturbed run."""
        stored = set(self._identities(self.store.rows))
        new = np.array([key not in stored for key in self._identities(self.keys)])
        for start in range(0, len(self.keys), batch):
            part = self.keys[start : start + batch][new[start : start + batch]]
            if len(part):
                yield part

    def go(self, batch: int, quiet: bool = False, dry_run: bool = False) -> None:
        """Measure and store what is missing, batch by batch; nothing in a dry run."""
        parts = [] if dry_run else list(self.missing(batch))
        with tqdm(total=len(parts) * self.cost, unit="step", disable=quiet or not parts) as bar:
            for number, part in enumerate(parts, 1):
                rows = measured(lambda s: self.measure(s, lambda *_: bar.update()), part["seed"])
                self.store.add(part.merge(rows, on="seed", how="left", validate="many_to_one"))
                bar.update(number * self.cost - bar.n)
        if parts:
            self.store.write(self.result())

    def result(self) -> pd.DataFrame:
        """The stored rows in the order of ``keys``."""
        if self.store.rows.empty:
            return self.keys[:0]
        order = {key: place for place, key in enumerate(self._identities(self.keys))}
        places = [order[key] for key in self._identities(self.store.rows)]
        return self.store.rows.iloc[np.argsort(places)].reset_index(drop=True)

    def failed(self) -> int:
        """Rows with a log-density or error that is no finite number."""
        table = self.result()
        values = table.filter(like="_nats").to_numpy(float)
        finite = np.isfinite(values).all(axis=1) & (values.shape[1] > 0)
        return len(table) - int(finite.sum())


def measured(measure: Measure, seeds: Sequence[int]) -> pd.DataFrame:
    """``measure`` of each different seed; NaN for those whose score was not finite."""
    different = list(dict.fromkeys(map(int, seeds)))
    try:
        rows, _ = without_stopped(measure, different)
    except NonFiniteScore as error:
        if len(different) > 1:
            parts = [measured(measure, [seed]) for seed in different]
            return pd.concat(parts, ignore_index=True)
        tqdm.write(f"stopped: {error}", file=sys.stderr)
        return pd.DataFrame({"seed": different})
    return rows


def image_model(name: str, device: str, precision: str) -> ImageModel:
    """`load_model` of a model that has pictures.  Raises CheckpointError for any other."""
    model = checkpoints.load_model(name, device=device, precision=precision)
    if not isinstance(model, ImageModel | GuidedModel):
        raise CheckpointError(f"{name}: {type(model).__name__} found, allowed: a model of images")
    return model  # type: ignore[return-value]  # a guided model does what its parts do


def identity(command: str, name: str, model: Any) -> dict[str, Any]:
    """What tells runs of different models apart: name and SHA-256 of card and files."""
    digests = [file_sha256(file) for file in _files(name)]
    text = json.dumps([model.card, digests], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {
        "command": command,
        "version": package_version("cartoonists"),
        "model": name,
        "model_sha256": digest,
    }


def _files(name: str) -> list[Path]:
    """The files that a model is read from; none of a bundled model, whose card has a digest."""
    if name.startswith(PREFIX):
        return PythonSource.of(name).files()
    place = Path(name)
    found = [place] if place.is_file() else sorted(place.rglob("*")) if place.is_dir() else []
    return [file for file in found if file.suffix in (".json", ".safetensors")]


def kept_table(model: ScoreModel, settings: dict[str, Any]) -> PosteriorTable:
    """The model's Stein table, from the cache where an earlier command has estimated it.

    It spaces the steps and serves the bounds and the ancestral chain (`stein.estimate_table`).
    """
    known = {key: settings[key] for key in ("version", "model_sha256", "precision")}
    name = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]
    file = cache_dir() / "tables" / f"{name}.npz"
    if not file.is_file():
        tqdm.write("estimating the model's Stein table, once", file=sys.stderr)
        table, _ = without_stopped(
            lambda seeds: estimate_table(model, seeds), sample_seeds(0, TABLE_SAMPLES)
        )
        write_arrays(file, table_arrays(table), make_record("cartoonists table", known, []))
    return table_from_arrays(read_arrays(file)[0])
