"""Follow a page of the documentation to the letter: its code blocks and the files they name."""

import re
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
FILE = re.compile(r"`([\w./-]+\.\w+)`")


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, text, and the file named last (in backticks) before it, of each block of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        files = FILE.findall(BLOCK.sub("", text[: match.start()]))
        found.append((match[1], match[2], files[-1] if files else ""))
    return found


def patch(path: Path, diff: str) -> None:
    """Insert the + lines of a diff at the place that its other lines name.

    Raises AssertionError unless that place is found exactly once.
    """
    lines = diff.splitlines(keepends=True)
    assert {line[0] for line in lines} == {"+", " "}, diff
    before = "".join(line[1:] for line in lines if line[0] == " ")
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path}: {before!r} found {text.count(before)} times"
    path.write_text(text.replace(before, "".join(line[1:] for line in lines)), encoding="utf-8")
