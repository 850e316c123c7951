"""Frames as the checks look at them: a table with a row a frame, pixels by number, and what every check needs of them.

From a data set version, whose pixels stay in memory-mapped shards, or from a folder of labelled images, which are
decoded once into a temporary file. Frames of a folder have no split unless the folder has.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks import frame_index
from tasks.frames import HEIGHT, WIDTH, FramePixels, FrameRefused, decode, read_file
from tasks.labelled_folder import LabelledFile, LabelledFolder
from tasks.lineage import DatasetVersion
from tasks.parallel import cores, in_parallel
from tasks.progress import Progress, silent
from tasks.store import Store

_INDEXED = ("key", "sha256", "pixels_sha256", "device", "session", "captured_at", "label", "split")
SCHEMA = pa.schema(
    [
        *(frame_index.SCHEMA.field(name) for name in _INDEXED),
        ("width", pa.int32()),  # of the file's picture, where the frames are from files
        ("height", pa.int32()),
    ]
)
BLOCK = 512  # frames that a thread holds at a time: 10 MB
SMALL = (30, 40)  # height, width of a thumbnail: each cell is the mean of 4 x 4 pixels
_DARK, _BRIGHT = 4, 251  # gray levels up to and from which a pixel holds nothing any more

Gather = Callable[[NDArray[np.integer]], NDArray[np.uint8]]


class Figures(NamedTuple):
    """Plain statistics of every frame, float32 (n,) each."""

    brightness: NDArray[np.float32]  # mean gray level, 0..255
    contrast: NDArray[np.float32]  # standard deviation of the gray levels, 0..127.5
    dark: NDArray[np.float32]  # share of pixels at gray level 4 or below, 0..1
    bright: NDArray[np.float32]  # share of pixels at gray level 251 or above, 0..1
    sharpness: NDArray[np.float32]  # variance of the Laplacian (3 x 3), gray levels squared


class RefusedFile(NamedTuple):
    """A file that is no frame."""

    name: str
    reason: str
    message: str


class CheckedFrames:
    """`rows`: the columns of `SCHEMA`, n rows; label, split, captured_at, width and height may be null.

    `gather(indices)`: uint8 (k, 120, 160) in the order asked for; safe in several threads.
    """

    def __init__(self, rows: pa.Table, gather: Gather, refused: Sequence[RefusedFile] = ()) -> None:
        self.rows = rows
        self.gather = gather
        self.refused = tuple(refused)
        self._looked: tuple[NDArray[np.uint8], Figures] | None = None

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def column(self, name: str) -> list[Any]:
        """A column as a list."""
        values: list[Any] = self.rows[name].to_pylist()
        return values

    def blocks(self) -> list[NDArray[np.intp]]:
        """The numbers of all frames, in order, `BLOCK` at a time."""
        return [np.arange(start, min(start + BLOCK, len(self))) for start in range(0, len(self), BLOCK)]

    @property
    def thumbnails(self) -> NDArray[np.uint8]:
        """uint8 (n, 30, 40): every frame reduced with an area filter."""
        return self.look()[0]

    @property
    def figures(self) -> Figures:
        """`Figures` of every frame."""
        return self.look()[1]

    def look(self, progress: Progress = silent) -> tuple[NDArray[np.uint8], Figures]:
        """Thumbnails and figures, made in one pass over the pixels the first time that somebody asks."""
        if self._looked is None:
            small = np.empty((len(self), *SMALL), np.uint8)
            table = np.empty((len(Figures._fields), len(self)), np.float32)

            def one(numbers: NDArray[np.intp]) -> None:
                for number, pixels in zip(numbers, self.gather(numbers), strict=True):
                    small[number], table[:, number] = _seen(pixels)

            for _ in in_parallel(one, self.blocks(), cores(), progress, "blocks"):
                pass
            self._looked = small, Figures(*table)
        return self._looked


def _seen(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], list[float]]:
    """Thumbnail and figures of a frame."""
    mean, deviation = cv2.meanStdDev(pixels)
    counts = np.bincount(pixels.ravel(), minlength=256)
    laplacian = cv2.meanStdDev(cv2.Laplacian(pixels, cv2.CV_16S))[1]
    dark, bright = counts[: _DARK + 1].sum() / pixels.size, counts[_BRIGHT:].sum() / pixels.size
    small = cv2.resize(pixels, SMALL[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
    return small, [mean[0, 0], deviation[0, 0], dark, bright, laplacian[0, 0] ** 2]


def of_dataset(store: Store, version: DatasetVersion) -> CheckedFrames:
    """The frames of a stored data set, without those that were erased since. Shards are fetched where not cached."""
    from tasks.dataset import load_manifest
    from tasks.erased_blobs import Shards

    table = load_manifest(store, version)
    shards = Shards(store)
    with ThreadPoolExecutor(8) as threads:
        names = sorted(set(table["shard"].to_pylist()))
        opened = dict(zip(names, threads.map(shards.path, names), strict=True))
    table = table.filter(pa.array(shards.there(table["shard"], table["row"].to_numpy())))
    mapped = {name: np.load(path, mmap_mode="r").view(np.ndarray) for name, path in opened.items()}
    shard = np.array(table["shard"].to_pylist(), object)
    row = table["row"].to_numpy()

    def gather(indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        pixels = np.empty((len(indices), HEIGHT, WIDTH), np.uint8)
        wanted = shard[indices]
        for name in set(wanted):
            here = np.flatnonzero(wanted == name)
            pixels[here] = mapped[name][row[indices[here]]]
        return pixels

    columns = {name: table[name] if name in table.column_names else pa.nulls(len(table)) for name in SCHEMA.names}
    return CheckedFrames(pa.table(columns).cast(SCHEMA), gather)


@contextmanager
def of_folder(found: LabelledFolder, progress: Progress = silent) -> Iterator[CheckedFrames]:
    """The frames in a folder's files (as `labelled_folder` or `from_manifest` list them), while the block lasts.

    Sessions are those that an import would give (tasks/camera_sessions.py). Files that are no frames are in `refused`.
    """
    from tasks.camera_sessions import Candidate, choose, look_of

    kept: list[dict[str, object]] = []
    refused = [RefusedFile(row.name, row.reason, row.message) for row in found.refused_rows]
    candidates: list[Candidate] = []
    with tempfile.TemporaryFile(prefix="f2f-frames-") as file:
        for one, frame in zip(found.files, in_parallel(_read, found.files, cores(), progress, "files"), strict=True):
            if isinstance(frame, FrameRefused):
                refused.append(RefusedFile(one.name, frame.reason, frame.message))
                continue
            sha256, picture = frame
            file.write(picture.pixels.tobytes())
            captured = one.captured_at or picture.captured_at
            kept.append(
                {
                    "key": one.name,
                    "sha256": sha256,
                    "pixels_sha256": picture.pixels_sha256,
                    "device": one.device,
                    "captured_at": captured,
                    "label": one.label,
                    "split": one.split,
                    "width": picture.width,
                    "height": picture.height,
                }
            )
            candidates.append(
                Candidate(sha256, one.device, one.split, one.session, one.folder, captured, look_of(picture.pixels))
            )
        for row, chosen in zip(kept, choose(candidates), strict=True):
            row["session"] = chosen.session
        file.flush()
        shape = (len(kept), HEIGHT, WIDTH)
        pixels = np.memmap(file, np.uint8, "r", shape=shape).view(np.ndarray) if kept else np.empty(shape, np.uint8)
        yield CheckedFrames(pa.Table.from_pylist(kept, SCHEMA), lambda indices: pixels[indices], refused)


def _read(one: LabelledFile) -> tuple[str, FramePixels] | FrameRefused:
    try:
        data = read_file(one.path)
        return hashlib.sha256(data).hexdigest(), decode(data, one.name)
    except FrameRefused as refusal:
        return refusal
