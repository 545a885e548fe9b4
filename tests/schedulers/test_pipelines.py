"""The schedulers in the real pipeline classes, with the exact network of a Gaussian inside."""

import math

import diffusers
import pipelines as made
import pytest
import torch

from cartoonists.schedulers import IsotropicVariance, TrackedScheduler

MEAN, VARIANCE = 0.5, 0.3


def images(pipe, n=4, steps=10, guidance=1.0, seed=0, **options):
    """Call any of the pipelines."""
    asked = {"num_inference_steps": steps, "generator": torch.Generator().manual_seed(seed)}
    if isinstance(pipe, diffusers.DDPMPipeline):
        return pipe(batch_size=n, **asked)
    if isinstance(pipe, diffusers.DiTPipeline):
        return pipe([1] * n, guidance_scale=guidance, **asked)
    if isinstance(pipe, diffusers.PixArtAlphaPipeline | diffusers.PixArtSigmaPipeline):
        options["use_resolution_binning"] = False
    if not isinstance(pipe, diffusers.FluxPipeline):
        options["guidance_scale"] = guidance
    size = 2 * made.SIZE
    return pipe("a cat", num_images_per_prompt=n, height=size, width=size, **asked, **options)


def log_density(scheduler, mean=MEAN, variance=VARIANCE):
    """The true one of ``scheduler.sample``, by `torch.distributions`."""
    level, schedule = scheduler.logsnr_end, scheduler.table.schedule
    alpha, sigma2 = float(schedule.alpha(level)), float(schedule.sigma2(level))
    normal = torch.distributions.Normal(alpha * mean, math.sqrt(alpha**2 * variance + sigma2))
    return normal.log_prob(scheduler.sample).flatten(1).sum(1)


def worst(scheduler, **gaussian):
    """Largest error, nats/dim."""
    error = scheduler.log_density - log_density(scheduler, **gaussian)
    return (error / scheduler.sample[0].numel()).abs().max()


def tracked(pipe, exact=True):
    pipe.scheduler = TrackedScheduler.from_config(pipe.scheduler.config, seed=0)
    if exact:
        pipe.scheduler.variance = IsotropicVariance.gaussian(VARIANCE)
    return pipe.scheduler


def with_edm(targets):
    return made.stable_diffusion_xl(targets, diffusers.EDMEulerScheduler())


def with_v(targets):
    scheduler = diffusers.DDIMScheduler(
        **made.STABLE, steps_offset=1, prediction_type="v_prediction", clip_sample=False
    )
    return made.stable_diffusion(targets, scheduler)


def pixart_alpha(targets):
    return made.pixart(targets, kind="Alpha")


ALL = [
    made.ddpm, made.stable_diffusion, with_v, made.stable_diffusion_xl, with_edm, made.dit,
    made.pixart, pixart_alpha, made.stable_diffusion_3, made.flux,
]  # fmt: skip


def gaussian(make, mean=MEAN, variance=VARIANCE):
    return made.gaussian(mean, variance, 192 if make is made.ddpm else 256)


@pytest.mark.parametrize("make", ALL, ids=lambda make: make.__name__)
def test_the_tracked_value_is_the_truth_for_a_gaussian(make):
    pipe = make(gaussian(make))
    scheduler = tracked(pipe)
    for steps in (10, 50):
        drawn = images(pipe, n=2, steps=steps)
        assert worst(scheduler) < 1e-6
        assert (scheduler.log_density_error < 1e-6 * scheduler.sample[0].numel()).all()
    assert len(drawn.images) == 2 and pipe.components["scheduler"] is scheduler
    assert scheduler.increments.forward.shape == scheduler.increments.reverse.shape == (49, 2)


@pytest.mark.parametrize("make", [made.ddpm, made.stable_diffusion, with_edm, made.flux])
def test_calibration_needs_no_evaluation_of_its_own_and_gives_the_value(make, tmp_path):
    pipe = make(gaussian(make))
    scheduler = tracked(pipe, exact=False)
    network = pipe.components.get("transformer") or pipe.components["unet"]
    run = {"n": 32, "steps": 64, "output_type": "latent"} if make is not made.ddpm else {}
    scheduler.calibrate(lambda: images(pipe, **{"n": 32, "steps": 64} | run))
    assert network.calls == 2 * 64
    scheduler.save_calibration(tmp_path / "table.json")
    other = tracked(pipe, exact=False)
    other.load_calibration(tmp_path / "table.json")
    for steps in (10, 50):
        images(pipe, steps=steps)
        assert worst(other) < 5e-3
        assert (other.log_density_error / 192 < 1e-2).all()


GUIDED = [
    made.stable_diffusion, made.stable_diffusion_xl, made.dit, made.pixart,
    made.stable_diffusion_3,
]  # fmt: skip


@pytest.mark.parametrize("make", GUIDED, ids=lambda make: make.__name__)
def test_with_guidance_the_value_is_that_of_the_guided_chain(make):
    """Two Gaussians of one variance: the guided field is that of the mean u + w (c - u)."""
    without, with_prompt, weight = 0.1, 0.4, 3.0
    pipe = make((gaussian(make, without), gaussian(make, with_prompt)))
    scheduler = tracked(pipe)
    images(pipe, n=3, guidance=weight, steps=20)
    assert scheduler.log_density.shape == (3,) and len(scheduler.sample) == 3
    assert worst(scheduler, mean=without + weight * (with_prompt - without)) < 1e-6


@pytest.mark.parametrize("make", [made.stable_diffusion, made.flux])
def test_a_sample_is_the_same_alone_and_in_a_batch(make):
    target = made.gaussian(MEAN, VARIANCE, 256)
    batch, alone = make(target), make(target)
    latents = torch.randn(4, *((4, 8, 8) if make is made.stable_diffusion else (16, 16)))
    scheduler = tracked(batch, exact=False)
    scheduler.seed = 5
    images(batch, latents=latents)
    with pytest.warns(UserWarning, match="not calibrated"):
        values = scheduler.log_density
    single = tracked(alone, exact=False)
    single.seed = 5 + 2
    images(alone, n=1, latents=latents[2:3])
    torch.testing.assert_close(single.sample, scheduler.sample[2:3], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(single.log_density, values[2:3], rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("make", [made.stable_diffusion, made.stable_diffusion_3])
def test_latents_in_fp16_have_the_value_of_what_the_pipeline_holds(make):
    """The network is exact and given fp16 latents; its output is rounded to fp16."""
    pipe = make(made.gaussian(MEAN, VARIANCE, 256))
    scheduler = tracked(pipe)
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    values = {}
    for dtype in (torch.float32, torch.float16):
        scheduler.set_timesteps(28)
        x, network = latents.to(dtype), pipe.components.get("transformer") or pipe.unet
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, t).sample, t, x).prev_sample
        assert x.dtype == dtype
        values[dtype] = scheduler.log_density / 256
        assert worst(scheduler) < (1e-6 if dtype == torch.float32 else 1e-3)
    assert (values[torch.float16] - values[torch.float32]).abs().max() < 1e-3


def test_a_run_that_starts_from_an_image_has_the_path_ratio_alone():
    target = made.gaussian(MEAN, VARIANCE, 256)
    text = made.stable_diffusion(target)
    pipe = made.quiet(diffusers.StableDiffusionImg2ImgPipeline(**text.components))
    scheduler = tracked(pipe)
    image = torch.rand(1, 3, 16, 16)
    started = []

    def keep(pipe, step, timestep, tensors):
        started.append((step, timestep))
        return tensors

    with pytest.warns(UserWarning, match="path ratio alone"):
        pipe(
            "a cat", image=image, strength=0.5, num_inference_steps=20, guidance_scale=1.0,
            generator=torch.Generator().manual_seed(0), callback_on_step_end=keep,
        )  # fmt: skip
    walk = scheduler._walk
    assert len(started) == 10 and scheduler.increments.reverse.shape == (9, 1)
    schedule, first = scheduler.table.schedule, scheduler.table.logsnrs[10]
    alpha, sigma2 = float(schedule.alpha(first)), float(schedule.sigma2(first))
    normal = torch.distributions.Normal(alpha * MEAN, math.sqrt(alpha**2 * VARIANCE + sigma2))
    begin = normal.log_prob(walk._begin).flatten(1).sum(1)
    error = scheduler.log_density - (log_density(scheduler) - begin)
    assert error.abs().max() < 1e-4


def test_a_sample_that_is_changed_between_steps_is_not_told():
    pipe = made.stable_diffusion(made.gaussian(MEAN, VARIANCE, 256))
    scheduler = tracked(pipe)

    def blend(pipe, step, timestep, tensors):
        return {"latents": 0.9 * tensors["latents"]}

    images(pipe, callback_on_step_end=blend)
    with pytest.raises(ValueError, match="changed the sample"):
        _ = scheduler.log_density
