"""What tests of damaged input share: refusal in one line, and places to mutate."""

import pytest

from cartoonists.files.errors import DataError


def refused(call, *parts: str, error: type[Exception] = DataError) -> str:
    """The call ends in this error with a single line that holds the parts; returns the line."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


def places(node, path=()):
    """Every path to a value in a tree of mappings and lists."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))
