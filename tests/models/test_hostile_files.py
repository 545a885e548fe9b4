"""Files that lie, bombs and pickles: refused in one line, cheaply, and nothing in them is run."""

import io
import json
import pickle
import random
import struct
import sys
import tarfile
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from PIL import Image

from cartoonists import load_model
from cartoonists.files.resources import file_sha256
from cartoonists.images.data import DataError, PixelScaling, unpack_tar
from cartoonists.images.own_data import held_out_images
from cartoonists.models.checkpoints import CheckpointError, save_model
from cartoonists.models.edm_models import save_edm
from cartoonists.models.networks import PixelUNet
from cartoonists.models.recipes import Recipe
from cartoonists.models.training import TrainingImages, train

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / "workflow"))
from validation import checked_models  # noqa: E402  (after the path above)

HUGE = struct.pack("<Q", 2**60) + b"{}"  # a safetensors file with a header of 2^60 bytes
SHAPE = (3, 8, 8)


def damages(whole: bytes, n: int):
    """The file cut off at n places, and with one bit flipped at n places."""
    chance = random.Random(0)
    for at in chance.choices(range(len(whole)), k=n):
        yield whole[:at]
        yield whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :]


def one_line(error) -> str:
    message = str(error.value)
    assert "\n" not in message and len(message) < 700, message
    return message


# --- pictures of a folder -------------------------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(width: int, height: int, pixels: bytes, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = b"".join((header, *extra, chunk(b"IDAT", pixels), chunk(b"IEND", b"")))
    return b"\x89PNG\r\n\x1a\n" + body


NOTHING = zlib.compress(bytes(2**26), 9)  # 64 MiB
BOMBS = {
    "a huge size": png(60_000, 60_000, b""),
    "a large size": png(9_000, 9_000, NOTHING),
    "more pixels than its size": png(8, 8, NOTHING),
    "a compressed text": png(8, 8, NOTHING, chunk(b"zTXt", b"Comment\0\0" + NOTHING)),
    "a colour profile": png(8, 8, NOTHING, chunk(b"iCCP", b"x\0\0" + NOTHING)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_picture_that_is_a_bomb_costs_nothing(tmp_path, name):
    (tmp_path / "bomb.png").write_bytes(BOMBS[name])
    tracemalloc.start()
    try:
        images = held_out_images(f"path:{tmp_path}", SHAPE, 1)
    except DataError as error:
        assert "bomb.png" in str(error) and "\n" not in str(error)
    else:
        assert images.shape == (1, *SHAPE)
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_damaged_picture_is_refused_or_has_its_shape(tmp_path, form):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    file = tmp_path / f"a.{form.lower()}"
    refused = 0
    for content in damages(stream.getvalue(), 60):
        file.write_bytes(content)
        try:
            assert held_out_images(f"path:{tmp_path}", SHAPE, 1).shape == (1, *SHAPE)
        except DataError as error:
            refused += 1
            assert file.name in str(error)
    assert refused > 30


# --- archives -------------------------------------------------------------------------------------


def test_a_damaged_archive_is_refused_or_gives_what_was_put_in(tmp_path):
    content = np.random.default_rng(0).bytes(2000)
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as tar:
        info = tarfile.TarInfo("in/a")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    archive, refused = tmp_path / "a.tar.gz", 0
    for number, damaged in enumerate(damages(body.getvalue(), 100)):
        archive.write_bytes(damaged)
        target = tmp_path / str(number)
        try:
            unpack_tar(archive, target, "in", ("a",))
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
            assert not [path for path in target.rglob("*") if path.is_file()]
        else:
            assert (target / "in" / "a").read_bytes() == content
    assert refused > 150


# --- checkpoints ----------------------------------------------------------------------------------


def native(folder: Path) -> tuple[Path, Path]:
    architecture = {"channels": 1, "size": 8, "widths": [8, 32], "stem_width": 4, "head_width": 4}
    card = {
        "architecture": {"name": "PixelUNet", **architecture},
        "schedule": {"kind": "VP", "logsnr_min": -8.0, "logsnr_max": 9.0},
        "data": {"shape": [1, 8, 8], "mean": [0.5], "std": [0.25]},
        "head": "eps",
    }
    weights = folder / "net.safetensors"
    save_model(weights, PixelUNet(**architecture), card)
    return weights, weights


def edm(folder: Path) -> tuple[Path, Path]:
    weights = folder / "net.safetensors"
    sigmas = {"sigma_data": 0.5, "sigma_min": 0.002, "sigma_max": 80.0}
    save_edm(weights, tiny_models.tiny_unet(), sigmas)
    return weights, weights


def diffusers(folder: Path) -> tuple[Path, Path]:
    tiny_models.save_diffusers(folder)
    return folder, folder / "unet" / "diffusion_pytorch_model.safetensors"


def promise(weights: Path) -> None:
    """Let the card, where there is one, promise the file as it is now."""
    card = weights.with_suffix(".json")
    if card.exists():
        card.write_text(json.dumps(json.loads(card.read_text()) | {"sha256": file_sha256(weights)}))


@pytest.mark.parametrize("kind", [native, edm, diffusers])
def test_false_weights_are_refused_though_their_checksum_is_right(tmp_path, kind):
    source, weights = kind(tmp_path)
    load_model(source)
    whole = weights.read_bytes()
    header = struct.unpack("<Q", whole[:8])[0]
    for content in (
        HUGE,
        b"",
        whole[:7],
        whole[: header // 2],
        whole[:-1],
        struct.pack("<Q", header - 1) + whole[8:],
        whole.replace(b'"F', b'"G', 1),
        whole.replace(b'"shape":[', b'"shape":[9', 1),
        whole.replace(b'"data_offsets":[', b'"data_offsets":[9', 1),
    ):
        weights.write_bytes(content)
        promise(weights)
        tracemalloc.start()
        with pytest.raises(CheckpointError, match=weights.parent.name) as caught:
            load_model(source)
        assert tracemalloc.get_traced_memory()[1] < 2**24
        tracemalloc.stop()
        one_line(caught)


def test_every_flipped_bit_of_a_checkpoint_is_seen(tmp_path):
    source, weights = native(tmp_path)
    for content in damages(weights.read_bytes(), 20):
        weights.write_bytes(content)
        with pytest.raises(CheckpointError, match="sha256 .* found") as caught:
            load_model(source)
        one_line(caught)


def test_embeddings_with_a_huge_header_are_refused(tmp_path):
    embeddings = tiny_models.save_latent(tmp_path)[3]
    embeddings.write_bytes(HUGE)
    spec = {"source": f"path:{tmp_path}", "format": "latent", "embeddings": str(embeddings)}
    with pytest.raises(CheckpointError, match="prompts.safetensors") as caught:
        load_model(spec)
    one_line(caught)


@pytest.mark.parametrize("place", ["/dev/zero", "/dev/full", "/"])
def test_weights_without_end_are_refused_when_the_run_is_planned(place):
    import yaml

    config = yaml.safe_load((CLONE / "config.yaml").read_text())
    config |= {"models": {"a/b": {"source": f"path:{place}"}}, "run_models": ["a/b"], "briefly": []}
    with pytest.raises(SystemExit, match=f"config error: models.a/b: {place} found, allowed"):
        checked_models(config)


class Bomb:
    """Unpickling it would make a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


class Line(torch.nn.Module):
    """A network of one parameter."""

    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.ones(()))

    def forward(self, x, logsnr):
        return self.slope * x


@pytest.mark.parametrize("kind", ["pickle", "torch", "truncated"])
def test_a_training_state_is_not_run_and_a_damaged_one_is_named(tmp_path, kind):
    state, trace = tmp_path / "state.pt", tmp_path / "it-ran"
    if kind == "pickle":
        state.write_bytes(pickle.dumps(Bomb(trace)))
    elif kind == "torch":
        torch.save({"step": 3, "network": Bomb(trace)}, state)
    else:
        torch.save({"step": 3}, state)
        state.write_bytes(state.read_bytes()[:-100])
    images = TrainingImages(
        torch.zeros(4, 1, 8, 8, dtype=torch.uint8), PixelScaling((0.5,), (0.25,))
    )
    recipe = Recipe("likelihood", 4, batch=2)
    with pytest.raises(ValueError, match="state.pt: no state of this training") as caught:
        train(Line(), images, recipe, state, tmp_path / "loss.csv")
    one_line(caught)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Bomb(trace))).close()
    assert trace.exists()  # the test itself could have failed
