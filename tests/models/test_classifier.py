"""The classifiers: what the cards claim, and that training, storage and refusal work."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cartoonists.files.resources import ResourceError, resources_dir
from cartoonists.images.data import ImageSet, load_bundled_images, load_fashion_mnist
from cartoonists.models.classifier import (
    ClassifierError,
    ClassifierRecipe,
    _augmented,
    evaluate,
    load_classifier,
    save_classifier,
    train_classifier,
)

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
DATASETS = ("fashion-mnist", "cifar10")
LAYERS = ((6, 3, 2), (8, 3, 1))
RECIPE = ClassifierRecipe(epochs=6, batch=20, learning_rate=2e-2)


def striped(count: int, seed: int) -> ImageSet:
    """Ten classes, told apart by the row of a bright stripe, in noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    images = rng.integers(0, 60, (count, 1, 12, 12), dtype=np.uint8)
    images[np.arange(count), 0, labels + 1] = 30 + 20 * labels[:, None]
    return ImageSet(images, labels)


@pytest.fixture(scope="module")
def trained():
    return train_classifier(striped(400, 0), RECIPE, LAYERS)


@pytest.fixture
def stored(trained, tmp_path):
    save_classifier(trained, tmp_path / "c.safetensors", dataset="stripes")
    return tmp_path / "c.safetensors"


# --- bundled --------------------------------------------------------------------------------------


def test_fashion_mnist_classifier_keeps_its_cards_promise():
    classifier, images = load_classifier("fashion-mnist"), load_bundled_images("fashion-mnist")
    found, promised = evaluate(classifier, images), classifier.card["test"]
    assert promised["accuracy"] >= 0.91
    for key in ("accuracy", "sure_share"):  # the first tenth of the test set; 4 standard errors
        error = np.sqrt(promised[key] * (1 - promised[key]) / len(images))
        assert abs(found[key] - promised[key]) < 4 * error, key
    assert found["calibration_error"] < 0.05


def test_cifar_classifier_knows_most_of_the_bundled_images():
    found = evaluate(load_classifier("cifar10"), load_bundled_images("cifar10"))
    assert found["accuracy"] >= 0.5  # 20 images; chance is 0.1


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian package dataset-fashion-mnist is absent")
def test_card_is_true_on_the_whole_test_set():
    classifier = load_classifier("fashion-mnist")
    found = evaluate(classifier, load_fashion_mnist(DEBIAN, "test"))
    promised = classifier.card["test"]
    assert found["images"] == promised["images"] == 10_000
    assert found["accuracy"] == pytest.approx(promised["accuracy"], abs=2e-3)
    assert found["sure_share"] == pytest.approx(promised["sure_share"], abs=2e-3)


@pytest.mark.parametrize("name", DATASETS)
def test_outputs_do_not_depend_on_the_batch(name):
    classifier, images = load_classifier(name), load_bundled_images(name).images[:20]
    probabilities, features = classifier.probabilities(images), classifier.features(images)
    assert probabilities.shape == (20, 10) and probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert features.ndim == 2 and features.shape[0] == 20 and features.std() > 0.01
    np.testing.assert_allclose(classifier.probabilities(images[7:8]), probabilities[7:8], atol=1e-5)
    np.testing.assert_allclose(classifier.features(images[7:8]), features[7:8], atol=1e-4)
    np.testing.assert_array_equal(classifier.labels(images), probabilities.argmax(axis=1))
    assert classifier.card["parameters"] < 100_000


def test_images_of_another_kind_are_refused():
    classifier = load_classifier("fashion-mnist")
    for wrong in (
        np.zeros((2, 3, 28, 28), np.uint8),
        np.zeros((2, 28, 28), np.uint8),
        np.zeros((2, 1, 28, 28)),
    ):
        with pytest.raises(ValueError, match="allowed uint8 of shape"):
            classifier.probabilities(wrong)


def test_unknown_name_and_altered_bundle_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ClassifierError, match="'mnist' found, allowed cifar10, fashion-mnist"):
        load_classifier("mnist")
    copy = tmp_path / "resources"
    shutil.copytree(resources_dir(), copy, ignore=shutil.ignore_patterns("models", "images"))
    monkeypatch.setenv("CARTOONISTS_RESOURCES", str(copy))
    assert load_classifier("cifar10").card["dataset"] == "cifar10"
    card = copy / "classifiers" / "cifar10.json"
    card.write_text(card.read_text().replace("cifar10", "cifar11"))
    with pytest.raises(ResourceError, match="cifar10.json: sha256"):
        load_classifier("cifar10")


# --- training -------------------------------------------------------------------------------------


def test_training_learns(trained):
    found = evaluate(trained, striped(200, 1))
    assert found["accuracy"] > 0.9
    assert trained.card["training_images"] == 400


def test_training_repeats_and_leaves_the_random_state_alone(trained):
    torch.manual_seed(123)
    expected = torch.rand(1)
    torch.manual_seed(123)
    again = train_classifier(striped(400, 0), RECIPE, LAYERS)
    assert torch.equal(torch.rand(1), expected)
    images = striped(20, 1).images
    np.testing.assert_array_equal(again.probabilities(images), trained.probabilities(images))


def test_shift_moves_whole_images_within_its_range():
    pixels = torch.zeros(500, 2, 9, 9, dtype=torch.uint8)
    pixels[:, 0, 4, 4], pixels[:, 1, 5, 4] = 10, 20
    torch.manual_seed(0)
    moved = _augmented(pixels, ClassifierRecipe(shift=2))
    place = moved[:, 0].flatten(1).argmax(1)
    np.testing.assert_array_equal(moved[:, 1].flatten(1).argmax(1), place + 9)
    rows, columns = place // 9, place % 9
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}
    assert len(set(place.tolist())) == 25
    assert (moved.sum(dim=(1, 2, 3)) == 30).all()


def test_flip_mirrors_half():
    pixels = torch.arange(8, dtype=torch.uint8).view(1, 1, 1, 8).expand(1000, 1, 2, 8)
    torch.manual_seed(0)
    flipped = _augmented(pixels, ClassifierRecipe(flip=True))
    mirrored = (flipped == pixels.flip(-1)).all(dim=3).all(dim=2).flatten()
    kept = (flipped == pixels).all(dim=3).all(dim=2).flatten()
    assert (mirrored ^ kept).all() and 400 < mirrored.sum() < 600


def test_evaluation_of_known_probabilities():
    class Known:
        def probabilities(self, images):
            table = np.full((4, 10), 0.0)
            table[np.arange(4), [1, 2, 3, 4]] = [0.95, 0.9, 0.62, 0.55]
            table[:, 0] = 1 - table.sum(axis=1)
            return table

    found = evaluate(Known(), ImageSet(np.zeros((4, 1, 2, 2), np.uint8), np.array([1, 0, 3, 0])))
    assert found["accuracy"] == 0.5
    assert found["sure_share"] == 0.5 and found["sure_accuracy"] == 0.5
    assert found["nll_nats"] == pytest.approx(-np.log([0.95, 0.1, 0.62, 0.45]).mean())
    # bins of width 1/15: each image alone in its bin
    assert found["calibration_error"] == pytest.approx((0.05 + 0.9 + 0.38 + 0.55) / 4)


# --- storage --------------------------------------------------------------------------------------


def test_what_is_stored_is_the_model(trained, stored):
    images = striped(50, 2).images
    loaded = load_classifier(stored)
    np.testing.assert_array_equal(loaded.probabilities(images), trained.probabilities(images))
    assert loaded.card["dataset"] == "stripes" and loaded.card["recipe"]["epochs"] == 6
    assert stored.stat().st_size < 2.5 * trained.card["parameters"] + 2000  # two bytes a number


def edit_card(path: Path, **changes) -> None:
    card = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(card | changes))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda p: p.unlink(), "missing"),
        (lambda p: p.with_suffix(".json").unlink(), "missing"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "its card says"),
        (lambda p: p.with_suffix(".json").write_text("{"), "not a classifier"),
        (lambda p: p.with_suffix(".json").write_text("[]"), "not a classifier"),
        (lambda p: p.with_suffix(".json").write_text("{}"), "not a classifier"),
        (lambda p: edit_card(p, layers=[[6, 3, 2]]), "not a classifier"),
        (lambda p: edit_card(p, layers=7), "not a classifier"),
        (lambda p: edit_card(p, channels=3), "not a classifier"),
    ],
)
def test_damaged_files_are_refused_in_one_line(stored, damage, said):
    damage(stored)
    with pytest.raises(ClassifierError, match=said) as caught:
        load_classifier(stored)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_safetensors_are_refused(stored):
    import hashlib

    stored.write_bytes(b"not safetensors at all")
    edit_card(stored, sha256=hashlib.sha256(stored.read_bytes()).hexdigest())
    with pytest.raises(ClassifierError, match="not a classifier"):
        load_classifier(stored)
