"""Precision, layout, compilation, batch size and threads of the bundled networks.

    python benchmarks/network_speed.py [--repeats 7] [--only speed|error|threads|compile]

Writes network_speed.csv (processor time of an evaluation, interleaved, over that of float32 in
channels-last, which is what the library does), network_threads.csv (time on the clock by threads),
precision_error.csv (change of the PF-ODE's log-density from float32 with the same probes) and a
figure.  *bf16* is autocast; *bf16 products* rounds the factors of convolutions alone and keeps
float32 between them; *int8* is PyTorch's dynamic quantisation, which exists for linear layers only.
"""

import argparse
import contextlib
import time
from collections.abc import Iterator
from functools import partial

import pandas as pd
import torch
from hutchinson_cost import points, small_table
from interleaved import RESULTS, interleaved, machine, ratio_columns, write
from torch.utils.flop_counter import FlopCounterMode

from cartoonists import load_model, ode_log_density
from cartoonists.models.checkpoints import bundled_models
from cartoonists.paths.streams import Streams, sample_seeds
from cartoonists.report import plots

VARIANTS = ("fp32", "fp32 contiguous", "bf16", "bf16 channels-last", "bf16 products", "int8")
DERIVED = VARIANTS[:-1]  # int8 has no derivatives
EVALUATIONS = ("score", "score_and_hvp")


def variant(name: str, kind: str):
    """A bundled model in one of VARIANTS."""
    reduced = kind in ("bf16", "bf16 channels-last")
    model = load_model(name, device="cpu", precision="bf16" if reduced else "fp32")
    layout = torch.contiguous_format if kind in ("fp32 contiguous", "bf16") else torch.channels_last
    model.network.to(memory_format=layout)
    if kind == "int8":
        model.network = torch.ao.quantization.quantize_dynamic(model.network, {torch.nn.Linear})
    return model


@contextlib.contextmanager
def products(kind: str) -> Iterator[None]:
    """Whether convolutions of float32 may round their factors to bfloat16."""
    conv = torch.backends.mkldnn.conv
    conv.fp32_precision = "bf16" if kind == "bf16 products" else "ieee"
    try:
        yield
    finally:
        conv.fp32_precision = "ieee"


def evaluate(model, kind: str, evaluation: str, x) -> None:
    with products(kind):
        arguments = (x, 0.0, x) if evaluation == "score_and_hvp" else (x, 0.0)
        getattr(model, evaluation)(*arguments)


def speeds(name: str, batches, repeats: int) -> list[dict]:
    models = {kind: variant(name, kind) for kind in VARIANTS}
    rows = []
    for n in batches:
        x = Streams(sample_seeds(0, n), "start").normal(models["fp32"].shape)
        for evaluation in EVALUATIONS:
            kinds = VARIANTS if evaluation == "score" else DERIVED
            seconds = interleaved(
                {kind: partial(evaluate, models[kind], kind, evaluation, x) for kind in kinds},
                repeats,
            )
            for kind in kinds:
                ms = 1e3 * seconds[kind].median() / n
                row = {"model": name, "evaluation": evaluation, "batch": n, "variant": kind,
                       "ms_a_sample": ms}  # fmt: skip
                rows.append(row | ratio_columns(seconds[kind], seconds["fp32"]) | machine())
    return rows


def threads(name: str, n: int, repeats: int) -> list[dict]:
    """Time on the clock with one thread and with two."""
    model, rows = variant(name, "fp32"), []
    x = Streams(sample_seeds(0, n), "start").normal(model.shape)

    def run(count: int) -> None:
        torch.set_num_threads(count)
        model.score(x, 0.0)

    seconds = interleaved({str(k): partial(run, k) for k in (1, 2)}, repeats, 0, time.perf_counter)
    for count in ("1", "2"):
        row = {"model": name, "batch": n, "threads_used": int(count),
               "ms_a_sample": 1e3 * seconds[count].median() / n}  # fmt: skip
        rows.append(row | ratio_columns(seconds["1"], seconds[count], "speed_up"))
    torch.set_num_threads(1)
    return rows


def compiled(name: str, n: int, repeats: int) -> list[dict]:
    """torch.compile: seconds until the first result, and the cost afterwards."""
    plain, model = variant(name, "fp32"), load_model(name, device="cpu", compile=True)
    x = Streams(sample_seeds(0, n), "start").normal(plain.shape)
    rows = []
    for evaluation in EVALUATIONS:
        start = time.process_time()
        evaluate(model, "fp32", evaluation, x)
        first = time.process_time() - start
        seconds = interleaved(
            {
                "eager": partial(evaluate, plain, "fp32", evaluation, x),
                "compiled": partial(evaluate, model, "fp32", evaluation, x),
            },
            repeats,
        )
        row = {"model": name, "evaluation": evaluation, "batch": n, "first_call_s": first}
        rows.append(row | ratio_columns(seconds["compiled"], seconds["eager"]))
    return rows


def errors(name: str, n: int, steps: int) -> list[dict]:
    """Log-density of the same samples with the same probes, against float32."""
    exact, rows = variant(name, "fp32"), []
    table = small_table(exact)
    x = points(exact, n, exact.schedule.logsnr_max, table)
    counter = FlopCounterMode(display=False)
    with counter:
        exact.score(x[:1], 0.0)
    counts = counter.get_flop_counts()["Global"]
    linear = sum(v for k, v in counts.items() if "conv" not in str(k)) / sum(counts.values())

    def log_density(kind: str, seed: int = 0):
        options = {"steps": steps, "solver": "adams", "divergence": "hutchinson", "seed": seed,
                   "posterior": table}  # fmt: skip
        with products(kind):
            return ode_log_density(variant(name, kind), x, **options).log_density

    truth = log_density("fp32")
    noise = (log_density("fp32", 1000) - truth).std().item() / 2**0.5 / exact.dimensions
    for kind in DERIVED[1:]:
        change = (log_density(kind) - truth) / exact.dimensions
        rows.append({"model": name, "variant": kind, "samples": n, "steps": steps,
                     "mean_change_nats_per_dim": change.mean().item(),
                     "largest_change_nats_per_dim": change.abs().max().item(),
                     "probe_sd_nats_per_dim": noise,
                     "operations_in_linear_layers": linear})  # fmt: skip
    return rows


def draw(table: pd.DataFrame) -> None:
    """Time over that of float32 by batch size, a panel an evaluation, the mean over models."""
    plots.use_style()
    figure, axes = plots.panels(EVALUATIONS, sharey=True, width=3.2)
    for axis, evaluation in zip(axes[0], EVALUATIONS, strict=True):
        part = table[table["evaluation"] == evaluation]
        for kind in VARIANTS:
            mean = part[part["variant"] == kind].groupby("batch")["ratio"].mean()
            if len(mean):
                axis.semilogx(mean.index, mean, marker="o", base=2, label=kind)
        axis.set_xlabel("samples in a call")
    axes[0, 0].set_ylabel("processor time / float32's")
    plots.legend_above(figure, axes[0, 0], 3)
    plots.save(figure, [RESULTS / f"network_speed.{kind}" for kind in ("png", "svg")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=bundled_models())
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32, 128])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--only", choices=("speed", "error", "threads", "compile"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    repeats, some = given.repeats, given.models[:1]
    if given.only in (None, "speed"):
        rows = [row for m in given.models for row in speeds(m, given.batches, repeats)]
        table = pd.DataFrame(rows)
        print(write("network_speed", table))
        draw(table)
    if given.only in (None, "error"):
        rows = [row for m in given.models for row in errors(m, given.samples, given.steps)]
        print(write("precision_error", pd.DataFrame(rows)))
    if given.only in (None, "threads"):
        rows = [row for n in given.batches for row in threads(some[0], n, repeats)]
        print(write("network_threads", pd.DataFrame(rows)))
    if given.only in (None, "compile"):
        print(write("network_compile", pd.DataFrame(compiled(some[0], 32, repeats))))


if __name__ == "__main__":
    main()
