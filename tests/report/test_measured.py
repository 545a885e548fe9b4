"""What the scripts of claims measure on tables whose answer is known, and how that is decided."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jobs import Named, job_of

from cartoonists.report.register import Register
from cartoonists.report.rules import FAILS, HOLDS, NOT_TESTED, UNDECIDED

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / "workflow"))
from register import read_register  # noqa: E402  (after the path above)

BOOT = {"confidence": 0.95, "resamples": 200, "seed": 0}
LEVELS = np.arange(-6.0, 6.5, 0.5)


def decided(tmp_path, topic, tables, **params):
    """Rows with verdicts of a topic's script; ``tables`` by the names of its inputs."""
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    inputs = Named(**{name: str(tmp_path / f"{name}.csv") for name in tables})
    target = tmp_path / "measured.csv"
    job = job_of(tmp_path, f"{topic}_claims", inputs, target, bootstrap=BOOT, **params)
    script = CLONE / "workflow" / "scripts" / f"{topic}_claims.py"
    runpy.run_path(str(script), init_globals={"snakemake": job})
    entries = read_register()
    topical = Register.of([entry for entry in entries if entry["topic"] == topic])
    measured = pd.read_csv(target, keep_default_na=False)
    numbers = {name: pd.to_numeric(measured[name]) for name in ("ours", "ci_low", "ci_high")}
    return topical.decide(measured.assign(**numbers), {})


def rising(place):
    """Share that rises from ½ to 1 over four λ about ``place``."""
    return np.interp(LEVELS, [place - 2, place + 2], [0.5, 1.0])


def windows(place, predicted, ends, member, n=2000):
    order = (np.arange(n) * 0.618034) % 1  # evenly spread, in no order of the seeds
    shares = [
        pd.DataFrame(
            {
                "target": "t",
                "seed": range(n),
                "logsnr": level,
                "kept_sde": order < kept,
                "predicted": expected,
                "own_probability": expected + 0.01 * (order - 0.5),
            }
        )
        for level, kept, expected in zip(LEVELS, rising(place), rising(predicted), strict=True)
    ]
    columns = {"target": ["t"], "t_lower_logsnr": ends[0], "t_upper_logsnr": ends[1]}
    between = {"seed": range(n), "logsnr": 0.0, "decided_logsnr": -1.0, "forgotten_logsnr": 1.0}
    between |= {"kept_group": True, "kept_member": order < member}
    return {
        "shares": pd.concat(shares),
        "predicted": pd.DataFrame(columns | {"forgotten_share": 0.5}),
        "between": pd.DataFrame(between),
    }


@pytest.mark.parametrize(
    ("place", "predicted", "ends", "member", "verdicts"),
    [
        (0.0, 0.0, (-2.0, 2.0), 0.5, [HOLDS, HOLDS, HOLDS]),
        (1.5, 0.0, (-3.0, 0.5), 0.95, [FAILS, FAILS, FAILS]),
        (0.3, 0.0, (-3.0, 0.3), 0.6, [UNDECIDED, UNDECIDED, UNDECIDED]),
        (0.0, 0.0, (np.nan, 2.0), 0.5, [HOLDS, NOT_TESTED, HOLDS]),
    ],
)
def test_windows(tmp_path, place, predicted, ends, member, verdicts):
    rows = decided(tmp_path, "windows", windows(place, predicted, ends, member), models=[])
    rows = rows.set_index("id")
    ids = ["windows-place", "windows-li-chen", "windows-between"]
    assert rows.loc[ids, "verdict"].tolist() == verdicts
    assert rows.loc["windows-place", "ours"] == pytest.approx(place - predicted, abs=0.1)
    if verdicts[1] == NOT_TESTED:
        assert "T_lower or T_upper lies outside" in rows.loc["windows-li-chen", "cause"]
    else:
        expected = (place - ends[0]) / (ends[1] - ends[0])
        assert rows.loc["windows-li-chen", "ours"] == pytest.approx(expected, abs=0.05)
    assert rows.loc["windows-between", "ours"] == pytest.approx(abs(member - 0.5), abs=0.01)


def modes(errors, n=32):
    """A table of modes, an error a target and process; the mixture's curve jumps for one seed."""
    rows = [
        {
            "target": target,
            "schedule": schedule,
            "dimensions": 2,
            "logsnr_t": 1.0,
            "process": process,
            "seed": seed,
            "error": error * (1 + 0.01 * seed),
            "status": "ok",
            "failed": target == "mixture" and seed == 5,
        }
        for (target, process), error in errors.items()
        for schedule in ("VP", "VE")
        for seed in range(n)
    ]
    detection = pd.DataFrame({"detector": ["any"], "hits": 9, "reported": 9, "failures": 9})
    seeds = {"logsnr_t": 0.0, "seed": range(4)}
    network = pd.DataFrame(seeds | {"share": [0.01, 0.02, 0.01, 0.02]})
    timed = {"method": "autodiff", "dimensions": 4, "correction_s": [20.0, 21.0], "score_s": 1.0}
    return {
        "modes": pd.DataFrame(rows),
        "detection": detection,
        "network": network,
        "cost": pd.DataFrame(timed),
    }


def test_modes_are_decided_by_target(tmp_path):
    exact, near, far = 1e-6, 0.05, 0.3
    errors = {("mixture", "mode ODE"): exact, ("mixture", "HD-ODE"): near}
    errors |= {("soft box", "mode ODE"): exact, ("soft box", "HD-ODE"): far}
    errors |= {("Gaussian", "HD-ODE"): exact}
    rows = decided(tmp_path, "modes", modes(errors))
    found = {(row.id, row.condition.split(",")[0]): row.verdict for row in rows.itertuples()}
    for key, verdict in {
        ("mode-ode", "mixture"): HOLDS,
        ("mode-ode", "soft box"): HOLDS,
        ("hd-ode-near-mode", "mixture"): HOLDS,
        ("hd-ode-near-mode", "soft box"): FAILS,
        ("hd-ode-gaussian", "Gaussian"): HOLDS,
        ("curve-smooth", "mixture"): FAILS,
        ("curve-smooth", "soft box"): HOLDS,
    }.items():
        assert found[key] == verdict, key
    assert ("mode-ode", "Gaussian") not in found
    worse = decided(tmp_path, "modes", modes(errors | {("Gaussian", "HD-ODE"): near}))
    assert worse.set_index("id").loc["hd-ode-gaussian", "verdict"] == FAILS
    few = decided(tmp_path, "modes", modes(errors, n=6)).set_index("id")
    assert few.loc["hd-ode-gaussian", "verdict"] == UNDECIDED


def test_an_offset_without_trusted_values_is_not_tested(tmp_path, monkeypatch):
    row = offset_row(tmp_path, monkeypatch, 0.05, 24, error=99.0)
    assert row["verdict"] == NOT_TESTED and row["n"] == 0 and row["n_left_out"] == 24


@pytest.mark.parametrize(
    ("limit", "n", "verdict"),
    [(0.05, 24, HOLDS), (-0.05, 24, FAILS), (0.001, 24, UNDECIDED), (0.05, 8, NOT_TESTED)],
)
def test_the_offset_is_that_of_no_step(tmp_path, monkeypatch, limit, n, verdict):
    row = offset_row(tmp_path, monkeypatch, limit, n)
    assert row["verdict"] == verdict
    assert row["ours"] == pytest.approx(limit, abs=0.002)
    assert row["condition"] == "from 32 and 128 steps"


def offset_row(tmp_path, monkeypatch, limit, n, error=0.0):
    """The row of claim 3 for an offset that falls to ``limit`` as 0.16/steps a dimension."""
    monkeypatch.chdir(tmp_path)
    folder = Path("results/a/b")
    folder.mkdir(parents=True)
    noise = 0.01 * np.sin(7.0 * np.arange(n))
    offsets = [
        pd.DataFrame(
            {
                "seed": range(n),
                "steps": steps,
                "dimensions": 10,
                "tracked_log_density_nats": 10 * (limit + noise + 1.6 / steps),
                "ode_log_density_nats": 0.0,
                "ode_error_nats": error,
            }
        )
        for steps in (32, 128)
    ]
    pd.concat(offsets).to_csv(folder / "offsets.csv", index=False)
    pd.DataFrame({"tracked_s": [1.0, 1.1], "untracked_s": 1.0}).to_csv(folder / "tracking_cost.csv")
    ordinary = {"seed": range(n), "tracker": "ancestral", "dimensions": 10}
    ordinary |= {"tracked_log_density_nats": noise, "ode_log_density_nats": noise**2}
    pd.DataFrame(ordinary | {"ode_error_nats": 0.0}).to_csv(folder / "likelihood.csv")
    rows = decided(tmp_path, "likelihood", {}, models=["a/b"]).set_index("id")
    return rows.loc["tracked-offset"]
