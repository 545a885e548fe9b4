"""Denoisers with the interface of azula: an exact stand-in, on schedules of each kind."""

import math
from types import SimpleNamespace

import pytest
import torch

from cartoonists.density.likelihood import ode_log_density
from cartoonists.models.azula_models import azula_model

MEAN, VARIANCE = 0.2, 0.3
FLOOR = 1e-3  # azula's α_min and σ_min


def preserving(t):
    alpha = torch.exp(t**2 * math.log(FLOOR))
    return alpha, (1 - alpha**2 + FLOOR**2).sqrt()


def exploding(t):
    return torch.ones_like(t), torch.exp((1 - 2 * t) * math.log(FLOOR))


def rectified(t):
    return t * FLOOR + (1 - t), t + (1 - t) * FLOOR


class StandIn(torch.nn.Module):
    """The exact denoiser of N(MEAN, VARIANCE), as azula's are called."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x_t, t, *, label):
        assert label == 3 and t.shape in ((), x_t.shape[:1])
        alpha, sigma = (part.view(-1, 1, 1, 1) for part in self.schedule(t))
        gain = alpha * VARIANCE / (alpha**2 * VARIANCE + sigma**2)
        return SimpleNamespace(mean=MEAN + gain * (x_t - alpha * MEAN))


@pytest.mark.parametrize("schedule", [preserving, exploding, rectified])
def test_the_log_density_is_that_of_the_data(schedule):
    model = azula_model(StandIn(schedule), (1, 4, 4), label=3)
    end, generator = model.schedule.logsnr_max, torch.manual_seed(0)
    alpha, sigma2 = model.schedule.alpha(end), model.schedule.sigma2(end)
    spread = (alpha**2 * VARIANCE + sigma2).sqrt()
    noise = torch.randn(2, 1, 4, 4, dtype=torch.float64, generator=generator)
    x = alpha * MEAN + spread * noise
    truth = torch.distributions.Normal(alpha * MEAN, spread).log_prob(x).flatten(1).sum(1)
    found = ode_log_density(model, x, steps=48, solver="rk4").log_density
    assert (found - truth).abs().max() / 16 < 2e-3


def test_a_schedule_without_a_finite_end_is_refused():
    with pytest.raises(ValueError, match="λ from inf to .* allowed: finite and falling"):
        azula_model(StandIn(lambda t: (1 - t / 2, t)), (1, 4, 4), label=3)
