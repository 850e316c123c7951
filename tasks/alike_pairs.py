"""Pairs of frames that show the same picture: bytes apart by compression, light, noise, a little cropping, mirroring.

In three steps, each on what the one before left: every frame against every other, as 300 numbers each (matrix products
in float32); the candidates' thumbnails laid over each other; their pixels laid over each other (tasks/aligned.py).
11,600 frames, a seventh of them copies, took 8 s, on busy cores 22 s.

Each frame is compared closely with the few that are nearest to it, per split and within its session: so a frame that
sits still for a thousand frames gives thousands of pairs, not a million, and still every one of them is found. Frames
that show next to nothing (`aligned.plain`) are only compared byte by byte.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.aligned import LIMIT, Overlay, overlay, overlay_rough, plain
from tasks.checked_frames import CheckedFrames
from tasks.parallel import cores, in_parallel
from tasks.progress import Progress, silent

SAME = "same pixels"
NEAREST = 6  # frames of other sessions that a frame is compared with closely: in each split, and as many mirrored
_IN_SESSION = 2  # and of its own
_LEAST = 0.5  # correlation below which nothing is a candidate: 800 of 800 frames cropped by up to 6 % are above it
_LEAST_MOVED = 0.86  # the same once moving and scaling the picture a little are allowed
_GROUPS = 16  # columns in a group, of which only the largest is looked at first: see `_largest`
_ROWS = 128  # frames that a thread compares with all others at a time: 10 MB where there are 20,000

Matrix = NDArray[np.float32]
Numbers = NDArray[np.intp]


class Alike(NamedTuple):
    """Two frames, by number, `first` below `second`, that show the same."""

    first: int
    second: int
    similarity: float  # 0..1, at least `aligned.LIMIT`; 1 where every pixel is the same
    how: str  # "same pixels", else "recompressed", "mirrored", "cropped", "brightness changed" or several of them


def alike_pairs(frames: CheckedFrames, progress: Progress = silent) -> list[Alike]:
    """All pairs, the most similar first, then by key. Identical ones as a star: each with the first of its group.

    Independent of the order of the table.
    """
    order = _canonical(frames)
    pairs, chosen = _identical(frames, order)
    thumbnails = frames.look(progress)[0]
    chosen = chosen[~plain(thumbnails[chosen])]
    candidates = _candidates(frames, chosen, thumbnails, progress)
    pieces = [candidates[start : start + 64] for start in range(0, len(candidates), 64)]
    found: dict[tuple[int, int], Alike] = {}
    for some in in_parallel(lambda piece: _verified(frames, thumbnails, piece), pieces, cores(), progress, "pairs"):
        for one in some:
            known = found.get(one[:2])
            if known is None or one.similarity > known.similarity:
                found[one[:2]] = one
    keys = frames.column("key")

    def by_rank(one: Alike) -> tuple[float, list[str]]:
        return -one.similarity, sorted((keys[one.first], keys[one.second]))

    return sorted([*pairs, *found.values()], key=by_rank)


def codes(values: Sequence[str | None]) -> NDArray[np.int64]:
    """A number for each value, in the order of the values; null is like the empty one."""
    return np.unique(np.array([value or "" for value in values], object).astype(str), return_inverse=True)[1]


def _canonical(frames: CheckedFrames) -> Numbers:
    """All numbers, by split, then session, then key."""
    columns = [codes(frames.column(name)) for name in ("key", "session", "split")]
    return np.lexsort(columns) if len(frames) else np.arange(0)


def _identical(frames: CheckedFrames, order: Numbers) -> tuple[list[Alike], Numbers]:
    """Pairs with the same pixels, and the frames to go on with, in order: of identical ones the first in each split."""
    digests, splits = frames.column("pixels_sha256"), frames.column("split")
    first: dict[str, int] = {}
    seen: set[tuple[str, str | None]] = set()
    pairs, chosen = [], []
    for number in order.tolist():
        digest = digests[number]
        other = first.setdefault(digest, number)
        if other != number:
            pairs.append(Alike(min(other, number), max(other, number), 1.0, SAME))
        if (digest, splits[number]) not in seen:
            seen.add((digest, splits[number]))
            chosen.append(number)
    return pairs, np.array(chosen, np.intp)


def _candidates(
    frames: CheckedFrames, chosen: Numbers, thumbnails: NDArray[np.uint8], progress: Progress
) -> list[tuple[int, int, bool]]:
    """Pairs worth a close look, each once, as (number, number, mirrored)."""
    if len(chosen) < 2:
        return []
    split, session = (codes(frames.column(name))[chosen] for name in ("split", "session"))
    digest = codes(frames.column("pixels_sha256"))[chosen]
    ends = [0, *(np.flatnonzero(np.diff(split)) + 1).tolist(), len(chosen)]
    segments = list(pairwise(ends))
    looks = np.empty((len(chosen), 300), np.float32)
    moves = np.empty((len(chosen), 4, 300), np.float32)
    for place, number in enumerate(chosen.tolist()):
        looks[place], moves[place] = _look(thumbnails[number])
    mirrored = np.ascontiguousarray(looks.reshape(-1, 15, 20)[:, :, ::-1]).reshape(-1, 300)

    def near(rows: Numbers) -> list[tuple[int, int, bool]]:
        pairs: list[tuple[int, int, bool]] = []
        for flipped, others in ((False, looks), (True, mirrored)):
            for low, high in segments:
                close = looks[rows] @ others[low:high].T
                picked = list(_picked(close, rows, low, session, session[low:high]))
                left = np.concatenate([one for one, _ in picked])
                right = np.concatenate([other for _, other in picked])
                keep = (left != right) & (digest[left] != digest[right])
                left, right = left[keep], right[keep]
                keep = _when_moved(looks, moves, others, left, right) >= _LEAST_MOVED
                pairs += [(a, b, flipped) for a, b in zip(left[keep].tolist(), right[keep].tolist(), strict=True)]
        return pairs

    blocks = [np.arange(start, min(start + _ROWS, len(chosen))) for start in range(0, len(chosen), _ROWS)]
    found = {
        (min(a, b), max(a, b), flipped)
        for some in in_parallel(near, blocks, cores(), progress, "blocks")
        for a, b, flipped in some
    }
    return [(int(chosen[a]), int(chosen[b]), flipped) for a, b, flipped in sorted(found)]


def _look(thumbnail: NDArray[np.uint8]) -> tuple[Matrix, Matrix]:
    """A thumbnail as (300,), and the four directions (4, 300) in which moving or scaling it a little changes that.

    Middle frequencies at 15 x 20, zero mean, unit norm; the directions are orthonormal and at right angles to it.
    """
    smooth = cv2.GaussianBlur(thumbnail.astype(np.float32), (0, 0), 1.5)
    band = smooth - cv2.GaussianBlur(thumbnail.astype(np.float32), (0, 0), 6)
    right, down = cv2.Sobel(band, cv2.CV_32F, 1, 0), cv2.Sobel(band, cv2.CV_32F, 0, 1)
    stretched = (
        np.linspace(-1, 1, 40, dtype=np.float32) * right,
        np.linspace(-1, 1, 30, dtype=np.float32)[:, None] * down,
    )
    basis = np.stack([_unit(np.asarray(one, np.float32)) for one in (band, right, down, *stretched)], 1)
    orthonormal = np.linalg.qr(basis)[0]
    return basis[:, 0], orthonormal[:, 1:].T


def _unit(picture: Matrix) -> Matrix:
    values = cv2.resize(picture, (20, 15), interpolation=cv2.INTER_AREA).ravel()
    values = values - values.mean()
    return np.asarray(values / max(float(np.linalg.norm(values)), 1e-6), np.float32)


def _picked(
    close: Matrix, rows: Numbers, low: int, session: NDArray[np.int64], theirs: NDArray[np.int64]
) -> Iterator[tuple[Numbers, Numbers]]:
    """The nearest of the session (it is one stretch of the columns), then those of others, as (rows, columns)."""
    start = np.searchsorted(theirs, session[rows], "left")
    stop = np.searchsorted(theirs, session[rows], "right")
    for position in np.flatnonzero(stop > start):
        stretch = close[position, start[position] : stop[position]]
        own = rows[position] - low - start[position]
        if 0 <= own < len(stretch):
            stretch[own] = -1
        best = np.argsort(-stretch, kind="stable")[:_IN_SESSION]
        best = best[stretch[best] >= _LEAST]
        yield np.full(len(best), rows[position]), best + start[position] + low
        stretch[:] = -1
    row, column = _largest(close, NEAREST)
    yield rows[row], column + low


def _largest(close: Matrix, count: int) -> tuple[Numbers, Numbers]:
    """Rows and columns of each row's `count` largest that are at least `_LEAST`. Exact: the largest lie in the groups
    with the largest maxima, and those maxima are found much faster than a partition of whole rows."""
    width = -(-close.shape[1] // _GROUPS)
    padded = np.full((len(close), _GROUPS, width), -1, np.float32)
    padded.reshape(len(close), -1)[:, : close.shape[1]] = close
    groups = np.argpartition(-padded.max(1), min(count, width) - 1, 1)[:, :count]  # (rows, count)
    columns = (np.arange(_GROUPS)[:, None] * width + groups[:, None, :]).reshape(len(close), -1)
    values = np.take_along_axis(padded.reshape(len(close), -1), columns, 1)
    best = np.argsort(-values, axis=1, kind="stable")[:, :count]
    row, place = np.nonzero(np.take_along_axis(values, best, 1) >= _LEAST)
    return row, columns[row, best[row, place]]


def _when_moved(looks: Matrix, moves: Matrix, others: Matrix, left: Numbers, right: Numbers) -> Matrix:
    """Correlation of each pair, once the left one may be moved and scaled a little (tangent distance, Simard 1993)."""
    result = np.empty(len(left), np.float32)
    for start in range(0, len(left), 1024):
        piece = slice(start, start + 1024)
        other = others[right[piece]]
        along = np.einsum("nkd,nd->nk", moves[left[piece]], other)
        result[piece] = np.sqrt((looks[left[piece]] * other).sum(1) ** 2 + (along**2).sum(1))
    return result


def _verified(
    frames: CheckedFrames, thumbnails: NDArray[np.uint8], pairs: Sequence[tuple[int, int, bool]]
) -> list[Alike]:
    """Those that show the same."""
    rough: list[tuple[int, int, bool, Overlay]] = []
    for a, b, flipped in pairs:
        found = overlay_rough(thumbnails[a], _turned(thumbnails[b], flipped))
        if found:
            rough.append((a, b, flipped, found))
    if not rough:
        return []
    pixels = frames.gather(np.array([number for a, b, *_ in rough for number in (a, b)]))
    result = []
    for position, (a, b, flipped, start) in enumerate(rough):
        found = overlay(pixels[2 * position], _turned(pixels[2 * position + 1], flipped), start)
        if found.similarity >= LIMIT:
            result.append(Alike(min(a, b), max(a, b), found.similarity, _how(found, flipped)))
    return result


def _turned(picture: NDArray[np.uint8], flipped: bool) -> NDArray[np.uint8]:
    return np.ascontiguousarray(picture[:, ::-1]) if flipped else picture


def _how(found: Overlay, flipped: bool) -> str:
    words = (("mirrored", flipped), ("cropped", found.moved > 0.02), ("brightness changed", found.relit > 12))
    return ", ".join(word for word, there in words if there) or "recompressed"
