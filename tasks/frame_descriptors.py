"""What a picture looks like as a row of numbers, without a trained network: gradient histograms and coarse gray."""

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.checked_frames import CheckedFrames
from tasks.parallel import cores, in_parallel
from tasks.progress import Progress, silent

_SIZE = (40, 32)  # width, height that gradients are taken at
_CELL, _BINS = 8, 9  # pixels and orientations (0..180 degrees) of a histogram
_CLIPPED = 0.2  # largest share of one orientation in a block
_COARSE = (20, 15)  # width, height of the gray part


def descriptors(frames: CheckedFrames, progress: Progress = silent) -> NDArray[np.float32]:
    """float32 (n, 732): histograms of oriented gradients (Dalal and Triggs, CVPR 2005; blocks of 2 x 2 cells), then
    15 x 20 gray cells with the frame's mean taken off, so that exposure does not count."""
    found = np.empty((len(frames), 732), np.float32)

    def one(numbers: NDArray[np.intp]) -> None:
        for number, pixels in zip(numbers, frames.gather(numbers), strict=True):
            small = cv2.resize(pixels, _COARSE, interpolation=cv2.INTER_AREA).astype(np.float32)
            found[number, :432] = _gradients(pixels)
            found[number, 432:] = (small - small.mean()).ravel() * (0.7 / 255)

    for _ in in_parallel(one, frames.blocks(), cores(), progress, "blocks"):
        pass
    return found


def _gradients(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 (432,). OpenCV 5 has no HOGDescriptor any more, and scikit-image's takes 3 ms a frame."""
    small = np.sqrt(cv2.resize(pixels, _SIZE, interpolation=cv2.INTER_AREA).astype(np.float32))
    across, down = cv2.Sobel(small, cv2.CV_32F, 1, 0, ksize=1), cv2.Sobel(small, cv2.CV_32F, 0, 1, ksize=1)
    strength, angle = cv2.cartToPolar(across, down)
    orientation = angle / np.pi * _BINS % _BINS
    lower = np.minimum(orientation.astype(np.intp), _BINS - 1)
    upper_share = orientation - lower
    rows, columns = _SIZE[1] // _CELL, _SIZE[0] // _CELL
    y, x = np.arange(_SIZE[1])[:, None] // _CELL, np.arange(_SIZE[0])[None] // _CELL
    cell, total = (y * columns + x) * _BINS, rows * columns * _BINS
    counts = np.bincount((cell + lower).ravel(), (strength * (1 - upper_share)).ravel(), total)
    counts += np.bincount((cell + (lower + 1) % _BINS).ravel(), (strength * upper_share).ravel(), total)
    cells = counts.reshape(rows, columns, _BINS)
    blocks = np.concatenate([cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]], axis=2)
    blocks /= np.sqrt((blocks**2).sum(2, keepdims=True) + 1e-2)
    blocks = np.minimum(blocks, _CLIPPED)
    blocks /= np.sqrt((blocks**2).sum(2, keepdims=True) + 1e-4)
    found: NDArray[np.float32] = blocks.astype(np.float32).ravel()
    return found
