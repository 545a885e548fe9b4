"""The command line: numbers against closed forms, resumption, exit codes, streams."""

import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from closed_forms import gaussian_images
from PIL import Image
from typer.testing import CliRunner

from cartoonists.commands import sampling, scoring
from cartoonists.commands.app import app
from cartoonists.models import checkpoints
from cartoonists.models.checkpoints import save_model
from cartoonists.models.networks import PixelUNet
from cartoonists.paths.scores import NonFiniteScore
from cartoonists.paths.streams import Streams

SHAPE = (1, 6, 6)
FEW = ["--steps", "8", "--batch", "2", "-q"]


def call(*arguments, code=0):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One for all tests, so that the table is estimated once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def exact(monkeypatch, tmp_path, cache):
    """The model that every name loads: an exact network, in an empty folder; and its density."""
    model, target = gaussian_images()
    model.card = {"name": "exact"}

    def load(name, **options):
        model.posterior = None
        return model

    monkeypatch.setattr(checkpoints, "load_model", load)
    monkeypatch.setenv("CARTOONISTS_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    return model, target


@pytest.fixture
def pictures(exact, tmp_path):
    """Five pictures in a folder."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, pixels in enumerate(np.random.default_rng(0).integers(64, 192, (5, 6, 6), np.uint8)):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def interrupt_after(monkeypatch, module, name, calls):
    """Ctrl-C during the call of a function that follows so many."""
    function, count = getattr(module, name), iter(range(calls))

    def interrupted(*arguments, **options):
        if next(count, None) is None:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    monkeypatch.setattr(module, name, interrupted)


def test_scores_are_the_truth(exact, pictures):
    model, target = exact
    call("score", "m", pictures, "--steps", 64, "--probes", 16, "--elbo", 2, "-q", "-o", "t.csv")
    table = pd.read_csv("t.csv")
    assert list(table["image"]) == [str(pictures / f"{i}.png") for i in range(5)]
    pixels = np.stack([np.asarray(Image.open(name))[None] for name in table["image"]])
    noise = Streams(table["seed"], "dequantisation").uniform(SHAPE)
    x = model.from_pixels(torch.from_numpy(pixels), noise)
    truth = target.log_prob(x, model.schedule.logsnr_max).numpy()
    found = table["ode_log_density_nats"]
    assert np.abs(found - truth).max() < 0.6 and table["ode_error_nats"].max() < 1.5
    bits = -(found - model.log_pixels_per_unit) / (36 * math.log(2))
    assert np.allclose(table["ode_bits_per_dim"], bits, rtol=1e-12)
    assert (table["elbo_log_density_nats"] <= table["iwae_log_density_nats"]).all()
    assert (table["elbo_log_density_nats"] - truth).mean() < 0.5
    assert np.abs(table["iwae_log_density_nats"] - truth).max() < 5


@pytest.mark.parametrize("way", [[], ["--switch", 0], ["--guide", 1]], ids=str)
def test_samples_have_their_log_density(exact, monkeypatch, way):
    model, target = exact
    ends = {}
    draws = sampling.draw_samples

    def kept(model, seeds, *rest, **options):
        drawn = draws(model, seeds, *rest, **options)
        ends.update(zip(seeds, drawn.x, strict=True))
        return drawn

    monkeypatch.setattr(sampling, "draw_samples", kept)
    call("sample", "m", "-n", 4, "--steps", 128, "--probes", 16, *way, "-q", "--out", "out")
    table = pd.read_csv("out/samples.csv")
    x = torch.stack([ends[seed] for seed in table["seed"]])
    truth = target.log_prob(x, model.schedule.logsnr_max).numpy()
    assert np.abs(table["log_density_nats"] - truth).max() < 1.5
    assert table["error_nats"].max() < 2
    shown = np.asarray(Image.open("out/000002.png"))
    assert (shown == model.finish(x)[2, 0].numpy()).all()


def test_more_density_is_denser(exact):
    means = []
    for strength in (-1, 0, 1):
        call("sample", "m", "-n", 8, "--guide", strength, *FEW, "--out", f"out{strength}")
        means.append(pd.read_csv(f"out{strength}/samples.csv")["log_density_nats"].mean())
    assert means[0] < means[1] < means[2]


def test_a_sample_depends_on_its_seed_alone(exact, tmp_path):
    call("sample", "m", "-n", 5, *FEW, "--out", "five")
    call("sample", "m", "-n", 1, "--seed", 3, *FEW, "--out", "one")
    five, one = (pd.read_csv(f"{name}/samples.csv") for name in ("five", "one"))
    assert five[3:4].reset_index(drop=True).equals(one)
    assert (tmp_path / "five/000003.png").read_bytes() == (tmp_path / "one/000003.png").read_bytes()


def test_more_samples_are_added_to_those_that_are_there(exact, tmp_path):
    call("sample", "m", "-n", 6, *FEW, "--out", "whole")
    call("sample", "m", "-n", 2, *FEW, "--out", "out")
    (tmp_path / "out" / "000001.png").unlink()
    call("sample", "m", "-n", 6, *FEW, "--out", "out")
    for name in ("samples.csv", "000001.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    said = call("sample", "m", "-n", 2, *FEW, "--out", "out", code=1).stderr
    assert "holds 4 rows that were not asked for (000002.png)" in said


def test_an_image_depends_on_no_other_image(exact, pictures):
    call("score", "m", pictures, *FEW, "-o", "all.csv")
    table = json.loads(call("score", "m", pictures / "3.png", *FEW, "--json").stdout)
    everything = pd.read_csv("all.csv", dtype=str)
    for name in ("seed", "ode_log_density_nats", "ode_error_nats"):
        assert str(table["rows"][0][name]) == everything[name][3]


@pytest.mark.parametrize(
    ("module", "function", "command", "file"),
    [
        (scoring, "image_scores", ["score", "m", "pictures", "-o", "{}/t.csv"], "t.csv"),
        (sampling, "draw_samples", ["sample", "m", "-n", 5, "--out", "{}"], "samples.csv"),
    ],
    ids=["score", "sample"],
)
def test_an_interrupted_run_goes_on(
    pictures, tmp_path, monkeypatch, module, function, command, file
):
    def run(place, code=0):
        return call(*(str(word).format(place) for word in command), *FEW, code=code)

    run("whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, module, function, 2)
        assert "interrupted" in run("cut", code=130).stderr
    assert len(pd.read_csv(tmp_path / "cut" / file)) == 4
    with monkeypatch.context() as patch:
        interrupt_after(patch, module, function, 1)  # a second batch would be one too many
        assert "5 of 5 rows done" in run("cut").stdout
    assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_json_alone_is_on_standard_output(exact, pictures):
    result = call("score", "m", pictures, "--limit", 2, "--steps", 8, "--json", "-o", "t.csv")
    content = json.loads(result.stdout)
    assert content["asked"] == content["done"] == 2 and content["out"] == "t.csv"
    assert content["settings"]["steps"] == 8 and len(content["settings"]["model_sha256"]) == 64
    assert "step" in result.stderr  # the progress bar
    plain = call("score", "m", pictures, "--limit", 2, *FEW)
    assert plain.stdout == pd.read_csv("t.csv", dtype=str).to_csv(index=False)
    assert plain.stderr == ""


def test_a_dry_run_writes_nothing(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("CARTOONISTS_CACHE", str(tmp_path / "cache"))
    result = call("score", "m", pictures, "--dry-run", "-o", "t.csv")
    assert result.stdout == "0 of 5 rows done: t.csv\n"
    assert not (tmp_path / "t.csv").exists() and not (tmp_path / "cache").exists()
    call("score", "m", "nowhere", "--dry-run", code=1)


def test_what_is_stored_with_other_settings_is_refused(pictures, tmp_path):
    call("score", "m", pictures, *FEW, "-o", "t.csv")
    before = (tmp_path / "t.csv").read_bytes()
    for words in (["--probes", 2], ["--seed", 1], ["--elbo", 1]):
        said = call("score", "m", pictures, *FEW, *words, "-o", "t.csv", code=1).stderr
        assert "begun with other settings" in said and said.count("\n") == 1
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    assert "remove it" in call("score", "m", pictures, *FEW, "-o", "mine.csv", code=1).stderr
    assert (tmp_path / "t.csv").read_bytes() == before
    assert (tmp_path / "mine.csv").read_text() == "a,b\n1,2\n"


def test_a_row_without_a_number_is_told(exact, pictures, monkeypatch):
    scores = scoring.image_scores

    def failing(model, pixels, seeds, *rest):
        if bad := [seed for seed in seeds if seed == third]:
            raise NonFiniteScore(bad, 2.0)
        return scores(model, pixels, seeds, *rest)

    third = scoring.read_images([str(pictures)], SHAPE, None, 0)[0]["seed"][2]
    monkeypatch.setattr(scoring, "image_scores", failing)
    result = call("score", "m", pictures, *FEW, "--json", code=1)
    rows = json.loads(result.stdout)["rows"]
    missing = [row["ode_log_density_nats"] is None for row in rows]
    assert missing == [False, False, True, False, False]
    assert "1 of 5 rows have no finite number" in result.stderr
    alone = call("score", "m", pictures / "2.png", *FEW, "-o", "one.csv", code=1)
    assert "1 of 1 rows" in alone.stderr


WRONG = [
    ["score"],
    ["score", "m"],
    ["score", "m", "x.png", "--steps", "0"],
    ["score", "m", "x.png", "--steps", "many"],
    ["sample", "m"],
    ["sample", "m", "--out", "o", "-n", "0"],
    ["sample", "m", "--out", "o", "--switch", "1", "--guide", "1"],
    ["train", "folder", "-o", "m.safetensors"],
    ["train", "folder", "-o", "m.safetensors", "--steps", "1", "--minutes", "1"],
    ["train", "folder", "--steps", "1"],
    ["simple", "m"],
    ["score", "m", "x.png", "--unknown"],
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_wrong_usage_ends_with_2(exact, words):
    result = call(*words, code=2)
    assert result.stdout == "" and "Error" in result.stderr


REFUSED = [
    (["score", "m", "missing.png"], "missing.png"),
    (["score", "m", "large.png"], "7 × 6 pixels found, allowed: 6 × 6"),
    (["score", "m", "floats.npy"], "float64 found, allowed: uint8"),
    (["sample", "m", "--out", "o", "--switch", "99"], "switch"),
    (["sample", "m", "--out", "o", "--guide", "nan"], "strength: nan found, allowed: finite"),
    (["sample", "m", "--out", "file.txt"], "file.txt"),
]


@pytest.mark.parametrize(("words", "named"), REFUSED, ids=lambda value: str(value)[:40])
def test_refusals_are_one_line_and_end_with_1(exact, tmp_path, words, named):
    Image.new("L", (7, 6)).save("large.png")
    np.save("floats.npy", np.zeros((2, 6, 6)))
    (tmp_path / "file.txt").write_text("")
    result = call(*words, "-q", code=1)
    assert result.stdout == "" and result.stderr.count("\n") <= 2
    assert named in result.stderr.splitlines()[-1] and "Traceback" not in result.stderr


def test_a_stored_network_samples_what_it_scores(tmp_path, monkeypatch):
    """A stored network; the table that one command has estimated serves the next."""
    monkeypatch.setenv("CARTOONISTS_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    architecture = {"channels": 1, "size": 8, "widths": [32], "stem_width": 2, "head_width": 8}
    card = {
        "architecture": {"name": "PixelUNet", **architecture},
        "head": "eps",
        "schedule": {"kind": "VP", "logsnr_min": -6.0, "logsnr_max": 6.0},
        "data": {"name": "none", "shape": [1, 8, 8], "mean": [0.5], "std": [0.25]},
    }
    model, out = tmp_path / "tiny.safetensors", tmp_path / "out"
    save_model(model, PixelUNet(**architecture), card)
    drawn = call("sample", model, "-n", 2, "--steps", 4, "--out", out)
    assert drawn.stdout == f"2 of 2 rows done: {out / 'samples.csv'}\n"
    assert "Stein table" in drawn.stderr
    scored = call("score", model, out, "--steps", 4, "--json", "-q")
    assert scored.stderr == ""
    images = [row["image"] for row in json.loads(scored.stdout)["rows"]]
    assert images == [str(out / "000000.png"), str(out / "000001.png")]


def test_a_process_of_its_own_refuses_in_one_line(tmp_path):
    words = ["score", tmp_path / "m.safetensors", "x"]
    command = [sys.executable, "-m", "cartoonists.commands", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "m.safetensors" in done.stderr


def test_help_teaches_and_imports_nothing_heavy():
    code = (
        "import sys\nfrom typer.testing import CliRunner\n"
        "from cartoonists.commands.app import app\n"
        "for words in ([], ['score'], ['sample'], ['train']):\n"
        "    print(CliRunner().invoke(app, [*words, '--help']).stdout)\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'scipy', 'PIL'} & set(sys.modules)))\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert said.splitlines()[-1] == "[]"
    for command in ("score", "sample", "train"):
        assert said.count(f"  cartoonists {command} ") >= 3
