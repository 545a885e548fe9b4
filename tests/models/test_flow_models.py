"""Native models of a rectified flow: their cards, and the same network in two variables."""

import json

import pytest
import torch
from torch import nn

from cartoonists import RectifiedFlow, bits_per_dim, elbo, load_model, ode_log_density
from cartoonists.density.stein import estimate_table
from cartoonists.experiments.blur import noised_image
from cartoonists.images.own_data import held_out_set
from cartoonists.models.checkpoints import CheckpointError, save_model, write_card
from cartoonists.models.networks import PixelUNet

NET = {"channels": 1, "size": 8, "widths": [8, 32], "stem_width": 4, "head_width": 4}
PIXELS = torch.arange(128, dtype=torch.uint8).view(2, 1, 8, 8) + 60


def card(flow: bool) -> dict:
    output = {"output": "velocity"} if flow else {}
    return {
        "architecture": {"name": "PixelUNet", **NET, **output},
        "schedule": {
            "kind": "RectifiedFlow" if flow else "VP", "logsnr_min": -8.0, "logsnr_max": 8.0,
        },
        "data": {"shape": [1, 8, 8], "mean": [0.5], "std": [0.25]},
        "head": "velocity" if flow else "eps",
    }  # fmt: skip


@pytest.fixture
def models(tmp_path):
    """The same weights as noise prediction under VP and as velocity of a flow, loaded."""
    torch.manual_seed(0)
    network = PixelUNet(**NET)
    nn.init.normal_(network.head[-1].weight, std=0.1)
    files = tmp_path / "vp.safetensors", tmp_path / "flow.safetensors"
    for file, flow in zip(files, (False, True), strict=True):
        save_model(file, network, card(flow))
    return [load_model(file) for file in files]


def test_a_flow_comes_back_from_its_card(models):
    flow = models[1]
    assert isinstance(flow.schedule, RectifiedFlow) and flow.head == "velocity"
    assert (flow.schedule.logsnr_min, flow.schedule.logsnr_max) == (-8.0, 8.0)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    for logsnr in (-3.0, 0.0, 4.0):
        t = flow.schedule.time(logsnr)
        v = flow.network(x.float(), torch.full((2,), logsnr)).double()
        torch.testing.assert_close(flow.denoise(x, logsnr), x - t * v, rtol=1e-6, atol=1e-6)


def test_the_same_weights_are_the_same_model(models):
    """v = (σ - α) z + (α + σ) F belongs to the F of ε = σ z + α F."""
    vp, flow = models
    z = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    for logsnr in (-7.0, 0.0, 7.0):
        scale = flow.schedule.power(logsnr).sqrt()
        found = scale * flow.score(scale * z, logsnr)
        torch.testing.assert_close(found, vp.score(z, logsnr), rtol=1e-3, atol=1e-3)


def test_images_have_the_same_bits_per_dim_in_both_variables(models):
    """A clean image is α x_0 at the end of a flow, a whole σ from x_0."""
    bits, pictures = [], []
    for model in models:
        x = model.from_pixels(PIXELS)
        assert torch.equal(model.to_pixels(x), PIXELS)
        options = {"steps": 24, "solver": "rk4"}
        values = [
            ode_log_density(model, x, **options).log_density,
            elbo(model, x, 16, paths=2, covariance="none").elbo,
            ode_log_density(model, noised_image(model, PIXELS, [0, 1]), **options).log_density,
        ]
        per_unit = model.log_pixels_per_unit
        bits.append(torch.stack([bits_per_dim(v, model.dimensions, per_unit) for v in values]))
        pictures.append(model.finish(x))
    torch.testing.assert_close(bits[1], bits[0], rtol=0, atol=1e-3)
    assert (pictures[0].int() - pictures[1].int()).abs().max() <= 1
    without = bits_per_dim(torch.tensor(0.0), 64, models[0].log_pixels_per_unit)
    moved = bits_per_dim(torch.tensor(0.0), 64, models[1].log_pixels_per_unit)
    assert (moved - without).abs() > 0.02  # the Jacobian of the variable is there to be seen


@pytest.mark.parametrize(
    "change, words",
    [
        ({"head": "eps"}, "head: 'eps' found, allowed: velocity"),
        ({"schedule": {**card(True)["schedule"], "kind": "VP"}}, "head: 'velocity' found"),
        ({"schedule": {**card(True)["schedule"], "kind": "flow"}}, "allowed: VP, RectifiedFlow"),
        (
            {"architecture": {"name": "PixelUNet", **NET}},
            "architecture.output: 'eps' found, allowed: velocity",
        ),
        ({"head": "eps", "schedule": card(False)["schedule"]}, "'velocity' found, allowed: eps"),
    ],
)
def test_cards_that_mix_schedules_are_refused(tmp_path, change, words):
    weights = tmp_path / "flow.safetensors"
    save_model(weights, PixelUNet(**NET), card(True))
    written = json.loads(weights.with_suffix(".json").read_text())
    write_card(weights.with_suffix(".json"), {**written, **change})
    with pytest.raises(CheckpointError, match=words):
        load_model(weights)


def test_an_unknown_output_is_named():
    with pytest.raises(ValueError, match="output: 'noise' found, allowed: eps, velocity"):
        PixelUNet(**NET, output="noise")


def test_the_bundled_flow_knows_held_out_images():
    """Bits/dim of a few images by a short chain, against those of the card."""
    model = load_model("fashion-mnist/flow")
    assert isinstance(model.schedule, RectifiedFlow) and model.head == "velocity"
    images = held_out_set("fashion-mnist", model.shape, 8).images
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    x = model.from_pixels(torch.from_numpy(images), noise)
    table = estimate_table(model, range(8), pilot_steps=16)
    bound = elbo(model, x, steps=16, paths=1, posterior=table)
    bits = bits_per_dim(bound.elbo.mean(), model.dimensions, model.log_pixels_per_unit)
    assert abs(bits - model.card["held_out"]["bits_per_dim"]) < 1
