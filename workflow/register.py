"""The register of claims, read and checked before any rule runs."""

import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from validation import Draft202012Validator

WORKFLOW = Path(__file__).parent
REGISTER = WORKFLOW / "claims.yaml"
SCHEMA = WORKFLOW / "claims.schema.yaml"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where it is there
PAPERS = "a model of the paper that this run does not have (config/paper.yaml)"
BRIEF = "listed under briefly in the configuration, which leaves this topic out"
UNCLASSIFIED = "no classifier of its data set is bundled"


class RegisterError(ValueError):
    """A register that nothing can be decided by; the message is one line."""


def read_register(path: Path = REGISTER) -> list[dict[str, Any]]:
    """The entries of the register.  Exits with one line on stderr where they break the schema."""
    try:
        return checked(yaml.load(path.read_text(encoding="utf-8"), LOADER))
    except (OSError, yaml.YAMLError, RegisterError) as error:
        sys.exit(f"claims.yaml: {' '.join(str(error).split())}")


def checked(content: Any) -> list[dict[str, Any]]:
    """``content``, if it is a register.  Raises RegisterError, naming claim, key and problem."""
    validator = Draft202012Validator(yaml.load(SCHEMA.read_text(encoding="utf-8"), LOADER))
    for error in sorted(validator.iter_errors(content), key=lambda e: list(map(str, e.path))):
        place = list(error.path)
        where = "the register"
        if place:
            entry = content[place[0]]
            name = (
                entry.get("id", f"number {place[0] + 1}") if isinstance(entry, dict) else place[0]
            )
            where = ".".join([f"claim {name}", *map(str, place[1:])])
        raise RegisterError(f"{where}: {error.message[:200]}")
    ids = [entry["id"] for entry in content]
    for name in ids:
        if ids.count(name) > 1:
            raise RegisterError(f"claim {name}: found {ids.count(name)} times, allowed: once")
    return content


def absent(
    topic: str,
    kind: str,
    available: Mapping[str, Collection],
    unfit: Iterable[Mapping[str, str]],
    paper: Collection[str],
) -> dict[str, list[str]]:
    """Models that a topic which runs on this ``kind`` leaves out, by reason.

    ``available``: the models of each kind (`plan.topics`); ``unfit``: rows of models that the topic
    cannot take, with the reason; ``paper``: the models of the paper.
    """
    found = {PAPERS: [name for name in paper if name not in available["models"]]}
    if available[kind] is True:
        return found
    reasons = {row["model"]: row["reason"] for row in unfit if row["topic"] == topic}
    for name in [name for name in available["models"] if name not in available[kind]]:
        other = UNCLASSIFIED if name in available["models in depth"] else BRIEF
        found.setdefault(reasons.get(name, other), []).append(name)
    return found
