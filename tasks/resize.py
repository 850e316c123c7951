"""How a frame becomes a model's input: one exact rule, the same bytes in training, evaluation and on the device.

Area filter in integers. With a source of `W` pixels, a target of `w`, and both divided by their greatest common
divisor, target pixel `d` covers [d W, (d + 1) W) and source pixel `i` covers [i w, (i + 1) w), in units of 1/w of a
source pixel; the weight of `i` in `d` is the length that both cover. The same holds from top to bottom, and

    value = floor((2 sum + D) / (2 D))        sum: weights times gray levels, D: all weights of one target pixel

is the mean over the covered area, halves rounded up. For a target of at least the source's size the same rule repeats
and blends pixels. The device's copy is the Rust crate `detector`; tests/golden/resize_vectors.json holds both to it.

With 160 x 120 frames and widths and heights in steps of 32 and 24, D is 1, 5 or 25: odd, so that no mean is a half and
cv2.INTER_AREA, which rounds halves to even, gives the same bytes. Elsewhere it differs by one level where a mean is a
half or its float sums miss one.
"""

import math

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 32  # frames: what is computed in between stays in the processor's cache


def resized(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Frames at a model's input size: uint8 (n, H, W) -> (n, height, width), 0..255; at the same size as they are.

    Exact for every size. 1,000 frames of 160 x 120 at 96 x 72 take 20 ms on one core (cv2.resize 26 ms, a matrix
    product in float32 47 ms), at sizes without a common divisor such as 97 x 71 67 ms.
    Raises `ValueError` for anything but uint8 (n, H, W), and for sizes below 1.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or min(height, width, *pixels.shape[1:]) < 1:
        raise ValueError(f"cannot resize {pixels.dtype} {pixels.shape} to {width} x {height} pixels")
    if pixels.shape[1:] == (height, width):
        return pixels
    rows, columns = _steps(pixels.shape[1], height), _steps(pixels.shape[2], width)
    total = rows[0] * columns[0]
    kind = _smallest_type(511 * total)  # 2 sum + D where all is white
    small = np.empty((len(pixels), height, width), np.uint8)
    for start in range(0, len(pixels), _AT_ONCE):
        part = pixels[start : start + _AT_ONCE].astype(kind)
        sums = _weighted(_weighted(part, 1, *rows), 2, *columns)
        sums *= kind(2)
        sums += kind(total)
        sums //= kind(2 * total)
        small[start : start + _AT_ONCE] = sums
    return small


def _steps(source: int, target: int) -> tuple[int, int]:
    """Source and target pixels of the shortest piece after which the weights repeat."""
    divisor = math.gcd(source, target)
    return source // divisor, target // divisor


def _smallest_type(largest: int) -> type[np.unsignedinteger]:
    """16 bits where they suffice (all of this project's own sizes): twice as many values an instruction."""
    return np.uint16 if largest < 1 << 16 else np.uint32 if largest < 1 << 32 else np.uint64


def _weighted(values: NDArray[np.unsignedinteger], axis: int, source: int, target: int) -> NDArray[np.unsignedinteger]:
    """Weighted sums along an axis, of which every `source` entries become `target`."""
    shape = list(values.shape)
    pieces = shape[axis] // source
    into = np.zeros([*shape[:axis], pieces, target, *shape[axis + 1 :]], values.dtype)
    sums = np.moveaxis(into, axis + 1, 0)
    parts = np.moveaxis(values.reshape([*shape[:axis], pieces, source, *shape[axis + 1 :]]), axis + 1, 0)
    for d in range(target):
        for i in range(d * source // target, -(-(d + 1) * source // target)):
            weight = min((d + 1) * source, (i + 1) * target) - max(d * source, i * target)
            sums[d] += parts[i] * values.dtype.type(weight)
    return into.reshape([*shape[:axis], pieces * target, *shape[axis + 1 :]])
