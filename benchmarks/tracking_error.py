"""Error of tracked log-densities of reverse-SDE samples against evaluations, with the peer.

    python benchmarks/tracking_error.py [--samples 64] [--seed 0]

On closed forms, where the truth is known.  Writes benchmarks/results/tracking_error.csv and
.png/.svg.  *official*: Euler–Maruyama in uniform steps (Karczewski et al., 2024, algorithm 1).
*table*: the posterior variance averaged over x, which is what a network has; *exact*: at each x.
"""

from closed_forms import TARGETS, benchmark, summary, target

from cartoonists import VP, track_reverse_sde
from cartoonists.density.posterior import mixture_table
from cartoonists.density.stein import posterior_of
from cartoonists.paths.schedules import uniform_grid

STEPS = (8, 16, 32, 64, 128, 256, 512, 1024)
MOST = 256  # steps of the ancestral trackers


def runs(model, steps: int):
    """(name, options) of every tracker at this number of steps."""
    schedule, table = model.schedule, mixture_table(model)
    uniform = uniform_grid(schedule.logsnr_min, schedule.logsnr_max, steps)
    spaced = table.time_grid(schedule.logsnr_min, schedule.logsnr_max, steps)
    yield "official (Euler–Maruyama)", {"method": "euler-maruyama", "grid": uniform}
    if steps > MOST:
        return
    exact = posterior_of(model)
    yield "isotropic, table", {"posterior": table, "covariance": "isotropic", "grid": spaced}
    yield "diagonal, table", {"posterior": table, "grid": spaced}
    yield "diagonal, exact", {"posterior": exact, "grid": spaced}
    yield "diagonal, exact, uniform steps", {"posterior": exact, "grid": uniform}


def rows(samples: int, seed: int):
    schedule = VP()
    for name in TARGETS:
        model = target(name, schedule)
        for steps in STEPS:
            for tracker, options in runs(model, steps):
                run = track_reverse_sde(model, samples, steps, seed=seed, **options)
                error = run.log_density - model.log_prob(run.x)
                yield {"target": name, "method": tracker, "nfe": run.nfe, **summary(error)}


if __name__ == "__main__":
    benchmark(__doc__, rows, "tracking_error")
