"""docs/results: filled by one call from what a run has left; the pages say what its tables say."""

import json
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml
from PIL import Image

from cartoonists.files.artifacts import machine, write_table
from cartoonists.report.register import Register
from cartoonists.report.rules import VERDICTS
from cartoonists.report.scoreboard import scoreboard, split
from cartoonists.report.showing import brief, counts
from cartoonists.statistics.estimates import MEASURED

CLONE = Path(__file__).resolve().parents[2]
STORED = CLONE / "docs" / "results"
sys.path.insert(0, str(CLONE / "workflow"))

import reference_run  # noqa: E402  (after the path above)
import refresh  # noqa: E402
from register import read_register  # noqa: E402

REGISTER = Register.of(read_register())
DEFAULT = yaml.safe_load((CLONE / "config.yaml").read_text())
FIGURE = "theory_tracking"


@pytest.fixture
def results(tmp_path):
    """What is left of a run in which nothing was measured but one figure drawn."""
    folder = tmp_path / "results"
    record = {"revision": "abc", "python": "3", "versions": {"torch": "2"}, "machine": machine()}
    rows = REGISTER.decide(pd.DataFrame(columns=MEASURED), {})
    for name, part in split(REGISTER, rows).items():
        write_table(folder / f"{name}.csv", part, record)
    write_table(folder / "scoreboard.csv", scoreboard(REGISTER, rows), record)
    write_table(folder / "measured" / "theory.csv", rows[:0], record)
    (folder / "config.yaml").write_text(yaml.safe_dump(DEFAULT | {"seed": 7}))
    (folder / "figures").mkdir()
    Image.new("RGB", (2000, 10)).save(folder / "figures" / f"{FIGURE}.png")
    (folder / "notebooks").mkdir()
    text = nbformat.v4.new_markdown_cell("# A question")
    code = nbformat.v4.new_code_cell("import os")
    nbformat.write(nbformat.v4.new_notebook(cells=[text, code]), folder / "notebooks/theory.ipynb")
    return folder


def test_a_run_fills_the_folder_with_what_it_has(results, tmp_path):
    folder = tmp_path / "shown"
    reference_run.fill(results, folder, DEFAULT)
    page = (folder / "index.md").read_text()
    assert "`abc`" in page and "other than the default: seed" in page
    assert f"[figure](#{FIGURE})" in page and f"(figures/{FIGURE}.png)" in page
    assert "[notebook](notebooks/theory.md)" in page and "explorer" not in page
    assert f"{DEFAULT['theory']['n_samples']} samples" in page  # of the caption
    assert (folder / "notebooks" / "theory.md").read_text().startswith("# A question\n")
    assert "import os" not in (folder / "notebooks" / "theory.md").read_text()
    with Image.open(folder / "figures" / f"{FIGURE}.png") as image:
        assert image.size == (1200, 6)
    run = json.loads((folder / "run.json").read_text())
    assert set(run["made"]) == {*reference_run.TABLES, f"figures/{FIGURE}.png"}


def test_an_explorer_that_is_too_large_is_left_out_and_a_folder_refused(
    results, tmp_path, monkeypatch
):
    (results / "explorer.html").write_text("small")
    reference_run.fill(results, tmp_path / "shown", DEFAULT)
    assert "(explorer.html)" in (tmp_path / "shown" / "index.md").read_text()
    with (results / "explorer.html").open("wb") as file:
        file.truncate(reference_run.LARGEST)
    reference_run.fill(results, tmp_path / "shown", DEFAULT)
    assert not (tmp_path / "shown" / "explorer.html").exists()
    monkeypatch.setattr(reference_run, "LARGEST", 1000)
    with pytest.raises(ValueError, match="allowed: at most 1000"):
        reference_run.fill(results, tmp_path / "shown", DEFAULT)
    shutil.rmtree(tmp_path / "shown")
    (results / "claims.csv").unlink()
    with pytest.raises(OSError, match=r"claims\.csv"):
        reference_run.fill(results, tmp_path / "shown", DEFAULT)
    assert not (tmp_path / "shown").exists()


def test_what_is_stored_is_one_run_and_the_pages_say_the_same():
    page = (STORED / "index.md").read_text()
    if not (STORED / "scoreboard.csv").exists():
        assert "make results" in page and [p.name for p in STORED.iterdir()] == ["index.md"]
        return
    board = pd.read_csv(STORED / "scoreboard.csv", keep_default_na=False)
    names = ("claims", "timings")
    rows = pd.concat([pd.read_csv(STORED / f"{n}.csv", keep_default_na=False) for n in names])
    for line in board.to_dict("records"):
        decided = list(rows.loc[rows["id"] == line["id"], "verdict"])
        for verdict in VERDICTS[:3]:
            assert decided.count(verdict) == line[verdict], line["id"]
    assert page == reference_run.page(STORED)
    for name, link in (("README.md", "docs/claims.md"), ("docs/index.md", "claims.md")):
        text = (CLONE / name).read_text()
        assert counts(board) in text and brief(board, link) in text, name
    report = (CLONE / "docs" / "reproducibility.md").read_text()
    assert refresh.filled(report, board) == report
    for link in re.findall(r"\]\(((?:figures|notebooks)/[^)]+)\)", page):
        assert (STORED / link).is_file(), link
    assert reference_run.size(STORED) <= reference_run.LARGEST


def test_no_stored_page_shows_a_path_of_a_machine():
    for page in STORED.rglob("*.md"):
        assert not re.search(
            r"site-packages|ipykernel_\d|^ *[\w./-]+\.py:\d+:", page.read_text(), re.M
        ), page
