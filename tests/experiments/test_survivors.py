"""A sample whose score becomes non-finite is stopped alone; the others keep their numbers."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from cartoonists import VP
from cartoonists.experiments.high_density import collect_images
from cartoonists.experiments.survivors import with_stopped, without_stopped
from cartoonists.experiments.tables import TableSettings, choose_table
from cartoonists.files.artifacts import read_arrays, read_record, write_arrays
from cartoonists.images.data import PixelScaling
from cartoonists.models.checkpoints import ImageModel
from cartoonists.paths.scores import NonFiniteScore
from cartoonists.statistics.summaries import gains
from cartoonists.statistics.trust import report

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
SEEDS = (0, 8)
LIKELIHOOD = {
    "sde_steps": 8, "ode_solver": "adams", "ode_steps": 8, "bound_steps": 4, "paths": 2,
    "probes": 1,
}  # fmt: skip
PAIRS = {
    "switch_logsnr": [-2.5, 2.5], "steps": 16, "flow": {"steps": 8, "probes": 1},
    "bounds": {"n_pairs": 5, "switch_logsnr": [2.5], "paths": 1},
}  # fmt: skip


def images_model(limit=np.inf):
    """Exact scores of independent N(0, 0.2) pixels; NaN where the first pixel exceeds a limit."""

    def network(x, logsnr):
        level = logsnr.double().view(-1, 1, 1, 1)
        alpha2, sigma2 = torch.sigmoid(level), torch.sigmoid(-level)
        eps = sigma2.sqrt() * x.double() / (0.2 * alpha2 + sigma2)
        beyond = (x[:, :1, :1, :1] > limit) & (level > 0)
        return torch.where(beyond, torch.nan, eps).float()

    return ImageModel(network, (1, 4, 4), VP(), PixelScaling((0.5,), (0.25,)), {})


def run(folder, monkeypatch, name, model, output, **params):
    """A script of the workflow on a model, as Snakemake runs it; the record of its table."""
    settings = TableSettings(16, 5, 8, ["pixels"], 2, 4)
    write_arrays(folder / "stein.npz", choose_table(images_model(), settings)[0], {})
    monkeypatch.setattr("cartoonists.models.checkpoints.load_model", lambda reference: model)
    job = SimpleNamespace(
        rule=name, wildcards={}, log=[folder / "log"], output=output,
        input=type("Input", (list,), {"stein": folder / "stein.npz"})(),
        params=type("Params", (dict,), {"__getattr__": dict.__getitem__})(
            model={"reference": ""}, seeds=SEEDS, **params
        ),
    )  # fmt: skip
    runpy.run_path(str(SCRIPTS / f"{name}.py"), init_globals={"snakemake": job})


def likelihood(folder, monkeypatch, model):
    output = folder / "likelihood.csv"
    run(folder, monkeypatch, "likelihood_chunk", model, [output], settings=LIKELIHOOD)
    return pd.read_csv(output), read_record(output)["stopped"]


def high_density(folder, monkeypatch, model):
    output = SimpleNamespace(table=folder / "pairs.csv", images=folder / "pairs.npz")
    run(
        folder,
        monkeypatch,
        "high_density_chunk",
        model,
        output,
        settings=PAIRS,
        base_steps=8,
        first_seed=0,
        shown=2,
    )
    return pd.read_csv(output.table), read_record(output.table)["stopped"]


@pytest.mark.parametrize("experiment", [likelihood, high_density])
def test_the_others_keep_their_numbers_and_the_stopped_are_counted(
    tmp_path, monkeypatch, experiment
):
    clean, none = experiment(tmp_path, monkeypatch, images_model())
    said = (tmp_path / "log").read_text()
    assert none == [] and "stopped" not in said
    table, stopped = experiment(tmp_path, monkeypatch, images_model(limit=0.6))
    assert 0 < len(stopped) < SEEDS[1]
    lost = table["seed"].isin(stopped)
    kept = table[~lost].reset_index(drop=True)
    expected = clean[~clean["seed"].isin(stopped)].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, expected, check_dtype=False, atol=1e-4, rtol=0)
    assert len(table) == len(clean) and list(table.columns) == list(clean.columns)
    densities = [name for name in table if name.endswith("_nats")]
    assert table.loc[lost, densities].isna().all(axis=None)
    said = re.findall(
        r"^stopped: seed ([\d, ]+) \(.* at logSNR", (tmp_path / "log").read_text(), re.M
    )
    assert sorted(int(seed) for seed in ", ".join(said).split(", ")) == stopped
    density = "ode_log_density_nats" if experiment is likelihood else "log_density_nats"
    assert report({"": table}, density).iloc[0]["not finite"] == lost.sum()


def test_a_sample_is_stopped_if_and_only_if_it_fails_alone(tmp_path, monkeypatch):
    stopped = high_density(tmp_path, monkeypatch, images_model(limit=0.6))[1]
    monkeypatch.setattr(f"{__name__}.SEEDS", (stopped[0], stopped[0] + 1))
    with pytest.raises(SystemExit):
        high_density(tmp_path, monkeypatch, images_model(limit=0.6))
    alone = next(seed for seed in range(8) if seed not in stopped)
    monkeypatch.setattr(f"{__name__}.SEEDS", (alone, alone + 1))
    assert high_density(tmp_path, monkeypatch, images_model(limit=0.6))[1] == []


def test_images_of_stopped_samples_are_left_out(tmp_path, monkeypatch):
    table, stopped = high_density(tmp_path, monkeypatch, images_model(limit=0.6))
    part = read_arrays(tmp_path / "pairs.npz")[0]
    found = collect_images([part], SEEDS[1])
    assert found["seeds"].tolist() == [seed for seed in range(8) if seed not in stopped]
    assert found["images"].shape[:2] == (3, 8 - len(stopped))
    first = collect_images([part], stopped[0] + 1)  # the seeds up to the first that was stopped
    assert first["seeds"].tolist() == list(range(stopped[0]))
    difference = gains(table)
    assert sorted(difference.dropna().index) == found["seeds"].tolist()


def test_a_model_that_is_never_finite_ends_in_one_line(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        likelihood(tmp_path, monkeypatch, images_model(limit=-np.inf))
    assert caught.value.code == 1 and not (tmp_path / "likelihood.csv").exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert "score: not finite for the sample with seed 0 at logSNR" in line


def test_failures_at_several_levels_are_gathered():
    def measure(seeds):
        for failing, logsnr in (([7, 3], 1.0), ([5], 2.0)):
            if found := [seed for seed in seeds if seed in failing]:
                raise NonFiniteScore(found, logsnr)
        return pd.DataFrame({"seed": seeds, "tracker": "a", "log_density_nats": 1.0})

    table, stopped = without_stopped(measure, range(3, 8))
    assert stopped == [3, 5, 7] and table["seed"].tolist() == [4, 6]
    whole = with_stopped(table, stopped)
    assert whole["seed"].tolist() == [4, 6, 3, 5, 7] and set(whole["tracker"]) == {"a"}
    assert whole["log_density_nats"].isna().tolist() == [False, False, True, True, True]
    pd.testing.assert_frame_equal(with_stopped(table, []), table)
    with pytest.raises(NonFiniteScore, match="seed 3 at logSNR 1, and for 1 more"):
        without_stopped(measure, [3, 7])
