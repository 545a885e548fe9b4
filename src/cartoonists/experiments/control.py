"""Experiments on controlling the log-density, on closed forms and on image models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cartoonists.density.flow import FlowSettings, flow_log_density
from cartoonists.density.guidance import (
    DensityGuidance,
    ScaledScore,
    alignment_curve,
    bound_acts_below,
    sample_guided,
)
from cartoonists.density.posterior import Posterior
from cartoonists.images.pictures import radial_power_spectrum
from cartoonists.models.checkpoints import ImageModel
from cartoonists.models.classifier import Classifier
from cartoonists.paths.divergence import ExactDivergence
from cartoonists.paths.processes import (
    ForwardSDE,
    HighDensityODE,
    MarginalFamily,
    ProbabilityFlow,
    ReverseSDE,
)
from cartoonists.paths.schedules import NoiseSchedule, uniform_grid
from cartoonists.paths.scores import GaussianMixture, ScoreModel
from cartoonists.paths.solvers import integrate
from cartoonists.paths.streams import Streams

LOW_FREQUENCY = 0.125  # cycles a pixel; waves longer than eight pixels count as shape


# --- closed forms ---------------------------------------------------------------------------------


def path_processes(schedule: NoiseSchedule) -> dict:
    """Every kind of process, by name."""
    return {
        "PF-ODE": ProbabilityFlow(schedule),
        "HD-ODE": HighDensityODE(schedule),
        "temperature 1.2": ScaledScore(schedule, 1.2),
        "density guidance": DensityGuidance(schedule, 0.3),
        "reverse SDE": ReverseSDE(schedule),
        "forward SDE": ForwardSDE(schedule),
        "family, φ = g/2": MarginalFamily(schedule, 0.5),
        "family, φ = 3g/2": MarginalFamily(schedule, 1.5),
        "guidance, projected noise": DensityGuidance(schedule, 0.3, 0.5),
    }


def path_errors(
    target: GaussianMixture, seeds: Sequence[int], steps: Sequence[int]
) -> pd.DataFrame:
    """(★) along every process: tracked minus true log-density at the end, one row a sample.

    Ordinary differential equations by Heun, noise by Euler–Maruyama; from draws of the marginal
    where the path starts, over the whole range of λ.
    """
    schedule = target.schedule
    tables = []
    for name, process in path_processes(schedule).items():
        start, stop = schedule.logsnr_min, schedule.logsnr_max
        if isinstance(process, ForwardSDE):
            start, stop = stop, start
        x = target._draw(Streams(seeds, "start"), start)
        solver = "heun" if process.is_deterministic() else "euler"
        for n in steps:
            path = integrate(
                process, target, x, target.log_prob(x, start), uniform_grid(start, stop, n),
                ExactDivergence(), seeds, solver=solver, noise=Streams(seeds, "path"),
            )  # fmt: skip
            error = path.log_density - target.log_prob(path.x, stop)
            columns = {"process": name, "solver": solver, "steps": n, "seed": list(seeds)}
            tables.append(pd.DataFrame(columns | {"error_nats": error}))
    return pd.concat(tables, ignore_index=True)


def closed_form_control(
    target: GaussianMixture,
    quantiles: Sequence[float],
    bounds: Sequence[float],
    seeds: Sequence[int],
    steps: int,
) -> pd.DataFrame:
    """True log-density reached by every control at every quantile, one row a sample.

    ``log_density_nats`` is exact, ``tracked_log_density_nats`` is (★); guidance for each ``bound``
    on η, whose quantile part acts where |σ s|² < ``bound_acts_below``.
    """
    guided = [(f"guidance, bound {b:g}", {"bound": b}) for b in bounds]
    controls: list[tuple[str, dict[str, Any]]] = [
        *guided,
        ("guidance with noise", {"stochasticity": 0.5, "bound": bounds[0]}),
        ("prior guidance", {"method": "prior"}),
        ("temperature", {"method": "temperature"}),
    ]
    tables = []
    for name, options in controls:
        for q in quantiles:
            run = sample_guided(target, steps=steps, quantile=q, seeds=seeds, **options)
            columns = {
                "control": name,
                "quantile": q,
                "dimensions": target.dimensions,
                "seed": list(seeds),
                "log_density_nats": target.log_prob(run.x),
                "tracked_log_density_nats": run.log_density,
                "bound_acts_below": bound_acts_below(
                    target.dimensions, q, options.get("bound", float("inf"))
                ),
            }
            tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


# --- image models ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ControlSettings:
    """``n_compared`` of the seeds serve the controls that guidance is compared with.

    ``noise``: windows of λ in which projected noise of scale ``stochasticity`` acts, integrated in
    ``noise_steps`` Euler–Maruyama steps.  Elsewhere the range of λ takes ``steps`` Heun steps.
    ``flow``: the PF-ODE that measures all samples; ``width`` of the alignment's central difference.
    """

    quantiles: Sequence[float]
    n_compared: int
    steps: int
    stochasticity: float
    noise_steps: int
    noise: Mapping[str, Sequence[float]]
    bound: float
    width: float
    flow: FlowSettings


def model_control(
    model: ImageModel,
    seeds: Sequence[int],
    settings: ControlSettings,
    posterior: Posterior | None = None,
    classifier: Classifier | None = None,
) -> tuple[pd.DataFrame, np.ndarray]:
    """PF-ODE log-density reached by every control, one row a sample; and the guided images.

    Columns: ``control``, ``quantile``, ``seed``, ``log_density_nats``, ``error_nats``; for
    guidance with noise also ``feature_distance`` (classifier features) and ``low_frequency_share``
    (power of the change below `LOW_FREQUENCY`), both against the noiseless sample of the same seed
    and quantile.  The other controls are run at the outer quantiles; at ½ all are the same sample.
    Images uint8 ``[len(quantiles), n, c, h, w]``, guidance alone, the quantiles rising.
    """
    rows = _Measured(model, settings, posterior, classifier)
    quantiles = sorted(settings.quantiles)
    common: dict[str, Any] = {
        "solver": "heun",
        "bound": settings.bound,
        "posterior": posterior,
        "track": False,
    }
    for q in quantiles:
        run = sample_guided(model, steps=settings.steps, quantile=q, seeds=seeds, **common)
        rows.add("guidance", q, run.x, seeds)
    few = list(seeds)[: settings.n_compared]
    for method in ("prior", "temperature"):
        for q in quantiles:
            if q in (quantiles[0], quantiles[-1]):
                options = common | {"method": method}
                run = sample_guided(model, steps=settings.steps, quantile=q, seeds=few, **options)
                rows.add(method, q, run.x, few)
    for name, (start, stop) in settings.noise.items():
        for q in (quantiles[0], quantiles[len(quantiles) // 2], quantiles[-1]):
            run = sample_guided(
                model, steps=settings.steps, quantile=q, seeds=few, noise_window=(start, stop),
                stochasticity=settings.stochasticity, noise_steps=settings.noise_steps, **common,
            )  # fmt: skip
            rows.add(f"guidance, {name} noise", q, run.x, few, against=("guidance", q))
    shown = np.stack([rows.images["guidance", q] for q in quantiles])
    return pd.concat(rows.tables, ignore_index=True), shown


class _Measured:
    """Rows and images, measured alike."""

    def __init__(self, model, settings: ControlSettings, posterior, classifier):
        self.model, self.settings, self.posterior = model, settings, posterior
        self.classifier = classifier
        self.tables: list[pd.DataFrame] = []
        self.images: dict[tuple[str, float], np.ndarray] = {}

    def add(self, control: str, quantile: float, x: Tensor, seeds, against=None) -> None:
        flow = flow_log_density(self.model, x, seeds, self.settings.flow, self.posterior)
        images = self.images[control, quantile] = self.model.finish(x).numpy()
        columns = {
            "control": control,
            "quantile": quantile,
            "dimensions": self.model.dimensions,
            "seed": list(seeds),
            "log_density_nats": flow.log_density,
            "error_nats": flow.error,
        }
        if against is not None:
            columns |= self._change(images, self.images[against][: len(images)])
        self.tables.append(pd.DataFrame(columns))

    def _change(self, images: np.ndarray, reference: np.ndarray) -> dict[str, np.ndarray]:
        share = low_frequency_share(images.astype(float) - reference.astype(float))
        columns = {"low_frequency_share": share}
        if self.classifier is not None:
            difference = self.classifier.features(images) - self.classifier.features(reference)
            columns["feature_distance"] = np.linalg.norm(difference, axis=1)
        return columns


def low_frequency_share(change: np.ndarray) -> np.ndarray:
    """Share of the power of a change ``[n, c, h, h]`` at waves longer than eight pixels, ``[n]``.

    The constant does not count; NaN where nothing changed.
    """
    frequencies, power = radial_power_spectrum(change)
    weighted = power * frequencies  # rings hold coefficients in proportion to their radius
    total = weighted.sum(axis=1)
    low = weighted[:, frequencies <= LOW_FREQUENCY].sum(axis=1)
    return np.where(total > 0, low / np.where(total > 0, total, 1), np.nan)


def aligned_at(schedule: NoiseSchedule, logsnrs: Sequence[float]) -> list[float]:
    """The λ of score alignment: those inside the schedule's range, and its end."""
    inside = [value for value in logsnrs if schedule.logsnr_min < value < schedule.logsnr_max]
    return [*inside, float(schedule.logsnr_max)]


def alignment_table(
    model: ScoreModel,
    seeds: Sequence[int],
    steps: int,
    width: float,
    logsnrs: Sequence[float],
    *,
    solver: str = "heun",
    posterior: Posterior | None = None,
) -> pd.DataFrame:
    """Score alignment with and without the score, nats, one row a seed and λ.

    Of the same paths at every λ (`alignment_curve`), in the column ``logsnr_end``.
    """
    with torch.no_grad():
        found = alignment_curve(
            model, logsnrs, steps=steps, seeds=list(seeds), width=width, solver=solver,
            posterior=posterior,
        )  # fmt: skip
    tables = []
    for logsnr, run in found.items():
        columns = {"seed": list(seeds), "dimensions": model.dimensions, "logsnr_end": logsnr}
        columns |= {"with_score_nats": run.with_score, "without_score_nats": run.without_score}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)
