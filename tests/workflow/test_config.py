"""Every mistake in the configuration ends in one line that names key, found and allowed."""

import copy
import hashlib
import json
import math
import re
import sys
from pathlib import Path

import pytest
import yaml

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / "workflow"))
from applicability import lines  # noqa: E402  (after the path above)
from validation import SCHEMA, ConfigError, check, checked_models, planned  # noqa: E402


@pytest.fixture
def config():
    """The default configuration without models, whatever is bundled."""
    return yaml.safe_load((CLONE / "config.yaml").read_text()) | {"run_models": []}


def set_key(config: dict, path: str, value) -> dict:
    config = copy.deepcopy(config)
    *parents, last = path.split("/")
    node = config
    for name in parents:
        node = node[name]
    node[last] = value
    return config


def test_the_default_configuration_is_valid(config):
    check(config)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("chunk_size", 0, "chunk_size: 0 found, allowed: integer, at least 1"),
        ("chunk_size", 2.5, "chunk_size: 2.5 found, allowed: integer"),
        ("chunk_size", True, "chunk_size: True found, allowed: integer"),
        ("chunk_sizes", 4, "chunk_sizes: unknown key, allowed: .*meant 'chunk_size'"),
        ("theory/step", [4], r"theory.step: unknown key, allowed: .*meant 'steps'"),
        ("theory/steps", [4, -2], r"theory.steps\[1\]: -2 found, allowed: integer, at least 1"),
        ("theory/steps", [4, 2], r"theory.steps: \[4, 2\] found, allowed: rising"),
        ("theory/steps", [4], r"theory.steps: a list found, allowed: array, number of items"),
        ("theory/switch_logsnr", [2, 10.5], r"switch_logsnr\[1\]: 10.5 found, .* -10.0 to 10.0"),
        ("theory/switch_logsnr", [math.nan], r"switch_logsnr\[0\]: nan found, allowed: a finite"),
        ("control/quantiles", [0.5], r"quantiles: .*allowed: control.strengths, Φ⁻¹ of"),
        ("control/noise_strengths", [0.2], r"noise_strengths: 0.2 found, .*strengths: -1.3, -0.5"),
        ("compression/further/models/medical", "x-ray", "medical: 'x-ray' found, allowed: null"),
        ("theory", None, r"theory: nothing \(null\) found, allowed: object"),
        ("logsnr_min", 12.0, r"logsnr_min: 12.0 found, allowed: below logsnr_max"),
        ("confidence", 1.0, "confidence: 1.0 found, allowed: number, above 0, below 1"),
        ("data_dir", "no/such/folder", "data_dir: 'no/such/folder' found, allowed: null or"),
        ("high_density/inception", {"source": "x.pth"}, "inception.source: 'x.pth' found, allowed"),
        ("high_density/inception", {"file": "x"}, "inception.file: unknown key, allowed: source"),
        ("high_density/inception", {"source": "path:x"}, "n_pairs: 104 found, .*inception: 3073"),
        ("stein/bases", ["wavelet"], r"stein.bases\[0\]: 'wavelet' found, allowed: pixels, dct"),
        ("run_models", ["cifar10/qualiti"], r"run_models\[0\]: .*meant 'cifar10/quality'"),
        ("models", {"Upper": {"source": "bundled"}}, "models.Upper: 'Upper' found, allowed"),
        ("models", {"theory/x": {"source": "bundled"}}, "models.theory/x: found, allowed: a data"),
        ("models", {"a/b": {"source": "web"}}, "models.a/b.source: 'web' found, allowed: bundled"),
        ("models", {"a/b": {"source": "path"}}, "models.a/b: source 'path' found, .*a path"),
        ("models", {"a/b": {"source": "bundled", "sha256": "0" * 64}}, "sha256: found, allowed"),
    ],
)
def test_a_mistake_is_named_in_one_line(config, path, value, message):
    with pytest.raises(ConfigError, match=message) as caught:
        check(set_key(config, path, value))
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(config):
    del config["theory"]["steps"]
    with pytest.raises(ConfigError, match="theory.steps: missing, allowed: Numbers of solver"):
        check(config)


@pytest.mark.parametrize("content", [None, [], 3, "text"])
def test_a_configuration_that_is_no_mapping(content):
    with pytest.raises(ConfigError, match="the configuration: .* found, allowed: object"):
        check(content)


def test_every_key_is_described_and_every_object_closed():
    def walk(node, where):
        if node.get("type") == "object":
            assert "additionalProperties" in node, where
        for name, child in node.get("properties", {}).items():
            assert child.get("description"), f"{where}.{name}"
            walk(child, f"{where}.{name}")
        for name, child in node.get("$defs", {}).items():
            walk(child, name)

    files = sorted(SCHEMA.parent.glob("*.schema.yaml"))
    assert SCHEMA in files and len(files) > 1
    for file in files:
        walk(yaml.safe_load(file.read_text()), file.name.partition(".")[0])


@pytest.fixture
def checkpoint(tmp_path, config):
    """A configuration with a model at a path; the weights need not be real to be checked."""
    weights = tmp_path / "net.safetensors"
    weights.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    weights.with_suffix(".json").write_text(json.dumps({"sha256": digest}))
    model = {"source": "path", "path": str(weights), "sha256": digest}
    return weights, config | {"models": {"a/b": model}, "run_models": ["a/b"]}


def test_an_intact_checkpoint_gives_its_sha256(checkpoint):
    weights, config = checkpoint
    digest = hashlib.sha256(b"weights").hexdigest()
    found = {"reference": str(weights), "sha256": digest, "data": "a"}
    assert checked_models(config) == {"a/b": found}


def _altered(weights, config):
    weights.write_bytes(b"Weights")
    return r"sha256 of \S+net.safetensors: \w{64} found, allowed by \S+net.json: \w{64}"


def _missing(weights, config):
    weights.unlink()
    return r"net.safetensors found, allowed: a readable file \(No such file"


def _no_card(weights, config):
    weights.with_suffix(".json").unlink()
    return r"net.json found, allowed: a readable file"


def _damaged_card(weights, config):
    weights.with_suffix(".json").write_text("{")
    return r"net.json found, allowed: a JSON card"


def _other_promise(weights, config):
    config["models"]["a/b"]["sha256"] = "0" * 64
    return r"found, allowed by the configuration: 0{64}"


@pytest.mark.parametrize("harm", [_altered, _missing, _no_card, _damaged_card, _other_promise])
def test_a_bad_checkpoint_ends_in_one_line(checkpoint, harm):
    weights, config = checkpoint
    message = harm(weights, config)
    with pytest.raises(SystemExit) as caught:
        checked_models(config)
    line = str(caught.value)
    assert line.startswith("config error: models.a/b: ") and "\n" not in line
    assert re.search(message, line), line


@pytest.fixture
def own(tmp_path, config):
    """A configuration that trains on a folder of pictures."""
    network = {"name": "PixelUNet", "channels": 3, "size": 8, "widths": [8, 32]}
    training = {
        "data": f"path:{tmp_path}",
        "start": None,
        "architecture": network,
        "recipe": {"weighting": "likelihood", "steps": 4},
        "held_out": {"n_images": 2, "steps": 4},
    }
    models = {"pets/likelihood": {"source": "trained"}}
    return config | {
        "models": models,
        "run_models": list(models),
        "briefly": [],
        "training": {"pets/likelihood": training},
    }


def test_a_model_that_is_trained_first_has_the_held_out_images_of_its_training(own):
    assert checked_models(own)["pets/likelihood"] == {
        "reference": "results/training/pets/likelihood.safetensors",
        "sha256": None,
        "trained": True,
        "data": "path:results/pets/pictures.npz",
    }


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("training", {}, "models.pets/likelihood.source: 'trained' found, allowed: with training."),
        ("models", {"pets/likelihood": {"source": "trained", "data": "cifar10"}},
         "models.pets/likelihood.data: found, allowed: no other key with source 'trained'"),
        ("data", "path:no/such", "data: 'path:no/such' found, allowed: path:<existing folder"),
        ("data", "cifar10", "data: 'cifar10' found, allowed: path:<existing folder or file"),
        ("data", None, r"training.pets/likelihood.data: nothing \(null\) found, allowed: string"),
        ("start", "quality", "start: 'quality' found, allowed: null, or with its own training"),
    ],
)  # fmt: skip
def test_a_training_that_cannot_be_is_refused(own, path, value, message):
    changed = copy.deepcopy(own)
    (changed if path in own else changed["training"]["pets/likelihood"])[path] = value
    with pytest.raises(ConfigError, match=message):
        check(changed)


def test_trainings_of_a_data_set_share_what_they_hold_out(own):
    other = copy.deepcopy(own["training"]["pets/likelihood"])
    other["architecture"]["size"] = 16
    own["training"]["pets/quality"] = other
    with pytest.raises(ConfigError, match="allowed: one place, channels and size for all of pets"):
        check(own)
    del own["training"]["pets/quality"], own["training"]["pets/likelihood"]["data"]
    with pytest.raises(ConfigError, match="data: missing, allowed: path:<existing folder or file"):
        check(own)


@pytest.mark.parametrize(
    "model", [{"source": "bundled"}, {"source": "bundled", "logsnr_range": [-8, 8]}]
)
def test_a_model_is_left_out_where_it_is_not_wanted(config, model):
    name, other = "fashion-mnist/likelihood", "cifar10/quality"
    entry = {**model, "leave_out": ["high_density", "windows"]}
    models = {name: entry, other: {"source": "bundled"}}
    found, rows = planned({**config, "models": models, "run_models": list(models), "briefly": []})
    assert [(row["model"], row["topic"]) for row in rows] == [
        (name, topic) for topic in ("high_density", "compression", "windows")
    ]
    assert lines(rows) == [] and set(found) == set(models)
    assert "leave_out" not in found[name].get("spec", {})
    entry["leave_out"] = ["likelihood"]
    with pytest.raises(ConfigError, match="leave_out.0.: 'likelihood' found, allowed"):
        check({**config, "models": models})
