"""What each topic costs on a large network: seconds and memory a sample.

    python benchmarks/topic_cost.py results/faces/64/model.json [--only evaluations|…]

The argument is the file that a run writes of a model.  Writes

evaluation_cost.csv: milliseconds of one core a sample, of an evaluation without and with a
vector-Jacobian product; evaluation_memory.csv: peak memory of a process that evaluates;
topic_cost.csv: evaluations of every topic a sample at the settings of the default configuration,
counted on a bundled network, and what they take on the large one; topic_trials.csv: a small case of
every topic on the large network, over its own evaluations at those costs.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from interleaved import RESULTS, high_water, interleaved, machine, write
from peer_code import Counted

from cartoonists import load_model, track_reverse_sde
from cartoonists.density.flow import FlowSettings, flow_log_density
from cartoonists.density.guidance import sample_guided
from cartoonists.density.posterior import Posterior
from cartoonists.density.stein import estimate_table
from cartoonists.experiments.blur import image_log_density
from cartoonists.experiments.high_density import high_density_pairs, pair_log_densities
from cartoonists.models.image_models import ImageModel
from cartoonists.paths.streams import Streams

COUNTED = "fashion-mnist/likelihood"
PRECISIONS = ("fp32", "bf16")
MEASURED = "bf16"  # of the small cases
BATCHES = (1, 4)
MEMORY_BATCHES = (1, 8)
LOGSNR, SWITCH = 0.0, 0.0
DEFAULT_STEPS = {"chain": 32, "flow": 16, "pilot": 40, "points": 31}
SMALL_STEPS = {"chain": 4, "flow": 4, "pilot": 3, "points": 3}
PASSES = ("score", "vjp")
PARTS = ("memory", "evaluations", "topics", "trials")


def topics(
    model: ImageModel, table: Posterior, seeds: Sequence[int], steps: dict[str, int]
) -> dict[str, Callable[[], object]]:
    """What a topic does for these samples, by name."""
    chain, flow = steps["chain"], FlowSettings(steps["flow"])
    x = track_reverse_sde(model, len(seeds), steps["pilot"], seeds=seeds, posterior=table).x
    images = model.finish(x).numpy()

    def pair() -> None:
        pairs = high_density_pairs(
            model, [SWITCH], seeds, base_steps=steps["flow"], steps=steps["flow"], posterior=table
        )
        pair_log_densities(model, pairs, pairs.denoised(model), flow, table)

    def degraded() -> None:
        for _ in ("as it is", "blurred"):
            image_log_density(model, images, seeds, flow, table)

    track = partial(track_reverse_sde, model, len(seeds), chain, seeds=seeds, posterior=table)
    return {
        "sample": partial(track, track=False),
        "sample, tracked": track,
        "PF-ODE of an image": partial(flow_log_density, model, x, seeds, flow, table),
        "high-density pair with log-densities": pair,
        "guided sample": partial(
            sample_guided, model, len(seeds), steps["flow"], 0.5, seeds=seeds, posterior=table
        ),
        "image and a blurred one": degraded,
        "Stein table, a sample of it": partial(
            estimate_table, model, seeds, points=steps["points"], pilot_steps=steps["pilot"]
        ),
    }


def passes(network: Counted, action: Callable[[], object], samples: int) -> tuple[float, float]:
    """Evaluations without a derivative and with one, a sample."""
    network.reset()
    action()
    with_product = network.products / samples
    return network.forwards / samples - with_product, with_product


def counted(model: ImageModel, samples: int, steps: dict[str, int]):
    """The topics of a model whose network counts."""
    seeds = range(samples)
    table = estimate_table(model, seeds, points=steps["points"], pilot_steps=steps["pilot"])
    model.network = Counted(model.network)
    return model.network, topics(model, table, seeds, steps)


def evaluation(model: ImageModel, kind: str, batch: int) -> None:
    x = model.sample_prior(Streams(range(batch), "prior"))
    if kind == "score":
        model.score(x, LOGSNR)
    else:
        model.score_and_hvp(x, LOGSNR, x)


def forget_peak() -> None:
    """Let `high_water` start anew."""
    Path("/proc/self/clear_refs").write_text("5")


def memory(name: str) -> pd.DataFrame:
    """MiB at most of a process that evaluates, a row a precision, kind and batch."""
    rows = []
    for precision, kind, batch in product(PRECISIONS, PASSES, MEMORY_BATCHES):
        command = [sys.executable, __file__, name, "--child", precision, kind, str(batch)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        row = {"precision": precision, "evaluation": kind, "batch": batch}
        rows.append(row | {"peak_MiB": float(done.stdout)})
    return pd.DataFrame(rows)


def evaluations(models: dict[str, ImageModel], repeats: int) -> pd.DataFrame:
    """A row a precision, batch and kind of evaluation."""
    cases = {" ".join(map(str, case)): case for case in product(PRECISIONS, PASSES, BATCHES)}
    actions = {
        label: partial(evaluation, models[precision], kind, batch)
        for label, (precision, kind, batch) in cases.items()
    }
    seconds = interleaved(actions, repeats)
    rows = []
    for label, (precision, kind, batch) in cases.items():
        ms = 1e3 * seconds[label].median() / batch
        row = {"precision": precision, "evaluation": kind, "batch": batch, "ms_a_sample": ms}
        rows.append(row | machine())
    return pd.DataFrame(rows)


def cost_of(found: tuple[float, float], precision: str, costs: pd.DataFrame) -> float:
    """Seconds of so many evaluations without a derivative and with one."""
    largest = costs[(costs["precision"] == precision) & (costs["batch"] == max(BATCHES))]
    ms = largest.set_index("evaluation")["ms_a_sample"]
    return sum(count * ms[kind] for count, kind in zip(found, PASSES, strict=True)) / 1e3


def topic_rows(costs: pd.DataFrame) -> Iterator[dict]:
    """A row a topic: its evaluations, counted, and what they take."""
    samples = 8
    network, usual = counted(load_model(COUNTED), samples, DEFAULT_STEPS)
    for topic, action in usual.items():
        found = passes(network, action, samples)
        row = {"topic": topic, "scores": found[0], "with_vjp": found[1]}
        yield row | {f"{each}_s_a_sample": cost_of(found, each, costs) for each in PRECISIONS}


def trial_rows(costs: pd.DataFrame, model: ImageModel) -> Iterator[dict]:
    """A row a topic: the time of a small case of it, over that of its evaluations."""
    batch = max(BATCHES)
    network, small = counted(model, batch, SMALL_STEPS)
    for topic, action in small.items():
        start = time.process_time()
        found = passes(network, action, batch)
        seconds = (time.process_time() - start) / batch
        row = {"topic": topic, "scores": found[0], "with_vjp": found[1], "s_a_sample": seconds}
        yield row | {"measured_over_predicted": seconds / cost_of(found, MEASURED, costs)}


def child(name: str, precision: str, kind: str, batch: str) -> None:
    """Print the peak memory of two evaluations."""
    model = load_model(name, precision=precision)
    forget_peak()
    for _ in range(2):
        evaluation(model, kind, int(batch))
    print(high_water())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.child:
        child(given.model, *given.child)
        return
    if given.only in (None, "memory"):
        print(write("evaluation_memory", memory(given.model)), flush=True)
    if given.only in (None, "evaluations"):
        models = {each: load_model(given.model, precision=each) for each in PRECISIONS}
        print(write("evaluation_cost", evaluations(models, given.repeats)), flush=True)
        del models
    costs = pd.read_csv(RESULTS / "evaluation_cost.csv")
    if given.only in (None, "topics"):
        print(write("topic_cost", pd.DataFrame(topic_rows(costs))), flush=True)
    if given.only in (None, "trials"):
        model = load_model(given.model, precision=MEASURED)
        print(write("topic_trials", pd.DataFrame(trial_rows(costs, model))))


if __name__ == "__main__":
    main()
