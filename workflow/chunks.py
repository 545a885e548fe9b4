"""Chunks of seeds: the unit of caching and of distribution."""

from math import ceil


def chunk_range(first: int, chunk: int, size: int) -> tuple[int, int]:
    """Seeds of a chunk, first and one past the last, however many chunks there are."""
    start = first + chunk * size
    return start, start + size


def chunk_files(table: str, n: int, size: int, kind: str = "csv") -> list[str]:
    """Files of the chunks that hold the first n seeds, with the wildcards of a model."""
    pattern = "results/{{dataset}}/{{model}}/chunks/{}-{}.{}"
    return [pattern.format(table, chunk, kind) for chunk in range(ceil(n / size))]
