"""JSON files that describe a model: read without PyTorch, each value checked before it is used.

Every refusal is one line: the file, the key, what was found and what is allowed.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cartoonists.files.errors import CheckpointError

LARGEST = 2**27  # bytes of a JSON file; a shard index of thousands of tensors has one or two MiB


def read_json(path: Path) -> dict:
    """A JSON object from a file.  Raises CheckpointError where it is missing or is not one."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    try:
        if path.stat().st_size > LARGEST:
            raise CheckpointError(f"{path}: larger than {LARGEST} bytes, not a model's JSON file")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: {type(content).__name__} found, allowed: a JSON object")
    return content


def refuse(place: Any, key: str, value: Any, allowed: str) -> CheckpointError:
    """What to raise for a value: ``place: key: value found, allowed: …``."""
    text = repr(value)
    return CheckpointError(
        f"{place}: {key}: {text if len(text) <= 80 else text[:77] + '...'} found, "
        f"allowed: {allowed}"
    )


def number(
    place: Any, config: dict, key: str, default: float | None = None, *, above: float = -math.inf
) -> float:
    """A finite number above a bound.  Raises CheckpointError for anything else, and for none."""
    value = config.get(key)
    value = default if value is None else value
    bound = "a number" if above == -math.inf else f"a number above {above:g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse(place, key, value, bound)
    if not above < value < math.inf or abs(value) > 1e300:
        raise refuse(place, key, value, bound)
    return float(value)


def count(place: Any, config: dict, key: str, default: int | None = None, most: int = 2**20) -> int:
    """A whole number from 1 to ``most``.  Raises CheckpointError for anything else."""
    value = config.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise refuse(place, key, value, f"a whole number from 1 to {most}")
    return value


def choice(
    place: Any, config: dict, key: str, allowed: Sequence[str], default: str | None = None
) -> str:
    """One of the allowed words.  Raises CheckpointError for anything else."""
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, str) or value not in allowed:
        raise refuse(place, key, value, ", ".join(allowed))
    return value


def numbers(place: Any, key: str, values: Any, length: int) -> tuple[float, ...]:
    """A list of that many finite numbers.  Raises CheckpointError for anything else."""
    listed = list(values) if isinstance(values, list | tuple) else []
    good = [v for v in listed if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(good) != len(listed) or len(good) != length or not all(map(math.isfinite, good)):
        raise refuse(place, key, values, f"a list of {length} finite numbers")
    return tuple(float(v) for v in good)


def rising_pair(place: Any, key: str, values: Any) -> tuple[float, float]:
    """Two finite numbers, the first below the second.  Raises CheckpointError otherwise."""
    try:
        low, high = numbers(place, key, values, 2)
    except CheckpointError:
        raise refuse(place, key, values, "two numbers, rising") from None
    if not low < high:
        raise refuse(place, key, [*values], "two numbers, rising")
    return low, high


def side_lengths(place: Any, config: dict, key: str = "sample_size") -> tuple[int, int]:
    """Height and width from one number or two.  Raises CheckpointError for anything else."""
    value = config.get(key)
    if value is None:
        raise CheckpointError(f"{place}: {key}: none found, allowed: one or two whole numbers")
    sides = {"": value} if not isinstance(value, list | tuple) else dict(enumerate(value))
    if len(sides) not in (1, 2) or (isinstance(value, list | tuple) and len(sides) != 2):
        raise refuse(place, key, value, "one or two whole numbers")
    found = [count(place, {key: side}, key, most=2**14) for side in sides.values()]
    return found[0], found[-1]
