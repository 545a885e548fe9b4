"""A small convolutional classifier a data set: class probabilities, and features for distances."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from cartoonists.files.artifacts import atomic
from cartoonists.files.resources import file_sha256, resources_dir, verified
from cartoonists.images.data import ImageSet, PixelScaling

CLASSIFIERS = "classifiers"  # folder under resources/
CLASSES = 10
SURE = 0.9  # top probability from which an image counts as surely classified
CHUNK = 256

Layers = Sequence[Sequence[int]]  # (width, kernel, stride) of each convolution
LAYERS: Layers = ((8, 3, 1), (32, 3, 2), (32, 3, 1), (64, 3, 2), (64, 3, 1))


class ClassifierError(ValueError):
    """A classifier's file or card is missing, altered or damaged."""


@dataclass(frozen=True)
class ClassifierRecipe:
    """Training: AdamW with a one-cycle rate, cross-entropy without label smoothing.

    ``shift`` moves each image by up to that many pixels each way (zero padding); ``flip`` mirrors
    half of them.  Label smoothing would move the probabilities that are to be read, so there is
    none.
    """

    epochs: int = 12
    batch: int = 128
    learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    shift: int = 0
    flip: bool = False
    dropout: float = 0.0
    seed: int = 0


class ClassifierNet(nn.Module):
    """Convolutions with batch normalisation and SiLU, mean over positions, one linear layer.

    ``layers`` holds (width, kernel, stride) of each convolution, odd kernels.  Input
    ``[n, channels, h, w]`` in model space (standardised); `embed` gives ``[n, last width]``.
    """

    def __init__(self, channels: int, layers: Layers = LAYERS, dropout: float = 0.0):
        super().__init__()
        body: list[nn.Module] = []
        previous = channels
        for width, kernel, stride in layers:
            convolution = nn.Conv2d(previous, width, kernel, stride, kernel // 2, bias=False)
            body += [convolution, nn.BatchNorm2d(width), nn.SiLU()]
            previous = width
        self.body = nn.Sequential(*body)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(previous, CLASSES)

    def embed(self, x: Tensor) -> Tensor:
        return self.body(x).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.dropout(self.embed(x)))


class Classifier:
    """A trained network with its pixel scaling and its card; images are uint8 ``[n, c, h, w]``.

    ``card["test"]`` says how far to trust it: accuracy, and the share of real test images of
    which it is at least `SURE` sure.
    """

    def __init__(self, network: ClassifierNet, scaling: PixelScaling, card: dict):
        self.network = network.eval().requires_grad_(False)
        self.scaling, self.card = scaling, card

    def probabilities(self, pixels: np.ndarray | Tensor) -> np.ndarray:
        """Class probabilities ``[n, 10]`` (float64, rows sum to 1)."""
        return torch.softmax(self._apply(self.network, pixels), dim=1).numpy()

    def labels(self, pixels: np.ndarray | Tensor) -> np.ndarray:
        """The most probable class ``[n]`` (int64)."""
        return self._apply(self.network, pixels).argmax(dim=1).numpy()

    def features(self, pixels: np.ndarray | Tensor) -> np.ndarray:
        """Features before the linear layer ``[n, d]`` (float64)."""
        return self._apply(self.network.embed, pixels).numpy()

    @torch.no_grad()
    def _apply(self, function, pixels: np.ndarray | Tensor) -> Tensor:
        pixels = torch.as_tensor(pixels)
        channels = len(self.scaling.mean)
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != channels:
            raise ValueError(
                f"classifier: {pixels.dtype} images of shape {tuple(pixels.shape)}, "
                f"allowed uint8 of shape (n, {channels}, height, width)"
            )
        parts = [function(self.scaling.from_pixels(chunk).float()) for chunk in pixels.split(CHUNK)]
        return torch.cat(parts).double()


def train_classifier(
    data: ImageSet, recipe: ClassifierRecipe, layers: Layers = LAYERS
) -> Classifier:
    """Train on ``data``; weights are rounded to fp16, since what is stored is the model.

    The same recipe and data give the same weights on the same machine and number of threads; the
    caller's random state is left alone.
    """
    scaling = PixelScaling.of(data.images)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = ClassifierNet(data.images.shape[1], layers, recipe.dropout)
        _fit(network, data, scaling, recipe)
    _round_to_half(network)
    card = {
        "channels": data.images.shape[1],
        "layers": [list(layer) for layer in layers],
        "parameters": sum(p.numel() for p in network.parameters()),
        "scaling": asdict(scaling),
        "recipe": asdict(recipe),
        "training_images": len(data),
    }
    return Classifier(network, scaling, card)


def _fit(network, data: ImageSet, scaling: PixelScaling, recipe: ClassifierRecipe) -> None:
    images, labels = torch.tensor(data.images), torch.tensor(data.labels)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    steps = recipe.epochs * -(-len(images) // recipe.batch)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, steps)
    network.train()
    for epoch in tqdm(range(recipe.epochs), desc="classifier", unit="epoch"):
        for index in torch.randperm(len(images)).split(recipe.batch):
            x = scaling.from_pixels(_augmented(images[index], recipe)).float()
            loss = F.cross_entropy(network(x), labels[index])
            if not torch.isfinite(loss):
                raise FloatingPointError(f"classifier: loss is {loss.item()} in epoch {epoch}")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            cycle.step()


def _augmented(pixels: Tensor, recipe: ClassifierRecipe) -> Tensor:
    if recipe.flip:
        mirrored = torch.rand(len(pixels)) < 0.5
        pixels = torch.where(mirrored.view(-1, 1, 1, 1), pixels.flip(-1), pixels)
    if recipe.shift:
        n, _, height, width = pixels.shape
        padded = F.pad(pixels, (recipe.shift,) * 4)
        rows = torch.randint(2 * recipe.shift + 1, (n, 1)) + torch.arange(height)
        columns = torch.randint(2 * recipe.shift + 1, (n, 1)) + torch.arange(width)
        image = torch.arange(n).view(n, 1, 1)
        pixels = padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return pixels


def _round_to_half(network: nn.Module) -> None:
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(value.half())


def evaluate(classifier: Classifier, data: ImageSet) -> dict[str, float]:
    """Accuracy and calibration on labelled images.

    ``sure_share``: images with top probability at least `SURE`; ``sure_accuracy``: accuracy among
    them; ``nll_nats``: mean of -log p(label); ``calibration_error``: expected calibration error,
    ``Σ_b n_b/n |accuracy_b - confidence_b|`` over 15 bins of equal width (Guo et al., 2017).
    """
    probabilities = classifier.probabilities(data.images)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == data.labels
    sure = confidence >= SURE
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=15)
    chosen = probabilities[np.arange(len(data)), data.labels]
    return {
        "images": len(data),
        "accuracy": float(correct.mean()),
        "sure_share": float(sure.mean()),
        "sure_accuracy": float(correct[sure].mean()) if sure.any() else float("nan"),
        "nll_nats": float(-np.log(np.maximum(chosen, 1e-30)).mean()),
        "calibration_error": float(np.abs(gaps).sum() / len(data)),
    }


def save_classifier(classifier: Classifier, path: Path, **notes) -> None:
    """Write ``path`` (fp16 safetensors) and its card beside it (``.json``); notes join the card."""
    path = Path(path)
    state = classifier.network.state_dict()
    half = {k: v.half().contiguous() for k, v in state.items() if v.is_floating_point()}
    with atomic(path) as temporary:
        save_file(half, temporary)
        card = {**classifier.card, **notes, "sha256": file_sha256(temporary)}
    with atomic(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def bundled_classifiers() -> list[str]:
    """Data sets with a bundled classifier."""
    return sorted(path.stem for path in (resources_dir() / CLASSIFIERS).glob("*.safetensors"))


def load_classifier(name: str | Path) -> Classifier:
    """A bundled classifier by data set (``fashion-mnist``, ``cifar10``), or one from a path.

    Raises ClassifierError where a file is missing, damaged or not the one its card describes, and
    ResourceError where a bundled file is not the registered one.
    """
    if str(name).endswith(".safetensors"):
        return _read_classifier(Path(name))
    allowed = bundled_classifiers()
    if name not in allowed:
        raise ClassifierError(
            f"classifier: {str(name)!r} found, allowed {', '.join(allowed)} or a .safetensors path"
        )
    verified(f"{CLASSIFIERS}/{name}.json")
    return _read_classifier(verified(f"{CLASSIFIERS}/{name}.safetensors"))


def _read_classifier(path: Path) -> Classifier:
    card_path = path.with_suffix(".json")
    for file in (path, card_path):
        if not file.is_file():
            raise ClassifierError(f"{file}: missing")
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        found = file_sha256(path)
        if found != card["sha256"]:
            raise ClassifierError(f"{path}: sha256 {found} found, its card says {card['sha256']}")
        scaling = PixelScaling(tuple(card["scaling"]["mean"]), tuple(card["scaling"]["std"]))
        network = ClassifierNet(card["channels"], card["layers"])
        state = {name: value.float() for name, value in load_file(path).items()}
        counters = {k: v for k, v in network.state_dict().items() if not v.is_floating_point()}
        network.load_state_dict({**counters, **state})
    except ClassifierError:
        raise
    except (KeyError, TypeError, ValueError, OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ClassifierError(f"{card_path}: not a classifier ({reason})") from None
    return Classifier(network, scaling, card)
