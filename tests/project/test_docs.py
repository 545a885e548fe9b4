"""The documentation: built strictly, and every command, example and test that it names is there."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny_models
import yaml
from PIL import Image
from typer.testing import CliRunner

from cartoonists.commands.app import app

CLONE = Path(__file__).resolve().parents[2]
PAGES = [CLONE / "README.md", CLONE / "CONTRIBUTING.md", *sorted((CLONE / "docs").rglob("*.md"))]
FOLLOWED = ("new-experiment", "new-process")  # pages with a test that follows them
sys.path.insert(0, str(CLONE / "workflow"))

import refresh  # noqa: E402  (after the path above)

from cartoonists.report.scoreboard import COLUMNS as BOARD  # noqa: E402


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def commands() -> set[str]:
    """Every line of every shell block without comment, once; for a plan cores do not matter."""
    pages = [page for page in PAGES if page.stem not in FOLLOWED]
    lines = [line for page in pages for block in blocks(page, "sh") for line in block.splitlines()]
    found = [re.split(r"\s+#", line)[0].strip() for line in lines]
    return {
        line if line.startswith("cartoonists") else re.sub(r" (-n|--cores \S+)\b", "", line)
        for line in found
        if line
    }


def test_the_site_is_built_without_a_warning_and_fetches_nothing(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(command, cwd=CLONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {page.name: page.read_text() for page in tmp_path.rglob("*.html")}
    assert pages["mathematics.html"].count("<math ") > 50
    assert "x_λ = α_λ x_0 + σ_λ ε" in pages["paths.html"]  # from a docstring
    for name, text in pages.items():
        assert "arithmatex" not in text, name
        assert not re.search(r'<(script|img|link)[^>]+(src|href)="(https?:)?//', text), name


def test_the_reference_has_every_module():
    listed = {
        module
        for page in (CLONE / "docs" / "reference").glob("*.md")
        for module in re.findall(r"^::: cartoonists\.([\w.]+)$", page.read_text(), re.M)
    }
    rooms = CLONE / "src" / "cartoonists"
    files = [path.relative_to(rooms) for path in rooms.glob("*/*.py")]
    assert listed == {f"{p.parent}.{p.stem}" for p in files if not p.stem.startswith("_")}


def test_every_test_that_a_page_names_exists():
    named = {
        match
        for page in PAGES
        for match in re.findall(r"`(tests/\w+/\w+\.py)::(\w+)`", page.read_text())
    }
    assert len(named) > 30
    for file, test in named:
        assert f"\ndef {test}(" in (CLONE / file).read_text(), f"{file}::{test}"


def test_every_relative_link_leads_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            made = link.startswith("results/")  # by a run
            assert made or (page.parent / link).exists(), f"{page}: {link}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with all that the examples name."""
    for name in ("config", "workflow", "examples"):
        (tmp_path / name).symlink_to(CLONE / name)
    tiny_models.save_diffusers(tmp_path / "my-ddpm", tiny_models.tiny_unet(sample_size=32))
    own = blocks(CLONE / "docs" / "how-to" / "own-checkpoint.md", "yaml")[0]
    (tmp_path / "mine.yaml").write_text(own.replace("/models/my-ddpm", str(tmp_path / "my-ddpm")))
    (tmp_path / "pets").mkdir()
    for grey in range(10):  # so many that one is held out
        Image.new("RGB", (32, 32), (grey,) * 3).save(tmp_path / "pets" / f"cat{grey}.png")
    own = blocks(CLONE / "docs" / "how-to" / "own-data.md", "yaml")[0]
    (tmp_path / "own.yaml").write_text(own.replace("/data/pets", str(tmp_path / "pets")))
    page = CLONE / "docs" / "how-to" / "own-network.md"
    (tmp_path / "own.py").write_text(blocks(page, "python")[0])
    (tmp_path / "network.yaml").write_text(blocks(page, "yaml")[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def snakemake(folder: Path, *arguments: str) -> str:
    """What Snakemake says of a plan."""
    place = ["--snakefile", str(CLONE / "Snakefile"), "-n", "--quiet=rules"]
    command = [sys.executable, "-m", "snakemake", *place, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout if "--list" in arguments else done.stdout + done.stderr


@pytest.mark.parametrize("command", sorted(commands() - {"snakemake --list"}))
def test_every_command_is_one_that_runs(folder, command):
    """Snakemake's with -n, make's with -n, ours with --dry-run: what would be run is planned."""
    program, *arguments = command.split()
    if program == ".":
        assert arguments == [".venv/bin/activate"]
    elif program == "make":
        done = subprocess.run(
            ["make", "-n", "-o", ".venv/installed", *arguments],
            cwd=CLONE, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0 and done.stdout, done.stderr
    elif program == "cartoonists":
        planned = [] if "--help" in arguments else ["--dry-run"]
        done = CliRunner().invoke(app, [*arguments, *planned])
        assert done.exit_code == 0 and done.stdout, done.stderr
    elif program == "snakemake":
        assert re.search("^total +[1-9]", snakemake(folder, *arguments), re.M)
    else:
        assert command == "pre-commit install"


EXAMPLES = [
    p for p in PAGES if blocks(p, "python") and p.stem not in ("module", "edm", "models", *FOLLOWED)
]


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.stem)
def test_examples_run(folder, page):
    """All Python of a page, block after block.

    Those of edm and models open pickles; new-process has a test of its own.
    """
    names: dict = {"__name__": "example"}
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), names)


def test_settings_in_the_pages_are_known_keys(folder):
    from validation import check

    default = yaml.safe_load((CLONE / "config.yaml").read_text())
    gpu = yaml.safe_load(blocks(CLONE / "docs" / "how-to" / "gpu.md", "yaml")[0])
    execution = default["execution"] | gpu["execution"]
    check(default | yaml.safe_load((folder / "mine.yaml").read_text()) | {"execution": execution})


def test_every_rule_has_one_line_in_the_table_of_contents(folder):
    assert "snakemake --list" in commands()
    lines = snakemake(folder, "--list").splitlines()
    assert len(lines) > 40
    for line in lines:
        assert re.fullmatch(r"\w+ \([A-Z].{10,}\.\)", line) and len(line) <= 110, line


def test_the_readme_is_refreshed_between_its_markers(tmp_path):
    text = (CLONE / "README.md").read_text()
    board = pd.DataFrame(dict.fromkeys(BOARD, [""])).assign(
        id="a-claim", number=1, kind="ours", verdict="holds", notebook="notebooks/theory.ipynb"
    )
    table = refresh.scores(board, ["a/b"], "docs/claims.md")
    assert "1 findings of this project: 1 holds." in table and "(docs/claims.md#a-claim)" in table
    (tmp_path / "a").mkdir()
    for name in ("a/x.tsv", "y.tsv"):
        (tmp_path / name).write_text("s\th:m:s\n1800.0\t0:30:00\n")
    assert "took 1.0 hours" in refresh.cost(tmp_path)
    once = refresh.between(text, "claims", table)
    assert table in once and refresh.between(once, "claims", table) == once
    assert once.partition("<!-- claims -->")[0] == text.partition("<!-- claims -->")[0]
    marked = "a <!-- claim a-claim -->old<!-- /claim --> b"
    assert "-->✔ holds: <!--" in refresh.filled(marked, board)
    with pytest.raises(ValueError, match="claim 'other' in a marker"):
        refresh.filled(marked.replace("a-claim", "other"), board)
    with pytest.raises(ValueError, match="markers of 'none' missing"):
        refresh.between(text, "none", "")
