"""Every rule says what it needs and leaves, and no file of the repository is there for nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / "workflow"))
import plan  # noqa: E402  (after the path above)
import revision  # noqa: E402

SNAKEFILES = [CLONE / "Snakefile", *sorted((CLONE / "workflow" / "rules").glob("*.smk"))]
WORKFLOW = "\n".join(path.read_text() for path in SNAKEFILES)
SECTIONS = ("output", "log", "benchmark", "conda", "resources", "params")
DOCUMENTS = "\n".join(
    (CLONE / path).read_text()
    for path in ["README.md", "docs/tutorial.md", "resources/registry.csv"]
)
UNHASHED = {  # what they make is checked by its SHA-256, is the configuration, or takes hours
    "fetch_inception", "fetch_model", "resolved_config", "train_model",
}  # fmt: skip
KINDS = (
    "closed forms", "models", "models of pictures", "models in depth",
    "models whose pictures can be blurred", "models with a classifier",
)  # fmt: skip
TARGETS = {"all", "everything", "train"}  # rules that only name others' outputs


def sections(body: str) -> dict[str, str]:
    """Text of each section of a rule, by its keyword."""
    parts = re.split(r"^    (\w+):\n", body, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def template(name: str) -> dict[str, str]:
    """Sections of the one rule that every script, or every notebook, has as a module."""
    text = (CLONE / "workflow" / "templates" / f"{name}.smk").read_text()
    return sections(text.partition("\nrule job:\n")[2])


def rules() -> dict[str, dict[str, str]]:
    """Sections of each rule, by its name; params are those of its template and its own."""
    found = {}
    head = r"^(?:rule (\w+)|use rule job from (\w+) as (\w+) with):\n"
    parts = re.split(head, WORKFLOW, flags=re.M)
    for plain, module, name, rest in zip(*(parts[i::4] for i in range(1, 5)), strict=True):
        own = sections(re.split(r"^\S", rest, maxsplit=1, flags=re.M)[0])
        base = {}
        if module:
            base = template("notebook" if module.endswith("_notebook") else "script")
            own["params"] = base["params"] + own.get("params", "")
        found[plain or name] = base | own
    return found


@pytest.mark.parametrize("name", sorted(rules().keys() - TARGETS))
def test_every_rule_has_all_sections_and_grows_with_every_attempt(name):
    rule = rules()[name]
    for section in SECTIONS:
        assert rule.get(section), section
    if rule["resources"].strip() != "**NETWORK,":
        assert re.search(r"^        mem_mb=grows\(\d+\),$", rule["resources"], re.M)
        assert re.search(r"^        runtime=grows\(\d+\),$", rule["resources"], re.M)


def test_the_resources_of_networks_grow_and_have_a_gpu():
    text = (CLONE / "workflow" / "rules" / "models.smk").read_text()
    wanted = r'^NETWORK = \{"mem_mb": grows\(\d+\), "runtime": grows\(\d+\), "gpu": GPU\}'
    assert re.search(wanted, text, re.M)


@pytest.mark.parametrize("name", sorted(rules().keys() - TARGETS - UNHASHED))
def test_every_rule_with_code_has_the_hash_of_what_it_runs(name):
    """A change of the library that its script or notebook reaches reruns it."""
    rule = rules()[name]
    ran = rule.get("script") or rule.get("notebook")
    if ran:
        path = ran.strip().removeprefix('f"').removesuffix('"').lstrip("./")
        folder = "" if path.startswith("notebooks") else "workflow/"
        assert f'code=code_hash(f"{folder}{path}"),' in rule["params"]


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [
        ("workflow/scripts", "*.py"),
        ("workflow/report", "*.rst"),
        ("notebooks", "*.ipynb"),
    ],
)
def test_every_file_of_the_workflow_is_used(folder, pattern):
    for path in sorted((CLONE / folder).glob(pattern)):
        names = (path.name, f'"{path.stem}"', f" {path.stem} as ", f" {path.stem}_notebook as ")
        used = any(name in WORKFLOW + DOCUMENTS for name in names)
        assert used, f"{folder}/{path.name} is named by no rule and no document"


def test_every_file_of_rules_is_a_topic_or_of_all_topics():
    files = {path.stem for path in (CLONE / "workflow" / "rules").iterdir()}
    everything = dict.fromkeys(KINDS, True)
    assert files == {*plan.topics(everything), *plan.OF_ALL}


def test_a_topic_is_one_word_everywhere():
    """Its rules, scripts, captions and notebook begin with it; nothing else does."""
    topics = plan.topics(dict.fromkeys(KINDS, True))
    for topic in topics:
        assert (CLONE / "notebooks" / f"{topic}.ipynb").is_file()
        assert (CLONE / "workflow" / "scripts" / f"{topic}_claims.py").is_file()
        assert topic in rules() and f"{topic}_claims" in rules()
        text = (CLONE / "workflow" / "rules" / f"{topic}.smk").read_text()
        scripts = re.findall(r"^use rule job from (\w+) as", text, re.M)
        captions = re.findall(r"\bfigures?\(\s*\"(\w+)\"", text)
        assert scripts and captions
        for name in [*scripts, *captions]:
            assert name.startswith(f"{topic}_") or name == "concatenate", name


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("# Runs on modles.", "toy.smk: '# Runs on modles.' found, allowed: '# Runs on closed"),
        ("", "toy.smk: no line '# Runs on ….' found, allowed: '# Runs on closed forms.', "),
    ],
)
def test_a_topic_that_does_not_say_on_what_it_runs_is_refused_in_one_line(
    line, message, tmp_path, monkeypatch
):
    (tmp_path / "toy.smk").write_text(f"# A toy.\n{line}\n")
    monkeypatch.setattr(plan, "RULES", tmp_path)
    with pytest.raises(SystemExit) as caught:
        plan.topics({"closed forms": True, "models": []})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_topics_run_where_what_they_run_on_is_there(tmp_path, monkeypatch):
    for name, kind in (("b", "models"), ("a", "models"), ("c", "closed forms")):
        (tmp_path / f"{name}.smk").write_text(f"# Head.\n# Runs on {kind}.\n")
    monkeypatch.setattr(plan, "RULES", tmp_path)
    assert plan.topics({"closed forms": True, "models": ["x"]}) == ["c", "a", "b"]
    assert plan.topics({"closed forms": True, "models": []}) == ["c"]


def test_every_module_of_the_library_is_reached_from_outside_it():
    package = CLONE / "src" / "cartoonists"
    users = [*CLONE.glob("workflow/scripts/*.py"), *CLONE.glob("notebooks/*.ipynb")]
    users += [*CLONE.glob("workflow/*.py"), *CLONE.glob("benchmarks/*.py"), package / "__init__.py"]
    users += [package / "commands" / "__main__.py"]  # and the entry point in pyproject.toml
    pending = set().union(*(revision._imports(revision._tree(path)) for path in users))
    reached: set[str] = set()
    while pending:
        module = pending.pop()
        reached.add(module)
        file = package / f"{module.replace('.', '/')}.py"
        pending |= revision._imports(revision._tree(file)) - reached
    reached |= {"commands.__main__", "experiments.shown", "models.azula_models"}  # by users alone
    assert revision._all_modules() == reached and len(reached) > 40


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
        assert not re.search(r"(~|\.(orig|rej|bak|swp|tmp|part|log|pyc))$", name), name
        assert not name.startswith("results/") or name == "results/README.md", name
        shown = name.startswith("docs/results/notebooks/")  # linked from the page of results
        if name.startswith("docs/") and name.endswith(".md") and not shown:
            assert Path(name).name in (CLONE / "mkdocs.yml").read_text(), name
