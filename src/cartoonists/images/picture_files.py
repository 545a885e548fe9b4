"""Pictures as a viewer shows them (eight bits, upright, opaque, sRGB), and folders of them."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cartoonists.images.data import DataError, ImageSet

FORMATS = ["PNG", "JPEG", "WEBP", "BMP"]
PICTURES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp"}
UNREAD = {".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".svg", ".dcm", ".parquet"}
LITTER = {"__macosx", "@eadir"}  # folders that archives and servers leave among pictures
METADATA = ("metadata.csv", "metadata.jsonl")  # of the Hugging Face image folder
LARGEST = 2**26  # pixels of a picture that is made smaller
DISPLAY_GAMMA = 1 / 2.2
ALIKE = 1  # grey levels within which a profile is sRGB itself


@dataclass(frozen=True)
class Pictures:
    """Picture files in the order of their names; ``names`` are relative, with slashes.

    ``labels`` [n] number the classes in the order of their names; -1 where there are none.
    """

    files: tuple[Path, ...]
    names: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.files)

    def read(self, shape: Sequence[int], n: int | None = None, fit: bool = False) -> ImageSet:
        """The first n pictures as images ``[n, *shape]``; see `read_picture`."""
        found = [read_picture(file, shape, fit) for file in self.files[:n]]
        return ImageSet(
            np.stack([pixels for pixels, _ in found]),
            self.labels[:n],
            self.names[:n],
            tuple(treatment for _, treatment in found),
        )


def read_picture(file: Path, shape: Sequence[int], fit: bool = False) -> tuple[np.ndarray, str]:
    """One picture as a viewer shows it, uint8 ``shape`` = [c, h, w], and what that took, in words.

    Sixteen bits become eight by their high byte (exact for eight bits that were multiplied by 256
    or by 257), a colour profile is converted to sRGB, transparency is laid on white, EXIF's
    orientation is applied, palettes and CMYK become RGB; colour becomes grey (ITU-R 601) or grey
    colour where the model wants it.  ``fit`` crops another size about its middle and resizes it.
    Raises DataError, one line with the file's name, for damage, another size, several frames, and
    for what would be shown otherwise than read: another gamma, a profile of another colour space.
    """
    from PIL import Image

    try:
        with Image.open(file, formats=FORMATS) as image:
            _check_header(image, shape, fit)
            done: list[str] = []
            image = _opaque(_in_srgb(_eight_bits(image, done), done), done)
            image = _fitted(_upright(image, done), shape, fit, done)
            return _channels(image, shape, done), "; ".join(done)
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    except Exception as error:  # PIL raises whatever damage leads to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{file}: cannot be read ({reason})") from None


def _check_header(image: Any, shape: Sequence[int], fit: bool) -> None:
    """Of what is known before anything is decoded."""
    _, height, width = shape
    if not fit and image.size not in ((width, height), (height, width)):
        raise DataError(_wrong_size(image.size, shape))
    if image.width * image.height > LARGEST:
        raise DataError(f"{image.width} × {image.height} pixels found, allowed: {LARGEST} in all")
    if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) > 1:
        raise DataError(f"{frames} frames found, allowed: 1")  # an MPO is a JPEG with a thumbnail
    gamma = image.info.get("gamma", DISPLAY_GAMMA)
    if not {"icc_profile", "srgb"} & image.info.keys() and abs(gamma - DISPLAY_GAMMA) > 0.02:
        raise DataError(f"gamma {gamma:.4g} found, allowed: {DISPLAY_GAMMA:.4g}, or a profile")


def _wrong_size(size: tuple[int, int], shape: Sequence[int]) -> str:
    return f"{size[0]} × {size[1]} pixels found, allowed: {shape[2]} × {shape[1]}"


def _eight_bits(image: Any, done: list[str]) -> Any:
    """As L, RGB, RGBA or CMYK of eight bits, information kept."""
    from PIL import Image

    if image.mode.startswith("I;16") or any(";16" in str(tile[3]) for tile in image.tile):
        done.append("16 bits to 8")
    image.load()
    info = dict(image.info)  # some of it may stand behind the pixels
    if image.mode.startswith("I;16"):
        if "transparency" in info:
            raise DataError("a transparent level of 16 bits found, allowed: an alpha channel")
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif "transparency" in info or image.mode in ("LA", "PA", "La", "RGBa", "RGBA"):
        image = image.convert("RGBA")
    elif image.mode in ("1", "P"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    elif image.mode not in ("L", "RGB", "CMYK"):
        raise DataError(f"pixels of mode {image.mode} found, allowed: grey, RGB, palette or CMYK")
    image.info = info
    return image


def _in_srgb(image: Any, done: list[str]) -> Any:
    from PIL import ImageCms

    info, profile = image.info, image.info.get("icc_profile")
    if profile:
        alpha = image.getchannel("A") if image.mode == "RGBA" else None
        plain = image.convert("RGB") if alpha else image
        space = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
        plain = plain.convert("RGB") if (space, plain.mode) == ("RGB", "L") else plain
        if (transform := _to_srgb(profile, space, plain.mode)) is not None:
            image = ImageCms.applyTransform(plain, transform)
            done.append("colour profile converted to sRGB")
            if alpha:
                image.putalpha(alpha)
    if image.mode == "CMYK":
        image = image.convert("RGB")
        done.append("CMYK to RGB")
    image.info = info
    return image


@lru_cache(maxsize=8)
def _to_srgb(profile: bytes, space: str, mode: str) -> Any:
    """The map from a profile's colours to sRGB's; None where it changes no level by more than one.

    A lossless picture whose profile is sRGB in other words keeps its pixels so.
    """
    from PIL import Image, ImageCms

    if {"GRAY": "L"}.get(space, space) != mode:
        raise DataError(f"a colour profile of {space} found, allowed: one of the pixels' {mode}")
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    if mode == "CMYK":
        return transform
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    if mode == "L":
        probe = levels[None]
    else:
        probe = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    given = Image.fromarray(probe)
    shown = np.asarray(ImageCms.applyTransform(given, transform)).astype(int)
    expected = np.asarray(given.convert("RGB")).astype(int)
    return None if np.abs(shown - expected).max() <= ALIKE else transform


def _opaque(image: Any, done: list[str]) -> Any:
    from PIL import Image

    if image.mode != "RGBA":
        return image
    info, plain = image.info, image.convert("RGB")
    if image.getchannel("A").getextrema()[0] < 255:
        white = Image.new("RGBA", image.size, "white")
        plain = Image.alpha_composite(white, image).convert("RGB")
        done.append("laid on white")
    plain.info = info
    return plain


def _upright(image: Any, done: list[str]) -> Any:
    from PIL import ImageOps

    orientation = image.getexif().get(0x0112, 1)
    if orientation in range(2, 9):
        done.append(f"turned (EXIF orientation {orientation})")
        return ImageOps.exif_transpose(image)
    return image


def _fitted(image: Any, shape: Sequence[int], fit: bool, done: list[str]) -> Any:
    from PIL import Image, ImageOps

    wanted = (shape[2], shape[1])
    if image.size == wanted:
        return image
    if not fit:  # height and width changed places, and no orientation changes them back
        raise DataError(_wrong_size(image.size, shape))
    done.append(f"{image.width} × {image.height} cropped and resized")
    return ImageOps.fit(image, wanted, Image.Resampling.LANCZOS)


def _channels(image: Any, shape: Sequence[int], done: list[str]) -> np.ndarray:
    mode = "L" if shape[0] == 1 else "RGB"
    if image.mode != mode:
        pixels = np.asarray(image)
        if mode == "RGB":
            done.append("grey to colour")
        elif (pixels != pixels[..., :1]).any():
            done.append("colour to grey")
        image = image.convert(mode)
    channels, height, width = shape
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1).copy()


# --- folders --------------------------------------------------------------------------------------


def find_pictures(folder: Path) -> Pictures:
    """The pictures of a folder, or those of its subfolders, whose names are then the classes.

    Links to pictures and folders elsewhere are followed.  Hidden files (``.DS_Store``, ``._x.png``)
    and files of other kinds are passed over; a ``metadata.csv`` or ``metadata.jsonl`` (Hugging
    Face) must name every picture, and its column ``label`` goes before folders' names.
    Raises DataError for no picture, a broken link, a folder that is reached twice, a kind of
    picture that is not read, or pictures both beside subfolders and in them.
    """
    found = dict(sorted(_walk(folder, "", set())))
    if not found:
        raise DataError(f"data: {folder} holds no images ({', '.join(sorted(PICTURES))})")
    classes = [name.rpartition("/")[0] for name in found]
    if "" in classes and any(classes):
        inside = next(name for name in classes if name)
        raise DataError(
            f"data: {folder} holds pictures beside the subfolder {inside!r} that holds pictures, "
            "allowed: all in the folder, or all in subfolders"
        )
    classes = _metadata_labels(folder, found) or classes
    known = {name: number for number, name in enumerate(sorted(set(classes)))}
    labels = [known[name] for name in classes] if len(known) > 1 else [-1] * len(classes)
    return Pictures(tuple(found.values()), tuple(found), np.array(labels, np.int64))


def subfolders(folder: Path) -> list[Path]:
    """Visible folders in a folder, links to folders among them."""
    return [entry for entry in _entries(folder) if entry.is_dir()]


def _entries(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
    return [e for e in entries if not e.name.startswith(".") and e.name.lower() not in LITTER]


def _walk(folder: Path, prefix: str, seen: set[Path]) -> Iterator[tuple[str, Path]]:
    real = folder.resolve()
    if real in seen:
        raise DataError(f"{folder}: leads to a folder that was read already ({real})")
    seen.add(real)
    for entry in _entries(folder):
        suffix = entry.suffix.lower()
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/", seen)
        elif suffix in UNREAD:
            raise DataError(f"{entry}: found, allowed: {', '.join(sorted(PICTURES))}")
        elif suffix in PICTURES:
            if not entry.is_file():
                kind = "a broken link" if entry.is_symlink() else "no regular file"
                raise DataError(f"{entry}: {kind}")
            yield prefix + entry.name, entry


def _metadata_labels(folder: Path, found: dict[str, Path]) -> list[str]:
    """Labels of the pictures in the order of ``found``; none where no file gives them."""
    file = next((folder / name for name in METADATA if (folder / name).is_file()), None)
    if file is None:
        return []
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream) if file.suffix == ".csv" else map(json.loads, stream)
            by_name = {str(row["file_name"]): row for row in rows}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{file}: not metadata with a column file_name ({error})") from None
    for one, other, words in ((by_name, found, "no such file"), (found, by_name, "not in it")):
        if missing := next((name for name in one if name not in other), None):
            raise DataError(f"{file}: {missing}: {words}")
    if not all("label" in row for row in by_name.values()):
        return []
    return [str(by_name[name]["label"]) for name in found]
