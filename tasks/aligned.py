"""Whether two pictures are one picture: the second is laid over the first and compared place by place.

Correlation of the whole picture cannot tell: two pairs of trousers on one floor, or a room with and without somebody in
it, reach 0.95. Two figures together can: the correlation of the fine structure, and the worst of 48 places. Among
16,216 photographs 27 of the 28 pairs of different sessions above the limit were one photograph, seen by eye; the other,
two pairs of black trousers on the same tiles, had a similarity of 0.80 (benchmarks/duplicates.py).
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]

PLACES = (6, 8)  # down, across
LIMIT = 0.7  # similarity from which two pictures are one
_ROUGH_LIMIT = 0.35  # on thumbnails, where a cell more or less of shift costs more
_CLIPPED = (4, 251)  # gray levels at and beyond which a pixel holds nothing
_FURTHEST = 0.35  # of the picture's size: beyond that the two were bent until they agreed
_AGREED = 0.8  # correlation once they lie over each other; below, nothing finer needs to be looked at
_LEAST = 0.2  # share of the picture that both must show, unclipped
_FLOOR = 0.1  # of the variance of the whole picture, added to each place's: in a plain place noise is all there is


class Overlay(NamedTuple):
    """How well two pictures agree after the second was laid over the first."""

    similarity: float  # 0..1; `LIMIT` and above: the same picture
    moved: float  # how far a corner went, in widths or heights of the picture
    relit: float  # gray levels that separate their means, plus 128 times the relative change of contrast
    warp: NDArray[np.float32]  # (2, 3): where in the second each pixel of the first lies

    def __bool__(self) -> bool:
        return self.similarity > 0


_NOTHING = Overlay(0.0, 0.0, 0.0, np.eye(2, 3, dtype=np.float32))


def overlay_rough(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Overlay | None:
    """The overlay of two thumbnails, uint8 (30, 40); None where they are clearly two pictures. 0.4 ms."""
    found = _overlay(first.astype(np.float32), second.astype(np.float32), _NOTHING.warp, (12, 1e-3))
    return found if found.similarity >= _ROUGH_LIMIT else None


def overlay(first: NDArray[np.uint8], second: NDArray[np.uint8], rough: Overlay) -> Overlay:
    """The overlay of two frames, uint8 (120, 160), seen at half size, from that of their thumbnails. 2 ms."""
    a, b = (_float(cv2.resize(one, (80, 60), interpolation=cv2.INTER_AREA)) for one in (first, second))
    start = rough.warp.copy()
    # Pixel centres: x at 40 columns is 2 x + 0.5 at 80.
    start[:, 2] = 2 * start[:, 2] + 0.5 * (1 - start[:, 0] - start[:, 1])
    found = _overlay(a, b, start, (30, 1e-4))
    if found.similarity >= LIMIT:
        return found
    again = _overlay(a, b, _NOTHING.warp, (30, 1e-4))  # the thumbnails may have led astray
    return max(found, again, key=lambda one: one.similarity)


def _overlay(first: Picture, second: Picture, start: NDArray[np.float32], until: tuple[int, float]) -> Overlay:
    """Affine alignment by enhanced correlation (ECC, Evangelidis and Psarakis 2008), then the comparison."""
    height, width = first.shape
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, until[0], until[1])
    everywhere = np.ones(first.shape, np.uint8)
    try:
        agreed, bent = cv2.findTransformECC(first, second, start.copy(), cv2.MOTION_AFFINE, criteria, everywhere, 5)
    except cv2.error:  # does not converge: nothing in common, or one of them is uniform
        return _NOTHING
    warp = _float(bent)
    if agreed < _AGREED:
        return _NOTHING
    corners = np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]], np.float32)
    gone = np.abs(warp @ corners - corners[:2]) / [[width], [height]]
    if not gone.max() <= _FURTHEST:
        return _NOTHING
    size, how = (width, height), cv2.WARP_INVERSE_MAP
    # Beyond its edge the second goes on as it ends: else the black there would weigh on the fine structure beside it.
    moved = _float(cv2.warpAffine(second, warp, size, None, cv2.INTER_LINEAR | how, cv2.BORDER_REPLICATE))
    inside = cv2.warpAffine(everywhere, warp, size, flags=cv2.INTER_NEAREST | how)
    low, high = _CLIPPED
    shown = (first > low) & (first < high) & (moved > low) & (moved < high)
    edge = height // 20  # pixels
    both = _shrunk((inside > 0) & shown, edge)
    inner = _shrunk(both, edge + 2)  # the fine structure of a pixel is made from those around it
    if inner.mean() < _LEAST / 2 or both.mean() < _LEAST:
        return _NOTHING
    one, other = first[both], moved[both]
    if min(one.std(), other.std()) < 1:
        return _NOTHING
    fine = _correlation(_fine(first)[inner], _fine(moved)[inner])
    similarity = min(fine, 1 - 3 * _worst_place(first, moved, both))
    relit = abs(float(one.mean() - other.mean())) + 128 * abs(float(np.log(one.std() / other.std())))
    return Overlay(float(np.clip(similarity, 0, 1)), float(gone.max()), relit, warp)


def _worst_place(first: Picture, second: Picture, both: NDArray[np.bool_]) -> float:
    """Of the places of which half can be seen: the largest share of what is there that the other does not have."""
    a, b = ((one - one[both].mean()) / one[both].std() for one in (first, second))
    left = _float(cv2.GaussianBlur(np.where(both, a - b, 0), (0, 0), 1)) ** 2
    there = _in_places(np.where(both, a, 0)).var((1, 3)) + _FLOOR
    seen = _in_places(both.astype(np.float32)).mean((1, 3)) > 0.5
    return float((_in_places(left).mean((1, 3)) / there)[seen].max()) if seen.any() else 1.0


def plain(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of the thumbnails, uint8 (n, 30, 40), show too little to be recognised: (n,). A wall, darkness, an edge.

    Fewer than 20 of 48 places have structure of one gray level or more. Two such frames agree whatever they show.
    """
    structured = (_in_places(_fine(one.astype(np.float32))).std((1, 3)) >= 1 for one in thumbnails)
    return np.array([places.sum() < 20 for places in structured], bool)


def _float(picture: object) -> NDArray[np.float32]:
    return np.asarray(picture, np.float32)


def _in_places(picture: Picture) -> Picture:
    """(6, rows, 8, columns)."""
    height, width = picture.shape
    return picture.reshape(PLACES[0], height // PLACES[0], PLACES[1], width // PLACES[1])


def _fine(picture: Picture) -> Picture:
    """What is smaller than a tenth of the picture's height or so."""
    return _float(picture - cv2.GaussianBlur(picture, (0, 0), picture.shape[0] / 20))


def _shrunk(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Without the pixels near its edge, the picture's edge included."""
    kernel = np.ones((size, size), np.uint8)
    return cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0


def _correlation(a: Picture, b: Picture) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).mean() / max(float(a.std() * b.std()), 1e-6))
