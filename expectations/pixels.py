"""What really lies in the packed shards: the pixels are judged, not what the manifest says about them.

A shard is a blob, a .npy of uint8 (n, 120, 160); a manifest row points into one with `shard` (its SHA-256) and `row`.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.store import DigestMismatch, ObjectMissing

# SHA-256 of a blob -> a local copy of it; what `Store.blob_path` does.
BlobPath = Callable[[str], Path]

_blob_path: ContextVar[BlobPath] = ContextVar("blob_path")


@contextmanager
def shards_from(blob_path: BlobPath) -> Iterator[None]:
    """Inside, expectations find their shards with `blob_path`. Great Expectations has no other way to hand it over:
    an expectation's arguments must be JSON, and they are printed in the Data Docs."""
    token = _blob_path.set(blob_path)
    try:
        yield
    finally:
        _blob_path.reset(token)


def shard_source() -> BlobPath:
    """What `shards_from` was given. Raises `LookupError` outside of it, which fails the expectation that asks."""
    return _blob_path.get()


def shape_problems(
    shards: Sequence[object], rows: Sequence[object], blob_path: BlobPath, *, shape: tuple[int, int], dtype: str
) -> list[str]:
    """What is wrong with each frame's place, "" where nothing is: no such shard, not a .npy, other shape or dtype,
    no such row. A store that does not answer is no finding about a frame: it raises `StoreError`."""
    opened = _opened(shards, blob_path)
    return [_place_problem(opened[shard], row, shape, dtype) for shard, row in zip(shards, rows, strict=True)]


def hash_problems(
    shards: Sequence[object], rows: Sequence[object], named: Sequence[object], blob_path: BlobPath
) -> list[str]:
    """What is wrong with each frame's pixels, "" where their SHA-256 (row-major bytes) is the one `named`.

    A frame that cannot be read has not the pixels that were named. Raises `StoreError` as `shape_problems`.
    """
    opened = _opened(shards, blob_path)
    problems = []
    for shard, row, expected in zip(shards, rows, named, strict=True):
        pixels = opened[shard]
        place = _row_problem(pixels, row)
        if place or isinstance(pixels, str):
            problems.append(place)
            continue
        found = hashlib.sha256(np.ascontiguousarray(pixels[int(row)]).tobytes()).hexdigest()  # type: ignore[call-overload]
        problems.append("" if found == expected else f"pixels have SHA-256 {found[:12]}")
    return problems


def _opened(shards: Sequence[object], blob_path: BlobPath) -> dict[object, NDArray[np.generic] | str]:
    """Every shard memory-mapped, or why it is none; those that are not cached yet are fetched, eight at a time."""
    names = list(dict.fromkeys(shards))
    with ThreadPoolExecutor(8) as threads:
        return dict(zip(names, threads.map(lambda shard: _open(shard, blob_path), names), strict=True))


def _open(shard: object, blob_path: BlobPath) -> NDArray[np.generic] | str:
    if not isinstance(shard, str):
        return "names no shard"
    try:
        mapped = np.load(blob_path(shard), mmap_mode="r", allow_pickle=False)
    except ObjectMissing:
        return f"shard {shard[:12]} is not in the bucket"
    except (DigestMismatch, ValueError, EOFError) as error:
        return f"shard {shard[:12]} is not a .npy: {str(error).splitlines()[0]}"
    return mapped if isinstance(mapped, np.ndarray) else f"shard {shard[:12]} is not a .npy"


def _row_problem(pixels: NDArray[np.generic] | str, row: object) -> str:
    if isinstance(pixels, str):
        return pixels
    # A column with a gap in it arrives as floats.
    if not isinstance(row, int | float | np.integer | np.floating) or not math.isfinite(row) or row != int(row):
        return "names no row"
    if pixels.ndim == 0 or not 0 <= int(row) < len(pixels):
        return f"row {int(row)} of a shard of {len(pixels) if pixels.ndim else 0}"
    return ""


def _place_problem(pixels: NDArray[np.generic] | str, row: object, shape: tuple[int, int], dtype: str) -> str:
    problem = _row_problem(pixels, row)
    if problem or isinstance(pixels, str):
        return problem
    if pixels.shape[1:] != shape or pixels.dtype != np.dtype(dtype):
        return f"{' x '.join(map(str, pixels.shape[1:])) or 'a single number'} {pixels.dtype}"
    return ""
