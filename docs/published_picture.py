"""Draws docs/images/published_*.png: rows of samples, one seed a row, and the gains of all seeds.

    python docs/published_picture.py faces [results/faces/64]
    python docs/published_picture.py digits [results/mnist/hot-cold]
    python docs/published_picture.py guidance [results/mnist/hot-cold results/mnist/interpolant …]

From runs where their folders are named, what is drawn then being kept as published_NAME.npz beside
the picture; else from what is kept.  *faces* has its gains drawn too, as published_gains.png, and
its first rows alone, for the first page, as published_first.png.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from cartoonists.files.artifacts import read_arrays
from cartoonists.report.plots import save, use_style, with_bars
from cartoonists.statistics.claims import Bootstrap
from cartoonists.statistics.estimates import mean, ratio_of_means
from cartoonists.statistics.trust import TOLERANCE

FOLDER = Path(__file__).parent / "images"
ROWS = {"faces": 6, "digits": 4, "guidance": 2}  # shown, of a run
FIRST_PAGE = 3  # rows of faces on the first page
VALUES = ("nats_per_dim", "error", "png_bytes")


def short(switch: float) -> str:
    return f"{round(switch, 1) + 0:g}"


def values(table: pd.DataFrame, seeds, kinds) -> dict[str, np.ndarray]:
    """What stands under the pictures ``[seeds, kinds]``, from rows by seed and kind."""
    rows = [table.loc[[(seed, kind) for kind in kinds]] for seed in seeds]
    per_dim = {"nats_per_dim": "log_density_nats", "error": "error_nats"}
    found = {k: np.stack([row[v] / row["dimensions"] for row in rows]) for k, v in per_dim.items()}
    return found | {"png_bytes": np.stack([row["png_bytes"] for row in rows])}


def high_density(results: Path, shown: int) -> dict[str, np.ndarray]:
    """Values of all seeds, pictures ``[shown, kinds, c, h, w]`` of the first; ordinary ones first.

    Kinds are switch points, late to early; NaN is the ordinary sample.
    """
    found, _ = read_arrays(results / "high_density_images.npz")
    table = pd.read_csv(results / "high_density.csv").set_index(["seed", "switch_logsnr"])
    late_first = np.argsort(-found["switch_logsnr"])
    kinds = np.array([np.nan, *found["switch_logsnr"][late_first]])
    seeds = table.index.unique("seed")
    return values(table, seeds, kinds) | {
        "pixels": found["images"][[0, *(late_first + 1)], :shown].swapaxes(0, 1),
        "seeds": seeds,
        "switch_logsnr": kinds,
        "titles": np.array(["ordinary", *(f"HD from λ = {short(s)}" for s in kinds[1:])]),
    }


def guided(results: Path, shown: int) -> dict[str, np.ndarray]:
    """The same of density guidance, from little to much density."""
    found, _ = read_arrays(results / "control_images.npz")
    keys = ["seed", "strength"]
    table = pd.read_csv(results / "control.csv")
    table = table[table["control"] == "guidance"].set_index(keys)
    sizes = pd.read_csv(results / "control_measures.csv").set_index(keys)["png_bytes"]
    seeds = table.index.unique("seed")[:shown]
    return values(table.join(sizes), seeds, found["strengths"]) | {
        "pixels": found["images"][:, :shown].swapaxes(0, 1),
        "titles": np.array([f"strength {z:+g}" if z else "strength 0" for z in found["strengths"]]),
        "models": np.array([f"{results.parent.name}/{results.name}"] * len(seeds)),
    }


def caption(arrays, i: int, j: int) -> str:
    """Log-density with its error, and the size of the file."""
    value, error, size = (arrays[name][i, j] for name in VALUES)
    return f"{value:.3f} ({error:.3f})\n{size:,} bytes"


def rows(arrays) -> plt.Figure:
    """Rows are seeds, columns kinds of sample; log-density (error) and PNG bytes underneath."""
    pixels = arrays["pixels"]
    height, width = pixels.shape[:2]
    figure, axes = plt.subplots(
        height, width, figsize=(1.55 * width, 1.9 * height), layout="constrained", squeeze=False
    )
    for i in range(height):
        for j in range(width):
            axis = axes[i, j]
            image = np.broadcast_to(pixels[i, j], (3, *pixels.shape[3:])).transpose(1, 2, 0)
            axis.imshow(image, interpolation="nearest")
            axis.set_xlabel(caption(arrays, i, j), fontsize=8, labelpad=2)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            axis.grid(False)
            if i == 0:
                axis.set_title(arrays["titles"][j], fontsize=9)
        if "models" in arrays:
            axes[i, 0].set_ylabel(arrays["models"][i], fontsize=8)
    return figure


def gains(arrays) -> plt.Figure:
    """Against the ordinary sample of its seed: log-density, and the size of the file.

    A dot a seed; means and their 95% intervals beside them, by Student's t and, of the ratio of
    mean sizes, by bootstrap.  Values beyond `TOLERANCE` are left out.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.9), layout="constrained")
    density, size = arrays["nats_per_dim"], arrays["png_bytes"]
    trusted = np.isfinite(density) & (arrays["error"] <= TOLERANCE)
    gain = np.where(trusted[:, 1:] & trusted[:, :1], density[:, 1:] - density[:, :1], np.nan)
    places = np.arange(gain.shape[1])
    aside = np.random.default_rng(0).uniform(-0.12, 0.12, len(gain))[:, None]
    dots = {"linestyle": "", "marker": ".", "markersize": 3, "color": "0.6", "zorder": 1}
    means = {"fmt": "o", "color": "C0", "zorder": 2}
    for axis, drawn in ((left, gain), (right, size[:, 1:] / size[:, :1])):
        axis.plot(places + aside, drawn, **dots)
        axis.set_xticks(places, [short(s) for s in arrays["switch_logsnr"][1:]])
        axis.set_xlabel("switch point λ (logSNR), late to early")
    bootstrap = Bootstrap()
    found = [mean(part[np.isfinite(part)]).interval(bootstrap) for part in gain.T]
    with_bars(left, places + 0.25, found, **means)
    found = [ratio_of_means(part, size[:, 0]).interval(bootstrap) for part in size.T[1:]]
    with_bars(right, places + 0.25, found, **means)
    left.axhline(0, color="0.3", linewidth=0.8)
    right.axhline(1, color="0.3", linewidth=0.8)
    left.set_ylabel("log-density, HD - ordinary\nat equal noise [nats/dim]")
    right.set_ylabel("PNG bytes, HD / ordinary")
    return figure


def gathered(name: str, folders: list[Path]) -> dict[str, np.ndarray]:
    """What a picture shows, of one run or of several under each other."""
    gather = guided if name == "guidance" else high_density
    parts = [gather(folder, ROWS[name]) for folder in folders]
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return joined | {"titles": parts[0]["titles"]}


def main() -> None:
    use_style()
    name, *folders = sys.argv[1:]
    kept = FOLDER / f"published_{name}.npz"
    if folders:
        np.savez_compressed(kept, **gathered(name, [Path(folder) for folder in folders]))
    with np.load(kept, allow_pickle=False) as arrays:
        save(rows(arrays), [kept.with_suffix(".png")])
        if name == "faces":
            save(gains(arrays), [FOLDER / "published_gains.png"])
            first = dict(arrays) | {"pixels": arrays["pixels"][:FIRST_PAGE]}
            save(rows(first), [FOLDER / "published_first.png"])


if __name__ == "__main__":
    main()
