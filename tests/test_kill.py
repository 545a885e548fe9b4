"""Runs killed with SIGKILL at random times end with the tables of an undisturbed one."""

import pytest
from kill_runs import kill_runs

# few jobs: a model's table from two chunks, and a table of closed forms from two parts
TARGETS = ["results/fashion-mnist/likelihood/likelihood.csv", "results/theory/high_density.csv"]
SMALL = {
    "run_models": ["fashion-mnist/likelihood"],
    "stein": {"n_samples": 2, "points": 3, "pilot_steps": 4, "trial_samples": 1},
    "likelihood": {"estimators": {"sde_steps": 4, "ode_steps": 2, "bound_steps": 2}},
    "theory": {"n_samples": 4, "steps": [4, 8]},
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_runs_end_with_the_same_tables(tmp_path):
    assert kill_runs(tmp_path, 2, TARGETS, **SMALL) == []
