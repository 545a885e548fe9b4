"""Log-densities of images on bundled networks: ours beside the own code of others, in one run.

    git clone https://github.com/yang-song/score_sde_pytorch PEERS/score_sde_pytorch   # and so on
    python benchmarks/peers.py fashion-mnist/likelihood --peers PEERS [--samples 4] [--repeats 3]

PEERS holds clones of those in `peer_code.py`, whose own needs are in the environment; what is
missing is said in a line and left out.  Appends to benchmarks/results/peers.csv, a row a method:
*forward* and *vjp*, network evaluations and derivatives a sample; *ratio*, processor time over that
of our first row of the same task, in interleaved rounds; median errors of held-out images and of
samples against the PF-ODE in 512 evaluations with two probes each.  Each round has other probes.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import peer_code
import torch
from closed_forms import RESULTS, appended
from interleaved import interleaved, machine, ratio_columns
from peer_code import Counted, Missing
from torch import Tensor

from cartoonists import load_model, ode_log_density, track_reverse_sde
from cartoonists.density.stein import estimate_table
from cartoonists.images.data import load_bundled_images
from cartoonists.paths.bases import Cosine, Pixels

REFERENCE, REFERENCE_PROBES, REFERENCE_SEED = 512, 2, 10_000
OURS = (16, 32)
DRAWN_STEPS = 64
LogDensity = Callable[[Tensor, int], Tensor | None]


class Method:
    """A way to log-densities of both kinds of points, another set of probes at each call."""

    def __init__(self, name: str, log_density: LogDensity, network: Counted, case: "Case"):
        self.name, self.log_density, self.network, self.case = name, log_density, network, case
        self.errors: dict[str, list[Tensor]] = {kind: [] for kind in case.points}
        self.rounds = self.forwards = self.products = 0

    def __call__(self) -> None:
        self.network.reset()
        for kind, x in self.case.points.items():
            found = self.log_density(x, 100 * self.rounds)
            if found is not None:
                error = (found.double() - self.case.truth[kind]).abs() / self.case.model.dimensions
                self.errors[kind].append(error)
        self.forwards, self.products = self.network.forwards, self.network.products
        self.rounds += 1

    def row(self) -> dict:
        """Network passes a sample and median errors."""
        points = sum(len(x) for x in self.case.points.values())
        row = {"method": self.name, "forward": self.forwards / points,
               "vjp": self.products / points}  # fmt: skip
        row["passes"] = row["forward"] + row["vjp"]
        for kind, errors in self.errors.items():
            median = torch.cat(errors).median().item() if errors else None
            row[f"{kind}_error_nats_per_dim"] = median
        return row


class Case:
    """A bundled model whose network counts, its table, the points, and their log-densities."""

    def __init__(self, name: str, samples: int):
        self.name, self.model = name, load_model(name)
        basis = Cosine() if name.startswith("cifar10") else Pixels()
        self.model.posterior = estimate_table(self.model, range(64), basis, pilot_steps=32)
        self.network = self.model.network = Counted(self.model.network)
        images = load_bundled_images(name.split("/")[0]).images[:samples]
        drawn = track_reverse_sde(self.model, samples, DRAWN_STEPS, track=False).x
        held_out = self.model.from_pixels(torch.from_numpy(images.copy())).to(drawn)
        self.points = {"held_out": held_out, "sample": drawn}
        self.truth = {
            kind: self.flow(x, REFERENCE, REFERENCE_SEED, REFERENCE_PROBES)
            for kind, x in self.points.items()
        }

    def flow(self, x: Tensor, evaluations: int, seed: int, probes: int = 1) -> Tensor:
        """Our PF-ODE."""
        return ode_log_density(
            self.model, x, evaluations - 1, "adams", "hutchinson", seed, probes=probes,
            posterior=self.model.posterior,
        ).log_density  # fmt: skip

    def ours(self, evaluations: int) -> Method:
        def log_density(x: Tensor, seed: int) -> Tensor:
            return self.flow(x, evaluations, seed)

        return Method(f"ours, {evaluations} evaluations", log_density, self.network, self)

    def drawn(self) -> list[Method]:
        """A chain with tracking beside diffusers' own without, of equally many evaluations."""

        def tracked(x: Tensor, seed: int) -> None:
            track_reverse_sde(self.model, len(x), DRAWN_STEPS, seed=seed)

        def untracked(x: Tensor, seed: int) -> None:
            peer_code.diffusers_chain(self.model, len(x), DRAWN_STEPS, seed)

        return [
            Method("ours, ancestral, tracked", tracked, self.network, self),
            Method("diffusers' DDPM, untracked", untracked, self.network, self),
        ]

    def peers(self, folder: Path) -> Iterator[Method]:
        """Those whose code and needs are there, and that know such a network."""
        for name, (head, adapted) in peer_code.PEERS.items():
            if head != self.model.head:
                continue
            try:
                yield Method(name, adapted(folder, self.model), self.network, self)
            except Missing as missing:
                print(f"{name}: left out: {missing}")


def measured(
    case: Case, task: str, methods: list[Method], repeats: int, warm_up: int
) -> Iterator[pd.DataFrame]:
    """A row a method from the second round on; times are divided by those of the first method."""
    actions = {method.name: method for method in methods}
    first, points = methods[0].name, sum(len(x) for x in case.points.values())
    rounds: list[pd.DataFrame] = []
    for i in range(repeats):
        rounds.append(interleaved(actions, 1, seed=i, warm_up=warm_up if i == 0 else 0))
        if i == 0:
            continue  # an interval needs two
        seconds = pd.concat(rounds, ignore_index=True)
        rows = []
        for method in methods:
            row = {"model": case.name, "task": task} | method.row()
            row |= ratio_columns(seconds[method.name], seconds[first])
            row |= {"ms_a_sample": 1e3 * seconds[method.name].median() / points, "rounds": i + 1}
            rows.append(row | machine())
        yield pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--peers", type=Path, required=True, help="folder of clones")
    parser.add_argument("--samples", type=int, default=4, help="of each kind of points")
    parser.add_argument("--repeats", type=int, default=3)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    case = Case(settings.model, settings.samples)
    methods = [*map(case.ours, OURS), *case.peers(settings.peers)]
    # a round of the slowest takes a minute, of which what a first call costs is a hundredth
    for task, each, repeats, warm_up in (
        ("log-density", methods, settings.repeats, 0),
        ("sampling", case.drawn(), 3 * settings.repeats, 1),
    ):
        for table in measured(case, task, each, repeats, warm_up):
            appended(table, RESULTS / "peers.csv", ["model", "task"])
        print(table.iloc[:, :12].to_string(), flush=True)


if __name__ == "__main__":
    main()
