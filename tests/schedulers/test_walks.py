"""Chains of the schedulers on closed forms: mixtures, high density, guidance, step by step."""

import diffusers
import pytest
import torch
from closed_forms import mixture

from cartoonists import VE, VP, GaussianMixture, sample_high_density
from cartoonists.density.guidance import rescale_latent, sample_guided
from cartoonists.density.posterior import ExactPosterior
from cartoonists.density.sampling import follow_high_density
from cartoonists.paths.bases import Columns
from cartoonists.paths.numerics import Numerics
from cartoonists.paths.schedules import RectifiedFlow, uniform_grid
from cartoonists.paths.streams import Streams
from cartoonists.schedulers import (
    DensityGuidanceScheduler,
    HighDensityScheduler,
    IsotropicVariance,
    TrackedScheduler,
)

PLAIN = diffusers.DDPMScheduler(timestep_spacing="trailing", clip_sample=False).config
LEVELS = {"vp": (VP, -8.0, 6.0), "flow": (RectifiedFlow, -9.0, 6.0), "edm": (VE, -8.5, 6.0)}


def draw(scheduler, target, x, dtype=torch.float64):
    """The loop of a pipeline around the exact network of a closed form."""
    x = x.to(dtype)
    for index, t in enumerate(scheduler.timesteps):
        level, at = scheduler.table.logsnrs[index], x.double()
        alpha, sigma = target.schedule.alpha(level), target.schedule.sigma(level)
        clean = target.denoise(at, level)
        noise = (at - alpha * clean) / sigma
        if isinstance(target.schedule, VE):
            data = scheduler.config.sigma_data
            skip = data**2 / (sigma**2 + data**2)
            output = (clean - skip * at) * (sigma**2 + data**2).sqrt() / (sigma * data)
        else:
            output = noise - clean if isinstance(target.schedule, RectifiedFlow) else noise
        x = scheduler.step(output.to(dtype), t, x).prev_sample
    return x


def levels(scheduler, family, steps):
    """Uniform steps in λ."""
    _, first, last = LEVELS[family]
    grid = torch.tensor(uniform_grid(first, last, steps), dtype=torch.float64)
    if family == "flow":
        scheduler.set_timesteps(sigmas=torch.sigmoid(-grid / 2).numpy())
    else:
        scheduler.set_timesteps(len(grid))
    return grid


def config(family, steps):
    """A config whose levels are uniform in λ: a table of just these for VP."""
    _, first, last = LEVELS[family]
    if family == "vp":
        signal = torch.sigmoid(torch.linspace(last, first, steps + 1, dtype=torch.float64))
        betas = 1 - signal / torch.cat([torch.ones(1), signal[:-1]])
        return {
            "trained_betas": betas.tolist(), "num_train_timesteps": steps + 1,
            "clip_sample": False, "timestep_spacing": "leading",
        }  # fmt: skip
    if family == "edm":
        low, high = (torch.exp(torch.tensor(-v / 2)).item() for v in (last, first))
        return {"sigma_data": 0.5, "sigma_min": low, "sigma_max": high, "rho": 1e6}
    return {"shift": 1.0}


def order(errors):
    """Order of convergence over halved steps."""
    logs = torch.tensor(errors).log2()
    return float((logs[0] - logs[-1]) / (len(errors) - 1))


@pytest.mark.parametrize("family", LEVELS)
def test_high_density_samples_are_those_of_the_library_in_the_limit(family):
    """All the way on the HD-ODE, so that the noise of the first stage is no part of it."""
    errors = []
    for steps in (64, 128, 256):
        scheduler = HighDensityScheduler.from_config(config(family, steps), switch_logsnr=-50.0)
        levels(scheduler, family, steps)
        begin, end = scheduler.table.logsnrs[0], scheduler.logsnr_end
        target = mixture(8, LEVELS[family][0](begin, end))
        expected = sample_high_density(
            target, 8, 80, begin, solver="rk4", divergence="none"
        )  # fmt: skip
        draw(scheduler, target, expected.x_switch)
        errors.append(float((scheduler.sample - expected.x).abs().max()))
    assert errors[-1] < 0.02 and 0.8 < order(errors) < 1.3, errors


@pytest.mark.parametrize("family", LEVELS)
def test_from_the_switch_on_samples_are_those_of_the_hd_ode(family):
    scheduler = HighDensityScheduler.from_config(config(family, 256), switch_logsnr=0.3)
    levels(scheduler, family, 256)
    target = mixture(8, LEVELS[family][0](scheduler.table.logsnrs[0], scheduler.logsnr_end))
    draw(scheduler, target, target.sample(8, seed=1, logsnr=scheduler.table.logsnrs[0]))
    start = scheduler.sample_switch
    end = follow_high_density(
        target, start, torch.zeros(8), 0.3, 100, range(8), Numerics("rk4", divergence="none")
    )
    assert (scheduler.sample - end.x).abs().max() < 0.01 < (start - end.x).abs().max()


@pytest.mark.parametrize("family", LEVELS)
@pytest.mark.parametrize("strength", [-0.7, 0.7])
def test_guided_samples_are_those_of_the_library_in_the_limit(family, strength):
    kind, first, last = LEVELS[family]
    errors = []
    for steps in (64, 128, 256):
        scheduler = DensityGuidanceScheduler.from_config(config(family, steps), strength=strength)
        levels(scheduler, family, steps)
        begin, end = scheduler.table.logsnrs[0], scheduler.logsnr_end
        target = mixture(8, kind(begin, end))
        x = rescale_latent(target, target.sample_prior(Streams(range(8), "prior")))
        expected = sample_guided(target, 8, 80, strength, track=False, solver="rk4").x
        draw(scheduler, target, x)
        errors.append(float((scheduler.sample - expected).abs().max()))
    assert errors[-1] < 0.05 and 0.8 < order(errors) < 1.3, errors


def test_high_density_without_an_ancestral_stage_is_deterministic():
    target = mixture(8, VP(-8.01, 6.0))
    x = sample_high_density(target, 4, 8, switch_logsnr=-8.01).x_switch
    ends = []
    for seed in (0, 1):
        scheduler = HighDensityScheduler.from_config(
            config("vp", 32), switch_logsnr=-9.0, seed=seed
        )
        scheduler.set_timesteps(33)
        ends.append(draw(scheduler, target, x))
    assert torch.equal(*ends)


BARS = {  # of the brief: mean error of the isotropic variance, nats, and its spread
    "D64": ((64, 3, False), 32, 1.0, 1.5),
    "D1024": ((1024, 4, True), 64, 61.0, 10.0),
}


@pytest.mark.parametrize("case", BARS)
@pytest.mark.parametrize("family", ["vp", "flow"])
def test_mixtures_are_as_near_as_the_isotropic_tracker(case, family):
    (dimensions, components, anisotropic), steps, mean, spread = BARS[case]
    kind = VP if family == "vp" else RectifiedFlow
    target = mixture(dimensions, kind(), components, anisotropic=anisotropic)
    scheduler = TrackedScheduler.from_config(config(family, steps))
    scheduler.variance = ExactPosterior(target)
    levels(scheduler, family, steps)
    x = target.sample(64, seed=0, logsnr=scheduler.table.logsnrs[0])
    draw(scheduler, target, x)
    error = scheduler.log_density - target.log_prob(scheduler.sample, scheduler.logsnr_end)
    assert -1 < error.mean() < mean + 0.5 and error.std() < 1.5 * spread, error.mean()


@pytest.mark.parametrize(("steps", "bar"), [(16, 262.0), (64, 61.0)])
def test_most_of_the_error_is_made_in_the_last_step(steps, bar):
    """Timesteps uniform down to 0: the last step is the longest in λ; before it the bar holds."""
    target = mixture(1024, components=4, anisotropic=True)
    scheduler = TrackedScheduler.from_config(diffusers.DDIMScheduler(clip_sample=False).config)
    scheduler.variance = ExactPosterior(target)
    errors = []
    for end in (-1, -2):
        scheduler.set_timesteps(steps)
        scheduler.logsnr_end = scheduler.table.logsnrs[end]
        draw(scheduler, target, target.sample(32, seed=0, logsnr=scheduler.table.logsnrs[0]))
        truth = target.log_prob(scheduler.sample, scheduler.logsnr_end)
        errors.append((scheduler.log_density - truth).mean())
    assert 0 < errors[1] < bar < errors[0]


class Seen(ExactPosterior):
    """Remembers where it was asked."""

    def __init__(self, target):
        super().__init__(target)
        self.points = []

    def mean_variance(self, z, logsnr):
        self.points.append(z)
        return super().mean_variance(z, logsnr)


def test_a_posterior_is_asked_at_the_coordinates_in_its_own_basis():
    axes = Columns(torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0])
    means, variances = torch.randn(2, 6), torch.rand(2, 6) + 0.1
    target = GaussianMixture([0.4, 0.6], means, variances, VP(), axes)
    scheduler = TrackedScheduler.from_config(PLAIN)
    scheduler.variance = Seen(target)
    scheduler.set_timesteps(3)
    x = torch.randn(2, 6, dtype=torch.float64)
    draw(scheduler, target, x)
    torch.testing.assert_close(scheduler.variance.points[0], axes.coordinates(x))


def test_the_end_can_be_set_between_and_beyond_the_levels():
    target = GaussianMixture([1.0], torch.full((1, 32), 0.5), [0.3], VP())
    scheduler = TrackedScheduler.from_config(PLAIN)
    scheduler.variance = IsotropicVariance.gaussian(0.3)
    x = torch.randn(4, 32, dtype=torch.float64)
    images = []
    for end in (2.345, 12.0, None):
        scheduler.logsnr_end = end
        scheduler.set_timesteps(12)
        images.append(draw(scheduler, target, x))
        level = scheduler.logsnr_end
        assert level == (end or scheduler.table.logsnrs[-1])
        error = scheduler.log_density - target.log_prob(scheduler.sample, level)
        assert error.abs().max() < 1e-5
    clean = target.denoise(scheduler.sample, scheduler.logsnr_end)
    torch.testing.assert_close(images[-1], clean)


def test_increments_add_up_to_the_log_density():
    target = mixture(16)
    scheduler = TrackedScheduler.from_config(PLAIN)
    scheduler.variance = ExactPosterior(target)
    scheduler.set_timesteps(12)
    draw(scheduler, target, torch.randn(3, 16, dtype=torch.float64))
    terms = scheduler.increments
    assert terms.reverse.shape == (11, 3)
    torch.testing.assert_close(
        scheduler.log_density, scheduler._walk.prior + (terms.reverse - terms.forward).sum(0)
    )
    assert (scheduler.log_density_error > 0).all()


def test_a_flow_that_starts_from_an_image_starts_where_it_is_told():
    scheduler = TrackedScheduler.from_config({"shift": 3.0})
    scheduler.set_timesteps(10)
    scheduler.set_begin_index(4)
    image, noise, t = torch.zeros(2, 16), torch.ones(2, 16), scheduler.timesteps[4]
    x = scheduler.scale_noise(image, t[None], noise)
    torch.testing.assert_close(x, scheduler.sigmas[4].expand_as(x))
    with pytest.warns(UserWarning, match="path ratio alone"):
        scheduler.step(x, t, x)
    assert scheduler.step_index == 5 and (scheduler._walk.prior == 0).all()


def test_a_reused_seed_is_told_once():
    target = mixture(16)
    scheduler = TrackedScheduler.from_config(PLAIN)
    scheduler.set_timesteps(4)
    draw(scheduler, target, torch.randn(2, 16, dtype=torch.float64))
    scheduler.set_timesteps(4)
    with pytest.warns(UserWarning, match="seed: 0 is used again"):
        draw(scheduler, target, torch.randn(2, 16, dtype=torch.float64))
