"""Image data: where it is, loaders that refuse damaged files, and the map to model space."""

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cartoonists.files.errors import DataError
from cartoonists.files.resources import file_sha256, registry, resources_dir, verified
from cartoonists.images.archives import unpack_tar
from cartoonists.images.idx import read_idx
from cartoonists.images.sheets import read_sheet

CIFAR_RECORD = 1 + 3 * 32 * 32  # one label byte and three colour planes
CIFAR_FOLDER = "cifar-10-batches-bin"
CHEST_XRAY_FILE = "pneumoniamnist.npz"
SKIN_TONES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}
SPLITS = ("train", "test")
FULL_COUNT = {
    ("fashion-mnist", "train"): 60_000,
    ("fashion-mnist", "test"): 10_000,
    ("cifar10", "train"): 50_000,
    ("cifar10", "test"): 10_000,
    ("chest-xray", "train"): 4_708,
    ("chest-xray", "test"): 624,
    ("emoji", "train"): 3_323,
    ("emoji", "test"): 463,
}


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


def load_chest_xray(folder: Path, split: str, allow_subset: bool = True) -> ImageSet:
    """Paediatric chest X-rays, 28×28 grey: PneumoniaMNIST of MedMNIST v2 (Yang et al., 2023).

    Labels: 0 normal, 1 pneumonia.  ``allow_subset=False`` wants all 4,708 or 624 images.  Raises
    DataError.
    """
    path = Path(folder) / CHEST_XRAY_FILE
    try:
        with np.load(_inside(path, Path(folder)), allow_pickle=False) as content:
            images = content[f"{_checked_split(split)}_images"]
            labels = content[f"{split}_labels"].reshape(-1)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28) or len(labels) != len(images):
        raise DataError(
            f"{path}: {images.dtype} images of shape {images.shape} and {len(labels)} labels, "
            "allowed uint8 (n, 28, 28) and n labels"
        )
    _check_count(len(images), "chest-xray", split, folder, allow_subset)
    return ImageSet(images[:, None], _checked_labels(labels, path))


def load_emoji(folder: Path, split: str, allow_subset: bool = True) -> ImageSet:
    """Emoji as Twitter draws them, 32×32 colour on white; all labels are 0.  Raises DataError.

    From 64×64 PNG files whose names are code points, reduced by averaging 2×2.  Drawings that
    differ by skin tone alone stay together: the SHA-256 of the code points without it decides the
    split (first byte below 32: test) and the order.
    """
    chosen = {True: "test", False: "train"}
    drawings = {file: _emoji_digest(file.stem) for file in Path(folder).glob("*.png")}
    wanted = _checked_split(split)
    files = [file for file, key in drawings.items() if chosen[key[0] < 32] == wanted]
    _check_count(len(files), "emoji", split, folder, allow_subset)
    ordered = sorted(files, key=lambda file: (drawings[file], file.name))
    images = np.stack([_emoji(_inside(file, Path(folder))) for file in ordered])
    return ImageSet(images, np.zeros(len(images), np.int64))


def _emoji_digest(codes: str) -> bytes:
    kept = [code for code in codes.split("-") if code not in SKIN_TONES and code != "fe0f"]
    return hashlib.sha256("-".join(kept).encode()).digest()


def _emoji(file: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(file, formats=["PNG"]) as image:
            if image.size != (64, 64):
                raise ValueError(f"{image.size} pixels found, allowed (64, 64)")
            drawn = image.convert("RGBA")
    except Exception as error:  # PIL raises whatever damage leads to
        raise DataError(f"{file}: cannot be read ({error})") from None
    white = Image.new("RGBA", drawn.size, "white")
    white.alpha_composite(drawn)
    return np.asarray(white.convert("RGB").reduce(2)).transpose(2, 0, 1)


def _checked_labels(labels: np.ndarray, source: Path) -> np.ndarray:
    if labels.size and labels.max() > 9:
        raise DataError(f"{source}: label {labels.max()} found, allowed 0 to 9")
    return labels.astype(np.int64)


LOADERS = {
    "fashion-mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
    "chest-xray": load_chest_xray,
    "emoji": load_emoji,
}


@dataclass(frozen=True)
class Source:
    """A data set's files, where a package may have put them, and its canonical address.

    ``downloads`` maps each downloaded file's name to its SHA-256 (without any, the data have to be
    brought); ``archive`` names the one that is unpacked into ``subfolder``.
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
    "chest-xray": Source(
        files=(CHEST_XRAY_FILE,), address="https://zenodo.org/records/10519652", downloads={}
    ),
    "emoji": Source(
        files=("1f600.png", "1f636.png"),  # of 3,786
        address="the npm package emoji-datasource-twitter 16.0.0",
        downloads={},
        subfolder="package/img/twitter/64",
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
    if not source.downloads:
        raise DataError(
            f"{name}: {', '.join(source.files)} missing; get {source.address} and name its folder"
        )
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


def load_bundled_images(name: str) -> ImageSet:
    """The bundled test images, the first of each test set.

    1,024 of Fashion-MNIST, 20 of CIFAR-10, 512 chest X-rays, 256 emoji.  Every file is checked
    against the registry.  Raises DataError for an unknown name, ResourceError for a missing or
    altered file.
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
    if name == "chest-xray":
        labels = read_idx(verified(f"images/{name}/test-labels-idx1-ubyte.gz"))
        return ImageSet(
            read_sheet(verified(f"images/{name}/test.png"), 1, 28), labels.astype(np.int64)
        )
    if name == "emoji":
        images = read_sheet(verified(f"images/{name}/test.png"), 3, 32)
        return ImageSet(images, np.zeros(len(images), np.int64))
    raise DataError(f"bundled images: {name!r} found, allowed {', '.join(SOURCES)}")


def _read_png(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as image:
        if image.mode != "RGB" or image.size != (32, 32):
            raise DataError(f"{path}: {image.mode} {image.size} found, allowed RGB (32, 32)")
        return np.asarray(image).transpose(2, 0, 1).copy()
