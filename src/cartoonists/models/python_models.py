"""Score models of the user's own: what a function returns that the user names.

The function is run *because* it was named (``source: python:<file.py or module>:<function>``): it
is the user's program, not a download.
"""

import importlib
import importlib.util
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from cartoonists.files.errors import CheckpointError
from cartoonists.files.python_source import PythonSource, SourceError
from cartoonists.models.image_models import ImageModel, ready, scaling_for
from cartoonists.paths.schedules import DiscreteVP, limited
from cartoonists.paths.scores import ScoreModel
from cartoonists.paths.streams import Streams


class TimestepNetwork(nn.Module):
    """``network(x, t)`` as ``network(x, λ)``: λ to the fractional timestep of a table."""

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor], table: DiscreteVP):
        super().__init__()
        self.network, self.table = network, table

    def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
        output = self.network(x, self.table.timestep(logsnr.cpu()).to(x))
        if output.shape != x.shape:
            raise ValueError(
                f"network: output of shape {list(output.shape)} found for x of shape "
                f"{list(x.shape)}, allowed: the same"
            )
        return output


def ddpm_model(
    network: Callable[[Tensor, Tensor], Tensor],
    betas: Tensor,
    shape: tuple[int, int, int],
    data_range: tuple[float, float] = (-1.0, 1.0),
    head: str = "eps",
    logsnr_range: tuple[float, float] | None = None,
) -> ImageModel:
    """A network ``network(x, t)`` with a table of noise variances as a score model of images.

    ``x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε`` with ``ᾱ_t = Π (1 - β_i)`` (Ho et al., 2020, equation 4).
    x ``[batch, *shape]`` and t ``[batch]``, float32; t runs from 0 to len(betas) - 1 and takes
    fractions.  shape: (channels, height, width).  data_range: the values of black and white.
    head: what the network returns, *eps* (the noise), *x0* or *v*.
    logsnr_range: the part of the table to use (`schedules.limited`).

    Raises ValueError for a table that is none, an unknown head, or a range outside the table's.
    """
    table = DiscreteVP(torch.cumprod(1 - torch.as_tensor(betas, dtype=torch.float64), dim=0))
    scaling = scaling_for(*data_range, shape[0])
    power = max(end**2 for end in data_range)
    schedule = limited(table, logsnr_range, power)
    return ImageModel(
        ready(TimestepNetwork(network, table)), shape, schedule, scaling, {}, head=head
    )


def load_python(source: str, arguments: Mapping[str, Any] | None = None) -> ScoreModel:
    """The score model that a named function returns, tried once on two samples of its prior.

    ``source``: python:<file.py or module>:<function>; ``arguments`` go to the function by name.
    A file is run by itself: its neighbours cannot be imported, because they would not count as
    files of the model.  Raises CheckpointError, in one line: missing file or function, an error
    inside the function, another return value, a score of another shape or one that is not finite.
    """
    try:
        place = PythonSource.of(source)
        place.check()
    except SourceError as error:
        raise CheckpointError(str(error)) from None
    name = f"{place.place}:{place.function}"
    function = getattr(_run(place, lambda: _module(place)), place.function, None)
    if not callable(function):
        raise CheckpointError(f"source: {name} found, allowed: a function")
    model = _run(place, lambda: function(**(arguments or {})))
    if not isinstance(model, ScoreModel):
        raise CheckpointError(
            f"source: {name} returned {type(model).__name__}, allowed: a ScoreModel "
            "(cartoonists.ddpm_model makes one of ε(x, t) and a beta table)"
        )
    _run(place, lambda: _try(model, name))
    return model


def _module(place: PythonSource) -> ModuleType:
    if not place.is_file:
        return importlib.import_module(place.place)
    path = place.path()
    spec = importlib.util.spec_from_file_location(f"cartoonists_user_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(place: PythonSource, action: Callable[[], Any]) -> Any:
    """What the user's code gives; its error in one line, with the last line of it that was run."""
    try:
        return action()
    except CheckpointError:
        raise
    except Exception as error:
        path = place.path()
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == path]
        where = f" ({path.name}, line {lines[-1]})" if lines else ""
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"source: {place.place}:{place.function} raised {type(error).__name__}: {reason}{where}"
        ) from error


def _try(model: ScoreModel, name: str) -> None:
    """One evaluation, so that a wrong shape is known before any sample is drawn."""
    x = model.sample_prior(Streams([0, 1], "trial"))
    logsnr = model.schedule.logsnr_min
    score = model.score(x, logsnr)
    if score.shape != x.shape:
        raise CheckpointError(
            f"source: {name}: score of shape {list(score.shape)} found for x of shape "
            f"{list(x.shape)}, allowed: the same"
        )
    if not torch.isfinite(score).all():
        raise CheckpointError(f"source: {name}: the score at λ = {logsnr:g} is not finite")
