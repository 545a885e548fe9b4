"""The log-density of what a pipeline draws, at no evaluation of the network."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cartoonists.density.ancestral import Look, _log_normal, _sum_of_squares
from cartoonists.density.posterior import SMALLEST, Posterior
from cartoonists.paths.schedules import NoiseSchedule
from cartoonists.paths.solvers import Halving
from cartoonists.schedulers.base import EndsAtLogSNR
from cartoonists.schedulers.tables import SchedulerError
from cartoonists.schedulers.variance import Calibration, IsotropicVariance
from cartoonists.schedulers.walks import (
    AncestralWalk,
    FlowWalk,
    RenoisingWalk,
    Walk,
    noise_estimate,
)

LEAST_STEPS = 32  # of a calibration: a coarser pilot ends in samples of another spread
LEAST_SAMPLES = 12  # for control variates
DIFFERENT = "calibrate: the second call of the function draws other samples than the first"
COORDINATES = {"BetaTable": "vp", "EDMTable": "edm", "FlowTable": "flow"}


class Increments(NamedTuple):
    """Log-densities of every step's kernels, ``[steps, batch]`` each, nats.

    ``reverse``: log p(x_μ|x_λ) of the step that was drawn, the policy's in reinforcement learning.
    ``forward``: log q(x_λ|x_μ) of the noising kernel.
    """

    forward: Tensor
    reverse: Tensor


class Calibrated(EndsAtLogSNR):
    """A scheduler whose steps have the variance of `AncestralKernel`, from the posterior c(λ).

    c comes from ``calibrate``, from ``load_calibration``, or is set: ``variance`` takes a function
    of λ (`IsotropicVariance.gaussian` for Gaussian data) or a `Posterior`
    (`cartoonists.density.posterior`).  Without any it is 0.
    """

    def __init__(self, source_class, config, **own):
        super().__init__(source_class, config, **own)
        self.calibration: Calibration | None = None
        self._calibrating: _Pilot | _Table | None = None

    @property
    def variance(self) -> Posterior | None:
        """The posterior variance in use; set it to a function of λ, a Posterior, or None."""
        return self.posterior

    @variance.setter
    def variance(self, value: Posterior | Callable[[float], float] | None) -> None:
        if value is None or isinstance(value, Posterior):
            self.posterior = value
        else:
            self.posterior = IsotropicVariance(value)
        self.calibration = value if isinstance(value, Calibration) else None

    def calibrate(self, run: Callable[[], object]) -> Calibration:
        """Measure c(λ): calls ``run``, which calls the pipeline, twice; no other evaluation.

        The first, the pilot, goes without noise (η = 1) to x_0.  In the second every step returns
        that x_0 noised afresh, and ``E (x_0 - x̂_0)²`` at each level is c.  Both have the pipeline's
        own prompts and guidance.  64 steps and 32 samples give 5e-3 nats/dim on a Gaussian; with
        fewer than 32 steps the pilot's samples have another spread, and a warning says so.
        Raises SchedulerError where ``run`` does not run the pipeline to its end both times.
        """
        pilot = _Pilot()
        try:
            self._calibrating = pilot
            run()
            self._calibrating = table = _Table(pilot)
            run()
        finally:
            self._calibrating = None
            self._walk = None
        self.variance = calibration = table.result(self)
        if calibration.steps < LEAST_STEPS:
            warnings.warn(
                f"calibrate: {calibration.steps} steps found, {LEAST_STEPS} or more give c(λ) to "
                "what 5e-3 nats/dim need",
                stacklevel=2,
            )
        return calibration

    def save_calibration(self, path: str | Path) -> None:
        """Write the calibration as JSON.  Raises SchedulerError where there is none."""
        if self.calibration is None:
            raise SchedulerError("save_calibration: nothing calibrated; call calibrate first")
        self.calibration.save(path)

    def load_calibration(self, path: str | Path) -> None:
        """Use what `save_calibration` wrote.  Raises CalibrationError."""
        self.variance = Calibration.load(path, self._coordinates())

    def _coordinates(self) -> str:
        return COORDINATES[type(self.table).__name__]

    def _start(self, first: Look, index: int) -> Walk:
        if self._calibrating is not None:
            return self._calibrating.start(self, first.z)
        return self._walk_from(first, index)

    def _walk_from(self, first: Look, index: int) -> Walk:
        raise NotImplementedError

    def _finished(self) -> None:
        if self._calibrating is not None:
            self._calibrating.finish(self)


class _Pilot:
    """First call of a calibration: x_0 of every run of the pipeline without noise, and its x_T."""

    def __init__(self):
        self.starts: list[Tensor] = []
        self.clean: list[Tensor] = []

    def start(self, scheduler: Calibrated, x: Tensor) -> Walk:
        self.starts[len(self.clean) :] = [x / scheduler.table.prior_std]
        return FlowWalk(scheduler.table.schedule, [])

    def finish(self, scheduler: Calibrated) -> None:
        self.clean.append(scheduler._returned)


class _Table:
    """Second call: the error of x̂_0 at every level."""

    def __init__(self, pilot: _Pilot):
        if not pilot.clean:
            raise SchedulerError("calibrate: the function did not run the pipeline to its end")
        self.pilot = pilot
        self.errors: list[dict[float, Tensor]] = []

    def start(self, scheduler: Calibrated, x: Tensor) -> Walk:
        run, pilot = len(self.errors), self.pilot
        if run >= len(pilot.clean) or pilot.clean[run].shape != x.shape:
            raise SchedulerError(DIFFERENT)
        first = scheduler.seed + sum(len(clean) for clean in pilot.clean[:run])  # type: ignore[attr-defined]
        seeds = range(first, first + len(x))
        clean = pilot.clean[run].to(x)
        return RenoisingWalk(scheduler.table.schedule, clean, pilot.starts[run], seeds)

    def finish(self, scheduler: Calibrated) -> None:
        walk = scheduler._walk
        assert isinstance(walk, RenoisingWalk)
        self.errors.append(walk.errors)

    def result(self, scheduler: Calibrated) -> Calibration:
        clean = self.pilot.clean
        if len(self.errors) != len(clean) or len({tuple(e) for e in self.errors}) != 1:
            raise SchedulerError(DIFFERENT)
        levels = sorted(self.errors[0])
        if not levels:
            raise SchedulerError("calibrate: 1 step found, allowed: 2 or more")
        means = [
            controlled_mean(torch.cat([e[level].cpu() for e in self.errors])) for level in levels
        ]
        samples = sum(len(x) for x in clean)
        return Calibration(
            scheduler._coordinates(), levels, means, len(levels) + 1, samples, clean[0][0].numel()
        )


def controlled_mean(values: Tensor) -> float:
    """E of the first column, given that the other columns' expectations are 0 (control variates).

    The intercept of the regression on them; for Gaussian data the columns of `RenoisingWalk`
    explain all that varies.  The plain mean where samples are few.
    """
    plain = float(values[:, 0].mean())
    if len(values) < LEAST_SAMPLES:
        return plain
    design = torch.cat([torch.ones(len(values), 1), values[:, 1:].cpu()], dim=1).double()
    controlled = float(torch.linalg.lstsq(design, values[:, :1].double()).solution[0])
    return controlled if controlled > 0 else plain


class TrackedWalk(AncestralWalk):
    """The ancestral chain with its path ratio, up to ``end``.

    It starts from log p_λ of the first level, that of the Gaussian whose score and variance are the
    model's at x: ``-½ D log 2πV - ½ V |s|²``, ``V = σ² + α² c/(1 - ρ)``, ``ρ = c exp(λ)``.  At
    λ = -∞ that is N(0, I); a beta table ends at a finite λ, where N(0, I), which pipelines draw
    from, is not quite the model's p_λ: for a mean of 1 that is a few hundredths of a nat a
    dimension on the table of Stable Diffusion.
    """

    def __init__(self, schedule, end, posterior, seeds, first: Look, drawn: bool):
        super().__init__(schedule, [end], first.z, posterior, seeds)
        self.end = end
        self.forward: list[Tensor] = []
        self.reverse: list[Tensor] = []
        self.prior = torch.zeros(len(first.z), dtype=torch.float64, device=first.z.device)
        if drawn:
            self.prior = log_marginal(first, schedule)
        self._begin, self._halving = first.z, Halving(self.prior)

    def passed(self, at, x, cleaner):
        if cleaner > self.end:
            return
        forward, reverse = self._terms(at, x, cleaner)
        self.forward.append(forward)
        self.reverse.append(reverse)
        self._halving.add(at, reverse - forward, lambda since: self._change(since, x, cleaner))

    def _change(self, at: Look, x: Tensor, cleaner: float) -> Tensor:
        forward, reverse = self._terms(at, x, cleaner)
        return reverse - forward

    def _terms(self, at: Look, x: Tensor, cleaner: float) -> tuple[Tensor, Tensor]:
        """log q(x_λ|x_μ) and log p(x_μ|x_λ), ``[batch]``, nats."""
        mean, variance = self.kernel.moments(at, cleaner)
        ratio, spread = self.schedule.transition(at.logsnr, cleaner)
        return _log_prob(at.z - ratio * x, spread), _log_prob(x - mean, variance)

    def log_density(self) -> Tensor:
        """Prior and path ratio up to ``end``, ``[batch]``, nats."""
        total = self.prior
        for forward, reverse in zip(self.forward, self.reverse, strict=True):
            total = total + reverse - forward
        return total

    def error(self) -> Tensor:
        """How far it moves along the same points in steps twice as long; NaN for one step."""
        if len(self.forward) < 2:
            return torch.full_like(self.prior, math.nan)
        return self._halving.error(self.log_density())


def log_marginal(at: Look, schedule: NoiseSchedule) -> Tensor:
    """log p_λ(x) of the Gaussian with the score and the isotropic variance that x has, ``[batch]``.

    Exact for one isotropic Gaussian; for others right to order α² in the mean over x.
    """
    noise = noise_estimate(at, schedule)
    share = (schedule.alpha(at.logsnr) ** 2 * at.variance / schedule.sigma2(at.logsnr)).clamp_max(
        1 - SMALLEST
    )
    variance = schedule.sigma2(at.logsnr) / (1 - share)
    return _log_prob(noise * (variance / schedule.sigma(at.logsnr)), variance)


def _log_prob(difference: Tensor, variance: Tensor) -> Tensor:
    """log N(difference; 0, variance), ``[batch]``, nats."""
    squares = _sum_of_squares(difference / variance.sqrt())
    constant = 0.5 * math.log(2 * math.pi) * difference[0].numel()
    return _log_normal(squares, variance, difference) - constant


class TrackedScheduler(Calibrated):
    """Ancestral sampling in any diffusers pipeline, with the log-density of every sample.

        pipe.scheduler = TrackedScheduler.from_config(pipe.scheduler.config, seed=0)
        pipe.scheduler.calibrate(lambda: pipe(prompt, num_inference_steps=64, …))    # once
        image = pipe(prompt, num_inference_steps=50).images[0]
        pipe.scheduler.log_density

    One step λ → μ draws from `cartoonists.density.ancestral.AncestralKernel` and adds
    ``log p(x_μ|x_λ) - log q(x_λ|x_μ)``, the path ratio: at no evaluation of the network,
    and formed on the sample as the pipeline holds it, fp16 included.  The network's output is taken
    as it arrives, so with guidance the density is that of the guided chain.

    A run that starts from an image (``add_noise``, ``scale_noise``, a later timestep) has no prior:
    then ``log_density`` is the path ratio alone, log p(x_end)/p(x_start), and a warning says so.
    Raises SchedulerError for what is not understood, see ``tables``.
    """

    def _walk_from(self, first, index):
        self._warn_of_reuse(first.z)
        drawn = index == 0 and not self._from_data
        if not drawn:
            warnings.warn(
                "log_density: the run starts from an image, so it is the path ratio alone, "
                "log p(x_end) - log p(x_start)",
                stacklevel=4,
            )
        (end,) = self._wanted(index)
        return TrackedWalk(
            self.table.schedule, end, self.posterior, self._seeds(first.z), first, drawn
        )

    def _warn_of_reuse(self, x: Tensor) -> None:
        """Of a second run in a row with the same path noise and another start."""
        seed, before = self.__dict__.get("_used", (None, None))
        self._used = (self.seed, x[:1])  # type: ignore[attr-defined]
        if seed != self._used[0] or before.shape != x[:1].shape:
            return
        if torch.equal(before.to(x), x[:1]):
            return
        _warn_once(
            self, "seed",
            f"seed: {seed} is used again with other latents, and so is its path noise; set "
            "scheduler.seed for samples that are independent",
        )  # fmt: skip

    def _tracked(self) -> TrackedWalk:
        if not isinstance(self._walk, TrackedWalk) or self._walk.end not in self._walk.seen:
            raise SchedulerError("log_density: none yet; run the pipeline to its end first")
        if self._changed:
            raise SchedulerError(
                "log_density: the pipeline or a callback changed the sample between two steps "
                "(inpainting does), so that what was drawn is not the chain that was tracked"
            )
        return self._walk

    @property
    def log_density(self) -> Tensor:
        """log p of ``sample``, x at ``logsnr_end``, ``[batch]``, nats, float64.

        Of the pipeline's own variable (scaled latents; pixels in [-1, 1] where it has no
        autoencoder).  Without a calibration it is loose, and a warning says how loose.
        """
        walk = self._tracked()
        if self.posterior is None:
            error = float(walk.error().median()) / walk.kernel.model.dimensions
            _warn_once(
                self, "calibration",
                "log_density: not calibrated, so the steps take c = 0 and the value is too high; "
                f"step halving moves it by {error:.2g} nats/dim (see calibrate)",
            )  # fmt: skip
        return walk.log_density()[: self._kept]

    @property
    def log_density_error(self) -> Tensor:
        """Step-halving error of ``log_density``, ``[batch]``, nats."""
        return self._tracked().error()[: self._kept]

    @property
    def increments(self) -> Increments:
        """Forward and reverse terms of every step up to ``logsnr_end``, `Increments`.

        ``log_density`` is log p of the first level plus the sum of reverse - forward.
        """
        walk = self._tracked()
        rows = slice(None, self._kept)
        empty = walk.prior.new_empty(0, len(walk.prior))
        forward = torch.stack(walk.forward) if walk.forward else empty
        reverse = torch.stack(walk.reverse) if walk.reverse else empty
        return Increments(forward[:, rows], reverse[:, rows])


def _warn_once(scheduler: TrackedScheduler, key: str, message: str) -> None:
    told = scheduler.__dict__.setdefault("_told", set())
    if key not in told:
        told.add(key)
        warnings.warn(message, stacklevel=3)
