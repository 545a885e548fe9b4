"""Models in the configuration: sources, the paper's settings, and the rule that fetches."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny_models
import yaml
from workflow_clone import Clone

from cartoonists import load_model
from cartoonists.models.checkpoints import ModelSpec
from cartoonists.models.execution import Execution

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / "workflow"))

from validation import (  # noqa: E402  (after the path above)
    EXECUTION_DEFAULTS,
    ConfigError,
    check,
    checked_models,
)

COMMIT = "0123456789" * 4


def merged(base, overlay):
    """A configuration with an overlay, as Snakemake merges them."""
    both = dict(base)
    for key, value in overlay.items():
        inner = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = merged(both[key], value) if inner else value
    return both


@pytest.fixture
def config():
    return yaml.safe_load((CLONE / "config.yaml").read_text())


def test_paper_settings_are_a_configuration_that_the_library_can_read(config):
    paper = merged(config, yaml.safe_load((CLONE / "config" / "paper.yaml").read_text()))
    models = checked_models(paper)
    assert set(models) == {
        "cifar10/ddpm", "imagenet-64/edm", "ffhq-256/ncsnpp", "church-256/ddpm", "text/sd-2.1"
    }  # fmt: skip
    for name, model in models.items():
        assert model["reference"] == f"results/{name}/model.json"
        assert model["execution"] == {"precision": "fp16", "batch_size": "auto"}
        spec = ModelSpec.of(model["spec"])
        assert spec.is_remote and len(spec.source.rpartition("@")[2]) == 40


def test_execution_defaults_are_those_of_the_library():
    Execution(**EXECUTION_DEFAULTS)
    assert load_model.__kwdefaults__ == {**EXECUTION_DEFAULTS, "cache": None}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"source": "hf:org/name"},
            "source: 'hf:org/name' found, allowed: bundled, trained, path, path:",
        ),
        ({"source": "hf:org/name@main"}, "revision 'main' found, allowed: a commit of 40"),
        ({"source": "url:https://x/y.safetensors"}, "sha256 or card_sha256 missing"),
        ({"source": "url:https://x/y.pkl"}, "'url:https://x/y.pkl' found, allowed: bundled"),
        ({"source": f"hf:a/b@{COMMIT}", "format": "onnx"}, "format: 'onnx' found, allowed: native"),
        ({"source": f"hf:a/b@{COMMIT}", "labell": 1}, "labell: unknown key, .*meant 'label'"),
    ],
)
def test_a_mistake_in_a_model_is_named_in_one_line(config, model, message):
    with pytest.raises(ConfigError, match=message) as caught:
        check({**config, "models": {"a/b": model}, "run_models": []})
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_named_before_any_rule_runs(config):
    model = {"source": "path:nowhere", "format": "diffusers"}
    with pytest.raises(SystemExit, match="models.a/b: nowhere found, allowed: an existing"):
        checked_models({**config, "models": {"a/b": model}, "run_models": ["a/b"]})


@pytest.mark.slow
def test_the_rule_that_fetches_a_model(tmp_path):
    folder = tmp_path / "published"
    tiny_models.save_diffusers(folder, tiny_models.tiny_unet(sample_size=32))
    model = {"source": f"path:{folder}", "format": "diffusers", "data": "cifar10"}
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump({"models": {"tiny/net": model}, "run_models": ["tiny/net"]}))
    target = "results/tiny/net/model.json"
    command = ["snakemake", target, "--snakefile", str(CLONE / "Snakefile"), "--cores", "1"]
    done = subprocess.run(
        [*command, "--directory", str(tmp_path), "--configfile", str(overlay)],
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((tmp_path / target).read_text())
    assert record["spec"]["source"] == model["source"]
    assert load_model(tmp_path / target).card["data"] == {"name": "cifar10"}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_experiment_runs_on_foreign_formats(tmp_path):
    """A diffusers and a latent model, without data or classifier, up to claims and figures."""
    tiny_models.save_diffusers(tmp_path / "unet")
    *_, embeddings = tiny_models.save_latent(tmp_path / "latent")
    models = {
        "tiny/unet": {"source": f"path:{tmp_path / 'unet'}", "format": "diffusers"},
        "tiny/latent": {
            "source": f"path:{tmp_path / 'latent'}", "format": "latent", "prompt": "a cat",
            "embeddings": str(embeddings), "guidance": 2.0,
        },
    }  # fmt: skip
    settings = {
        "chunk_size": 64,
        "models": models,
        "run_models": list(models),
        "stein": {"n_samples": 2, "points": 3, "pilot_steps": 4, "trial_samples": 1},
        "likelihood": {"estimators": {"sde_steps": 8, "ode_steps": 4, "bound_steps": 2}},
        "high_density": {"steps": 4, "flow": {"steps": 4}},
        "control": {"n_samples": 3, "steps": 4},
        "compression": {"further": {"models": {"medical": None, "simple": None}}},  # bundled
    }
    clone = Clone(tmp_path / "clone")
    topics = ["likelihood", "high_density", "compression", "blur", "control"]
    wanted = [f"results/claims/{topic}.csv" for topic in topics]
    wanted.append("results/figures/likelihood_held_out.png")  # of no image, and of latents
    done = clone.snakemake(*wanted, **settings)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    for topic in topics:
        claims = pd.read_csv(clone.folder / f"results/claims/{topic}.csv")["claim"]
        assert all(claims.str.contains(model).any() for model in models), topic
    for model in models:
        folder = clone.folder / "results" / model
        table = pd.read_csv(folder / "likelihood.csv")
        assert len(table) == 12 and table["tracked_log_density_nats"].notna().all()
        chunk = pd.read_csv(folder / "chunks" / "likelihood-0.csv")
        assert len(chunk) == 12  # two trackers of the 6 samples, not of the 64 that a job may have
        assert pd.read_csv(folder / "held_out.csv").empty  # no images of that data set here
