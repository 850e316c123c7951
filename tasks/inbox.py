"""The inbox below `frames/`: which objects there are, and what each of them holds.

A key is `frames/<arrival day>/<device>/<session>/<name>`; the label and the rest are metadata of the object. Nothing
here writes: an object is read once, decoded, and comes back as `Landed`, refused ones with a reason.
"""

import hashlib
import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from types import FrameType
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.errors import PipelineError
from tasks.frame_formats import MAX_BYTES
from tasks.frames import FrameRefused, decode
from tasks.lineage import CLASSES, SPLITS
from tasks.settings import Settings
from tasks.store import ObjectInfo, ObjectMissing, Store

T = TypeVar("T")
R = TypeVar("R")
INBOX = "frames/"
LOOK_BACK = timedelta(days=2)  # frames of a day may still arrive while the next one is listed, clocks differ
REASONS = {  # besides those of tasks/frame_formats.py
    "bad_key": "the key is not frames/<day>/<device>/<session>/<name>",
    "bad_metadata": "label, split or captured-at in the object's metadata is not one of the allowed values",
    "label_conflict": "a frame with the same pixels is there already, under another label",
    "forgotten": "the picture, or the whole session, was taken out with `f2f forget`",
}
BATCH = 64  # objects that a worker process takes at once
PROCESSES_FROM = 2048  # new objects from which starting processes (1 to 3 s) pays
THREADS = 8  # requests at once, per process: hides the latency of a store that is far away
_HEAVY = 4 * 1024 * 1024  # bytes from which objects are fetched one by one per process, so that memory stays bounded
_log = logging.getLogger("f2f.inbox")


class NewObject(NamedTuple):
    """What the listing says of an object that nobody has looked at."""

    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Landed:
    """One object of the inbox: a frame, or refused with `reason` and `message`. `pixels`: uint8 (120, 160)."""

    key: str
    sha256: str = ""
    device: str = ""
    session: str = ""
    pixels: NDArray[np.uint8] | None = field(default=None, compare=False)
    pixels_sha256: str = ""
    brightness: float = 0.0
    contrast: float = 0.0
    captured_at: datetime | None = None
    label: str | None = None
    split: str | None = None
    reason: str = ""
    message: str = ""
    gone: bool = False  # deleted between listing and reading: leaves no trace
    shard: str | None = None  # where the pixels were packed
    row: int | None = None

    def refused(self, reason: str, message: str) -> "Landed":
        """The same object as one that is no frame."""
        return replace(self, reason=reason, message=message, pixels=None)


def listed(store: Store, watermark: date | None, *, full: bool = False) -> Iterator[ObjectInfo]:
    """The objects of the inbox, of all days where `full`, else from the watermark minus two days on.

    Folders that are no day are always listed: what is wrong there must be said once.
    """
    if full or watermark is None:
        found = store.list(INBOX)
    else:
        first = watermark - LOOK_BACK
        folders = [name for name in store.list_folders(INBOX) if (day := day_of(name)) is None or day >= first]
        found = (info for name in folders for info in store.list(name))
    return (info for info in found if not info.key.endswith("/"))  # consoles make "folders" of no bytes


def day_of(key: str) -> date | None:
    """The arrival day in a key or folder below `frames/`; None where there is none."""
    parts = key.split("/")
    try:
        day = date.fromisoformat(parts[1])
    except (IndexError, ValueError):
        return None
    return day if day.isoformat() == parts[1] else None  # 20261122 is a date to Python, and no folder of ours


def read(store: Store, item: NewObject, lock: AbstractContextManager[object] = nullcontext()) -> Landed:  # noqa: B008
    """Fetches and decodes one object (one request). `lock` serialises decoding and large objects."""
    parts = item.key.split("/")
    if len(parts) != 5 or day_of(item.key) is None or not all(parts):
        return Landed(item.key, sha256=_stand_in(item)).refused(
            "bad_key", f"{item.key!r} is not frames/<YYYY-MM-DD>/<device>/<session>/<name>"
        )
    place = Landed(item.key, device=parts[2], session=parts[3])
    if item.size > MAX_BYTES:
        return replace(place, sha256=_stand_in(item)).refused(
            "too_many_bytes", f"{item.size:,} bytes; at most {MAX_BYTES:,}"
        )
    try:
        if item.size > _HEAVY:
            with lock:
                return _decoded(place, *store.get_object(item.key)[::2])
        data, _, metadata = store.get_object(item.key)
    except ObjectMissing:
        return replace(place, gone=True)
    with lock:
        return _decoded(place, data, metadata)


def land(store: Store, items: Sequence[NewObject], *, processes: int | None = None) -> Iterator[Landed]:
    """Reads and decodes objects in parallel; yields them in the order asked for, with a bounded number on the way.

    From `PROCESSES_FROM` objects on in worker processes (`processes`: how many, 0 for none; default one a core, at
    most 8), since signing requests in Python keeps one core busy. Raises `StoreError` where the store fails.
    """
    if processes is None:
        processes = min(len(os.sched_getaffinity(0)), 8) if len(items) >= PROCESSES_FROM else 0
    if processes < 2:
        lock = threading.Lock()
        with ThreadPoolExecutor(THREADS, "f2f-inbox") as threads:
            yield from _windowed(threads, lambda item: read(store, item, lock), items, 8 * THREADS)
        return
    batches = [items[i : i + BATCH] for i in range(0, len(items), BATCH)]
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(store.where,)
    )
    try:
        for batch in _windowed(pool, _read_batch, batches, 8 * processes):
            yield from batch
    except BrokenProcessPool as error:
        raise PipelineError(
            "a process that decodes frames ended by itself (out of memory, or killed)",
            next_step="run the same command again: what was indexed stays; free memory if it happens again",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _windowed(executor: Executor, function: Callable[[T], R], items: Iterable[T], window: int) -> Iterator[R]:
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            if len(pending) >= window:
                yield pending.popleft().result()
            pending.append(_submit(executor, function, item))
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def _submit(executor: Executor, function: Callable[[T], R], item: T) -> Future[R]:
    """Submits with Ctrl-C held back: worker processes start in here, inherit the block, and leave it to their parent.

    The parent's own handler waits as well: the signal may reach another of its threads, and Python would raise here,
    half-way through telling a new worker what it is.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        return executor.submit(function, item)
    held: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: held.append((number, frame)))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return executor.submit(function, item)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
        if held:
            handler(*held[0])


def _decoded(place: Landed, data: bytes, metadata: dict[str, str]) -> Landed:
    found = replace(place, sha256=hashlib.sha256(data).hexdigest())
    label, split = metadata.get("label"), metadata.get("split")
    if label is not None and label not in CLASSES:
        return found.refused("bad_metadata", f"label {label!r}; allowed are {', '.join(CLASSES)}, or none yet")
    if split is not None and split not in SPLITS:
        return found.refused("bad_metadata", f"split {split!r}; allowed are {', '.join(SPLITS)}, or none")
    try:
        captured_at = _moment(metadata.get("captured-at"))
    except (ValueError, OverflowError):
        return found.refused("bad_metadata", f"captured-at {metadata['captured-at']!r} is not an ISO 8601 time")
    try:
        frame = decode(data, place.key.rsplit("/", 1)[-1])
    except FrameRefused as refusal:
        return found.refused(refusal.reason, refusal.message)
    return replace(
        found,
        pixels=frame.pixels,
        pixels_sha256=frame.pixels_sha256,
        brightness=frame.brightness,
        contrast=frame.contrast,
        captured_at=captured_at or frame.captured_at,
        label=label,
        split=split,
    )


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _stand_in(item: NewObject) -> str:
    """Names the quarantine record of an object whose bytes were not read."""
    return hashlib.sha256(f"{item.key}\n{item.size}".encode()).hexdigest()


# -- worker processes --------------------------------------------------------------------------------------------------

_worker: tuple[Store, ThreadPoolExecutor, AbstractContextManager[object]] | None = None


def _start_worker(where: Settings) -> None:
    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = Store(where), ThreadPoolExecutor(THREADS), threading.Lock()


def _end_with_parent() -> None:
    """A pool's workers outlive a parent that was killed: they hold both ends of their own queue."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _read_batch(items: Sequence[NewObject]) -> list[Landed]:
    assert _worker is not None
    store, threads, lock = _worker
    return list(threads.map(lambda item: read(store, item, lock), items))
