"""The mode-tracking experiments: end-point errors, curves to draw, cost against dimension."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from cartoonists.density.modes import (
    DENSE_UP_TO,
    GAP_LIMIT,
    ModeDivergence,
    dense_hessian,
    log_posterior,
    newton_modes,
    solve_dense,
    track_modes,
    xi,
)
from cartoonists.experiments.theory import testbed
from cartoonists.paths.boxes import SoftBox
from cartoonists.paths.divergence import ExactDivergence
from cartoonists.paths.schedules import VE, VP, NoiseSchedule, uniform_grid
from cartoonists.paths.scores import ClosedForm, GaussianMixture, ScoreModel
from cartoonists.paths.solvers import Callback

SCHEDULES = {"VP": VP, "VE": VE}
BOX = {"half_width": 1.2, "softness": 0.1}
PROCESSES = {"mode ODE": True, "HD-ODE": False}
COST_METHODS = ("dense", "cg", "autodiff")
CLEAR_PEAK = "5"  # what Linux wants in /proc/self/clear_refs to reset the peak of resident memory


@dataclass(frozen=True)
class ModeSettings:
    """Settings that the mode experiments share."""

    n_samples: int
    steps: int
    starts: int
    seed: int
    logsnr_min: float
    logsnr_max: float

    def schedule(self, name: str) -> NoiseSchedule:
        return SCHEDULES[name](self.logsnr_min, self.logsnr_max)


def mode_targets(dimensions: int, schedule: NoiseSchedule) -> dict[str, ClosedForm]:
    """Targets of the table of modes: many modes, one mode and no third derivatives, one mode.

    The Gaussian and the soft box have a curvature of their own in each dimension, for which
    conjugate gradients take as many iterations: they are followed up to `DENSE_UP_TO` dimensions.
    """
    found: dict[str, ClosedForm] = {"mixture": testbed("mixture", dimensions, schedule)}
    if dimensions <= DENSE_UP_TO:
        found["Gaussian"] = testbed("gaussian", dimensions, schedule)
        found["soft box"] = SoftBox(dimensions, **BOX, schedule=schedule)
    return found


def mode_errors(
    dimensions: Sequence[int], logsnr_t: Sequence[float], settings: ModeSettings
) -> pd.DataFrame:
    """End points of both equations against Newton's method, VP and VE, one row a start.

    On each of `mode_targets`; on the Gaussian both equations are one, and the HD-ODE alone is run.

    ``error`` is the distance to the nearest mode, ``error_to_best`` to the highest, in root mean
    square over the coordinates; ``deficit_nats``: how far log p(x_s|x_t) of the end point lies
    below that of the highest mode; ``failed``: by more than ``GAP_LIMIT``.
    """
    tables = []
    cases = [
        (name, kind, target, start)
        for name in SCHEDULES
        for size in dimensions
        for kind, target in mode_targets(size, settings.schedule(name)).items()
        for start in logsnr_t
    ]
    for name, kind, target, start in tqdm(cases, desc="modes"):
        size, one_mode = target.dimensions, kind != "mixture"
        x_t = target.sample(settings.n_samples, settings.seed, logsnr=start)
        modes = newton_modes(target, x_t, start, seed=settings.seed)
        for process, correction in PROCESSES.items():
            if correction and kind == "Gaussian":
                continue
            run = track_modes(
                target, x_t, start, settings.steps, correction, seed=settings.seed,
                starts=0 if one_mode else settings.starts,
            )  # fmt: skip
            distances = (run.x[:, None] - modes.x).flatten(2).norm(dim=2) / math.sqrt(size)
            deficit = modes.best_log_posterior - log_posterior(target, run.x, x_t, start)
            best = (run.x - modes.best).flatten(1).norm(dim=1) / math.sqrt(size)
            columns = {
                "target": kind,
                "schedule": name,
                "dimensions": size,
                "logsnr_t": start,
                "process": process,
                "seed": list(range(settings.seed, settings.seed + len(x_t))),
                "error": distances.min(1).values,
                "error_to_best": best,
                "deficit_nats": deficit,
                "failed": deficit > GAP_LIMIT,
                "status": run.status,
                "ok": run.ok,
                "smallest_eigenvalue": run.smallest_eigenvalue,
                "gap_nats": run.gap_nats,
                "found_deficit_nats": run.deficit_nats,
                "correction_share": run.correction_share,
                "log_density_nats": run.log_density,
            }
            tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def failure_detection(table: pd.DataFrame) -> pd.DataFrame:
    """Precision and recall of what `track_modes` reports, against brute force.

    *path*: A indefinite or ill-conditioned; *starts*: a higher mode from another start; *any*:
    status is not ok.  Rows: detector, counts, precision, recall (NaN where nothing was reported
    or failed).
    """
    runs = table[table["process"] == "mode ODE"]
    failed = runs["failed"]
    detectors = {
        "path": runs["status"].isin(["indefinite", "ill-conditioned"]),
        "starts": runs["found_deficit_nats"] > GAP_LIMIT,
        "any": ~runs["ok"],
    }
    rows = []
    for name, reported in detectors.items():
        hits = int((reported & failed).sum())
        rows.append(
            {
                "detector": name,
                "runs": len(runs),
                "failures": int(failed.sum()),
                "reported": int(reported.sum()),
                "hits": hits,
                "precision": hits / reported.sum() if reported.any() else np.nan,
                "recall": hits / failed.sum() if failed.any() else np.nan,
            }
        )
    return pd.DataFrame(rows)


# --- curves ---------------------------------------------------------------------------------------


def curve_targets(schedule: NoiseSchedule) -> dict[str, GaussianMixture]:
    """The two mixtures that are drawn: one whose argmax jumps, and three blobs in the plane."""
    plane = [[-1.2, -0.4], [1.0, -0.7], [0.2, 1.1]]
    return {
        "line": GaussianMixture([0.6, 0.4], [[-1.0], [1.0]], [0.3, 0.02], schedule),
        "plane": GaussianMixture([0.4, 0.35, 0.25], plane, [0.25, 0.06, 0.02], schedule),
    }


def _appending_to(path: list[torch.Tensor]) -> Callback:
    return lambda logsnr, x, change: path.append(x)


def mode_curves(logsnr_t: float, starts: int, settings: ModeSettings) -> dict[str, np.ndarray]:
    """Curves of both equations and of Newton's highest mode, and the densities under them.

    Arrays ``{line, plane}_{mode, hd, newton}`` ``[steps + 1, starts, D]`` (Newton on the line
    only), ``logsnr`` ``[steps + 1]``, and densities: of p_λ on the line ``[steps + 1, cells]``, of
    p at logsnr_max in the plane ``[cells, cells]``, with their axis.
    """
    schedule = settings.schedule("VP")
    grid = uniform_grid(logsnr_t, schedule.logsnr_max, settings.steps)
    arrays: dict[str, np.ndarray] = {"logsnr": np.array(grid)}
    for name, target in curve_targets(schedule).items():
        if name == "line":
            x_t = torch.linspace(-1.6, 1.6, starts, dtype=torch.float64)[:, None]
        else:
            x_t = target.sample(starts, settings.seed, logsnr=logsnr_t)
        for process, correction in (("mode", True), ("hd", False)):
            path = [x_t]
            run = track_modes(
                target, x_t, logsnr_t, settings.steps, correction, starts=settings.starts,
                callback=_appending_to(path),
            )  # fmt: skip
            arrays[f"{name}_{process}"] = torch.stack(path).numpy()
            arrays[f"{name}_{process}_ok"] = run.ok.numpy()
    line, plane = curve_targets(schedule).values()
    x_t = torch.from_numpy(arrays["line_mode"][0])
    newton = [newton_modes(line, x_t, logsnr_t, s, samples=0).best for s in grid[1:]]
    arrays["line_newton"] = torch.stack([x_t, *newton]).numpy()
    axis = torch.linspace(-2.6, 2.6, 261, dtype=torch.float64)
    columns = [line.log_prob(axis[:, None], s).exp() for s in grid]
    square = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).view(-1, 2)
    arrays["line_density"] = torch.stack(columns).numpy()
    arrays["plane_density"] = plane.log_prob(square).exp().view(len(axis), -1).numpy()
    arrays["axis"] = axis.numpy()
    return arrays


# --- cost -----------------------------------------------------------------------------------------


def mode_cost(dimensions: dict[str, Sequence[int]], repeats: int, batch: int = 4) -> pd.DataFrame:
    """CPU time and memory of one evaluation of the corrected drift against D, by method.

    *dense* and *cg* have ∇Δ in closed form; *autodiff* takes it by 2 D reverse passes, as for a
    network, with the dense solve.  ``score_s``: a score alone; ``peak_mb``: rise of the peak of
    resident memory (Linux; NaN elsewhere).  One row a method, D and repeat; ``batch`` samples.
    """
    rows = []
    for method in COST_METHODS:
        for size in dimensions[method]:
            target = testbed("mixture", size, VP())
            x = target.sample(batch, logsnr=2.0)
            for repeat in range(-1, repeats):  # the first warms up
                score = _cpu_seconds(lambda x=x, t=target: t.score(x, 2.0))
                _reset_peak()
                before = _status_mb("VmRSS")
                seconds = _cpu_seconds(lambda m=method, x=x, t=target: _evaluate(t, x, m))
                if repeat < 0:
                    continue
                rows.append(
                    {
                        "method": method,
                        "dimensions": size,
                        "repeat": repeat,
                        "batch": batch,
                        "score_s": score,
                        "correction_s": seconds,
                        "peak_mb": _status_mb("VmHWM") - before,
                    }
                )
    return pd.DataFrame(rows)


def _evaluate(target: GaussianMixture, x: torch.Tensor, method: str) -> torch.Tensor:
    start, here = 0.0, 2.0
    if method == "autodiff":
        gradient = ScoreModel.laplacian_gradient(target, x, here)
        scale = xi(target.schedule, start, here)
        return solve_dense(dense_hessian(target, x, here)[1], scale, gradient).z
    return ModeDivergence(ExactDivergence(), start, method, len(x))(target, x, here).correction


def _cpu_seconds(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _reset_peak() -> None:
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text(CLEAR_PEAK)


def _status_mb(field: str) -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    lines = [line for line in status.read_text().splitlines() if line.startswith(f"{field}:")]
    return int(lines[0].split()[1]) / 1024 if lines else math.nan
