"""Forgetting: a frame, or all that came from a device or in a session, is in no later data set.

A row of kind `forgotten` in the frame index, a tombstone, for each object: the frame's own, those with the same pixels,
those that were refused. Frames with a tombstone are left out wherever the index is read, at any earlier number of rows
as well, and the same picture that lands again is refused (tasks/frame_rows.py). A session is closed for good; a device
is not: what it sends later is taken, and `f2f device remove` ends its right to send. What was made before stays as it
is, and its releases are listed; erasing the pictures themselves is tasks/erase.py.
"""

from collections import Counter
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from tasks import channels, frame_index
from tasks.frame_digests import WIDTH
from tasks.frame_index import FrameIndex
from tasks.frame_lineage import NoSuchFrame, releases_with
from tasks.release_records import Release
from tasks.releases import releases
from tasks.store import Store

COLUMNS = ("kind", "key", "sha256", "pixels_sha256", "device", "session", "label", "split")
OBJECTS = ("frame", "duplicate", "refused")  # kinds of rows that stand for an object of the inbox
FEW = 4  # frames up to which each release is asked for them by range requests


class Selection(NamedTuple):
    """What is to be forgotten. A frame's name is the SHA-256 of its pixels, or of the bytes of one of its objects."""

    by: Literal["frame", "device", "session"]
    name: str

    def __str__(self) -> str:
        return f"{self.by} {self.name[:16] if self.by == 'frame' else self.name}"


class HeldBy(BaseModel):
    """A release whose data set has at least one of the frames."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    release: int
    channels: tuple[str, ...]  # that hold this release now


class Affected(BaseModel):
    """What a selection is about."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    frames: int
    already: int  # of those, forgotten before
    objects: int  # of the inbox: the frames' own, others with the same pixels or bytes, refused ones
    devices: dict[str, int]  # -> objects
    sessions: dict[str, int]  # -> frames
    splits: dict[str, int]  # -> frames
    releases: tuple[HeldBy, ...]


class Forgotten(NamedTuple):
    """What `erase` needs to know about a selection."""

    pixels: list[str]  # pixels_sha256
    keys: list[str]  # of the objects, whether they are still there or not


def look(store: Store, selection: Selection) -> Affected:
    """What forgetting would take out; changes nothing. Raises `NoSuchFrame` for what the index does not know."""
    index = frame_index.load(store, COLUMNS)
    rows = _objects(index, selection)
    frames = rows.filter(pc.equal(rows["kind"], "frame"))
    pixels = _values(frames["pixels_sha256"])
    still = pc.is_in(pa.array(pixels, pa.string()), value_set=index.frames["pixels_sha256"].combine_chunks())
    return Affected(
        frames=len(pixels),
        already=len(pixels) - still.true_count,
        objects=rows.num_rows,
        devices=_counts(rows["device"]),
        sessions=_counts(frames["session"]),
        splits=_counts(frames["split"]),
        releases=_holding(store, sorted(pixels)),
    )


def forget(store: Store, selection: Selection, reason: str) -> Forgotten:
    """Writes the tombstones that are not there yet.

    Beside an ingest: what that one publishes later is refused where it is the same picture, or of the session.
    Raises `NoSuchFrame`, `IndexContended`.
    """
    found = Forgotten([], [])

    def rows_for(index: FrameIndex) -> pa.Table:
        nonlocal found
        rows = _objects(index, selection)
        found = Forgotten(_values(rows["pixels_sha256"]), rows["key"].to_pylist())
        there = set(index.tombstones["key"].to_pylist())
        new: list[dict[str, object]] = [
            {"kind": "forgotten", **row, "reason": reason or None}
            for row in rows.select(["key", "sha256", "pixels_sha256", "device", "session"]).to_pylist()
            if row["key"] not in there
        ]
        if selection.by == "session" and not is_closed(index, selection.name):
            new.append({"kind": "forgotten", "key": "", "session": selection.name, "reason": reason or None})
        return frame_index.table_of(new)

    frame_index.publish(store, rows_for, columns=COLUMNS)
    return found


def is_closed(index: FrameIndex, session: str) -> bool:
    """Whether later frames of a session are refused. Needs the columns kind, sha256, pixels_sha256 and session."""
    gone = index.tombstones
    closing = pc.and_(pc.is_null(gone["sha256"]), pc.is_null(gone["pixels_sha256"]))
    return session in gone.filter(closing)["session"].to_pylist()


def _objects(index: FrameIndex, selection: Selection) -> pa.Table:
    """The rows of all objects that a selection is about."""
    rows = index.rows.filter(pc.is_in(index.rows["kind"], value_set=pa.array(OBJECTS)))
    if selection.by == "frame":
        of = pc.or_(_equal(rows["sha256"], selection.name), _equal(rows["pixels_sha256"], selection.name))
    else:
        of = _equal(rows[selection.by], selection.name)
    chosen = rows.filter(of)
    if not chosen.num_rows and not (selection.by == "session" and is_closed(index, selection.name)):
        raise NoSuchFrame(
            f"the frame index knows no {selection}",
            next_step="`f2f ingest` indexes what landed; a frame is named by the SHA-256 of its file or of its pixels",
        )
    # A picture that came from there is the same picture where it came from elsewhere. One that was refused before it
    # was decoded is known by its bytes alone.
    of = pc.or_(of, _among(rows["pixels_sha256"], _values(chosen["pixels_sha256"])))
    return rows.filter(pc.or_(of, _among(rows["sha256"], _values(rows.filter(of)["sha256"]))))


def _among(column: pa.ChunkedArray, values: list[str]) -> pa.ChunkedArray:
    return pc.is_in(column, value_set=pa.array(values, pa.string()))


def _equal(column: pa.ChunkedArray, value: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(column, value), False)


def _values(column: pa.ChunkedArray) -> list[str]:
    return list(pc.unique(column.drop_null()).to_pylist())


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return dict(sorted(Counter(name for name in column.to_pylist() if name).items()))


def _holding(store: Store, pixels: list[str]) -> tuple[HeldBy, ...]:
    """The releases whose data set has one of the frames, in order."""
    if len(pixels) <= FEW:
        found = {release.number for one in pixels for release in releases_with(store, one)}
    else:
        wanted = np.frombuffer(b"".join(bytes.fromhex(one)[:WIDTH] for one in pixels), f"S{WIDTH}")
        found = {release.number for release in releases(store) if _any_of(store, release, wanted)}
    held = {name: channel.release for name in channels.names(store) if (channel := channels.current(store, name))}
    return tuple(
        HeldBy(release=number, channels=tuple(sorted(name for name, of in held.items() if of == number)))
        for number in sorted(found)
    )


def _any_of(store: Store, release: Release, wanted: NDArray[np.bytes_]) -> bool:
    artefact = release.artefacts["frames.digests"]
    data = store.cached(artefact.key, artefact.sha256).read_bytes()
    return bool(np.isin(wanted, np.frombuffer(data, f"S{WIDTH}")).any())
