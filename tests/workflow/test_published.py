"""Published models: their configuration, and loaders on weights of the same form."""

import importlib.util
import json
import re
import sys

import numpy as np
import pytest
import torch
import yaml
from workflow_clone import CLONE

from cartoonists import load_model

sys.path.insert(0, str(CLONE / "workflow"))

from validation import checked_models  # noqa: E402  (after the path above)

EXAMPLES = CLONE / "examples" / "published"


def loader(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_configuration_can_be_planned(monkeypatch):
    monkeypatch.chdir(CLONE)
    overlay = yaml.safe_load((CLONE / "config" / "published.yaml").read_text())
    default = yaml.safe_load((CLONE / "config.yaml").read_text())
    models = checked_models(default | {key: overlay[key] for key in ("models", "run_models")})
    assert set(models) == {"faces/64", "mnist/hot-cold"}
    for model in models.values():
        assert len(model["files"]) == 1 and model["reference"].endswith("model.json")
    given = [
        argument for model in overlay["models"].values() for argument in model["arguments"].values()
    ]
    assert len(given) == 6
    for argument in given:  # pinned by commit and checksum
        assert re.search(r"/[0-9a-f]{40}/", argument["url"])
    assert len(overlay["models"]["faces/64"]["arguments"]["folder"]["sha256"]) == 62


def test_faces_have_the_layers_of_the_published_model():
    faces = loader("faces64")
    with torch.device("meta"):
        network = faces.FacesUNet()
    assert sum(p.numel() for p in network.parameters()) == 63_200_387
    counts = [sum(isinstance(m, kind) for m in network.modules()) for kind in faces.LAYERS.values()]
    assert counts == [67, 68, 56]


def test_shards_are_read_as_scaled_bytes(tmp_path):
    faces = loader("faces64")
    codes = np.array([0, 128, 255], np.uint8)
    plain = np.array([[0.5, -2.0]], "<f4")
    manifest = {
        "paths": ["a.bin", "b.bin"],
        "weights": [
            {"name": "dense_1/MatMul/ReadVariableOp", "shape": [1, 2], "dtype": "float32"},
            {"name": "axis", "shape": [], "dtype": "int32"},
            {
                "name": "dense_1/BiasAdd/ReadVariableOp", "shape": [3], "dtype": "float32",
                "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0},
            },
        ],
    }  # fmt: skip
    content = plain.tobytes() + np.array(3, "<i4").tobytes() + codes.tobytes()
    (tmp_path / "a.bin").write_bytes(content[:5])
    (tmp_path / "b.bin").write_bytes(content[5:])
    (tmp_path / "model.json").write_text(json.dumps({"weightsManifest": [manifest]}))
    tensors = faces.read_shards(tmp_path)
    assert tensors["dense_1/MatMul/ReadVariableOp"].tolist() == [[0.5, -2.0]]
    assert tensors["dense_1/BiasAdd/ReadVariableOp"].tolist() == [-1.0, 63.0, 126.5]
    with pytest.raises(ValueError, match="1 layers found, expected 68"):
        with torch.device("meta"):
            network = faces.FacesUNet()
        faces.LAYERS = {"dense": torch.nn.Linear}
        faces.load_tensors(network, tensors)
    (tmp_path / "b.bin").write_bytes(content[5:] + b"x")
    with pytest.raises(ValueError, match="the manifest says"):
        faces.read_shards(tmp_path)


def test_the_digits_model_reads_tensors_alone(tmp_path):
    digits = loader("hot_cold_mnist")
    torch.manual_seed(0)
    state = {f"gt.{k}": v for k, v in digits.Network().state_dict().items()}
    betas = torch.linspace(1e-4, 0.02, 1001)
    state["alpha_t"] = torch.cumprod(1 - betas, 0)
    torch.save(state, tmp_path / "weights.pth")
    source = f"python:{EXAMPLES / 'hot_cold_mnist.py'}:model"
    model = load_model({"source": source, "arguments": {"weights": str(tmp_path / "weights.pth")}})
    assert model.shape == (1, 28, 28)
    # the cleanest level is that of step 1 of the table, and black is -1/2
    assert model.schedule.logsnr_max == pytest.approx(
        float(torch.logit(state["alpha_t"][1])), abs=1e-3
    )
    black = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    assert model.from_pixels(black, 0.0).unique().item() == -0.5
