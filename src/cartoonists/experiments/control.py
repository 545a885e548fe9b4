"""Experiments on controlling the log-density, on closed forms and on image models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from cartoonists.density.flow import FlowSettings, flow_log_density
from cartoonists.density.guidance import (
    DensityGuidance,
    GuidedSamples,
    ScaledScore,
    alignment_curve,
    bound_acts_below,
    sample_guided,
)
from cartoonists.density.posterior import Posterior
from cartoonists.experiments.frechet import FeatureSpace
from cartoonists.images.measures import set_table
from cartoonists.images.pictures import codec_sizes, gradient_energy, radial_power_spectrum
from cartoonists.models.checkpoints import ImageModel
from cartoonists.models.classifier import SURE, Classifier
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
    strengths: Sequence[float],
    bounds: Sequence[float],
    seeds: Sequence[int],
    steps: int,
) -> pd.DataFrame:
    """True log-density reached by every control at every strength, one row a sample.

    ``log_density_nats`` is exact, ``tracked_log_density_nats`` is (★) and ``requested_nats`` the
    part of it that was asked for (`GuidedSamples`); guidance for each ``bound`` on η, which acts
    where |σ s|² < ``bound_acts_below``.
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
        for strength in strengths:
            run = sample_guided(target, steps=steps, strength=strength, seeds=seeds, **options)
            columns = {
                "control": name,
                "strength": strength,
                "dimensions": target.dimensions,
                "seed": list(seeds),
                "log_density_nats": target.log_prob(run.x),
                "tracked_log_density_nats": run.log_density,
                "requested_nats": run.requested,
                "bound_acts_below": bound_acts_below(
                    target.dimensions, strength, options.get("bound", float("inf"))
                ),
            }
            tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


# --- image models ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class NoiseWindow:
    """Projected noise of ``scale`` φ̃ between two λ, in ``steps`` Euler–Maruyama steps."""

    logsnr: tuple[float, float]
    scale: float
    steps: int


@dataclass(frozen=True)
class ControlSettings:
    """``n_measured`` of the seeds have log-densities, ``n_compared`` serve the other controls.

    ``noise``: windows by name, and the ``noise_strengths`` at which they act.  Without noise the
    range of λ takes ``steps`` Heun steps.  ``flow``: the PF-ODE that measures all samples;
    ``width`` of the alignment's central difference.
    """

    strengths: Sequence[float]
    n_measured: int
    n_compared: int
    steps: int
    noise_strengths: Sequence[float]
    noise: Mapping[str, NoiseWindow]
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
    """Log-density reached by every control, one row a sample; and the guided images of all seeds.

    Columns: ``control``, ``strength``, ``seed``, ``log_density_nats`` and ``error_nats`` by the
    PF-ODE; for guidance ``tracked_log_density_nats`` by (★) and the ``requested_nats`` in it
    (`GuidedSamples`); for guidance with noise ``feature_distance`` (classifier features) and
    ``low_frequency_share`` (power of the change below `LOW_FREQUENCY`), both against the noiseless
    sample of the same seed and strength.  The other controls are run at the outer strengths; at 0
    all are the same sample.
    Images uint8 ``[len(strengths), n, c, h, w]``, guidance alone, the strengths rising.
    """
    rows = _Measured(model, settings, posterior, classifier)
    strengths = sorted(settings.strengths)
    common: dict[str, Any] = {
        "steps": settings.steps, "bound": settings.bound, "posterior": posterior
    }  # fmt: skip
    measured, others = list(seeds)[: settings.n_measured], list(seeds)[settings.n_measured :]
    images = []
    for strength in strengths:
        run = sample_guided(model, strength=strength, seeds=measured, **common)
        found = [rows.add("guidance", strength, run, measured)]
        if others:
            more = sample_guided(model, strength=strength, seeds=others, track=False, **common)
            found.append(model.finish(more.x).numpy())
        images.append(np.concatenate(found))
    few, common["track"] = measured[: settings.n_compared], False
    for method in ("prior", "temperature"):
        for strength in (strengths[0], strengths[-1]):
            run = sample_guided(model, strength=strength, seeds=few, method=method, **common)
            rows.add(method, strength, run, few)
    for name, window in settings.noise.items():
        for strength in settings.noise_strengths:
            run = sample_guided(
                model, strength=strength, seeds=few, noise_window=window.logsnr,
                stochasticity=window.scale, noise_steps=window.steps, **common,
            )  # fmt: skip
            rows.add(f"guidance, {name} noise", strength, run, few, against=("guidance", strength))
    return pd.concat(rows.tables, ignore_index=True), np.stack(images)


class _Measured:
    """Rows and images, measured alike."""

    def __init__(self, model, settings: ControlSettings, posterior, classifier):
        self.model, self.settings, self.posterior = model, settings, posterior
        self.classifier = classifier
        self.tables: list[pd.DataFrame] = []
        self.images: dict[tuple[str, float], np.ndarray] = {}

    def add(
        self, control: str, strength: float, run: GuidedSamples, seeds, against=None
    ) -> np.ndarray:
        """The images, once their log-densities are in the tables."""
        flow = flow_log_density(self.model, run.x, seeds, self.settings.flow, self.posterior)
        images = self.images[control, strength] = self.model.finish(run.x).numpy()
        columns = {
            "control": control,
            "strength": strength,
            "dimensions": self.model.dimensions,
            "seed": list(seeds),
            "log_density_nats": flow.log_density,
            "error_nats": flow.error,
        }
        if control == "guidance":
            columns["tracked_log_density_nats"] = run.log_density
            columns["requested_nats"] = run.requested
        if against is not None:
            columns |= self._change(images, self.images[against][: len(images)])
        self.tables.append(pd.DataFrame(columns))
        return images

    def _change(self, images: np.ndarray, reference: np.ndarray) -> dict[str, np.ndarray]:
        share = low_frequency_share(images.astype(float) - reference.astype(float))
        columns = {"low_frequency_share": share}
        if self.classifier is not None:
            difference = self.classifier.features(images) - self.classifier.features(reference)
            columns["feature_distance"] = np.linalg.norm(difference, axis=1)
        return columns


def guided_measures(
    images: np.ndarray,
    strengths: Sequence[float],
    seeds: Sequence[int],
    classifier: Classifier | None = None,
) -> pd.DataFrame:
    """Detail, file size and recognisability of guided images ``[k, n, c, h, w]``, a row an image.

    Columns: ``strength``, ``seed``, ``gradient_energy`` (grey levels a pixel), ``png_bytes``, and
    with a classifier ``surely_classified``, whether its top probability is `SURE` or more.
    """
    tables = []
    for strength, part in zip(strengths, images, strict=True):
        columns = {"strength": strength, "seed": list(seeds)}
        columns["gradient_energy"] = gradient_energy(part)
        columns["png_bytes"] = codec_sizes(part, ["png"])["png"]
        if classifier is not None:
            columns["surely_classified"] = classifier.probabilities(part).max(axis=1) >= SURE
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def guided_sets(
    images: np.ndarray,
    strengths: Sequence[float],
    real: np.ndarray,
    space: FeatureSpace,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """`set_table` of guided images ``[k, n, c, h, w]`` by ``strength``, ratios to strength 0."""
    order = sorted(range(len(strengths)), key=lambda i: strengths[i] != 0)
    features = np.stack([space.features(images[i]) for i in order])
    data = space.features(real) if len(real) else np.empty((0, space.dimensions))
    others = [strengths[i] for i in order[1:]]
    table = set_table(features, others, data, confidence, space.metric)
    guided = table[table["sample"] != "data"].rename(columns={"switch_logsnr": "strength"})
    return guided.fillna({"strength": 0.0}).drop(columns="sample")


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
