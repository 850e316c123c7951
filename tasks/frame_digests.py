"""The frames of a data set as a file of sorted digests: whether a frame is in it takes one small range request.

The file holds the first 16 bytes of both SHA-256 of every frame (of its pixels, and of the object's bytes), all of
them together in ascending order and without repeats. They are spread evenly, so where one must lie follows from its
value; a window around that place is fetched and widened where it should not do. A million frames take 32 MB.
"""

import math
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

WIDTH = 16  # bytes a digest: two frames of a million would share one by chance once in 10^26
_SIGMAS = 5


class Ranged(Protocol):
    """Reads bytes [start, stop) of the file."""

    def __call__(self, start: int, stop: int) -> bytes: ...


def frame_digests(manifest: Path) -> bytes:
    """The file's bytes for a data set's manifest (Parquet with pixels_sha256 and sha256 in hex)."""
    table = pq.read_table(manifest, columns=["pixels_sha256", "sha256"])
    parts = [_prefixes(table[name].to_pylist()) for name in table.column_names]
    return np.unique(np.concatenate(parts)).tobytes()


def contains(read: Ranged, size: int, digest: str) -> bool:
    """Whether `digest` (SHA-256 in hex) is in a file of `size` bytes. Raises `ValueError` for no digest."""
    wanted = bytes.fromhex(digest)[:WIDTH]
    if len(bytes.fromhex(digest)) != 32:
        raise ValueError(f"{digest!r} is no SHA-256")
    count = size // WIDTH
    low, high = 0, count  # it can only be in [low, high)
    place = int(count * int.from_bytes(wanted[:8], "big") / 2**64)
    # The place of a digest among n evenly spread ones has a standard deviation of at most sqrt(n) / 2.
    reach = int(_SIGMAS * math.sqrt(count) / 2) + 16
    while low < high:
        first, last = max(low, min(place, high - 1) - reach), min(high, max(place, low) + reach)
        window = read(first * WIDTH, last * WIDTH)
        found = [window[i : i + WIDTH] for i in range(0, len(window), WIDTH)]
        if found[0] <= wanted <= found[-1]:
            return wanted in set(found)
        if wanted < found[0]:
            high = first
        else:
            low = last
        place, reach = (low + high) // 2, 4 * reach
    return False


def _prefixes(digests: list[str]) -> NDArray[np.void]:
    raw = bytes.fromhex("".join(digests))
    return np.frombuffer(raw, f"S{WIDTH},S{32 - WIDTH}")["f0"].copy()
