"""The scoreboard: one line a claim, with its verdict and the numbers that decide it."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from cartoonists.report.register import COLUMNS as ROWS
from cartoonists.report.register import KINDS, Entry, Register, text
from cartoonists.report.rules import (
    AGGREGATES,
    HOLDS,
    NOT_TESTED,
    VERDICTS,
    aggregate,
)
from cartoonists.report.rules import KINDS as RULES
from cartoonists.statistics.claims import Interval
from cartoonists.statistics.estimates import MEASURED, read_rows

COLUMNS = [
    "number", "id", "kind", "statement", "verdict", "numbers", "cause", "by_model", "rows",
    *VERDICTS[:3], "paper", "source", "rule", "figure", "notebook",
]  # fmt: skip


def scoreboard(register: Register, rows: pd.DataFrame) -> pd.DataFrame:
    """One line a claim from the decided rows of all topics; self-checks count nowhere here."""
    lines = []
    for entry in register.entries:
        if entry.kind != "self-check":
            lines.append(_line(entry, rows[rows["id"] == entry.id]))
    return pd.DataFrame(lines, columns=COLUMNS)


def _line(entry: Entry, rows: pd.DataFrame) -> dict[str, Any]:
    verdict = aggregate(list(rows["verdict"]), entry.holds_on)
    tested = rows[rows["verdict"] != NOT_TESTED]
    counts = {v: int((tested["verdict"] == v).sum()) for v in VERDICTS[:3]}
    line = {
        "number": entry.number,
        "id": entry.id,
        "kind": entry.kind,
        "statement": entry.statement,
        "verdict": verdict,
        "numbers": _numbers(entry, tested if entry.rule else rows.dropna(subset=["ours"])),
        "cause": "" if verdict == HOLDS else _cause(entry, rows, verdict),
        "by_model": _by_model(entry, tested),
        "rows": len(tested),
        "paper": entry.paper,
        "source": entry.source,
        "rule": rule_words(entry),
        "figure": entry.figure,
        "notebook": entry.notebook,
    }
    return line | counts


def rule_words(entry: Entry) -> str:
    """The rule of a claim in words: of a row, and of the claim."""
    if entry.rule is None:
        return f"none: {entry.not_tested}"
    least = f"; n at least {entry.least_n}" if entry.least_n > 2 else ""
    return f"{entry.rule.words}, {AGGREGATES[entry.holds_on]}{least}"


def _interval(row: pd.Series) -> Interval:
    return Interval(row["ours"], row["ci_low"], row["ci_high"])


def _decisive(entry: Entry, rows: pd.DataFrame) -> pd.Series:
    """The row that is nearest to changing the verdict, or that decided it."""
    if entry.rule is None:
        return rows.iloc[0]
    slack = [entry.rule.slack(_interval(row)) for _, row in rows.iterrows()]
    order = pd.Series(slack, index=rows.index)
    return rows.loc[order.idxmin() if entry.holds_on == "all" else order.idxmax()]


def _numbers(entry: Entry, rows: pd.DataFrame) -> str:
    """The decisive row, and the range of the others."""
    if rows.empty:
        return ""
    row = _decisive(entry, rows)
    shown = f"{text(_interval(row))} {entry.unit}"
    if len(rows) == 1:
        return shown
    values = rows["ours"]
    span = f"{len(rows)} rows from {values.min():.3g} to {values.max():.3g}"
    return f"{shown} ({_where(row)}); {span}"


def _cause(entry: Entry, rows: pd.DataFrame, verdict: str) -> str:
    """Why a claim does not hold, in one sentence made from the numbers."""
    if verdict == NOT_TESTED:
        return entry.not_tested or rows.loc[rows["n"].astype(int).idxmax(), "cause"]
    tested = rows[rows["verdict"] != NOT_TESTED]
    guilty = tested[tested["verdict"] == verdict]
    if guilty.empty:  # of a claim that is to hold on no row
        guilty = tested[tested["verdict"] == HOLDS]
    row = _decisive(entry, guilty)
    if len(tested) == 1:
        return row["cause"]
    return f"{len(guilty)} of {len(tested)} rows, such as {_where(row)}: {row['cause']}"


def _by_model(entry: Entry, rows: pd.DataFrame) -> str:
    """The verdict of each model's own rows: where models disagree, one verdict hides it."""
    models = rows[rows["model"] != ""].groupby("model", sort=False)["verdict"]
    return "; ".join(f"{name}: {aggregate(list(part), entry.holds_on)}" for name, part in models)


def _where(row: pd.Series) -> str:
    return ", ".join(part for part in (row["model"], row["condition"]) if part)


# --- to show --------------------------------------------------------------------------------------


def answer(fragment: str | Path) -> Styler:
    """The decided rows of one topic as a table to show: ours with its interval, and the verdict."""
    table = read_rows(fragment, ROWS)
    table["ours"] = [text(_interval(row)) for _, row in table.iterrows()]
    columns = ["claim", "paper", "ours", "unit", "n", "verdict", "cause"]
    return table[columns].style.hide(axis="index").set_properties(**{"text-align": "left"})


# --- the tables -----------------------------------------------------------------------------------


def assemble(register: Register, fragments: Iterable[str | Path]) -> pd.DataFrame:
    """The decided rows of all topics in the order of the register.

    A claim whose topic is not among the ``fragments`` has one row, *not tested*.
    """
    tables = [read_rows(fragment, ROWS) for fragment in fragments]
    found = {name for table in tables for name in table["id"]}
    missing = Register([entry for entry in register.entries if entry.id not in found])
    tables.append(missing.decide(pd.DataFrame(columns=MEASURED), {}))
    rows = pd.concat([table for table in tables if len(table)], ignore_index=True)
    place = {entry.id: i for i, entry in enumerate(register.entries)}
    return rows.sort_values("id", key=lambda ids: ids.map(place), kind="stable", ignore_index=True)


def split(register: Register, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows by the table that they belong to: *claims*, *self_checks* and *timings*."""
    table = rows["id"].map({entry.id: entry.table for entry in register.entries})
    return {name: rows[table == name] for name in ("claims", "self_checks", "timings")}


# --- the register as a page -----------------------------------------------------------------------


def register_page(register: Register) -> str:
    """The register as a Markdown page: how a verdict comes about, and every entry."""
    rules = [f"| `{kind}` | {words.words} |" for kind, words in RULES.items()]
    margins = [re.sub(r"\{(\w+):g\}", r"*\1*", line) for line in rules]
    said = [f"- *{how}*: it holds {words}." for how, words in AGGREGATES.items()]
    parts = ["| rule | an interval holds if it is |\n| --- | --- |\n" + "\n".join(margins)]
    parts.append("\n".join(said))
    for kind, words in KINDS.items():
        parts.append(f"## {words[0].upper()}{words[1:]}")
        parts += [_entry(entry) for entry in register.entries if entry.kind == kind]
    return "\n\n".join(parts) + "\n"


def _entry(entry: Entry) -> str:
    shown = {
        "Source": entry.source,
        "It says": entry.paper,
        "Measured": f"{entry.quantity} [{entry.unit}]",
        "Population": entry.population,
        "Rule": rule_words(entry),
        "Asked of": entry.asked_of,
        "See": ", ".join(f"`{name}`" for name in (entry.figure, entry.notebook) if name),
    }
    lines = [
        f"### {entry.number}. {entry.title}",
        "",
        f'<a id="{entry.id}"></a>',
        entry.statement,
        "",
    ]
    return "\n".join(lines + [f"- {name}: {text}" for name, text in shown.items()])
