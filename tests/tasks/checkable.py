"""Frames for tests of the checks: generated scenes as `CheckedFrames`, without a bucket and without files."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.checked_frames import SCHEMA, CheckedFrames
from tests.tasks.pictures import pixels_of, scene


def scenes(count: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 (count, 120, 160): pictures of different scenes, with noise and sharp edges."""
    dice = np.random.default_rng(seed)
    found = np.stack([pixels_of(scene(1000 * seed + number)) for number in range(count)]).astype(np.float64)
    for pixels in found:
        for _ in range(6):
            top, left = dice.integers(0, 100), dice.integers(0, 130)
            pixels[top : top + dice.integers(8, 40), left : left + dice.integers(8, 40)] += dice.uniform(-60, 60)
    noisy: NDArray[np.uint8] = (found + dice.normal(0, 2, found.shape)).clip(0, 255).astype(np.uint8)
    return noisy


def checkable(pixels: NDArray[np.uint8], **columns: Sequence[Any]) -> CheckedFrames:
    """Frames with these pixels. Unless given: keys 0000.png ..., one device `cam`, a session a frame, classes in turn,
    no split, no time."""
    count = len(pixels)
    rows: dict[str, Sequence[Any]] = {
        "key": [f"{number:04}.png" for number in range(count)],
        "sha256": [hashlib.sha256(b"file" + frame.tobytes()).hexdigest() for frame in pixels],
        "pixels_sha256": [hashlib.sha256(frame.tobytes()).hexdigest() for frame in pixels],
        "device": ["cam"] * count,
        "session": [f"s{number}" for number in range(count)],
        "captured_at": [None] * count,
        "label": [("no_person", "person")[number % 2] for number in range(count)],
        "split": [None] * count,
        "width": [160] * count,
        "height": [120] * count,
        **columns,
    }
    return CheckedFrames(pa.table({name: pa.array(rows[name], SCHEMA.field(name).type) for name in SCHEMA.names}),
                         lambda indices: pixels[indices])  # fmt: skip
