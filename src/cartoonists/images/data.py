"""Image data: where it is, loaders that refuse damaged files, and the map to model space."""

import gzip
import io
import math
import os
import shutil
import struct
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from cartoonists.files.resources import file_sha256, registry, resources_dir, verified

CIFAR_RECORD = 1 + 3 * 32 * 32  # one label byte and three colour planes
CIFAR_FOLDER = "cifar-10-batches-bin"
IDX_UINT8 = 0x08
IDX_MAX_BYTES = 2**30  # no IDX file here is larger; Fashion-MNIST's largest holds 47 MB
GZIP_MAX_RATIO = 1032  # what deflate can reach at most
CHUNK = 2**20
SPLITS = ("train", "test")
FULL_COUNT = {
    ("fashion-mnist", "train"): 60_000,
    ("fashion-mnist", "test"): 10_000,
    ("cifar10", "train"): 50_000,
    ("cifar10", "test"): 10_000,
}


class DataError(ValueError):
    """A data file is missing, damaged or not what its format promises."""


@dataclass(frozen=True)
class ImageSet:
    """Images ``[n, channels, height, width]`` (uint8, 0 to 255) and labels ``[n]`` (int64).

    Of picture files, ``files`` are their names and ``treatments`` says in words what was done to
    each, nothing where its pixels are the file's; empty for other data.
    """

    images: np.ndarray
    labels: np.ndarray
    files: tuple[str, ...] = ()
    treatments: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class PixelScaling:
    """Affine map between grey levels and model space, one mean and standard deviation a channel.

    ``x = ((pixel + u)/256 - mean)/std`` with ``u`` in [0, 1) the uniform dequantisation noise.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @staticmethod
    def of(images: np.ndarray) -> "PixelScaling":
        """Statistics of uint8 images ``[n, c, h, w]``, dequantisation included."""
        values = (images.astype(np.float64) + 0.5) / 256.0
        variance = values.var(axis=(0, 2, 3)) + 1.0 / (12 * 256.0**2)
        return PixelScaling(
            tuple(values.mean(axis=(0, 2, 3)).tolist()), tuple(np.sqrt(variance).tolist())
        )

    def _columns(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, len(self.mean), 1, 1)
        mean = torch.tensor(self.mean, dtype=torch.float64, device=x.device).view(shape)
        std = torch.tensor(self.std, dtype=torch.float64, device=x.device).view(shape)
        return mean, std

    def from_pixels(self, pixels: Tensor, noise: Tensor | float = 0.5) -> Tensor:
        """Grey levels ``[n, c, h, w]`` to model space (float64); noise in [0, 1) dequantises."""
        mean, std = self._columns(pixels)
        return ((pixels.double() + noise) / 256.0 - mean) / std

    def to_pixels(self, x: Tensor) -> Tensor:
        """Model space to the uint8 grey level whose bin holds x, clipped to 0 … 255."""
        mean, std = self._columns(x)
        return torch.floor((x.double() * std + mean) * 256.0).clamp(0, 255).to(torch.uint8)

    def log_pixels_per_unit(self, shape: tuple[int, ...]) -> float:
        """``log |d pixel/dx|`` in nats, summed over the dimensions of one image."""
        per_channel = sum(float(np.log(256.0 * s)) for s in self.std)
        return per_channel * shape[1] * shape[2]


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes (LeCun's format), gzip-compressed or not.

    No more is read than the header promises, and no more is promised than the file can hold, so a
    false header or an endless stream costs neither time nor memory.  Raises DataError where the
    file is missing, is not IDX, or its size disagrees with its header.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            size = os.fstat(raw.fileno()).st_size
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not packed:
                return _read_idx_stream(raw, path, size)
            with gzip.GzipFile(fileobj=raw) as stream:
                return _read_idx_stream(stream, path, size * GZIP_MAX_RATIO)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _read_idx_stream(stream: io.BufferedIOBase, path: Path, most: int) -> np.ndarray:
    start = _take(stream, 4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] != IDX_UINT8:
        raise DataError(f"{path}: not an IDX file of unsigned bytes")
    rank = start[3]
    dimensions = _take(stream, 4 * rank) if 1 <= rank <= 4 else bytearray()
    if not dimensions or len(dimensions) < 4 * rank:
        raise DataError(f"{path}: IDX header is damaged (rank {rank}; allowed 1 to 4)")
    shape = struct.unpack(f">{rank}I", dimensions)
    expected = math.prod(shape)
    if expected > min(most, IDX_MAX_BYTES):
        raise DataError(
            f"{path}: its header {shape} promises {expected} bytes, "
            f"at most {min(most, IDX_MAX_BYTES)} can be there"
        )
    content = _take(stream, expected + 1)  # one more, to see that nothing follows
    if len(content) != expected:
        found = "more" if len(content) > expected else len(content)
        raise DataError(f"{path}: its header {shape} promises {expected} bytes, {found} found")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _take(stream: io.BufferedIOBase, count: int) -> bytearray:
    """Up to ``count`` bytes, in pieces, so that a false count allocates nothing."""
    content = bytearray()
    while len(content) < count and (part := stream.read(min(count - len(content), CHUNK))):
        content += part
    return content


def load_fashion_mnist(folder: Path, split: str, allow_subset: bool = True) -> ImageSet:
    """Fashion-MNIST (Xiao et al., 2017) from a folder of its IDX files; split train or test.

    ``allow_subset=False`` wants all 60,000 or 10,000 images.  Raises DataError.
    """
    prefix = {"train": "train", "test": "t10k"}[_checked_split(split)]
    images = read_idx(_one_of(folder, f"{prefix}-images-idx3-ubyte"))
    labels = read_idx(_one_of(folder, f"{prefix}-labels-idx1-ubyte"))
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise DataError(f"{folder}: images of shape {images.shape[1:]}, expected (28, 28)")
    if labels.shape != images.shape[:1]:
        raise DataError(f"{folder}: {len(images)} images but labels of shape {labels.shape}")
    _check_count(len(images), "fashion-mnist", split, folder, allow_subset)
    return ImageSet(images[:, None], _checked_labels(labels, folder))


def _checked_split(split: str) -> str:
    if split not in SPLITS:
        raise DataError(f"split: {split!r} found, allowed {' and '.join(SPLITS)}")
    return split


def _check_count(found: int, name: str, split: str, folder: Path, allow_subset: bool) -> None:
    full = FULL_COUNT[name, split]
    if not 1 <= found <= full or (found < full and not allow_subset):
        allowed = f"1 to {full}" if allow_subset else f"{full} (no subset)"
        raise DataError(f"{folder}: {found} {split} images found, allowed {allowed}")


def _one_of(folder: Path, name: str) -> Path:
    for candidate in (Path(folder) / f"{name}.gz", Path(folder) / name):
        if candidate.is_file():
            return _inside(candidate, Path(folder))
    raise DataError(f"{folder}: {name}.gz (or {name}) is missing")


def _inside(file: Path, folder: Path) -> Path:
    if not file.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{file}: a link that leaves its folder, allowed are files inside it")
    return file


def load_cifar10(folder: Path, split: str, allow_subset: bool = True) -> ImageSet:
    """CIFAR-10 (Krizhevsky, 2009), binary version: records of a label byte and 3,072 grey levels.

    A file may hold any whole number of records up to 10,000; ``allow_subset=False`` wants all
    50,000 or 10,000 images.  Raises DataError.
    """
    numbers = range(1, 6) if _checked_split(split) == "train" else ()
    names = [f"data_batch_{i}.bin" for i in numbers] or ["test_batch.bin"]
    records = np.concatenate([_cifar_records(Path(folder), name) for name in names])
    _check_count(len(records), "cifar10", split, folder, allow_subset)
    images = records[:, 1:].reshape(-1, 3, 32, 32)
    return ImageSet(images, _checked_labels(records[:, 0], folder))


def _cifar_records(folder: Path, name: str) -> np.ndarray:
    path, most = folder / name, 10_000 * CIFAR_RECORD
    if not path.is_file():
        raise DataError(f"{folder}: {name} is missing")
    _inside(path, folder)
    size = path.stat().st_size
    if size % CIFAR_RECORD or not 0 < size <= most:
        raise DataError(
            f"{path}: {size} bytes found, allowed 1 to 10,000 records of {CIFAR_RECORD} bytes"
        )
    try:
        return np.fromfile(path, np.uint8).reshape(-1, CIFAR_RECORD)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _checked_labels(labels: np.ndarray, source: Path) -> np.ndarray:
    if labels.size and labels.max() > 9:
        raise DataError(f"{source}: label {labels.max()} found, allowed 0 to 9")
    return labels.astype(np.int64)


LOADERS = {"fashion-mnist": load_fashion_mnist, "cifar10": load_cifar10}


@dataclass(frozen=True)
class Source:
    """A data set's files, where a package may have put them, and its canonical address.

    ``downloads`` maps each downloaded file's name to its SHA-256; ``archive`` names the one that
    is unpacked into ``subfolder``.
    """

    files: tuple[str, ...]
    address: str
    downloads: dict[str, str]
    installed: tuple[Path, ...] = ()
    archive: str | None = None
    subfolder: str = ""


SOURCES = {
    "fashion-mnist": Source(
        files=(
            "train-images-idx3-ubyte.gz",
            "train-labels-idx1-ubyte.gz",
            "t10k-images-idx3-ubyte.gz",
            "t10k-labels-idx1-ubyte.gz",
        ),
        address="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        downloads={
            "train-images-idx3-ubyte.gz": (
                "08dc20ab1689590a0bcd66e874647b6ee8464e2d501b5a3f1f78831db19a3fdc"
            ),
            "train-labels-idx1-ubyte.gz": (
                "b0197879cbda89f3dc7b894f9fd52b858e68ea4182b6947c9d8c2b67e5f18dcc"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "78dcbbfb5a27efaf1b6c1d616caca68560be8766c5bffcb2791df9273a534229"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "42bd18137a62d5998cdeae52bf3a0676ac6b706f5cf8439b47bb5b151ae3dccf"
            ),
        },
        installed=(Path("/usr/share/datasets/fashion-mnist"),),  # Debian: dataset-fashion-mnist
    ),
    "cifar10": Source(
        files=(*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"),
        address="https://www.cs.toronto.edu/~kriz/",
        downloads={
            "cifar-10-binary.tar.gz": (
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
            )
        },
        archive="cifar-10-binary.tar.gz",
        subfolder=CIFAR_FOLDER,
    ),
}


def find_dataset(
    name: str,
    folder: str | Path | None = None,
    cache: str | Path | None = None,
    offline: bool = False,
) -> Path:
    """The folder that holds a data set's files, for the loader of the same name.

    Looked for in this order: ``folder`` (and nowhere else when it is given), the folder of an
    installed package, the ``cache`` (default: pooch's for this package), and at last the canonical
    address, from which it is downloaded into the cache and checked by SHA-256; a download that
    was cut off is tried again.  ``offline`` forbids the last step.  Raises DataError, one line that
    says which file is missing and where it may be put.
    """
    if name not in SOURCES:
        raise DataError(f"dataset: {name!r} found, allowed {', '.join(SOURCES)}")
    source = SOURCES[name]
    if folder is not None:
        return _named_folder(name, source, Path(folder))
    for installed in source.installed:
        if not _missing(source, installed):
            return installed
    import pooch  # imported here: only a run without local data needs it

    cache = Path(cache) if cache is not None else Path(pooch.os_cache("cartoonists"))
    target = cache / name
    if source.archive is not None and not _missing(source, target / source.subfolder):
        return target / source.subfolder
    for file, digest in source.downloads.items():
        _download(name, source.address + file, digest, target / file, offline)
    if source.archive is not None:
        unpack_tar(target / source.archive, target, source.subfolder, source.files)
    return target / source.subfolder


def _missing(source: Source, folder: Path) -> list[str]:
    def present(file: str) -> bool:
        return (folder / file).is_file() or (folder / file.removesuffix(".gz")).is_file()

    return [file for file in source.files if not present(file)]


def _named_folder(name: str, source: Source, folder: Path) -> Path:
    inner = folder / source.subfolder
    for candidate in (folder, inner):
        if not _missing(source, candidate):
            return candidate
    missing = _missing(source, inner if inner.is_dir() else folder)
    raise DataError(
        f"{folder}: {', '.join(missing)} of {name} missing; put them there or name another folder"
    )


def _download(name: str, url: str, digest: str, file: Path, offline: bool) -> None:
    if file.is_file() and file_sha256(file) == digest:
        return
    if offline:
        found = "altered" if file.is_file() else "missing"
        reason = f"{found}, and downloads are off"
    else:
        reason = _fetch(url, digest, file)
    if reason:
        raise DataError(
            f"{name}: {file} is {reason}; get {url} by other means and put it there, "
            "or name a folder that holds the data"
        )


def _fetch(url: str, digest: str, file: Path) -> str:
    """Download one file; an empty string, or why it could not be had."""
    import pooch

    store = pooch.create(
        file.parent,
        base_url="",
        registry={file.name: digest},
        urls={file.name: url},
        retry_if_failed=2,
    )
    try:
        store.fetch(file.name, downloader=pooch.HTTPDownloader(progressbar=True, timeout=30))
    except (
        OSError,
        ValueError,
    ) as error:  # network (OSError) or hash
        return f"missing and not to be had from there ({' '.join(str(error).split())[:200]})"
    return ""


def unpack_tar(archive: Path, target: Path, subfolder: str, files: tuple[str, ...]) -> None:
    """Unpack ``subfolder/file`` for each wanted file into ``target``, all of them or none.

    Members that leave the folder, links, devices and members larger than a batch of CIFAR-10 are
    refused with DataError, wanted or not.
    """
    wanted = {f"{subfolder}/{file}": file for file in files}
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as temporary:
        try:
            with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in tar:
                    _check_member(archive, member)
                    if member.name in wanted and (content := tar.extractfile(member)) is not None:
                        with (Path(temporary) / wanted[member.name]).open("wb") as out:
                            shutil.copyfileobj(content, out)
                while stream.read(CHUNK):  # to the end, where gzip's checksum is
                    pass
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise DataError(f"{archive}: cannot be unpacked ({error})") from None
        missing = [file for file in files if not (Path(temporary) / file).is_file()]
        if missing:
            raise DataError(f"{archive}: {', '.join(missing)} missing in it")
        (target / subfolder).mkdir(exist_ok=True)
        for file in files:
            os.replace(Path(temporary) / file, target / subfolder / file)


def _check_member(archive: Path, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise DataError(f"{archive}: member {member.name!r} leaves its folder")
    if not (member.isreg() or member.isdir()):
        raise DataError(f"{archive}: member {member.name!r} is a link or device, allowed are files")
    if member.size > 10_000 * CIFAR_RECORD:
        raise DataError(
            f"{archive}: member {member.name!r} of {member.size} bytes, "
            f"at most {10_000 * CIFAR_RECORD} allowed"
        )


def load_bundled_images(name: str) -> ImageSet:
    """The bundled test images: 1,024 of Fashion-MNIST, 20 of CIFAR-10, the first of each test set.

    Every file is checked against the registry.  Raises DataError for an unknown name, ResourceError
    for a missing or altered file.
    """
    if name == "fashion-mnist":
        folder = resources_dir() / "images" / name
        for kind in ("images-idx3", "labels-idx1"):
            verified(f"images/{name}/t10k-{kind}-ubyte.gz")
        return load_fashion_mnist(folder, "test")
    if name == "cifar10":
        paths = [r.path for r in registry().values() if r.path.startswith("images/cifar10/")]
        files = [verified(path) for path in sorted(paths)]
        labels = np.array([int(file.stem.rpartition("_")[2]) for file in files])
        return ImageSet(np.stack([_read_png(file) for file in files]), labels)
    raise DataError(f"bundled images: {name!r} found, allowed {', '.join(SOURCES)}")


def _read_png(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as image:
        if image.mode != "RGB" or image.size != (32, 32):
            raise DataError(f"{path}: {image.mode} {image.size} found, allowed RGB (32, 32)")
        return np.asarray(image).transpose(2, 0, 1).copy()
