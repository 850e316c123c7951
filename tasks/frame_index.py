"""The frame index: what is in the bucket's inbox, append-only, so that ingest costs what is new.

`index/head.json` names immutable Parquet segments in order and moves by compare-and-swap; nothing is in the index
before the head names it. A row is one of five kinds:

    frame      a frame with its normalised pixels packed in a shard
    duplicate  another object with the pixels of a frame that was already there
    refused    an object that is no frame; `reason` is a code, the sentence is in quarantine/<sha256>.json
    label      a label given later to the pixels of a frame; the last one wins
    forgotten  an object that was taken out (tasks/forget.py): a frame with its pixels is none, wherever its row is.
               Without sha256 and pixels_sha256 it closes a whole session
"""

import io
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.errors import PipelineError
from tasks.lineage import CLASSES, Label, Sha256
from tasks.store import ObjectMissing, Store

HEAD = "index/head.json"
SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        ("sha256", pa.string()),
        ("pixels_sha256", pa.string()),
        ("device", pa.string()),
        ("session", pa.string()),
        ("captured_at", pa.timestamp("us", "UTC")),
        ("label", pa.string()),
        ("label_source", pa.string()),
        ("split", pa.string()),
        ("split_source", pa.string()),
        ("brightness", pa.float64()),
        ("contrast", pa.float64()),
        ("shard", pa.string()),
        ("row", pa.int32()),
        ("reason", pa.string()),
        ("indexed_at", pa.timestamp("us", "UTC")),
    ]
)
SMALL_SEGMENT = 4096  # rows; below it a segment is merged whenever there are enough of them
MERGE_FROM = 16  # segments in a row that make a merge worth while
ATTEMPTS = 200  # lost races in a row before giving up; in each of them somebody else got on
ALWAYS = ("forgotten",)  # kinds of rows that hold for an earlier state of the index as well
_log = logging.getLogger("f2f.index")


class IndexDamaged(PipelineError):
    """The index cannot be read."""


class IndexContended(PipelineError):
    """Too many lost races in a row."""


class IndexShorter(PipelineError):
    """The index has fewer rows than it had."""


class LabelsRefused(PipelineError):
    """Labels for frames that are not there, or labels that are none."""


class Segment(BaseModel):
    """One immutable Parquet object."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: str
    sha256: Sha256
    rows: int


class Head(BaseModel):
    """What the index consists of. `watermark`: the last arrival day that was listed to its end."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    revision: int = 0  # only grows
    watermark: date | None = None
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True)
class FrameIndex:
    """One revision of the index. `rows` has the asked-for columns of `SCHEMA`, oldest first."""

    head: Head
    etag: str | None
    rows: pa.Table

    @cached_property
    def tombstones(self) -> pa.Table:
        """The rows that say what was forgotten. Needs the column kind."""
        return self.rows.filter(pc.equal(self.rows["kind"], "forgotten"))

    @cached_property
    def frames(self) -> pa.Table:
        """The frames that were not forgotten, each with the label that holds now (null where it has none).

        Needs the columns kind, pixels_sha256 and label; sets label_source where that was loaded.
        """
        frames = self.rows.filter(pc.equal(self.rows["kind"], "frame"))
        if self.tombstones.num_rows:
            gone = self.tombstones["pixels_sha256"].combine_chunks().drop_null()
            frames = frames.filter(pc.invert(pc.is_in(frames["pixels_sha256"], value_set=gone)))
        given = self.rows.filter(pc.equal(self.rows["kind"], "label"))
        if not given.num_rows:
            return frames
        numbered = given.select(["pixels_sha256"]).append_column("at", pa.array(range(given.num_rows)))
        last = given.take(numbered.group_by("pixels_sha256").aggregate([("at", "max")])["at_max"])
        at = pc.index_in(frames["pixels_sha256"], value_set=last["pixels_sha256"].combine_chunks())
        found = pc.is_valid(at)
        for name in ("label", "label_source"):
            if name in frames.column_names:
                newer = last[name].combine_chunks().take(at)
                column = frames.column_names.index(name)
                frames = frames.set_column(column, SCHEMA.field(name), pc.if_else(found, newer, frames[name]))
        return frames

    def first(self, rows: int) -> "FrameIndex":
        """The index as it was at its first `rows` rows (0: all), without the frames that were forgotten since.

        Frames and labels that came later are not in it; a row of the kinds `ALWAYS` counts wherever it is, so that
        what was taken out is never in a data set again. Raises `IndexShorter`.
        """
        if rows > self.rows.num_rows:
            raise IndexShorter(
                f"the frame index has {self.rows.num_rows:,} rows, and its first {rows:,} were asked for: "
                "it was made anew since they were counted",
                next_step="take all rows: index_rows=0",
            )
        if not rows:
            return self
        later = self.rows.slice(rows)
        always = later.filter(pc.is_in(later["kind"], value_set=pa.array(ALWAYS)))
        return FrameIndex(self.head, self.etag, pa.concat_tables([self.rows.slice(0, rows), always]))


def load(store: Store, columns: Sequence[str] | None = None, *, previous: FrameIndex | None = None) -> FrameIndex:
    """The index as it is now (empty where there is none); segments come from the local cache where it has them.

    `columns` limits what is read: all take about 500 bytes a frame. `previous`, loaded with the same columns, is given
    back where it still holds. Raises `IndexDamaged`.
    """
    head, etag = _read_head(store)
    if previous is not None and previous.etag == etag:
        return previous
    tables = [_read_segment(store, segment, columns) for segment in head.segments]
    schema = SCHEMA if columns is None else pa.schema([SCHEMA.field(name) for name in columns])
    return FrameIndex(head, etag, pa.concat_tables(tables) if tables else schema.empty_table())


def publish(
    store: Store,
    rows_for: Callable[[FrameIndex], pa.Table],
    *,
    columns: Sequence[str] | None = None,
    watermark: date | None = None,
    previous: FrameIndex | None = None,
) -> Head:
    """Appends what `rows_for` returns for the index as it is now; returns the head that holds it.

    `rows_for` (given an index with `columns`) is called again on the newer index after each lost race: it must leave
    out what has been indexed meanwhile. The watermark never moves back. `previous` as in `load`. Raises
    `IndexContended`.
    """
    for attempt in range(ATTEMPTS):
        index = load(store, columns, previous=previous)
        rows = rows_for(index)
        moved = max((day for day in (index.head.watermark, watermark) if day), default=None)
        if not rows.num_rows and moved == index.head.watermark:
            return index.head
        added = (_write_segment(store, rows),) if rows.num_rows else ()
        head = Head(revision=index.head.revision + 1, watermark=moved, segments=index.head.segments + added)
        if store.swap(HEAD, head.model_dump_json(indent=1).encode(), index.etag):
            return head
        _back_off(attempt)
    raise _contended(store)


def compact(store: Store) -> Head:
    """Merges the newest segments into one where there are many small ones; returns the head.

    The rows and their order stay as they are. Segments that are merged stay in the bucket for whoever still reads them.
    A segment is rewritten only when what came after it is at least half its size, so a row is rewritten a number of
    times that grows with the logarithm of the index. Raises `IndexContended`.
    """
    head, etag = _read_head(store)
    run = _worth_merging(head.segments)
    if not run:
        return head
    merged = _write_segment(store, pa.concat_tables([_read_segment(store, segment, None) for segment in run]))
    for attempt in range(ATTEMPTS):
        at = next((i for i in range(len(head.segments)) if head.segments[i : i + len(run)] == run), None)
        if at is None:  # somebody else merged them
            return head
        segments = (*head.segments[:at], merged, *head.segments[at + len(run) :])
        newer = Head(revision=head.revision + 1, watermark=head.watermark, segments=segments)
        if store.swap(HEAD, newer.model_dump_json(indent=1).encode(), etag):
            _log.info("merged %d segments of the frame index into one of %d rows", len(run), merged.rows)
            return newer
        _back_off(attempt)
        head, etag = _read_head(store)
    raise _contended(store)


def set_labels(store: Store, labels: Mapping[str, Label | None]) -> int:
    """Gives frames a label (None: takes it away); returns how many frames have another label than before.

    `labels` is keyed by an object key or by `pixels_sha256`. The frame, its split and its session stay.
    Raises `LabelsRefused` and changes nothing where one name is unknown or one label is not allowed.
    """
    wrong = sorted({str(label) for label in labels.values() if label is not None and label not in CLASSES})
    if wrong:
        raise LabelsRefused(f"no such label: {', '.join(wrong)}", next_step=f"allowed are {' and '.join(CLASSES)}")
    changed = 0

    def rows_for(index: FrameIndex) -> pa.Table:
        nonlocal changed
        names = pa.array(list(labels), pa.string())
        known = index.rows.filter(pc.is_in(index.rows["kind"], value_set=pa.array(["frame", "duplicate"])))
        by_key = pc.index_in(names, value_set=known["key"].combine_chunks())
        frames = index.frames
        pixels = pc.coalesce(known["pixels_sha256"].combine_chunks().take(by_key), names)
        at = pc.index_in(pixels, value_set=frames["pixels_sha256"].combine_chunks())
        unknown = names.filter(pc.is_null(at)).to_pylist()
        if unknown:
            raise LabelsRefused(
                f"{len(unknown)} of {len(labels)} names are no frame of the index, e.g. {', '.join(unknown[:3])}",
                next_step="name frames by their key below frames/ or by pixels_sha256; run `f2f ingest` for new frames",
            )
        before = frames.take(at).select(["key", "pixels_sha256", "label"]).to_pylist()
        changes = [
            {"kind": "label", **frame, "label": label, "label_source": "index" if label else None}
            for frame, label in zip(before, labels.values(), strict=True)
            if frame["label"] != label
        ]
        changed = len(changes)
        return table_of(changes)

    publish(store, rows_for, columns=["kind", "key", "pixels_sha256", "label"])
    return changed


def table_of(rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Rows (what is missing is null) as a table with `SCHEMA`, stamped with the time."""
    now = datetime.now(UTC)
    return pa.Table.from_pylist([{"indexed_at": now, **row} for row in rows], schema=SCHEMA)


def _read_head(store: Store) -> tuple[Head, str | None]:
    try:
        found = store.get_object(HEAD)
    except ObjectMissing:
        return Head(), None
    try:
        return Head.model_validate_json(found.data), found.etag
    except ValidationError as error:
        raise IndexDamaged(
            f"{HEAD} is not a frame index: {error.errors()[0]['msg']}",
            next_step=f"restore an earlier version of {HEAD}; or delete it and run `f2f ingest --full`, "
            "which deals the sessions anew, and forget again what was forgotten",
        ) from error


def _read_segment(store: Store, segment: Segment, columns: Sequence[str] | None) -> pa.Table:
    try:
        path = store.cached(segment.key, segment.sha256)
        table = pq.read_table(path, columns=None if columns is None else list(columns))
    except (ObjectMissing, pa.ArrowInvalid) as error:
        raise IndexDamaged(
            f"segment {segment.key} of the frame index cannot be read: {error}",
            next_step="restore it from a backup; or delete index/head.json, run `f2f ingest --full`, and forget again "
            "what was forgotten",
        ) from error
    return table


def _write_segment(store: Store, rows: pa.Table) -> Segment:
    sink = io.BytesIO()
    hashes = {"key", "sha256", "pixels_sha256"}  # all different: a dictionary of them is only a detour
    words = [name for name in SCHEMA.names if name not in hashes]
    pq.write_table(rows.select(SCHEMA.names).cast(SCHEMA), sink, compression="zstd", use_dictionary=words)
    digest = store.put_named("index/segments/{digest}.parquet", sink.getvalue())
    return Segment(key=f"index/segments/{digest}.parquet", sha256=digest, rows=rows.num_rows)


def _worth_merging(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    run = 0
    rows = 0
    for segment in reversed(segments):
        if run and segment.rows > max(2 * rows, SMALL_SEGMENT):
            break
        run, rows = run + 1, rows + segment.rows
    return segments[-run:] if run >= MERGE_FROM else ()


def _back_off(attempt: int) -> None:
    time.sleep(random.uniform(0, min(1.0, 0.01 * 2**attempt)))  # noqa: S311 - jitter, no secret


def _contended(store: Store) -> IndexContended:
    return IndexContended(
        f"{ATTEMPTS} other writers in a row moved {HEAD} in bucket {store.where.bucket} first",
        next_step="run fewer ingests at once; what this one fetched is found again by the next",
    )
