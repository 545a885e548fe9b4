"""Training: resumed equals undisturbed, weightings, and the loss's ground truth."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cartoonists.images.data import PixelScaling
from cartoonists.models import throughput
from cartoonists.models.cards import make_card
from cartoonists.models.recipes import LOSSES, Recipe
from cartoonists.models.training import Trainer, TrainingImages, train


class TinyNetwork(nn.Module):
    """ε(x, λ) = (a + b λ) x: enough to see the loss fall."""

    def __init__(self):
        super().__init__()
        self.coefficients = nn.Parameter(torch.zeros(2))

    def forward(self, x, logsnr):
        return (self.coefficients[0] + self.coefficients[1] * logsnr).view(-1, 1, 1, 1) * x


IMAGES = torch.randint(0, 256, (50, 1, 4, 4), generator=torch.Generator().manual_seed(0)).byte()
DATA = TrainingImages.of(IMAGES.numpy())


def run(folder, steps, stop_at=None):
    folder.mkdir(exist_ok=True)
    recipe = Recipe("likelihood", steps, batch=8, warmup=10, learning_rate=3e-2)
    network = TinyNetwork()
    paths = (folder / "state.pt", folder / "loss.csv")
    if stop_at is None:
        return train(network, DATA, recipe, *paths, save_every_s=0.0)
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
            train(network, DATA, recipe, *paths, save_every_s=0.0)
    finally:
        del TinyNetwork.__call__
    return train(TinyNetwork(), DATA, recipe, *paths, save_every_s=0.0)


def test_resumed_training_is_the_undisturbed_one(tmp_path):
    whole = run(tmp_path / "a", 400)
    resumed = run(tmp_path / "b", 400, stop_at=250)
    assert torch.equal(whole.network.coefficients, resumed.network.coefficients)
    assert (tmp_path / "a/loss.csv").read_text() == (tmp_path / "b/loss.csv").read_text()


def test_a_state_of_another_recipe_is_refused(tmp_path):
    run(tmp_path, 20)
    with pytest.raises(ValueError, match=r"state.pt: begun with another recipe \(steps was 20\)"):
        run(tmp_path, 30)


def test_a_state_of_other_images_is_refused(tmp_path):
    run(tmp_path, 20)
    others = TrainingImages.of(255 - IMAGES.numpy())
    recipe = Recipe("likelihood", 20, batch=8, warmup=10, learning_rate=3e-2)
    with pytest.raises(ValueError, match=r"state.pt: begun with another recipe \(other images\)"):
        train(TinyNetwork(), others, recipe, tmp_path / "state.pt", tmp_path / "loss.csv")


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
    assert torch.equal(Recipe("likelihood", 1).weight(level), torch.ones(3))
    assert torch.allclose(Recipe("quality", 1).weight(level), torch.sigmoid(2 - level))
    with pytest.raises(ValueError, match="'uniform' found, allowed"):
        Recipe("uniform", 1)
    with pytest.raises(ValueError, match="'fp8' found, allowed 'fp32' and 'bf16'"):
        Recipe("likelihood", 1, precision="fp8")
    with pytest.raises(ValueError, match="None and None found, allowed one of the two"):
        Recipe("likelihood")


def test_levels_are_drawn_by_their_weight():
    """Means over draws are integrals weighted by w: of λ² here, in closed form for w = 1."""
    points = (torch.arange(100_000) + 0.5) / 100_000
    uniform = Recipe("likelihood", 1).levels(points).double()
    assert uniform.square().mean().item() == pytest.approx(100 / 3, rel=1e-4)
    recipe = Recipe("quality", 1)
    drawn = recipe.levels(points).double()
    weight = recipe.weight(uniform)
    expected = ((weight * uniform.square()).mean() / weight.mean()).item()
    assert drawn.square().mean().item() == pytest.approx(expected, rel=1e-4)
    assert drawn.min() >= -10 and drawn.max() <= 10


@pytest.mark.parametrize("weighting", ["uniform", "logit-normal"])
def test_times_of_flows_are_drawn_as_named(weighting):
    """Quantiles of t, of its density limited to the range of λ."""
    recipe = Recipe(weighting, 1, kind="RectifiedFlow", logsnr_min=-20.0, logsnr_max=20.0)
    points = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    time = recipe.schedule.time(recipe.levels(points))
    normal = torch.distributions.Normal(0.0, 1.0).icdf(points)
    expected = points if weighting == "uniform" else torch.sigmoid(normal)
    assert (time - (1 - expected)).abs().max() < 2e-3  # λ rises where t falls


def test_the_loss_of_a_flow_is_that_of_the_velocity():
    """Of a network that answers 0: the mean square of ε - x_0, here 1 + that of the images."""
    recipe = Recipe("uniform", 1, kind="RectifiedFlow", batch=4096)
    trainer = Trainer(Answering(lambda x, logsnr: 0 * x), DATA, recipe)
    loss, _, _ = trainer.step(0, 0.0)
    assert loss.item() == pytest.approx(2.0, rel=0.05)  # standardised images


def test_the_velocity_is_that_of_the_straight_path():
    """One image, x_0 = c: x_t = (1 - t) c + t ε gives ε - c = (x_t - c)/t.

    What is left is (x_0 - c)/t of dequantisation, uniform over a grey level.
    """
    one = TrainingImages.of(np.full((1, 1, 4, 4), 200, np.uint8))
    one = TrainingImages(one.images, PixelScaling((0.0,), (1.0,)))
    recipe = Recipe("logit-normal", 1, kind="RectifiedFlow", batch=64)
    centre = 200.5 / 256

    def velocity(x, logsnr):
        return (x - centre) / recipe.schedule.time(logsnr).to(x).view(-1, 1, 1, 1)

    _, logsnr, per_sample = Trainer(Answering(velocity), one, recipe).step(0, 0.0)
    expected = (1 / 256) ** 2 / 12 / recipe.schedule.time(logsnr) ** 2
    assert (per_sample / expected).mean().item() == pytest.approx(1, rel=0.1)


class Answering(nn.Module):
    """Answers a function of (x, λ), with a parameter that does nothing."""

    def __init__(self, function):
        super().__init__()
        self.function, self.nothing = function, nn.Parameter(torch.zeros(1))

    def forward(self, x, logsnr):
        return self.function(x, logsnr) + 0 * self.nothing


def test_kinds_and_weightings_go_together():
    for kind, loss in LOSSES.items():
        for weighting in loss.weights:
            assert Recipe(weighting, 1, kind=kind).schedule.logsnr_max == 10.0
    with pytest.raises(ValueError, match="'quality' found, allowed with kind 'RectifiedFlow' "):
        Recipe("quality", 1, kind="RectifiedFlow")
    with pytest.raises(ValueError, match="kind: 'VE' found, allowed 'VP' and 'RectifiedFlow'"):
        Recipe("quality", 1, kind="VE")


def test_rate_warms_up_stays_and_falls():
    recipe = Recipe("likelihood", 1000, warmup=100, learning_rate=1.0)
    assert recipe.rate(0, 0.0) == pytest.approx(0.01)
    assert recipe.rate(500, recipe.share(500, 1e9)) == 1.0
    assert recipe.rate(875, recipe.share(875, 0)) == pytest.approx(0.5)
    assert recipe.rate(999, recipe.share(999, 0)) == pytest.approx(0.004)
    timed = Recipe("likelihood", minutes=2, warmup=100, learning_rate=1.0)
    assert timed.rate(500, timed.share(500, 105)) == pytest.approx(0.5)
    assert timed.share(1, 120) == 1


def test_the_level_decides_where_an_image_comes_from():
    """Lossless images are black, lossy ones white: what is drawn says which."""
    black, white = np.zeros((3, 1, 4, 4), np.uint8), np.full((7, 1, 4, 4), 255, np.uint8)
    data = TrainingImages(
        torch.from_numpy(black), PixelScaling((0.5,), (0.25,)), torch.from_numpy(white)
    )
    recipe = Recipe("likelihood", 1, batch=64, lossy_below=1.5)
    for step in range(3):
        x, _, logsnr = data.batch(recipe, step)
        assert torch.equal(x.mean(dim=(1, 2, 3)) > 0, logsnr <= 1.5)
    assert 0.5 < (logsnr <= 1.5).float().mean() < 0.65  # 11.5 of 20
    with pytest.raises(ValueError, match="lossy_below: None found, with 7 lossy images"):
        data.check(Recipe("likelihood", 1))
    with pytest.raises(ValueError, match="lossy_below: 1.5 found, with no lossy images"):
        DATA.check(recipe)


def test_a_training_ends_with_its_minutes(tmp_path):
    recipe = Recipe("quality", minutes=0.005, batch=8, warmup=1)
    done = train(TinyNetwork(), DATA, recipe, tmp_path / "state.pt", tmp_path / "loss.csv")
    assert done.steps > 1 and done.seconds >= 0.3
    again = train(TinyNetwork(), DATA, recipe, tmp_path / "state.pt", tmp_path / "loss.csv")
    assert again.steps == done.steps  # resumed at its end
    assert torch.equal(again.network.coefficients, done.network.coefficients)
    card = make_card("mnist/quality", DATA, recipe, {"architecture": {}, "start": None}, done)
    assert card["training"]["images_seen"] == 8 * done.steps
    assert card["training"]["steps"] == done.steps and card["training"]["lossy_images"] == 0


class Failing(TinyNetwork):
    """Has no memory for more than 16 images."""

    def forward(self, x, logsnr):
        if len(x) > 16:
            raise MemoryError("no room\nfor this")
        return super().forward(x, logsnr)


def test_rates_are_measured_and_what_fails_is_named():
    recipe = Recipe("quality", 1, batch=8)
    rates = throughput.measure_all(Failing(), DATA, recipe, "cpu", minutes=0.03)
    assert [rate.precision for rate in rates] == ["fp32", "bf16"]
    assert all(rate.samples_per_s > 0 for rate in rates)
    failed = throughput.measure(Failing(), DATA, replace(recipe, batch=32), "cpu", seconds=0.02)
    assert failed.samples_per_s == 0 and failed.failed == "MemoryError: no room for this"
    assert throughput.best([*rates, failed]) in rates
    with pytest.raises(ValueError, match=r"nothing runs on this machine \(MemoryError: no room"):
        throughput.best([failed])


def test_the_smallest_batch_that_is_nearly_as_fast_is_chosen():
    rates = [throughput.Rate("bf16", b, False, r) for b, r in ((64, 50), (128, 95), (256, 100))]
    chosen = throughput.best(rates)
    assert chosen.batch == 128
    recipe = throughput.fitted(Recipe("quality", 1, learning_rate=1e-3), chosen)
    assert (recipe.batch, recipe.precision) == (128, "bf16")
    assert recipe.learning_rate == pytest.approx(2**0.5 * 1e-3)
    assert [row["chosen"] for row in throughput.table_rows("a/b", rates, chosen)] == [
        False,
        True,
        False,
    ]
