"""Training of the bundled networks: resumable to the same loss curve, on any machine."""

import copy
import csv
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from cartoonists.files.artifacts import atomic
from cartoonists.images.data import PixelScaling

LOSS_BINS = 10


@dataclass(frozen=True)
class Recipe:
    """One training run; the loss is ``E_λ w(λ) |ε - ε_θ(x_λ, λ)|²/D`` with λ uniform.

    ``weighting``: *likelihood* has ``w = 1 + 8 sigmoid(1 - λ)``: 1 is the evidence lower bound
    (Kingma & Gao, 2023); the rest speaks for the high noise, where the loss is a hundred times
    smaller and errors cost the bound nothing, but make PF-ODE paths of saturated patches run away.
    *quality* has ``w = sigmoid(2 - λ)``, which spends the network on what is seen.
    ``precision``: *bf16* runs the network under autocast (the weights stay float32), which pays on
    processors that multiply bfloat16.  The learning rate warms up, stays, and falls linearly to
    zero over the last quarter.
    """

    weighting: str
    steps: int
    batch: int = 64
    learning_rate: float = 1e-3
    warmup: int = 200
    ema_decay: float = 0.999
    flip: bool = False
    precision: str = "fp32"
    logsnr_min: float = -10.0
    logsnr_max: float = 10.0
    seed: int = 0

    def __post_init__(self):
        allowed = {"weighting": ("likelihood", "quality"), "precision": ("fp32", "bf16")}
        for key, values in allowed.items():
            if getattr(self, key) not in values:
                found, names = getattr(self, key), " and ".join(map(repr, values))
                raise ValueError(f"{key}: {found!r} found, allowed {names}")

    def weight(self, logsnr: Tensor) -> Tensor:
        if self.weighting == "quality":
            return torch.sigmoid(2 - logsnr)
        return 1 + 8 * torch.sigmoid(1 - logsnr)

    def rate(self, step: int) -> float:
        """Learning rate at a step (warm-up, plateau, linear decay over the last quarter)."""
        remaining = (self.steps - step) / max(1.0, 0.25 * self.steps)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, remaining)


def train(
    network: nn.Module,
    images: Tensor,
    scaling: PixelScaling,
    recipe: Recipe,
    state_path: Path,
    log_path: Path,
    *,
    save_every_s: float = 120.0,
    device: str = "cpu",
) -> nn.Module:
    """Train on uint8 images ``[n, c, h, w]``; returns the exponential moving average.

    Every batch is drawn from a generator seeded with (seed, step), so a run that was stopped and
    resumed from ``state_path`` sees the very batches of an undisturbed one.  ``log_path`` receives
    a CSV: step and mean loss per λ bin since the last row.
    """
    network = network.to(device).train()
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=0.0)
    state = _resume(state_path, recipe, network, average, optimiser)
    step = state["step"]
    log = _LossLog(log_path, recipe, state)
    last_save = time.monotonic()
    progress = tqdm(range(step, recipe.steps), initial=step, total=recipe.steps, desc="training")
    for step in progress:
        x, eps, logsnr = _batch(images, scaling, recipe, step, device)
        alpha, sigma = torch.sigmoid(logsnr).sqrt(), torch.sigmoid(-logsnr).sqrt()
        view = (-1, 1, 1, 1)
        noisy = alpha.view(view) * x + sigma.view(view) * eps
        with torch.autocast(torch.device(device).type, torch.bfloat16, recipe.precision == "bf16"):
            error = network(noisy, logsnr) - eps
        per_sample = error.float().square().mean(dim=(1, 2, 3))
        loss = (recipe.weight(logsnr) * per_sample).mean()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"training: loss is {loss.item()} at step {step}")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step)
        optimiser.step()
        _update_average(average, network, recipe.ema_decay, step)
        log.add(step, logsnr, per_sample)
        if time.monotonic() - last_save > save_every_s or step + 1 == recipe.steps:
            _save(state_path, step + 1, recipe, network, average, optimiser, log)
            last_save = time.monotonic()
    return average


def make_card(dataset: str, images, scaling: PixelScaling, recipe: Recipe, settings: dict) -> dict:
    """What the card of a trained model says of its network, schedule, data and training."""
    return {
        "name": f"{dataset}/{recipe.weighting}",
        "version": "0.1.0",
        "licence": "MIT",
        "architecture": settings["architecture"],
        "head": "eps",
        "schedule": {
            "kind": "VP",
            "logsnr_min": recipe.logsnr_min,
            "logsnr_max": recipe.logsnr_max,
        },
        "data": {
            "name": dataset,
            "shape": list(images.shape[1:]),
            "mean": list(scaling.mean),
            "std": list(scaling.std),
        },
        "training": {"images": len(images), "start": settings["start"], **asdict(recipe)},
    }


def _batch(images, scaling, recipe, step, device):
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    index = torch.randint(len(images), (recipe.batch,), generator=generator)
    pixels = images[index]
    if recipe.flip:
        mirrored = torch.rand(recipe.batch, generator=generator) < 0.5
        pixels = torch.where(mirrored.view(-1, 1, 1, 1), pixels.flip(-1), pixels)
    noise = torch.rand(pixels.shape, generator=generator)
    x = scaling.from_pixels(pixels, noise).float()
    eps = torch.randn(x.shape, generator=generator)
    # low-discrepancy λ: one uniform offset, equally spaced points (Kingma et al., 2021)
    points = torch.arange(recipe.batch) / recipe.batch + torch.rand(1, generator=generator)
    logsnr = recipe.logsnr_min + (recipe.logsnr_max - recipe.logsnr_min) * (points % 1.0)
    return x.to(device), eps.to(device), logsnr.to(device)


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    decay = min(decay, (1 + step) / (10 + step))
    for mean, value in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)


def _save(path, step, recipe, network, average, optimiser, log) -> None:
    state = {
        "step": step,
        "recipe": asdict(recipe),
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "log": {"sums": log.sums, "counts": log.counts},
    }
    with atomic(path) as temporary:
        torch.save(state, temporary)


def _resume(path, recipe, network, average, optimiser) -> dict:
    if not Path(path).exists():
        return {"step": 0}
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        found = dict(state["recipe"])
    except Exception as error:  # the restricted unpickler raises many kinds
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: no state of this training; remove it ({reason})") from None
    _check_same_recipe(path, found, asdict(recipe))
    return state


def _check_same_recipe(path, found: dict, asked: dict) -> None:
    """Half of one recipe and half of another would be a model that no card describes."""
    changed = [f"{key} was {found.get(key)!r}" for key in asked if asked[key] != found.get(key)]
    if changed:
        raise ValueError(f"{path}: begun with another recipe ({', '.join(changed)}); remove it")


class _LossLog:
    """Mean loss per λ bin, a CSV row every 100 steps and at the end.

    Rows past the resumed step are dropped.

    The file is written whole each time: a run that is killed leaves no half of a row in it.
    """

    every = 100

    def __init__(self, path: Path, recipe: Recipe, state: dict):
        self.path, self.recipe, step = Path(path), recipe, state["step"]
        self.columns = ["step", "loss", *(f"loss_bin_{i}" for i in range(LOSS_BINS))]
        self.rows: list[list[str]] = []
        if self.path.exists() and step:
            with self.path.open() as stream:
                rows = list(csv.reader(stream))[1:]
            self.rows = [row for row in rows if int(row[0]) <= step]
        self._reset()
        if "log" in state:
            self.sums, self.counts = state["log"]["sums"], state["log"]["counts"]

    def _reset(self) -> None:
        self.sums, self.counts = torch.zeros(LOSS_BINS), torch.zeros(LOSS_BINS)

    def add(self, step: int, logsnr: Tensor, per_sample: Tensor) -> None:
        span = self.recipe.logsnr_max - self.recipe.logsnr_min
        bins = ((logsnr - self.recipe.logsnr_min) / span * LOSS_BINS).long().clamp(0, LOSS_BINS - 1)
        self.sums.index_add_(0, bins.cpu(), per_sample.detach().cpu())
        self.counts.index_add_(0, bins.cpu(), torch.ones_like(per_sample.detach().cpu()))
        if (step + 1) % self.every == 0 or step + 1 == self.recipe.steps:
            self._write(step + 1)

    def _write(self, step: int) -> None:
        means = self.sums / self.counts
        overall = (self.sums.sum() / self.counts.sum()).item()
        self.rows.append([str(step), f"{overall:.6f}", *(f"{m:.6f}" for m in means)])
        with atomic(self.path) as temporary, temporary.open("w", newline="") as stream:
            csv.writer(stream).writerows([self.columns, *self.rows])
        self._reset()
