"""Time of a network of the official code's size in PyTorch over the same network in JAX.

    python -m venv jax-env && jax-env/bin/pip install jax
    python benchmarks/official_size.py --jax jax-env/bin/python [OTHER …] [--repeats 9]

Writes official_size.csv: milliseconds of processor time a sample and evaluation at batch 8 on one
core in float32, without and with Hutchinson's estimate, interleaved with the same network, weights
and inputs in JAX (`jax_unet.py`), whose faster mode of differentiation counts.
"""

import argparse
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from interleaved import interleaved, machine, ratio_columns, write
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cartoonists import VP, NetworkScore
from cartoonists.models.execution import Execution
from cartoonists.paths.streams import Streams, sample_seeds

BATCH = 8
LOGSNR = 0.4
SAME = 1e-3  # largest difference between the two outputs

# Milliseconds that the official code (JAX, 45.8 M parameters) took at batch 8 on one core of such a
# machine; given to this project, not measured by it.
GIVEN = {"plain": 116.0, "forward": 251.0}


class SizedUNet(torch.nn.Module):
    """diffusers' U-Net of DDPM for CIFAR-10, widened to the official network's parameters."""

    def __init__(self):
        super().__init__()
        from diffusers import UNet2DModel

        self.unet = UNet2DModel(
            sample_size=32, block_out_channels=(144, 288, 288, 288), layers_per_block=2,
            norm_num_groups=16, attention_head_dim=None,
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        ).eval().requires_grad_(False)  # fmt: skip

    def timestep(self, logsnr: Tensor) -> Tensor:
        return 50 * (logsnr + 10)

    def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
        return self.unet(x, self.timestep(logsnr)).sample


class JAX:
    """The network in JAX, in a process of its own that evaluates on request."""

    def __init__(self, python: str, network: SizedUNet, x: Tensor, probe: Tensor):
        timestep = network.timestep(torch.full((len(x),), LOGSNR))
        arrays = {f"network.{name}": w.numpy() for name, w in network.unet.state_dict().items()}
        output = network(x, torch.full((len(x),), LOGSNR)).numpy()
        self.seconds = 0.0
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "network.npz"
            np.savez(file, input=x.numpy(), output=output, probe=probe.numpy(),
                     timestep=timestep.numpy(), **arrays)  # fmt: skip
            program = Path(__file__).with_name("jax_unet.py")
            self.process = subprocess.Popen(
                [python, str(program), str(file)],
                text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            self.version, difference = self._answer().split()
        if not float(difference) < SAME:
            raise SystemExit(f"the output in JAX is off by {difference}, allowed {SAME}")

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[0]} failed, see above; it needs jax")
        return line

    def evaluate(self, name: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        self.seconds = float(self._answer())

    def close(self) -> None:
        self.process.communicate()


def measure(python: str, repeats: int) -> list[dict]:
    """A row an evaluation in PyTorch, with the time of the same in JAX."""
    torch.manual_seed(0)
    network = SizedUNet()
    streams = Streams(sample_seeds(0, BATCH), "start")
    x, probe = streams.normal((3, 32, 32)), streams.rademacher((3, 32, 32))
    jax = JAX(python, network, x.float(), probe.float())
    model = Execution().apply(NetworkScore(network, (3, 32, 32), VP()))
    counter = FlopCounterMode(display=False)
    with counter:
        model.score(x[:1], LOGSNR)
    ours = {
        "plain": partial(model.score, x, LOGSNR),
        "reverse": partial(model.score_and_hvp, x, LOGSNR, probe),
    }
    theirs = {
        f"jax {name}": partial(jax.evaluate, name) for name in ("plain", "forward", "reverse")
    }
    seconds = interleaved(ours | theirs, repeats, clock=lambda: time.process_time() + jax.seconds)
    jax.close()
    ms = 1e3 / BATCH * seconds
    estimate = min(("forward", "reverse"), key=lambda name: ms[f"jax {name}"].median())
    size = {
        "parameters_M": sum(p.numel() for p in network.parameters()) / 1e6,
        "operations_G": counter.get_total_flops() / 1e9,
        "batch": BATCH,
    }
    rows = []
    for kind, mine, other in (("none", "plain", "plain"), ("hutchinson", "reverse", estimate)):
        row = {"divergence": kind, "torch_ms": ms[mine].median(), "jax_mode": other,
               "jax_ms": ms[f"jax {other}"].median()}  # fmt: skip
        row |= ratio_columns(ms[mine], ms[f"jax {other}"])
        rows.append(
            row | {"given_jax_ms": GIVEN.get(other)} | size | machine() | {"jax": jax.version}
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jax", nargs="+", required=True, help="Pythons that have jax")
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for python in given.jax for row in measure(python, given.repeats)]
    print(write("official_size", pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
