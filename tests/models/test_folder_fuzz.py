"""Mutated model folders: the number of what is in them, or one line; never anything else.

What loads is compared with a reading by diffusers itself (or by the definition, for cards).  Each
run tries a few mutations of every format; CARTOONISTS_MUTATIONS asks for more of them, and
CARTOONISTS_FIRST for others.
"""

# ruff: noqa: E501  (one line a case)

import copy
import json
import os
import random
import re
import shutil
import struct
import warnings
from pathlib import Path

import diffusers
import pytest
import tiny_models
import torch
from hostile import places
from safetensors.torch import load_file, save_file

from cartoonists import load_model
from cartoonists.files.errors import CheckpointError
from cartoonists.files.resources import file_sha256
from cartoonists.models.checkpoints import save_model
from cartoonists.models.edm_models import save_edm
from cartoonists.models.networks import PixelUNet

MUTATIONS = int(os.environ.get("CARTOONISTS_MUTATIONS", "16"))  # of each format
FIRST = int(os.environ.get("CARTOONISTS_FIRST", "0"))
MEANT = (  # keys of a scheduler config that say something of its network
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "sigma_data",
    "rescale_betas_zero_snr", "prediction_type", "sigma_min", "sigma_max",
)  # fmt: skip
MOST = 700  # characters of a line
VALUES = [
    None, True, False, 0, 1, -1, 2, 3, 4, 7, 3.5, 0.5, 1e-3, 10**9, -(10**9), 1e400, float("nan"), "",
    "8", "eps", "linear", "epsilon", "sample", "v_prediction", "DDPMScheduler", "EDMEulerScheduler",
    "FlowMatchEulerDiscreteScheduler", "ScoreSdeVeScheduler", "UNet2DModel", "relu", "../../x", [], [0],
    [8, 8], [4, 4, 4], [[1]], {}, {"a": 1}, "x" * 3000, "ü\n",
]  # fmt: skip


# --- formats, whole -------------------------------------------------------------------------------


def _shards(folder: Path) -> None:
    unet = folder / "unet"
    network = diffusers.UNet2DModel.from_pretrained(unet)
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    network.save_pretrained(unet, max_shard_size="20KB")


def make_diffusers(folder: Path, scheduler: str) -> dict:
    tiny_models.save_diffusers(folder, scheduler=getattr(diffusers, scheduler)())
    parts = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", scheduler]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline", **parts}))
    return {"source": f"path:{folder}", "format": "diffusers"}


def make_shards(folder: Path) -> dict:
    spec = make_diffusers(folder, "DDIMScheduler")
    _shards(folder)
    return spec


def make_latent(folder: Path) -> dict:
    *_, embeddings = tiny_models.save_latent(folder)
    return {"source": f"path:{folder}", "format": "latent", "embeddings": str(embeddings)}


def make_edm(folder: Path) -> dict:
    folder.mkdir(exist_ok=True)
    card = {"sigma_data": 0.5, "sigma_min": 0.01, "sigma_max": 50.0, "data_range": [-1.0, 1.0]}
    save_edm(folder / "x.safetensors", tiny_models.tiny_unet(), card)
    return {"source": f"path:{folder / 'x.safetensors'}", "format": "edm"}


def make_native(folder: Path) -> dict:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    net = {"channels": 1, "size": 8, "widths": [8, 32], "stem_width": 4, "head_width": 4}
    network = PixelUNet(**net)
    torch.nn.init.normal_(network.head[-1].weight)
    card = {
        "architecture": {"name": "PixelUNet", **net},
        "schedule": {"kind": "VP", "logsnr_min": -8.0, "logsnr_max": 9.0},
        "data": {"name": "none", "shape": [1, 8, 8], "mean": [0.5], "std": [0.25]},
        "head": "eps",
    }
    save_model(folder / "x.safetensors", network, card)
    return {"source": f"path:{folder / 'x.safetensors'}"}


FORMATS = {
    "diffusers": lambda folder: make_diffusers(folder, "DDPMScheduler"),
    "EDM scheduler": lambda folder: make_diffusers(folder, "EDMEulerScheduler"),
    "shards": make_shards,
    "latent": make_latent,
    "edm": make_edm,
    "native": make_native,
}


# --- mutations ------------------------------------------------------------------------------------


def mutate_json(file: Path, chance: random.Random) -> str:
    content = json.loads(file.read_text())
    for _ in range(chance.choice((1, 1, 2))):
        path = chance.choice(list(places(content)) or [()])
        if not path:
            break
        parent = content
        for key in path[:-1]:
            parent = parent[key]
        key, kind = (
            path[-1],
            chance.choice(("replace", "replace", "remove", "rename", "scale", "add")),
        )
        if kind == "remove":
            del parent[key]
        elif kind == "rename" and isinstance(parent, dict):
            parent[chance.choice((f"{key}s", f"x_{key}", key.upper()))] = parent.pop(key)
        elif kind == "scale" and isinstance(parent[key], int | float):
            parent[key] = parent[key] * chance.choice((-1, 0, 0.5, 2, 10, 1000))
        elif kind == "add" and isinstance(parent, dict):
            new = chance.choice(
                ("thresholding", "sigma_data", "use_flow_sigmas", "new", "clip_sample")
            )
            parent[new] = copy.deepcopy(chance.choice(VALUES))
        else:
            parent[key] = copy.deepcopy(chance.choice(VALUES))
    file.write_text(json.dumps(content))
    return f"{file.name}: {path}"


def mutate_text(file: Path, chance: random.Random) -> str:
    text = file.read_bytes()
    at = chance.randrange(len(text))
    file.write_bytes(
        chance.choice((b"", text[:at], b"[]", b"null", b"\xff" + text, b"[" * 100_000))
    )
    return f"{file.name}: text"


def mutate_bytes(file: Path, chance: random.Random) -> str:
    whole = file.read_bytes()
    size = 8 + struct.unpack("<Q", whole[:8])[0]
    at = chance.choice((chance.randrange(8), chance.randrange(size), chance.randrange(len(whole))))
    flipped = whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :]
    file.write_bytes(chance.choice((b"", whole[:at], flipped, flipped, whole + b"x")))
    return f"{file.name}: byte {at}"


def mutate_tensors(file: Path, chance: random.Random) -> str:
    state = load_file(file)
    names = sorted(state)
    name, other = chance.choice(names), chance.choice(names)
    kind = chance.choice(
        ("drop", "rename", "prefix", "some", "extra", "cut", "swap", "nan", "int", "half")
    )
    if kind == "drop":
        del state[name]
    elif kind == "rename":
        state[f"{name}_old"] = state.pop(name)
    elif kind == "prefix":
        prefix = chance.choice(("module.", "_orig_mod.", "ema.", "module._orig_mod."))
        state = {prefix + key: value for key, value in state.items()}
    elif kind == "some":
        state = {("module." if key < name else "") + key: value for key, value in state.items()}
    elif kind == "extra":
        state["one.more"] = torch.zeros(3)
    elif kind == "cut":
        state[name] = state[name][: max(len(state[name]) // 2, 1)].contiguous()
    elif kind == "swap":
        state[name], state[other] = state[other], state[name]
    elif kind == "nan":
        state[name] = torch.full_like(state[name], chance.choice((float("nan"), float("inf"))))
    elif kind == "int":
        state[name] = state[name].to(torch.int8)
    else:
        state = {key: value.half() for key, value in state.items()}
    save_file(state, file)
    return f"{file.name}: {kind} {name}"


def mutate_folder(folder: Path, chance: random.Random) -> str:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    first, second = chance.choice(files), chance.choice(files)
    kind = chance.choice(("remove", "swap", "copy", "rename", "vqvae"))
    if kind == "remove":
        first.unlink()
    elif kind == "swap" and first != second:
        kept = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(kept)
    elif kind == "copy":
        shutil.copy(first, second) if first != second else None
    elif kind == "rename":
        first.rename(first.with_name(f"x{first.name}"))
    else:
        (folder / "vqvae").mkdir()
        (folder / "vqvae" / "config.json").write_text(json.dumps({"_class_name": "VQModel"}))
    return f"{kind} {first.name} {second.name}"


def mutate(folder: Path, chance: random.Random) -> str:
    configs = sorted(folder.rglob("*.json"))
    weights = sorted(folder.rglob("*.safetensors"))
    kind = chance.choice(("json",) * 6 + ("tensors",) * 3 + ("bytes", "text", "folder"))
    if kind == "json":
        return mutate_json(chance.choice(configs), chance)
    if kind == "text":
        return mutate_text(chance.choice(configs), chance)
    if kind == "folder":
        return mutate_folder(folder, chance)
    file = chance.choice(weights)
    what = (mutate_tensors if kind == "tensors" else mutate_bytes)(file, chance)
    card = file.with_suffix(".json")
    if card.is_file() and chance.random() < 0.8:  # else its checksum finds any change
        content = json.loads(card.read_text())
        card.write_text(json.dumps(content | {"sha256": file_sha256(file)}))
    return what


# --- what diffusers itself reads ------------------------------------------------------------------


def _component(name: str, place: Path):
    network, info = getattr(diffusers, name).from_pretrained(
        place, output_loading_info=True, low_cpu_mem_usage=False, torch_dtype=torch.float32
    )
    return network.eval(), [*info["missing_keys"], *info["unexpected_keys"]]


def _table_score(output, x, signal, head):
    alpha, sigma = signal.sqrt(), (1 - signal).sqrt()
    eps = {
        "epsilon": lambda: output,
        "sample": lambda: (x - alpha * output) / sigma,
        "v_prediction": lambda: alpha * output + sigma * x,
    }[head]()
    return -eps / sigma


def expected_scores(folder: Path, spec: dict, model, x):
    """λ and the score there, by the definition of the format and diffusers' own classes."""
    if spec.get("format", "native") in ("native", "edm"):
        return _of_card(folder / "x.safetensors", model, x)
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    chosen = {key: config[key] for key in MEANT if key in config}
    if "EDM" in config["_class_name"]:  # how long its list of steps is says nothing of the network
        chosen.pop("num_train_timesteps", None)
    scheduler = getattr(diffusers, config["_class_name"]).from_config(chosen)
    name = "UNet2DConditionModel" if spec["format"] == "latent" else "UNet2DModel"
    network, problems = _component(name, folder / "unet")
    assert not problems or any("module." in p or "_orig_mod." in p for p in problems), problems
    if problems:
        network = model.network.unet
    if hasattr(scheduler, "precondition_outputs"):
        sigma = torch.tensor(0.7)
        inner, noise = (
            scheduler.precondition_inputs(x.float(), sigma),
            scheduler.precondition_noise(sigma),
        )
        clean = scheduler.precondition_outputs(x.float(), network(inner, noise).sample, sigma)
        return -2 * torch.log(sigma.double()), (clean.double() - x) / 0.7**2
    if config["_class_name"] == "ScoreSdeVeScheduler":
        return -2 * torch.log(torch.tensor(0.7).double()), network(
            x.float(), torch.full((1,), 0.7)
        ).sample[:, : x.shape[1]].double()
    step = len(scheduler.alphas_cumprod) // 3
    signal = scheduler.alphas_cumprod[step].double()
    prompt = load_file(spec["embeddings"])["prompt"][None].float() if "embeddings" in spec else None
    extra = {} if prompt is None else {"encoder_hidden_states": prompt}
    output = network(x.float(), step, **extra).sample[:, : x.shape[1]].double()
    head = config.get("prediction_type", "epsilon")
    return torch.logit(signal), _table_score(output, x, signal, head)


def _of_card(weights: Path, model, x):
    card = json.loads(weights.with_suffix(".json").read_text())
    prefix = r"^((module|_orig_mod)\.)+"
    state = {re.sub(prefix, "", k): v.float() for k, v in load_file(weights).items()}
    if card["format"].startswith("edm"):
        network = diffusers.UNet2DModel.from_config(card["architecture"]).eval()
        network.load_state_dict(state)
        data = card["sigma_data"]
        total = 1 + data**2  # σ = 1: c_noise = 0
        raw = network((x / total**0.5).float(), torch.zeros(1)).sample[:, : x.shape[1]].double()
        clean = data**2 / total * x + data / total**0.5 * raw
        return torch.tensor(0.0), clean - x
    options = {k: v for k, v in card["architecture"].items() if k != "name"}
    network = PixelUNet(**options).eval()
    network.load_state_dict(state)
    output = network(x.float(), torch.zeros(1)).double()
    kind = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}[card["head"]]
    return torch.tensor(0.0), _table_score(output, x, torch.tensor(0.5).double(), kind)


def outcome(folder: Path, spec: dict) -> str:
    """Empty where the right number comes, else the line."""
    try:
        model = load_model(spec)
    except CheckpointError as error:
        line = str(error)
        assert "\n" not in line and len(line) < MOST and line.isprintable(), line
        return line
    x = torch.randn(1, *model.shape, dtype=torch.float64, generator=torch.manual_seed(0))
    with torch.no_grad():
        logsnr, expected = expected_scores(folder, spec, model, x)
    try:
        found = model.score(x, logsnr)
    except FloatingPointError as error:
        return str(error)
    scale = expected.abs().max().clamp_min(1.0)
    torch.testing.assert_close(found / scale, expected / scale, rtol=2e-3, atol=2e-3)
    return ""


@pytest.mark.parametrize("form", FORMATS)
def test_a_mutated_folder_gives_its_number_or_one_line(tmp_path, form):
    whole = tmp_path / "whole"
    FORMATS[form](whole)
    lines, wrong = [], []
    for i in range(FIRST, FIRST + MUTATIONS):
        chance, folder = random.Random(f"{form} {i}"), tmp_path / "mutated"
        shutil.copytree(whole, folder)
        what = mutate(folder, chance)
        spec = {
            **FORMATS_SPEC[form],
            "source": f"path:{folder}{'/x.safetensors' * (form in ONE_FILE)}",
        }
        if "embeddings" in spec:
            spec["embeddings"] = str(folder / "prompts.safetensors")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                lines.append(outcome(folder, spec))
        except Exception as error:
            wrong.append(f"mutation {i}: {what}: {type(error).__name__}: {str(error)[:300]}")
        shutil.rmtree(folder)
    assert not wrong, "\n".join(wrong)
    assert any(lines) and (MUTATIONS < 50 or not all(lines))  # both ends are reached


ONE_FILE = ("edm", "native")
FORMATS_SPEC = {
    "diffusers": {"format": "diffusers"},
    "EDM scheduler": {"format": "diffusers"},
    "shards": {"format": "diffusers"},
    "latent": {"format": "latent", "embeddings": ""},
    "edm": {"format": "edm"},
    "native": {},
}
