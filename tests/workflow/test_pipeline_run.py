"""``format: pipeline`` in the configuration: every topic planned, two jobs of a tiny flow."""

import numpy as np
import pytest
import tiny_models
from workflow_clone import Clone


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_topic_is_planned_and_jobs_run_on_a_flow_transformer(tmp_path):
    tiny_models.save_pipeline(tmp_path / "flow", "stable_diffusion_3")
    source = {"source": f"path:{tmp_path / 'flow'}", "format": "pipeline"}
    model = {**source, "prompt": "a cat", "guidance": 2.0, "data": "none"}
    settings = {"models": {"tiny/flow": model}, "run_models": ["tiny/flow"]}
    clone = Clone(tmp_path / "clone")
    planned = clone.planned(**settings)
    assert {"likelihood", "high_density", "compression", "blur", "control"} <= planned.keys()
    table = "results/tiny/flow/stein.npz"
    done = clone.snakemake(table, **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(clone.folder / table) as found:
        values = found["logit_ratio"]
    assert values.shape[1:] == (4, 4, 4) and np.isfinite(values).all()
