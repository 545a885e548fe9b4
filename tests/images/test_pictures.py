"""Image operations and measures against values known in closed form."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image
from scipy import linalg

from cartoonists.images import pictures as im


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def noise(rng):
    return rng.integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)


OPERATIONS = {
    "blur": lambda x: im.gaussian_blur(x, 1.3),
    "noise": lambda x: im.add_noise(x, 7.0, range(len(x))),
    "contrast": lambda x: im.scale_contrast(x, 0.6),
    "down-up": lambda x: im.down_up(x, 4),
}
NEUTRAL = {
    "blur": lambda x: im.gaussian_blur(x, 0),
    "noise": lambda x: im.add_noise(x, 0, range(len(x))),
    "contrast": lambda x: im.scale_contrast(x, 1),
    "down-up": lambda x: im.down_up(x, 1),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_keep_dtype_and_treat_images_alone(noise, name):
    operation = OPERATIONS[name]
    original = noise.copy()
    result = operation(noise)
    assert result.dtype == np.uint8 and result.shape == noise.shape
    assert (result != noise).mean() > 0.5
    np.testing.assert_array_equal(noise, original)
    np.testing.assert_array_equal(operation(noise[:1]), result[:1])
    floats = operation(noise.astype(np.float64))
    assert floats.dtype == np.float64
    np.testing.assert_array_equal(np.clip(np.rint(floats), 0, 255), result)
    assert np.abs(floats - np.rint(floats)).max() > 0.1  # floats are not rounded
    np.testing.assert_array_equal(NEUTRAL[name](noise), noise)


def test_blur_of_a_wave_is_damped_by_the_gaussians_transform():
    size, waves, sigma = 64, 4, 1.5
    k = 2 * np.pi * waves / size
    # cosine about pixel edges: reflection at the border continues it exactly
    wave = np.cos(k * (np.arange(size) + 0.5))
    image = 100 + 50 * np.broadcast_to(wave, (1, 1, size, size))
    damped = 100 + 50 * np.exp(-(k**2) * sigma**2 / 2) * wave
    expected = np.broadcast_to(damped, image.shape)
    np.testing.assert_allclose(im.gaussian_blur(image, sigma), expected, atol=0.02)
    np.testing.assert_allclose(
        im.gaussian_blur(image.swapaxes(2, 3), sigma), expected.swapaxes(2, 3), atol=0.02
    )


def test_blurs_add_in_variance(rng):
    image = rng.uniform(0, 255, (1, 2, 40, 40))
    twice = im.gaussian_blur(im.gaussian_blur(image, 1.2), 1.6)
    np.testing.assert_allclose(twice, im.gaussian_blur(image, 2.0), atol=0.2)


def test_noise_depends_on_its_seed_alone():
    grey = np.full((4, 1, 32, 32), 128.0)
    first = im.add_noise(grey, 10.0, [5, 6, 7, 8])
    np.testing.assert_array_equal(im.add_noise(grey[:2], 10.0, [8, 5]), first[[3, 0]])
    np.testing.assert_allclose(im.add_noise(grey, 20.0, [5, 6, 7, 8]) - 128, 2 * (first - 128))
    assert not np.array_equal(first[0], first[1])
    assert first.std() == pytest.approx(10, rel=0.05)


def test_contrast_scales_the_deviation_of_each_channel(noise):
    values = noise.astype(np.float64)
    result = im.scale_contrast(values, 0.25)
    np.testing.assert_allclose(result.mean(axis=(2, 3)), values.mean(axis=(2, 3)))
    np.testing.assert_allclose(result.std(axis=(2, 3)), values.std(axis=(2, 3)) / 4)
    assert im.scale_contrast(values, 0).std(axis=(2, 3)).max() < 1e-9


def test_down_up_keeps_slopes_inside_and_removes_stripes():
    ramp = np.broadcast_to(np.arange(32.0), (1, 1, 32, 32))
    result = im.down_up(ramp, 4)
    np.testing.assert_allclose(result[..., 2:-2], ramp[..., 2:-2], atol=1e-9)
    stripes = np.broadcast_to(np.tile([0.0, 200.0], 16), (1, 1, 32, 32))
    np.testing.assert_allclose(im.down_up(stripes, 2), 100)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: im.gaussian_blur(x, -1),
        lambda x: im.gaussian_blur(x, np.nan),
        lambda x: im.gaussian_blur(x[0], 1),
        lambda x: im.gaussian_blur(x.astype(int), 1),
        lambda x: im.add_noise(x, -1, range(3)),
        lambda x: im.add_noise(x, 1, range(2)),
        lambda x: im.scale_contrast(x, -0.1),
        lambda x: im.down_up(x, 3),
        lambda x: im.down_up(x, 0),
        lambda x: im.down_up(x, 1.5),
        lambda x: im.codec_sizes(x, ["gif"]),
        lambda x: im.codec_sizes(x.astype(float)),
        lambda x: im.codec_sizes(x[:, :2]),
        lambda x: im.distinct_colours(x, 0),
        lambda x: im.distinct_colours(x, 257),
        lambda x: im.distinct_colours(x.astype(float)),
        lambda x: im.radial_power_spectrum(x[..., :-1]),
        lambda x: im.total_variation(x[0]),
    ],
)
def test_wrong_input_is_refused_in_one_line(noise, call):
    with pytest.raises(ValueError, match="allowed") as caught:
        call(noise)
    assert "\n" not in str(caught.value)


# --- codecs ---------------------------------------------------------------------------------------


def test_png_zlib_sizes_are_those_of_the_files(noise):
    sizes = im.codec_sizes(noise, ["png", "zlib"])
    for image, png, deflated in zip(noise, sizes["png"], sizes["zlib"], strict=True):
        stream = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(stream, "PNG", optimize=True)
        assert png == len(stream.getvalue())
        assert deflated == len(zlib.compress(image.transpose(1, 2, 0).tobytes(), 9))


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_costs_more_than_slopes_and_slopes_more_than_flatness(noise, channels):
    flat = np.full((1, channels, 32, 32), 77, np.uint8)
    slope = flat + np.hypot(2 * np.arange(32.0), np.arange(32.0)[:, None]).astype(np.uint8)
    pictures = np.concatenate([flat, slope, noise[:1, :channels]])
    sizes = im.codec_sizes(pictures)
    assert {"png", "zlib", "lzma", "jpeg"} <= set(sizes)
    for name, found in sizes.items():
        assert found.dtype == np.int64
        assert 0 < found[0] < found[1] < found[2], name
    for name in ("png", "webp_lossless", "jpeg2000", "zlib", "lzma"):  # noise has no shorter code
        if name in sizes:
            assert sizes[name][2] >= channels * 32 * 32, name


@pytest.mark.parametrize(("name", "form"), [("webp_lossless", "WEBP"), ("jpeg2000", "JPEG2000")])
def test_lossless_codecs_lose_nothing(noise, name, form, monkeypatch):
    if name not in im.available_codecs():
        pytest.skip(f"this Pillow has no {name}")
    written = []
    save = Image.Image.save

    def kept(image, stream, chosen, **options):
        save(image, stream, chosen, **options)
        written.append((chosen, stream.getvalue()))

    monkeypatch.setattr(Image.Image, "save", kept)
    im.codec_sizes(noise[:1], [name])
    ((chosen, content),) = written
    assert chosen == form
    decoded = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(decoded, noise[0])


def test_missing_codec_is_left_out(noise, monkeypatch):
    monkeypatch.setattr(im.features, "check", lambda feature: feature != "avif")
    assert "avif" not in im.available_codecs() and "png" in im.available_codecs()
    assert "avif" not in im.codec_sizes(noise[:1])
    with pytest.raises(ValueError, match="'avif' found, allowed png"):
        im.codec_sizes(noise[:1], ["avif"])


# --- detail ---------------------------------------------------------------------------------------


def test_total_variation_and_gradient_of_known_images():
    step = np.zeros((1, 1, 8, 10), np.uint8)
    step[..., 4:] = 200
    assert im.total_variation(step) == pytest.approx(8 * 200)
    assert im.gradient_energy(step) == pytest.approx(200 / 9)
    ramp = (3 * np.arange(10.0) + 4 * np.arange(8.0)[:, None])[None, None]
    # the gradient is (3, 4) inside, 3 on the last row, 4 on the last column, 0 in the corner
    assert im.total_variation(ramp) == pytest.approx(5 * 7 * 9 + 3 * 9 + 4 * 7)
    assert im.gradient_energy(ramp) == pytest.approx(7)
    two = np.concatenate([ramp, ramp], axis=1)
    assert im.total_variation(two) == pytest.approx(2 * im.total_variation(ramp))
    assert im.gradient_energy(two) == pytest.approx(7)


def test_spectrum_of_a_wave_and_of_white_noise(rng):
    wave = 100 + 20 * np.cos(2 * np.pi * 5 * np.arange(32) / 32)
    frequency, power = im.radial_power_spectrum(np.broadcast_to(wave, (1, 1, 32, 32)))
    np.testing.assert_allclose(frequency, np.arange(1, 17) / 32)
    assert power.shape == (1, 16) and power[0].argmax() == 4
    steps = np.hypot(*np.meshgrid(np.fft.fftfreq(32) * 32, np.fft.fftfreq(32) * 32))
    members = (np.rint(steps) == 5).sum()
    # two coefficients of 10 · 32² each, squared, over 32², spread over the ring's members
    assert power[0, 4] == pytest.approx(2 * (10 * 32) ** 2 / members)
    assert power[0, np.arange(16) != 4].max() < 1e-9
    white = rng.normal(50, 3, (400, 2, 16, 16))
    np.testing.assert_allclose(im.radial_power_spectrum(white)[1].mean(axis=0), 9, rtol=0.05)


def test_distinct_colours():
    grey = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    assert im.distinct_colours(grey) == 256
    assert im.distinct_colours(grey, 16) == 16
    assert im.distinct_colours(grey, 1) == 1
    colours = np.concatenate([grey, grey.swapaxes(2, 3), 0 * grey], axis=1)
    assert im.distinct_colours(colours) == 256
    assert im.distinct_colours(colours, 16) == 256  # (row, column) pairs stay distinct
    swapped = np.zeros((1, 3, 1, 2), np.uint8)
    swapped[0, :, 0, 0], swapped[0, :, 0, 1] = (1, 2, 0), (2, 1, 0)
    assert im.distinct_colours(swapped) == 2  # a colour is a tuple, not a set


def quadrants(levels):
    """Four flat regions, in levels that differ: two edges cross, over 6% of the pixels."""
    half = np.ones((16, 16))
    return np.block([[levels[0] * half, levels[1] * half], [levels[2] * half, levels[3] * half]])


def test_edge_share_is_kept_by_a_cartoon_and_lost_by_blur(rng):
    flat = np.stack([quadrants(v) for v in rng.permuted([[40.0, 90, 150, 210]] * 6, axis=1)])
    cartoon = np.stack([flat, flat[:, ::-1]], axis=1)
    ordinary = cartoon + 6 * rng.standard_normal(cartoon.shape)
    blurred = im.gaussian_blur(ordinary, 2.0)
    for images in (cartoon, blurred):  # both have less detail
        assert (im.gradient_energy(images) < im.gradient_energy(ordinary)).all()
    np.testing.assert_allclose(im.edge_share(cartoon), 1)
    assert (im.edge_share(ordinary) < 0.97).all()
    assert (im.edge_share(blurred) < 0.9 * im.edge_share(ordinary)).all()
    np.testing.assert_allclose(im.edge_share(20 + 0.5 * ordinary), im.edge_share(ordinary))
    noise = im.edge_share(rng.standard_normal((4, 1, 128, 128)))  # near (1 + log 10)/10
    np.testing.assert_allclose(noise, 0.37, atol=0.05)
    even = np.stack([3.0 * np.arange(41) + np.zeros((41, 1)), np.full((41, 41), 7.0)])[:, None]
    np.testing.assert_allclose(im.edge_share(even), 0.1)


# --- sets of images -------------------------------------------------------------------------------


def test_pairwise_distance():
    corners = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    assert im.mean_pairwise_distance(corners) == pytest.approx((3 + 4 + 5) / 3)


def test_vendi_score_counts_groups(rng):
    assert im.vendi_score(np.eye(7)) == pytest.approx(7)
    assert im.vendi_score(np.repeat(np.eye(4), 5, axis=0)) == pytest.approx(4)
    assert im.vendi_score(np.ones((9, 3)) * np.arange(1, 10)[:, None]) == pytest.approx(1)
    values = rng.normal(size=(20, 50))
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    shares = np.linalg.eigvalsh(unit @ unit.T / 20)
    assert im.vendi_score(values) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_frechet_distance_of_known_gaussians(rng):
    values = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6))
    assert im.frechet_distance(values, values) == pytest.approx(0, abs=1e-9)
    assert im.frechet_distance(values, values + 2) == pytest.approx(6 * 4)
    spread = ((values - values.mean(0)) ** 2).sum() / 499  # tr C; (1-3)² tr C for a scaling by 3
    assert im.frechet_distance(values, 3 * (values - values.mean(0)) + values.mean(0)) == (
        pytest.approx(4 * spread)
    )


def test_frechet_distance_equals_its_definition(rng):
    one, two = rng.normal(size=(300, 5)), rng.normal(1, 2, (200, 5)) @ rng.normal(size=(5, 5))
    c1, c2 = np.cov(one.T), np.cov(two.T)
    gap = one.mean(0) - two.mean(0)
    expected = gap @ gap + np.trace(c1 + c2 - 2 * linalg.sqrtm(c1 @ c2).real)
    assert im.frechet_distance(one, two) == pytest.approx(expected)
    assert im.frechet_distance(two, one) == pytest.approx(expected)


def test_frechet_distance_of_few_images_is_finite(rng):
    one, two = rng.normal(size=(10, 64)), rng.normal(size=(12, 64))  # singular covariances
    assert 0 < im.frechet_distance(one, two) < 1000
    assert im.frechet_distance(one, one) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: im.mean_pairwise_distance(np.zeros((1, 3))),
        lambda: im.mean_pairwise_distance(np.zeros(3)),
        lambda: im.vendi_score(np.array([[1.0, np.nan]])),
        lambda: im.vendi_score(np.array([[1.0, 0.0], [0.0, 0.0]])),
        lambda: im.frechet_distance(np.zeros((4, 3)), np.zeros((4, 2))),
        lambda: im.frechet_distance(np.full((4, 3), np.inf), np.zeros((4, 3))),
    ],
)
def test_wrong_features_are_refused(call):
    with pytest.raises(ValueError, match="features"):
        call()
