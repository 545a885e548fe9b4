"""What a diffusers scheduler config says of the noise: levels, timesteps, the network's output.

The numbers are those of diffusers' own schedulers (ᾱ_t of a beta table, σ of EDM and of flow
matching); here they become logSNRs, and the one place that turns a network's output into x̂_0.
Classes, keys and values that are not listed here are refused.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import diffusers
import torch
from torch import Tensor

from cartoonists.models.scheduler_configs import FLOW_KEYS
from cartoonists.paths.schedules import VE, VP, NoiseSchedule, RectifiedFlow

ANY = None  # every value of the key is understood, or has no effect on what is drawn here


class SchedulerError(ValueError):
    """A scheduler config, or a pipeline's use of a scheduler, that is not understood."""


# key: values that are allowed
_SPACING = {
    "use_karras_sigmas": (False, None),
    "use_exponential_sigmas": (False, None),
    "use_beta_sigmas": (False, None),
}
_SOLVER = {  # how other solvers take their steps, which are not taken here
    "algorithm_type": ANY,
    "corrector_order": ANY,
    "disable_corrector": ANY,
    "euler_at_final": ANY,
    "final_sigmas_type": ANY,
    "flow_shift": ANY,
    "interpolation_type": ANY,
    "lower_order_final": ANY,
    "noise_sampler_seed": ANY,
    "predict_x0": ANY,
    "predictor_order": ANY,
    "set_alpha_to_one": ANY,
    "skip_prk_steps": ANY,
    "solver_order": ANY,
    "solver_p": ANY,
    "solver_type": ANY,
    "tau_func": ANY,
    "thresholding": (False,),
    "dynamic_thresholding_ratio": ANY,
    "sample_max_value": ANY,
    "time_shift_type": ANY,
}
BETA_KEYS: dict[str, tuple | None] = {
    **_SPACING,
    **_SOLVER,
    "num_train_timesteps": ANY,
    "beta_start": ANY,
    "beta_end": ANY,
    "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"),
    "trained_betas": ANY,
    "prediction_type": ("epsilon", "sample", "v_prediction"),
    "timestep_spacing": ("leading", "linspace", "trailing"),
    "steps_offset": ANY,
    "clip_sample": (True, False),
    "clip_sample_range": ANY,
    "rescale_betas_zero_snr": (True, False),
    "variance_type": ANY,  # the variance of the step is this project's
    "timestep_type": ("discrete",),
    "lambda_min_clipped": (-float("inf"),),
    "sigma_min": (None,),
    "sigma_max": (None,),
    "shift_terminal": (None,),
    "use_lu_lambdas": (False,),
    "use_flow_sigmas": (False,),
    "use_dynamic_shifting": (False,),
}
EDM_KEYS: dict[str, tuple | None] = {
    **_SOLVER,
    "num_train_timesteps": ANY,
    "sigma_min": ANY,
    "sigma_max": ANY,
    "sigma_data": ANY,
    "sigma_schedule": ("karras", "exponential"),
    "prediction_type": ("epsilon", "v_prediction"),
    "rho": ANY,
}


class NoiseTable(ABC):
    """Noise levels of one family of schedulers, made by ``source``, a scheduler of diffusers.

    x is the variable that the pipeline holds: ``x = α x_0 + σ ε`` with α and σ of ``schedule``.
    After `set_timesteps`: ``timesteps`` and the logSNR of each, rising; -∞ is pure noise.
    """

    schedule: NoiseSchedule
    prior_std = 1.0  # of the noise that a pipeline starts from
    classes: tuple[str, ...]  # whose configs it reads; the first one makes the table
    keys: Mapping[str, tuple | None]
    logsnrs: list[float]

    def __init__(self, config: Mapping[str, Any]):
        maker = getattr(diffusers, self.classes[0])
        known = set(inspect.signature(maker.__init__).parameters)
        self.config = dict(config)
        try:
            self.source = maker(**{k: v for k, v in config.items() if k in known})
        except (ValueError, TypeError, NotImplementedError) as error:
            raise SchedulerError(f"scheduler config: {_one_line(error)}") from None

    def set_timesteps(self, device, **options) -> None:
        """Choose the levels as the pipeline asks.  Raises SchedulerError for unknown options."""
        given = {name: value for name, value in options.items() if value is not None}
        allowed = set(inspect.signature(self.source.set_timesteps).parameters) & self.options
        if not given.keys() <= allowed:
            found = ", ".join(sorted(given.keys() - allowed))
            raise SchedulerError(f"{found}: found, allowed here: {', '.join(sorted(allowed))}")
        try:
            self.source.set_timesteps(device=device, **given)
        except (ValueError, TypeError) as error:
            raise SchedulerError(f"set_timesteps: {_one_line(error)}") from None
        self.timesteps: Tensor = self.source.timesteps
        self.logsnrs = self._logsnrs()
        if any(b <= a for a, b in zip(self.logsnrs[:-1], self.logsnrs[1:], strict=True)):
            raise SchedulerError("timesteps: expected less noise from each to the next")

    options = frozenset({"num_inference_steps"})

    @abstractmethod
    def _logsnrs(self) -> list[float]:
        """λ of every timestep."""

    def model_input(self, sample: Tensor, index: int) -> Tensor:
        """What the network takes for the sample at a timestep."""
        return sample

    @abstractmethod
    def denoised(self, output: Tensor, sample: Tensor, index: int) -> Tensor:
        """x̂_0 from the network's output at x, the sample, at a timestep."""


class BetaTable(NoiseTable):
    """Variance preserving: ``α² = ᾱ_t``, the cumulative product of 1 - β_t (Ho et al., 2020).

    In these coordinates whatever solver the config was of: an Euler solver's σ/α does not appear.
    The network's output is ε, x_0 or ``v = α ε - σ x_0`` (Salimans & Ho, 2022).
    """

    schedule = VP()
    classes = (
        "DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "LMSDiscreteScheduler",
        "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler",
        "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler", "DPMSolverSDEScheduler", "DEISMultistepScheduler",
        "UniPCMultistepScheduler", "SASolverScheduler", "DDIMParallelScheduler",
        "DDPMParallelScheduler",
    )  # fmt: skip
    keys = BETA_KEYS
    options = frozenset({"num_inference_steps", "timesteps"})

    def __init__(self, config):
        super().__init__(config)
        if self.config["prediction_type"] == "epsilon" and self.source.alphas_cumprod[-1] == 0:
            raise SchedulerError(
                "prediction_type: 'epsilon' found, allowed with rescale_betas_zero_snr: "
                "sample, v_prediction (ε says nothing of x_0 where there is no signal)"
            )

    def _logsnrs(self):
        self._signal = self.source.alphas_cumprod.double()[self.timesteps.cpu()]
        return torch.logit(self._signal).tolist()

    def denoised(self, output, sample, index):
        signal = self._signal[index]
        alpha, sigma = signal.sqrt(), (1 - signal).sqrt()
        kind = self.config["prediction_type"]
        if kind == "epsilon":
            clean = (sample - sigma * output) / alpha
        else:
            clean = output if kind == "sample" else alpha * sample - sigma * output
        if self.config["clip_sample"]:
            bound = self.config["clip_sample_range"]
            return clean.clamp(-bound, bound)
        return clean


class EDMTable(NoiseTable):
    """Variance exploding: α = 1, σ and the preconditioning are those of Karras et al. (2022)."""

    schedule = VE()
    classes = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
    keys = EDM_KEYS

    def __init__(self, config):
        super().__init__(config)
        self.prior_std = float(self.source.init_noise_sigma)

    def _sigma(self, index: int) -> Tensor:
        return self.source.sigmas[index].double()

    def _logsnrs(self):
        return (-2 * self.source.sigmas[:-1].double().log()).tolist()

    def model_input(self, sample, index):
        return self.source.precondition_inputs(sample, self.source.sigmas[index])

    def denoised(self, output, sample, index):
        return self.source.precondition_outputs(sample, output, self._sigma(index))


class FlowTable(NoiseTable):
    """Flow matching: ``x = (1 - t) x_0 + t ε``; the output is the velocity ``v = ε - x_0``."""

    schedule = RectifiedFlow()
    classes = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
    keys = FLOW_KEYS
    options = frozenset({"num_inference_steps", "timesteps", "sigmas", "mu"})

    def set_timesteps(self, device, **options):
        if not self.config["use_dynamic_shifting"]:
            options.pop("mu", None)  # pipelines pass it always; it shifts only where it is asked to
        super().set_timesteps(device, **options)

    def _logsnrs(self):
        time = self.source.sigmas[:-1].double()
        if not ((time > 0) & (time <= 1)).all():
            raise SchedulerError(f"sigmas: {time.tolist()} found, allowed: above 0, at most 1")
        return (2 * ((1 - time).log() - time.log())).tolist()

    def denoised(self, output, sample, index):
        return sample - self.source.sigmas[index].double() * output


TABLES: tuple[type[NoiseTable], ...] = (BetaTable, EDMTable, FlowTable)


def resolve(
    config: Mapping[str, Any], overrides: Mapping[str, Any], ours: Sequence[str]
) -> tuple[str, dict[str, Any]]:
    """The class that a scheduler config is of, and all keys that count, with their values.

    A config in a file names its class: keys that the file leaves out have that class's defaults,
    and left-overs of other classes do not count.  That of an object in memory does not: its keys
    tell the family, and all count.  Configs of ``ours``, this project's schedulers, name the class
    that they came from.  ``overrides`` are what the caller sets.  Raises SchedulerError.
    """
    name = config.get("_class_name")
    name = config.get("source_class") if name is None or name in ours else name
    found = {k: v for k, v in config.items() if not k.startswith("_") and k != "source_class"}
    table = _family(found) if name is None else table_of(name)
    reads = _defaults(name or table.classes[0])
    for key, value in {**found, **overrides}.items():
        counts = name is None or key in reads or key in overrides
        _check(key, value, table.keys, name or "scheduler", counts)
    quiet = {"clip_sample": False}  # of classes that do not read it
    values = _defaults(table.classes[0]) | quiet | (reads if name is not None else {})
    values |= {k: v for k, v in found.items() if name is None or k in reads} | dict(overrides)
    return name or table.classes[0], {k: v for k, v in values.items() if k in table.keys}


def _defaults(name: str) -> dict[str, Any]:
    parameters = inspect.signature(getattr(diffusers, name).__init__).parameters
    return {key: parameter.default for key, parameter in parameters.items() if key != "self"}


def table_of(name: str) -> type[NoiseTable]:
    """The table of a scheduler class by its name.  Raises SchedulerError."""
    for table in TABLES:
        if name in table.classes:
            return table
    allowed = ", ".join(name for table in TABLES for name in table.classes)
    raise SchedulerError(f"scheduler: {name} found, allowed: {allowed}")


def _family(config: Mapping[str, Any]) -> type[NoiseTable]:
    """The family whose marks a config without class name bears."""
    if "sigma_data" in config:
        return EDMTable
    if "beta_start" in config or "trained_betas" in config:
        return BetaTable
    if "shift" in config:
        return FlowTable
    raise SchedulerError(
        f"scheduler config: keys {', '.join(sorted(config)) or 'none'} found, allowed: those of a "
        "beta table (beta_start), EDM (sigma_data) or flow matching (shift)"
    )


def _check(
    key: str, value: Any, allowed: Mapping[str, tuple | None], name: str, counts: bool
) -> None:
    if key not in allowed:
        raise SchedulerError(f"{key}: {value!r} found in the config of a {name}: effect unknown")
    values = allowed[key]
    if counts and values is not ANY and value not in values:
        listed = ", ".join(repr(v) for v in values)
        raise SchedulerError(f"{key}: {value!r} found in the config of a {name}, allowed: {listed}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
