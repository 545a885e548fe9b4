"""Training: resumed equals undisturbed, weightings, and the loss's ground truth."""

import csv

import pytest
import torch
from torch import nn

from cartoonists.images.data import PixelScaling
from cartoonists.models.training import Recipe, train


class TinyNetwork(nn.Module):
    """ε(x, λ) = (a + b λ) x: enough to see the loss fall."""

    def __init__(self):
        super().__init__()
        self.coefficients = nn.Parameter(torch.zeros(2))

    def forward(self, x, logsnr):
        return (self.coefficients[0] + self.coefficients[1] * logsnr).view(-1, 1, 1, 1) * x


IMAGES = torch.randint(0, 256, (50, 1, 4, 4), generator=torch.Generator().manual_seed(0)).byte()
SCALING = PixelScaling.of(IMAGES.numpy())


def run(folder, steps, stop_at=None):
    folder.mkdir(exist_ok=True)
    recipe = Recipe("likelihood", steps, batch=8, warmup=10, learning_rate=3e-2)
    network = TinyNetwork()
    paths = (folder / "state.pt", folder / "loss.csv")
    if stop_at is None:
        return train(network, IMAGES, SCALING, recipe, *paths, save_every_s=0.0)
    original = nn.Module.__call__

    def stopping(module, *args):
        stopping.calls += 1
        if stopping.calls > stop_at:
            raise KeyboardInterrupt
        return original(module, *args)

    stopping.calls = 0
    TinyNetwork.__call__ = stopping
    try:
        with pytest.raises(KeyboardInterrupt):
            train(network, IMAGES, SCALING, recipe, *paths, save_every_s=0.0)
    finally:
        del TinyNetwork.__call__
    return train(TinyNetwork(), IMAGES, SCALING, recipe, *paths, save_every_s=0.0)


def test_resumed_training_is_the_undisturbed_one(tmp_path):
    whole = run(tmp_path / "a", 400)
    resumed = run(tmp_path / "b", 400, stop_at=250)
    assert torch.equal(whole.coefficients, resumed.coefficients)
    assert (tmp_path / "a/loss.csv").read_text() == (tmp_path / "b/loss.csv").read_text()


def test_a_state_of_another_recipe_is_refused(tmp_path):
    run(tmp_path, 20)
    with pytest.raises(ValueError, match=r"state.pt: begun with another recipe \(steps was 20\)"):
        run(tmp_path, 30)


def test_loss_falls_and_is_logged_by_noise_level(tmp_path):
    run(tmp_path, 1500)
    with (tmp_path / "loss.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(r["step"]) for r in rows] == list(range(100, 1501, 100))
    # ε = 0 costs 1 at every level; at high noise x is nearly ε and at low noise it tells nothing
    assert float(rows[-1]["loss_bin_0"]) < 0.1
    assert 0.8 < float(rows[-1]["loss_bin_9"]) < 1.2
    assert float(rows[-1]["loss"]) < 0.7


def test_weightings():
    level = torch.tensor([-5.0, 2.0, 9.0])
    assert torch.allclose(
        Recipe("likelihood", 1).weight(level), torch.tensor([8.98, 3.15, 1.0]), atol=0.01
    )
    assert Recipe("quality", 1).weight(level)[1].item() == pytest.approx(0.5)
    with pytest.raises(ValueError, match="'uniform' found, allowed"):
        Recipe("uniform", 1)
    with pytest.raises(ValueError, match="'fp8' found, allowed 'fp32' and 'bf16'"):
        Recipe("likelihood", 1, precision="fp8")


def test_rate_warms_up_stays_and_falls():
    recipe = Recipe("likelihood", 1000, warmup=100, learning_rate=1.0)
    assert recipe.rate(0) == pytest.approx(0.01)
    assert recipe.rate(500) == 1.0
    assert recipe.rate(875) == pytest.approx(0.5)
    assert recipe.rate(999) == pytest.approx(0.004)
