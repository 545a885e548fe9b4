"""The whole workflow on tiny settings, in a copy of the clone: results, reuse, reruns, errors."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from workflow_clone import CLONE

from cartoonists.files.artifacts import read_record
from cartoonists.report.register import COLUMNS
from cartoonists.report.rules import NOT_TESTED, UNDECIDED, VERDICTS
from cartoonists.report.showing import counts

MODELS = ["cifar10/quality", "fashion-mnist/likelihood"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def results(clone):
    return clone.folder / "results"


def test_what_other_programs_read_is_there(clone):
    claims = pd.read_csv(results(clone) / "claims.csv")
    assert list(claims.columns) == COLUMNS
    assert list(claims.columns[:9]) == [
        "claim", "source", "paper", "ours", "ci_low", "ci_high", "unit", "verdict", "artifact"
    ]  # fmt: skip
    board = pd.read_csv(results(clone) / "scoreboard.csv")
    assert set(claims["verdict"]) | set(board["verdict"]) <= set(VERDICTS)
    assert set(claims["id"]) < set(board["id"]) and board["id"].is_unique
    missing = claims["ours"].isna()
    assert (claims.loc[missing, "verdict"] == NOT_TESTED).all() and claims.loc[
        missing, "cause"
    ].all()
    assert claims.loc[missing, "model"].fillna("").str.contains("cifar10/ddpm").any()  # the paper's
    measured = claims[~missing]
    assert measured["ours"].between(measured["ci_low"], measured["ci_high"]).all()
    alike = (measured["ci_low"] == measured["ci_high"]) & (measured["interval"] != "exact")
    assert set(measured.loc[alike, "verdict"]) <= {UNDECIDED, NOT_TESTED}
    assert not set(claims["kind"]) & {"self-check"}
    assert set(pd.read_csv(results(clone) / "self_checks.csv")["kind"]) == {"self-check"}
    assert len(pd.read_csv(results(clone) / "timings.csv")) > 1
    for artifact in claims["artifact"]:
        assert (clone.folder / artifact).is_file(), artifact
    assert (results(clone) / "report.html").stat().st_size > 1e6
    assert (results(clone) / "explorer.html").stat().st_size > 1e6
    topics = {path.stem for path in (results(clone) / "claims").glob("*.csv")}
    pages = {path.stem for path in (results(clone) / "notebooks").glob("*.html")}
    assert {"theory", "likelihood"} <= topics == pages


def test_every_figure_is_there_as_png_and_svg(clone):
    figures = {path.name for path in (results(clone) / "figures").iterdir() if path.is_file()}
    stems = {Path(name).stem for name in figures}
    assert figures == {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")}
    assert {"theory_tracking", "likelihood_scatter"} <= stems


def test_the_pages_are_refreshed_from_the_results(clone):
    readme = Path(shutil.copy(CLONE / "README.md", clone.folder))
    shutil.copytree(CLONE / "docs", clone.folder / "docs", dirs_exist_ok=True)
    program = clone.folder / "workflow" / "refresh.py"
    done = subprocess.run([sys.executable, program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    board = pd.read_csv(results(clone) / "scoreboard.csv")
    for page in (readme, clone.folder / "docs" / "index.md"):
        lines = [x for x in page.read_text().splitlines() if re.match(r"\| \[\d+\]\(", x)]
        assert len(lines) == board["number"].nunique() > 10
        assert counts(board) in page.read_text()
    assert (clone.folder / "docs" / "images" / "low_to_high.png").is_file()
    shown = clone.folder / "docs" / "results"
    made = {
        path.relative_to(results(clone)) for path in (results(clone) / "figures").rglob("*.png")
    }
    assert {path.relative_to(shown) for path in (shown / "figures").rglob("*.png")} == made
    assert len(list((shown / "notebooks").glob("*.md"))) > 5


def test_no_page_shows_a_path_of_this_machine(clone):
    for page in (results(clone) / "notebooks").glob("*.html"):
        assert str(clone.folder) not in page.read_text(encoding="utf-8"), page


def test_every_table_says_how_it_was_made(clone):
    tables = [*results(clone).glob("theory/*.csv"), *results(clone).glob("*/*/*.csv")]
    tables = [t for t in tables if t.parts[-3] not in ("benchmarks", "logs")]
    assert len(tables) > 10
    for table in tables:
        record = read_record(table)
        assert record["params"]["code"] and record["revision"], table
    for model in MODELS:
        record = read_record(results(clone) / model / "stein.npz")
        assert re.fullmatch(r"\w{64}", record["params"]["model"]["sha256"])


def test_a_second_run_has_nothing_to_do(clone):
    assert clone.planned() == {}


def test_more_samples_compute_new_chunks_only(clone):
    more = {"likelihood": {"n_samples": 9}}  # chunks of 4: two are done, one is new
    plan = clone.planned(*[f"results/{model}/likelihood.csv" for model in MODELS], **more)
    assert plan == {"likelihood_chunk": 2, "likelihood_table": 2, "total": 4}
    more = {"high_density": {"n_pairs": 9}}
    plan = clone.planned(*[f"results/{model}/high_density.csv" for model in MODELS], **more)
    assert plan == {"high_density_chunk": 2, "high_density_table": 2, "total": 4}


def test_a_comment_reruns_nothing_and_code_reruns_what_uses_it(clone):
    module = clone.folder / "src" / "cartoonists" / "experiments" / "tables.py"
    before = module.read_text()
    try:
        module.write_text("# a comment\n" + before)
        assert clone.planned() == {}
        module.write_text(before + "\nUNUSED = 1\n")
        plan = clone.planned()
    finally:
        module.write_text(before)
    assert {"stein", "likelihood_chunk", "report"} <= set(plan)
    assert "theory_tracking_part" not in plan


def test_tables_do_not_depend_on_cores_or_chunks(clone):
    """The same bytes from one core; the same numbers from other chunks of seeds."""
    model = "fashion-mnist/likelihood"
    targets = [f"results/{model}/{table}.csv" for table in ("likelihood", "high_density")]
    expected = [(clone.folder / target).read_bytes() for target in targets]
    done = clone.snakemake(targets[0], "--forceall", chunk_size=5, run_models=[model])
    assert done.returncode == 0, done.stderr[-3000:]
    other_chunks = pd.read_csv(clone.folder / targets[0])
    done = clone.snakemake(*targets, "--forceall", "--cores", "1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert [(clone.folder / target).read_bytes() for target in targets] == expected
    table = pd.read_csv(clone.folder / targets[0])
    pd.testing.assert_frame_equal(other_chunks, table, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"theory": {"steps": [8, -1]}}, "config error: theory.steps[1]: -1 found, allowed: "),
        ({"chunk_siz": 3}, "config error: chunk_siz: unknown key, allowed: "),
        ({"run_models": ["cifar10/none"]}, "config error: run_models[0]: 'cifar10/none' found"),
    ],
)
def test_bad_input_ends_in_one_line_before_any_rule(clone, settings, line):
    done = clone.snakemake(**settings)
    assert done.returncode != 0
    said = [x for x in done.stderr.splitlines() if not x.startswith("Config file")]
    assert len(said) == 1 and said[0].startswith(line), done.stderr


def test_an_altered_checkpoint_ends_in_one_line(clone):
    weights = clone.folder / "resources" / "models" / "cifar10" / "quality.safetensors"
    content = weights.read_bytes()
    try:
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        done = clone.snakemake()
    finally:
        weights.write_bytes(content)
    assert done.returncode != 0
    assert "config error: models.cifar10/quality: sha256 of" in done.stderr.splitlines()[-1]


def test_lint_and_format_are_clean():
    for command in (["snakemake", "--lint"], ["snakefmt", "--check", "Snakefile", "workflow"]):
        program = Path(sys.executable).parent / command[0]
        done = subprocess.run([program, *command[1:]], cwd=CLONE, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
