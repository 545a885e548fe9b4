"""The rules that decide: a small closed vocabulary, each rule with its margin.

A rule looks at the whole interval and not at its centre.  Where the interval straddles the margin
the verdict is *undecided*.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cartoonists.statistics.claims import Interval

HOLDS = "holds"
FAILS = "does not hold"
UNDECIDED = "undecided"
NOT_TESTED = "not tested"
VERDICTS = (HOLDS, FAILS, UNDECIDED, NOT_TESTED)


@dataclass(frozen=True)
class Kind:
    """A kind of rule: its parameters, when it holds and when it does not, in numbers and words.

    ``slack`` is how far inside the margin an interval is, negative where it is not.
    """

    parameters: tuple[str, ...]
    holds: Callable[..., bool]
    fails: Callable[..., bool]
    slack: Callable[..., float]
    words: str


def _inside(i: Interval, low: float, high: float) -> bool:
    return low <= i.low and i.high <= high


def _outside(i: Interval, low: float, high: float) -> bool:
    return i.high < low or high < i.low


def _room(i: Interval, low: float, high: float) -> float:
    return min(i.low - low, high - i.high)


ABOVE = Kind(
    ("margin",),
    holds=lambda i, margin: i.low > margin,
    fails=lambda i, margin: i.high < margin,
    slack=lambda i, margin: i.low - margin,
    words="above {margin:g}",
)
KINDS = {
    "above": ABOVE,
    "below": Kind(
        ("margin",),
        holds=lambda i, margin: i.high < margin,
        fails=lambda i, margin: i.low > margin,
        slack=lambda i, margin: margin - i.high,
        words="below {margin:g}",
    ),
    "between": Kind(
        ("low", "high"),
        holds=_inside,
        fails=_outside,
        slack=_room,
        words="between {low:g} and {high:g}",
    ),
    "equal_within": Kind(
        ("value", "margin"),
        holds=lambda i, value, margin: _inside(i, value - margin, value + margin),
        fails=lambda i, value, margin: _outside(i, value - margin, value + margin),
        slack=lambda i, value, margin: _room(i, value - margin, value + margin),
        words="{value:g} within ± {margin:g}",
    ),
    "share_above": replace(ABOVE, words="a share above {margin:g}"),
    "always": Kind(
        ("at_least",),
        holds=lambda i, at_least: i.value == 1 and i.low >= at_least,
        fails=lambda i, at_least: i.value < 1,
        slack=lambda i, at_least: i.low - at_least if i.value == 1 else i.value - 1,
        words="no counter-example, and a share of at least {at_least:g} shown",
    ),
    "proves_above": replace(
        ABOVE,
        fails=lambda i, margin: False,
        words="above {margin:g} proves it, below says nothing",
    ),
}
SHARES = ("share_above", "always")


@dataclass(frozen=True)
class Rule:
    """One rule with its margins.  Raises ValueError for an unknown kind or other parameters."""

    kind: str
    margins: Mapping[str, float]

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"rule: kind {self.kind!r} found, allowed: {', '.join(KINDS)}")
        expected = KINDS[self.kind].parameters
        if set(self.margins) != set(expected):
            found = ", ".join(self.margins) or "nothing"
            raise ValueError(f"rule {self.kind}: {found} found, allowed: {', '.join(expected)}")

    @staticmethod
    def of(entry: Mapping[str, Any]) -> "Rule":
        """From ``{kind: …, margin: …}`` as it stands in the register."""
        return Rule(entry["kind"], {k: float(v) for k, v in entry.items() if k != "kind"})

    def decide(self, interval: Interval) -> str:
        """*holds*, *does not hold* or *undecided*; *not tested* where there is no number.

        Raises ValueError where a share lies outside [0, 1].
        """
        if not all(map(math.isfinite, (interval.value, interval.low, interval.high))):
            return NOT_TESTED
        if self.kind in SHARES and not 0 <= interval.value <= 1:
            raise ValueError(f"rule {self.kind}: {interval.value} found, allowed: 0 to 1")
        if KINDS[self.kind].holds(interval, **self.margins):
            return HOLDS
        return FAILS if KINDS[self.kind].fails(interval, **self.margins) else UNDECIDED

    def slack(self, interval: Interval) -> float:
        """How far inside the margin the interval is; negative where it is not."""
        return KINDS[self.kind].slack(interval, **self.margins)

    @property
    def words(self) -> str:
        """The rule in words, with its margins."""
        return KINDS[self.kind].words.format(**self.margins)


# --- from rows to a claim -------------------------------------------------------------------------

AGGREGATES = {
    "all": "on every row that is tested",
    "some": "on one row that is tested, or more",
    "none": "on no row that is tested",
}


def aggregate(verdicts: list[str], how: str) -> str:
    """The verdict of a claim from those of its rows; rows that are not tested do not count.

    *all*: holds where every row holds, does not hold where one does not.  *some*: holds where one
    row holds, does not hold where none can.  *none*: holds where no row holds, does not hold where
    one does.  Raises ValueError for another rule of aggregation.
    """
    if how not in AGGREGATES:
        raise ValueError(f"aggregate: {how!r} found, allowed: {', '.join(AGGREGATES)}")
    tested = [v for v in verdicts if v != NOT_TESTED]
    if not tested:
        return NOT_TESTED
    won, lost = {"all": (HOLDS, FAILS), "some": (FAILS, HOLDS), "none": (FAILS, HOLDS)}[how]
    if lost in tested:  # one row decides
        return HOLDS if how == "some" else FAILS
    if all(v == won for v in tested):
        return FAILS if how == "some" else HOLDS
    return UNDECIDED
