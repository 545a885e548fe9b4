"""How fast a network trains on this machine: samples a second by precision, batch and compiler."""

import copy
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import torch
from torch import nn

from cartoonists.models.recipes import Recipe
from cartoonists.models.training import Trainer, TrainingImages

ENOUGH = 0.9  # of the best rate: a smaller batch makes more steps of as many images
BATCHES = (64, 128, 256, 512, 1024)  # tried on a GPU; on a CPU larger ones gain nothing
COMPILE_FROM = 5.0  # minutes of training
REFERENCE_BATCH = 64  # for which learning rates are given


@dataclass(frozen=True)
class Rate:
    """Samples a second of training steps; ``failed`` says why there is none."""

    precision: str
    batch: int
    compile: bool
    samples_per_s: float = 0.0
    failed: str = ""


def measure(
    network: nn.Module,
    images: TrainingImages,
    recipe: Recipe,
    device: str,
    compile: bool = False,
    seconds: float = 1.0,
) -> Rate:
    """Time training steps of a copy of the network, after two that warm up.

    What cannot be run (memory, no compiler) is a rate of 0, with the beginning of the reason.
    """
    rate = Rate(recipe.precision, recipe.batch, compile)
    try:
        trainer = Trainer(copy.deepcopy(network), images, recipe, device, compile)
        for step in (0, 1):
            trainer.step(step, 0.0)[0].item()
        begun, steps = time.perf_counter(), 0
        while time.perf_counter() < begun + seconds:
            trainer.step(steps + 2, 0.0)[0].item()  # waits for a GPU
            steps += 1
    except Exception as error:  # a compiler raises whatever it meets
        if torch.device(device).type == "cuda":
            torch.cuda.empty_cache()
        reason = " ".join(str(error).split())[:120]
        return replace(rate, failed=f"{type(error).__name__}: {reason}")
    spent = time.perf_counter() - begun
    return replace(rate, samples_per_s=round(steps * recipe.batch / spent, 1))


def best(rates: Iterable[Rate]) -> Rate:
    """The smallest batch among the rates within a tenth of the highest.

    Raises ValueError where nothing ran, with the first reason.
    """
    rates = list(rates)
    if not any(rate.samples_per_s for rate in rates):
        raise ValueError(f"training: nothing runs on this machine ({rates[0].failed})")
    top = max(rate.samples_per_s for rate in rates)
    fast = [rate for rate in rates if rate.samples_per_s >= ENOUGH * top]
    return min(fast, key=lambda rate: (rate.batch, -rate.samples_per_s))


def measure_all(
    network: nn.Module, images: TrainingImages, recipe: Recipe, device: str, minutes: float
) -> list[Rate]:
    """Rates in both precisions; on a GPU also by batch until memory is full, and compiled.

    ``minutes`` are those of the training: each rate takes at most a hundredth of them, and
    compiling, which takes about a minute, is tried where they are many.
    """
    seconds = min(1.0, 0.6 * minutes)
    rates = [
        measure(network, images, replace(recipe, precision=precision), device, seconds=seconds)
        for precision in ("fp32", "bf16")
    ]
    if torch.device(device).type != "cuda":
        return rates
    precision = best(rates).precision
    for batch in BATCHES:
        changed = replace(recipe, precision=precision, batch=batch)
        rates.append(measure(network, images, changed, device, seconds=seconds))
        if rates[-1].failed:
            break
    if minutes >= COMPILE_FROM:
        changed = replace(recipe, precision=precision, batch=best(rates).batch)
        rates.append(measure(network, images, changed, device, compile=True, seconds=seconds))
    return rates


def fitted(recipe: Recipe, rate: Rate) -> Recipe:
    """The recipe with a rate's precision and batch; the learning rate grows as its square root."""
    factor = (rate.batch / REFERENCE_BATCH) ** 0.5
    return replace(
        recipe,
        precision=rate.precision,
        batch=rate.batch,
        learning_rate=recipe.learning_rate * factor,
    )


def table_rows(name: str, rates: list[Rate], chosen: Rate) -> list[dict]:
    """Rows of the table: model, what was measured, and whether it was chosen."""
    return [{"model": name, **asdict(rate), "chosen": rate == chosen} for rate in rates]
