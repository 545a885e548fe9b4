"""What a configuration asks for: topics, environment, threads, interpreter."""

import os
import re
import shlex
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

RULES = Path(__file__).parent / "rules"
OF_ALL = ("jobs", "models", "report", "training")  # rules of no one topic


def topics(available: Mapping[str, Collection | bool]) -> list[str]:
    """Topics of the run: those whose models are there, by what they run on, then by name.

    Every file of rules but those of `OF_ALL` is a topic.  The line ``# Runs on KIND.`` at its head
    says on what: a key of ``available``, whose value is empty or False where the run has none.
    Exits with one line on stderr where a file does not say so.
    """
    kinds = {name: kind(name, available) for name in stems(RULES) if name not in OF_ALL}
    return [name for what in available if available[what] for name in kinds if kinds[name] == what]


def kind(topic: str, allowed: Collection[str]) -> str:
    """What a topic runs on, of those ``allowed``.  Exits with one line where it is none of them."""
    text = (RULES / f"{topic}.smk").read_text(encoding="utf-8")
    line = re.search(r"^# Runs on (.+)\.$", text, re.M)
    if not line or line[1] not in allowed:
        found = f"'{line[0]}'" if line else "no line '# Runs on ….'"
        lines = ", ".join(f"'# Runs on {what}.'" for what in allowed)
        sys.exit(f"workflow/rules/{topic}.smk: {found} found, allowed: {lines}")
    return line[1]


def stems(folder: str | Path) -> list[str]:
    """Names of the files in a folder, without their endings."""
    return sorted(path.stem for path in Path(folder).iterdir() if path.is_file())


def environment(device: str) -> str:
    """The file for --sdm conda, relative to the rules."""
    return f"../../envs/{'gpu' if device.startswith('cuda') else 'cpu'}.yaml"


def use_clone(clone: str) -> None:
    """Jobs import the library of this clone and run one thread each, unless the caller set more.

    They draw into files and notebooks, whatever window the caller has Matplotlib draw into.
    """
    os.environ.pop("MPLBACKEND", None)
    threads = {name: os.environ.get(name, "1") for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    places = [os.path.join(clone, "src"), os.environ.get("PYTHONPATH")]  # for modules of theirs
    os.environ.update(threads, PYTHONPATH=os.pathsep.join(filter(None, places)))


def use_python_of_path() -> None:
    """Let jobs find this interpreter by PATH where its own path needs quotes.

    Snakemake writes ``sys.executable`` unquoted into the command of a script, which a path with a
    space or parenthesis then breaks; a folder of PATH may have both.
    """
    if shlex.quote(sys.executable) != sys.executable:
        folder = os.path.dirname(sys.executable)
        os.environ["PATH"] = os.pathsep.join([folder, os.environ.get("PATH", os.defpath)])
        sys.executable = os.path.basename(sys.executable)
