"""What the precision of network and state costs, on a closed form and on a bundled network.

    python benchmarks/precision.py > docs/precision.md

The largest error of the PF-ODE's log-density over samples, against the same solver on the closed
form of a Gaussian, and against float32 with a float64 state for a bundled network.
"""

from functools import partial

import torch
from torch import Tensor, nn

from cartoonists import VP, Gaussian, NetworkScore, load_model, ode_log_density
from cartoonists.models.execution import Execution

SETTINGS = (("fp32", "float64"), ("fp32", "float32"), ("bf16", "float64"), ("fp16", "float64"))
SHAPE, VARIANCE, SAMPLES = (1, 28, 28), 0.3, 4
STEPS = 48
BUNDLED, BUNDLED_STEPS, BUNDLED_SAMPLES = "fashion-mnist/likelihood", 8, 2  # slow on a CPU


class GaussianNetwork(nn.Module):
    """The exact ε of N(0, VARIANCE) data, x through a convolution so that autocast acts on it."""

    def __init__(self):
        super().__init__()
        self.identity = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.identity.weight)

    def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
        alpha2, sigma2 = torch.sigmoid(logsnr), torch.sigmoid(-logsnr)
        factor = sigma2.sqrt() / (VARIANCE * alpha2 + sigma2)
        return self.identity(x) * factor.view(-1, 1, 1, 1)


def gaussian_model(shape: tuple[int, ...] = SHAPE, **settings) -> NetworkScore:
    """The closed form as a network, run with these settings of ``Execution``."""
    network = GaussianNetwork().requires_grad_(False)
    return Execution(**settings).apply(NetworkScore(network, shape, VP()))


def closed_form_error(shape: tuple[int, ...] = SHAPE, **settings) -> float:
    """Largest error in nats: rounding alone, for Hutchinson is exact for a multiple of 1."""
    target = Gaussian(torch.zeros(shape), VARIANCE, VP())
    x = target.sample(SAMPLES, seed=3)
    exact = ode_log_density(target, x, steps=STEPS).log_density
    model = gaussian_model(shape, **settings)
    found = ode_log_density(model, x, steps=STEPS, divergence="hutchinson").log_density
    return (found - exact).abs().max().item()


def bundled_log_density(x: Tensor, **settings) -> Tensor:
    """Of images in model space, by the bundled network."""
    model = load_model(BUNDLED, device="cpu", **settings)
    return ode_log_density(model, x, steps=BUNDLED_STEPS, divergence="hutchinson").log_density


def main() -> None:
    torch.set_num_threads(1)
    show = partial(print, flush=True)
    show(f"""# What precision costs

Output of `benchmarks/precision.py` on a CPU: largest error of the PF-ODE's log-density, against the same
solver on the closed form of a Gaussian (D = {torch.Size(SHAPE).numel()}), and against float32 with a float64 state on a
bundled Fashion-MNIST network.

| network | state | error, closed form, nats | change, bundled network, nats |
|---|---|---|---|""")  # noqa: E501  (Markdown)
    noise = Gaussian(torch.zeros(SHAPE), VARIANCE, VP()).sample(BUNDLED_SAMPLES, seed=1)
    images = load_model(BUNDLED, device="cpu").denoise(noise, 5.0)
    reference = bundled_log_density(images)
    for precision, state in SETTINGS:
        settings = {"precision": precision, "state": state}
        change = (bundled_log_density(images, **settings) - reference).abs().max().item()
        error = closed_form_error(device="cpu", **settings)
        show(f"| {precision} | {state} | {error:.2g} | {change:.2g} |")


if __name__ == "__main__":
    main()
