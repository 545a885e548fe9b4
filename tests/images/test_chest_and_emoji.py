"""Chest X-rays and emoji: loaders, the split by drawing, contact sheets and the bundled images."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from cartoonists.files.errors import DataError
from cartoonists.images.data import (
    find_dataset,
    load_bundled_images,
    load_chest_xray,
    load_emoji,
)
from cartoonists.images.own_data import held_out_images
from cartoonists.images.sheets import read_sheet, write_sheet


def write_chest(folder, images, labels):
    parts = {f"{part}_{kind}": a for part in ("train", "test")
             for kind, a in (("images", images), ("labels", labels))}  # fmt: skip
    np.savez(folder / "pneumoniamnist.npz", **parts)


def test_chest_xrays_are_read_or_refused(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    labels = np.array([[0], [1], [1], [0], [1]], np.uint8)
    write_chest(tmp_path, images, labels)
    found = load_chest_xray(find_dataset("chest-xray", tmp_path), "test")
    np.testing.assert_array_equal(found.images, images[:, None])
    np.testing.assert_array_equal(found.labels, [0, 1, 1, 0, 1])
    with pytest.raises(DataError, match="5 train images found, allowed 4708"):
        load_chest_xray(tmp_path, "train", allow_subset=False)
    write_chest(tmp_path, images[:, :20], labels)
    with pytest.raises(DataError, match=r"uint8 images of shape \(5, 20, 28\)"):
        load_chest_xray(tmp_path, "train")
    write_chest(tmp_path, np.array([[None]], object), labels)
    with pytest.raises(DataError, match="cannot be read"):  # nothing is unpickled
        load_chest_xray(tmp_path, "train")
    (tmp_path / "pneumoniamnist.npz").write_bytes(b"PK\x03\x04 half")
    with pytest.raises(DataError, match="cannot be read"):
        load_chest_xray(tmp_path, "train")


def test_what_cannot_be_downloaded_says_where_it_is():
    with pytest.raises(DataError, match="pneumoniamnist.npz missing; get https://zenodo.org"):
        find_dataset("chest-xray")
    with pytest.raises(DataError, match="npm package emoji-datasource-twitter 16.0.0"):
        find_dataset("emoji")


def draw(folder, codes, colour, alpha=255):
    Image.new("RGBA", (64, 64), (*colour, alpha)).save(folder / f"{codes}.png")


def is_test(codes):
    return hashlib.sha256(codes.encode()).digest()[0] < 32


def test_emoji_are_drawn_on_white_and_split_by_drawing(tmp_path):
    names = [f"1f{i:03x}" for i in range(40)]
    for name in names:
        draw(tmp_path, name, (0, 100, 200))
        draw(tmp_path, f"{name}-1f3fd-fe0f", (0, 100, 200), alpha=0)
    parts = {part: load_emoji(tmp_path, part) for part in ("train", "test")}
    held_out = sum(map(is_test, names))
    assert 0 < held_out < 40 and len(parts["test"]) == 2 * held_out
    assert len(parts["train"]) + len(parts["test"]) == 80
    for part in parts.values():  # a drawing and its other tone follow each other
        assert part.images.shape[1:] == (3, 32, 32)
        np.testing.assert_array_equal(
            part.images[1::2, :, 0, 0], [[0, 100, 200]] * (len(part) // 2)
        )
        assert (part.images[::2] == 255).all()
    draw(tmp_path, "1f000", (0, 0, 0))
    Image.new("RGBA", (8, 8)).save(tmp_path / "1f000.png")
    with pytest.raises(DataError, match=r"1f000.png: cannot be read \(\(8, 8\) pixels found"):
        [load_emoji(tmp_path, part) for part in ("train", "test")]
    with pytest.raises(DataError, match="0 train images found"):
        load_emoji(tmp_path / "none", "train")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_is_read_back_and_another_picture_refused(tmp_path, channels):
    images = np.random.default_rng(0).integers(0, 256, (6, channels, 5, 5), dtype=np.uint8)
    write_sheet(tmp_path / "a.png", images, 3)
    np.testing.assert_array_equal(read_sheet(tmp_path / "a.png", channels, 5), images)
    with pytest.raises(DataError, match="picture of 15 × 10 found, allowed: .* tiles of 4 × 4"):
        read_sheet(tmp_path / "a.png", channels, 4)
    with pytest.raises(DataError, match="found, allowed"):
        read_sheet(tmp_path / "a.png", 4 - channels, 5)
    with pytest.raises(ValueError, match="6 images found, allowed: a multiple of 4"):
        write_sheet(tmp_path / "a.png", images, 4)
    (tmp_path / "a.png").write_bytes(b"\x89PNG half")
    with pytest.raises(DataError, match="cannot be read"):
        read_sheet(tmp_path / "a.png", channels, 5)


def test_bundled_images_are_of_the_test_sets():
    chest, emoji = load_bundled_images("chest-xray"), load_bundled_images("emoji")
    assert chest.images.shape == (512, 1, 28, 28) and emoji.images.shape == (256, 3, 32, 32)
    assert len(chest.labels) == 512 and set(chest.labels) == {0, 1}
    assert (emoji.images == 255).mean() > 0.3  # on white
    shown = held_out_images("emoji", (3, 32, 32), 4)
    np.testing.assert_array_equal(shown, emoji.images[:4])
