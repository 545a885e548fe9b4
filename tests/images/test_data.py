"""Loaders: ground truth, and refusal of every kind of damage in one clear line."""

import gzip
import io
import struct
import tarfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import refused
from written_data import idx, write_fashion

from cartoonists.images import data
from cartoonists.images.data import (
    CIFAR_RECORD,
    DataError,
    PixelScaling,
    find_dataset,
    load_bundled_images,
    load_cifar10,
    load_fashion_mnist,
    read_idx,
    unpack_tar,
)
from cartoonists.images.own_data import held_out_images

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
BATCHES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
FASHION_FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def write_cifar(folder: Path, rng, records: int = 3) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    content = rng.integers(0, 256, (len(BATCHES), records, CIFAR_RECORD), dtype=np.uint8)
    content[:, :, 0] %= 10
    for name, part in zip(BATCHES, content, strict=True):
        (folder / name).write_bytes(part.tobytes())
    return content


# --- IDX ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4), (2, 2, 2, 2), (0, 28, 28)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx_is_read_back(tmp_path, rng, shape, pack):
    array = rng.integers(0, 256, shape, dtype=np.uint8)
    (tmp_path / "a").write_bytes(pack(idx(array)))
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), array)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x08", "not an IDX file"),
        (b"\0\0\x0d\x01" + struct.pack(">I", 0), "not an IDX file"),
        (b"\0\0\x08\0", "rank 0; allowed 1 to 4"),
        (b"\0\0\x08\xff" + b"\0" * 1020, "rank 255; allowed 1 to 4"),
        (b"\0\0\x08\x03\0\0\0\x01", "header is damaged"),
        (idx(np.zeros(99, np.uint8), (100,)), "promises 100 bytes"),
        (idx(np.zeros(101, np.uint8), (100,)), "promises 100 bytes"),
    ],
)
def test_damaged_idx_is_refused(tmp_path, content, said, pack):
    (tmp_path / "bad").write_bytes(pack(content))
    refused(lambda: read_idx(tmp_path / "bad"), str(tmp_path / "bad"), said)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_huge_promise_costs_nothing(tmp_path, pack):
    (tmp_path / "bad").write_bytes(pack(idx(np.zeros(9, np.uint8), (2**20, 2**20, 2**20))))
    tracemalloc.start()
    refused(lambda: read_idx(tmp_path / "bad"), str(2**60))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


def test_gzip_that_inflates_beyond_its_promise_is_not_inflated(tmp_path):
    body = io.BytesIO()
    with gzip.GzipFile(fileobj=body, mode="wb", compresslevel=1) as stream:
        stream.write(idx(np.zeros(1, np.uint8), (1000,)))
        for _ in range(48):
            stream.write(bytes(2**20))
    (tmp_path / "bomb").write_bytes(body.getvalue())
    tracemalloc.start()
    refused(lambda: read_idx(tmp_path / "bomb"), "promises 1000 bytes, more found")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


@pytest.mark.parametrize("cut", [3, 12, 30, -9, -4, -1])
def test_truncated_gzip_is_refused(tmp_path, rng, cut):
    whole = gzip.compress(idx(rng.integers(0, 256, 500, dtype=np.uint8)))
    (tmp_path / "cut.gz").write_bytes(whole[:cut])
    refused(lambda: read_idx(tmp_path / "cut.gz"), "cut.gz")


def test_flipped_bit_in_gzip_is_refused(tmp_path, rng):
    whole = bytearray(gzip.compress(idx(rng.integers(0, 256, 500, dtype=np.uint8))))
    whole[200] ^= 1
    (tmp_path / "flip.gz").write_bytes(whole)
    refused(lambda: read_idx(tmp_path / "flip.gz"), "flip.gz")


def test_missing_file_and_folder_are_refused(tmp_path):
    refused(lambda: read_idx(tmp_path / "none"), "none")
    refused(lambda: read_idx(tmp_path), str(tmp_path))


# --- the two loaders ------------------------------------------------------------------------------


def test_fashion_mnist_is_read(tmp_path, rng):
    images = rng.integers(0, 256, (5, 28, 28), dtype=np.uint8)
    write_fashion(tmp_path, images, np.arange(5, dtype=np.uint8))
    found = load_fashion_mnist(tmp_path, "test")
    np.testing.assert_array_equal(found.images, images[:, None])
    np.testing.assert_array_equal(found.labels, np.arange(5))
    assert found.images.dtype == np.uint8 and found.labels.dtype == np.int64
    refused(lambda: load_fashion_mnist(tmp_path, "test", allow_subset=False), "5 test", "10000")
    refused(lambda: load_fashion_mnist(tmp_path, "train"), "train-images-idx3-ubyte.gz")
    refused(lambda: load_fashion_mnist(tmp_path, "valid"), "'valid' found, allowed train and test")


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (np.zeros((3, 32, 32)), np.zeros(3), "(32, 32), expected (28, 28)"),
        (np.zeros((3, 784)), np.zeros(3), "expected (28, 28)"),
        (np.zeros((3, 28, 28)), np.zeros(4), "3 images but labels of shape (4,)"),
        (np.zeros((4, 28, 28)), np.zeros((2, 2)), "4 images but labels of shape (2, 2)"),
        (np.zeros((2, 28, 28)), np.array([3, 10]), "label 10 found, allowed 0 to 9"),
        (np.zeros((0, 28, 28)), np.zeros(0), "0 test images found"),
        (np.zeros((10_001, 28, 28)), np.zeros(10_001), "10001 test images found"),
    ],
)
def test_false_fashion_mnist_is_refused(tmp_path, images, labels, said):
    write_fashion(tmp_path, images.astype(np.uint8), labels.astype(np.uint8))
    refused(lambda: load_fashion_mnist(tmp_path, "test"), str(tmp_path), said)


def test_link_that_leaves_the_folder_is_refused(tmp_path, rng):
    images = rng.integers(0, 256, (2, 28, 28), dtype=np.uint8)
    write_fashion(tmp_path / "away", images, np.zeros(2, np.uint8))
    (tmp_path / "here").mkdir()
    for file in (tmp_path / "away").iterdir():
        (tmp_path / "here" / file.name).symlink_to(file)
    refused(lambda: load_fashion_mnist(tmp_path / "here", "test"), "a link that leaves")
    (tmp_path / "alias").symlink_to(tmp_path / "away")  # the folder itself may be one
    assert len(load_fashion_mnist(tmp_path / "alias", "test")) == 2


def test_cifar_is_read(tmp_path, rng):
    content = write_cifar(tmp_path, rng)
    train, test = load_cifar10(tmp_path, "train"), load_cifar10(tmp_path, "test")
    expected = content[:5].reshape(15, CIFAR_RECORD)
    np.testing.assert_array_equal(train.labels, expected[:, 0])
    np.testing.assert_array_equal(train.images[7, 1, 2], expected[7, 1 + 1024 + 64 :][:32])
    assert train.images.shape == (15, 3, 32, 32) and test.images.shape == (3, 3, 32, 32)
    refused(lambda: load_cifar10(tmp_path, "train", allow_subset=False), "15 train", "50000")
    refused(lambda: load_cifar10(tmp_path, "both"), "'both' found")


@pytest.mark.parametrize("size", [0, 1, CIFAR_RECORD - 1, CIFAR_RECORD + 1, 10_001 * CIFAR_RECORD])
def test_false_cifar_size_is_refused(tmp_path, rng, size):
    write_cifar(tmp_path, rng, records=1)
    with (tmp_path / "data_batch_3.bin").open("wb") as stream:
        stream.truncate(size)
    refused(lambda: load_cifar10(tmp_path, "train"), "data_batch_3.bin", f"{size} bytes found")


def test_false_cifar_content_is_refused(tmp_path, rng):
    write_cifar(tmp_path, rng, records=1)
    (tmp_path / "data_batch_2.bin").write_bytes(b"\x0a" + bytes(3072))
    refused(lambda: load_cifar10(tmp_path, "train"), "label 10 found, allowed 0 to 9")
    (tmp_path / "data_batch_2.bin").unlink()
    refused(lambda: load_cifar10(tmp_path, "train"), "data_batch_2.bin is missing")
    (tmp_path / "data_batch_2.bin").symlink_to("/dev/zero")
    refused(lambda: load_cifar10(tmp_path, "train"), "data_batch_2.bin is missing")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian package dataset-fashion-mnist is absent")
def test_debian_package_holds_the_whole_test_set():
    full = load_fashion_mnist(DEBIAN, "test", allow_subset=False)
    assert len(full) == 10_000
    np.testing.assert_array_equal(np.bincount(full.labels), 1000)
    bundled = load_bundled_images("fashion-mnist")
    np.testing.assert_array_equal(bundled.images, full.images[:1024])
    np.testing.assert_array_equal(bundled.labels, full.labels[:1024])


# --- bundled images -------------------------------------------------------------------------------


def test_bundled_images():
    fashion, cifar = load_bundled_images("fashion-mnist"), load_bundled_images("cifar10")
    assert fashion.images.shape == (1024, 1, 28, 28) and cifar.images.shape == (20, 3, 32, 32)
    assert fashion.images.dtype == cifar.images.dtype == np.uint8
    # the published first labels of the two test sets
    np.testing.assert_array_equal(fashion.labels[:10], [9, 2, 1, 1, 6, 1, 4, 6, 5, 7])
    np.testing.assert_array_equal(cifar.labels[:10], [3, 8, 8, 0, 6, 6, 1, 6, 3, 1])
    assert fashion.images.std() > 50 and cifar.images.std() > 50
    refused(lambda: load_bundled_images("mnist"), "'mnist' found, allowed fashion-mnist, cifar10")


# --- finding a data set ---------------------------------------------------------------------------


def test_named_folder_is_used_or_refused(tmp_path, rng):
    write_cifar(tmp_path / "cifar-10-batches-bin", rng)
    inner = tmp_path / "cifar-10-batches-bin"
    assert find_dataset("cifar10", inner) == inner
    assert find_dataset("cifar10", tmp_path) == inner
    (inner / "data_batch_4.bin").unlink()
    said = refused(lambda: find_dataset("cifar10", tmp_path), str(tmp_path), "data_batch_4.bin")
    assert "data_batch_3.bin" not in said
    refused(
        lambda: find_dataset("mnist", tmp_path), "'mnist' found, allowed fashion-mnist, cifar10"
    )


def test_installed_package_is_found(tmp_path, monkeypatch):
    for name in FASHION_FILES:
        (tmp_path / f"{name}-ubyte.gz").touch()
    source = data.SOURCES["fashion-mnist"]
    changed = data.Source(source.files, source.address, source.downloads, installed=(tmp_path,))
    monkeypatch.setitem(data.SOURCES, "fashion-mnist", changed)
    assert find_dataset("fashion-mnist", cache=tmp_path / "none", offline=True) == tmp_path


def test_offline_without_data_names_the_file_and_the_place(tmp_path):
    archive = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
    call = lambda: find_dataset("cifar10", cache=tmp_path, offline=True)  # noqa: E731
    refused(call, str(archive), "missing", "https://www.cs.toronto.edu/~kriz/")
    archive.parent.mkdir()
    archive.write_bytes(b"half an archive")
    refused(call, str(archive), "altered")


def test_failed_download_is_one_line(tmp_path, monkeypatch):
    """Port 9 of this machine answers nothing: no network is needed to fail."""
    source = data.SOURCES["fashion-mnist"]
    nowhere = data.Source(source.files, "http://127.0.0.1:9/", source.downloads)
    monkeypatch.setitem(data.SOURCES, "fashion-mnist", nowhere)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    call = lambda: find_dataset("fashion-mnist", cache=tmp_path)  # noqa: E731
    refused(call, "train-images-idx3-ubyte.gz", "127.0.0.1:9", "put it there")


def serve(tmp_path, monkeypatch, content: bytes, digest: str):
    """Let CIFAR-10 come from a folder by way of pooch, whose downloader is replaced by a copy."""
    import pooch

    class Copy:
        def __init__(self, **options):
            pass

        def __call__(self, url, output_file, pooch_object):
            Path(output_file).write_bytes(content)

    monkeypatch.setattr(pooch, "HTTPDownloader", Copy)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    source = data.SOURCES["cifar10"]
    changed = data.Source(
        source.files,
        source.address,
        {"cifar-10-binary.tar.gz": digest},
        archive=source.archive,
        subfolder=source.subfolder,
    )
    monkeypatch.setitem(data.SOURCES, "cifar10", changed)
    return lambda: find_dataset("cifar10", cache=tmp_path / "cache")


def test_download_is_checked_and_unpacked(tmp_path, monkeypatch, rng):
    import hashlib

    expected = write_cifar(tmp_path / "cifar-10-batches-bin", rng)
    content = tar_bytes({f"cifar-10-batches-bin/{n}": tmp_path for n in BATCHES})
    find = serve(tmp_path, monkeypatch, content, hashlib.sha256(content).hexdigest())
    folder = find()
    assert folder == tmp_path / "cache" / "cifar10" / "cifar-10-batches-bin"
    np.testing.assert_array_equal(load_cifar10(folder, "test").labels, expected[5, :, 0])
    (folder.parent / "cifar-10-binary.tar.gz").unlink()
    assert find_dataset("cifar10", cache=tmp_path / "cache", offline=True) == folder


def test_altered_download_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    find = serve(tmp_path, monkeypatch, b"something else", "0" * 64)
    refused(find, "cifar-10-binary.tar.gz", "hash")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


# --- archives -------------------------------------------------------------------------------------


def tar_bytes(members: dict[str, Path | tarfile.TarInfo | bytes]) -> bytes:
    """A .tar.gz of members: bytes, a root folder to take the name from, or a bare TarInfo."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            raw = content if isinstance(content, bytes) else (content / name).read_bytes()
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    return body.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ({"../evil": b"x"}, "'../evil' leaves its folder"),
        ({"in/../../evil": b"x"}, "leaves its folder"),
        ({"/tmp/evil": b"x"}, "leaves its folder"),
        ({"in\\..\\evil": b"x"}, "leaves its folder"),
        ({"in/b": special("in/b", tarfile.SYMTYPE, "/etc/passwd")}, "link or device"),
        ({"in/b": special("in/b", tarfile.LNKTYPE, "../x")}, "link or device"),
        ({"in/b": special("in/b", tarfile.CHRTYPE)}, "link or device"),
        ({"in/b": special("in/b", tarfile.FIFOTYPE)}, "link or device"),
        ({"in/c": b"x"}, "b missing in it"),
        ({"in/b": bytes(10_000 * CIFAR_RECORD + 1)}, "bytes, at most"),
    ],
)
def test_hostile_archive_is_refused(tmp_path, member, said):
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(tar_bytes({"in/a": b"good", **member}))
    target = tmp_path / "deep" / "target"
    refused(lambda: unpack_tar(archive, target, "in", ("a", "b")), str(archive), said)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path != archive]


@pytest.mark.parametrize("cut", [0, 10, 60, 3000])
def test_truncated_archive_is_refused(tmp_path, rng, cut):
    whole = tar_bytes({"in/a": rng.bytes(5000), "in/b": rng.bytes(5000)})
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(whole[:cut])
    refused(lambda: unpack_tar(archive, tmp_path / "t", "in", ("a", "b")), str(archive))
    assert not [path for path in (tmp_path / "t").rglob("*") if path.is_file()]


def test_archive_is_unpacked(tmp_path):
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(tar_bytes({"in/a": b"A", "in/b": b"B", "in/readme": b"not wanted"}))
    unpack_tar(archive, tmp_path / "t", "in", ("a", "b"))
    found = {p.name: p.read_bytes() for p in (tmp_path / "t").rglob("*") if p.is_file()}
    assert found == {"a": b"A", "b": b"B"}


# --- scaling --------------------------------------------------------------------------------------


def test_scaling_round_trip_and_statistics(rng):
    images = rng.integers(0, 256, (64, 3, 8, 8), dtype=np.uint8)
    scaling = PixelScaling.of(images)
    pixels = torch.tensor(images)
    for noise in (0.0, 0.5, torch.rand(pixels.shape, dtype=torch.float64)):
        assert torch.equal(scaling.to_pixels(scaling.from_pixels(pixels, noise + 1e-9)), pixels)
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand((4, *pixels.shape), generator=generator, dtype=torch.float64)
    x = torch.stack([scaling.from_pixels(pixels, u) for u in noise]).transpose(0, 2).flatten(1)
    torch.testing.assert_close(x.mean(1), torch.zeros(3).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(x.std(1), torch.ones(3).double(), atol=1e-3, rtol=0)


def test_scaling_jacobian():
    scaling = PixelScaling((0.3, 0.5), (0.2, 0.4))
    pixels = torch.zeros(1, 2, 3, 3, dtype=torch.uint8)
    step = scaling.from_pixels(pixels + 1) - scaling.from_pixels(pixels)
    expected = -torch.log(step).sum().item()
    assert scaling.log_pixels_per_unit((2, 3, 3)) == pytest.approx(expected)


def test_real_images_have_the_shape_of_the_model_or_there_are_none():
    assert held_out_images("cifar10", (3, 32, 32), 5).shape == (5, 3, 32, 32)
    assert held_out_images("ffhq-256", (3, 256, 256), 5).shape == (0, 3, 256, 256)
    with pytest.raises(DataError, match=r"images of shape \(3, 32, 32\), allowed: .* \(3, 8, 8\)"):
        held_out_images("cifar10", (3, 8, 8), 5)
