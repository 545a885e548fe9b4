"""The register of claims: what is asked, by which rule, and what the measured rows answer.

The register is written beforehand (``workflow/claims.yaml``).  Scripts measure; what stands here
decides: a verdict for every measured row, and a row for what was not measured, with the reason.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from cartoonists.report.rules import FAILS, NOT_TESTED, UNDECIDED, Rule
from cartoonists.statistics.claims import Interval
from cartoonists.statistics.estimates import EXACT, MEASURED

COLUMNS = [
    "claim", "source", "paper", "ours", "ci_low", "ci_high", "unit", "verdict", "artifact",
    "cause", "id", "kind", "model", "condition", "interval", "rule", "n", "n_left_out",
    "left_out_why",
]  # fmt: skip
KINDS = {
    "paper": "claims of the paper",
    "follow-up": "claims of its follow-up",
    "ours": "findings of this project",
    "self-check": "checks of the instruments",
}
REGISTER = "workflow/claims.yaml"  # the artifact of a claim that nothing was measured for


@dataclass(frozen=True)
class Entry:
    """One claim of the register.

    ``quantity`` is what is measured, ``unit`` its unit, ``population`` what it is measured on and
    what is pooled; ``rule`` decides a row and ``holds_on`` the claim; ``asked_of`` is *models* or
    *closed forms*.  ``not_tested`` is the reason why no rule can be applied; ``least_n`` the
    smallest number of units that a row needs.  ``times`` are of the machine: a table of their own.
    """

    id: str
    number: int
    kind: str
    title: str
    statement: str
    source: str
    paper: str
    quantity: str
    unit: str
    population: str
    asked_of: str
    topic: str
    figure: str
    notebook: str
    rule: Rule | None = None
    holds_on: str = "all"
    not_tested: str = ""
    least_n: int = 2
    times: bool = False

    @property
    def table(self) -> str:
        """The table under results/ that its rows stand in."""
        return "self_checks" if self.kind == "self-check" else "timings" * self.times or "claims"


@dataclass(frozen=True)
class Register:
    """All claims, in their order."""

    entries: Sequence[Entry]

    @staticmethod
    def of(content: Iterable[Mapping[str, Any]]) -> "Register":
        """From the register as it is read from its file.

        Raises ValueError for a repeated id, an unknown key or rule, and for a claim that has
        neither a rule nor the reason why it is not tested.
        """
        known = {field.name for field in fields(Entry)}
        entries = []
        for found in content:
            name = found.get("id", "?")
            if extra := set(found) - known:
                problem = f"{', '.join(sorted(extra))} found, allowed: {', '.join(sorted(known))}"
                raise ValueError(f"claim {name}: {problem}")
            try:
                rule = Rule.of(found["rule"]) if found.get("rule") else None
                entries.append(Entry(**{**found, "rule": rule}))
            except (TypeError, ValueError) as error:
                raise ValueError(f"claim {name}: {error}") from None
            if (rule is None) == (not entries[-1].not_tested):
                found_rules = "both" if rule else "neither"
                raise ValueError(f"claim {name}: {found_rules} found of rule and not_tested")
        ids = [entry.id for entry in entries]
        for name in ids:
            if ids.count(name) > 1:
                raise ValueError(f"claim {name}: {ids.count(name)} entries found, allowed: one")
        return Register(entries)

    def decide(self, measured: pd.DataFrame, left_out: Mapping[str, Sequence[str]]) -> pd.DataFrame:
        """Rows with their verdicts, columns `COLUMNS`, claim by claim.

        ``left_out``: models that the topic leaves out, by reason; each reason makes one row of
        every claim that is asked of models.  Raises ValueError for a row of a claim that is not in
        the register, or with other columns than `MEASURED`.
        """
        if list(measured.columns) != MEASURED:
            raise ValueError(f"columns {list(measured.columns)} found, allowed: {MEASURED}")
        ids = [entry.id for entry in self.entries]
        if unknown := sorted(set(measured["id"]) - set(ids)):
            raise ValueError(f"claim {unknown[0]!r} measured, allowed: {', '.join(ids)}")
        rows = []
        for entry in self.entries:
            found = measured[measured["id"] == entry.id]
            rows += [_decided(entry, row) for row in found.to_dict("records")]
            if found.empty:
                reason = entry.not_tested or "nothing was measured in this run"
                rows.append(_empty(entry, "", reason))
            if entry.asked_of == "models":
                rows += [_empty(entry, ", ".join(m), why) for why, m in left_out.items() if m]
        return pd.DataFrame(rows, columns=COLUMNS)


def _decided(entry: Entry, row: Mapping[str, Any]) -> dict[str, Any]:
    interval = Interval(row["ours"], row["ci_low"], row["ci_high"])
    verdict, cause = NOT_TESTED, entry.not_tested
    if entry.rule is not None:
        verdict, cause = _verdict(entry, entry.rule, interval, row)
    return _row(entry, row, verdict, cause) | {"artifact": row["artifact"]}


def _verdict(entry: Entry, rule: Rule, interval: Interval, row: Mapping) -> tuple[str, str]:
    n = int(row["n"])
    if n < entry.least_n and row["interval"] != EXACT:
        return NOT_TESTED, f"n = {n} found, {entry.least_n} needed{_left_out(row)}"
    verdict = rule.decide(interval)
    if verdict == NOT_TESTED:
        return verdict, f"no number from n = {n}{_left_out(row)}"
    if interval.low == interval.high and row["interval"] != EXACT:
        return UNDECIDED, f"all {n} values are alike, so that the interval has no width"
    found = text(interval)
    if verdict == FAILS and rule.kind == "always":
        missed = round((1 - interval.value) * n)
        return verdict, f"{missed} of {n} are counter-examples"
    if verdict == FAILS:
        return verdict, f"{found} {entry.unit} is not {rule.words}"
    if verdict == UNDECIDED:
        return verdict, f"{found} {entry.unit} straddles the margin ({rule.words}; n = {n})"
    return verdict, ""


def _left_out(row: Mapping) -> str:
    left_out = int(row["n_left_out"])
    return f" ({left_out} left out: {row['left_out_why']})" if left_out else ""


def _empty(entry: Entry, model: str, reason: str) -> dict[str, Any]:
    nothing = dict.fromkeys(("ours", "ci_low", "ci_high"), np.nan)
    row = {"model": model, "condition": "", "interval": "", "n": 0, "n_left_out": 0}
    row |= nothing | {"left_out_why": "", "artifact": REGISTER}
    return _row(entry, row, NOT_TESTED, reason)


def _row(entry: Entry, row: Mapping, verdict: str, cause: str) -> dict[str, Any]:
    where = ", ".join(part for part in (row["model"], row["condition"]) if part)
    claim = f"{entry.number} {entry.title}: {entry.quantity}" + (f" ({where})" if where else "")
    described = {
        "claim": claim,
        "source": entry.source,
        "paper": entry.paper,
        "unit": entry.unit,
        "verdict": verdict,
        "cause": cause,
        "kind": entry.kind,
        "id": entry.id,
        "rule": entry.rule.words if entry.rule else "none",
    }
    return {**{name: row[name] for name in MEASURED if name != "id"}, **described}


def text(interval: Interval) -> str:
    """A value with its interval, three digits."""
    if interval.low == interval.high:
        return f"{interval.value:.3g}"
    return f"{interval.value:.3g} [{interval.low:.3g}, {interval.high:.3g}]"
