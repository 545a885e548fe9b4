"""Noise levels and x̂_0 from scheduler configs; what is not known is refused in one line."""

import json

import diffusers
import numpy as np
import pytest
import torch

from cartoonists.schedulers import (
    Calibration,
    CalibrationError,
    DensityGuidanceScheduler,
    HighDensityScheduler,
    SchedulerError,
    TrackedScheduler,
)

BETA = {"beta_start": 1e-4, "beta_end": 0.02, "num_train_timesteps": 1000}
PLAIN = {"clip_sample": False}


def made(config, **options):
    return TrackedScheduler.from_config(config, **options)


@pytest.mark.parametrize(
    "source",
    [
        diffusers.DDPMScheduler(**PLAIN),
        diffusers.DDIMScheduler(beta_schedule="squaredcos_cap_v2", **PLAIN),
        diffusers.PNDMScheduler(steps_offset=1),
        diffusers.EulerDiscreteScheduler(timestep_spacing="trailing"),
        diffusers.DPMSolverMultistepScheduler(),
        diffusers.UniPCMultistepScheduler(timestep_spacing="leading"),
        diffusers.HeunDiscreteScheduler(),
    ],
    ids=lambda source: type(source).__name__,
)
def test_beta_tables_are_those_of_diffusers(source):
    scheduler = made(source.config)
    torch.testing.assert_close(scheduler.alphas_cumprod, source.alphas_cumprod)
    scheduler.set_timesteps(20)
    levels = torch.tensor(scheduler.table.logsnrs, dtype=torch.float64)
    chosen = source.alphas_cumprod.double()[scheduler.timesteps]
    torch.testing.assert_close(levels.sigmoid(), chosen)
    assert len(scheduler.timesteps) == 20 and (levels.diff() > 0).all()
    assert scheduler.init_noise_sigma == 1.0


def test_flow_levels_shift_as_diffusers_shifts_them():
    source = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    sigmas = np.linspace(1.0, 1 / 28, 28)
    source.set_timesteps(sigmas=sigmas, mu=0.7)
    scheduler = made(source.config)
    scheduler.set_timesteps(sigmas=sigmas, mu=0.7)
    torch.testing.assert_close(scheduler.timesteps, source.timesteps)
    levels = torch.tensor(scheduler.table.logsnrs, dtype=torch.float64)
    torch.testing.assert_close(torch.sigmoid(-levels / 2).float(), source.sigmas[:-1])
    assert levels[0] == -torch.inf


def test_edm_inputs_and_outputs_are_those_of_diffusers():
    source = diffusers.EDMEulerScheduler(sigma_data=0.7, prediction_type="v_prediction")
    source.set_timesteps(10)
    scheduler = made(source.config)
    scheduler.set_timesteps(10)
    x, output = torch.randn(2, 3, 4, 4) * source.init_noise_sigma, torch.randn(2, 3, 4, 4)
    t = source.timesteps[0]
    torch.testing.assert_close(
        scheduler.scale_model_input(x, t), source.scale_model_input(x.clone(), t)
    )
    expected = source.step(output, t, x).pred_original_sample
    found = scheduler.table.denoised(output.double(), x.double(), 0)
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=1e-3)
    assert scheduler.init_noise_sigma == pytest.approx(source.init_noise_sigma)


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_every_head_says_the_same_x_0(kind):
    source = diffusers.DDIMScheduler(prediction_type=kind, **PLAIN)
    source.set_timesteps(10)
    scheduler = made(source.config)
    scheduler.set_timesteps(10)
    x, output = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    for index, t in enumerate(source.timesteps):
        expected = source.step(output, t, x).pred_original_sample
        found = scheduler.table.denoised(output, x, index)
        torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=1e-4)


def test_a_clipped_chain_is_told():
    config = diffusers.DDPMScheduler(clip_sample_range=0.5).config
    with pytest.warns(UserWarning, match="clip_sample: True"):
        scheduler = made(config)
    scheduler.set_timesteps(10)
    clean = scheduler.table.denoised(torch.randn(2, 3), torch.randn(2, 3), 0)
    assert clean.abs().max() == 0.5
    assert not made(config, clip_sample=False).config.clip_sample


def test_a_file_that_leaves_keys_out_has_its_class_s_defaults():
    heun = made({"_class_name": "HeunDiscreteScheduler"})
    torch.testing.assert_close(
        heun.alphas_cumprod, diffusers.HeunDiscreteScheduler().alphas_cumprod
    )
    assert heun.config.beta_end == 0.012 and not heun.config.clip_sample


def test_one_scheduler_leads_to_the_next(tmp_path):
    source = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler = made(source.config, seed=3, logsnr_end=4.0)
    other = HighDensityScheduler.from_config(scheduler.config, switch_logsnr=1.0)
    assert (other.seed, other.logsnr_end, other.switch_logsnr) == (3, 4.0, 1.0)
    assert other.config.shift == 3.0
    other.save_pretrained(tmp_path)
    third = DensityGuidanceScheduler.from_pretrained(tmp_path, strength=-1.0)
    assert third.config.source_class == "FlowMatchEulerDiscreteScheduler"
    assert (third.strength, third.seed, len(third)) == (-1.0, 3, 1000)


REFUSED = [
    ({"_class_name": "LCMScheduler"}, {}, "scheduler: LCMScheduler found, allowed: DDPMScheduler"),
    ({"_class_name": "ScoreSdeVeScheduler"}, {}, "ScoreSdeVeScheduler found"),
    ({"new": 1}, {}, "keys new found"),
    (BETA | {"new_key": 1}, {}, "new_key: 1 found"),
    (BETA, {"unknown": 1}, "unknown: 1 found"),
    (BETA | {"thresholding": True}, {}, "thresholding: True found.*allowed: False"),
    (BETA | {"use_karras_sigmas": True}, {}, "use_karras_sigmas: True found"),
    (BETA | {"prediction_type": "flow_prediction"}, {}, "prediction_type: 'flow_prediction'"),
    (BETA | {"beta_schedule": "other"}, {}, "beta_schedule: 'other'"),
    (BETA | {"use_flow_sigmas": True}, {}, "use_flow_sigmas: True"),
    (BETA | {"rescale_betas_zero_snr": True}, {}, "prediction_type: 'epsilon' found"),
    ({"shift": 1.0, "invert_sigmas": True}, {}, "invert_sigmas: True"),
    ({"sigma_data": 0.5, "prediction_type": "sample"}, {}, "prediction_type: 'sample'"),
    (BETA, {"logsnr_end": float("inf")}, "logsnr_end: inf found"),
]


@pytest.mark.parametrize(("config", "options", "message"), REFUSED, ids=lambda part: str(part)[:40])
def test_what_is_not_known_is_refused_in_one_line(config, options, message):
    with pytest.raises(SchedulerError, match=message) as caught:
        made(config, **options)
    assert "\n" not in str(caught.value)


def test_a_pipeline_that_steps_out_of_turn_is_refused():
    scheduler = made(BETA)
    x = torch.randn(1, 3, 4, 4)
    with pytest.raises(SchedulerError, match="before set_timesteps"):
        scheduler.step(x, 1, x)
    with pytest.raises(SchedulerError, match="sigmas: found, allowed here"):
        scheduler.set_timesteps(sigmas=[1.0])
    scheduler.set_timesteps(10)
    t = scheduler.timesteps
    scheduler.step(x, t[0], x)
    with pytest.raises(SchedulerError, match="timestep: 900 found at step 1, allowed: 800"):
        scheduler.step(x, t[0], x)
    with pytest.raises(SchedulerError, match="none yet"):
        _ = scheduler.log_density
    with pytest.raises(SchedulerError, match="model_output: shape"):
        scheduler.step(x[..., :2], t[1], x)
    scheduler.logsnr_end = -11.0
    scheduler.set_timesteps(10)
    with pytest.raises(SchedulerError, match="logsnr_end: -11 found"):
        scheduler.step(x, t[0], x)
    with pytest.raises(SchedulerError, match="mu"):
        made({"shift": 1.0, "use_dynamic_shifting": True}).set_timesteps(10)


def test_arguments_out_of_range_are_refused():
    for cls, option in (
        (DensityGuidanceScheduler, {"strength": float("nan")}),
        (DensityGuidanceScheduler, {"bound": 0.0}),
        (HighDensityScheduler, {"switch_logsnr": float("inf")}),
    ):
        with pytest.raises(SchedulerError, match=f"{next(iter(option))}: .* found, allowed"):
            cls.from_config(BETA, **option)


def test_calibrations_are_checked_when_they_are_read(tmp_path):
    path = tmp_path / "table.json"
    table = Calibration("vp", [-1.0, 2.0], [0.3, 0.05], 64, 32, 256)
    table.save(path)
    assert Calibration.load(path, "vp") == table
    assert [table(-1.0), table(2.0)] == pytest.approx([0.3, 0.05])
    assert table(-float("inf")) == pytest.approx(1 / (1 / 0.3 - np.exp(-1.0)))
    with pytest.raises(CalibrationError, match="coordinates 'vp' found, allowed: 'flow'"):
        made({"shift": 1.0}).load_calibration(path)
    content = json.loads(path.read_text())
    for change in ({"format": "x"}, {"variances": [0.1]}, {"logsnrs": [2, 1]}, {"new": 1}):
        path.write_text(json.dumps(content | change))
        with pytest.raises(CalibrationError):
            Calibration.load(path, "vp")
    path.write_text("[]")
    with pytest.raises(CalibrationError, match="not a calibration"):
        Calibration.load(path, "vp")
    with pytest.raises(SchedulerError, match="nothing calibrated"):
        made(BETA).save_calibration(path)


def test_a_calibration_that_does_not_run_the_pipeline_is_refused():
    scheduler = made(BETA)
    with pytest.raises(SchedulerError, match="did not run"):
        scheduler.calibrate(lambda: None)
