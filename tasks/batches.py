"""Frames of one split, read from the local cache of the packed shards: memory-mapped, so a split may exceed memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.resize import resized as resized


@dataclass(frozen=True)
class FrameSet:
    """Frames of one split in a fixed order.

    `labels`: uint8 (n,), 1 is person. `pixels_sha256`, `keys`, `devices`, `sessions`: str (n,).
    `shard` indexes `shards` and `row` the frame inside it; each shard is a .npy of uint8 (m, 120, 160).
    """

    shards: tuple[Path, ...]
    shard: NDArray[np.int32]
    row: NDArray[np.int32]
    labels: NDArray[np.uint8]
    pixels_sha256: Sequence[str]
    keys: Sequence[str]
    devices: Sequence[str]
    sessions: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, indices: NDArray[np.integer] | None = None) -> NDArray[np.uint8]:
        """Pixels of the frames at `indices` (all when None): uint8 (k, 120, 160), 0..255, in the order asked for."""
        if indices is None:
            indices = np.arange(len(self))
        pixels = np.empty((len(indices), 120, 160), np.uint8)
        shard, row = self.shard[indices], self.row[indices]
        for number in np.unique(shard):
            here = np.flatnonzero(shard == number)
            pixels[here] = _mapped(self.shards[number])[row[here]]
        return pixels

    def take(self, indices: NDArray[np.integer]) -> "FrameSet":
        """The frames at `indices`, in that order."""
        return FrameSet(
            self.shards,
            self.shard[indices],
            self.row[indices],
            self.labels[indices],
            [self.pixels_sha256[i] for i in indices],
            [self.keys[i] for i in indices],
            [self.devices[i] for i in indices],
            [self.sessions[i] for i in indices],
        )


@lru_cache(maxsize=256)
def _mapped(path: Path) -> NDArray[np.uint8]:
    """A shard, mapped. Each one holds a file descriptor and years of small ingests make thousands of shards."""
    return np.load(path, mmap_mode="r").view(np.ndarray)
