"""Draw samples with their log-densities: a picture a seed, and a table."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from cartoonists.commands.runs import Run, Store, identity, image_model, kept_table
from cartoonists.density.draws import draw_samples
from cartoonists.density.likelihood import bits_per_dim
from cartoonists.files.artifacts import atomic
from cartoonists.images.pictures import to_picture
from cartoonists.models.image_models import ImageModel
from cartoonists.paths.streams import sample_seeds

TABLE = "samples.csv"


@dataclass(frozen=True)
class SampleSettings:
    """As in `draw_samples`: ``switch`` its switch_logsnr, ``guide`` its strength."""

    steps: int = 64
    switch: float | None = None
    guide: float | None = None
    probes: int = 1
    precision: str = "fp32"


def prepare(
    name: str, n: int, seed: int, settings: SampleSettings, out: Path, device: str = "auto"
) -> Run:
    """The run that draws n samples, of seeds from ``seed`` on, into the folder ``out``.

    A row whose picture is gone is drawn again.  Raises CheckpointError, and ValueError for settings
    and where ``out`` holds samples of another run.
    """
    model = image_model(name, device, settings.precision)
    if settings.switch is not None:
        model.schedule.check(settings.switch, "switch")
    seeds = sample_seeds(seed, n)
    keys = pd.DataFrame({"file": [f"{s:06d}.png" for s in seeds], "seed": list(seeds)})
    store = Store(out / TABLE, identity("sample", name, model) | asdict(settings))
    if not store.rows.empty:
        there = [(out / file).is_file() for file in store.rows["file"]]
        store.rows = store.rows[there].reset_index(drop=True)

    def measure(seeds: Sequence[int], advance: Callable[..., None]) -> pd.DataFrame:
        if model.posterior is None:
            model.posterior = kept_table(model, store.settings)
        return draw(model, seeds, settings, out, advance)

    return Run(store, keys, "file", settings.steps, measure)


def draw(
    model: ImageModel,
    seeds: Sequence[int],
    settings: SampleSettings,
    out: Path,
    advance: Callable[..., None],
) -> pd.DataFrame:
    """Draw the sample of each seed, write its picture, and give its row."""
    drawn = draw_samples(
        model, seeds, settings.steps, switch_logsnr=settings.switch, strength=settings.guide,
        probes=settings.probes, posterior=model.posterior, callback=advance,
    )  # fmt: skip
    for seed, pixels in zip(seeds, model.finish(drawn.x).numpy(), strict=True):
        with atomic(out / f"{seed:06d}.png") as temporary:
            to_picture(pixels).save(temporary)
    size = model.dimensions
    return pd.DataFrame(
        {
            "seed": list(seeds),
            "log_density_nats": drawn.log_density,
            "error_nats": drawn.error,
            "bits_per_dim": bits_per_dim(drawn.log_density, size, model.log_pixels_per_unit),
            "error_bits_per_dim": drawn.error / (size * math.log(2)),
            "evaluations": drawn.nfe,
        }
    )
