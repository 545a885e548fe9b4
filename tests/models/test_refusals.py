"""Folders and settings that are not understood: one line that says so, from loader and plan."""

# ruff: noqa: E501  (one line a case)

import json
import shutil
import sys
from pathlib import Path

import diffusers
import pytest
import tiny_models
import torch
import yaml
from safetensors.torch import load_file, save_file

from cartoonists import (
    elbo,
    load_model,
    ode_log_density,
    sample_ode,
    track_modes,
    track_reverse_sde,
)
from cartoonists.density.dimension import local_intrinsic_dimension
from cartoonists.files.errors import CheckpointError
from cartoonists.models.checkpoints import ModelSpec, fetch_model
from cartoonists.models.edm_models import save_edm
from cartoonists.models.scheduler_configs import SCHEDULERS, read_scheduler, scheduler_table

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / "workflow"))
from validation import checked_models  # noqa: E402  (after the path above)

UNET, WEIGHTS = "unet/config.json", "unet/diffusion_pytorch_model.safetensors"
SCHEDULER, VAE = "scheduler/scheduler_config.json", "vae/config.json"
INDEX, TRANSFORMER = "model_index.json", "transformer/config.json"
VAE_WEIGHTS = "vae/diffusion_pytorch_model.safetensors"
EDM = {"_class_name": "EDMEulerScheduler"}

KEYS = [  # format, file, keys changed in it, words of the line
    ("diffusers", SCHEDULER, {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "flow matching"),
    ("diffusers", SCHEDULER, {"_class_name": "CMStochasticIterativeScheduler"}, "consistency"),
    ("diffusers", SCHEDULER, {"_class_name": "LCMScheduler"}, "consistency models"),
    ("diffusers", SCHEDULER, {"_class_name": "NewScheduler"}, "_class_name: 'NewScheduler' found"),
    ("diffusers", SCHEDULER, {"_class_name": "DDPMSheduler"}, "meant DDPMScheduler"),
    ("diffusers", SCHEDULER, {"_class_name": None}, "_class_name: None found"),
    ("diffusers", SCHEDULER, {"sigma_data": 0.5}, "sigma_data: found with DDPMScheduler"),
    ("diffusers", SCHEDULER, {"prediction_type": "flow_prediction"}, "allowed: epsilon, sample, v"),
    ("diffusers", SCHEDULER, {"predict_epsilon": False}, "the same as prediction_type 'epsilon'"),
    ("diffusers", SCHEDULER, {"thresholding": True}, "thresholding: True found, allowed: false"),
    ("diffusers", SCHEDULER, {"use_flow_sigmas": True}, "use_flow_sigmas: True found"),
    ("diffusers", SCHEDULER, {"timestep_type": "continuous"}, "allowed: discrete"),
    ("diffusers", SCHEDULER, {"beta_schedule": "exp"}, "no table"),
    ("diffusers", SCHEDULER, {"beta_end": "0.02"}, "beta_end: '0.02' found, allowed: a number"),
    ("diffusers", SCHEDULER, {"beta_end": float("nan")}, "beta_end: nan found"),
    ("diffusers", SCHEDULER, {"num_train_timesteps": 20}, "allowed: one that ends in noise"),
    ("diffusers", SCHEDULER, {"snr_shift_scale": 3.0}, "none with DDPMScheduler"),
    ("diffusers", SCHEDULER, {"new_meaning": 1}, "new_meaning: found with DDPMScheduler"),
    ("diffusers", UNET, {"in_channels": 6}, "out_channels: 3 found with in_channels 6"),
    ("diffusers", UNET, {"out_channels": 4}, "out_channels: 4 found with in_channels 3"),
    ("diffusers", UNET, {"sample_size": "8"}, "sample_size: '8' found"),
    ("diffusers", UNET, {"sample_size": [8, 9]}, "allowed: multiples of 2"),
    ("diffusers", UNET, {"sample_size": None}, "sample_size: none found"),
    ("diffusers", UNET, {"time_embedding_type": "learned"}, "allowed: positional"),
    ("diffusers", UNET, {"class_embed_type": "identity"}, "class_embed_type: 'identity' found"),
    ("diffusers", UNET, {"_class_name": "UNet1DModel"}, "a UNet1DModel found, allowed: UNet2DModel"),
    ("diffusers", UNET, {"flip_sin_to_cos": "false"}, "flip_sin_to_cos: 'false' found"),
    ("diffusers", UNET, {"a_new_key": 3}, "a_new_key: found, allowed: keys of UNet2DModel"),
    ("diffusers", UNET, {"layers_per_block": 2}, "another architecture: missing: down_blocks"),
    ("diffusers", UNET, {"layers_per_block": 10**6}, "layers_per_block: 1000000 found"),
    ("diffusers", "model_index.json", {"_class_name": "LDMPipeline"}, "'LDMPipeline' found"),
    ("diffusers", "model_index.json", {"vqvae": ["diffusers", "VQModel"]}, "latent model behind vqvae"),
    ("diffusers", "vqvae/config.json", {"_class_name": "VQModel"}, "latent model behind vqvae"),
    ("diffusers", "vae/config.json", {"_class_name": "AutoencoderKL"}, "format: latent"),
    ("pipeline", INDEX, {"_class_name": "SanaPipeline"}, "_class_name: 'SanaPipeline' found"),
    ("pipeline", INDEX, {"transformer": ["own_module", "SD3Transformer2DModel"]}, "of diffusers or"),
    ("pipeline", INDEX, {"text_encoder": ["transformers", "T5EncoderModel"]}, "allowed: CLIPTextM"),
    ("pipeline", INDEX, {"tokenizer": [None, None]}, "tokenizer: [None, None] found"),
    ("pipeline", INDEX, {"controlnet": ["diffusers", "SD3ControlNetModel"]}, "controlnet: found"),
    ("pipeline", INDEX, {"force_zeros_for_empty_prompt": 1}, "allowed: true, false"),
    ("pipeline", SCHEDULER, {"_class_name": "DDIMScheduler"}, "allowed here: flow matching"),
    ("pipeline", SCHEDULER, {"invert_sigmas": True}, "invert_sigmas: True found, allowed: false"),
    ("pipeline", SCHEDULER, {"new_meaning": 1}, "new_meaning: found with FlowMatchEuler"),
    ("pipeline", SCHEDULER, {"num_train_timesteps": 0}, "num_train_timesteps: 0 found"),
    ("pipeline", TRANSFORMER, {"_class_name": "DiTTransformer2DModel"}, "a DiTTransformer2DModel"),
    ("pipeline", TRANSFORMER, {"in_channels": 8}, "in_channels 8"),
    ("pipeline", TRANSFORMER, {"in_channels": 8, "out_channels": 8}, "allowed: 4, the channels of"),
    ("pipeline", TRANSFORMER, {"patch_size": 3}, "sample_size: 4 found, allowed: multiples of 3"),
    ("pipeline", TRANSFORMER, {"a_new_key": 3}, "a_new_key: found, allowed: keys of SD3Transf"),
    ("pipeline", VAE, {"_class_name": "AutoencoderDC"}, "a AutoencoderDC found"),
    ("pipeline", VAE, {"scaling_factor": 0}, "scaling_factor: 0 found, allowed: a number above 0"),
    ("latent", UNET, {"addition_embed_type": "text_time"}, "Stable Diffusion XL"),
    ("latent", UNET, {"num_class_embeds": 4}, "class-conditional latents"),
    ("latent", UNET, {"in_channels": 9}, "out_channels: 4 found with in_channels 9"),
    ("latent", UNET, {"sample_size": [4, "4"]}, "sample_size"),
    ("latent", "model_index.json", {"text_encoder_2": ["transformers", "CLIPTextModel"]}, "XL"),
    ("latent", SCHEDULER, {"_class_name": "EDMEulerScheduler"}, "allowed"),
    ("latent", SCHEDULER, {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "flow matching"),
    ("latent", VAE, {"_class_name": "AutoencoderTiny"}, "a AutoencoderTiny found"),
    ("latent", VAE, {"scaling_factor": 0}, "scaling_factor: 0 found, allowed: a number above 0"),
    ("latent", VAE, {"scaling_factor": "0.18"}, "scaling_factor: '0.18' found"),
    ("latent", VAE, {"latents_mean": [0.0] * 4}, "latents_mean found, allowed: latents_mean with"),
    ("latent", VAE, {"latents_mean": [0.0] * 3, "latents_std": [1.0] * 4}, "a list of 4 finite"),
    ("latent", VAE, {"latents_mean": [0.0] * 4, "latents_std": [1.0, 1.0, 0.0, 1.0]}, "above 0"),
]  # fmt: skip


def made(folder: Path, form: str) -> dict:
    index = {"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]}
    if form == "diffusers":
        tiny_models.save_diffusers(folder)
        (folder / "model_index.json").write_text(json.dumps(index))
        return {"source": f"path:{folder}", "format": form}
    if form == "pipeline":
        tiny_models.save_pipeline(folder, "stable_diffusion_3")
        return {"source": f"path:{folder}", "format": form}
    *_, embeddings = tiny_models.save_latent(folder)
    index |= {"_class_name": "StableDiffusionPipeline", "vae": ["diffusers", "AutoencoderKL"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return {"source": f"path:{folder}", "format": form, "embeddings": str(embeddings)}


def change(file: Path, keys: dict) -> None:
    file.parent.mkdir(exist_ok=True)
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(content | keys))


def planned(spec: dict) -> None:
    config = yaml.safe_load((CLONE / "config.yaml").read_text())
    checked_models({**config, "models": {"a/b": spec}, "run_models": ["a/b"], "briefly": []})


def refused(spec: dict, words: str, in_plan: bool = True) -> None:
    """The same line from the loader, the rule that fetches, and the plan."""
    actions = [lambda: load_model(spec), lambda: fetch_model(ModelSpec.of(spec))]
    for action in [*actions, lambda: planned(spec)][: 3 if in_plan else 2]:
        with pytest.raises((CheckpointError, SystemExit)) as caught:
            action()
        line = str(caught.value)
        assert words in line and "\n" not in line and len(line) < 700, line


LATER = ("no table", "ends in noise", "none with", "flip_sin", "a_new_key", "layers_per_block")


@pytest.mark.parametrize(("form", "file", "keys", "words"), KEYS)
def test_a_key_that_is_not_understood_is_named(tmp_path, form, file, keys, words):
    spec = made(tmp_path, form)
    change(tmp_path / file, keys)
    # what needs diffusers itself is known in the first job, not in the plan
    refused(spec, words, in_plan=not any(part in f"{words} {keys}" for part in LATER))


TENSORS = {
    "missing": (lambda state: state.pop("conv_out.weight"), "missing: conv_out.weight"),
    "renamed": (lambda state: state.update(old=state.pop("conv_out.bias")), "unknown: old"),
    "one more": (lambda state: state.update(more=torch.zeros(2)), "unknown: more"),
    "smaller": (
        lambda state: state.update({"conv_in.bias": torch.zeros(4)}),
        "of another shape: conv_in.bias [4] instead of [8]",
    ),
    "quantised": (
        lambda state: state.update({"conv_in.bias": torch.zeros(8, dtype=torch.int8)}),
        "conv_in.bias: I8 found, allowed: F64, F32, F16, BF16",
    ),
}


@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize("form", ["diffusers", "latent"])
def test_weights_of_another_network_are_refused_with_their_names(tmp_path, form, kind):
    spec, (edit, words) = made(tmp_path, form), TENSORS[kind]
    state = load_file(tmp_path / WEIGHTS)
    edit(state)
    save_file(state, tmp_path / WEIGHTS)
    refused(spec, words, in_plan=False)


def test_a_vae_without_its_last_layer_is_refused(tmp_path):
    spec = made(tmp_path, "latent")
    state = load_file(tmp_path / VAE_WEIGHTS)
    del state["decoder.conv_out.weight"]
    save_file(state, tmp_path / VAE_WEIGHTS)
    refused(spec, "missing: decoder.conv_out.weight", in_plan=False)


def test_values_that_are_not_finite_are_refused(tmp_path):
    spec = made(tmp_path, "diffusers")
    state = load_file(tmp_path / WEIGHTS)
    state["conv_in.bias"][0] = torch.nan
    save_file(state, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match="conv_in.bias holds values that are not finite"):
        load_model(spec)


@pytest.mark.parametrize(
    "shape",
    [{"shift_factor": 0.3}, {"latents_mean": [0.5, 0, -1, 2], "latents_std": [2, 1, 0.5, 3]}],
)
def test_statistics_of_a_vae_are_honoured(tmp_path, shape):
    spec = made(tmp_path, "latent")
    change(tmp_path / VAE, shape)
    model = load_model(spec)
    vae = diffusers.AutoencoderKL.from_pretrained(tmp_path / "vae")
    latents = torch.randn(2, 4, 4, 4, generator=torch.manual_seed(0))
    mean = torch.tensor(shape.get("latents_mean", [0.3] * 4)).view(-1, 1, 1)
    std = torch.tensor(shape.get("latents_std", [1.0] * 4)).view(-1, 1, 1)
    with torch.no_grad():
        image = vae.decode(latents).sample
    scaled = (latents - mean) / std * vae.config.scaling_factor
    expected = ((image + 1) * 128).floor().clamp(0, 255)
    assert (model.to_pixels(scaled).float() - expected).abs().max() <= 1
    pixels = expected.to(torch.uint8)
    with torch.no_grad():
        z = vae.encode((pixels + 0.5) / 128 - 1).latent_dist.mode()
    found = model.from_pixels(pixels)
    torch.testing.assert_close(found.float(), (z - mean) / std * 0.5, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "level",
    [{"sigma_min": 0.0}, {"sigma_max": float("inf")}, {"sigma_max": "80"}, {"sigma_max": None}],
)
def test_sigmas_without_a_range_are_refused_with_what_to_write(tmp_path, level):
    weights = tmp_path / "x.safetensors"
    save_edm(
        weights, tiny_models.tiny_unet(), {"sigma_data": 0.5, "sigma_min": 0.002, "sigma_max": 80.0}
    )
    change(weights.with_suffix(".json"), level)
    with pytest.raises(CheckpointError, match="such as 0.002 and 80"):
        load_model(weights)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"data_range": [1.0, 0.0]}, "data_range: [1.0, 0.0] found, allowed: two numbers, rising"),
        ({"sigma_data": "0.5"}, "sigma_data: '0.5' found, allowed: a number above 0"),
        ({"datarange": [0, 1]}, "datarange: unknown key"),
        ({"architecture": {"sample_size": 8, "in_channels": "3"}}, "in_channels: '3' found"),
        ({"logsnr_range": [-30.0, 5.0]}, "logsnr_range: [-30.0, 5.0] found, allowed: inside"),
    ],
)  # fmt: skip
def test_a_card_of_an_edm_file_is_checked(tmp_path, keys, words):
    weights = tmp_path / "x.safetensors"
    save_edm(
        weights, tiny_models.tiny_unet(), {"sigma_data": 0.5, "sigma_min": 0.002, "sigma_max": 80.0}
    )
    change(weights.with_suffix(".json"), keys)
    with pytest.raises(CheckpointError) as caught:
        load_model(weights)
    assert words in str(caught.value)


def test_an_edm_card_may_be_not_square(tmp_path):
    weights = tmp_path / "x.safetensors"
    card = {"sigma_data": 0.5, "sigma_min": 0.002, "sigma_max": 80.0}
    save_edm(weights, tiny_models.tiny_unet(sample_size=(8, 12)), card)
    assert load_model(weights).shape == (3, 8, 12)


@pytest.mark.parametrize("form", ["diffusers", "edm"])
def test_labels_of_an_unconditional_network_are_refused(tmp_path, form):
    spec = made(tmp_path, "diffusers")
    if form == "edm":
        save_edm(
            tmp_path / "x.safetensors",
            tiny_models.tiny_unet(),
            {"sigma_data": 0.5, "sigma_min": 0.01, "sigma_max": 9.0},
        )
        spec = {"source": f"path:{tmp_path / 'x.safetensors'}", "format": "edm"}
    for extra in ({"label": 1}, {"null_label": 2}, {"null_label": 2, "guidance": 2.0}):
        refused(spec | extra, "but the network is unconditional")


def test_variants_without_a_name_are_refused_where_there_are_two(tmp_path):
    spec = made(tmp_path, "diffusers")
    weights = tmp_path / WEIGHTS
    for name in ("fp16", "bf16"):
        (weights.parent / f"diffusion_pytorch_model.{name}.safetensors").write_bytes(
            weights.read_bytes()
        )
    assert load_model(spec).shape == (3, 8, 8)
    refused(
        spec | {"variant": "fp8"},
        "variant: 'fp8' found, allowed here: bf16, fp16, none (no variant)",
    )
    weights.unlink()
    refused(spec, "only variants of the weights found")


def test_what_is_missing_is_said_to_be_missing(tmp_path):
    for name in ("my-ddpm", str(tmp_path / "nothing")):
        with pytest.raises(
            CheckpointError, match="no such file or folder, .* a folder \\(diffusers"
        ):
            load_model(name)
    made(tmp_path, "diffusers")
    for spec in ({"source": f"path:{tmp_path}"}, {"source": "path", "path": str(tmp_path)}):
        with pytest.raises(CheckpointError, match="format: diffusers"):
            load_model(spec)
        with pytest.raises(SystemExit, match="format: diffusers"):
            planned(spec)
    assert (
        load_model({"source": "path", "path": str(tmp_path), "format": "diffusers"}).shape[0] == 3
    )


@pytest.mark.parametrize(
    "setting",
    [{"label": "1"}, {"guidance": "2"}, {"guidance": float("nan")}, {"data_range": 3}, {"data": 4}],
)
def test_settings_of_another_type_are_refused(tmp_path, setting):
    with pytest.raises(CheckpointError, match=next(iter(setting))):
        load_model({**made(tmp_path, "diffusers"), **setting})


# --- schedulers -----------------------------------------------------------------------------------


def shipped() -> set[str]:
    """Every scheduler class of the installed diffusers, those included that miss a package."""
    from diffusers.schedulers import _import_structure

    named = {name for names in _import_structure.values() for name in names}
    return {name for name in named | set(dir(diffusers)) if name.endswith("Scheduler")}


def test_every_class_of_the_installed_diffusers_is_decided():
    assert {name for name, found in SCHEDULERS.items() if found.shipped} == shipped()
    with pytest.raises(CheckpointError, match="_class_name: 'TomorrowsScheduler' found"):
        read_scheduler({"_class_name": "TomorrowsScheduler"})


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_a_class_is_read_or_refused_as_its_row_says(name):
    found = SCHEDULERS[name]
    if found.kind == "refused":
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_scheduler({"_class_name": name})
        return
    try:
        config = dict(getattr(diffusers, name)().config) if found.shipped else {}
    except ImportError:  # its package is not installed
        assert found.package
        return
    written = {"_class_name": name, **json.loads(json.dumps(config))}
    reading = read_scheduler(written, kinds=(found.kind,))
    assert reading.kind == found.kind and (
        reading.head in found.heads or not found.shipped or not found.heads
    )


@pytest.mark.parametrize("part", ["text_encoder_2", "text_encoder_3", "tokenizer_2"])
def test_text_encoders_of_a_pipeline_are_there_or_not_named(tmp_path, part):
    spec = made(tmp_path, "pipeline")
    shutil.rmtree(tmp_path / part)
    refused(spec, "is missing")
    if part == "text_encoder_3":  # the one that Stable Diffusion 3 does without
        change(tmp_path / INDEX, {part: [None, None], "tokenizer_3": [None, None]})
        assert load_model(spec).shape == (4, 4, 4)


def test_conditions_of_a_pipeline_are_those_that_it_takes(tmp_path):
    spec = made(tmp_path / "flow", "pipeline")
    refused(spec | {"label": 1}, "label: 1 found, but SD3Transformer2DModel takes a prompt")
    refused(spec | {"resolution": 10}, "resolution: 10 found, allowed: multiples of 4")
    tiny_models.save_pipeline(tmp_path / "dit", "dit")
    spec["source"] = f"path:{tmp_path / 'dit'}"
    refused(spec, "label: none found, allowed: 0 to 4")
    refused(spec | {"label": 5}, "label: 5 found, allowed: 0 to 4")
    refused(spec | {"label": 1, "prompt": "a cat"}, "takes a label")
    refused(spec | {"label": 1, "resolution": 16}, "allowed: 8, the network's own")


def test_the_page_of_schedulers_is_the_table():
    page = (CLONE / "docs" / "schedulers.md").read_text(encoding="utf-8")
    assert scheduler_table() in page


# --- arguments ------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path):
    return load_model(made(tmp_path, "diffusers"))


@pytest.mark.parametrize(
    "grid",
    [[9.0, -20.0], [30.0, 0.0, -6.2], [9.0, -3.0], [-6.2, 9.0], [9.0, float("nan"), -6.2], [5.0]],
)
def test_a_grid_that_the_model_does_not_have_is_refused(model, grid):
    x = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    for action in (
        lambda: ode_log_density(model, x, grid=grid),
        lambda: elbo(model, x, paths=1, grid=grid[::-1], covariance="none"),
        lambda: sample_ode(model, 1, grid=grid[::-1]),
        lambda: track_reverse_sde(model, 1, grid=grid[::-1], covariance="none"),
    ):
        with pytest.raises(ValueError, match="grid: .* found, allowed"):
            action()


def test_pixels_are_not_taken_for_points_of_model_space(model):
    pixels = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    for action, more in (
        (ode_log_density, ()),
        (elbo, ()),
        (local_intrinsic_dimension, (2.0,)),
        (track_modes, (2.0,)),
    ):
        with pytest.raises(ValueError, match="x: uint8 found, allowed: floating-point"):
            action(model, pixels, *more)


def test_a_network_takes_hutchinson_by_default(model):
    x = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    given = ode_log_density(model, x, 2, divergence="hutchinson").log_density
    assert torch.equal(ode_log_density(model, x, 2).log_density, given)


def test_clipping_of_pictures_is_that_of_the_config(tmp_path):
    spec = made(tmp_path, "diffusers")
    change(tmp_path / SCHEDULER, {"clip_sample": True, "clip_sample_range": 0.5})
    model = load_model(spec)
    assert "clipped" in model.card
    grey = model.picture(torch.tensor([-3.0, 3.0]).double().view(2, 1, 1, 1).expand(2, 3, 8, 8))
    assert grey[0].unique().tolist() == [64] and grey[1].unique().tolist() == [192]
