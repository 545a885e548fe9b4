"""The live page in a browser: a seed has the library's log-density, and no other server is asked.

``make live`` builds the page; where it is absent, the tests are skipped.
"""

import functools
import http.server
import json
import threading
from pathlib import Path

import chromium
import numpy as np
import pytest
import torch

from cartoonists import load_model, ode_log_density
from cartoonists.experiments.blur import noised_image

SITE = Path(__file__).resolve().parents[2] / "site" / "live"
CLOSE = 0.01  # nats/dim, what the float32 of two runtimes may differ by


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (SITE / "index.html").is_file():
        pytest.skip("no live page in site/live (make live)")
    if chromium.PROGRAM is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    handler = functools.partial(Quiet, directory=SITE)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    window = chromium.Browser(tmp_path_factory.mktemp("profile"), 360, 740)
    address = f"http://127.0.0.1:{server.server_port}/"
    window.open_address(address, "document.body.dataset.ready")
    yield window
    assert window.complaints() == []
    asked = [url for url in window.requests() if not url.startswith(("data:", "blob:"))]
    assert asked and all(url.startswith(address) for url in asked)
    window.close()
    server.shutdown()


@pytest.fixture(scope="module")
def card():
    return json.loads((SITE / "card.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model(card):
    return load_model(card["name"], device="cpu")


def drawn(browser, **settings):
    for name, value in settings.items():
        browser.value(f"$('{name}').value = '{value}'; show(); 0")
    return browser.value("draw()")


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "switch", "switch": -2.5, "seed": 5},
        {"method": "switch", "switch": 10, "seed": 6},
        {"method": "strength", "strength": 0.5, "seed": 7},
    ],
    ids=["high-density", "ordinary", "guided"],
)
def test_the_python_of_the_page_gives_its_log_density(browser, model, settings, monkeypatch):
    found = drawn(browser, steps=16, **settings)
    monkeypatch.chdir(SITE)
    names = {}
    exec(browser.value("$('code').textContent"), names)
    run = names["run"]
    assert found["logDensity"] / 784 == pytest.approx(float(run.log_density) / 784, abs=CLOSE)
    picture = model.finish(run.x)[0, 0].numpy().astype(int).ravel()
    assert np.mean(np.abs(np.array(found["pixels"]) - picture)) < 1  # of 255 grey levels


def test_a_picture_has_the_librarys_log_density(browser, model, card):
    browser.value("$('real').click(); 0")
    found = browser.value("score()")
    pixels = torch.tensor(card["real"], dtype=torch.uint8).view(1, *card["shape"])
    x = noised_image(model, pixels.numpy(), [0])
    same = ode_log_density(model, x, card["score_steps"], divergence="difference", seeds=[0])
    assert found / 784 == pytest.approx(float(same.log_density) / 784, abs=CLOSE)
    assert " nats/dim by the PF-ODE" in browser.value("$('scored').textContent")


def test_a_stroke_is_drawn(browser):
    browser.value("$('clear').click(); $('drawing').scrollIntoView({block: 'center'})")
    box = browser.value("(({x, y, width}) => [x, y, width])($('drawing').getBoundingClientRect())")
    for kind, share in (("mousePressed", 0.3), ("mouseMoved", 0.6), ("mouseReleased", 0.6)):
        place = {"x": box[0] + share * box[2], "y": box[1] + share * box[2]}
        browser.call("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, **place)
    assert browser.value("drawing.some(grey => grey > 200)")


def test_the_page_fits_its_width(browser):
    width = browser.value("document.documentElement.clientWidth")
    assert browser.value("document.documentElement.scrollWidth") == width
