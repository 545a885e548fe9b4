"""What one probe of Hutchinson's estimate costs, and what its rounding and truncation cost.

    python benchmarks/hutchinson_cost.py [--repeats 9] [--batches 16 64] [--models NAME …]

Writes hutchinson_cost.csv, a step of the PF-ODE with the estimate over one without, in processor
time, interleaved, with bootstrap intervals; hutchinson_step.csv, the error of central and one-sided
differences against the vector-Jacobian product with the same probes, by step and λ, with a figure;
hutchinson_error.csv, the change of the PF-ODE's log-density.
"""

import argparse
from functools import partial

import pandas as pd
import torch
from interleaved import RESULTS, interleaved, machine, ratio_columns, write
from torch import Tensor

from cartoonists import load_model, ode_log_density, track_reverse_sde
from cartoonists.density.posterior import PosteriorTable
from cartoonists.density.stein import estimate_tables
from cartoonists.models.checkpoints import bundled_models
from cartoonists.paths import divergence
from cartoonists.paths.bases import Pixels
from cartoonists.paths.processes import ProbabilityFlow
from cartoonists.paths.scores import _dot
from cartoonists.paths.solvers import integrate
from cartoonists.paths.streams import Streams, sample_seeds
from cartoonists.report import plots

KINDS = ("none", "hutchinson", "difference")
GRID = (0.0, 0.4, 0.8)  # of the timed steps: the cost does not depend on λ
STEPS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # of a difference, in σ
LEVELS = (-10.0, -5.0, 0.0, 3.0, 6.0, 10.0)


def points(model, n: int, logsnr: float, posterior: PosteriorTable | None = None) -> Tensor:
    """Samples of the model, noised to λ."""
    posterior = posterior or small_table(model)
    drawn = track_reverse_sde(model, n=n, steps=24, track=False, posterior=posterior).x
    clean = model.denoise(drawn, model.schedule.logsnr_max)
    noise = Streams(sample_seeds(0, n), "noised").normal(model.shape)
    return model.schedule.alpha(logsnr) * clean + model.schedule.sigma(logsnr) * noise


def small_table(model) -> PosteriorTable:
    """A rough Stein table, which spaces the steps."""
    return estimate_tables(model, range(4), [Pixels()], points=11, pilot_steps=20)[0]


def solve(model, x: Tensor, kind: str) -> Tensor:
    """Steps of the PF-ODE with or without the log-density."""
    seeds = sample_seeds(0, len(x))
    zero = torch.zeros(len(x), dtype=torch.float64)
    estimator = divergence.make_divergence(kind, seeds)
    flow = ProbabilityFlow(model.schedule)
    return integrate(flow, model, x, zero, GRID, estimator, seeds, solver="euler").x


def costs(name: str, batches, repeats: int) -> list[dict]:
    model = load_model(name, device="cpu")
    rows = []
    for n in batches:
        x = Streams(sample_seeds(0, n), "start").normal(model.shape)
        seconds = interleaved({kind: partial(solve, model, x, kind) for kind in KINDS}, repeats)
        for kind in KINDS[1:]:
            plain = seconds["none"].median() / (n * (len(GRID) - 1))
            row = {"model": name, "batch": n, "divergence": kind, "plain_ms": 1e3 * plain}
            rows.append(row | ratio_columns(seconds[kind], seconds["none"]) | machine())
    return rows


def step_errors(name: str, n: int, probes: int) -> list[dict]:
    """Root mean square error of ½ g² vᵀ H v, nats a unit of λ, against the derivative."""
    model = load_model(name, device="cpu")
    streams, rows = Streams(sample_seeds(0, n), "probes"), []
    for logsnr in LEVELS:
        x, weight = points(model, n, logsnr), 0.5 * float(model.schedule.g2(logsnr))
        vectors = [streams.rademacher(model.shape) for _ in range(probes)]
        score = model.score(x, logsnr)
        exact = [_dot(v, model.score_and_hvp(x, logsnr, v)[1]) for v in vectors]
        spread = weight * torch.stack(exact).std(0).square().mean().sqrt().item()
        for step in STEPS:
            h = step * model.schedule.sigma(logsnr)
            found: dict[str, list[Tensor]] = {"one-sided": [], "central": []}
            for v, truth in zip(vectors, exact, strict=True):
                ahead, behind = (model.score(x + s * h * v, logsnr) for s in (1.0, -1.0))
                found["one-sided"].append(_dot(v, ahead - score) / h - truth)
                found["central"].append(_dot(v, ahead - behind) / (2 * h) - truth)
            for side, errors in found.items():
                rms = weight * torch.stack(errors).square().mean().sqrt().item()
                rows.append({"model": name, "logsnr": logsnr, "step_in_sigma": step, "side": side,
                             "rms_error_nats": rms, "probe_sd_nats": spread})  # fmt: skip
    return rows


def path_errors(name: str, n: int, steps: int) -> dict:
    """Log-density of the same samples: derivative, difference, derivative by other probes.

    And of the first alone, and of half of them: what the batch does by rounding.
    """
    model = load_model(name, device="cpu")
    table = small_table(model)
    x = points(model, n, model.schedule.logsnr_max, table)

    def found(kind: str, count: int = n, seed: int = 0) -> Tensor:
        options = {"steps": steps, "solver": "adams", "divergence": kind, "seed": seed,
                   "posterior": table}  # fmt: skip
        return ode_log_density(model, x[:count], **options).log_density

    derived, differed = found("hutchinson"), found("difference")
    change = (differed - derived) / model.dimensions
    noise = (found("hutchinson", seed=1000) - derived).std().item() / 2**0.5 / model.dimensions
    row = {"model": name, "samples": n, "steps": steps,
           "mean_change_nats_per_dim": change.mean().item(),
           "sd_change_nats_per_dim": change.std().item(),
           "probe_sd_nats_per_dim": noise}  # fmt: skip
    for kind, whole in (("hutchinson", derived), ("difference", differed)):
        moved = [(found(kind, m) - whole[:m]).abs().max().item() for m in (1, n // 2)]
        row[f"largest_change_by_batch_nats_{kind}"] = max(moved)
    return row


def draw(table: pd.DataFrame) -> None:
    """Error by step, the worst λ of each model, with the noise of one probe."""
    plots.use_style()
    names = list(table["model"].unique())
    figure, axes = plots.panels(names, sharey=True)
    for axis, name in zip(axes[0], names, strict=True):
        of = table[table["model"] == name]
        for side, part in of.groupby("side", sort=False):
            worst = part.groupby("step_in_sigma")["rms_error_nats"].max()
            axis.loglog(worst.index, worst, marker="o", label=side)
        axis.axhline(of["probe_sd_nats"].max(), color="0.3", ls="--", label="sd of one probe")
        axis.axvline(divergence.STEP, color="0.7", lw=0.8)
        axis.set_xlabel("step h/σ")
    axes[0, 0].set_ylabel("error of ½ g² vᵀHv\n[nats a unit of λ], worst λ")
    plots.legend_above(figure, axes[0, 0], 3)
    plots.save(figure, [RESULTS / f"hutchinson_step.{kind}" for kind in ("png", "svg")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=bundled_models())
    parser.add_argument("--batches", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--only", choices=("cost", "step", "path"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.only in (None, "cost"):
        rows = [row for m in given.models for row in costs(m, given.batches, given.repeats)]
        print(write("hutchinson_cost", pd.DataFrame(rows)))
    if given.only in (None, "step"):
        rows = [row for m in given.models for row in step_errors(m, given.samples // 2, 2)]
        table = pd.DataFrame(rows)
        print(write("hutchinson_step", table))
        draw(table)
    if given.only in (None, "path"):
        rows = [path_errors(m, given.samples, given.steps) for m in given.models]
        print(write("hutchinson_error", pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
