"""Time of the reverse SDE with tracking over without, on the bundled models.

    python benchmarks/tracking_cost.py [--repeats 31] [--samples 16] [--steps 8]

Writes tracking_cost.csv: medians of ratios within interleaved rounds, in processor time, with
bootstrap intervals.  The rule of the same name does so in each run of the workflow.
"""

import argparse

import pandas as pd
import torch
from interleaved import machine, ratio_columns, write

from cartoonists import load_model
from cartoonists.density.stein import estimate_tables
from cartoonists.experiments.likelihood import tracking_cost
from cartoonists.models.checkpoints import bundled_models
from cartoonists.paths.bases import basis_named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=bundled_models())
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in given.models:
        model = load_model(name, device="cpu")
        bases = [basis_named(b) for b in ("pixels", "dct")]  # what a table says has no part in this
        for table in estimate_tables(model, range(2), bases, points=3, pilot_steps=2):
            times = tracking_cost(model, table, given.samples, given.steps, given.repeats)
            row = {"model": name, "basis": table.basis.name, "samples": given.samples}
            row["untracked_ms_a_step"] = (
                1e3 * times["untracked_s"].median() / given.samples / given.steps
            )
            rows.append(row | ratio_columns(times["tracked_s"], times["untracked_s"]) | machine())
    print(write("tracking_cost", pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
