"""Which topics can take which model, from its files alone and before the first job."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cartoonists.models.descriptions import ModelDescription

LIBRARY = str(Path(__file__).resolve().parents[1] / "src")
DATA_SHAPES = {"fashion-mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
ASKED = "not wanted (leave_out of the model in the configuration)"
PICTURES = ("high_density", "compression", "blur", "control", "windows")  # look at images


def description(model: Mapping[str, Any], place: str | None) -> "ModelDescription | None":
    """What a model on this machine is; None for one that a rule has to fetch first.

    ``place`` is its file or folder.  Raises CheckpointError.
    """
    if place is None:
        return None
    if LIBRARY not in sys.path:
        sys.path.insert(0, LIBRARY)  # of this clone, as for its jobs
    from cartoonists.files.configs import read_json
    from cartoonists.models.descriptions import describe

    form = model.get("format", "native")
    if form == "native" and "format" not in read_json(Path(place).with_suffix(".json")):
        return None  # a card that says nothing of its model: loading it says what is missing
    return describe(Path(place), form, model)


def left_out(
    described: Mapping[str, "ModelDescription | None"], config: Mapping[str, Any]
) -> list[dict[str, str]]:
    """Rows ``model``, ``topic``, ``reason`` of what could not run, or is not wanted."""
    asked = {
        (name, topic)
        for name in described
        for topics in [config["models"][name].get("leave_out", [])]
        for topic in (*topics, *(["compression"] if "high_density" in topics else []))
    }
    return [
        {"model": name, "topic": topic, "reason": reason}
        for name, found in described.items()
        for topic in PICTURES
        for reason in ([ASKED] if (name, topic) in asked else _reasons(topic, found, name, config))
    ]


def _reasons(
    topic: str, found: "ModelDescription | None", name: str, config: Mapping[str, Any]
) -> Iterator[str]:
    """Why a topic cannot take a model, at most one reason; nothing for one left out briefly."""
    if found is None:
        return
    if topic in ("blur", "control", "windows") and name in config["briefly"]:
        return
    channels, height, width = found.pixel_shape
    factors = [int(f) for f in config["blur"]["strengths"].get("down-up", [])]
    odd = [factor for factor in factors if factor > 0 and (height % factor or width % factor)]
    if channels not in (1, 3):
        yield f"images of {channels} channels, allowed: 1 or 3"
    elif height != width:
        yield f"images of {height} × {width} pixels, allowed: square ones"
    elif topic == "blur" and odd:
        yield (
            f"images of {height} × {width} pixels, blur.strengths.down-up has {odd[0]}, "
            "allowed: divisors of both sides"
        )


def data_problem(found: "ModelDescription | None", data: str) -> str:
    """What is wrong with a bundled data set for a model; empty where nothing is."""
    expected = DATA_SHAPES.get(data)
    if found is None or expected is None or found.pixel_shape == expected:
        return ""
    sizes = " × ".join(map(str, found.pixel_shape))
    return (
        f"data: {data!r} found for images of {sizes}, allowed: a data set of that size "
        "(name another with data:, or path:<folder of images>)"
    )


def lines(rows: list[dict[str, str]]) -> list[str]:
    """One line a model and reason for the log of the plan; none for what is not wanted."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for row in [row for row in rows if row["reason"] != ASKED]:
        grouped.setdefault((row["model"], row["reason"]), []).append(row["topic"])
    return [
        f"{model}: left out of {', '.join(topics)} ({reason})"
        for (model, reason), topics in grouped.items()
    ]
