"""Rules: each holds, fails and stays undecided; from rows to a claim."""

import itertools
import math

import pytest

from cartoonists.report.rules import (
    AGGREGATES,
    FAILS,
    HOLDS,
    KINDS,
    NOT_TESTED,
    UNDECIDED,
    Rule,
    aggregate,
)
from cartoonists.statistics.claims import Interval

CASES = {  # rule, then an interval for each verdict
    "above": (
        {"margin": 0.8},
        {HOLDS: (0.9, 0.81, 0.99), FAILS: (0.7, 0.6, 0.79), UNDECIDED: (0.9, 0.7, 1)},
    ),
    "below": (
        {"margin": 1.1},
        {HOLDS: (1, 0.9, 1.09), FAILS: (1.3, 1.2, 1.4), UNDECIDED: (1, 0.9, 1.2)},
    ),
    "between": (
        {"low": 1, "high": 2},
        {HOLDS: (1.5, 1, 2), FAILS: (3, 2.1, 4), UNDECIDED: (1.5, 0.9, 1.8)},
    ),
    "equal_within": (
        {"value": 1, "margin": 0.5},
        {HOLDS: (1, 0.6, 1.4), FAILS: (0, -1, 0.4), UNDECIDED: (1, 0.4, 1.2)},
    ),
    "share_above": (
        {"margin": 0.5},
        {HOLDS: (1, 0.6, 1), FAILS: (0, 0, 0.4), UNDECIDED: (1, 0.4, 1)},
    ),
    "always": (
        {"at_least": 0.6},
        {HOLDS: (1, 0.6, 1), FAILS: (0.99, 0.95, 1), UNDECIDED: (1, 0.5, 1)},
    ),
    "proves_above": ({"margin": 0}, {HOLDS: (2, 1, 3), UNDECIDED: (-2, -3, -1)}),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_holds_fails_and_stays_undecided(kind):
    margins, cases = CASES[kind]
    rule = Rule(kind, margins)
    assert set(cases) == {HOLDS, FAILS, UNDECIDED} - ({FAILS} if kind == "proves_above" else set())
    for verdict, ends in cases.items():
        assert rule.decide(Interval(*ends)) == verdict, ends
        assert (rule.slack(Interval(*ends)) >= 0) == (verdict == HOLDS)
    assert rule.decide(Interval(math.nan, math.nan, math.nan)) == NOT_TESTED
    for margin in margins.values():
        assert f"{margin:g}" in rule.words


def test_the_whole_interval_decides_and_not_its_centre():
    rule = Rule("above", {"margin": 0})
    assert rule.decide(Interval(5, -0.01, 10)) == UNDECIDED
    assert rule.decide(Interval(-5, -10, 0.01)) == UNDECIDED


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"kind": "near", "margin": 1}, "kind 'near' found, allowed: above, below"),
        ({"kind": "above"}, "nothing found, allowed: margin"),
        ({"kind": "between", "margin": 1}, "margin found, allowed: low, high"),
    ],
)
def test_an_unknown_rule_is_refused(entry, problem):
    with pytest.raises(ValueError, match=problem):
        Rule.of(entry)


def test_a_share_outside_zero_and_one_is_refused():
    with pytest.raises(ValueError, match="1.2 found, allowed: 0 to 1"):
        Rule("always", {"at_least": 0.5}).decide(Interval(1.2, 1, 1.3))


@pytest.mark.parametrize(
    ("verdicts", "how", "expected"),
    [
        ([HOLDS, HOLDS], "all", HOLDS),
        ([HOLDS, FAILS, UNDECIDED], "all", FAILS),
        ([HOLDS, UNDECIDED], "all", UNDECIDED),
        ([FAILS, HOLDS, UNDECIDED], "some", HOLDS),
        ([FAILS, FAILS], "some", FAILS),
        ([FAILS, UNDECIDED], "some", UNDECIDED),
        ([FAILS, FAILS], "none", HOLDS),
        ([FAILS, HOLDS], "none", FAILS),
        ([FAILS, UNDECIDED], "none", UNDECIDED),
    ],
)
def test_from_rows_to_a_claim(verdicts, how, expected):
    assert aggregate(verdicts, how) == expected
    assert aggregate([NOT_TESTED, *verdicts], how) == expected


def test_rows_that_were_not_tested_decide_nothing_and_aggregates_are_closed():
    for how, verdicts in itertools.product(AGGREGATES, ([], [NOT_TESTED])):
        assert aggregate(verdicts, how) == NOT_TESTED
    with pytest.raises(ValueError, match="'most' found, allowed: all, some, none"):
        aggregate([HOLDS], "most")
