"""HD and ordinary samples from the same point: the shared path, and gains known in closed form."""

import numpy as np
import pytest
import torch
from closed_forms import gaussian_images, mixture

from cartoonists import track_reverse_sde
from cartoonists.density.flow import FlowSettings, flow_log_density
from cartoonists.density.sampling import follow_high_density
from cartoonists.experiments.high_density import (
    BoundSettings,
    collect_images,
    collect_paths,
    denoised_path,
    high_density_pairs,
    on_grid,
    pair_bounds,
    pair_log_densities,
)
from cartoonists.experiments.noise import equal_noise
from cartoonists.paths.numerics import Numerics
from cartoonists.paths.schedules import VP, uniform_grid
from cartoonists.paths.scores import Gaussian
from cartoonists.statistics.summaries import bound_gains, gains


def test_ordinary_samples_are_those_of_the_tracker():
    target = mixture(4)
    seeds = [3, 8, 11]
    pairs = high_density_pairs(target, [-2.0, 2.0], seeds, base_steps=20, steps=8)
    alone = track_reverse_sde(target, steps=20, seeds=seeds)
    torch.testing.assert_close(pairs.ordinary, alone.x, atol=0, rtol=0)
    torch.testing.assert_close(pairs.tracked, alone.log_density, atol=0, rtol=0)
    one = high_density_pairs(target, [-2.0, 2.0], [8], base_steps=20, steps=8)
    torch.testing.assert_close(one.high_density, pairs.high_density[:, 1:2])


def test_every_branch_starts_on_the_base_path():
    target = mixture(4)
    points = {}
    track_reverse_sde(
        target, 5, 20, callback=lambda logsnr, x, _: points.__setitem__(round(logsnr, 6), x)
    )
    pairs = high_density_pairs(target, [3.0, -5.2], range(5), base_steps=20, steps=200)
    assert pairs.switch_logsnr == [-5.0, 3.0]  # sorted, and on the base path's grid
    for switch, end in zip(pairs.switch_logsnr, pairs.high_density, strict=True):
        fine = follow_high_density(
            target, points[switch], torch.zeros(5).double(), switch, 400, range(5),
            Numerics(divergence="none"),
        )  # fmt: skip
        torch.testing.assert_close(end, fine.x, atol=2e-3, rtol=0)
    assert (pairs.high_density[0] - pairs.high_density[1]).abs().max() > 0.1


def test_the_denoised_path_is_the_base_path_at_every_noise_level():
    model, target = gaussian_images()
    points = {}
    run = track_reverse_sde(
        model, seeds=[3, 8], grid=uniform_grid(-10.0, 10.0, 10),
        callback=lambda logsnr, x, log_density: points.__setitem__(logsnr, (x, log_density)),
    )  # fmt: skip
    path = denoised_path(model, [3, 8], 10)
    np.testing.assert_array_equal(path["path_log_density"][:, -1], run.log_density)
    np.testing.assert_array_equal(path["path_error"][:, -1], run.error)
    assert path["path_error"][:, 0].tolist() == [0, 0]
    assert path["path_logsnr"][1:].tolist() == list(points)
    for k, (logsnr, (x, log_density)) in enumerate(points.items(), start=1):
        np.testing.assert_array_equal(path["path_log_density"][:, k], log_density)
        picture = model.picture(target.denoise(x, logsnr)).numpy().astype(int)
        assert np.abs(path["path_images"][:, k] - picture).max() <= 1  # float32 and rounding
    assert collect_paths([{}, path, {}]).keys() == path.keys() and collect_paths([{}]) == {}


def at_equal_noise(target, pairs):
    """True log-densities ``[k + 1, n]`` of samples of a Gaussian, with the noise of their seed."""
    ends = (pairs.ordinary, *pairs.high_density)
    return torch.stack([target.log_prob(equal_noise(x, target, pairs.seeds)) for x in ends])


def test_gain_at_equal_noise_on_a_gaussian_is_that_of_the_two_images():
    """Denoised they are E[x_0|x_end] and E[x_0|x_t], the second by the HD-ODE, exact there.

    Their coordinates have the variances α² V²/(α² V + σ²) at the end and at t; the noise, the same
    for both, drops out of the mean, and with it the D/2 nats that it gives a sample without noise.
    """
    schedule, variances = VP(), torch.logspace(-8, 0.5, 36, dtype=torch.float64)
    target = Gaussian(torch.zeros(36), variances, schedule)
    switch, n = -2.0, 3000
    pairs = high_density_pairs(target, [switch], range(n), base_steps=20, steps=80)
    ordinary, high = at_equal_noise(target, pairs)

    def image_variance(logsnr):
        scaled = schedule.alpha(logsnr) ** 2 * variances
        return scaled * variances / (scaled + schedule.sigma2(logsnr))

    alpha2 = schedule.alpha(schedule.logsnr_max) ** 2
    lost = image_variance(schedule.logsnr_max) - image_variance(switch)
    expected = 0.5 * (alpha2 * lost / (alpha2 * variances + schedule.sigma2(10.0))).sum().item()
    gain = high - ordinary
    error = gain.std().item() / n**0.5
    assert gain.mean().item() == pytest.approx(expected, abs=4 * error) and error < 0.02 * expected
    unequal = target.log_prob(pairs.high_density[0]) - target.log_prob(pairs.ordinary)
    assert unequal.mean() > expected + 5  # what the noise of the ordinary samples alone costs


def test_both_samples_of_a_seed_get_the_same_noise():
    _, target = gaussian_images()
    pairs = high_density_pairs(target, [-2.0, 2.0], [4, 9], base_steps=20, steps=40)
    clean = pairs.denoised(target)
    ends = (pairs.ordinary, *pairs.high_density)
    noise = [equal_noise(x, target, [4, 9]) - target.schedule.alpha(10.0) * c
             for x, c in zip(ends, clean, strict=True)]  # fmt: skip
    torch.testing.assert_close(noise[1], noise[0])
    torch.testing.assert_close(noise[2], noise[0])
    alone = high_density_pairs(target, [-2.0, 2.0], [9], base_steps=20, steps=40)
    torch.testing.assert_close(equal_noise(alone.ordinary, target, [9])[0] - noise[0][1],
                               target.schedule.alpha(10.0) * clean[0, 1])  # fmt: skip


def test_log_densities_of_pairs_are_those_at_equal_noise():
    model, target = gaussian_images()
    seeds = range(24)
    pairs = high_density_pairs(model, [-2.0, 2.0], seeds, base_steps=40, steps=80)
    table = pair_log_densities(model, pairs, pairs.denoised(model), FlowSettings(steps=30))
    true = at_equal_noise(target, pairs).flatten()
    np.testing.assert_allclose(table["log_density_nats"], true, atol=0.05)
    error = np.abs(table["log_density_nats"] - true.numpy())
    assert (error < table["error_nats"] + 1e-3).mean() > 0.9  # halving the steps tells the error
    difference = gains(table)
    assert list(difference.columns) == [-2.0, 2.0] and list(difference.index) == list(seeds)
    np.testing.assert_allclose(difference[2.0], true[48:] - true[:24], atol=0.05)
    assert (difference[-2.0] > 0).all()
    assert difference[-2.0].mean() > difference[2.0].mean() > 0
    bits = -(true.numpy() - 36 * np.log(256 * 0.25)) / (36 * np.log(2))
    np.testing.assert_allclose(table["bits_per_dim"], bits, atol=0.01)
    assert table["tracked_log_density_nats"].notna().sum() == 24


def test_bounds_of_a_gaussian_are_its_log_density():
    """The chain is exact there, so IWAE and the tracked value are log p without noise."""
    _, target = gaussian_images()
    pairs = high_density_pairs(target, [-2.0, 0.0, 2.0], range(7, 13), base_steps=40, steps=80)
    settings = BoundSettings(n_pairs=4, switch_logsnr=[-3.0, 3.0], paths=2)
    clean = pairs.denoised(target)
    table = pair_bounds(target, pairs, clean, settings, first_seed=7, base_steps=40)
    assert table["seed"].tolist() == 3 * [7, 8, 9, 10]
    assert table["switch_logsnr"].dropna().tolist() == 4 * [-2.0] + 4 * [2.0]
    noisy = [equal_noise(x, target, pairs.seeds) for x in pairs.high_density]
    ends = [pairs.ordinary, noisy[0], noisy[2]]  # ordinary samples as the chain ended
    true = target.log_prob(torch.cat([x[:4] for x in ends])).numpy()
    np.testing.assert_allclose(table["iwae_log_density_nats"], true, atol=1e-8)
    np.testing.assert_allclose(table["elbo_log_density_nats"], true, atol=1e-8)
    assert table["elbo_error_nats"].max() < 1e-8
    table["tracked_log_density_nats"] = [*true[:4], *8 * [np.nan]]
    gain = bound_gains(table)
    assert gain.columns.tolist() == [-2.0, 2.0]
    np.testing.assert_allclose(gain[-2.0], true[4:8] - true[:4], atol=1e-8)


def test_bounds_lie_below_the_density_and_prove_the_gain_of_a_mixture():
    target = mixture(32)
    pairs = high_density_pairs(target, [-1.0], range(24), base_steps=24, steps=40)
    settings = BoundSettings(n_pairs=24, switch_logsnr=[-1.0], paths=3)
    clean = pairs.denoised(target)
    table = pair_bounds(target, pairs, clean, settings, first_seed=0, base_steps=24)
    assert (table["elbo_log_density_nats"] <= table["iwae_log_density_nats"]).all()
    assert table["elbo_error_nats"].gt(0).all()
    noisy = equal_noise(pairs.high_density[0], target, pairs.seeds)
    true = target.log_prob(torch.cat([pairs.ordinary, noisy])).numpy()
    table["tracked_log_density_nats"] = [*pairs.tracked.numpy(), *24 * [np.nan]]
    gain = bound_gains(table)[pairs.switch_logsnr[0]]
    assert 0 < gain.mean() < (true[24:] - true[:24]).mean()
    two = BoundSettings(2, [-1.0], 1)
    late = pair_bounds(target, pairs, clean, two, first_seed=0, base_steps=24)
    behind = pair_bounds(target, pairs, clean, settings, first_seed=-24, base_steps=24)
    assert len(late) == 4 and len(behind) == 0
    keys = ["seed", "sample", "switch_logsnr"]
    assert table.merge(behind, how="left", on=keys)["elbo_error_nats_y"].isna().all()


def test_flow_log_density_is_of_fourth_order_and_the_seeds_alone():
    model, target = gaussian_images()
    x = target.sample(8, seed=5)
    true = target.log_prob(x)

    def error(steps):
        return flow_log_density(model, x, range(8), FlowSettings(steps)).log_density - true

    coarse, fine = error(12).abs().mean(), error(24).abs().mean()
    assert 3.5 < np.log2(coarse / fine) < 4.5
    one = flow_log_density(model, x[3:4], [3], FlowSettings(12))
    torch.testing.assert_close(one.log_density - true[3:4], error(12)[3:4], atol=1e-4, rtol=0)


def test_switches_too_close_for_the_grid_are_refused():
    assert on_grid([-10.0, 0.0, 10.0], [1.0, -9.0]) == [-10.0, 0.0]
    with pytest.raises(ValueError, match="switch_logsnr: .* different points of the grid"):
        on_grid([-10.0, 0.0, 10.0], [1.0, -1.0])
    with pytest.raises(ValueError, match="switch_logsnr: 12.0 found"):
        high_density_pairs(mixture(2), [12.0], [0], base_steps=4, steps=4)


def test_images_of_the_chunks_are_collected_by_seed():
    def part(first, m):
        images = (
            np.arange(first, first + m)[None, :, None, None, None]
            + 100 * np.arange(3)[:, None, None, None, None]
        )
        return {
            "seeds": np.arange(first, first + m),
            "stopped": np.array([], dtype=int),
            "switch_logsnr": np.array([-1.0, 1.0]),
            "images": images.astype(np.uint8),
        }

    found = collect_images([part(0, 4), part(4, 4)], 6)
    assert found["seeds"].tolist() == list(range(6))
    assert found["images"][:, :, 0, 0, 0].tolist() == [
        [0, 1, 2, 3, 4, 5], [100, 101, 102, 103, 104, 105], [200, 201, 202, 203, 204, 205]
    ]  # fmt: skip
    with pytest.raises(ValueError, match="images: 8 found in the chunks, expected at least 9"):
        collect_images([part(0, 4), part(4, 4)], 9)
