"""Draws the pictures of pages in docs/how-to from bundled models, in minutes of one core."""

from pathlib import Path

import diffusers
import matplotlib.pyplot as plt
import torch
from torch import Tensor
from torch.nn import functional as F

from cartoonists import bits_per_dim, load_model, ode_log_density
from cartoonists.density.ancestral import AncestralKernel, path_log_ratios
from cartoonists.images.data import load_bundled_images
from cartoonists.paths.schedules import uniform_grid
from cartoonists.paths.streams import Streams
from cartoonists.report.plots import save, use_style
from cartoonists.schedulers import (
    DensityGuidanceScheduler,
    HighDensityScheduler,
    IsotropicVariance,
    TrackedScheduler,
)

FOLDER = Path(__file__).parent / "images"
TABLE = diffusers.DDPMScheduler(clip_sample=False).config
STEPS, SEEDS = 64, 8
VARIANCE = IsotropicVariance.gaussian(0.1)  # of both networks of a ratio, whatever theirs is


def run(scheduler, model, n: int) -> Tensor:
    """What a pipeline around the model's network does: x̂_0 after the last step."""
    x = Streams(range(n), "prior").normal(model.shape)
    scheduler.set_timesteps(STEPS)
    for time, logsnr in zip(scheduler.timesteps, scheduler.table.logsnrs, strict=True):
        noise = -model.score(x.double(), logsnr) * model.schedule.sigma(logsnr)
        x = scheduler.step(noise, time, x.double()).prev_sample
    return x


def grid_of(rows: list[Tensor], titles: list[list[str]], labels: list[str]) -> plt.Figure:
    """Rows of grey pictures, a title above each."""
    height, width = len(rows), len(rows[0])
    figure, axes = plt.subplots(
        height, width, figsize=(0.95 * width + 0.6, 1.15 * height), layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            axis = axes[i, j]
            axis.imshow(picture[0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            axis.grid(False)
            if titles[i]:
                axis.set_title(titles[i][j], fontsize=7, pad=2)
        axes[i, 0].set_ylabel(labels[i], fontsize=8)
    return figure


def pipeline_densities(model) -> plt.Figure:
    """Tracked samples from the least to the densest."""
    scheduler = TrackedScheduler.from_config(TABLE, seed=0)
    scheduler.calibrate(lambda: run(scheduler, model, 2 * SEEDS))
    pictures = model.picture(run(scheduler, model, 2 * SEEDS))
    order = scheduler.log_density.argsort()
    halves = order.view(2, SEEDS)
    values, errors = scheduler.log_density, scheduler.log_density_error
    per = model.dimensions
    titles = [[f"{values[i] / per:.2f} ± {errors[i] / per:.2f}" for i in half] for half in halves]
    return grid_of([pictures[half] for half in halves], titles, ["less dense", "denser"])


def more_or_less_detail(model) -> plt.Figure:
    """The same seeds under guidance of three strengths and from two switch points."""
    schedulers = {
        f"strength {strength:g}": DensityGuidanceScheduler.from_config(TABLE, strength=strength)
        for strength in (-1.0, 0.0, 1.0)
    } | {
        f"HD, λ = {switch:g}": HighDensityScheduler.from_config(TABLE, switch_logsnr=switch)
        for switch in (2.0, -2.0)
    }
    rows = [model.picture(run(scheduler, model, SEEDS)) for scheduler in schedulers.values()]
    return grid_of(rows, [[]] * len(rows), list(schedulers))


def image_densities(model) -> plt.Figure:
    """Bits per dimension of test images and of changes of them."""
    images = torch.from_numpy(load_bundled_images("fashion-mnist").images[:SEEDS].copy())
    blurred = F.avg_pool2d(images.float(), 3, 1, 1).round().to(torch.uint8)
    noise = torch.randint(256, images.shape, generator=torch.manual_seed(0), dtype=torch.uint8)
    kinds = {"test images": images, "blurred": blurred, "negative": 255 - images, "noise": noise}
    titles = []
    for pixels in kinds.values():
        x = model.from_pixels(pixels)
        found = ode_log_density(model, x, steps=32, solver="adams", probes=2).log_density
        bits = bits_per_dim(found, model.dimensions, model.log_pixels_per_unit)
        titles.append([f"{value:.2f}" for value in bits])
    return grid_of(list(kinds.values()), titles, list(kinds))


def likelihood_ratios(policy, reference) -> plt.Figure:
    """Cumulative log-ratio along paths of the first network."""
    kernels = [AncestralKernel(model, VARIANCE, "isotropic") for model in (policy, reference)]
    grid = uniform_grid(policy.schedule.logsnr_min, policy.schedule.logsnr_max, STEPS)
    x = policy.sample_prior(Streams(range(SEEDS), "prior"))
    ratios = path_log_ratios(*kernels, x, grid, Streams(range(SEEDS), "path"))[1].cumsum(0)
    figure, axis = plt.subplots(figsize=(5, 2.8), layout="constrained")
    axis.plot(grid[1:], ratios, color="0.6", linewidth=0.8)
    axis.plot(grid[1:], ratios.mean(1), color="C0", linewidth=2, label=f"mean of {SEEDS} seeds")
    axis.set(xlabel="logSNR λ of the sample", ylabel="log p(path)/p_ref(path) [nats]")
    axis.legend(loc="upper left")
    return figure


def main() -> None:
    use_style()
    quality, likelihood = (load_model(f"fashion-mnist/{w}") for w in ("quality", "likelihood"))
    pictures = {
        "pipeline_densities": pipeline_densities(quality),
        "more_or_less_detail": more_or_less_detail(quality),
        "image_densities": image_densities(likelihood),
        "likelihood_ratios": likelihood_ratios(quality, likelihood),
    }
    for name, figure in pictures.items():
        save(figure, [FOLDER / f"{name}.png"])


if __name__ == "__main__":
    main()
