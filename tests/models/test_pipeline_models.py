"""Score models of real pipelines: what their networks are told, and what comes out of them."""

import diffusers
import pipelines as made
import pytest
import tiny_models
import torch

from cartoonists import RectifiedFlow, from_pipeline, load_model
from cartoonists.files.errors import CheckpointError
from cartoonists.schedulers import TrackedScheduler

LATENTS = [
    made.stable_diffusion, made.stable_diffusion_xl, made.dit, made.pixart,
    made.stable_diffusion_3, made.flux,
]  # fmt: skip
MIXTURE = made.gaussian(0.3, 0.5, 256)


def condition(make):
    return {"label": 3} if make is made.dit else {"prompt": "a cat"}


def model_of(pipe, make, **options):
    size = {"resolution": 16} if make is made.flux else {}
    return from_pipeline(pipe, **condition(make), **size, **options)


def run(pipe, make, **options):
    """Two steps without guidance."""
    told = {"class_labels": [3]} if make is made.dit else {"prompt": "a cat"}
    size = {} if make is made.dit else {"height": 16, "width": 16}
    pixart = {"use_resolution_binning": False} if make is made.pixart else {}
    last = {} if make is made.dit else {"output_type": "latent"}
    scale = {"guidance_scale": 1.0, **options}
    return pipe(**told, **size, **pixart, **last, **scale, num_inference_steps=2)


@pytest.mark.parametrize("make", LATENTS, ids=lambda make: make.__name__)
def test_the_score_is_that_of_the_network(make):
    pipe = make(MIXTURE)
    model = model_of(pipe, make)
    assert model.shape == (4, 8, 8) and model.pixel_shape == (3, 16, 16)
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=torch.manual_seed(0))
    low = max(model.schedule.logsnr_min, -6.0)
    for logsnr in (low + 0.1, 0.0, 4.0):
        level = torch.as_tensor(logsnr, dtype=torch.float64)
        truth = made.denoise(MIXTURE, x, model.schedule.alpha(level), model.schedule.sigma(level))
        # Exact takes whole timesteps of a table, so λ is one of the table's
        if not isinstance(model.schedule, RectifiedFlow):
            time = model.schedule.timestep(level).round().long()
            signal = pipe.scheduler.alphas_cumprod.double()[time]
            level = torch.logit(signal)
            truth = made.denoise(MIXTURE, x, signal.sqrt(), (1 - signal).sqrt())
        torch.testing.assert_close(model.denoise(x, level), truth, rtol=1e-3, atol=1e-3)


def recorded(network):
    calls = []
    network.register_forward_pre_hook(lambda _, a, k: calls.append((a, k)), with_kwargs=True)
    return calls


def leaves(kwargs):
    """Tensors by their names, those inside mappings too."""
    found = {}
    for name, value in kwargs.items():
        if isinstance(value, dict):
            found |= leaves(value)
        elif torch.is_tensor(value):
            found[name] = value
    return found


@pytest.mark.parametrize("make", LATENTS, ids=lambda make: make.__name__)
def test_the_network_is_told_what_the_pipeline_tells_it(make):
    """At a level of a real run: the same latents, time and conditions."""
    pipe = make(MIXTURE)
    network = pipe.components.get("transformer") or pipe.unet
    calls = recorded(network)
    embedded = {"guidance_scale": 3.5} if make is made.flux else {}
    run(pipe, make, **embedded)
    args, kwargs = calls[-1]
    names = ("sample", "timestep") if make is not made.flux else ("hidden_states",)
    theirs = leaves(dict(zip(names, args, strict=False)) | kwargs)
    model = model_of(pipe, make, guidance=3.5 if make is made.flux else 1.0)
    x = theirs.pop("sample", theirs.pop("hidden_states", None))
    time = theirs.pop("timestep").flatten()[0].double()
    if isinstance(model.schedule, RectifiedFlow):
        logsnr = RectifiedFlow().logsnr(time if make is made.flux else time / 1000)
    else:
        logsnr = torch.logit(pipe.scheduler.alphas_cumprod.double()[time.long()])
    unpacked = x
    if make is made.flux:
        unpacked = pipe._unpack_latents(x, 16, 16, pipe.vae_scale_factor)
    model.network(unpacked[:1], logsnr[None].float())
    (ours_x,), ours = calls[-1]
    ours = leaves(ours)
    torch.testing.assert_close(ours_x, x[:1])
    torch.testing.assert_close(ours.pop("timestep").double(), time[None], rtol=1e-4, atol=1e-3)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name][: len(value)].to(value), msg=name)


@pytest.mark.parametrize("make", LATENTS[:5], ids=lambda make: make.__name__)
def test_guidance_is_of_the_empty_prompt(make):
    model = model_of(make(MIXTURE), make, guidance=2.0)
    given, empty = model.conditional.network, model.unconditional.network
    assert model.scale == 2.0
    if make is made.dit:
        assert (given.label.item(), empty.label.item()) == (3, 1000)
    else:
        assert (given.prompt - empty.prompt).abs().max() > 0.1


def test_a_distilled_flux_is_told_its_guidance_and_another_is_guided():
    pipe = made.flux(MIXTURE)
    assert model_of(pipe, made.flux, guidance=3.5).network.scale.item() == 3.5
    pipe.transformer.config.guidance_embeds = False
    assert model_of(pipe, made.flux, guidance=2.0).scale == 2.0


def test_the_scheduler_may_be_ours_and_stays_so():
    pipe = made.stable_diffusion(MIXTURE)
    plain = model_of(pipe, made.stable_diffusion)
    pipe.scheduler = TrackedScheduler.from_config(pipe.scheduler.config, seed=0)
    model = model_of(pipe, made.stable_diffusion)
    assert model.schedule == plain.schedule and isinstance(pipe.scheduler, TrackedScheduler)


def test_a_pipeline_of_pixels_is_a_model_of_images():
    pipe = made.ddpm(made.gaussian(0.3, 0.5, 192))
    model = from_pipeline(pipe)
    assert model.shape == (3, 8, 8) and model.finish(torch.zeros(1, 3, 8, 8)).dtype == torch.uint8


def test_an_autoencoder_that_overflows_is_told():
    pipe = made.stable_diffusion(MIXTURE)
    model = model_of(pipe, made.stable_diffusion)
    torch.nn.init.constant_(pipe.vae.decoder.conv_out.weight, float("inf"))
    with pytest.raises(FloatingPointError, match="outputs of the decoder that are not finite"):
        model.picture(torch.zeros(1, 4, 8, 8))


def test_training_goes_on_after_a_look():
    pipe = made.stable_diffusion(MIXTURE)
    model_of(pipe, made.stable_diffusion)
    assert all(parameter.requires_grad for parameter in pipe.unet.parameters())


@pytest.mark.parametrize(
    ("make", "change", "words"),
    [
        (made.dit, {"prompt": "a cat", "label": 1}, "takes a label"),
        (made.dit, {}, "label: none found, allowed: 0 to 999"),
        (made.dit, {"label": 1, "resolution": 32}, "resolution: 32 found, allowed: 16"),
        (made.flux, {"label": 1}, "takes a prompt"),
        (made.flux, {"resolution": 18}, "resolution: 18 found, allowed: multiples of 4"),
        (made.stable_diffusion, {"logsnr_range": (-50.0, 1.0)}, "logsnr_range"),
        (made.ddpm, {"prompt": "a cat"}, "DDPMPipeline takes none"),
    ],
)
def test_what_a_pipeline_does_not_take_is_refused(make, change, words):
    with pytest.raises(CheckpointError, match=words) as caught:
        from_pipeline(make(MIXTURE), **change)
    assert "\n" not in str(caught.value)


def test_schedulers_and_pipelines_that_are_not_known_are_refused():
    edm = made.stable_diffusion_xl(MIXTURE, diffusers.EDMEulerScheduler())
    with pytest.raises(CheckpointError, match="EDMEulerScheduler found .EDM., allowed here"):
        from_pipeline(edm)
    with pytest.raises(CheckpointError, match="pipeline: a str found, allowed: DDPMPipeline"):
        from_pipeline("pipe")


@pytest.mark.parametrize("kind", tiny_models.NETWORKS)
def test_a_folder_is_the_pipeline_that_was_saved(tmp_path, kind):
    """A real network with random weights: the same score from memory and from disk."""
    pipe = tiny_models.save_pipeline(tmp_path, kind)
    options = {"label": 3} if kind == "dit" else {"prompt": "a cat"}
    options |= {"resolution": 8} if kind == "flux" else {}
    spec = {"source": f"path:{tmp_path}", "format": "pipeline", "guidance": 2.0, **options}
    model, memory = load_model(spec), from_pipeline(pipe, guidance=2.0, **options)
    assert model.shape == memory.shape == (4, 4, 4)
    x = torch.randn(2, 4, 4, 4, dtype=torch.float64, generator=torch.manual_seed(0))
    torch.testing.assert_close(model.score(x, 0.0), memory.score(x, 0.0), rtol=1e-4, atol=1e-5)
    products = model.score_and_hvp(x, 0.0, x)[1]
    assert torch.isfinite(products).all()
    pixels = model.finish(x)
    assert pixels.shape == (2, *model.pixel_shape) and model.from_pixels(pixels).shape == x.shape
