"""Train every bundled model within so many minutes: `make train-all OUT=folder MINUTES=60`.

`pack` makes the one file of training images (at most 60 MB) that `train` needs.  A run that was
stopped goes on when the same command is given again.  Into OUT: weights (fp16 safetensors) and
cards by model, losses, and throughput.csv, samples a second by model and precision.
"""

import argparse
import functools
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
import yaml

from cartoonists.experiments.training import first_network, store_model, with_held_out
from cartoonists.files.artifacts import atomic
from cartoonists.images.packs import read_pack, write_pack
from cartoonists.models.recipes import Recipe
from cartoonists.models.throughput import Rate, best, fitted, measure_all, table_rows
from cartoonists.models.training import images_for, train

CLONE = Path(__file__).resolve().parents[1]
RECIPES = CLONE / "config" / "training.yaml"
MAX_BYTES = 8 * 2**20  # of a bundled model's weights
TRAINING_SHARE = 0.8  # of the minutes; the rest measures, compiles and evaluates
RATES = "throughput.csv"


class Plan:
    """What is trained, from what, into which folder, and for how long."""

    def __init__(self, recipes: dict, pack: Path, out: Path, minutes: float, device: str):
        self.recipes, self.out, self.device = recipes, Path(out), device
        self.packed = functools.cache(functools.partial(read_pack, Path(pack)))
        shares = {name: settings["share"] for name, settings in recipes.items()}
        total = sum(shares.values())
        self.minutes = {n: TRAINING_SHARE * minutes * s / total for n, s in shares.items()}

    def recipe(self, name: str) -> Recipe:
        """The recipe of the configuration, with minutes instead of steps."""
        recipe = Recipe(**self.recipes[name]["recipe"])
        return replace(recipe, steps=None, minutes=self.minutes[name])

    def weights(self, name: str) -> Path:
        """Where the weights of a model go; its card lies beside them."""
        return self.out / f"{name}.safetensors"


def network_for(name: str, settings: dict, recipe: Recipe) -> torch.nn.Module:
    """A network with random weights.  Raises ValueError where it is too large to be bundled."""
    network = first_network(settings["architecture"], recipe)
    size = 2 * sum(p.numel() for p in network.parameters())
    if size > MAX_BYTES:
        raise ValueError(f"{name}: weights of {size} bytes in fp16, allowed {MAX_BYTES}")
    return network


def chosen_rate(plan: Plan, name: str, network, images, recipe: Recipe) -> Rate:
    """How to run a model here: measured once, then as the table says."""
    table = plan.out / RATES
    found = pd.read_csv(table, keep_default_na=False) if table.exists() else pd.DataFrame()
    if len(found) and name in set(found["model"]):
        row = found[(found["model"] == name) & found["chosen"]].iloc[0].to_dict()
        del row["model"], row["chosen"]
        return Rate(**row)
    rates = measure_all(network, images, recipe, plan.device, plan.minutes[name])
    rate = best(rates)
    rows = pd.DataFrame(table_rows(name, rates, rate))
    with atomic(table) as temporary:
        pd.concat([found, rows]).to_csv(temporary, index=False, lineterminator="\n")
    return rate


def train_one(plan: Plan, name: str) -> None:
    """Train a model until its minutes are spent, and leave weights and card."""
    dataset, settings = name.split("/")[0], plan.recipes[name]
    recipe = plan.recipe(name)
    images = images_for(plan.packed(dataset), recipe)
    network = network_for(name, settings, recipe)
    rate = chosen_rate(plan, name, network, images, recipe)
    recipe = fitted(recipe, rate)
    state = plan.out / f"{name}.state.pt"
    trained = train(
        network, images, recipe, state, plan.out / f"{name}.csv",
        save_every_s=30.0, device=plan.device, compile=rate.compile,
    )  # fmt: skip
    store_model(plan.weights(name), name, settings, images, recipe, trained)
    state.unlink()


def evaluate_one(plan: Plan, name: str) -> float:
    """Add the held-out ELBO to a card that lacks it; returns bits/dim."""
    test = plan.packed(name.split("/")[0]).test
    card = with_held_out(
        plan.weights(name), test, **plan.recipes[name]["held_out"], device=plan.device
    )
    return card["held_out"]["bits_per_dim"]


def train_all(plan: Plan) -> None:
    """Train what is not trained yet; then evaluate, so that weights are there if time is short."""
    for name in plan.recipes:
        if not plan.weights(name).exists():
            print(f"{name}: {plan.minutes[name]:.1f} minutes", flush=True)
            train_one(plan, name)
    for name in plan.recipes:
        print(f"{name}: {evaluate_one(plan, name)} bits/dim held out", flush=True)


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    pack = commands.add_parser("pack", help="make the file of training images")
    pack.add_argument("out", type=Path)
    pack.add_argument("--data", nargs="+", default=[], metavar="NAME=FOLDER", type=_pair)
    pack.add_argument("--lossy", nargs="+", default=[], metavar="NAME=FOLDER", type=_pair)
    run = commands.add_parser("train", help="train every model")
    run.add_argument("out", type=Path)
    run.add_argument("--minutes", type=float, required=True)
    run.add_argument("--pack", type=Path, required=True)
    run.add_argument("--recipes", type=Path, default=RECIPES)
    return parser.parse_args(argv)


def _pair(text: str) -> tuple[str, Path]:
    name, found, folder = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} found, allowed: NAME=FOLDER")
    return name, Path(folder)


def main(argv: list[str]) -> None:
    """Run one of the two commands."""
    arguments = _arguments(argv)
    if arguments.command == "pack":
        size = write_pack(arguments.out, dict(arguments.data), dict(arguments.lossy))
        print(f"{arguments.out}: {size / 1e6:.1f} MB")
        return
    recipes = yaml.safe_load(arguments.recipes.read_text(encoding="utf-8"))["training"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    train_all(Plan(recipes, arguments.pack, arguments.out, arguments.minutes, device))


if __name__ == "__main__":
    main(sys.argv[1:])
