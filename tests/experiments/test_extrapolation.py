"""A truth that is known: what networks and exact scores make of it."""

import numpy as np
import pytest
import torch

from cartoonists import VP
from cartoonists.density.flow import FlowSettings
from cartoonists.experiments.extrapolation import (
    EXACT,
    PairedMixture,
    SamplingSettings,
    Truth,
    draw_data,
    fit_truth,
    judge_samples,
    network_arrays,
    network_of_arrays,
    score_errors,
    shrink_images,
)
from cartoonists.experiments.extrapolation_synthetic import judge_synthetic
from cartoonists.experiments.noise import with_noise
from cartoonists.experiments.tiny import WhitenedNetwork, train_eps
from cartoonists.images.data import PixelScaling
from cartoonists.images.synthetic import SyntheticSettings, synthetic_model
from cartoonists.paths.bases import Columns
from cartoonists.paths.scores import Gaussian, NetworkScore
from cartoonists.paths.streams import Streams

SCHEDULE = VP(-10.0, 8.0)
SETTINGS = SamplingSettings([-2.0, 2.0], 36, FlowSettings(24, probes=4))


def axes(dimensions: int) -> torch.Tensor:
    noise = np.random.default_rng(0).standard_normal((dimensions, dimensions))
    return torch.from_numpy(np.linalg.qr(noise)[0])


def truth(components: int = 3, side: int = 4) -> Truth:
    generator = np.random.default_rng(1)
    means = torch.from_numpy(generator.standard_normal((components, 1, side, side)))
    variances = torch.from_numpy(generator.uniform(0.05, 0.5, means.shape))
    basis = Columns(axes(side * side))
    mixture = PairedMixture(np.ones(components), means, variances, SCHEDULE, basis)
    return Truth(mixture, PixelScaling((0.5,), (0.2,)))


def perfect_network(known: Truth) -> NetworkScore:
    """The score of a truth of one component, as a network that needs no training."""
    shape, mixture = known.mixture.shape, known.mixture
    network = WhitenedNetwork(torch.eye(mixture.dimensions).view(-1, *shape), 4)
    network.mean.copy_(mixture.means[0].flatten())
    network.axes.copy_(mixture.basis.matrix)
    network.variances.copy_(mixture._variances[0])
    return NetworkScore(network.eval().requires_grad_(False), shape, SCHEDULE)


def test_before_training_the_network_is_the_gaussian_of_its_data():
    data = truth().mixture.sample(512, 0)
    flat = data.flatten(1)
    basis = Columns.principal(flat)
    variances = basis.coordinates(flat - flat.mean(0)).var(0)
    gaussian = Gaussian(flat.mean(0), variances, SCHEDULE, basis)
    model = NetworkScore(WhitenedNetwork(data, 8), data.shape[1:], SCHEDULE)
    for logsnr in (-6.0, 0.0, 6.0):
        x = torch.randn(5, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        expected = gaussian.score(x.flatten(1), logsnr).view_as(x)
        torch.testing.assert_close(model.score(x, logsnr), expected, rtol=1e-3, atol=1e-3)


def test_training_brings_the_network_nearer_to_the_true_score():
    """It starts as the Gaussian of other data, of three times the spread."""
    known = truth(1, side=2)
    data = draw_data(known.mixture, 2048, 0)
    errors = []
    for steps in (0, 200):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = WhitenedNetwork(3 * data, 32)
        model = train_eps(network, data, SCHEDULE, steps=steps, batch=128, rate=0.01)
        table = score_errors({"a": model}, known, range(64), [-2.0], 18)
        errors.append(table["squared_error"].mean())
    assert errors[1] < 0.3 * errors[0]


def test_a_perfect_network_has_no_error_and_no_freedom():
    known = truth(1)
    model = perfect_network(known)
    assert (
        score_errors({"a": model}, known, range(8), [-2.0, 2.0], 36)["squared_error"].max() < 1e-8
    )
    table, _ = judge_samples("a", model, known, range(8), SETTINGS)
    gap = table["own_log_density_nats"] - table["log_density_nats"]
    assert gap.abs().max() / 16 < 0.05  # Adams in 24 steps; Hutchinson is exact in these axes


def test_the_exact_score_gives_dense_samples_and_its_own_view_is_the_truth():
    known = truth()
    table, arrays = judge_samples(EXACT, known.mixture, known, range(24), SETTINGS)
    gap = (table["own_log_density_nats"] - table["log_density_nats"]) / table["dimensions"]
    assert abs(gap.mean()) < 0.02
    density = table.groupby("sample")["equal_noise_log_density_nats"].mean()
    assert density["high-density"] > density["ordinary"] + 3
    assert arrays["images"].shape == (3, 24, 1, 4, 4) and arrays["images"].dtype == np.uint8


def test_a_seed_means_the_same_noise_and_the_same_row_whatever_the_batch():
    known = truth(1)
    model = perfect_network(known)
    start = [m.sample_prior(Streams([3, 4], "prior")) for m in (known.mixture, model)]
    torch.testing.assert_close(*start, rtol=0, atol=0)
    together, _ = judge_samples("a", model, known, [3, 4, 5], SETTINGS)
    alone, _ = judge_samples("a", model, known, [4], SETTINGS)
    kept = together[together["seed"] == 4].reset_index(drop=True)
    for name in ("log_density_nats", "equal_noise_log_density_nats", "own_log_density_nats"):
        np.testing.assert_allclose(kept[name], alone[name], atol=1e-3)


def test_equal_noise_is_that_of_the_schedule_and_of_the_seed():
    known = truth(1)
    clean = torch.zeros(64, 1, 4, 4, dtype=torch.float64)
    noisy = with_noise(clean, known.mixture, range(64))
    assert noisy.std().item() == pytest.approx(SCHEDULE.sigma(8.0).item(), rel=0.1)
    torch.testing.assert_close(noisy[7:8], with_noise(clean[:1], known.mixture, [7]))


def test_truth_and_networks_survive_a_file():
    known = truth()
    again = Truth.of_arrays(known.arrays(), SCHEDULE)
    x = known.mixture.sample(4, 0)
    torch.testing.assert_close(again.mixture.score(x, 1.0), known.mixture.score(x, 1.0))
    assert again.scaling == known.scaling
    model = NetworkScore(WhitenedNetwork(x, 8), known.mixture.shape, SCHEDULE)
    copy = network_of_arrays(network_arrays(model), known)
    torch.testing.assert_close(copy.score(x, 1.0), model.score(x, 1.0))


def test_the_fit_finds_two_kinds_of_image():
    generator = np.random.default_rng(0)
    kind = generator.integers(2, size=300)
    images = np.clip(
        np.where(kind, 60, 190)[:, None, None, None] + generator.normal(0, 8, (300, 1, 4, 4)),
        0,
        255,
    ).astype(np.uint8)
    found = fit_truth(images, 2, 1e-3, SCHEDULE)
    grey = found.scaling.to_pixels(found.mixture.means).numpy().mean(axis=(1, 2, 3))
    assert sorted(grey) == pytest.approx([60, 190], abs=2)
    assert found.mixture.weights.min().item() == pytest.approx(min(kind.mean(), 1 - kind.mean()))
    images = found.scaling.to_pixels(draw_data(found.mixture, 500, 0)).numpy()
    assert images.std() == pytest.approx(65.5, rel=0.05)


def test_images_shrink_by_means_and_other_sides_are_refused():
    images = np.full((2, 1, 28, 28), 100, np.uint8)
    assert (
        shrink_images(images, 8)[:, :, 1:-1, 1:-1].tolist() == np.full((2, 1, 6, 6), 100).tolist()
    )
    assert shrink_images(images, 28) is images
    with pytest.raises(ValueError, match="side: 9 found, allowed: 8, 16, 28"):
        shrink_images(images, 9)


def test_hd_images_of_shapes_are_flatter_than_every_draw():
    settings = SyntheticSettings(size=12, positions=1, radius=4.0, strengths=(8.0, 24.0))
    model = synthetic_model(settings, VP(-10.0, 10.0))
    options = {"n_draws": 64, "n_samples": 6, "switch_logsnr": [-4.0], "steps": 24}
    table, arrays = judge_synthetic(model, **options)
    draws, flat = (table[table["kind"] == kind] for kind in ("draw", "high-density"))
    assert flat["texture"].max() < 0.5 * draws["texture"].min()
    assert flat["log_density_nats"].min() > draws["log_density_nats"].max()
    assert arrays["images"].shape == (2, 6, 1, 12, 12)
