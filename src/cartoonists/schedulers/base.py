"""The side of a scheduler that diffusers pipelines see: config, timesteps, one call a step."""

import math
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput
from torch import Tensor

from cartoonists.density.ancestral import Look
from cartoonists.density.posterior import Posterior
from cartoonists.paths.streams import sample_seeds
from cartoonists.schedulers.tables import NoiseTable, SchedulerError, resolve, table_of
from cartoonists.schedulers.walks import Walk

CLOSE = 1e-5  # relative, of a timestep that a pipeline has cast


class PipelineScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """A drop-in for the scheduler of a diffusers pipeline.

    Made by ``from_config(pipe.scheduler.config, …)`` from any config that ``tables`` knows.  Sample
    i of a run draws from the stream of seed ``seed + i`` and from nothing else: not from its batch
    and not from the pipeline's generator, which many pipelines do not pass on.  So one seed gives
    one set of noises: set ``seed`` anew for more samples.  The state is float64 (float32 on a
    device that has none); what is returned has the dtype that came in.
    """

    order = 1
    _compatibles: list[str] = []
    own: dict[str, Any] = {"seed": 0}  # arguments beside those of the config, with their defaults

    def __init__(self, source_class: str, config: Mapping[str, Any], **own: Any):
        self.register_to_config(**config, source_class=source_class, **own)
        for name, value in own.items():
            setattr(self, name, value)
        self.posterior: Posterior | None = None
        self.timesteps = torch.arange(int(config["num_train_timesteps"]) - 1, -1, -1)
        self.num_inference_steps: int | None = None
        self._build()
        self._begin: int | None = None
        self._position: int | None = None
        self._from_data = False
        self._walk: Walk | None = None

    @classmethod
    def from_config(cls, config=None, return_unused_kwargs=False, **kwargs):
        """This scheduler for the noise of another one's config.

        Keys of that config may be set anew beside this scheduler's own arguments.  Raises
        SchedulerError, which names it, for a class, key or value that is not known.
        """
        if not isinstance(config, Mapping):
            raise SchedulerError(f"config: a {type(config).__name__} found, allowed: a mapping")
        ours = {c.__name__ for c in _subclasses(PipelineScheduler)}
        own_keys = {key for c in _subclasses(PipelineScheduler) for key in c.own}
        plain = {k: v for k, v in config.items() if k not in own_keys}
        overrides = {k: v for k, v in kwargs.items() if k not in cls.own}
        source_class, values = resolve(plain, overrides, sorted(ours))
        own = {k: kwargs.get(k, config.get(k, default)) for k, default in cls.own.items()}
        scheduler = cls(source_class, values, **own)
        if values.get("clip_sample"):
            warnings.warn(
                "clip_sample: True found, so x̂_0 is clipped, as the config's own scheduler does; "
                "set clip_sample=False for what the network says",
                stacklevel=2,
            )
        return (scheduler, {}) if return_unused_kwargs else scheduler

    def _build(self) -> None:
        """The table of the config as it is now; some pipelines change it when they are made."""
        table = table_of(self.config["source_class"])
        self.table: NoiseTable = table({k: self.config[k] for k in self.config if k in table.keys})
        for name in ("alphas_cumprod", "betas", "sigmas"):
            if hasattr(self.table.source, name):
                setattr(self, name, getattr(self.table.source, name))

    def __len__(self) -> int:
        return int(self.config["num_train_timesteps"])

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of the noise that a pipeline starts from."""
        return self.table.prior_std

    def set_timesteps(
        self, num_inference_steps=None, device=None, timesteps=None, sigmas=None, mu=None
    ) -> None:
        """Choose the noise levels as diffusers' own scheduler does, and forget the last run."""
        self._build()
        self.table.set_timesteps(
            device, num_inference_steps=num_inference_steps, timesteps=timesteps, sigmas=sigmas,
            mu=mu,
        )  # fmt: skip
        self.timesteps = self.table.timesteps
        if hasattr(self.table.source, "sigmas"):
            self.sigmas = self.table.source.sigmas
        self._times = self.timesteps.tolist()
        self.num_inference_steps = len(self._times)
        self._begin = self._position = None
        self._from_data = False
        self._walk = None

    @property
    def begin_index(self) -> int | None:
        """Index of the first timestep, where a pipeline has set it."""
        return self._begin

    @property
    def step_index(self) -> int | None:
        """Index of the next step of the run."""
        return self._position

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Start at this timestep; called by pipelines."""
        self._begin = begin_index

    def scale_model_input(self, sample: Tensor, timestep=None) -> Tensor:
        """What the network takes: the sample itself, but for EDM."""
        return self.table.model_input(sample, self._index(timestep))

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Data at a noise level, for pipelines that start from an image."""
        self._from_data = self._from_data or self._position is None
        self._tell_begin()
        return self.table.source.add_noise(original_samples, noise, timesteps)

    def scale_noise(self, sample: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
        """The same, as pipelines of flow models call it."""
        self._from_data = self._from_data or self._position is None
        self._tell_begin()
        return self.table.source.scale_noise(sample, timestep, noise)

    def _tell_begin(self) -> None:
        if self._begin is not None and hasattr(self.table.source, "set_begin_index"):
            self.table.source.set_begin_index(self._begin)

    def _index(self, timestep) -> int:
        """Which step this timestep is: every one once, in order.  Raises SchedulerError."""
        if self.num_inference_steps is None:
            raise SchedulerError("step: called before set_timesteps")
        time = float(timestep)
        index = self._position
        if index is None:
            found = [i for i, t in enumerate(self._times) if _close(t, time)]
            index = self._begin if self._begin is not None else (found[0] if found else 0)
        if index >= len(self._times) or not _close(self._times[index], time):
            expected = f"{self._times[index]:g}" if index < len(self._times) else "set_timesteps"
            raise SchedulerError(
                f"timestep: {time:g} found at step {index}, allowed: {expected} "
                "(each timestep once, in order)"
            )
        return index

    def step(
        self, model_output: Tensor, timestep, sample: Tensor, generator=None, return_dict=True
    ):
        """x at the next level from the network's output at this one; after the last, x̂_0.

        ``generator`` is not used (see the class).  Raises SchedulerError for an output of another
        shape (a learned variance, twice the channels, is dropped) or a timestep out of turn.
        """
        index = self._index(timestep)
        dtype = torch.float32 if sample.device.type == "mps" else torch.float64
        x, logsnr = sample.to(dtype), self.table.logsnrs[index]
        output = _without_variance(model_output, sample).to(dtype)
        denoised = self.table.denoised(output, x, index)
        variance = torch.zeros((), dtype=dtype, device=x.device)
        if self.posterior is not None:
            z = self.posterior.basis.coordinates(x)
            variance = self.posterior.mean_variance(z, logsnr)
        at = Look(x, logsnr, denoised, variance)
        if self._position is None:
            self._walk = self._start(at, index)
        self._check(sample)
        assert self._walk is not None
        cleaner = [*self.table.logsnrs, math.inf][index + 1]
        moved = self._walk.step(at, cleaner, sample.dtype)
        self._position = index + 1
        previous = moved.to(sample.dtype)
        self._returned = previous
        if self._position == len(self._times):
            self._finished()
        return SchedulerOutput(prev_sample=previous) if return_dict else (previous,)

    @abstractmethod
    def _start(self, first: Look, index: int) -> Walk:
        """The walk of a run that starts at step ``index`` with what is known there."""

    def _check(self, sample: Tensor) -> None:
        """Compare what the pipeline gives to a step with what it was given by the last one.

        A pipeline that doubles its batch inside (DiT, guided) gives the first half twice, and the
        first half counts.  Anything else is a change of the chain.
        """
        if self._position is None:
            self._kept: int | None = None
            self._changed = False
            return
        returned, half = self._returned, len(sample) // 2
        if torch.equal(sample, returned):
            return
        if torch.equal(sample, torch.cat([returned[:half]] * 2)):
            self._kept = half
        else:
            self._changed = True

    def _finished(self) -> None:
        """Told of the end of a run."""

    def _seeds(self, x: Tensor) -> range:
        return sample_seeds(self.seed, len(x))  # type: ignore[attr-defined]


class EndsAtLogSNR(PipelineScheduler):
    """A scheduler that tells x at a chosen logSNR, the last level where none is chosen.

    The network's last call is at that level; what leaves the pipeline is x̂_0 of that call.
    """

    own = PipelineScheduler.own | {"logsnr_end": None}

    @property
    def logsnr_end(self) -> float:
        """λ of ``sample``; settable, None for the last level of the run."""
        if self._end is not None:
            return self._end
        if self.num_inference_steps is None:
            raise SchedulerError("logsnr_end: known after set_timesteps, or set it")
        return self.table.logsnrs[-1]

    @logsnr_end.setter
    def logsnr_end(self, value: float | None) -> None:
        if value is not None and not math.isfinite(value):
            raise SchedulerError(f"logsnr_end: {value} found, allowed: finite, or None")
        self._end = None if value is None else float(value)

    def _wanted(self, index: int) -> list[float]:
        """The end of this run.  Raises SchedulerError where it lies before the start."""
        first, end = self.table.logsnrs[index], self.logsnr_end
        if end < first or math.isinf(end):
            raise SchedulerError(
                f"logsnr_end: {end:g} found, allowed: finite, at least {first:g}, the first level"
            )
        self._run_end = end
        return [end]

    @property
    def sample(self) -> Tensor:
        """x at ``logsnr_end``, ``[batch, …]``, in the pipeline's own layout."""
        return self._seen(None)

    def _seen(self, logsnr: float | None) -> Tensor:
        if self._walk is None:
            raise SchedulerError("sample: none yet; run the pipeline first")
        logsnr = self._run_end if logsnr is None else logsnr
        if logsnr not in self._walk.seen:
            raise SchedulerError(f"sample: the run did not pass logSNR {logsnr:g}")
        return self._walk.seen[logsnr][: self._kept]


def _without_variance(output: Tensor, sample: Tensor) -> Tensor:
    """The output without the channels of a learned variance (Nichol & Dhariwal, 2021)."""
    if output.shape == sample.shape:
        return output
    doubled = (sample.shape[0], 2 * sample.shape[1], *sample.shape[2:])
    if sample.ndim > 1 and output.shape == doubled:
        return output[:, : sample.shape[1]]
    raise SchedulerError(
        f"model_output: shape {tuple(output.shape)} found, allowed: {tuple(sample.shape)}, that of "
        "the sample, or twice its channels"
    )


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE)


def _subclasses(cls: type) -> set[Any]:
    children: list[type] = cls.__subclasses__()
    return {cls}.union(*(_subclasses(child) for child in children))
