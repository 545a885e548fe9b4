"""The register of claims: what it names is there, every entry can be decided, the pages follow."""

import copy
import re
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jobs import Named, job_of
from pages import blocks, patch

from cartoonists.report.register import COLUMNS, Register
from cartoonists.report.rules import FAILS, HOLDS, NOT_TESTED, UNDECIDED
from cartoonists.report.scoreboard import answer, assemble, register_page, scoreboard, split
from cartoonists.report.showing import brief, counts, html, markdown
from cartoonists.statistics.estimates import MEASURED

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / "workflow"))
import register as workflow_register  # noqa: E402  (after the path above)

ENTRIES = workflow_register.read_register()
REGISTER = Register.of(ENTRIES)
RULED = [entry for entry in REGISTER.entries if entry.rule]
SCRIPTS = {p.stem: p.read_text() for p in (CLONE / "workflow" / "scripts").glob("*_claims.py")}
PAGE = CLONE / "docs" / "how-to" / "new-claim.md"
RULES = "\n".join(p.read_text() for p in (CLONE / "workflow" / "rules").glob("*.smk"))


def measured(entry, *ends, **more):
    """A row as a script gives it: value and interval, then other columns."""
    row = dict.fromkeys(MEASURED, "") | {"id": entry.id, "model": "m", "artifact": "x.csv"}
    row |= {"n": 1000, "n_left_out": 0, "interval": "Wilson"}
    return row | dict(zip(("ours", "ci_low", "ci_high"), ends, strict=True)) | more


def table(*rows):
    return pd.DataFrame(rows, columns=MEASURED)


def cases(rule):
    """An interval for each verdict that the rule can give, made from its margins."""
    m = dict(rule.margins)
    if rule.kind in ("above", "proves_above", "below"):
        up = rule.kind != "below"
        inside, outside = (m["margin"] + (1 if up else -1) * s for s in (2, -2))
        found = {HOLDS: _around(inside), FAILS: _around(outside)}
        found[UNDECIDED] = (m["margin"], m["margin"] - 1, m["margin"] + 1)
        if rule.kind == "proves_above":
            found[UNDECIDED] = found.pop(FAILS)
        return found
    if rule.kind == "share_above":
        c = m["margin"]
        low, high = c / 2, (1 + c) / 2
        return {HOLDS: (1, high, 1), FAILS: (0, 0, low), UNDECIDED: (c, low, high)}
    if rule.kind == "always":
        return {
            HOLDS: (1, m["at_least"], 1),
            FAILS: (0.9, 0.8, 1),
            UNDECIDED: (1, 0.9 * m["at_least"], 1),
        }
    low, high = (m["low"], m["high"]) if rule.kind == "between" else _ends(m)
    middle, width = (low + high) / 2, high - low
    inside, across = (middle, low, high), (middle, low - width, high)
    return {HOLDS: inside, FAILS: _around(high + 2), UNDECIDED: across}


def _around(value):
    return value, value - 0.5, value + 0.5


def _ends(m):
    return m["value"] - m["margin"], m["value"] + m["margin"]


@pytest.mark.parametrize("entry", RULED, ids=lambda entry: entry.id)
def test_every_entry_holds_fails_and_stays_undecided(entry):
    alone = Register([entry])
    for verdict, ends in cases(entry.rule).items():
        rows = alone.decide(table(measured(entry, *ends)), {})
        row = rows.iloc[0]
        assert list(rows.columns) == COLUMNS and row["verdict"] == verdict
        assert bool(row["cause"]) == (verdict != HOLDS)
        if verdict == UNDECIDED:
            assert f"{ends[1]:.3g}" in row["cause"] and "1000" in row["cause"]
        if entry.kind != "self-check":
            expected = verdict if entry.holds_on != "none" else None
            board = scoreboard(alone, rows).iloc[0]
            assert expected is None or board["verdict"] == expected
            assert bool(board["cause"]) == (board["verdict"] != HOLDS)


@pytest.mark.parametrize("entry", REGISTER.entries, ids=lambda entry: entry.id)
def test_what_an_entry_names_is_there(entry):
    assert (CLONE / entry.notebook).is_file()
    if entry.figure:
        assert re.search(rf'figures?\(\s*"{Path(entry.figure).stem}"', RULES), entry.figure
    assert (f'"{entry.id}"' in SCRIPTS[f"{entry.topic}_claims"]) or not entry.rule
    named = [topic for topic, text in SCRIPTS.items() if f'"{entry.id}"' in text]
    assert named in ([f"{entry.topic}_claims"], [])


def test_scripts_measure_only_what_the_register_has():
    for name, text in SCRIPTS.items():
        found = set(re.findall(r'measured\.add\(\s*"([^"]+)"', text))
        assert found and found <= {e.id for e in REGISTER.entries if f"{e.topic}_claims" == name}
        assert not re.search(r"\b(HOLDS|FAILS|holds|verdict)\b", text), f"{name} decides"


def test_rows_that_cannot_be_decided_are_not_tested_and_say_why():
    entry = RULED[0]
    few = measured(entry, np.nan, np.nan, np.nan, n=1, n_left_out=7, left_out_why="off the data")
    alike = measured(entry, 0.5, 0.5, 0.5)
    known = measured(entry, 0.5, 0.5, 0.5, interval="exact")
    rows = Register([entry]).decide(table(few, alike, known), {"too large": ["a", "b"], "none": []})
    assert rows["verdict"].tolist() == [NOT_TESTED, UNDECIDED, HOLDS, NOT_TESTED]
    assert rows["cause"].tolist()[:2] == [
        "n = 1 found, 2 needed (7 left out: off the data)",
        "all 1000 values are alike, so that the interval has no width",
    ]
    assert rows.loc[3, ["model", "cause"]].tolist() == ["a, b", "too large"]


def test_a_claim_that_nothing_was_measured_for_has_a_row():
    rows = REGISTER.decide(table(), {})
    assert rows["id"].tolist() == [entry.id for entry in REGISTER.entries]
    assert set(rows["verdict"]) == {NOT_TESTED} and rows["cause"].all()


def test_numbers_stand_beside_a_claim_that_no_rule_decides():
    entry = next(entry for entry in REGISTER.entries if entry.id == "likelihood-ratio")
    rows = Register([entry]).decide(table(measured(entry, 1.5, 1.4, 1.6)), {})
    assert rows.loc[0, "verdict"] == NOT_TESTED and rows.loc[0, "ours"] == 1.5
    assert "1.5 [1.4, 1.6]" in scoreboard(Register([entry]), rows).loc[0, "numbers"]


def test_a_row_of_an_unknown_claim_and_other_columns_are_refused():
    row = measured(RULED[0], 1, 1, 1, id="unheard-of")
    with pytest.raises(ValueError, match="claim 'unheard-of' measured, allowed: tracking-cost"):
        REGISTER.decide(table(row), {})
    with pytest.raises(ValueError, match="columns .* found, allowed"):
        REGISTER.decide(table().drop(columns="n"), {})


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"colour": "red"}, "claim tracking-cost: .*'colour' was unexpected"),
        ({"rule": {"kind": "near", "margin": 1}}, "claim tracking-cost.rule: "),
        ({"not_tested": "why"}, "claim tracking-cost: "),
        ({"id": "tracked-exact"}, "claim tracked-exact: found 2 times, allowed: once"),
        ({"statement": "No full stop"}, "claim tracking-cost.statement: "),
    ],
)
def test_a_broken_register_ends_in_one_line(change, line):
    content = copy.deepcopy(ENTRIES)
    content[0] |= change
    with pytest.raises(workflow_register.RegisterError, match=line):
        workflow_register.checked(content)
    if "statement" not in change:
        with pytest.raises(ValueError):
            Register.of(content)


def test_models_that_a_topic_leaves_out_are_named_with_the_reason():
    known = workflow_register
    available = {
        "closed forms": True,
        "models": ["a", "b", "c", "d"],
        "models in depth": ["a", "b"],
    }
    available["models with a classifier"] = ["a"]
    unfit = [{"topic": "blur", "model": "d", "reason": "too wide"}]
    papers = {known.PAPERS: ["p"]}
    for topic, kind, expected in [
        ("theory", "closed forms", papers),
        ("likelihood", "models", papers),
        ("blur", "models in depth", papers | {known.BRIEF: ["c"], "too wide": ["d"]}),
        (
            "windows",
            "models with a classifier",
            papers | {known.BRIEF: ["c", "d"], known.UNCLASSIFIED: ["b"]},
        ),
    ]:
        assert known.absent(topic, kind, available, unfit, ["p", "a"]) == expected


def some_rows():
    """Rows of three claims: one holds on both rows, one fails on one, one is a self-check."""
    first, second = RULED[1], RULED[3]
    check = next(entry for entry in REGISTER.entries if entry.kind == "self-check")
    good, bad = cases(second.rule)[HOLDS], cases(second.rule)[FAILS]
    content = [measured(first, *cases(first.rule)[HOLDS]), measured(second, *good)]
    content += [measured(second, *bad, model="worst"), measured(check, *cases(check.rule)[HOLDS])]
    register = Register([first, second, check])
    return register, register.decide(table(*content), {})


def test_the_scoreboard_has_one_line_a_claim_and_the_decisive_numbers():
    register, rows = some_rows()
    board = scoreboard(register, rows).set_index("id")
    first, second, check = register.entries
    assert board.loc[first.id, "verdict"] == HOLDS and board.loc[first.id, "cause"] == ""
    failed = board.loc[second.id]
    assert failed["verdict"] == FAILS and failed[[HOLDS, FAILS]].tolist() == [1, 1]
    assert failed["cause"].startswith("1 of 2 rows, such as worst: ")
    assert "(worst); 2 rows from" in failed["numbers"]
    verdicts = dict(part.split(": ") for part in failed["by_model"].split("; "))
    assert verdicts.pop("worst") == FAILS and list(verdicts.values()) == [HOLDS]
    assert check.id not in board.index  # self-checks count nowhere
    assert (
        "1 holds, 1 does not hold." in counts(board.reset_index())
        or len({first.kind, second.kind}) == 2
    )


def test_the_scoreboard_is_shown_whole_and_in_brief():
    register, rows = some_rows()
    board = scoreboard(register, rows)
    first, second, _ = register.entries
    shown = markdown(board, "claims.md", lambda place: f"/{place}")
    assert len(shown.splitlines()) == 4 and f"(claims.md#{second.id})" in shown
    assert f"[notebook](/{second.notebook})" in shown and f"(m: {HOLDS}; worst: {FAILS})" in shown
    page = html(board, lambda place: f"go('{place}')")
    assert page.count("<tr>") == 3 and f"go(&#x27;{second.notebook}&#x27;)" in page
    together = brief(board.assign(number=7), "claims.md").splitlines()
    assert len(together) == 3 and first.statement in together[2]
    assert together[2].endswith(f"| [✘](claims.md#{second.id}) |")


def test_fragments_become_tables_and_missing_topics_have_rows(tmp_path):
    register, rows = some_rows()
    rows.iloc[::-1].to_csv(tmp_path / "t.csv", index=False)
    whole = assemble(REGISTER, [tmp_path / "t.csv"])
    assert whole["id"].unique().tolist() == [entry.id for entry in REGISTER.entries]
    tables = split(REGISTER, whole)
    assert sum(map(len, tables.values())) == len(whole)
    assert set(tables["self_checks"]["kind"]) == {"self-check"}
    assert set(tables["timings"]["id"]) == {e.id for e in REGISTER.entries if e.times}
    shown = answer(tmp_path / "t.csv").data
    assert len(shown) == len(rows) and shown["ours"].str.contains(r"\[").all()
    (tmp_path / "t.csv").write_text("claim,ours\n1,2\n")
    with pytest.raises(ValueError, match="columns"):
        assemble(REGISTER, [tmp_path / "t.csv"])


def test_the_page_of_the_register_is_the_register():
    page = (CLONE / "docs" / "claims.md").read_text()
    assert f"<!-- register -->\n{register_page(REGISTER)}<!-- /register -->" in page


# --- adding a claim, as docs/how-to/new-claim.md says ---------------------------------------------


def closed_forms(folder):
    """Small tables of the topic theory: errors fall as 1/steps, early switches gain more."""
    rng = np.random.default_rng(0)
    scales = {"Euler–Maruyama": 60.0, "ancestral, isotropic": 1.0, "ancestral, diagonal": 1.0}
    tracking = [
        ("mixture", 4, name, steps, seed, (1 + 0.1 * rng.normal()) * scale / steps)
        for name, scale in scales.items()
        for steps in (8, 16, 32)
        for seed in range(8)
    ]  # fmt: skip
    columns = ["target", "dimensions", "tracker", "steps", "seed", "error_nats"]
    pd.DataFrame(tracking, columns=columns).to_csv(folder / "tracking.csv", index=False)
    pairs = [
        ("mixture", 4, switch, seed, 4 - switch + 0.1 * rng.normal(), 0.0)
        for switch in (-2.0, 0.0, 2.0)
        for seed in range(8)
    ]
    columns = ["target", "dimensions", "switch_logsnr", "seed"]
    columns += ["log_density_nats", "ordinary_log_density_nats"]
    pd.DataFrame(pairs, columns=columns).to_csv(folder / "pairs.csv", index=False)
    return Named(tracking=str(folder / "tracking.csv"), high_density=str(folder / "pairs.csv"))


def test_a_claim_is_added_as_the_page_says(tmp_path):
    """The page touches the register and one script, of a topic whose tables are there."""
    files = ("workflow/claims.yaml", "workflow/scripts/theory_claims.py")
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CLONE / file, tmp_path / file)
    diffs = [(text, file) for language, text, file in blocks(PAGE) if language == "diff"]
    assert tuple(file for _, file in diffs) == files
    for text, file in diffs:
        patch(tmp_path / file, text)
    content = workflow_register.read_register(tmp_path / files[0])
    (new,) = [entry for entry in content if entry not in ENTRIES]

    target, verdicts = tmp_path / "measured.csv", tmp_path / "verdicts.csv"
    boot = {"confidence": 0.95, "resamples": 200, "seed": 0}
    job = job_of(tmp_path, "theory_claims", closed_forms(tmp_path), target, bootstrap=boot)
    runpy.run_path(str(tmp_path / files[1]), init_globals={"snakemake": job})
    theory = [entry for entry in content if entry["topic"] == "theory"]
    job = job_of(tmp_path, "verdicts", [target], verdicts, register=theory, left_out={})
    script = CLONE / "workflow" / "scripts" / "verdicts.py"
    runpy.run_path(str(script), init_globals={"snakemake": job})
    whole = Register.of(content)
    board = scoreboard(whole, assemble(whole, [verdicts])).set_index("id")
    assert board.loc[new["id"], "verdict"] == HOLDS and board.loc[new["id"], HOLDS] == 1
    assert board.loc["fewer-steps", "verdict"] == HOLDS  # what was there before is there still
    assert new["title"] in register_page(whole)
