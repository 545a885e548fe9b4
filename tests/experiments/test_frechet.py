"""Fréchet distances: named by their features, refused where they would mean nothing."""

import pickle

import numpy as np
import pytest
import torch

from cartoonists.experiments import frechet
from cartoonists.experiments.frechet import (
    FeatureSpace,
    best_space,
    classifier_space,
    compare,
    inception_space,
)
from cartoonists.files.errors import CheckpointError


def blobs(n, seed, size=28, channels=1, contrast=60.0):
    rng = np.random.default_rng(seed)
    coarse = rng.normal(128, contrast, (n, channels, size // 4, size // 4))
    return np.clip(np.kron(coarse, np.ones((4, 4))), 0, 255).astype(np.uint8)


def mean_space(dimensions=4):
    def features(images):
        return images.reshape(len(images), dimensions, -1).mean(2)

    return FeatureSpace("means", dimensions, "none", None, features)


def test_distance_of_known_gaussians():
    rng = np.random.default_rng(0)
    first = rng.normal(100, 10, (4000, 1, 2, 2)).round().astype(np.uint8)
    second = rng.normal(112, 20, (4000, 1, 2, 2)).round().astype(np.uint8)
    found = compare(first, second, mean_space())
    exact = 4 * 12**2 + 4 * (20 - 10) ** 2  # |Δμ|² + tr(C₁ + C₂ - 2√(C₁C₂))
    assert found == pytest.approx(exact, rel=0.05)


def test_agrees_with_clean_fid():
    from cleanfid.fid import frechet_distance

    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(200, 6)), rng.normal(0.3, 1.4, size=(200, 6))
    ours = frechet.frechet_distance(a, b)
    theirs = frechet_distance(a.mean(0), np.cov(a.T), b.mean(0), np.cov(b.T))
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="6 found, allowed for frechet_means: more than 1.5 times"):
        compare(blobs(6, 0, 4), blobs(9, 1, 4), mean_space())
    compare(blobs(7, 0, 4), blobs(9, 1, 4), mean_space())


def test_classifier_space_tells_recipes_apart():
    space = best_space("fashion-mnist")
    assert space.metric == "frechet_fashion-mnist_classifier" and len(space.sha256) == 64
    assert space.dimensions == classifier_space("fashion-mnist").dimensions
    n = space.dimensions + 64
    same = compare(blobs(n, 0), blobs(n, 1), space)
    other = compare(blobs(n, 0), blobs(n, 2, contrast=5.0), space)
    assert 0 <= same < 0.1 * other


def test_resized_features_are_those_of_clean_fid():
    """The shape and order that reach the network: colour kept, grey repeated, size as asked."""
    seen = []

    def embed(x):
        seen.append(x.clone())
        return x.mean((2, 3))

    images = np.zeros((2, 3, 8, 8), np.uint8)
    images[0, 0], images[1, 2] = 200, 100
    found = frechet._resized_features(embed, 5, images)
    np.testing.assert_allclose(found, [[200, 0, 0], [0, 0, 100]], atol=1e-3)
    assert seen[0].shape == (2, 3, 5, 5)
    grey = frechet._resized_features(embed, 5, np.full((1, 1, 8, 8), 7, np.uint8))
    np.testing.assert_allclose(grey, [[7, 7, 7]], atol=1e-4)


def test_inception_file_is_needed_checked_and_only_read_as_tensors(tmp_path):
    with pytest.raises(CheckpointError, match="is missing .*published at https"):
        inception_space(tmp_path / "none.pth")
    weights = tmp_path / "inception.pth"
    torch.save({"a": torch.zeros(1)}, weights)
    with pytest.raises(CheckpointError, match="sha256 .* found, the configuration says 6726825d"):
        inception_space(weights)
    digest = frechet.file_sha256(weights)
    with pytest.raises(CheckpointError, match="not its weights"):
        inception_space(weights, digest)

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "it-ran"), "w"))

    weights.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="refused, not tensors alone"):
        inception_space(weights, frechet.file_sha256(weights))
    assert not (tmp_path / "it-ran").exists()


def test_metric_is_fid_with_inception_alone(tmp_path, monkeypatch):
    weights = tmp_path / "inception.pth"
    torch.save({}, weights)

    class Network(torch.nn.Module):
        def forward(self, x):
            assert x.shape[1:] == (3, 299, 299) and x.min() >= 0 and x.max() <= 1
            return [x.mean((2, 3), keepdim=True)]

    monkeypatch.setattr(frechet, "_inception", lambda state: Network())
    space = best_space("cifar10", weights, frechet.file_sha256(weights))
    assert space.metric == "FID" and "299" in space.resize
    np.testing.assert_allclose(space.features(np.full((1, 3, 8, 8), 51, np.uint8)), 0.2, atol=1e-5)
    assert "fid" not in classifier_space("cifar10").metric.lower()


def test_data_without_a_classifier_has_features_of_its_own_name(monkeypatch):
    monkeypatch.setattr(frechet, "find_spec", lambda name: None)
    space = best_space("path:somewhere")
    assert space.metric == "frechet_pixels_4px" and space.dimensions == 48
    grey = np.full((2, 1, 8, 8), 7, np.uint8)
    np.testing.assert_allclose(space.features(grey), 7.5, atol=1e-4)
    assert set(space.described()) == {"name", "metric", "dimensions", "resize", "sha256"}
