"""Cards of trained models: what a network is, what it saw, what it is for and where it fails."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from cartoonists.models.recipes import Recipe
from cartoonists.models.training import Trained, TrainingImages

INTENDED_USE = (
    "Experiments with diffusion samples and their log-densities: small enough to be bundled and to "
    "run on a CPU. Not for pictures that are to be taken for real ones, nor for decisions about "
    "people or patients."
)
LIMITS = (
    "Noise is removed down to logsnr_max alone; log-densities are those at that level.",
    "The network is small and was trained briefly: samples are recognisable in part only.",
)
WEIGHTS = {
    "likelihood": "uniform in λ (the ELBO)",
    "quality": "sigmoid(2 - λ)",
    "uniform": "uniform in t, of the velocity",
    "logit-normal": "logit t ~ N(0, 1), of the velocity",
}
KINDS = {"VP": "diffusion", "RectifiedFlow": "flow-matching"}
FRONT = (
    "---\nlicense: mit\nlibrary_name: cartoonists\npipeline_tag: unconditional-image-generation\n"
    "tags: [diffusion, log-density, {weighting}]\ndatasets: [{dataset}]\n---\n"
)


@dataclass(frozen=True)
class DataSet:
    """What a card says of a data set: its origin, its licence, and what follows for the model."""

    description: str
    licence: str
    limits: tuple[str, ...] = ()


DATA_SETS = {
    "fashion-mnist": DataSet(
        "Fashion-MNIST (Xiao, Rasul & Vollgraf, 2017): 60,000 grey pictures of clothes, 28×28, on "
        "a black background",
        "MIT",
        ("Black background has a density of its own: the noise at logsnr_max costs bits there.",),
    ),
    "cifar10": DataSet(
        "CIFAR-10 (Krizhevsky, 2009): colour photographs of ten kinds of object, 32×32; how many "
        "of its 50,000 training images, and which copies of them, stands under Training",
        "none stated by its authors; the images are not distributed here",
    ),
    "chest-xray": DataSet(
        "PneumoniaMNIST of MedMNIST v2 (Yang et al., 2023): chest X-rays of children, 28×28 grey, "
        "reduced from the pictures of Kermany et al. (2018), taken in one hospital",
        "CC BY 4.0",
        (
            "No medical device: a sample shows no patient, and 28×28 pixels are few for a finding.",
            "Children of one hospital; the two classes (normal, pneumonia) are not told apart.",
        ),
    ),
    "emoji": DataSet(
        "Emoji graphics of Twitter (Twemoji), as in the npm package emoji-datasource-twitter "
        "16.0.0, drawn on white and halved to 32×32",
        "CC BY 4.0 (graphics: Twitter, Inc. and other contributors)",
        (
            "Few images, many of them alike: drawings that differ by skin tone alone are in the "
            "same part, other near-copies (gender, clock faces) are not.",
        ),
    ),
}


def described(card: dict) -> dict:
    """The card with what is known of its data set, its intended use and its limits."""
    known = DATA_SETS[card["data"]["name"]]
    data = card["data"] | {"description": known.description, "licence": known.licence}
    return card | {
        "data": data,
        "intended_use": INTENDED_USE,
        "limits": [*LIMITS, *known.limits],
    }


def make_card(
    name: str, images: TrainingImages, recipe: Recipe, settings: dict, trained: Trained
) -> dict:
    """What the card of a trained model says of its network, schedule, data and training.

    ``name`` is the data set and the model, *fashion-mnist/quality*; ``settings`` has the
    ``architecture`` and the name of the model that training started from, ``start``, or None.
    """
    dataset = name.split("/")[0]
    spent: dict[str, float] = {
        "steps": trained.steps,
        "images_seen": trained.steps * recipe.batch,
    }
    if recipe.minutes is not None:  # by steps a training is the same on every machine
        spent["minutes"] = round(trained.seconds / 60, 2)
    card = {
        "name": name,
        "version": "0.3.0",
        "licence": "MIT",
        "architecture": settings["architecture"],
        "head": recipe.loss.head,
        "schedule": {
            "kind": recipe.kind,
            "logsnr_min": recipe.logsnr_min,
            "logsnr_max": recipe.logsnr_max,
        },
        "data": {
            "name": dataset,
            "shape": list(images.images.shape[1:]),
            "mean": list(images.scaling.mean),
            "std": list(images.scaling.std),
        },
        "training": {
            "images": len(images.images),
            "images_sha256": images.digest,
            "lossy_images": 0 if images.lossy is None else len(images.lossy),
            "start": settings["start"],
            **asdict(recipe),
            **spent,
        },
    }
    return described(card) if dataset in DATA_SETS else card


def card_page(card: dict, picture: str) -> str:
    """A card as a page in Markdown, in the manner of model hubs; ``picture``: path of samples."""
    name, weighting = card["name"], card["training"]["weighting"]
    front = FRONT.format(weighting=weighting, dataset=card["data"]["name"])
    size, data = "×".join(map(str, card["data"]["shape"])), card["data"]
    parts = [
        f"# {name}\n",
        f"A {KINDS[card['schedule']['kind']]} model of images ({size}), bundled: "
        f"`load_model({name!r})`.\n",
        f"![samples of {name}]({picture})\n",
        "Samples of seeds 0 to 31, not chosen.\n",
        f"## Intended use\n{card['intended_use']}\n",
        "## Limits\n" + "".join(f"- {line}\n" for line in card["limits"]),
        f"## Data\n{data['description']}. Licence of the data: {data['licence']}.\n",
        "## Training\n| | |\n|---|---|\n" + "".join(_table(_training(card))),
        "## Held out\n| | |\n|---|---|\n" + "".join(_table(_held_out(card["held_out"]))),
        f"## Files\n| | |\n|---|---|\n{''.join(_table(_files(card)))}",
    ]
    return front + "\n".join(parts)


def _table(rows: Iterator[tuple[str, object]]) -> Iterator[str]:
    for key, value in rows:
        yield f"| {key} | {value} |\n"


def _training(card: dict) -> Iterator[tuple[str, object]]:
    training = card["training"]
    yield "weight of the loss", training.get("weight", WEIGHTS[training["weighting"]])
    yield "images", training.get("data", f"{training['images']:,}")
    if training.get("lossy_below") is not None:
        yield (
            "lossy images",
            f"{training['lossy_images']:,}, for λ ≤ {training['lossy_below']} alone "
            "(λ is drawn first, then the image)",
        )
    yield "mirrored at random", "yes" if training["flip"] else "no"
    yield "steps of so many images", f"{training['steps']:,} × {training['batch']}"
    yield "learning rate", training["learning_rate"]
    yield "moving average", training["ema_decay"]
    yield "precision", training["precision"]
    yield "start", training.get("history") or training.get("start") or "random weights"


def _held_out(found: dict) -> Iterator[tuple[str, object]]:
    yield "ELBO", f"{found['bits_per_dim']:.3f} ± {found['standard_error']:.3f} bits/dim"
    yield "of so many test images, lossless", found["images"]
    yield "estimator", found["estimator"]
    if ode := found.get("ode"):
        yield "PF-ODE", f"{ode['bits_per_dim']:.3f} ± {ode['standard_error']:.3f} bits/dim"
        yield "of so many test images", f"{ode['images']}, by {ode['estimator']}"
    if "background_bits_per_dim" in found:
        yield (
            "of which the noise of logsnr_max on a flat background",
            f"{found['background_bits_per_dim']:.3f} bits/dim at least",
        )


def _files(card: dict) -> Iterator[tuple[str, object]]:
    network, schedule = card["architecture"], card["schedule"]
    yield "network", f"{network['name']}, widths {', '.join(map(str, network['widths']))}"
    levels = f"λ from {schedule['logsnr_min']} to {schedule['logsnr_max']}"
    yield "schedule and head", f"{schedule['kind']}, {levels}; {card['head']}"
    yield "licence of the weights", card["licence"]
    yield "SHA-256 of the weights (half precision)", f"`{card['sha256']}`"
