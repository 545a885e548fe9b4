"""What the precision of network and state costs, on a closed form and on a bundled network.

    python benchmarks/precision.py

Prints a table: largest error of the PF-ODE's log-density over samples, against the same solver on
the closed form of a Gaussian (D = 784, ε through a convolution, so that autocast acts), and against
float32 with a float64 state for a bundled network.
"""

import torch
from torch import nn

from cartoonists import VP, Gaussian, NetworkScore, load_model, ode_log_density
from cartoonists.execution import Execution

SETTINGS = (("fp32", "float64"), ("fp32", "float32"), ("bf16", "float64"), ("fp16", "float64"))
SHAPE, VARIANCE, STEPS, SAMPLES = (1, 28, 28), 0.3, 48, 4
BUNDLED_STEPS, BUNDLED_SAMPLES = 8, 2  # reduced precision is slow on a CPU


class GaussianNetwork(nn.Module):
    """The exact ε of N(0, VARIANCE) data."""

    def __init__(self):
        super().__init__()
        self.identity = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.identity.weight)

    def forward(self, x, logsnr):
        alpha2, sigma2 = torch.sigmoid(logsnr), torch.sigmoid(-logsnr)
        factor = sigma2.sqrt() / (VARIANCE * alpha2 + sigma2)
        return self.identity(x) * factor.view(-1, 1, 1, 1)


def log_density(model, x, steps=STEPS):
    return ode_log_density(model, x, steps=steps, divergence="hutchinson").log_density


def main() -> None:
    torch.set_num_threads(1)
    target = Gaussian(torch.zeros(SHAPE), VARIANCE, VP())
    x = target.sample(SAMPLES, seed=1)
    images = None
    print("| network | state | error, closed form, nats | change, bundled network, nats |")
    print("|---|---|---|---|")
    for precision, state in SETTINGS:
        execution = Execution("cpu", precision, state)
        network = GaussianNetwork().requires_grad_(False)
        model = execution.apply(NetworkScore(network, SHAPE, VP()))
        exact = ode_log_density(target, x, steps=STEPS).log_density
        error = (log_density(model, x) - exact).abs().max().item()
        bundled = load_model(
            "fashion-mnist/likelihood", device="cpu", precision=precision, state=state
        )
        if images is None:
            images = bundled.denoise(x[:BUNDLED_SAMPLES], 5.0)
            reference = log_density(bundled, images, BUNDLED_STEPS)
        change = (log_density(bundled, images, BUNDLED_STEPS) - reference).abs().max().item()
        print(f"| {precision} | {state} | {error:.2g} | {change:.2g} |", flush=True)


if __name__ == "__main__":
    main()
