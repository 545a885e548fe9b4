"""Contact sheets: many small images as the tiles of one PNG, which compresses and shows them."""

from pathlib import Path

import numpy as np
from PIL import Image

from cartoonists.files.artifacts import atomic
from cartoonists.files.errors import DataError

MODES = {1: "L", 3: "RGB"}  # by channels


def write_sheet(path: Path, images: np.ndarray, columns: int) -> None:
    """Write uint8 images ``[n, c, h, w]``, c 1 or 3, row by row; n fills the rows of ``columns``.

    Raises ValueError where it does not.
    """
    n, channels, height, width = images.shape
    if n == 0 or n % columns:
        raise ValueError(f"sheet: {n} images found, allowed: a multiple of {columns}")
    tiles = images.reshape(n // columns, columns, channels, height, width)
    whole = tiles.transpose(0, 3, 1, 4, 2).reshape(n // columns * height, columns * width, channels)
    with atomic(path) as temporary:
        picture = Image.fromarray(whole[..., 0] if channels == 1 else whole)
        picture.save(temporary, format="PNG", optimize=True)


def read_sheet(path: Path, channels: int, size: int) -> np.ndarray:
    """The square tiles of a contact sheet, uint8 ``[n, channels, size, size]``.

    Raises DataError where the picture is damaged or no sheet of such tiles.
    """
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            mode, whole = picture.mode, np.asarray(picture)
    except Exception as error:  # PIL raises whatever damage leads to
        raise DataError(f"{path}: cannot be read ({error})") from None
    height, width = whole.shape[:2]
    if mode != MODES[channels] or height % size or width % size:
        raise DataError(
            f"{path}: {mode} picture of {width} × {height} found, "
            f"allowed: {MODES[channels]}, tiles of {size} × {size}"
        )
    tiles = whole.reshape(height // size, size, width // size, size, channels)
    return np.ascontiguousarray(tiles.transpose(0, 2, 4, 1, 3).reshape(-1, channels, size, size))
