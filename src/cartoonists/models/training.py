"""Training of the bundled networks: resumable to the same loss curve, on any machine."""

import copy
import csv
import hashlib
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from cartoonists.files.artifacts import atomic
from cartoonists.images.data import PixelScaling
from cartoonists.images.packs import Packed
from cartoonists.models.recipes import Recipe

LOSS_BINS = 10
CHECK_EVERY = 20  # steps between two looks at the loss, each of which waits for a GPU
LARGE = 2**40  # between the seeds of small and of large draws


@dataclass(frozen=True)
class TrainingImages:
    """uint8 images ``[n, c, h, w]`` to train on, their scaling, and lossy copies where there are.

    ``lossy`` are more images, of nearly the same distribution, that compression has altered.
    """

    images: Tensor
    scaling: PixelScaling
    lossy: Tensor | None = None

    @staticmethod
    def of(images: np.ndarray, lossy: np.ndarray | None = None) -> "TrainingImages":
        """From arrays; the scaling is that of the lossless images."""
        others = None if lossy is None else torch.from_numpy(lossy)
        return TrainingImages(torch.from_numpy(images.copy()), PixelScaling.of(images), others)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all images."""
        found = hashlib.sha256(self.images.cpu().numpy().tobytes())
        if self.lossy is not None:
            found.update(self.lossy.cpu().numpy().tobytes())
        return found.hexdigest()

    def to(self, device: str) -> "TrainingImages":
        """The same images on a device."""
        lossy = None if self.lossy is None else self.lossy.to(device)
        return TrainingImages(self.images.to(device), self.scaling, lossy)

    def check(self, recipe: Recipe) -> None:
        """Raise ValueError where the recipe's rule and these images do not fit."""
        if (recipe.lossy_below is None) != (self.lossy is None):
            have = "no" if self.lossy is None else len(self.lossy)
            allowed = "null" if self.lossy is None else "a level of λ"
            raise ValueError(
                f"lossy_below: {recipe.lossy_below} found, with {have} lossy images; "
                f"allowed: {allowed} (packs may hold them)"
            )

    def batch(self, recipe: Recipe, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Clean images (model space), noise and λ of a step, from a generator of (seed, step)."""
        device = self.images.device
        # what is one number an image is drawn on the CPU, so that no step waits for a GPU
        small = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        large = torch.Generator(device).manual_seed(recipe.seed * 1_000_003 + step + LARGE)
        choose = torch.rand(recipe.batch, generator=small, dtype=torch.float64).to(device)
        # low-discrepancy λ: one uniform offset, equally spaced points (Kingma et al., 2021)
        points = torch.arange(recipe.batch) / recipe.batch + torch.rand(1, generator=small)
        logsnr = recipe.levels(points % 1.0).to(device)
        mirrored = (torch.rand(recipe.batch, generator=small) < 0.5).to(device)
        pixels = self.images[(choose * len(self.images)).long()]
        if self.lossy is not None and recipe.lossy_below is not None:
            low = (logsnr <= recipe.lossy_below).view(-1, 1, 1, 1)
            pixels = torch.where(low, self.lossy[(choose * len(self.lossy)).long()], pixels)
        if recipe.flip:
            pixels = torch.where(mirrored.view(-1, 1, 1, 1), pixels.flip(-1), pixels)
        noise = torch.rand(pixels.shape, generator=large, device=device)
        x = self.scaling.from_pixels(pixels, noise).float()
        return x, torch.randn(x.shape, generator=large, device=device), logsnr


def images_for(packed: Packed, recipe: Recipe) -> TrainingImages:
    """Training images of a pack; its lossy copies only where the recipe uses them."""
    return TrainingImages.of(packed.train, None if recipe.lossy_below is None else packed.lossy)


class Trainer:
    """Network, moving average and optimiser of one training, on a device; one call a step.

    ``compile`` runs the network by ``torch.compile``.
    """

    def __init__(
        self,
        network: nn.Module,
        images: TrainingImages,
        recipe: Recipe,
        device: str = "cpu",
        compile: bool = False,
    ):
        images.check(recipe)
        self.images, self.recipe = images.to(device), recipe
        self.network = network.to(device).train()
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=0.0
        )
        self.forward = torch.compile(network) if compile else network
        self.device_type = torch.device(device).type

    def step(self, step: int, share: float) -> tuple[Tensor, Tensor, Tensor]:
        """Update network and average; returns the loss, and λ and squared error of each image."""
        recipe = self.recipe
        x, eps, logsnr = self.images.batch(recipe, step)
        alpha, sigma = (
            scale(logsnr).to(x).view(-1, 1, 1, 1)
            for scale in (recipe.schedule.alpha, recipe.schedule.sigma)
        )
        with torch.autocast(self.device_type, torch.bfloat16, recipe.precision == "bf16"):
            output = self.forward(alpha * x + sigma * eps, logsnr)
            error = output - recipe.loss.target(x, eps)
        per_sample = error.float().square().mean(dim=(1, 2, 3))
        loss = per_sample.mean()  # weighted: λ is drawn by the weight
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.rate(step, share)
        self.optimiser.step()
        self._update_average(step)
        return loss.detach(), logsnr, per_sample.detach()

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        decay = min(self.recipe.ema_decay, (1 + step) / (10 + step))
        means: list[Tensor] = list(self.average.parameters())
        values: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(means, values, 1 - decay)


@dataclass(frozen=True)
class Trained:
    """What a training leaves: the moving average of the network, and what it took."""

    network: nn.Module
    steps: int
    seconds: float


def train(
    network: nn.Module,
    images: TrainingImages,
    recipe: Recipe,
    state_path: Path,
    log_path: Path,
    *,
    save_every_s: float = 120.0,
    device: str = "cpu",
    compile: bool = False,
    quiet: bool = False,
) -> Trained:
    """Train until the recipe's budget is spent; the network is the exponential moving average.

    Every batch is drawn from a generator seeded with (seed, step), so a run that was stopped and
    resumed from ``state_path`` sees the very batches of an undisturbed one.  ``log_path`` receives
    a CSV: step and mean loss per λ bin since the last row.  ``quiet`` shows no progress.
    Raises ValueError where recipe, images and state do not fit, and FloatingPointError where the
    loss is not finite.
    """
    trainer = Trainer(network, images, recipe, device, compile)
    state = _resume(state_path, recipe, trainer)
    step, begun = state["step"], time.monotonic() - state["seconds"]
    log = _LossLog(log_path, recipe, state)
    last_save = time.monotonic()

    def save(loss: Tensor, seconds: float) -> None:
        _check_finite(loss, step)
        _save(state_path, step, seconds, recipe, trainer, log)

    with tqdm(initial=step, total=recipe.steps, desc="training", disable=quiet) as progress:
        seconds = state["seconds"]
        while (share := recipe.share(step, seconds)) < 1:
            loss, logsnr, per_sample = trainer.step(step, share)
            if step % CHECK_EVERY == 0:
                _check_finite(loss, step)
            log.add(step, logsnr, per_sample)
            step += 1
            progress.update()
            seconds = time.monotonic() - begun
            if recipe.share(step, seconds) >= 1 or time.monotonic() - last_save > save_every_s:
                save(loss, seconds)
                last_save = time.monotonic()
    return Trained(trainer.average, step, seconds)


def _check_finite(loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise FloatingPointError(f"training: loss is {loss.item()} at step {step}")


def _save(path, step: int, seconds: float, recipe: Recipe, trainer: Trainer, log) -> None:
    state = {
        "step": step,
        "seconds": seconds,
        "recipe": asdict(recipe),
        "images": trainer.images.digest,
        "network": trainer.network.state_dict(),
        "average": trainer.average.state_dict(),
        "optimiser": trainer.optimiser.state_dict(),
        "log": {"sums": log.sums.cpu(), "counts": log.counts.cpu()},
    }
    with atomic(path) as temporary:
        torch.save(state, temporary)


def _resume(path, recipe: Recipe, trainer: Trainer) -> dict:
    if not Path(path).exists():
        return {"step": 0, "seconds": 0.0}
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        trainer.network.load_state_dict(state["network"])
        trainer.average.load_state_dict(state["average"])
        trainer.optimiser.load_state_dict(state["optimiser"])
        found = {**state["recipe"], "images": state["images"]}
        float(state["seconds"])
    except Exception as error:  # the restricted unpickler raises many kinds
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: no state of this training; remove it ({reason})") from None
    _check_same(path, found, {**asdict(recipe), "images": trainer.images.digest})
    return state


def _check_same(path, found: dict, asked: dict) -> None:
    """Half of one training and half of another would be a model that no card describes."""
    changed = [
        "other images" if key == "images" else f"{key} was {found.get(key)!r}"
        for key in asked
        if asked[key] != found.get(key)
    ]
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
        """Sum the losses where they are, so that no step waits for a GPU."""
        self.sums, self.counts = self.sums.to(logsnr.device), self.counts.to(logsnr.device)
        span = self.recipe.logsnr_max - self.recipe.logsnr_min
        bins = ((logsnr - self.recipe.logsnr_min) / span * LOSS_BINS).long().clamp(0, LOSS_BINS - 1)
        self.sums.index_add_(0, bins, per_sample)
        self.counts.index_add_(0, bins, torch.ones_like(per_sample))
        if (step + 1) % self.every == 0 or step + 1 == self.recipe.steps:
            self._write(step + 1)

    def _write(self, step: int) -> None:
        means = self.sums / self.counts
        overall = (self.sums.sum() / self.counts.sum()).item()
        self.rows.append([str(step), f"{overall:.6f}", *(f"{m:.6f}" for m in means)])
        with atomic(self.path) as temporary, temporary.open("w", newline="") as stream:
            csv.writer(stream).writerows([self.columns, *self.rows])
        self._reset()
