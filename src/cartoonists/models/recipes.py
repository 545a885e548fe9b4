"""Recipes of trainings: the path, what the network is to say, and how noise levels are weighted."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from cartoonists.paths.schedules import VP, NoiseSchedule, RectifiedFlow

DECAY = 0.25  # share of the budget over which the learning rate falls to zero
LEVELS = 4097  # points at which the weight is integrated, to draw λ by it


@dataclass(frozen=True)
class Loss:
    """What is learned on a kind of path: the head, its target of (x_0, ε), and weights of λ."""

    schedule: type[NoiseSchedule]
    head: str
    target: Callable[[Tensor, Tensor], Tensor]
    weights: dict[str, Callable[[Tensor], Tensor]]


LOSSES = {
    "VP": Loss(
        VP,
        "eps",
        lambda x, eps: eps,
        {"likelihood": torch.ones_like, "quality": lambda logsnr: torch.sigmoid(2 - logsnr)},
    ),
    # densities of t as densities of λ = -2 logit t
    "RectifiedFlow": Loss(
        RectifiedFlow,
        "velocity",
        lambda x, eps: eps - x,
        {
            "uniform": lambda logsnr: torch.sigmoid(logsnr / 2) * torch.sigmoid(-logsnr / 2),
            "logit-normal": lambda logsnr: torch.exp(-logsnr.square() / 8),
        },
    ),
}


@dataclass(frozen=True)
class Recipe:
    """One training run; the loss is ``∫ w(λ) E|target - network(x_λ, λ)|²/D dλ`` up to a constant.

    ``kind``, the path, says what the network learns and which ``weighting`` there are.  *VP*: ε;
    *likelihood* has ``w = 1``, the evidence lower bound (Kingma & Gao, 2023); *quality* has
    ``w = sigmoid(2 - λ)``, which spends the network on what is seen.  *RectifiedFlow*: the velocity
    ``ε - x_0`` at ``x_t = (1 - t) x_0 + t ε``; *uniform* has t uniform (Liu et al., 2023),
    *logit-normal* has ``logit t ~ N(0, 1)`` (Esser et al., 2024), both within the range of λ.
    λ is drawn with density proportional to w, which has the expectation of uniform draws weighted
    by w and less variance.

    ``steps`` or ``minutes`` is the budget: the learning rate warms up, stays, and falls
    linearly to zero over the last quarter of it.  ``lossy_below``: λ is drawn first, and up to this
    level the image comes from the lossy copies (more images, whose loss drowns in the noise), above
    it from the lossless ones; null is lossless ones alone.
    ``precision``: *bf16* runs the network under autocast (the weights stay float32), which pays on
    processors that multiply bfloat16.  Raises ValueError for what is none of these.
    """

    weighting: str
    steps: int | None = None
    minutes: float | None = None
    kind: str = "VP"
    batch: int = 64
    learning_rate: float = 1e-3
    warmup: int = 200
    ema_decay: float = 0.999
    flip: bool = False
    lossy_below: float | None = None
    precision: str = "fp32"
    logsnr_min: float = -10.0
    logsnr_max: float = 10.0
    seed: int = 0

    def __post_init__(self):
        self._check("kind", LOSSES)
        self._check("weighting", self.loss.weights)
        self._check("precision", ("fp32", "bf16"))
        if (self.steps is None) == (self.minutes is None):
            raise ValueError(
                f"steps, minutes: {self.steps} and {self.minutes} found, allowed one of the two"
            )

    def _check(self, key: str, allowed) -> None:
        found, names = getattr(self, key), " and ".join(map(repr, allowed))
        if found not in allowed:
            with_kind = f" with kind {self.kind!r}" if key == "weighting" else ""
            raise ValueError(f"{key}: {found!r} found, allowed{with_kind} {names}")

    @property
    def loss(self) -> Loss:
        """What the network learns."""
        return LOSSES[self.kind]

    @property
    def schedule(self) -> NoiseSchedule:
        """The path that images are noised along."""
        return self.loss.schedule(self.logsnr_min, self.logsnr_max)

    def weight(self, logsnr: Tensor) -> Tensor:
        """Weight w(λ) of the loss."""
        return self.loss.weights[self.weighting](logsnr)

    @cached_property
    def _mass(self) -> tuple[np.ndarray, np.ndarray]:
        """Share of the weight up to each λ of a fine grid, and the grid."""
        grid = torch.linspace(self.logsnr_min, self.logsnr_max, LEVELS, dtype=torch.float64)
        mass = torch.cumulative_trapezoid(self.weight(grid), grid)
        return torch.cat([mass.new_zeros(1), mass / mass[-1]]).numpy(), grid.numpy()

    def levels(self, points: Tensor) -> Tensor:
        """Quantiles of λ at ``points`` in [0, 1), of the density proportional to the weight."""
        return torch.from_numpy(np.interp(points.numpy(), *self._mass)).float()

    def share(self, step: int, seconds: float) -> float:
        """Share of the budget that is spent after so many steps and seconds."""
        if self.steps is not None:
            return step / self.steps
        return seconds / (60 * self.minutes) if self.minutes else 1.0

    def rate(self, step: int, share: float) -> float:
        """Learning rate at a step, ``share`` of the budget spent."""
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, (1 - share) / DECAY)
