"""A tiny network on 8×8 images, small enough for exact second and third derivatives."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cartoonists.density.modes import ModeDivergence, track_modes
from cartoonists.density.tracking import reverse_sde_path
from cartoonists.paths.bases import Columns
from cartoonists.paths.divergence import ExactDivergence, NoDivergence
from cartoonists.paths.processes import HighDensityODE
from cartoonists.paths.schedules import VP, NoiseSchedule, uniform_grid
from cartoonists.paths.scores import NetworkScore
from cartoonists.paths.solvers import integrate
from cartoonists.paths.streams import Streams

RATE = 2e-3  # of Adam at the first step


def shrink(images: np.ndarray) -> Tensor:
    """Images ``[n, 1, 28, 28]`` (uint8) to ``[n, 64]``: zero border, 4×4 means, standardised."""
    padded = F.pad(torch.from_numpy(images).double(), (2, 2, 2, 2))
    small = F.avg_pool2d(padded, 4).flatten(1)
    return (small - small.mean()) / small.std()


class TinyField(nn.Module):
    """F(x, λ), a perceptron of smooth units; x ``[n, D]``, λ ``[n]``.

    ``silent``: 0 everywhere before training.
    """

    def __init__(self, dimensions: int, width: int, silent: bool = False):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(dimensions + 5, width), nn.SiLU(),
            nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, dimensions),
        )  # fmt: skip
        if silent:
            for parameter in self.body[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
        level = logsnr[:, None]
        angles = level * torch.tensor([0.15, 0.45])
        features = torch.cat([x, level / 10, angles.sin(), angles.cos()], dim=1)
        return self.body(features)


class TinyNetwork(TinyField):
    """ε(x, λ) = σ x + α F(x, λ): that of a Gaussian, and what the data add."""

    def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
        alpha, sigma = (torch.sigmoid(v[:, None]).sqrt() for v in (logsnr, -logsnr))
        return sigma * x + alpha * super().forward(x, logsnr)


class WhitenedNetwork(nn.Module):
    """ε(x, λ) of a Gaussian with the data's own principal variances, and what a perceptron adds.

    In the principal axes of ``data`` ``[n, *shape]``, with their mean m and variances V,

        ε = σ u/v + α √(V/v) F(u/√v, λ),   u = Bᵀ(x - α m),   v = α² V + σ²,

    the Gaussian's part after Wang & Vastola (2024); F in units of the Gaussian's posterior standard
    deviation.  Directions without variance need no unit of the perceptron, so that it may be
    narrower than the data have dimensions.
    """

    mean: Tensor
    axes: Tensor
    variances: Tensor

    def __init__(self, data: Tensor, width: int):
        super().__init__()
        flat = data.flatten(1).double()
        axes = Columns.principal(flat).matrix
        self.register_buffer("mean", flat.mean(0).float())
        self.register_buffer("axes", axes.float())
        self.register_buffer("variances", ((flat - flat.mean(0)) @ axes).var(0).float())
        self.field = TinyField(flat.shape[1], width, silent=True)

    def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
        alpha, sigma = (torch.sigmoid(v[:, None]).sqrt() for v in (logsnr, -logsnr))
        variance = alpha**2 * self.variances + sigma**2
        u = (x.flatten(1) - alpha * self.mean) @ self.axes
        added = (self.variances / variance).sqrt() * self.field(u / variance.sqrt(), logsnr)
        return ((sigma / variance * u + alpha * added) @ self.axes.T).view_as(x)


def train_tiny(
    data: Tensor,
    schedule: NoiseSchedule,
    *,
    steps: int,
    width: int,
    batch: int = 256,
    seed: int = 0,
) -> NetworkScore:
    """`TinyNetwork`, trained on ``[n, D]`` by `train_eps`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = TinyNetwork(data.shape[1], width)
    return train_eps(network, data, schedule, steps=steps, batch=batch, seed=seed)


def train_eps(
    network: nn.Module,
    data: Tensor,
    schedule: NoiseSchedule,
    *,
    steps: int,
    batch: int = 256,
    rate: float = RATE,
    seed: int = 0,
) -> NetworkScore:
    """Train ε on ``[n, *shape]`` by denoising score matching, λ uniform, ``rate`` falling to 0.

    Raises ValueError for a schedule that does not preserve variance: the networks here are scaled
    for one that does.
    """
    schedule.check_preserving("the small networks")
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    span = schedule.logsnr_max - schedule.logsnr_min
    column = (-1, *[1] * (data.ndim - 1))
    for step in range(steps):
        x = data[torch.randint(len(data), (batch,), generator=generator)].float()
        points = (torch.arange(batch) / batch + torch.rand(1, generator=generator)) % 1.0
        logsnr = schedule.logsnr_min + span * points
        eps = torch.randn(x.shape, generator=generator)
        alpha, sigma = (
            v.float().view(column) for v in (schedule.alpha(logsnr), schedule.sigma(logsnr))
        )
        loss = (network(alpha * x + sigma * eps, logsnr) - eps).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimiser.step()
    network.eval().requires_grad_(False)
    return NetworkScore(network, tuple(data.shape[1:]), schedule, batch_size=4096)


def correction_sizes(
    model: NetworkScore, logsnr_t: Sequence[float], n: int, steps: int, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How much the HD-ODE drops, on a network with exact derivatives.

    First table, a row a seed, start and λ along the HD trajectory: ``share``, the norm of the
    correction ½ g² A⁻¹ ∇Δ over that of f x + g² s (0 from where A is no longer sound), and the
    smallest eigenvalue of M.  Second, a row a seed and start: RMS distance between the end points
    of both equations, the Newton gain of each in nats, and the gain in log p of the mode ODE's end
    over the HD-ODE's, by (★) with the exact divergence.
    """
    schedule, seeds = model.schedule, list(range(seed, seed + n))
    along, ends = [], []
    for start in logsnr_t:
        x = model.sample_prior(Streams(seeds, "prior"))
        zero = torch.zeros(n, dtype=torch.float64)
        before = uniform_grid(schedule.logsnr_min, start, 64)
        x_t = reverse_sde_path(model, x, zero, before, seeds, track=False).x
        along.append(_along_high_density(model, x_t, start, steps, seeds))
        options: dict[str, Any] = {
            "seeds": seeds,
            "solver": "heun",
            "method": "dense",
            "log_density": zero,
        }
        mode, high = (track_modes(model, x_t, start, steps, c, **options) for c in (True, False))
        columns = {
            "logsnr_t": start,
            "seed": seeds,
            "distance": (mode.x - high.x).square().mean(1).sqrt(),
            "mode_status": mode.status,
            "mode_gap_nats": mode.gap_nats,
            "hd_gap_nats": high.gap_nats,
            "log_density_gain_nats": mode.log_density - high.log_density,
        }
        ends.append(pd.DataFrame(columns))
    return pd.concat(along, ignore_index=True), pd.concat(ends, ignore_index=True)


def _along_high_density(model, x_t, start, steps, seeds) -> pd.DataFrame:
    grid = uniform_grid(start, model.schedule.logsnr_max, steps)
    points: list[tuple[float, Tensor]] = []
    integrate(
        HighDensityODE(model.schedule), model, x_t, torch.zeros(len(x_t), dtype=torch.float64),
        grid, NoDivergence(), seeds, solver="heun",
        callback=lambda logsnr, x, _: points.append((logsnr, x)),
    )  # fmt: skip
    rows = []
    for logsnr, x in points:
        followed = ModeDivergence(ExactDivergence(), start, "dense", len(x))
        followed(model, x, logsnr)
        columns = {
            "logsnr_t": start,
            "logsnr": logsnr,
            "seed": seeds,
            "share": followed.share,
            "smallest_eigenvalue": followed.smallest,
        }
        rows.append(pd.DataFrame(columns))
    return pd.concat(rows, ignore_index=True)


def tiny_schedule() -> NoiseSchedule:
    """VP with λ from -10 to 8: finer noise than exp(-4) of the spread is below one grey level."""
    return VP(-10.0, 8.0)
