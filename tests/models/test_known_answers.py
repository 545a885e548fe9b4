"""Known answers: an exact network behind every format, head, schedule and data range.

Each line of CASES is a folder or file as it is published; the PF-ODE's log-density of draws of the
data must be the closed form's, and the plan of the workflow must take the same model.
"""

# ruff: noqa: E501  (one line a case)

import json
import shutil
import subprocess
import sys
from pathlib import Path

import diffusers
import pytest
import tiny_models
import torch
import yaml
from exact_networks import (
    edm_output,
    log_density,
    score_output,
    statistics,
    table_output,
    velocity_output,
    worn,
)
from safetensors.torch import load_file, save_file

from cartoonists import bits_per_dim, load_model, ode_log_density, sample_ode
from cartoonists.models.checkpoints import save_model
from cartoonists.models.edm_models import save_edm
from cartoonists.models.networks import PixelUNet

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / "workflow"))
from validation import checked_models  # noqa: E402  (after the path above)

COSINE = {"beta_schedule": "squaredcos_cap_v2"}
LATENT = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
FEW = [0.001 + 0.005 * i for i in range(50)]
CM = {"_class_name": "KarrasEDMScheduler", "precondition_type": "cm_edm"}
EDM = {"_class_name": "KarrasEDMScheduler", "precondition_type": "edm"}

CASES = {  # name: scheduler class (or config), its options, and what is particular
    "linear": ("DDPMScheduler", {}, {}),
    "linear, x_0": ("DDPMScheduler", {"prediction_type": "sample"}, {}),
    "linear, v": ("DDPMScheduler", {"prediction_type": "v_prediction"}, {}),
    "sigmoid": ("DDPMScheduler", {"beta_schedule": "sigmoid"}, {}),
    "laplace, v": ("DDPMScheduler", {"beta_schedule": "laplace", "prediction_type": "v_prediction"}, {"within": 0.03}),  # its table ends at λ = -3.4
    "trained betas": ("DDPMScheduler", {"trained_betas": FEW}, {}),
    "cosine": ("DDPMScheduler", COSINE, {}),
    "cosine, v, zero snr": ("DDIMScheduler", COSINE | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}, {}),
    "learned variance": ("DDPMScheduler", {"variance_type": "learned_range"}, {"extra": True}),
    "200 steps": ("DDPMScheduler", {"num_train_timesteps": 200, "beta_end": 0.08}, {}),
    "predict_epsilon false": ("DDPMScheduler", {"prediction_type": "sample"}, {"keys": {"predict_epsilon": False}}),
    "predict_epsilon true": ("DDPMScheduler", {}, {"keys": {"predict_epsilon": True}}),
    "parallel DDPM": ("DDPMParallelScheduler", {}, {}),
    "DDIM, trailing": ("DDIMScheduler", {"timestep_spacing": "trailing"}, {}),
    "DDIM, parallel": ("DDIMParallelScheduler", {}, {}),
    "DDIM, inverse": ("DDIMInverseScheduler", {}, {}),
    "PNDM, v": ("PNDMScheduler", LATENT | {"prediction_type": "v_prediction"}, {}),
    "PNDM with DDIM's keys": ("PNDMScheduler", LATENT, {"keys": {"clip_sample": False}}),
    "DEIS": ("DEISMultistepScheduler", {}, {}),
    "DPM-Solver, Karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, {}),
    "DPM-Solver, inverse": ("DPMSolverMultistepInverseScheduler", {}, {}),
    "DPM-Solver, single": ("DPMSolverSinglestepScheduler", {}, {}),
    "Euler, zero snr": ("EulerDiscreteScheduler", {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}, {}),
    "Euler, ancestral": ("EulerAncestralDiscreteScheduler", {}, {}),
    "Heun": ("HeunDiscreteScheduler", {}, {}),
    "KDPM2": ("KDPM2DiscreteScheduler", {}, {}),
    "KDPM2, ancestral": ("KDPM2AncestralDiscreteScheduler", {}, {}),
    "LMS": ("LMSDiscreteScheduler", {}, {}),
    "SA": ("SASolverScheduler", {}, {}),
    "UniPC": ("UniPCMultistepScheduler", {}, {}),
    "RePaint": ("RePaintScheduler", {}, {}),
    "UnCLIP": ("UnCLIPScheduler", {"prediction_type": "sample"}, {}),
    "CogVideoX": ("CogVideoXDDIMScheduler", {"snr_shift_scale": 3.0, "prediction_type": "v_prediction"}, {}),
    "NCSN++": ("ScoreSdeVeScheduler", {"sigma_max": 50.0}, {"unet": {"time_embedding_type": "fourier"}}),
    "EDM": ("EDMEulerScheduler", {}, {}),
    "EDM, v": ("EDMDPMSolverMultistepScheduler", {"sigma_data": 2.0, "prediction_type": "v_prediction"}, {}),
    "EDM of Song et al.": (EDM, {}, {}),
    "EDM of Song et al., times 1000": (CM, {"sigma_min": 0.01}, {}),
    "EDM file": ("edm", {"sigma_min": 0.01, "sigma_max": 50.0}, {}),
    "EDM file, 0 to inf": ("edm", {"sigma_min": 0.0, "sigma_max": float("inf"), "logsnr_range": [-8.0, 9.0]}, {}),
    "native, eps": ("native", {"head": "eps"}, {}),
    "native, x_0": ("native", {"head": "x0"}, {}),
    "native, v": ("native", {"head": "v"}, {}),
    "latents": ("DDIMScheduler", LATENT | {"clip_sample": False}, {"latent": True}),
    "latents, v": ("PNDMScheduler", LATENT | {"prediction_type": "v_prediction"}, {"latent": True}),
    "pipeline, SD": ("PNDMScheduler", LATENT | {"skip_prk_steps": True}, {"pipeline": "stable_diffusion"}),
    "pipeline, SD, v": ("DDIMScheduler", LATENT | {"prediction_type": "v_prediction", "clip_sample": False}, {"pipeline": "stable_diffusion"}),
    "pipeline, SDXL": ("EulerDiscreteScheduler", LATENT | {"timestep_spacing": "leading"}, {"pipeline": "stable_diffusion_xl"}),
    "pipeline, DiT": ("DDIMScheduler", {"clip_sample": False}, {"pipeline": "dit", "extra": True, "options": {"label": 3}}),
    "pipeline, PixArt": ("DPMSolverMultistepScheduler", {}, {"pipeline": "pixart", "extra": True}),
    "pipeline, SD3": ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, {"pipeline": "stable_diffusion_3"}),
    "pipeline, FLUX": ("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}, {"pipeline": "flux", "options": {"resolution": 8}}),
    "data of 0 to 1": ("DDPMScheduler", {}, {"options": {"data_range": [0.0, 1.0]}}),
    "data of 0 to 255": ("DDPMScheduler", COSINE, {"unit": 100.0, "options": {"data_range": [0.0, 255.0]}}),
    "range of λ": ("DDPMScheduler", COSINE, {"options": {"logsnr_range": [-9.0, 6.0]}}),
    "flat": ("DDPMScheduler", {}, {"layout": "flat"}),
    "indexed": ("DDPMScheduler", {}, {"layout": "index"}),
    "fp16 alone": ("DDPMScheduler", {}, {"layout": "fp16"}),
    "fp16 named": ("DDPMScheduler", {}, {"layout": "both", "options": {"variant": "fp16"}}),
    "shards": ("DDPMScheduler", {}, {"layout": "shards"}),
    "prefix module.": ("DDPMScheduler", {}, {"layout": "module."}),
    "not square": ("DDPMScheduler", {}, {"unet": {"sample_size": [4, 6]}}),
    "one channel": ("DDPMScheduler", {}, {"unet": {"in_channels": 1, "out_channels": 1}}),
    "four channels": ("DDPMScheduler", {}, {"unet": {"in_channels": 4, "out_channels": 4}}),
}  # fmt: skip


def spec_of(folder: Path, case: tuple) -> dict:
    """The case as a folder or file, and its entry in a configuration."""
    kind, options, more = case
    folder.mkdir()
    if kind == "edm":
        return _edm_file(folder / "x.safetensors", options)
    if kind == "native":
        return _native_file(folder / "x.safetensors", options["head"])
    scheduler = getattr(diffusers, kind)(**options) if isinstance(kind, str) else None
    if "pipeline" in more:
        tiny_models.save_pipeline(folder, more["pipeline"], scheduler)
        return {"source": f"path:{folder}", "format": "pipeline", **more.get("options", {})}
    if more.get("latent"):
        *_, embeddings = tiny_models.save_latent(folder)
        scheduler.save_pretrained(folder / "scheduler")
        form = {"format": "latent", "embeddings": str(embeddings)}
        return {"source": f"path:{folder}", **form}
    double = {"out_channels": 6} if more.get("extra") else {}
    unet = tiny_models.tiny_unet(**({"sample_size": 4} | double | more.get("unet", {})))
    flat = more.get("layout") == "flat"
    tiny_models.save_diffusers(folder, unet, scheduler, flat=flat)
    place = (folder if flat else folder / "scheduler") / "scheduler_config.json"
    written = json.loads(place.read_text()) if scheduler else kind | options
    place.write_text(json.dumps(written | more.get("keys", {})))
    _lay_out(folder, more.get("layout"))
    return {"source": f"path:{folder}", "format": "diffusers", **more.get("options", {})}


def _edm_file(weights: Path, card: dict) -> dict:
    save_edm(weights, tiny_models.tiny_unet(sample_size=4), {"sigma_data": 0.5, **card})
    return {"source": f"path:{weights}", "format": "edm"}


def _native_file(weights: Path, head: str) -> dict:
    net = {"channels": 3, "size": 4, "widths": [8, 32], "stem_width": 4, "head_width": 4}
    card = {
        "architecture": {"name": "PixelUNet", **net},
        "schedule": {"kind": "VP", "logsnr_min": -8.0, "logsnr_max": 9.0},
        "data": {"name": "none", "shape": [3, 4, 4], "mean": [0.5] * 3, "std": [0.25] * 3},
        "head": head,
    }
    save_model(weights, PixelUNet(**net), card)
    return {"source": f"path:{weights}"}


def _lay_out(folder: Path, layout: str | None) -> None:
    unet = folder / "unet"
    weights = unet / "diffusion_pytorch_model.safetensors"
    if layout in ("fp16", "both"):
        state = {name: tensor.half() for name, tensor in load_file(weights).items()}
        save_file(state, unet / "diffusion_pytorch_model.fp16.safetensors")
        if layout == "fp16":
            weights.unlink()
    if layout == "module.":
        save_file({f"module.{n}": t for n, t in load_file(weights).items()}, weights)
    if layout == "shards":
        diffusers.UNet2DModel.from_pretrained(unet).save_pretrained(unet, max_shard_size="20KB")
        weights.unlink(missing_ok=True)
    if layout == "index":
        parts = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
        (folder / "model_index.json").write_text(
            json.dumps({"_class_name": "DDPMPipeline", **parts})
        )


def wear(monkeypatch, case: tuple) -> None:
    """Put the exact network behind the classes of diffusers and behind the bundled one."""
    kind, options, more = case
    unit = more.get("unit", 1.0)
    if kind == "native":
        heads = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
        table = torch.sigmoid(
            torch.linspace(12.0, -12.0, 2401, dtype=torch.float64)
        )  # t = 100 (12 - λ)
        head = heads[options["head"]]
        inner = worn(lambda x, t: table_output(x, t, table, head, unit))
        forward = lambda self, x, logsnr: inner(self, x, 100 * (12.0 - logsnr.double())).sample  # noqa: E731
        return monkeypatch.setattr(PixelUNet, "forward", forward)
    head = options.get("prediction_type", "epsilon")
    name = kind if isinstance(kind, str) else kind["_class_name"]
    if name.startswith("FlowMatch"):
        units, packs = (1.0, True) if more["pipeline"] == "flux" else (1000.0, False)
        forward = worn(lambda x, t: velocity_output(x, t / units, unit), packs=packs)
    elif name == "ScoreSdeVeScheduler":
        forward = worn(lambda x, sigma: score_output(x, sigma, unit))
    elif name == "edm" or "EDM" in name:
        times = 1000.0 if kind is CM else 1.0
        sign, data = -1.0 if head == "v_prediction" else 1.0, options.get("sigma_data", 0.5)
        forward = worn(lambda x, t: edm_output(x, torch.exp(4 * t / times), data, sign, unit))
    else:
        table = getattr(diffusers, name)(**options).alphas_cumprod
        table = table[:-1] if options.get("rescale_betas_zero_snr") else table
        forward = worn(lambda x, t: table_output(x, t, table, head, unit), bool(more.get("extra")))
    for network in {"UNet2DModel", *(name for name, _ in tiny_models.NETWORKS.values())}:
        monkeypatch.setattr(getattr(diffusers, network), "forward", forward)


def draws(model, unit: float, n: int = 2):
    """Data with the noise of logsnr_max, and their log-density."""
    schedule, end = model.schedule, model.schedule.logsnr_max
    alpha, sigma2 = schedule.alpha(end), schedule.sigma2(end)
    mean, variance = statistics(model.shape, unit)
    noise = torch.randn(n, *model.shape, dtype=torch.float64, generator=torch.manual_seed(1))
    x = alpha * mean + (alpha**2 * variance + sigma2).sqrt() * noise
    return x, log_density(x, alpha, sigma2, unit)


@pytest.mark.parametrize("name", CASES)
def test_the_log_density_is_that_of_the_closed_form(tmp_path, monkeypatch, name):
    case = CASES[name]
    spec = spec_of(tmp_path / "model", case)
    wear(monkeypatch, case)
    model, unit = load_model(spec), case[2].get("unit", 1.0)
    x, truth = draws(model, unit)
    # probes are exact here: the Hessian of independent coordinates is diagonal
    found = ode_log_density(model, x, steps=32, solver="rk4").log_density
    assert (found - truth).abs().max() / model.dimensions < case[2].get("within", 2e-3)
    low, high = spec.get("data_range", (0.0, 1.0) if "NCSN" in name else (-1.0, 1.0))
    if (
        case[0] != "native"
        and "within" not in case[2]
        and not case[2].keys() & {"latent", "pipeline"}
    ):
        bits = bits_per_dim(found, model.dimensions, model.log_pixels_per_unit)
        levels = torch.log(torch.tensor(256.0 / (high - low)).double())  # grey levels a unit
        expected = (levels - truth / model.dimensions) / torch.log(torch.tensor(2.0).double())
        torch.testing.assert_close(bits, expected, rtol=0, atol=4e-3)


@pytest.mark.parametrize(
    "name", ["cosine", "cosine, v, zero snr", "EDM", "NCSN++", "latents", "pipeline, FLUX"]
)
def test_samples_from_the_end_of_the_range_are_those_of_the_data(tmp_path, monkeypatch, name):
    case = CASES[name]
    spec = spec_of(tmp_path / "model", case)
    wear(monkeypatch, case)
    model = load_model(spec)
    run = sample_ode(model, n=64, steps=32, solver="rk4", divergence="none")
    mean, variance = statistics(model.shape)
    assert (run.x.mean() - mean.mean()).abs() < 0.03
    found = run.x.var(0).mean((1, 2)) / variance.mean((1, 2))
    torch.testing.assert_close(found, torch.ones_like(found), rtol=0, atol=0.15)


def test_the_plan_takes_every_case(tmp_path):
    config = yaml.safe_load((CLONE / "config.yaml").read_text())
    models = {}
    for i, case in enumerate(CASES.values()):
        spec = spec_of(tmp_path / f"model-{i}", case)
        models[f"known/case-{i}"] = {key: value for key, value in spec.items()}
    overlay = {"models": models, "run_models": list(models), "briefly": list(models)}
    assert list(checked_models({**config, **overlay, "models": models})) == list(models)
    (tmp_path / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "--directory", str(tmp_path)]
    command += [
        "--snakefile",
        str(CLONE / "Snakefile"),
        "--configfile",
        str(tmp_path / "overlay.yaml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for name, words in (("not square", "4 × 6"), ("four channels", "4 channels")):
        i = list(CASES).index(name)
        lines = [line for line in done.stderr.splitlines() if f"known/case-{i}:" in line]
        assert lines and words in lines[0], done.stderr[-2000:]
    shutil.rmtree(tmp_path / ".snakemake", ignore_errors=True)
