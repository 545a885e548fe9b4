"""Pictures are read as a viewer shows them, from folders as people have them, or refused."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hostile import refused
from PIL import Image, ImageCms, ImageFilter

from cartoonists.images.data import DataError
from cartoonists.images.own_data import held_out_images, held_out_set
from cartoonists.images.picture_files import find_pictures, read_picture

GREY, COLOUR = (1, 6, 4), (3, 6, 4)  # height 6, width 4


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def levels(rng):
    return rng.integers(0, 256, (6, 4), dtype=np.uint8)


@pytest.fixture
def colours(rng):
    return rng.integers(0, 256, (6, 4, 3), dtype=np.uint8)


def png(pixels: np.ndarray, *extra: bytes) -> bytes:
    """A PNG of pixels [h, w, c] of 8 or 16 bits, with more chunks (kind and content)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    height, width, channels = pixels.shape
    bits, colour = 8 * pixels.dtype.itemsize, {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(pixels.dtype.newbyteorder(">")).tobytes() for row in pixels)
    more = b"".join(chunk(part[:4], part[4:]) for part in extra)
    body = chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# --- one picture ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [256, 257])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_are_scaled_and_not_saturated(tmp_path, rng, scale, channels):
    pixels = rng.integers(0, 256, (6, 4, channels), dtype=np.uint8)
    deep = pixels.astype(np.uint16) * scale
    if channels in (2, 4):
        deep[..., -1] = 65535  # opaque
    (tmp_path / "a.png").write_bytes(png(deep))
    kept, shape = (3, COLOUR) if channels > 2 else (1, GREY)
    found, done = read_picture(tmp_path / "a.png", shape)
    np.testing.assert_array_equal(found, pixels[..., :kept].transpose(2, 0, 1))
    assert done == "16 bits to 8"


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (Image.new("LA", (4, 6), (100, 51)), {}, 0.2 * 100 + 0.8 * 255),
        (Image.new("RGBA", (4, 6), (100, 100, 100, 51)), {}, 0.2 * 100 + 0.8 * 255),
        (Image.new("L", (4, 6), 7), {"transparency": 7}, 255),
        (Image.new("L", (4, 6), 7).convert("P"), {"transparency": 7}, 255),
    ],
    ids=["LA", "RGBA", "L", "P"],
)
def test_transparency_is_laid_on_white(tmp_path, image, options, expected):
    image.save(tmp_path / "a.png", **options)
    found, done = read_picture(tmp_path / "a.png", COLOUR)
    assert np.abs(found - expected).max() <= 1
    assert done == "laid on white"


def test_an_opaque_alpha_changes_nothing(tmp_path, colours):
    opaque = np.dstack([colours, np.full((6, 4), 255, np.uint8)])
    Image.fromarray(opaque).save(tmp_path / "b.png")
    found, done = read_picture(tmp_path / "b.png", COLOUR)
    np.testing.assert_array_equal(found, colours.transpose(2, 0, 1))
    assert done == ""


TURNS = {  # of EXIF: stored rows and columns to those that are shown
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("form", ["png", "webp"])
def test_a_picture_is_turned_as_its_exif_says(tmp_path, levels, turn, form):
    exif = Image.Exif()
    exif[0x0112] = turn
    lossless = {"lossless": True, "exact": True} if form == "webp" else {}
    file = tmp_path / f"a.{form}"
    Image.fromarray(levels).save(file, exif=exif, **lossless)
    shown = TURNS[turn](levels)
    found, done = read_picture(file, (1, *shown.shape))
    np.testing.assert_array_equal(found[0], shown)
    assert done == f"turned (EXIF orientation {turn})"
    if turn > 4:
        refused(lambda: read_picture(file, GREY), "6 × 4 pixels found, allowed: 4 × 6")


def profile(swapped: bool = False) -> bytes:
    """sRGB itself, or a matrix profile whose red and blue primaries have changed places."""
    content = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if swapped:
        content = content.replace(b"rXYZ", b"tmpX").replace(b"bXYZ", b"rXYZ")
        content = content.replace(b"tmpX", b"bXYZ")
    return content


def test_a_colour_profile_is_converted_and_srgb_itself_is_not(tmp_path, colours):
    Image.fromarray(colours).save(tmp_path / "a.png", icc_profile=profile())
    found, done = read_picture(tmp_path / "a.png", COLOUR)
    np.testing.assert_array_equal(found, colours.transpose(2, 0, 1))
    assert done == ""
    Image.fromarray(colours).save(tmp_path / "b.png", icc_profile=profile(swapped=True))
    found, done = read_picture(tmp_path / "b.png", COLOUR)
    expected = colours[..., ::-1].transpose(2, 0, 1).astype(int)
    assert np.abs(found - expected).max() <= 2
    assert done == "colour profile converted to sRGB"


def test_a_profile_that_is_none_or_of_other_colours_is_refused(tmp_path, colours, levels):
    Image.fromarray(colours).save(tmp_path / "a.png", icc_profile=b"no profile" * 20)
    refused(lambda: read_picture(tmp_path / "a.png", COLOUR), "a.png: cannot be read")
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(levels).save(tmp_path / "b.png", icc_profile=lab)
    refused(lambda: read_picture(tmp_path / "b.png", GREY), "b.png: a colour profile of Lab found")


def test_palette_and_cmyk_are_rgb(tmp_path):
    colour = [200, 30, 90]
    image = Image.new("RGB", (4, 6), tuple(colour))
    image.quantize(4).save(tmp_path / "p.png")
    found, done = read_picture(tmp_path / "p.png", COLOUR)
    assert done == "" and np.abs(found[:, 0, 0].astype(int) - colour).max() <= 4
    image.convert("CMYK").save(tmp_path / "c.jpg", quality=95)
    found, done = read_picture(tmp_path / "c.jpg", COLOUR)
    assert done == "CMYK to RGB" and np.abs(found[:, 0, 0].astype(int) - colour).max() <= 4


def test_grey_and_colour_change_with_a_word_where_something_is_lost(tmp_path, levels, colours):
    Image.fromarray(levels).save(tmp_path / "g.png")
    Image.fromarray(np.dstack([levels] * 3)).save(tmp_path / "same.png")
    Image.fromarray(colours).save(tmp_path / "c.png")
    assert read_picture(tmp_path / "g.png", COLOUR)[1] == "grey to colour"
    found, done = read_picture(tmp_path / "same.png", GREY)
    assert done == "" and (found[0] == levels).all()
    found, done = read_picture(tmp_path / "c.png", GREY)
    luma = colours @ [0.299, 0.587, 0.114]
    assert done == "colour to grey" and np.abs(found[0] - luma).max() < 1


def animation(pixels: np.ndarray) -> bytes:
    stream, first = io.BytesIO(), Image.fromarray(pixels[..., 0])
    first.save(stream, "PNG", save_all=True, append_images=[first.filter(ImageFilter.BLUR)])
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda a: png(a, b"gAMA" + struct.pack(">I", 100_000)), "gamma 1 found, allowed: 0.4545"),
        (lambda a: png(a)[:-30], "cannot be read"),
        (lambda a: b"", "cannot be read"),
        (animation, "2 frames found, allowed: 1"),
        (lambda a: png(a.astype(np.uint16), b"tRNS\0\7"), "a transparent level of 16 bits"),
    ],
    ids=["gamma", "cut", "empty", "animated", "transparent level"],
)
def test_what_would_be_shown_otherwise_is_refused(tmp_path, levels, content, said):
    (tmp_path / "a.png").write_bytes(content(levels[..., None]))
    refused(lambda: read_picture(tmp_path / "a.png", GREY), f"{tmp_path / 'a.png'}: ", said)


def test_the_usual_gamma_is_no_news(tmp_path, levels):
    (tmp_path / "a.png").write_bytes(png(levels[..., None], b"gAMA" + struct.pack(">I", 45_455)))
    assert read_picture(tmp_path / "a.png", GREY)[1] == ""


def test_another_size_is_refused_or_fitted(tmp_path):
    wide = np.zeros((60, 80, 3), np.uint8)
    wide[:, 20:60] = 200  # the middle 40 columns
    Image.fromarray(wide).save(tmp_path / "a.png")
    refused(
        lambda: read_picture(tmp_path / "a.png", COLOUR), "80 × 60 pixels found, allowed: 4 × 6"
    )
    found, done = read_picture(tmp_path / "a.png", COLOUR, fit=True)
    assert done == "80 × 60 cropped and resized"
    assert found.shape == COLOUR and (found > 180).all()


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_of_images_is_a_data_set(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 6, 4, 3), dtype=np.uint8)  # height 6, width 4
    for i, pixels in enumerate(images):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    found = held_out_images(f"path:{tmp_path}", (3, 6, 4), 2)
    np.testing.assert_array_equal(found, images[:2].transpose(0, 3, 1, 2))
    assert held_out_images(f"path:{tmp_path}", (1, 6, 4), 9).shape == (3, 1, 6, 4)
    with pytest.raises(DataError, match="0.png: 4 × 6 pixels found, allowed: 8 × 8"):
        held_out_images(f"path:{tmp_path}", (3, 8, 8), 1)
    (tmp_path / "0.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match="0.png: cannot be read"):
        held_out_images(f"path:{tmp_path}", (3, 6, 4), 1)
    with pytest.raises(DataError, match="nowhere found, allowed: an existing folder"):
        held_out_images("path:nowhere", (3, 6, 4), 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        held_out_images(f"path:{tmp_path / 'empty'}", (3, 6, 4), 1)


def save(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 6), level).save(path)


def test_what_systems_leave_among_pictures_is_passed_over(tmp_path):
    save(tmp_path / "B.PNG", 2)
    save(tmp_path / "a.webp", 1)
    save(tmp_path / "c.JPeG", 3)
    for litter in ("._a.png", ".DS_Store", "Thumbs.db", "desktop.ini", "readme.txt"):
        (tmp_path / litter).write_bytes(b"not a picture")
    save(tmp_path / "__MACOSX" / "a.png", 9)
    save(tmp_path / ".thumbnails" / "a.png", 9)
    found = held_out_set(f"path:{tmp_path}", GREY, 9)
    assert found.files == ("B.PNG", "a.webp", "c.JPeG")
    np.testing.assert_allclose(found.images[:, 0, 0, 0].astype(int), [2, 1, 3], atol=1)


def test_class_folders_give_labels_and_links_are_followed(tmp_path):
    save(tmp_path / "away" / "x.png", 5)
    save(tmp_path / "in" / "cat" / "1.png", 1)
    save(tmp_path / "in" / "dog" / "2.png", 2)
    (tmp_path / "in" / "dog" / "3.png").symlink_to(tmp_path / "away" / "x.png")
    (tmp_path / "in" / "bird").symlink_to(tmp_path / "away")
    found = held_out_set(f"path:{tmp_path / 'in'}", GREY, 9)
    assert found.files == ("bird/x.png", "cat/1.png", "dog/2.png", "dog/3.png")
    assert found.labels.tolist() == [0, 1, 2, 2]
    assert found.images[:, 0, 0, 0].tolist() == [5, 1, 2, 5]


def test_folders_that_cannot_be_meant_are_refused(tmp_path):
    save(tmp_path / "circle" / "a" / "1.png", 1)
    (tmp_path / "circle" / "a" / "again").symlink_to(tmp_path / "circle")
    refused(lambda: find_pictures(tmp_path / "circle"), "again: leads to a folder that was read")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "1.png").symlink_to(tmp_path / "none.png")
    refused(lambda: find_pictures(tmp_path / "broken"), "1.png: a broken link")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "1.png")
    refused(lambda: find_pictures(tmp_path / "pipe"), "1.png: no regular file")
    save(tmp_path / "both" / "1.png", 1)
    save(tmp_path / "both" / "sub" / "2.png", 1)
    refused(lambda: find_pictures(tmp_path / "both"), "beside the subfolder 'sub'")
    save(tmp_path / "gif" / "1.png", 1)
    (tmp_path / "gif" / "2.gif").touch()
    refused(lambda: find_pictures(tmp_path / "gif"), "2.gif: found, allowed: .bmp")


@pytest.mark.parametrize("name", ["val", "Test", "validation"])
def test_the_part_held_out_is_taken_where_there_is_one(tmp_path, name):
    save(tmp_path / "train" / "cat" / "1.png", 1)
    save(tmp_path / name / "cat" / "2.png", 2)
    found = held_out_set(f"path:{tmp_path}", GREY, 9)
    assert found.files == (f"{name}/cat/2.png",) and found.images[0, 0, 0, 0] == 2
    save(tmp_path / "plane" / "cat" / "3.png", 3)  # now train is a class among others
    assert len(held_out_images(f"path:{tmp_path}", GREY, 9)) == 3


def test_train_alone_is_not_held_out(tmp_path):
    save(tmp_path / "train" / "1.png", 1)
    refused(lambda: held_out_images(f"path:{tmp_path}", GREY, 9), "holds train, allowed: test too")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_hugging_face_metadata_gives_labels(tmp_path, form):
    for name in ("b.png", "a.png"):
        save(tmp_path / name, 1)
    text = "file_name,label\na.png,dog\nb.png,cat\n"
    if form == "jsonl":
        text = '{"file_name": "a.png", "label": "dog"}\n{"file_name": "b.png", "label": "cat"}\n'
    file = tmp_path / f"metadata.{form}"
    file.write_text(text)
    assert find_pictures(tmp_path).labels.tolist() == [1, 0]
    file.write_text(text.replace("label", "text"))
    assert find_pictures(tmp_path).labels.tolist() == [-1, -1]
    file.write_text(text.replace("a.png", "z.png"))
    refused(lambda: find_pictures(tmp_path), f"metadata.{form}: z.png: no such file")
    file.write_text(text.replace("file_name", "name"))
    refused(lambda: find_pictures(tmp_path), f"metadata.{form}: not metadata")
    save(tmp_path / "c.png", 1)
    file.write_text(text)
    refused(lambda: find_pictures(tmp_path), f"metadata.{form}: c.png: not in it")
