"""Notebooks: one story each, without outputs; the tutorial runs on its own."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
BY_NAME = {path.stem: path for path in NOTEBOOKS}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_notebook_is_a_clean_story(name):
    notebook = json.loads(BY_NAME[name].read_text())
    nbformat.validate(nbformat.from_dict(notebook))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    cells = [("".join(cell["source"]), cell) for cell in notebook["cells"]]
    assert cells[0][0].startswith("# ") and cells[0][1]["cell_type"] == "markdown"
    assert any("**What could be wrong.**" in text for text, _ in cells[-3:])
    assert any("?" in text for text, cell in cells if cell["cell_type"] == "markdown")
    assert not any(cell.get("outputs") or cell.get("execution_count") for _, cell in cells)


def test_the_tutorial_runs_and_finds_the_tracked_value_true():
    notebook = nbformat.read(BY_NAME["tutorial"], as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    printed = [
        output["text"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "stream"
    ]
    means = dict(line.split()[:2] for line in "".join(printed).splitlines() if "nats" in line[-4:])
    tracked, true, iwae, elbo = (float(means[k]) for k in ("tracked", "true", "IWAE", "ELBO"))
    assert elbo < iwae < true
    assert tracked == pytest.approx(true, abs=0.1)  # nats, 64 samples at 64 steps
