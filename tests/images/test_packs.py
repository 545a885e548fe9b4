"""Packs of training images: what is read is what was packed, and damage is named."""

import numpy as np
import pytest
from PIL import Image
from written_data import write_fashion

from cartoonists.files.errors import DataError
from cartoonists.images.data import CIFAR_RECORD, load_cifar10, load_fashion_mnist
from cartoonists.images.packs import (
    MAX_BYTES,
    differences,
    images_of,
    packed_names,
    read_pack,
    write_pack,
)


@pytest.mark.parametrize("channels", [1, 3])
def test_differences_are_undone(channels):
    images = np.random.default_rng(0).integers(0, 256, (5, channels, 7, 6), dtype=np.uint8)
    np.testing.assert_array_equal(images_of(differences(images)), images)
    flat = np.full((1, channels, 4, 4), 200, np.uint8)
    assert np.count_nonzero(differences(flat)) == 1  # the first pixel, of grey or of green


@pytest.fixture
def pack(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "cifar").mkdir()
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        records = rng.integers(0, 256, (4, CIFAR_RECORD), dtype=np.uint8)
        records[:, 0] %= 10
        (tmp_path / "cifar" / name).write_bytes(records.tobytes())
    smooth = np.broadcast_to(np.arange(28, dtype=np.uint8) * 9, (12, 28, 28))
    for prefix in ("train", "t10k"):
        write_fashion(tmp_path / "fashion", smooth, np.arange(12, dtype=np.uint8) % 10, prefix)
    for i, name in enumerate(("cat/0000.jpg", "dog/0000.jpg")):
        (tmp_path / "lossy" / name).parent.mkdir(parents=True)
        Image.new("RGB", (32, 32), (40 * i, 80, 120)).save(tmp_path / "lossy" / name)
    folders = {"cifar10": tmp_path / "cifar", "fashion-mnist": tmp_path / "fashion"}
    size = write_pack(tmp_path / "pack.npz", folders, {"cifar10": tmp_path / "lossy"})
    assert size == (tmp_path / "pack.npz").stat().st_size < MAX_BYTES
    return tmp_path / "pack.npz"


def test_a_pack_holds_the_images(pack):
    assert packed_names(pack) == ["cifar10", "fashion-mnist"]
    cifar, fashion = read_pack(pack, "cifar10"), read_pack(pack, "fashion-mnist")
    folder = pack.parent
    for split in ("train", "test"):
        expected = load_cifar10(folder / "cifar", split).images
        np.testing.assert_array_equal(getattr(cifar, split), expected)
        expected = load_fashion_mnist(folder / "fashion", split).images
        np.testing.assert_array_equal(getattr(fashion, split), expected)
    assert cifar.lossy.shape == (2, 3, 32, 32)
    assert abs(cifar.lossy[1].mean((1, 2)) - [40, 80, 120]).max() < 4
    with pytest.raises(DataError, match="fashion-mnist/lossy cannot be read"):
        _ = fashion.lossy
    with np.load(pack, allow_pickle=False) as content:  # noise as it is, smooth images smaller
        assert "cifar10/train" in content and "fashion-mnist/train.differences" in content


def test_a_damaged_or_incomplete_pack_is_one_line(pack):
    with pytest.raises(DataError, match="emoji missing in it, found: cifar10, fashion-mnist"):
        read_pack(pack, "emoji")
    with pytest.raises(DataError, match="no pack of images"):
        read_pack(pack.parent / "none.npz", "cifar10")
    content = bytearray(pack.read_bytes())
    content[200:260] = bytes(60)
    pack.write_bytes(content)
    with pytest.raises(DataError, match=r"pack.npz: cifar10/train cannot be read \("):
        _ = read_pack(pack, "cifar10").train
