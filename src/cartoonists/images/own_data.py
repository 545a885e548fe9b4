"""Data of one's own: a place on disk as images for training and images held out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cartoonists.images.arrays import (
    ALL,
    NAMED,
    TEST,
    TRAIN,
    as_images,
    as_labels,
    cifar_python_version,
    idx_files,
    is_cifar_binary,
    load_cifar_binary,
    load_cifar_python,
    load_idx_folder,
    load_numpy,
)
from cartoonists.images.data import (
    LOADERS,
    DataError,
    ImageSet,
    find_dataset,
    load_bundled_images,
    read_idx,
)
from cartoonists.images.picture_files import Pictures, find_pictures, subfolders

FOLDER = "path:"  # before the name of a data set that is a place on this machine
SPLITS = {  # names of a folder's parts, as people write them
    TRAIN: ("train", "training"),
    TEST: ("test", "testing", "val", "valid", "validation"),
}
EVERY = 10  # where a place has no part held out, each tenth of its images is

Part = Pictures | ImageSet


def parts(place: str | Path) -> dict[str, Part]:
    """What is found at a place: its parts *train* and *test*, or *all* where it has no parts.

    A folder of pictures (`find_pictures`), its parts as subfolders ``train``
    and ``test`` (``val`` where there is no ``test``); an ``.npy`` or ``.npz`` file; an IDX file or
    a folder of them; a folder of CIFAR's binary version or of its version for Python
    (`cartoonists.images.arrays`).  Raises DataError, one line that names the file.
    """
    place = Path(place)
    if place.is_file():
        if place.suffix.lower() in (".npy", ".npz"):
            return dict(load_numpy(place))
        return {ALL: _idx_file(place)}
    if not place.is_dir():
        raise DataError(f"data: {place} found, allowed: an existing folder of images, or a file")
    if is_cifar_binary(place):
        return dict(load_cifar_binary(place))
    if version := cifar_python_version(place):
        return dict(load_cifar_python(place, version))
    if idx_files(place):
        return dict(load_idx_folder(place))
    return _picture_parts(place)


def _idx_file(file: Path) -> ImageSet:
    try:
        images = as_images(read_idx(file), str(file))
    except DataError as error:
        raise DataError(f"{error}; allowed as a file: .npy, .npz or IDX") from None
    return ImageSet(images, as_labels(None, len(images), str(file)))


def _picture_parts(folder: Path) -> dict[str, Part]:
    """By subfolders that are all named as parts are; any other subfolder is a class."""
    inside = {sub.name.lower(): sub for sub in subfolders(folder)}
    known = {name for names in SPLITS.values() for name in names}
    if not inside or not inside.keys() <= known:
        return {ALL: find_pictures(folder)}
    found: dict[str, Part] = {}
    for part, names in SPLITS.items():
        first = next((inside[name] for name in names if name in inside), None)
        if first is not None:
            pictures = find_pictures(first)
            names = tuple(f"{first.name}/{name}" for name in pictures.names)
            found[part] = replace(pictures, names=names)
    return found


def _read(part: Part, shape: Sequence[int], place: str, n: int | None = None, fit=False):
    if isinstance(part, Pictures):
        return part.read(shape, n, fit)
    if part.images.shape[1:] != tuple(shape):
        raise DataError(
            f"data: {place} found, images of shape {part.images.shape[1:]}, "
            f"allowed: images of the model's shape {tuple(shape)}"
        )
    return ImageSet(part.images[:n], part.labels[:n], part.files[:n], part.treatments[:n])


def held_out_set(
    name: str, shape: Sequence[int], n: int, folder: str | Path | None = None
) -> ImageSet:
    """The first n real images for a model of images of that shape ``[c, h, w]``, at most n.

    *fashion-mnist* and *cifar10*: of the test set in ``folder``, or of the bundled images where
    that is None.  *path:<place>*: of the part *test* of that place, or of all of it where it has no
    parts, pictures in the order of their names (`parts`).
    Of any other data set there are none here, and what needs them is left out.
    Raises DataError where they cannot be read or have another shape.
    """
    if name.startswith(FOLDER):
        place = name.removeprefix(FOLDER)
        found = parts(place)
        part = found.get(TEST, found.get(ALL))
        if part is None:
            raise DataError(f"data: {place} holds {', '.join(found)}, allowed: test too")
        return _read(part, shape, place, n)
    if name not in LOADERS:
        return ImageSet(np.empty((0, *shape), np.uint8), np.empty(0, np.int64))
    known = (
        load_bundled_images(name)
        if folder is None
        else LOADERS[name](find_dataset(name, folder), "test")
    )
    return _read(known, shape, name, n)


def held_out_images(
    name: str, shape: Sequence[int], n: int, folder: str | Path | None = None
) -> np.ndarray:
    """Pixels of `held_out_set`, uint8 ``[m, *shape]``, m ≤ n."""
    return held_out_set(name, shape, n, folder).images


def split_for_training(place: str | Path, shape: Sequence[int]) -> tuple[dict, pd.DataFrame]:
    """Images of that shape ``[c, h, w]`` to train on and to hold out, and what was done to each.

    The parts of the place, or, where nothing is held out in it, every tenth image in the order of
    names.  Pictures of another size are cropped about their middle and resized.  A held-out image
    that is also trained on, pixel by pixel, is left out: its log-density would say how well it is
    remembered.  Returns the arrays ``train_images, train_labels, train_files, train_treatments,
    test_…``, which `parts` reads from an ``.npz`` file, and one row an image: ``file, split, label,
    treatment``.
    Raises DataError.
    """
    found = parts(place)
    if TEST in found and TRAIN not in found:
        raise DataError(f"data: {place} holds test alone, allowed: train too")
    sets = {part: _read(found[part], shape, str(place), fit=True) for part in found}
    if TEST not in sets:
        (whole,) = sets.values()
        if len(whole) < EVERY:
            raise DataError(f"data: {place} holds {len(whole)} images, allowed: {EVERY} or more")
        last = np.arange(len(whole)) % EVERY == EVERY - 1
        sets = {TRAIN: _chosen(whole, ~last), TEST: _chosen(whole, last)}
    learned = {image.tobytes() for image in sets[TRAIN].images}
    new = np.array([image.tobytes() not in learned for image in sets[TEST].images])
    if not new.any():
        raise DataError(f"data: {place}: every held-out image is one of those to train on")
    rows = pd.concat(
        [
            _rows(sets[TRAIN], TRAIN),
            _rows(sets[TEST], TEST).assign(split=np.where(new, TEST, "left out: in train")),
        ],
        ignore_index=True,
    )
    sets[TEST] = _chosen(sets[TEST], new)
    arrays: dict[str, np.ndarray] = {}
    for part, images in sets.items():
        arrays |= {f"{part}_images": images.images, f"{part}_labels": images.labels}
        for kind in NAMED:
            if values := getattr(images, kind):
                arrays[f"{part}_{kind}"] = np.array(values)
    return arrays, rows


def _chosen(images: ImageSet, chosen: np.ndarray) -> ImageSet:
    def of(values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(np.array(values, object)[chosen]) if values else ()

    return ImageSet(
        images.images[chosen], images.labels[chosen], of(images.files), of(images.treatments)
    )


def _rows(images: ImageSet, split: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "file": images.files or "",
            "split": split,
            "label": images.labels,
            "treatment": images.treatments or "",
        }
    )
