"""Every format through its real files; known answers are in test_known_answers."""

import json
import math
import pickle

import pytest
import tiny_models
import torch
from diffusers import EDMEulerScheduler, ScoreSdeVeScheduler
from safetensors.torch import load_file, save_file
from torch import nn

from cartoonists import Gaussian, load_model, ode_log_density, track_reverse_sde
from cartoonists.models.checkpoints import (
    CheckpointError,
    GuidedModel,
    ModelSpec,
    fetch_model,
    save_model,
    write_card,
)
from cartoonists.models.diffusers_models import discrete_schedule
from cartoonists.models.edm_models import edm_schedule, save_edm
from cartoonists.models.image_models import ImageModel

VARIANCE = 0.3  # of the closed-form Gaussian data
SHAPE = (1, 1, 2)


LINEAR = {"_class_name": "DDPMScheduler", "beta_start": 1e-4, "beta_end": 0.02}


@pytest.mark.parametrize("flat", [False, True], ids=["pipeline", "flat"])
def test_diffusers_folder_gives_the_score_of_its_network(tmp_path, flat):
    unet, scheduler = tiny_models.save_diffusers(tmp_path, flat=flat)
    model = load_model(tmp_path)
    assert isinstance(model, ImageModel) and model.shape == (3, 8, 8)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    for timestep in (0, 1, 500, 999):
        signal = scheduler.alphas_cumprod[timestep].double()
        with torch.no_grad():
            eps = unet(x.float(), timestep).sample.double()
        found = model.score(x, torch.logit(signal))
        torch.testing.assert_close(found, -eps / (1 - signal).sqrt(), rtol=1e-3, atol=1e-3)
    assert model.schedule.logsnr_max == pytest.approx(9.2103, abs=1e-3)  # β_1 = 1e-4


def test_diffusers_pixels_are_those_of_its_pipelines(tmp_path):
    tiny_models.save_diffusers(tmp_path)
    model = load_model(tmp_path)
    ends = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 8, 8)
    x = model.from_pixels(ends)
    torch.testing.assert_close(x.mean((1, 2, 3)), torch.tensor([-1.0, 1.0]).double() * 255 / 256)
    assert torch.equal(model.to_pixels(x), ends)


def test_score_sde_ve_folder_has_data_between_0_and_1(tmp_path):
    unet = tiny_models.tiny_unet(time_embedding_type="fourier")
    tiny_models.save_diffusers(tmp_path, unet, ScoreSdeVeScheduler(sigma_max=50.0), flat=True)
    model = load_model(tmp_path)
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        expected = unet(x.float(), torch.full((2,), 0.5)).sample.double()
    found = model.score(x, -2 * torch.log(torch.tensor(0.5)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert model.to_pixels(torch.ones(1, 3, 8, 8)).unique().tolist() == [255]
    assert model.to_pixels(torch.zeros(1, 3, 8, 8)).unique().tolist() == [0]


def test_edm_scheduler_folder_is_preconditioned_as_diffusers_does(tmp_path):
    scheduler = EDMEulerScheduler(sigma_data=0.5)
    unet, _ = tiny_models.save_diffusers(tmp_path, scheduler=scheduler)
    x, sigma = torch.randn(1, 3, 8, 8), torch.tensor(0.7)
    scaled, noise = scheduler.precondition_inputs(x, sigma), scheduler.precondition_noise(sigma)
    with torch.no_grad():
        expected = scheduler.precondition_outputs(x, unet(scaled, noise).sample, sigma)
    found = load_model(tmp_path).denoise(x.double(), -2 * torch.log(sigma))
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=1e-4)


def test_edm_file_round_trip(tmp_path):
    unet, weights = tiny_models.tiny_unet(), tmp_path / "edm.safetensors"
    save_edm(weights, unet, {"sigma_data": 0.5, "sigma_min": 0.002, "sigma_max": 80.0})
    model = load_model(weights)
    assert model.schedule == edm_schedule(0.002, 80.0)
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():  # σ = 1: c_in = 1/√1.25, c_noise = 0, c_skip = 0.2, c_out = 0.5/√1.25
        raw = unet((x / 1.25**0.5).float(), torch.zeros(1)).sample.double()
    expected = 0.2 * x + 0.5 / 1.25**0.5 * raw
    torch.testing.assert_close(model.denoise(x, 0.0), expected, rtol=1e-4, atol=1e-5)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CheckpointError, match="sha256"):
        load_model(weights)


def test_class_conditional_network_has_a_fixed_label_and_guidance(tmp_path):
    unet = tiny_models.tiny_unet(num_class_embeds=4)
    tiny_models.save_diffusers(tmp_path, unet)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    spec = {"source": f"path:{tmp_path}", "format": "diffusers"}
    one, null = (load_model({**spec, "label": k}).score(x, 0.0) for k in (1, 3))
    assert not torch.allclose(one, null)
    guided = load_model({**spec, "label": 1, "null_label": 3, "guidance": 2.5})
    torch.testing.assert_close(guided.score(x, 0.0), null + 2.5 * (one - null))
    for problem, words in (
        ({}, "label: none found"),
        ({"label": 4}, "label: 4 found, allowed: 0 to 3"),
        ({"label": 1, "guidance": 2.0}, "without a null_label"),
    ):
        with pytest.raises(CheckpointError, match=words):
            load_model({**spec, **problem})


def test_guided_model_is_tracked_like_any_other():
    """Two Gaussians guided with w: linear scores, so the PF-ODE's density is known."""

    class Exact(ImageModel):
        def __init__(self, mean):
            schedule = discrete_schedule(LINEAR)
            super().__init__(None, SHAPE, schedule, None, {})
            self.target = Gaussian(torch.full(SHAPE, mean), VARIANCE, schedule)

        def score(self, x, logsnr):
            return self.target.score(x, logsnr)

        def score_and_hvp(self, x, logsnr, v):
            return self.target.score_and_hvp(x, logsnr, v)

    guided = GuidedModel(Exact(0.5), Exact(0.2), 3.0)
    # the score's mean is linear in the component means: m_0 + w (m_c - m_0)
    target = Gaussian(torch.full(SHAPE, 0.2 + 3.0 * 0.3), VARIANCE, guided.schedule)
    x = target.sample(3)
    found = ode_log_density(guided, x, steps=64).log_density
    torch.testing.assert_close(found, target.log_prob(x), rtol=0, atol=2e-2)
    assert track_reverse_sde(guided, n=2, steps=4, covariance="none").x.shape == (2, *SHAPE)


def test_latent_pipeline(tmp_path):
    unet, autoencoder, scheduler, embeddings = tiny_models.save_latent(tmp_path)
    spec = {"source": f"path:{tmp_path}", "format": "latent", "embeddings": str(embeddings)}
    model, guided = load_model(spec), load_model({**spec, "guidance": 7.5})
    assert model.shape == (4, 4, 4)
    z = torch.randn(2, 4, 4, 4, dtype=torch.float64)
    signal, prompts = scheduler.alphas_cumprod[300].double(), load_file(embeddings)

    def expected(name):
        prompt = prompts[name].expand(2, 5, 6)
        with torch.no_grad():
            v = unet(z.float(), 300, encoder_hidden_states=prompt).sample.double()
        return -(signal.sqrt() * v + (1 - signal).sqrt() * z) / (1 - signal).sqrt()

    at = torch.logit(signal)
    torch.testing.assert_close(model.score(z, at), expected("prompt"), rtol=1e-4, atol=1e-4)
    mixed = expected("empty") + 7.5 * (expected("prompt") - expected("empty"))
    torch.testing.assert_close(guided.score(z, at), mixed, rtol=1e-4, atol=1e-3)
    with torch.no_grad():
        image = autoencoder.decode(z.float() / 0.5).sample
    pixels = ((image + 1) * 128).floor().clamp(0, 255)
    assert (model.to_pixels(z).float() - pixels).abs().max() <= 1
    assert model.finish(z).shape == (2, 3, 8, 8)
    with torch.no_grad():
        latents = autoencoder.encode((pixels + 0.5) / 128 - 1).latent_dist.mode() * 0.5
    found = model.from_pixels(pixels.to(torch.uint8))
    torch.testing.assert_close(found.float(), latents, rtol=1e-4, atol=1e-4)
    assert model.pixel_shape == (3, 8, 8) and math.isnan(model.log_pixels_per_unit)
    assert load_model({**spec, "resolution": 16}).shape == (4, 8, 8)


def test_latent_prompt_needs_a_text_encoder_or_embeddings(tmp_path, monkeypatch):
    *_, embeddings = tiny_models.save_latent(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(CheckpointError, match="transformers is not installed"):
        load_model(tmp_path)
    save_file({"prompt": torch.zeros(5, 7)}, embeddings)
    spec = {"source": f"path:{tmp_path}", "format": "latent", "embeddings": str(embeddings)}
    with pytest.raises(CheckpointError, match=r"\(5, 7\) found, allowed: \[tokens, 6\]"):
        load_model(spec)


class Bomb:
    """Unpickling it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize(
    "name", ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"]
)
def test_malicious_pickle_is_refused_and_not_run(tmp_path, name):
    folder, trace = tmp_path / "model", tmp_path / "it-ran"
    tiny_models.save_diffusers(folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    with (folder / "unet" / name).open("wb") as stream:
        pickle.dump(Bomb(trace), stream)
    with pytest.raises(CheckpointError, match="pickled weights|damaged"):
        load_model(folder)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Bomb(trace))).close()
    assert trace.exists()  # the test itself could have failed


def test_a_repository_of_pickles_alone_is_refused_when_it_is_fetched(tmp_path):
    tiny_models.save_diffusers(tmp_path)
    weights = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(CheckpointError, match="no safetensors found .*how to convert") as caught:
        fetch_model(ModelSpec(f"path:{tmp_path}", "diffusers"))
    assert "\n" not in str(caught.value)


def test_native_round_trip_and_its_errors(tmp_path):
    from cartoonists.models.networks import PixelUNet

    torch.manual_seed(0)
    architecture = {"channels": 1, "size": 8, "widths": [8, 32], "stem_width": 4, "head_width": 4}
    network, weights = PixelUNet(**architecture).eval(), tmp_path / "model.safetensors"
    nn.init.normal_(network.head[-1].weight)
    card = {
        "architecture": {"name": "PixelUNet", **architecture},
        "schedule": {"kind": "VP", "logsnr_min": -8.0, "logsnr_max": 9.0},
        "data": {"shape": [1, 8, 8], "mean": [0.5], "std": [0.25]},
        "head": "eps",
    }
    save_model(weights, network, card)
    model = load_model(weights)
    assert (model.schedule.logsnr_min, model.schedule.logsnr_max) == (-8.0, 9.0)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    with torch.no_grad():  # weights are stored in half precision
        expected = -network(x.float(), torch.zeros(2)).double() / 0.5**0.5
    torch.testing.assert_close(model.score(x, 0.0), expected, rtol=0.02, atol=0.02)
    written = json.loads(weights.with_suffix(".json").read_text())
    for changed, words in (
        ({"architecture": {"name": "os.system"}}, "allowed: 'PixelUNet'"),
        ({"sha256": "0" * 64}, "sha256 .* found"),
        ({"format": "cartoonists/2"}, "not a cartoonists/1 card"),
        ({"architecture": {**written["architecture"], "stem_width": 6}}, "another architecture"),
    ):
        write_card(weights.with_suffix(".json"), {**written, **changed})
        with pytest.raises(CheckpointError, match=words):
            load_model(weights)
    weights.with_suffix(".json").write_text("[]")
    with pytest.raises(CheckpointError, match="list found, allowed: a JSON object"):
        load_model(weights)


@pytest.mark.parametrize("widths", [[8, 16], [12, 32]])
def test_widths_that_the_network_cannot_divide_are_named(widths):
    from cartoonists.models.networks import PixelUNet

    with pytest.raises(ValueError, match=r"widths must be multiples of 8, .* got \["):
        PixelUNet(channels=1, size=8, widths=widths)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"format": "native"}, "source: missing"),
        ({"source": "ftp://x"}, "allowed: bundled, path:<path>, url:<address>, hf:"),
        ({"source": "bundled", "format": "onnx"}, "format: 'onnx' found, allowed: native"),
        (
            {"source": "hf:a/b@main", "format": "native"},
            "allowed with source hf: diffusers, latent",
        ),
        ({"source": "url:http://x/y.safetensors"}, "sha256, card_sha256: missing"),
        ({"source": "bundled", "prompt": "a cat"}, "prompt: found with format 'native'"),
        ({"source": "bundled", "colour": 1}, "colour: unknown key"),
        (
            {"source": "path:x", "format": "diffusers", "data_range": [1, 1]},
            r"data_range: \[1, 1\] found, allowed: two numbers, rising",
        ),
        ({"source": "path:x", "format": "edm", "data_range": [0]}, "two numbers, rising"),
    ],
)
def test_wrong_settings_end_in_one_line(settings, words):
    with pytest.raises(CheckpointError, match=words) as caught:
        ModelSpec.of(settings)
    assert "\n" not in str(caught.value)


def test_fetched_record_notices_a_changed_file(tmp_path):
    folder, record = tmp_path / "model", tmp_path / "model.json"
    tiny_models.save_diffusers(folder)
    spec = ModelSpec(f"path:{folder}", "diffusers")
    fetched = fetch_model(spec)
    record.write_text(json.dumps(fetched))
    assert fetched["sha256"] == fetched["files"]["unet/diffusion_pytorch_model.safetensors"]
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(load_model(record).score(x, 0.0), load_model(folder).score(x, 0.0))
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("0.02", "0.03"))
    with pytest.raises(CheckpointError, match="scheduler_config.json: sha256 .* found"):
        load_model(record)
    config.unlink()
    with pytest.raises(CheckpointError, match="scheduler_config.json is missing"):
        load_model(record)
