"""The explorer page: what it holds, and what it does in a browser."""

import base64
import io
import json

import chromium
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cartoonists import VP, GaussianMixture, track_reverse_sde
from cartoonists.images.pictures import codec_sizes, gaussian_blur
from cartoonists.paths.streams import Streams
from cartoonists.report.explorer import page
from cartoonists.report.explorer_data import (
    Shown,
    anchors,
    guidance_sweep,
    high_density_sweep,
    lambda_path,
)

N, SWITCHES, STRENGTHS = 3, [-2.5, 2.5], [-1.3, 0.0, 1.3]
OPTIONS = {"reference": "a/b", "stein": "stein.npz", "flow": {"steps": 4}}


def images(settings, channels=1, size=8):
    shape = (settings, N, channels, size, size)
    return np.random.default_rng(channels).integers(0, 256, shape, dtype=np.uint8)


def high_density(channels=1):
    arrays = {
        "seeds": np.arange(5, 5 + N),
        "switch_logsnr": np.array(SWITCHES),
        "images": images(3, channels),
    }
    rows = [
        (seed, switch, 100.0 * i + seed)
        for i, switch in enumerate([np.nan, *SWITCHES])
        for seed in range(5, 5 + N)
    ]
    table = pd.DataFrame(rows, columns=["seed", "switch_logsnr", "log_density_nats"])
    return arrays, table.assign(dimensions=10, error_nats=0.5), OPTIONS


def guidance():
    arrays = {"strengths": np.array(STRENGTHS), "images": images(3)}
    rows = [
        (control, z, seed, 1000 * z + seed + 5000 * (control == "prior"))
        for control in ("prior", "guidance")
        for z in STRENGTHS
        for seed in range(N + 2)
    ]
    columns = ["control", "strength", "seed", "log_density_nats"]
    table = pd.DataFrame(rows, columns=columns).assign(dimensions=10, error_nats=np.inf)
    return arrays, table, OPTIONS


def path_arrays(channels=1):
    shape = (2, 3, channels, 8, 8)
    values = np.arange(6.0).reshape(2, 3) * 64 * channels
    return {
        "path_seeds": np.array([5, 6]),
        "path_logsnr": np.array([-10.0, 0.0, 10.0]),
        "path_images": np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8),
        "path_log_density": values,
        "path_error": values / 10,
    }


def anchored():
    """Two real images, and the tables that measured them, the second without blur."""
    real = np.random.default_rng(2).integers(0, 256, (2, 1, 8, 8), dtype=np.uint8)
    sizes = codec_sizes(real, ["png"])["png"]
    compression = pd.DataFrame(
        {"kind": ["data", "data", "ordinary"], "seed": [0, 1, 0], "log_density_nats": 64.0}
    ).assign(error_nats=6.4, dimensions=64, png_bytes=[*sizes, 9])
    rows = [
        (source, operation, repeat, logsnr, strength)
        for source in ("data", "samples")
        for operation in ("blur", "noise")
        for repeat in (0, 1)
        for logsnr in (-10.0, 10.0)
        for strength in (0.0, 0.5, 2.0)
    ]
    blur = pd.DataFrame(rows, columns=["source", "operation", "repeat", "logsnr", "strength"])
    blur = blur.assign(seed=0, log_density_nats=64 * (1 + blur["strength"]), dimensions=64)
    return real, compression, blur.assign(error_nats=3.2)


def test_settings_rise_to_the_ordinary_samples():
    arrays, table, options = high_density()
    sweep = high_density_sweep(arrays, table, options)
    assert sweep.settings == ["λ = -2.5", "λ = 2.5", "ordinary"] and sweep.reference == 2
    assert sweep.log_density[0] == [10.5, 10.6, 10.7]  # (100 + seed)/10, first switch
    assert sweep.log_density[2] == [0.5, 0.6, 0.7]
    assert sweep.error == 3 * [3 * [0.05]]
    np.testing.assert_array_equal(decoded(sweep.images[2][1]), arrays["images"][0, 1, 0])


def decoded(address):
    return np.array(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def test_guidance_takes_its_own_rows_and_the_seeds_that_are_shown():
    sweep = guidance_sweep(*guidance())
    assert sweep.seeds == [0, 1, 2] and sweep.settings[sweep.reference] == "z = 0"
    assert sweep.log_density == [[-130.0, -129.9, -129.8], [0.0, 0.1, 0.2], [130.0, 130.1, 130.2]]
    assert sweep.error == 3 * [3 * [None]]  # not finite


def test_every_setting_has_three_lines_of_python_that_make_its_samples():
    codes = high_density_sweep(*high_density()).code + guidance_sweep(*guidance()).code
    settings = ["switch_logsnr=-2.5", "switch_logsnr=2.5", "switch_logsnr=None"]
    settings += ["strength=-1.3", "strength=0.0", "strength=1.3"]
    for code, setting in zip(codes, settings, strict=True):
        assert len(code.splitlines()) == 3 and "seed=SEED" in code and setting in code
        compile(code, "explorer", "exec")
        assert "reference='a/b', stein='stein.npz', flow={'steps': 4}" in code


def test_real_images_stand_beside_their_blurred_versions():
    real, compression, blur = anchored()
    found = anchors(real, compression, blur)
    keys = [(a.image, a.blur, a.log_density, a.error) for a in found]
    assert keys == [
        (0, 0.0, 1.0, 0.1),
        (0, 0.5, 1.5, 0.05),
        (0, 2.0, 3.0, 0.05),
        (1, 0.0, 1.0, 0.1),
    ]
    blurred = gaussian_blur(real[:1], 2.0)
    np.testing.assert_array_equal(decoded(found[2].picture), blurred[0, 0])
    assert found[2].png_bytes == codec_sizes(blurred, ["png"])["png"][0]
    assert [a.image for a in anchors(real, compression)] == [0, 1]
    assert anchors(real[:0], compression, blur) == []
    with pytest.raises(ValueError, match="anchors: image 0 of .* bytes found, the table says"):
        anchors(real[::-1], compression.assign(png_bytes=1), blur)


def test_a_path_is_told_in_nats_a_dimension():
    path = lambda_path(path_arrays(3))
    assert path.log_density == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]] and path.error[1][1] == 0.4
    assert decoded(path.images[1][2]).shape == (8, 8, 3)
    assert lambda_path({"images": np.zeros(1)}) is None


def test_sizes_and_spectra_are_those_of_the_images():
    arrays, table, options = high_density(channels=3)
    sweep = high_density_sweep(arrays, table, options)
    assert sweep.png_bytes[0] == codec_sizes(arrays["images"][1], ["png"])["png"].tolist()
    # white noise of variance v has power v at every frequency
    assert np.mean(sweep.spectra) == pytest.approx(arrays["images"].astype(float).var(), rel=0.1)


def test_nothing_to_show_is_an_error():
    with pytest.raises(ValueError, match="a model without samples found"):
        page({"a/b": Shown([], None, [])}, {})


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    one, two = [high_density_sweep(*high_density())], [high_density_sweep(*high_density(3))]
    shown = {
        "fashion-mnist/likelihood": Shown(one, lambda_path(path_arrays()), anchors(*anchored())),
        "cifar10/quality": Shown([*two, guidance_sweep(*guidance())], None, []),
    }
    path = tmp_path_factory.mktemp("page") / "explorer.html"
    path.write_text(page(shown, {"rule": "explorer", "note": "</script>"}), encoding="utf-8")
    return path, {name: model.sweeps for name, model in shown.items()}


@pytest.fixture(scope="module", params=[(1200, 900), (360, 740)], ids=["desktop", "phone"])
def window(request, tmp_path_factory):
    if chromium.PROGRAM is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    window = chromium.Browser(tmp_path_factory.mktemp("profile"), *request.param)
    yield window
    window.close()


@pytest.fixture
def browser(window, built):
    """The page, opened anew; after each test it must have complained of and asked for nothing."""
    window.open(built[0], "document.body.dataset.ready")
    yield window
    assert window.complaints() == []
    assert [url for url in window.requests() if not url.startswith(("file:", "data:"))] == []


def shown(browser):
    return browser.value("[...document.querySelectorAll('#samples img')].map(i => i.src)")


def plotted(browser, plot, source):
    text = browser.value(
        f"JSON.stringify(drawn['{plot}'].get_model_by_name('{source}').data, "
        "(_, v) => v && v.length !== undefined && typeof v !== 'string' ? Array.from(v) : v)"
    )
    return json.loads(text)


def choose(browser, select, name):
    browser.value(f"$('{select}').value = '{name}'; $('{select}').onchange(); 0")


def test_the_slider_changes_images_and_plots_from_the_keyboard(browser, built):
    sweep = built[1]["fashion-mnist/likelihood"][0]
    assert shown(browser) == sweep.images[1]
    browser.value("$('slider').focus()")
    browser.press("ArrowRight")
    assert shown(browser) == sweep.images[2]
    assert browser.value("$('setting').textContent") == "ordinary"
    assert plotted(browser, "sizes", "shown")["bytes"] == sweep.png_bytes[2]
    assert plotted(browser, "settings", "all")["density"] == sum(sweep.log_density, [])
    assert plotted(browser, "spectra", "one")["power"] == sweep.spectra[2][0]


def test_a_chosen_sample_is_followed_and_kept(browser, built):
    sweep = built[1]["fashion-mnist/likelihood"][0]
    browser.value("document.querySelectorAll('#samples button')[1].focus()")
    browser.press("Enter")
    pressed = "document.activeElement.getAttribute('aria-pressed')"
    assert browser.value(pressed) == "true"
    path = plotted(browser, "settings", "path")
    assert path["density"] == [row[1] for row in sweep.log_density]
    assert path["seed"] == [6, 6, 6]
    browser.value("chooseSeed(7)")  # what a tap on a point calls
    assert plotted(browser, "sizes", "one")["density"] == [sweep.log_density[1][2]]


def test_data_sets_and_experiments_can_be_chosen(browser, built):
    choose(browser, "dataset", "cifar10")
    choose(browser, "experiment", "density guidance")
    sweep = built[1]["cifar10/quality"][1]
    assert shown(browser) == sweep.images[1]
    assert browser.value("$('slider').max") == "2"
    choose(browser, "dataset", "fashion-mnist")  # has no guidance
    assert browser.value("$('experiment').value") == "high-density sampling"


def test_the_page_fits_its_width(browser):
    width = browser.value("document.documentElement.clientWidth")
    assert browser.value("document.documentElement.scrollWidth") == width


def test_the_address_holds_the_view_and_brings_it_back(browser, built):
    browser.value("chooseSetting(0); chooseSeed(6); 0")
    browser.value("$('logsnr').value = 1; $('logsnr').oninput({target: $('logsnr')}); 0")
    address = browser.value("location.href")
    browser.open_address("about:blank", "true")
    browser.open_address(address, "document.body.dataset.ready")
    assert browser.value("$('setting').textContent + $('seed').textContent") == "λ = -2.56"
    assert browser.value("$('frameat').textContent + $('problem').hidden") == "0.00true"
    state = "#model=cifar10/quality&experiment=density guidance&setting=1.3&seed=2"
    browser.value(f"location.hash = '{state}'; new Promise(done => setTimeout(done, 50))")
    assert shown(browser) == built[1]["cifar10/quality"][1].images[2]
    assert browser.value("$('growing').hidden && $('anchoring').hidden")  # it has neither


def test_what_the_address_cannot_mean_is_said(browser):
    browser.value("location.hash = '#setting=7&colour=red'; new Promise(d => setTimeout(d, 50))")
    said = browser.value("$('problem').textContent")
    assert "colour: found, allowed: model, experiment" in said
    assert "setting: 7 found, allowed: -2.5, 2.5, ordinary" in said
    assert browser.value("$('problem').hidden") is False


def test_the_players_move_the_sliders_to_the_end(browser, built):
    path = lambda_path(path_arrays())
    browser.value("chooseSetting(0); 0")
    browser.value("for (const name of ['play', 'playpath']) $(name).click()")
    assert browser.value("$('play').getAttribute('aria-pressed')") == "true"
    wait = "new Promise(done => { const t = setInterval(() => { if ($('play').textContent === '▶' "
    browser.value(
        wait + "&& $('playpath').textContent === '▶') { clearInterval(t); done(0) } }, 50) })"
    )
    assert browser.value("$('setting').textContent") == "ordinary"
    assert browser.value("$('frame').src") == path.images[0][2]
    assert browser.value("$('grown').textContent") == "log p = 2.00 ± 0.20 nats/dim"


def test_every_density_has_its_error_bar(browser, built):
    sweep = built[1]["fashion-mnist/likelihood"][0]
    points = plotted(browser, "settings", "all")
    assert browser.value("drawn.settings.roots()[0].below[0].ticker.ticks") == [0, 1, 2]
    values = np.array(sum(sweep.log_density, []))
    np.testing.assert_allclose(points["high"], values + 0.05)
    np.testing.assert_allclose(points["low"], values - 0.05)
    real = plotted(browser, "sizes", "real")
    assert real["density"] == [1, 1] and real["high"] == [1.1, 1.1]
    assert plotted(browser, "sizes", "blurred")["density"] == [1.5, 3]
    band = plotted(browser, "lambdas", "path")
    assert band["density"] == [0, 1, 2] and band["high"] == [0, 1.1, 2.2]
    texts = browser.value("[...document.querySelectorAll('#samples button')].map(b => b.ariaLabel)")
    assert all(" ± 0.05 nats/dim, " in text for text in texts)


def test_the_random_numbers_of_the_page_are_the_librarys(browser):
    drawn = browser.value("[...new Stream(2 ** 40 + 3, 'path').normals(20000)]")
    np.testing.assert_allclose(drawn, Streams([2**40 + 3], "path").normal((20000,))[0], atol=1e-13)
    assert np.abs(drawn).max() > 3.66  # beyond the ziggurat's layers too
    signs = browser.value("[...new Stream(7, 'probe').signs(50)]")
    assert signs == Streams([7], "probe").rademacher((50,))[0].tolist()


@pytest.mark.parametrize("method", ["euler-maruyama", "ancestral"])
def test_the_mixture_of_the_page_is_tracked_as_by_the_library(browser, method):
    made = browser.value(f"[0, 1, 2].map(seed => trackMixture('{method}', seed, 17))")
    code = browser.value("$('planecode').textContent").splitlines()
    assert len(code) == 3
    names = {"GaussianMixture": GaussianMixture, "VP": VP}
    exec(code[1], names)
    run = track_reverse_sde(names["mixture"], n=3, steps=17, method=method)
    for key, values in (
        ("x", run.x), ("tracked", run.log_density), ("error", run.error),
        ("exact", names["mixture"].log_prob(run.x)),
    ):  # fmt: skip
        np.testing.assert_allclose([sample[key] for sample in made], values, atol=1e-10)


def test_the_page_is_named_to_those_who_do_not_see_it(browser):
    unnamed = """[...document.querySelectorAll('button, select, input, img, canvas, [role=img]')]
      .filter(e => !(e.labels?.length || e.ariaLabel || e.textContent.trim() || e.alt
                     || e.closest('button, .card'))).map(e => e.outerHTML.slice(0, 80))"""
    assert browser.value(unnamed) == []
    browser.value("chooseSeed(7); 0")
    assert browser.value("$('status').textContent").startswith("seed 7, λ = 2.5: 20.70 ± 0.05")
    assert browser.value("$('status').getAttribute('aria-live')") == "polite"
