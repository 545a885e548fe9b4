"""Model cards of the bundled models: docs/models/*.md from their JSON, with a picture of samples.

Run by `make cards`.  A picture is drawn again only where it shows other weights than the card's.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cartoonists.density.tracking import track_reverse_sde
from cartoonists.files.artifacts import atomic
from cartoonists.files.configs import read_json
from cartoonists.files.resources import resources_dir
from cartoonists.models.cards import card_page
from cartoonists.models.checkpoints import bundled_models, load_model

CLONE = Path(__file__).resolve().parents[1]
PAGES = CLONE / "docs" / "models"
PICTURES = CLONE / "docs" / "images" / "models"
COLUMNS, ROWS, ZOOM, STEPS = 8, 4, 2, 64


def file_name(name: str) -> str:
    """Of a model's page and picture, without their endings."""
    return name.replace("/", "-")


def page(name: str) -> str:
    """The card of a bundled model in Markdown."""
    card = read_json(resources_dir() / "models" / f"{name}.json")
    return card_page(card, f"../images/models/{file_name(name)}.png")


def shown_weights(picture: Path) -> str:
    """SHA-256 of the weights whose samples a picture shows; empty where there is none."""
    if not picture.exists():
        return ""
    with Image.open(picture, formats=["PNG"]) as image:
        return str(image.info.get("weights", ""))


def draw(name: str, path: Path) -> None:
    """Draw samples of a model side by side, and note in the file whose they are."""
    model = load_model(name)
    x = track_reverse_sde(model, steps=STEPS, seeds=range(COLUMNS * ROWS), track=False).x
    pixels = model.finish(x).numpy().transpose(0, 2, 3, 1)
    height, width, channels = pixels.shape[1:]
    tiles = pixels.reshape(ROWS, COLUMNS, height, width, channels).transpose(0, 2, 1, 3, 4)
    whole = tiles.reshape(ROWS * height, COLUMNS * width, channels).squeeze()
    picture = Image.fromarray(np.repeat(np.repeat(whole, ZOOM, 0), ZOOM, 1))
    notes = PngInfo()
    notes.add_text("weights", model.card["sha256"])
    with atomic(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True, pnginfo=notes)


def main() -> None:
    """Write every page, and every picture that shows other weights."""
    for name in bundled_models():
        picture = PICTURES / f"{file_name(name)}.png"
        if shown_weights(picture) != load_model(name).card["sha256"]:
            draw(name, picture)
        with atomic(PAGES / f"{file_name(name)}.md") as temporary:
            temporary.write_text(page(name), encoding="utf-8")


if __name__ == "__main__":
    main()
