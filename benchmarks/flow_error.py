"""Error of the PF-ODE's log-density against network evaluations, with peers, on closed forms.

    python benchmarks/flow_error.py [--samples 64] [--seed 0]

Writes benchmarks/results/flow_error.csv and .png/.svg.  *official*: Euler, uniform steps, one fresh
Rademacher probe in pixels, as the paper's code does; *Dormand–Prince*: this library's, with one
probe kept for the whole path, which is the scheme of Song et al. (2021), at several tolerances.
"""

from functools import partial

from closed_forms import TARGETS, benchmark, summary, target

from cartoonists import VP, ode_log_density, sample_ode
from cartoonists.density.posterior import mixture_table
from cartoonists.paths.bases import Pixels

STEPS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
METHODS = {  # name: (solver, evaluations a step, most steps, grid and basis by a Stein table)
    "official (Euler, pixel probe)": ("euler", 1, 1024, False),
    "Heun, pixel probe": ("heun", 2, 256, False),
    "RK4, pixel probe": ("rk4", 4, 128, False),
    "Adams, table": ("adams", 1, 256, True),
}
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5)


def fixed_grids(model, table, x, seeds, direction):
    """Rows of every fixed-step method at every number of steps."""
    for name, (solver, cost, most, with_table) in METHODS.items():
        for steps in STEPS:
            if steps // cost < 4 or steps // cost > most:
                continue
            options = {"divergence": "hutchinson", "seeds": seeds, "solver": solver}
            options |= {"posterior": table} if with_table else {"basis": Pixels()}
            run = direction(steps=steps // cost, **options)
            error = run.log_density - model.log_prob(run.x if x is None else x)
            yield {"method": name, "nfe": run.nfe, **summary(error)}


def adaptive(model, x, seeds, direction):
    """Rows of the adaptive solver with kept probes."""
    for tolerance in TOLERANCES:
        run = direction(
            solver="dopri5", divergence="hutchinson", seeds=seeds, basis=Pixels(),
            rtol=tolerance, atol=tolerance,
        )  # fmt: skip
        error = run.log_density - model.log_prob(run.x if x is None else x)
        nfe = run.nfe.double().mean().item()
        yield {"method": "Dormand–Prince, probe kept", "nfe": nfe, **summary(error)}


def rows(samples: int, seed: int):
    schedule = VP()
    for name in TARGETS:
        model = target(name, schedule)
        table = mixture_table(model)
        seeds = list(range(seed, seed + samples))
        x = model.sample(samples, seed=seed, logsnr=schedule.logsnr_max)
        directions = {
            "encoding": (x, partial(ode_log_density, model, x)),
            "sampling": (None, partial(sample_ode, model, samples)),
        }
        for direction, (points, run) in directions.items():
            few = seeds[: samples // 4]
            small = {
                "encoding": partial(ode_log_density, model, x[: len(few)]),
                "sampling": partial(sample_ode, model, len(few)),
            }[direction]
            everything = [*fixed_grids(model, table, points, seeds, run)]
            everything += adaptive(model, None if points is None else x[: len(few)], few, small)
            for row in everything:
                yield {"target": name, "direction": direction, **row}


if __name__ == "__main__":
    benchmark(__doc__, rows, "flow_error", row="direction")
