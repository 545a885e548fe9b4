"""A sample of the explorer, made again alone, is the one that the workflow made among others."""

import numpy as np
import pytest

from cartoonists import load_model
from cartoonists.density.flow import FlowSettings
from cartoonists.density.stein import estimate_table
from cartoonists.experiments.control import ControlSettings, model_control
from cartoonists.experiments.high_density import high_density_pairs, pair_log_densities
from cartoonists.experiments.shown import guided_shown, high_density_shown
from cartoonists.experiments.tables import read_table, table_arrays
from cartoonists.files.artifacts import write_arrays

NAME, FLOW = "fashion-mnist/likelihood", {"steps": 8, "probes": 1}


@pytest.fixture(scope="module")
def model():
    return load_model(NAME)


@pytest.fixture(scope="module")
def stein(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("run") / "stein.npz"
    write_arrays(path, table_arrays(estimate_table(model, range(2), points=9, pilot_steps=16)), {})
    return path


def test_high_density_samples(model, stein):
    table = read_table(stein)
    pairs = high_density_pairs(model, [-5.0, 5.0], [4, 9], base_steps=16, steps=16, posterior=table)
    clean = pairs.denoised(model)
    rows = pair_log_densities(model, pairs, clean, FlowSettings(**FLOW), table)
    rows = rows[rows["seed"] == 9]
    for i, switch in enumerate([None, -5.0, 5.0]):
        shown = high_density_shown(
            NAME, stein, seed=9, switch_logsnr=switch, base_steps=16, steps=16, flow=FLOW
        )
        expected = rows.iloc[i]
        assert 784 * shown.log_density == pytest.approx(
            expected["log_density_nats"], rel=1e-5, abs=0.1
        )
        assert 784 * shown.error == pytest.approx(expected["error_nats"], rel=1e-5, abs=0.1)
        picture = model.picture(clean[i])[1, 0].numpy().astype(int)
        assert np.abs(np.array(shown.picture).astype(int) - picture).max() <= 1


def test_guided_samples(model, stein):
    table = read_table(stein)
    settings = ControlSettings(
        strengths=[0.7], n_measured=2, n_compared=1, steps=4, noise_strengths=[], noise={},
        bound=1.0, width=0.02, flow=FlowSettings(**FLOW),
    )  # fmt: skip
    rows, images = model_control(model, [4, 9], settings, table)
    options = {"seed": 9, "strength": 0.7, "steps": 4, "bound": 1.0, "flow": FLOW}
    shown = guided_shown(NAME, stein, **options)
    row = rows[(rows["control"] == "guidance") & (rows["seed"] == 9)].iloc[0]
    assert 784 * shown.log_density == pytest.approx(row["log_density_nats"], rel=1e-5, abs=0.1)
    assert np.abs(np.array(shown.picture).astype(int) - images[0, 1, 0]).max() <= 1
