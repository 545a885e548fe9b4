"""The scoreboard to show: a dozen lines, a line a claim in Markdown, or the page of the report."""

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import pandas as pd

from cartoonists.report.register import KINDS
from cartoonists.report.rules import FAILS, HOLDS, NOT_TESTED, UNDECIDED, VERDICTS

SIGNS = {HOLDS: "✔", FAILS: "✘", UNDECIDED: "?", NOT_TESTED: "–"}
Line = Mapping[str, Any]  # of the scoreboard
Link = Callable[[str], str]  # the address of a file of the results


def counts(board: pd.DataFrame) -> str:
    """How many claims have which verdict, by kind, in one sentence each."""
    said = []
    for kind, words in KINDS.items():
        part = board[board["kind"] == kind]["verdict"].value_counts()
        if len(part):
            found = ", ".join(f"{part[v]} {v}" for v in VERDICTS if v in part)
            said.append(f"{part.sum()} {words}: {found}.")
    return " ".join(said)


def brief(board: pd.DataFrame, page: str) -> str:
    """A line a number: its first claim, and a sign for each of the others, linked to ``page``."""
    lines = ["| | claim | verdict | decides | beside it |", "| --- | --- | --- | --- | --- |"]
    for number, part in board.fillna("").groupby("number", sort=False):
        first, *others = part.to_dict("records")
        signs = " ".join(f"[{SIGNS[line['verdict']]}]({page}#{line['id']})" for line in others)
        cells = [
            f"[{number}]({page}#{first['id']})",
            _statement(first),
            _verdict(first),
            _shortly(first),
            signs,
        ]
        lines.append(_row(cells))
    return "\n".join(lines)


def markdown(board: pd.DataFrame, page: str, link: Link) -> str:
    """A line a claim as a Markdown table; ``page`` is the address of the register's page."""
    lines = ["| | claim | verdict | decisive numbers | see |", "| --- | --- | --- | --- | --- |"]
    for line in board.fillna("").to_dict("records"):
        names = [f"[{what}]({link(place)})" for what, place in _places(line)]
        cells = [
            f"[{line['number']}]({page}#{line['id']})",
            _statement(line),
            _verdict(line),
            _whole(line),
            ", ".join(names),
        ]
        lines.append(_row(cells))
    return "\n".join(lines)


def html(board: pd.DataFrame, link: Link) -> str:
    """A line a claim as a table in HTML, with links to figure and notebook."""
    rows = []
    for line in board.fillna("").to_dict("records"):
        seen = ", ".join(
            f'<a href="{escape(link(place))}">{what}</a>' for what, place in _places(line)
        )
        kind = "" if line["kind"] == "paper" else f" <em>({line['kind']})</em>"
        cells = [
            str(line["number"]),
            escape(line["statement"]) + kind,
            _verdict(line),
            escape(_whole(line)),
            seen,
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    names = ("", "claim", "verdict", "decisive numbers, or the cause", "see")
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "\n".join(rows)
    return (
        f"<p>{escape(counts(board))}</p>\n"
        f'<table class="scoreboard">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n'
        "</table>\n"
    )


def verdict(line: Line) -> str:
    """The verdict on a claim and the numbers of one row that decide it, for a cell of a table."""
    return f"{_verdict(line)}: {_shortly(line)}".replace("|", "\\|")


def said(line: Line) -> str:
    """What decides, or the cause; of what no rule decides, the numbers that stand beside it."""
    if line["verdict"] == HOLDS:
        return line["numbers"]
    beside = line["verdict"] == NOT_TESTED and line["numbers"]
    return f"{line['cause']}: {line['numbers']}" if beside else line["cause"]


def _whole(line: Line) -> str:
    """`said`, and where models disagree the verdict of each."""
    models = line["by_model"].split("; ")
    differ = len({model.rpartition(": ")[2] for model in models}) > 1
    return f"{said(line)} ({line['by_model']})" if differ else said(line)


def _shortly(line: Line) -> str:
    """`said` of one row, without how many others are like it."""
    text = said(line)
    if line["verdict"] == HOLDS:
        return text.split("; ")[0]
    return text.split(" rows, such as ")[-1].split(" straddles")[0]


def _places(line: Line) -> list[tuple[str, str]]:
    """Figure and notebook of a claim, as far as it has them."""
    return [(what, line[what]) for what in ("figure", "notebook") if line[what]]


def _statement(line: Line) -> str:
    return line["statement"] + ("" if line["kind"] == "paper" else f" *({line['kind']})*")


def _verdict(line: Line) -> str:
    return f"{SIGNS[line['verdict']]} {line['verdict']}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
