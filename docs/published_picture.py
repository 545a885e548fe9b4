"""Draws docs/images/published_NAME.png, one seed a row.

    python docs/published_picture.py faces [results/faces/64]
    python docs/published_picture.py digits [results/mnist/hot-cold]

From a run where its folder is named, which is then kept as published_NAME.npz beside the picture;
else from what is kept.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from cartoonists.files.artifacts import read_arrays
from cartoonists.report.plots import save, use_style

FOLDER = Path(__file__).parent / "images"
ROWS = 4


def gathered(results: Path) -> dict[str, np.ndarray]:
    """Pictures ``[seeds, kinds, 3, h, w]`` and what stands under them; ordinary ones first."""
    found, _ = read_arrays(results / "high_density_images.npz")
    table = pd.read_csv(results / "high_density.csv").set_index(["seed", "switch_logsnr"])
    late_first = np.argsort(-found["switch_logsnr"])
    kinds = np.array([np.nan, *found["switch_logsnr"][late_first]])
    seeds = found["seeds"][:ROWS]
    rows = [table.loc[list(zip([s] * len(kinds), kinds, strict=True))] for s in seeds]
    images = found["images"][[0, *(late_first + 1)], :ROWS]
    return {
        "pixels": images.swapaxes(0, 1),
        "nats_per_dim": np.stack([row["log_density_nats"] / row["dimensions"] for row in rows]),
        "error": np.stack([row["error_nats"] / row["dimensions"] for row in rows]),
        "png_bytes": np.stack([row["png_bytes"] for row in rows]),
        "switch_logsnr": kinds,
        "seeds": seeds,
    }


def title(switch: float) -> str:
    """Above a column: NaN is the ordinary sample."""
    return "ordinary" if np.isnan(switch) else f"HD from λ = {switch:.2g}"


def caption(arrays, i: int, j: int) -> str:
    """Log-density with its error, where there is one, and the size of the file."""
    value, error = arrays["nats_per_dim"][i, j], arrays["error"][i, j]
    size = f"{arrays['png_bytes'][i, j]:,} bytes"
    return size if np.isnan(value) else f"{value:.3f} ({error:.3f})\n{size}"


def draw(arrays) -> plt.Figure:
    """Rows are seeds, columns kinds of sample; log-density (error) and PNG bytes underneath."""
    pixels = arrays["pixels"]
    rows, columns = pixels.shape[:2]
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.55 * columns, 1.95 * rows), layout="constrained", squeeze=False
    )
    for i in range(rows):
        for j in range(columns):
            axis = axes[i, j]
            image = np.broadcast_to(pixels[i, j], (3, *pixels.shape[3:])).transpose(1, 2, 0)
            axis.imshow(image, interpolation="nearest")
            axis.set_xlabel(caption(arrays, i, j), fontsize=8, labelpad=2)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            axis.grid(False)
            if i == 0:
                axis.set_title(title(arrays["switch_logsnr"][j]), fontsize=9)
    return figure


def main() -> None:
    use_style()
    name, *results = sys.argv[1:]
    kept = FOLDER / f"published_{name}.npz"
    if results:
        np.savez_compressed(kept, **gathered(Path(results[0])))
    with np.load(kept, allow_pickle=False) as arrays:
        save(draw(arrays), [kept.with_suffix(".png")])


if __name__ == "__main__":
    main()
