"""Model cards: a page and a picture for every bundled model, true to its JSON and its weights."""

import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from cartoonists.files.configs import read_json
from cartoonists.files.resources import resources_dir
from cartoonists.models.cards import DATA_SETS, described
from cartoonists.models.checkpoints import bundled_models

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / "workflow"))

import cards  # noqa: E402  (after the path above)


@pytest.mark.parametrize("name", bundled_models())
def test_page_and_picture_are_those_of_the_card(name):
    card = read_json(resources_dir() / "models" / f"{name}.json")
    assert described(card) == card  # `make cards` writes no texts of its own
    text = (cards.PAGES / f"{cards.file_name(name)}.md").read_text(encoding="utf-8")
    assert text == cards.page(name)
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "mit" and front["datasets"] == [card["data"]["name"]]
    for part in (
        f"{card['held_out']['bits_per_dim']:.3f} ±",
        card["sha256"],
        card["data"]["licence"],
    ):
        assert part in text
    picture = cards.PICTURES / f"{cards.file_name(name)}.png"
    assert cards.shown_weights(picture) == card["sha256"]
    with Image.open(picture) as image:
        assert image.size == (16 * card["data"]["shape"][2], 8 * card["data"]["shape"][1])


def test_no_page_without_a_model():
    pages = {page.stem for page in cards.PAGES.glob("*.md")}
    assert pages == {cards.file_name(name) for name in bundled_models()}
    assert {name.split("/")[0] for name in bundled_models()} <= set(DATA_SETS)
    nav = (CLONE / "mkdocs.yml").read_text(encoding="utf-8")
    assert all(f"models/{page}.md" in nav for page in pages)
