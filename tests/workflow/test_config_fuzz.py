"""Mutated configurations: each gives a plan, or one line that says what is wrong."""

import copy
import datetime
import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hostile import places
from snakemake.utils import update_config

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / "workflow"))
from validation import checked_models  # noqa: E402  (after the path above)

BASE = yaml.safe_load((CLONE / "config.yaml").read_text())
OVERLAYS = {
    path.name: yaml.safe_load(path.read_text()) for path in (CLONE / "config").glob("*.yaml")
}
MUTATIONS = 320
MOST = 700  # characters of a line that is still read

DEEP: list = []
for _ in range(50):
    DEEP = [DEEP]

VALUES = [
    None, True, False, 0, 1, -1, 2, 3.5, 10**9, -(10**30), 10**400, 1e-320, math.nan, math.inf,
    -math.inf, "", " ", "x" * 10_000, "ü\n\x00", "1", "null", "../../etc/passwd", "/", "a/b", "{x}",
    "{wildcards.dataset}", [], [[]], [0], [1, 1], [None], ["a/b"], {}, {"x": {}}, {1: 2}, {None: 1},
    {"a/b": None}, {"../x/y": {"source": "bundled"}}, b"bytes", datetime.date(2026, 1, 1), {1, 2},
    DEEP,
]  # fmt: skip


def parent_of(tree, path):
    for key in path[:-1]:
        tree = tree[key]
    return tree


def mutated(config: dict, chance: random.Random) -> dict:
    """A copy with one to three values replaced, removed, renamed, doubled, added or changed."""
    config = copy.deepcopy(config)
    for _ in range(chance.choice((1, 1, 2, 3))):
        path = chance.choice(list(places(config)))
        parent, key = parent_of(config, path), path[-1]
        value = parent[key]
        kind = chance.choice(("replace", "replace", "remove", "rename", "double", "add", "scale"))
        if kind == "remove":
            del parent[key]
        elif kind == "rename" and isinstance(parent, dict):
            name = str(key)
            new = chance.choice((f"{name}s", name[:-1], name.upper(), 7, None))
            parent[new] = parent.pop(key)
        elif kind == "double" and isinstance(value, list):
            parent[key] = value + value
        elif kind == "add" and isinstance(value, dict):
            value[chance.choice(("new", 0, "", "a/b", "steps"))] = copy.deepcopy(
                chance.choice(VALUES)
            )
        elif kind == "scale" and isinstance(value, int | float) and abs(value) < 1e100:
            parent[key] = value * chance.choice((-1, 0, 0.5, 2, 1000, 1e30))
        else:
            parent[key] = copy.deepcopy(chance.choice(VALUES))
        if not config:
            break
    return config


def complete(name: str, chance: random.Random) -> dict:
    """The whole configuration with this file of it mutated, merged as Snakemake does."""
    if name == "config.yaml":
        return mutated(BASE, chance)
    config = copy.deepcopy(BASE)
    update_config(config, mutated(OVERLAYS[name], chance))
    return config


def outcome(config: dict) -> str:
    """Empty where a run can be planned, else the line."""
    try:
        models = checked_models(config)
    except SystemExit as stop:
        line = str(stop.code)
        assert line.startswith("config error: ") and "\n" not in line and len(line) < MOST, line
        assert line.isprintable(), line
        return line
    assert list(models) == config["run_models"]
    return ""


@pytest.mark.parametrize("name", ["config.yaml", *OVERLAYS])
def test_every_mutation_gives_a_plan_or_one_line(name):
    chance = random.Random(name)
    lines = [outcome(complete(name, chance)) for _ in range(MUTATIONS)]
    refused = sum(bool(line) for line in lines)
    assert MUTATIONS / 3 < refused < MUTATIONS  # both ends were reached
    assert len(set(lines)) > MUTATIONS / 4


def files_to_plan(number: int):
    """Mutated overlays that a file can hold, with the line expected: plans, and refusals."""
    chance, left = random.Random("plans"), {"plan": number, "line": number}
    while any(left.values()):
        overlay = mutated(OVERLAYS[chance.choice(sorted(OVERLAYS))], chance)
        config = copy.deepcopy(BASE)
        update_config(config, overlay)
        try:
            text = json.dumps(overlay)
        except TypeError:  # bytes, sets, dates
            continue
        line = outcome(config)
        kind = "line" if line else "plan"
        if left[kind]:
            left[kind] -= 1
            yield text, line


@pytest.mark.slow
def test_snakemake_plans_or_says_that_line(tmp_path):
    for text, line in files_to_plan(4):
        (tmp_path / "overlay.json").write_text(text)
        command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", "--directory", "."]
        command += ["--snakefile", str(CLONE / "Snakefile"), "--configfile", "overlay.json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        said = [x for x in done.stderr.splitlines() if not x.startswith("Config file")]
        assert (done.returncode != 0) == bool(line), text + done.stderr
        assert "Traceback" not in done.stderr and (not line or said == [line]), text + done.stderr
