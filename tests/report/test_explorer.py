"""The explorer page: what it holds, and what it does in a browser."""

import base64
import io
import json

import chromium
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cartoonists.images.pictures import codec_sizes
from cartoonists.report.explorer import guidance_sweep, high_density_sweep, page

N, SWITCHES, STRENGTHS = 3, [-2.5, 2.5], [-1.3, 0.0, 1.3]


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
    return arrays, table.assign(dimensions=10)


def guidance():
    arrays = {"strengths": np.array(STRENGTHS), "images": images(3)}
    rows = [
        (control, z, seed, 1000 * z + seed + 5000 * (control == "prior"))
        for control in ("prior", "guidance")
        for z in STRENGTHS
        for seed in range(N + 2)
    ]
    columns = ["control", "strength", "seed", "log_density_nats"]
    return arrays, pd.DataFrame(rows, columns=columns).assign(dimensions=10)


def test_settings_rise_to_the_ordinary_samples():
    arrays, table = high_density()
    sweep = high_density_sweep(arrays, table)
    assert sweep.settings == ["λ = -2.5", "λ = 2.5", "ordinary"] and sweep.reference == 2
    assert sweep.log_density[0] == [10.5, 10.6, 10.7]  # (100 + seed)/10, first switch
    assert sweep.log_density[2] == [0.5, 0.6, 0.7]
    shown = Image.open(io.BytesIO(base64.b64decode(sweep.images[2][1].partition(",")[2])))
    np.testing.assert_array_equal(np.array(shown), arrays["images"][0, 1, 0])


def test_guidance_takes_its_own_rows_and_the_seeds_that_are_shown():
    sweep = guidance_sweep(*guidance())
    assert sweep.seeds == [0, 1, 2] and sweep.settings[sweep.reference] == "z = 0"
    assert sweep.log_density == [[-130.0, -129.9, -129.8], [0.0, 0.1, 0.2], [130.0, 130.1, 130.2]]


def test_sizes_and_spectra_are_those_of_the_images():
    arrays, table = high_density(channels=3)
    sweep = high_density_sweep(arrays, table)
    assert sweep.png_bytes[0] == codec_sizes(arrays["images"][1], ["png"])["png"].tolist()
    # white noise of variance v has power v at every frequency
    assert np.mean(sweep.spectra) == pytest.approx(arrays["images"].astype(float).var(), rel=0.1)


def test_nothing_to_show_is_an_error():
    with pytest.raises(ValueError, match="a model without samples found"):
        page({"a/b": []}, {})


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    sweeps = {
        "fashion-mnist/likelihood": [high_density_sweep(*high_density())],
        "cifar10/quality": [high_density_sweep(*high_density(3)), guidance_sweep(*guidance())],
    }
    path = tmp_path_factory.mktemp("page") / "explorer.html"
    path.write_text(page(sweeps, {"rule": "explorer", "note": "</script>"}), encoding="utf-8")
    return path, sweeps


@pytest.fixture(scope="module", params=[(1200, 900), (390, 844)], ids=["desktop", "phone"])
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
