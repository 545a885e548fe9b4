"""The mode experiments: what they report where the answer is known."""

import numpy as np
import pandas as pd
import torch

from cartoonists import VP, Gaussian, NetworkScore
from cartoonists.density.modes import log_posterior, newton_modes
from cartoonists.experiments.modes import ModeSettings, failure_detection, mode_errors
from cartoonists.experiments.tiny import correction_sizes, shrink, train_tiny
from cartoonists.paths.boxes import SoftBox


def test_the_mode_ode_is_exact_on_every_target_and_the_hd_ode_on_the_gaussian():
    settings = ModeSettings(4, 48, 1, 0, -10.0, 10.0)
    table = mode_errors([2], [0.0], settings)
    errors = table.groupby(["target", "process"])["error"].max().unstack()
    assert errors["mode ODE"].drop("Gaussian").max() < 1e-4
    assert errors.loc["Gaussian", "HD-ODE"] < 1e-4
    assert errors.loc[["mixture", "soft box"], "HD-ODE"].min() > 1e-2
    assert set(table["schedule"]) == {"VP", "VE"}
    mode = table[table["process"] == "mode ODE"].groupby("target")
    assert mode["ok"].all()["soft box"] and not mode["failed"].any()["soft box"]


def test_the_mode_of_a_log_concave_target_is_found_by_brute_force():
    target = SoftBox(1, 1.2, 0.1, VP())
    x_t = torch.tensor([[-1.4], [0.1], [0.9]], dtype=torch.float64)
    y = torch.linspace(-2, 2, 400_001, dtype=torch.float64)[:, None]
    best = [y[log_posterior(target, y, x, -2.0).argmax()] for x in x_t]
    found = newton_modes(target, x_t, -2.0).best
    torch.testing.assert_close(found, torch.stack(best), rtol=0, atol=2e-5)


def test_failure_detection_counts():
    table = pd.DataFrame(
        {
            "process": ["mode ODE"] * 5 + ["HD-ODE"],
            "failed": [True, True, False, False, False, True],
            "status": ["indefinite", "ok", "ok", "lower mode", "ok", "ok"],
            "found_deficit_nats": [0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
            "ok": [False, True, True, False, True, True],
        }
    )
    found = failure_detection(table).set_index("detector")
    assert found.loc["path", ["hits", "precision", "recall"]].tolist() == [1, 1.0, 0.5]
    assert found.loc["starts", ["hits", "precision", "recall"]].tolist() == [0, 0.0, 0.0]
    assert found.loc["any", ["hits", "precision", "recall"]].tolist() == [1, 0.5, 0.5]


def test_a_gaussian_network_has_nothing_to_drop():
    target = Gaussian(torch.zeros(4), 0.3, VP())

    def network(x, logsnr):
        level = float(logsnr[0])
        return -target.schedule.sigma(level) * target.score(x.double(), level)

    model = NetworkScore(network, (4,), target.schedule)
    along, ends = correction_sizes(model, [0.0], 2, 6)
    assert along["share"].max() < 1e-3
    assert ends["distance"].max() < 1e-4


def test_shrunk_images_are_block_means():
    images = np.zeros((2, 1, 28, 28), np.uint8)
    images[0, 0, 2:6, 2:6] = 200  # after the border of two: one whole block
    small = shrink(images).view(2, 8, 8)
    assert (small[0] > small.min()).nonzero().tolist() == [[1, 1]]
    assert abs(small.mean()) < 1e-12


def test_the_tiny_network_learns_the_score_of_gaussian_data():
    data = 0.5 * torch.randn(512, 2, generator=torch.Generator().manual_seed(0)).double()
    schedule = VP(-8.0, 4.0)
    model = train_tiny(data, schedule, steps=200, width=24, batch=64)
    target = Gaussian(torch.zeros(2), 0.25, schedule)
    x = target.sample(256, logsnr=0.0)
    true = target.score(x, 0.0)
    error = (model.score(x, 0.0) - true).square().mean()
    assert error < 0.2 * (true + x).square().mean()  # -x is the score without the perceptron
