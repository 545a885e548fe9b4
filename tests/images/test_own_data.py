"""Data of one's own: every form gives the same images, nothing in a file is run, and none leak."""

import gzip
import io
import os
import pickle
import random
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cartoonists.images.arrays import load_numpy, read_batch
from cartoonists.images.data import CIFAR_RECORD, DataError
from cartoonists.images.own_data import held_out_set, parts, split_for_training


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)


def refused(call, *parts: str) -> None:
    """The call ends in DataError with a single line that holds the parts."""
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    for part in parts:
        assert part in message


def idx(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + bytes(array)
    )


# --- NumPy and IDX --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [("arr_0", ""), ("images", "labels"), ("test_images", "test_labels"), ("x_test", "y_test")],
    ids=lambda names: names[0],
)
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_an_npz_file_is_read_under_the_usual_names(tmp_path, images, names, last):
    labels = np.arange(12)[:, None] % 3
    content = {names[0]: images.transpose(0, 2, 3, 1) if last else images}
    content |= {names[1]: labels} if names[1] else {}
    content |= {"train_images": images[:1]} if "test_images" in names else {}
    content |= {"val_images": images[:2], "note": np.array("of no matter")}
    np.savez_compressed(tmp_path / "a.npz", **content)
    found = held_out_set(f"path:{tmp_path / 'a.npz'}", (3, 8, 8), 5)
    np.testing.assert_array_equal(found.images, images[:5])
    assert found.labels.tolist() == ([0, 1, 2, 0, 1] if names[1] else [-1] * 5)


def test_an_npy_file_is_read(tmp_path, images):
    np.save(tmp_path / "a.npy", np.asfortranarray(images[:, 0]))
    found = held_out_set(f"path:{tmp_path / 'a.npy'}", (1, 8, 8), 99)
    np.testing.assert_array_equal(found.images, images[:, :1])


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 8, 8), np.float32), "float32 found, allowed: uint8"),
        (np.zeros((2, 8, 8), np.uint16), "uint16 found, allowed: uint8"),
        (np.zeros((2, 3, 8, 3), np.uint8), "allowed: 1 or 3 channels in the second or last place"),
        (np.zeros((2, 8, 8, 4), np.uint8), "allowed: 1 or 3 channels in the second or last place"),
        (np.zeros((8, 8), np.uint8), "shape (8, 8) found, allowed: [n, h, w]"),
        (np.zeros((0, 8, 8), np.uint8), "shape (0, 1, 8, 8) found"),
        (np.array([object()]), "object of shape (1,) found, allowed: numbers"),
        (np.zeros((2, 16, 16), np.uint8), "images of shape (1, 16, 16), allowed: images of the"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, said):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    refused(lambda: held_out_set(f"path:{tmp_path / 'a.npy'}", (1, 8, 8), 1), "a.npy", said)


def test_a_false_npz_file_is_refused(tmp_path, images):
    np.savez(tmp_path / "names.npz", pictures=images)
    refused(lambda: load_numpy(tmp_path / "names.npz"), "arrays pictures found, allowed: images,")
    np.savez(tmp_path / "labels.npz", images=images, labels=np.zeros(3))
    refused(lambda: load_numpy(tmp_path / "labels.npz"), "labels: float64 of shape (3,) found")
    np.savez(tmp_path / "several.npz", images=images, labels=np.zeros((12, 14)))
    assert load_numpy(tmp_path / "several.npz")["all"].labels.tolist() == [-1] * 12
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**20, 2**20)}
    )
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
    refused(lambda: load_numpy(tmp_path / "huge.npz"), "allowed: numbers that the file holds")
    whole = (tmp_path / "several.npz").read_bytes()
    chance = random.Random(0)
    for at in chance.choices(range(len(whole)), k=60):
        cut, flipped = whole[:at], whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :]
        for content in (cut, flipped):
            (tmp_path / "damaged.npz").write_bytes(content)
            try:
                found = load_numpy(tmp_path / "damaged.npz")["all"]
            except DataError as error:
                assert "\n" not in str(error)
            else:
                np.testing.assert_array_equal(found.images, images)


def test_idx_files_of_any_size_are_read(tmp_path, images):
    grey = np.ascontiguousarray(images[:, 0])
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(grey[:9]))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(grey[9:])))
    labels = gzip.compress(idx(np.arange(3, dtype=np.uint8)))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(labels)
    found = held_out_set(f"path:{tmp_path}", (1, 8, 8), 99)
    np.testing.assert_array_equal(found.images[:, 0], grey[9:])
    assert found.labels.tolist() == [0, 1, 2]
    file = tmp_path / "train-images-idx3-ubyte"
    np.testing.assert_array_equal(parts(file)["all"].images[:, 0], grey[:9])
    (tmp_path / "a.txt").write_text("no images")
    refused(lambda: parts(tmp_path / "a.txt"), "allowed as a file: .npy, .npz or IDX")
    refused(lambda: parts(tmp_path / "none"), "allowed: an existing folder of images, or a file")


# --- CIFAR ----------------------------------------------------------------------------------------


def batch(rng, n: int = 4) -> tuple[np.ndarray, list[int]]:
    data = rng.integers(0, 256, (n, CIFAR_RECORD - 1), dtype=np.uint8)
    return data, rng.integers(0, 10, n).tolist()


class PythonTwo(pickle._Pickler):  # type: ignore[name-defined]
    """Writes bytes as the strings of Python 2, in which the published files are written."""

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_bytes(self, value: bytes) -> None:
        if len(value) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(value)]) + value)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes


def pickled(content: dict, how: str) -> bytes:
    if how != "python 2":
        return pickle.dumps(content, protocol=int(how[-1]))
    stream = io.BytesIO()
    PythonTwo(stream, protocol=2).dump({key.encode(): value for key, value in content.items()})
    # the names that numpy had then
    return stream.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


@pytest.mark.parametrize("how", ["python 2", "protocol 2", "protocol 3", "protocol 4"])
def test_cifar_for_python_is_read_as_its_binary_version(tmp_path, rng, how):
    python, binary = tmp_path / "python", tmp_path / "binary"
    for folder in (python, binary):
        folder.mkdir()
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        data, labels = batch(rng)
        content = {"batch_label": "one", "labels": labels, "data": data, "filenames": ["a.png"] * 4}
        (python / name).write_bytes(pickled(content, how))
        records = np.column_stack([np.array(labels, np.uint8), data])
        (binary / f"{name}.bin").write_bytes(records.tobytes())
    found, expected = parts(python), parts(binary)
    assert found.keys() == {"train", "test"}
    for part, images in expected.items():
        np.testing.assert_array_equal(found[part].images, images.images)
        np.testing.assert_array_equal(found[part].labels, images.labels)


def test_cifar_100_for_python_has_its_fine_labels(tmp_path, rng):
    for name in ("train", "test", "meta"):
        data, labels = batch(rng)
        content = {"fine_labels": [90 + i for i in labels], "coarse_labels": labels, "data": data}
        (tmp_path / name).write_bytes(pickle.dumps(content, 2))
    assert min(parts(tmp_path)["test"].labels) >= 90


class Calls:
    """Unpickling it would call something."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def hostile(tmp_path: Path, data: np.ndarray) -> dict[str, bytes]:
    trace = str(tmp_path / "it-ran")
    plain = pickle.dumps({"data": data, "labels": [0] * len(data)}, 2)
    return {
        "open": pickle.dumps({"data": Calls(open, trace, "w")}, 2),
        "system": pickle.dumps({"data": Calls(os.system, f"touch {trace}")}, 2),
        "eval": pickle.dumps({"data": Calls(eval, f"open({trace!r}, 'w')")}, 4),
        "getattr": pickle.dumps({"data": Calls(getattr, "", "join")}, 2),
        "numpy's own loader": pickle.dumps({"data": Calls(np.load, trace)}, 2),
        "codec": plain.replace(b"latin1", b"rot_13"),
        "other names": plain.replace(b"_reconstruct", b"_reconstrukt"),
        "objects": pickle.dumps({"data": np.array([object()]), "labels": [0]}, 2),
        "floats": pickle.dumps({"data": data.astype(float), "labels": [0]}, 2),
        "shape": pickle.dumps({"data": data.reshape(-1, 3), "labels": [0]}, 2),
        "labels": pickle.dumps({"data": data, "labels": [0]}, 2),
        "no labels": pickle.dumps({"data": data}, 2),
        "a list": pickle.dumps([data], 2),
        "instance": b"(i__main__\nBomb\n.",
        "persistent": b"Psomething\n.",
        "a far place": b"\x80\x02}r\xff\xff\xff\x7f.",
        "many tuples": b"\x80\x02)" + b"\x85" * 10**5 + b".",
        "huge bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b".",
        "huge array of bytes": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        "protocol 5": pickle.dumps({"data": data, "labels": [0] * len(data)}, 5),
        "empty": b"",
        "cut": plain[:-50],
    }


@pytest.mark.parametrize("name", hostile(Path("x"), np.zeros((1, 3), np.uint8)))
def test_nothing_in_a_pickle_is_run(tmp_path, rng, name):
    file = tmp_path / "data_batch_1"
    file.write_bytes(hostile(tmp_path, batch(rng)[0])[name])
    refused(lambda: read_batch(file), str(file))
    assert not (tmp_path / "it-ran").exists()


def test_the_bomb_would_have_gone_off(tmp_path, rng):
    for name in ("open", "system"):
        pickle.loads(hostile(tmp_path, batch(rng)[0])[name])
        (tmp_path / "it-ran").unlink()


def test_a_damaged_pickle_gives_a_line_or_an_array_of_its_shape(tmp_path, rng):
    data, labels = batch(rng, 1)
    whole = bytearray(pickled({"labels": labels, "data": data}, "python 2"))
    places = [i for i in range(len(whole)) if i < 250 or i > len(whole) - 80]
    refusals = 0
    for at in places:
        for bit in (1, 8, 64):
            damaged = bytes(whole[:at]) + bytes([whole[at] ^ bit]) + bytes(whole[at + 1 :])
            (tmp_path / "b").write_bytes(damaged)
            try:
                images, found = read_batch(tmp_path / "b")
                assert images.shape == (1, 3, 32, 32) and images.dtype == np.uint8
                assert found.shape == (1,)
            except DataError as error:
                refusals += 1
                assert "\n" not in str(error)
    assert refusals > len(places)


# --- for a training -------------------------------------------------------------------------------


def save_pictures(folder: Path, images: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(images):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{i:02}.png")


def test_every_tenth_is_held_out_where_nothing_is(tmp_path, rng):
    images = rng.integers(0, 256, (25, 3, 8, 8), dtype=np.uint8)
    save_pictures(tmp_path / "in", images)
    arrays, table = split_for_training(tmp_path / "in", (3, 8, 8))
    np.testing.assert_array_equal(arrays["test_images"], images[[9, 19]])
    assert arrays["test_files"].tolist() == ["09.png", "19.png"]
    assert len(arrays["train_images"]) == 23
    np.savez(tmp_path / "made.npz", **arrays)
    found = held_out_set(f"path:{tmp_path / 'made.npz'}", (3, 8, 8), 9)
    np.testing.assert_array_equal(found.images, images[[9, 19]])
    assert found.files == ("09.png", "19.png")
    assert table["split"].value_counts().to_dict() == {"train": 23, "test": 2}
    save_pictures(tmp_path / "few", images[:9])
    refused(
        lambda: split_for_training(tmp_path / "few", (3, 8, 8)), "9 images, allowed: 10 or more"
    )


def test_what_is_trained_on_is_not_held_out(tmp_path, images):
    save_pictures(tmp_path / "train", images[:8])
    save_pictures(tmp_path / "test", images[7:])
    arrays, table = split_for_training(tmp_path, (3, 8, 8))
    np.testing.assert_array_equal(arrays["test_images"], images[8:])
    row = table[table["split"] == "left out: in train"]
    assert row["file"].tolist() == ["test/00.png"]
    save_pictures(tmp_path / "again" / "train", images[:3])
    save_pictures(tmp_path / "again" / "test", images[:3])
    refused(lambda: split_for_training(tmp_path / "again", (3, 8, 8)), "every held-out image")


def test_what_was_done_stands_beside_the_data(tmp_path, rng):
    save_pictures(tmp_path, rng.integers(0, 256, (20, 3, 16, 8), dtype=np.uint8))
    arrays, table = split_for_training(tmp_path, (1, 8, 8))
    assert arrays["train_images"].shape == (18, 1, 8, 8)
    assert set(table["treatment"]) == {"8 × 16 cropped and resized; colour to grey"}
    assert set(arrays["test_treatments"]) == set(table["treatment"])
    assert list(table.columns) == ["file", "split", "label", "treatment"]


def test_reading_needs_no_pickle_module_of_the_file(tmp_path, rng):
    """The stand-ins are this library's: not even numpy's own constructor is called."""
    data, labels = batch(rng)
    (tmp_path / "b").write_bytes(pickle.dumps({"data": data, "labels": labels}, 2))
    before = set(sys.modules)
    images, found = read_batch(tmp_path / "b")
    assert set(sys.modules) == before
    np.testing.assert_array_equal(images.reshape(4, -1), data)
    assert found.tolist() == labels
