"""New objects of the inbox become rows of the frame index, their pixels packed in shards.

Order of writing, so that a kill at any moment leaves nothing half-published: shards and quarantine records (named by
their content, so that a second try finds them), then a segment, then the head by compare-and-swap. What a lost race
leaves behind is never named by anything. It costs about 2.3 ms of CPU a frame, spread over all cores
(benchmarks/ingest.py).
"""

import io
import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import islice
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from tasks import frame_index
from tasks.frame_index import FrameIndex
from tasks.frame_rows import Tally, decide, refuse_forgotten
from tasks.inbox import Landed, NewObject, day_of, land, listed
from tasks.parameters import SplitParameters
from tasks.progress import Progress, silent
from tasks.splits import shares_of
from tasks.store import Store

T = TypeVar("T")
SHARD_FRAMES = 2048  # 39 MB: what one process holds in memory at a time
PUBLISH_FRAMES = 4 * SHARD_FRAMES  # an interrupted ingest has lost at most this much work
COLUMNS = ("kind", "key", "sha256", "pixels_sha256", "device", "session", "label", "split")
_NAMED = 20  # refused objects that the summary names; all of them are in quarantine/
_log = logging.getLogger("f2f.ingest")


class RefusedObject(BaseModel):
    """An object that did not become a frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: str
    reason: str
    message: str


class IngestSummary(BaseModel):
    """What one ingest found. `new` = `indexed` + `duplicates` + all of `refused` + `elsewhere`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    full: bool  # whether every day was listed
    listed: int  # objects in the days that were looked at
    new: int  # of those, not looked at before
    indexed: int  # frames added
    unlabelled: int  # of those, without a label yet
    duplicates: int  # objects with the pixels of a frame that is there already
    relabelled: int  # frames without a label that got one from such a duplicate
    refused: dict[str, int]  # reason -> objects in quarantine; label_conflict and forgotten are two of them
    refused_examples: tuple[RefusedObject, ...]  # the first of them
    elsewhere: int  # deleted, or indexed by another ingest, while this one was looking
    shards: int  # written
    index_revision: int
    seconds: float


def ingest(store: Store, splits: SplitParameters, *, progress: Progress = silent, full: bool = False) -> IngestSummary:
    """Indexes what has landed since the last look (`full`: looks at every day, for stragglers).

    A bad object goes to quarantine and never stops the others. May be killed at any time and run any number of times,
    by several processes at once. Raises `SharesInvalid`, `StoreError`, `IndexDamaged`, `IndexContended`.
    """
    started = time.monotonic()
    shares_of(splits)
    index = frame_index.load(store, COLUMNS)
    found, new, newest = _unseen(store, index, full=full)
    _log.info("%d objects listed, %d of them new", found, len(new))
    tallies: list[Tally] = []
    shards = 0
    pending: list[Landed] = []
    for block in _blocks(_shown(land(store, new), len(new), progress), SHARD_FRAMES):
        packed, written = _pack(store, block, index)
        pending += packed
        shards += written
        if len(pending) >= PUBLISH_FRAMES:
            tallies.append(_publish(store, pending, splits, index))
            pending = []
    # Last, since only now everything up to that day is in; also where nothing was new.
    tallies.append(_publish(store, pending, splits, index, watermark=newest))
    head = frame_index.compact(store)
    refused = [landed for tally in tallies for landed in tally.refused]
    return IngestSummary(
        full=full,
        listed=found,
        new=len(new),
        indexed=sum(tally.indexed for tally in tallies),
        unlabelled=sum(tally.unlabelled for tally in tallies),
        duplicates=sum(tally.duplicates for tally in tallies),
        relabelled=sum(tally.relabelled for tally in tallies),
        refused=dict(sorted(Counter(landed.reason for landed in refused).items())),
        refused_examples=tuple(
            RefusedObject(key=landed.key, reason=landed.reason, message=landed.message) for landed in refused[:_NAMED]
        ),
        elsewhere=sum(tally.elsewhere for tally in tallies),
        shards=shards,
        index_revision=head.revision,
        seconds=round(time.monotonic() - started, 3),
    )


def _unseen(store: Store, index: FrameIndex, *, full: bool) -> tuple[int, list[NewObject], date | None]:
    """How many objects were listed, those that the index does not have, and the newest day among all."""
    known = index.rows["key"].combine_chunks()
    today = datetime.now(UTC).date()
    found, new, newest = 0, [], None
    for infos in _blocks(listed(store, index.head.watermark, full=full), 50_000):
        found += len(infos)
        old = pc.is_in(pa.array([info.key for info in infos], pa.string()), value_set=known).to_pylist()
        new += [NewObject(info.key, info.size) for info, seen in zip(infos, old, strict=True) if not seen]
        days = (day for info in infos if (day := day_of(info.key)))
        # A device whose clock runs years ahead must not move the watermark past everything that lands until then.
        newest = max((day for day in (newest, *days) if day and day <= today), default=None)
    return found, new, newest


def _pack(store: Store, block: Sequence[Landed], index: FrameIndex) -> tuple[list[Landed], int]:
    """Quarantines what was refused, packs the other pixels into a shard; returns the block without pixels."""
    block = refuse_forgotten(index, block)
    _quarantine(store, [landed for landed in block if landed.reason])
    hashes = pa.array([landed.pixels_sha256 for landed in block], pa.string())
    known = pc.is_in(hashes, value_set=index.rows["pixels_sha256"].combine_chunks()).to_pylist()
    rows: dict[str, int] = {}
    pixels: list[NDArray[np.uint8]] = []
    for landed, there in zip(block, known, strict=True):
        if landed.pixels is not None and not there and landed.pixels_sha256 not in rows:
            rows[landed.pixels_sha256] = len(pixels)
            pixels.append(landed.pixels)
    shard = None
    if pixels:
        shard = store.put_blob(_npy(pixels))
    packed = []
    for landed in block:
        row = rows.get(landed.pixels_sha256)
        packed.append(replace(landed, pixels=None, row=row, shard=None if row is None else shard))
    return packed, len({shard} - {None})


def _npy(pixels: Sequence[NDArray[np.uint8]]) -> bytes:
    """What np.save makes of the stacked frames, (n, 120, 160), without holding them three times."""
    sink = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(pixels), *pixels[0].shape)}
    np.lib.format.write_array_header_1_0(sink, header)
    for frame in pixels:
        sink.write(frame.tobytes())
    return sink.getvalue()


def _publish(
    store: Store, landed: list[Landed], splits: SplitParameters, index: FrameIndex, *, watermark: date | None = None
) -> Tally:
    tally = Tally()

    def rows_for(index: FrameIndex) -> pa.Table:
        nonlocal tally
        rows, tally = decide(index, landed, splits)
        _quarantine(store, [item for item in tally.refused if item.reason in ("label_conflict", "forgotten")])
        return frame_index.table_of(rows)

    frame_index.publish(store, rows_for, columns=COLUMNS, watermark=watermark, previous=index)
    return tally


def _quarantine(store: Store, refused: Sequence[Landed]) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")

    def record(item: Landed) -> None:
        text = {"key": item.key, "device": item.device, "reason": item.reason, "message": item.message, "at": now}
        key = f"quarantine/{item.sha256}.json"
        store.create(key, json.dumps(text, indent=1, ensure_ascii=False).encode(), content_type="application/json")

    if refused:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(record, refused))


def _blocks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block


def _shown(landed: Iterable[Landed], total: int, progress: Progress) -> Iterator[Landed]:
    for done, item in enumerate(landed, 1):
        yield item
        if done % 32 == 0 or done == total:
            progress(done, total, "frames")
