"""IDX files (LeCun's format): arrays of unsigned bytes, read without trusting their headers."""

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from cartoonists.files.errors import DataError

IDX_UINT8 = 0x08
IDX_MAX_BYTES = 2**30  # no IDX file here is larger; Fashion-MNIST's largest holds 47 MB
GZIP_MAX_RATIO = 1032  # what deflate can reach at most
CHUNK = 2**20


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes (LeCun's format), gzip-compressed or not.

    No more is read than the header promises, and no more is promised than the file can hold, so a
    false header or an endless stream costs neither time nor memory.  Raises DataError where the
    file is missing, is not IDX, or its size disagrees with its header.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            size = os.fstat(raw.fileno()).st_size
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not packed:
                return _read_idx_stream(raw, path, size)
            with gzip.GzipFile(fileobj=raw) as stream:
                return _read_idx_stream(stream, path, size * GZIP_MAX_RATIO)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _read_idx_stream(stream: io.BufferedIOBase, path: Path, most: int) -> np.ndarray:
    start = _take(stream, 4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] != IDX_UINT8:
        raise DataError(f"{path}: not an IDX file of unsigned bytes")
    rank = start[3]
    dimensions = _take(stream, 4 * rank) if 1 <= rank <= 4 else bytearray()
    if not dimensions or len(dimensions) < 4 * rank:
        raise DataError(f"{path}: IDX header is damaged (rank {rank}; allowed 1 to 4)")
    shape = struct.unpack(f">{rank}I", dimensions)
    expected = math.prod(shape)
    if expected > min(most, IDX_MAX_BYTES):
        raise DataError(
            f"{path}: its header {shape} promises {expected} bytes, "
            f"at most {min(most, IDX_MAX_BYTES)} can be there"
        )
    content = _take(stream, expected + 1)  # one more, to see that nothing follows
    if len(content) != expected:
        found = "more" if len(content) > expected else len(content)
        raise DataError(f"{path}: its header {shape} promises {expected} bytes, {found} found")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _take(stream: io.BufferedIOBase, count: int) -> bytearray:
    """Up to ``count`` bytes, in pieces, so that a false count allocates nothing."""
    content = bytearray()
    while len(content) < count and (part := stream.read(min(count - len(content), CHUNK))):
        content += part
    return content
