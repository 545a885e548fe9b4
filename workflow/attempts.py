"""What a job asks of a cluster: more with every attempt."""

from collections.abc import Callable


def grows(first: int) -> Callable[..., int]:
    """Megabytes or minutes of a job: ``first``, doubled with every further attempt."""
    return lambda wildcards, attempt: first * 2 ** (attempt - 1)
