"""Samples with the error of their log-density: against closed forms, in all three ways."""

import pytest
import torch
from closed_forms import gaussian_images, mixture

from cartoonists import sample_guided, sample_high_density, track_reverse_sde
from cartoonists.density.draws import draw_samples

WAYS = [{}, {"switch_logsnr": 0.0}, {"strength": 1.0}]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_log_density_is_the_truth_within_its_error(way):
    target = mixture(6)
    drawn = draw_samples(target, range(16), 128, **way)
    difference = drawn.log_density - target.log_prob(drawn.x, target.schedule.logsnr_max)
    rms, expected = (values.square().mean().sqrt() for values in (difference, drawn.error))
    assert rms < 2 * expected + 0.02 and rms < 0.3 and expected < 0.3


@pytest.mark.parametrize("way", [{"switch_logsnr": -10.0}, {"strength": 1.0}], ids=str)
def test_differential_equations_converge_and_their_error_with_them(way):
    """From the noise on, so that no stage has noise of its own."""
    target = mixture(6)
    coarse, fine = (draw_samples(target, range(8), n, **way) for n in (32, 128))
    truth = target.log_prob(fine.x, target.schedule.logsnr_max)
    assert (fine.log_density - truth).abs().max() < 1e-3 and fine.error.max() < 2e-3
    assert coarse.error.mean() > 5 * fine.error.mean()


def test_the_samples_are_those_of_the_functions_named():
    model, _ = gaussian_images()
    seeds, steps = [3, 9], 16
    runs = [
        (draw_samples(model, seeds, steps), track_reverse_sde(model, 2, steps, seeds=seeds)),
        (
            draw_samples(model, seeds, steps, switch_logsnr=1.0),
            sample_high_density(model, 2, steps, 1.0, seeds=seeds),
        ),
        (
            draw_samples(model, seeds, steps, strength=-1.0),
            sample_guided(model, 2, steps, -1.0, seeds=seeds),
        ),
    ]
    for drawn, named in runs:
        assert torch.equal(drawn.x, named.x)
        assert torch.equal(drawn.log_density, named.log_density)
        assert drawn.error.isfinite().all() and drawn.nfe >= named.nfe


def test_what_is_not_one_way_is_refused():
    with pytest.raises(ValueError, match="one of the two"):
        draw_samples(mixture(2), [0], switch_logsnr=0.0, strength=1.0)
    with pytest.raises(ValueError, match="steps: 3 found"):
        draw_samples(mixture(2), [0], 3)
