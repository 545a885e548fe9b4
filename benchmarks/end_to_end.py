"""Time to log-densities of images as good as 0.01 bits/dim, against the official scheme.

    python benchmarks/end_to_end.py cifar10/quality [--samples 8] [--evaluations 32]

Ours is the PF-ODE in the fewest Adams evaluations, not fewer than ``--evaluations`` (where other
probes do not confirm a number), whose median error in benchmarks/results/network_error.csv is at
most 0.01 bits/dim; the official scheme is Euler with one probe in 1,024 evaluations, whatever its
error.  Both run on the same network, in rounds on the same samples, by processor time; appends to
benchmarks/results/end_to_end.csv.
"""

import argparse
import math

import pandas as pd
import torch
from closed_forms import RESULTS, appended
from interleaved import interleaved, ratio_columns
from network_error import OFFICIAL, Benchmark

GOOD = 0.01  # bits/dim


def enough(name: str, evaluations: int) -> pd.Series:
    """The row of network_error.csv with the fewest good evaluations, not below these, of images."""
    table = pd.read_csv(RESULTS / "network_error.csv").query("kind == 'encoding'")
    ours = table[(table["model"] == name) & (table["method"] == "Adams")].sort_values("nfe")
    good = ours[(ours["median_nats_per_dim"] <= GOOD * math.log(2)) & (ours["nfe"] >= evaluations)]
    if good.empty:
        raise SystemExit(f"{name}: no number of evaluations in network_error.csv is good enough")
    return good.iloc[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--evaluations", type=int, default=0, help="at least these")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    chosen = enough(settings.model, settings.evaluations)
    benchmark = Benchmark(settings.model, settings.samples, settings.seed)
    x = benchmark.samples()
    evaluations = int(chosen["nfe"])
    times = interleaved(
        {
            "official": lambda: benchmark.flow(OFFICIAL, 1024, x),
            "ours": lambda: benchmark.flow("Adams", evaluations, x),
        },
        settings.repeats,
    )
    row = {
        "model": settings.model,
        "evaluations": evaluations,
        "median_error_bits_per_dim": chosen["median_nats_per_dim"] / math.log(2),
        "seconds_of_256": times["ours"].median() * 256 / settings.samples,
        "official_seconds_of_256": times["official"].median() * 256 / settings.samples,
        **ratio_columns(times["official"], times["ours"], "speedup"),
    }
    appended(pd.DataFrame([row]), RESULTS / "end_to_end.csv")


if __name__ == "__main__":
    main()
