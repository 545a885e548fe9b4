"""Images in array files: NumPy's, IDX, both versions of CIFAR; no code in them is run."""

import io
import pickle
import pickletools
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cartoonists.images.data import CIFAR_RECORD, DataError, ImageSet, load_cifar10, read_idx

Parts = dict[str, ImageSet]
ALL, TRAIN, TEST = "all", "train", "test"
NPZ_NAMES = {  # of the images and their labels; all of a row's parts, or train's alone
    ALL: (("images", "labels"), ("arr_0", "arr_1")),
    TRAIN: (("train_images", "train_labels"), ("x_train", "y_train")),
    TEST: (("test_images", "test_labels"), ("x_test", "y_test")),
}
NAMED = ("files", "treatments")  # in the place of "images" in a name: what an ImageSet has too
NPZ_ALLOWED = "images, labels; train_images, test_images, …_labels; x_train, x_test, y_…; one array"
LARGEST = 2**33  # bytes of an array
PICKLE_LARGEST = 2**28  # bytes; the largest of CIFAR-100 has 156 MB
PYTHON_NAMES = {
    "cifar-10": {TRAIN: [f"data_batch_{i}" for i in range(1, 6)], TEST: ["test_batch"]},
    "cifar-100": {TRAIN: ["train"], TEST: ["test"]},
}


def as_images(array: np.ndarray, place: str) -> np.ndarray:
    """uint8 images as ``[n, c, h, w]``: from [n, h, w], [n, h, w, c] or [n, c, h, w], c 1 or 3.

    Raises DataError for other types and shapes, and for one that could be read in both ways.
    """
    if array.dtype != np.uint8:
        raise DataError(f"{place}: {array.dtype} found, allowed: uint8, grey levels 0 to 255")
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4:
        first, last = (array.shape[axis] in (1, 3) for axis in (1, 3))
        if first == last:
            shape = f"{place}: shape {array.shape} found"
            raise DataError(f"{shape}, allowed: 1 or 3 channels in the second or last place")
        array = array if first else array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or 0 in array.shape:
        raise DataError(f"{place}: shape {array.shape} found, allowed: [n, h, w] or with channels")
    return np.ascontiguousarray(array)


def as_labels(array: np.ndarray | None, n: int, place: str) -> np.ndarray:
    """Labels ``[n]`` from [n] or [n, 1] integers; -1 where there are none, or several an image."""
    if array is None or (array.ndim == 2 and array.shape[1] > 1 and len(array) == n):
        return np.full(n, -1, np.int64)
    if array.dtype.kind not in "iu" or array.size != n:
        found = f"{array.dtype} of shape {array.shape} found"
        raise DataError(f"{place}: labels: {found}, allowed: {n} integers")
    return array.reshape(n).astype(np.int64)


# --- NumPy ----------------------------------------------------------------------------------------


def load_numpy(file: Path) -> Parts:
    """Images of an ``.npy`` file, or of an ``.npz`` file under one of the names of `NPZ_NAMES`.

    ``images`` with ``labels``; ``train_images`` and ``test_images`` (as MedMNIST); ``x_train`` and
    ``x_test`` (as Keras); or a single array without name.  Raises DataError.
    """
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                return _npz(archive, file)
        with file.open("rb") as stream:
            array = _array(stream, file.stat().st_size, str(file))
        images = as_images(array, str(file))
        return {ALL: ImageSet(images, as_labels(None, len(images), str(file)))}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{file}: cannot be read ({reason})") from None


def _npz(archive: zipfile.ZipFile, file: Path) -> Parts:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}

    def read(name: str) -> np.ndarray | None:
        if name not in members:
            return None
        with archive.open(members[name]) as stream:
            return _array(stream, members[name].file_size, f"{file}, {name}")

    parts: Parts = {}
    for part, names in NPZ_NAMES.items():
        for images_name, labels_name in names:
            if part not in parts and (array := read(images_name)) is not None:
                place = f"{file}, {images_name}"
                images = as_images(array, place)
                labels = as_labels(read(labels_name), len(images), place)
                words = [read(images_name.replace("images", kind)) for kind in NAMED]
                parts[part] = ImageSet(images, labels, *map(_words, words))
    if not parts or (ALL in parts and len(parts) > 1):
        found = ", ".join(sorted(members)) or "nothing"
        raise DataError(f"{file}: arrays {found} found, allowed: {NPZ_ALLOWED}")
    return parts


def _words(array: np.ndarray | None) -> tuple[str, ...]:
    return tuple(array.tolist()) if array is not None and array.dtype.kind == "U" else ()


def _array(stream: Any, size: int, place: str) -> np.ndarray:
    """One array whose header promises no more than ``size`` bytes; objects are refused."""
    form = np.lib.format
    version = form.read_magic(stream)
    readers = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}
    if version not in readers:
        raise DataError(f"{place}: .npy version {version} found, allowed: 1.0 and 2.0")
    shape, fortran, dtype = readers[version](stream)
    promised = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
    if dtype.hasobject or min(shape, default=0) < 0 or promised > min(size, LARGEST):
        raise DataError(
            f"{place}: {dtype} of shape {shape} found, allowed: numbers that the file holds"
        )
    content = bytearray(stream.read(promised))  # that the array may be written to
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


# --- IDX and CIFAR --------------------------------------------------------------------------------


def load_idx_folder(folder: Path) -> Parts:
    """Images ``*-images-idx3-ubyte`` (``.gz``) with their labels: *train*, and *t10k* or *test*."""
    parts: Parts = {}
    for file in idx_files(folder):
        images = as_images(read_idx(file), str(file))
        other = file.with_name(file.name.replace("images", "labels").replace("idx3", "idx1"))
        labels = as_labels(read_idx(other) if other.is_file() else None, len(images), str(other))
        name = file.name.lower()
        part = TRAIN if "train" in name else TEST if "t10k" in name or "test" in name else ALL
        if part in parts:
            raise DataError(f"{folder}: two files of {part} images found, allowed: one ({file})")
        parts[part] = ImageSet(images, labels)
    if ALL in parts and len(parts) > 1:
        raise DataError(f"{folder}: a file that is neither train nor test beside one that is")
    return parts


def idx_files(folder: Path) -> list[Path]:
    """IDX files of images in a folder."""
    return sorted(f for f in folder.iterdir() if "images" in f.name and "idx3" in f.name)


def load_cifar_binary(folder: Path) -> Parts:
    """The binary version of CIFAR-10, in whole or in part."""
    return {part: load_cifar10(folder, part) for part in (TRAIN, TEST)}


def is_cifar_binary(folder: Path) -> bool:
    """Whether a folder holds the binary version of CIFAR-10."""
    return (folder / "data_batch_1.bin").is_file()


def cifar_python_version(folder: Path) -> str | None:
    """*cifar-10* or *cifar-100* where a folder holds that one's version for Python."""
    if (folder / "data_batch_1").is_file():
        return "cifar-10"
    return "cifar-100" if all((folder / n).is_file() for n in ("train", "test", "meta")) else None


def load_cifar_python(folder: Path, version: str) -> Parts:
    """CIFAR's version for Python, read without running anything in it (`read_batch`)."""

    def part(names: Sequence[str]) -> ImageSet:
        batches = [read_batch(folder / name) for name in names]
        images, labels = (np.concatenate(kind) for kind in zip(*batches, strict=True))
        return ImageSet(images, labels)

    return {name: part(files) for name, files in PYTHON_NAMES[version].items()}


class _Inert:
    """What a pickle would build, kept as the arguments and the state that it gives."""

    def __init__(self, *arguments: Any):
        self.arguments, self.state = arguments, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Inert):
    """In the place of numpy's `_reconstruct` and of its type."""


class _Type(_Inert):
    """In the place of numpy's data type."""


def _text(text: Any, encoding: Any) -> bytes:
    """In the place of ``_codecs.encode``, by which Python 3 writes bytes for Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


STAND_INS: dict[tuple[str, str], Callable] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _text,
}
OPCODES = frozenset(
    """
    PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG1
    STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINUNICODE SHORT_BINUNICODE UNICODE
    EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS EMPTY_TUPLE TUPLE TUPLE1
    TUPLE2 TUPLE3 GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL
    REDUCE BUILD
    """.split()  # noqa: SIM905
)
FEW = {"REDUCE": 8, "BUILD": 8, "TUPLE": 32, "TUPLE1": 32, "TUPLE2": 32, "TUPLE3": 32}
FEW |= {"GLOBAL": 16, "STACK_GLOBAL": 16}


class _Restricted(pickle.Unpickler):
    """Finds no class and no function but the stand-ins of this module."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return STAND_INS[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("a persistent object")


def read_batch(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[n, 3, 32, 32]`` and labels ``[n]`` of one file of CIFAR's version for Python.

    A pickle can run anything.  This one is read as data: its instructions are checked first, and
    whatever names a class or function gets an inert stand-in, or DataError for all but the five
    names that a pickled array of bytes has.  The array itself is made here, from its bytes.
    """
    try:
        if not 0 < file.stat().st_size <= PICKLE_LARGEST:
            raise DataError(f"{file}: {file.stat().st_size} bytes found, allowed: up to 2^28")
        content = file.read_bytes()
        _check_opcodes(content)
        batch = _Restricted(io.BytesIO(content), encoding="bytes").load()
        fields = {_name(key): value for key, value in batch.items()}
        images = _bytes_of(fields["data"])
        labels = np.array(fields.get("fine_labels", fields.get("labels")), np.int64)
        if labels.shape != images.shape[:1]:
            raise ValueError(f"{len(images)} images and labels of shape {labels.shape}")
    except DataError:
        raise
    except Exception as error:  # whatever false instructions lead to
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"{file}: {reason} found, allowed: a batch of CIFAR's version for Python "
            "(or take the binary version)"
        ) from None
    return images.reshape(-1, 3, 32, 32), labels


def _check_opcodes(content: bytes) -> None:
    counts: Counter[str] = Counter()
    for opcode, argument, _ in pickletools.genops(content):
        counts[opcode.name] += 1
        if opcode.name not in OPCODES or counts[opcode.name] > FEW.get(opcode.name, len(content)):
            raise pickle.UnpicklingError(f"instruction {opcode.name}")
        if "PUT" in opcode.name and int(argument or 0) > len(content):
            raise pickle.UnpicklingError(f"place {argument}")


def _name(key: Any) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)


def _bytes_of(array: Any) -> np.ndarray:
    """The array ``[n, 3072]`` of bytes that a stand-in's state describes."""
    if not isinstance(array, _Array) or not isinstance(array.state, tuple):
        raise ValueError(f"data of kind {type(array).__name__}")
    _, shape, kind, fortran, content = array.state
    said = _name(kind.arguments[0]) if isinstance(kind, _Type) else ""
    if said not in ("u1", "|u1", "uint8") or fortran or not isinstance(content, bytes):
        raise ValueError(f"data of type {said!r}")
    n, width = shape
    if width != CIFAR_RECORD - 1 or n * width != len(content) or n < 1:
        raise ValueError(f"data of shape {shape} in {len(content)} bytes")
    return np.frombuffer(content, np.uint8).reshape(n, width)
