"""Packs: all that the bundled models are trained on, in one file of at most 60 MB.

An ``.npz`` file, compressed by LZMA, that ``numpy.load`` reads.  An entry is an array of uint8:
``<data set>/train`` and ``<data set>/test``, the images ``[n, c, h, w]`` as they are or, with the
ending ``.differences``, as `differences` (of photographs a quarter smaller); ``<data set>/lossy``,
JPEG files behind each other, and ``<data set>/lossy.lengths``, their lengths in bytes.
"""

import io
import lzma
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from cartoonists.files.artifacts import atomic
from cartoonists.files.errors import DataError
from cartoonists.images.data import LOADERS

MAX_BYTES = 60_000_000
HELD_OUT = 1024  # test images at most
TRIED = 200  # images on which both forms are tried


@dataclass(frozen=True)
class Packed:
    """One data set of a pack; a part is read when it is asked for first.

    Raises DataError where it is damaged.
    """

    path: Path
    name: str

    @cached_property
    def train(self) -> np.ndarray:
        """Images to train on, uint8 ``[n, c, h, w]``."""
        return self._read(_read_images, "train")

    @cached_property
    def test(self) -> np.ndarray:
        """Held-out images, uint8 ``[n, c, h, w]``."""
        return self._read(_read_images, "test")

    @cached_property
    def lossy(self) -> np.ndarray:
        """Copies of training images that JPEG has altered, uint8 ``[n, 3, h, w]``."""
        return self._read(_read_jpegs, "lossy")

    def _read(self, read, part: str) -> np.ndarray:
        try:
            with np.load(self.path, allow_pickle=False) as content:
                return read(content, f"{self.name}/{part}")
        except (OSError, KeyError, ValueError, EOFError, BadZipFile, lzma.LZMAError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{self.path}: {self.name}/{part} cannot be read ({reason})") from None


def differences(images: np.ndarray) -> np.ndarray:
    """Images ``[n, c, h, w]`` as differences modulo 256: of colours from green, of neighbours."""
    found = images.copy()
    if images.shape[1] == 3:
        found[:, ::2] -= images[:, 1:2]
    for axis in (3, 2):
        found = np.diff(found, axis=axis, prepend=np.uint8(0))
    return found


def images_of(found: np.ndarray) -> np.ndarray:
    """The images of which these are the `differences`."""
    for axis in (2, 3):
        found = np.cumsum(found, axis=axis, dtype=np.uint8)
    if found.shape[1] == 3:
        found[:, ::2] += found[:, 1:2]
    return found


def write_pack(
    path: Path, folders: Mapping[str, Path], lossy: Mapping[str, Path], n: int | None = None
) -> int:
    """Pack data sets, by name, from the folders of their files; returns the size in bytes.

    ``lossy``: by data set, a folder with JPEG copies of its training images in subfolders.  ``n``
    limits the images of each part, for a trial.  Raises DataError, also where the pack gets larger
    than `MAX_BYTES`.
    """
    with atomic(path) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_LZMA) as archive:
            for name, folder in folders.items():
                for split, most in (("train", n), ("test", min(n or HELD_OUT, HELD_OUT))):
                    _write_images(
                        archive, f"{name}/{split}", LOADERS[name](folder, split).images[:most]
                    )
            for name, folder in lossy.items():
                _write_jpegs(archive, f"{name}/lossy", sorted(Path(folder).rglob("*.jpg"))[:n])
        size = temporary.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size} bytes, allowed {MAX_BYTES}")
    return size


def _write_images(archive: zipfile.ZipFile, name: str, images: np.ndarray) -> None:
    plain, smooth = (
        len(lzma.compress(np.ascontiguousarray(a).tobytes()))
        for a in (images[:TRIED], differences(images[:TRIED]))
    )
    if smooth < plain:
        _write_array(archive, f"{name}.differences", differences(images))
    else:
        _write_array(archive, name, images)


def _write_jpegs(archive: zipfile.ZipFile, name: str, files: list[Path]) -> None:
    if not files:
        raise DataError(f"{name}: no .jpg files found")
    contents = [file.read_bytes() for file in files]
    _write_array(archive, name, np.frombuffer(b"".join(contents), np.uint8))
    _write_array(archive, f"{name}.lengths", np.array([len(c) for c in contents], np.int64))


def _write_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
        np.lib.format.write_array(stream, array, allow_pickle=False)


def packed_names(path: Path) -> list[str]:
    """Names of the data sets in a pack.  Raises DataError where it is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sorted({name.split("/")[0] for name in archive.namelist()})
    except (OSError, BadZipFile) as error:
        raise DataError(f"{path}: no pack of images ({error})") from None


def read_pack(path: Path, name: str) -> Packed:
    """One data set of a pack.  Raises DataError where it is not in it."""
    if name not in packed_names(path):
        raise DataError(f"{path}: {name} missing in it, found: {', '.join(packed_names(path))}")
    return Packed(Path(path), name)


def _read_images(content, name: str) -> np.ndarray:
    if f"{name}.differences" in content:
        return images_of(content[f"{name}.differences"])
    return content[name]


def _read_jpegs(content, name: str) -> np.ndarray:
    from PIL import Image

    blob, ends = content[name].tobytes(), np.cumsum(content[f"{name}.lengths"])
    images = []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        with Image.open(io.BytesIO(blob[start:end]), formats=["JPEG"]) as image:
            images.append(np.asarray(image.convert("RGB")).transpose(2, 0, 1))
    return np.stack(images)
