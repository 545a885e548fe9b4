"""Every rule says what it needs and leaves, and no file of the repository is there for nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / "workflow"))
import revision  # noqa: E402  (after the path above)

SNAKEFILES = [CLONE / "Snakefile", *sorted((CLONE / "workflow" / "rules").glob("*.smk"))]
WORKFLOW = "\n".join(path.read_text() for path in SNAKEFILES)
SECTIONS = ("output", "log", "benchmark", "conda", "resources", "params")
DOCUMENTS = "\n".join(
    path.read_text() for path in [CLONE / "README.md", CLONE / "resources" / "registry.csv"]
)
UNHASHED = {  # what they make is checked by its SHA-256, is the configuration, or takes hours
    "fetch_inception", "fetch_model", "resolved_config", "train_model",
}  # fmt: skip
TARGETS = {"all", "everything", "train"}  # rules that only name others' outputs


def rules() -> dict[str, str]:
    """Text of each rule, by name."""
    parts = re.split(r"^rule (\w+):\n", WORKFLOW, flags=re.M)
    bodies = [re.split(r"^\S", body, maxsplit=1, flags=re.M)[0] for body in parts[2::2]]
    return dict(zip(parts[1::2], bodies, strict=True))


@pytest.mark.parametrize("name", sorted(rules().keys() - TARGETS))
def test_every_rule_has_all_sections_and_grows_with_every_attempt(name):
    body = rules()[name]
    for section in SECTIONS:
        assert re.search(rf"^    {section}:$", body, re.M), section
    assert re.search(r"^        mem_mb=grows\(\d+\),$", body, re.M)
    assert re.search(r"^        runtime=grows\(\d+\),$", body, re.M)


@pytest.mark.parametrize("name", sorted(rules().keys() - TARGETS - UNHASHED))
def test_every_rule_with_code_has_the_hash_of_what_it_runs(name):
    """A change of the library that its script or notebook reaches reruns it."""
    body = rules()[name]
    if ran := re.search(r'^    (?:script|notebook):\n        "(.+)"$', body, re.M):
        path = (CLONE / "workflow" / "rules" / ran[1]).resolve().relative_to(CLONE)
        assert f'code=code_hash("{path}"),' in body


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [
        ("workflow/scripts", "*.py"),
        ("workflow/rules", "*.smk"),
        ("workflow/report", "*.rst"),
        ("notebooks", "*.ipynb"),
    ],
)
def test_every_file_of_the_workflow_is_used(folder, pattern):
    for path in sorted((CLONE / folder).glob(pattern)):
        used = path.name in WORKFLOW + DOCUMENTS or f'"{path.stem}"' in WORKFLOW
        assert used, f"{folder}/{path.name} is named by no rule and no document"


def test_every_module_of_the_library_is_reached_from_outside_it():
    package = CLONE / "src" / "cartoonists"
    users = [*CLONE.glob("workflow/scripts/*.py"), *CLONE.glob("notebooks/*.ipynb")]
    users += [*CLONE.glob("benchmarks/*.py"), package / "__init__.py"]
    pending = set().union(*(revision._imports(revision._tree(path)) for path in users))
    reached: set[str] = set()
    while pending:
        module = pending.pop()
        reached.add(module)
        pending |= revision._imports(revision._tree(package / f"{module}.py")) - reached
    assert {path.stem for path in package.glob("*.py")} - {"__init__"} == reached


def test_every_setting_is_read():
    settings = yaml.safe_load((CLONE / "config.yaml").read_text())
    text = WORKFLOW + (CLONE / "workflow" / "validation.py").read_text()
    for key in settings:
        assert re.search(rf"""["']{key}["']""", text), key


def test_every_tracked_file_is_known():
    """Nothing left over from an editor, a run or another machine."""
    listed = subprocess.run(["git", "ls-files"], cwd=CLONE, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git clone")
    for name in listed.stdout.splitlines():
        assert not re.search(r"(~|\.(orig|rej|bak|swp|tmp|part|log|pyc))$|^results/", name), name
        if name.startswith("docs/") and name.endswith(".md"):
            assert Path(name).name in (CLONE / "mkdocs.yml").read_text(), name
