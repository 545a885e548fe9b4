"""Draws docs/images/published_faces.png from the arrays beside it."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from cartoonists.report.plots import save, use_style

FOLDER = Path(__file__).parent / "images"


def title(switch: float) -> str:
    """Above a column: NaN is the ordinary sample."""
    return "ordinary" if np.isnan(switch) else f"HD from λ = {switch:g}"


def caption(arrays, i: int, j: int) -> str:
    """Log-density in nats per dimension with its error, where it was measured, and PNG size."""
    value, error = arrays["nats_per_dim"][i, j], arrays["error"][i, j]
    size = f"{arrays['png_bytes'][i, j] / 1000:.1f} kB"
    return size if np.isnan(value) else f"{value:.2f} ± {error:.2f}, {size}"


def draw(arrays) -> plt.Figure:
    """Rows are seeds, columns kinds of sample; log-density, its error and PNG size underneath."""
    pixels = arrays["pixels"]  # [rows, columns, 3, height, width]
    rows, columns = pixels.shape[:2]
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.55 * columns, 1.85 * rows), layout="constrained", squeeze=False
    )
    for i in range(rows):
        for j in range(columns):
            axis = axes[i, j]
            axis.imshow(pixels[i, j].transpose(1, 2, 0), interpolation="nearest")
            axis.set_xlabel(caption(arrays, i, j), fontsize=7, labelpad=2)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            axis.grid(False)
            if i == 0:
                axis.set_title(title(arrays["switch_logsnr"][j]), fontsize=8)
    return figure


def main() -> None:
    use_style()
    with np.load(FOLDER / "published_faces.npz", allow_pickle=False) as arrays:
        save(draw(arrays), [FOLDER / "published_faces.png"])


if __name__ == "__main__":
    main()
