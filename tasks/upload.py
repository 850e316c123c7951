"""Labelled images become objects in the bucket's inbox: in parallel, each created once, resumable.

An object is `frames/<arrival day>/<device>/<session>/<32 hex digits of the file's SHA-256>.<jpg|png|pgm|raw>`: the
file itself where it is 160 x 120 gray, else the normalised frame as PNG. What else is known of it lies beside it as
metadata: label, label-source, split, captured-at, source-sha256, source-name. A file that is no frame is recorded once
in `quarantine/<SHA-256>.json` and never stops the others.
"""

import hashlib
import json
import logging
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime

from pydantic import BaseModel, ConfigDict

from tasks.camera_sessions import Method, safe_name
from tasks.frames import FrameRefused, as_png, decode, read_file
from tasks.labelled_folder import LabelledFile
from tasks.lineage import Label, Split
from tasks.parallel import in_parallel
from tasks.progress import Progress, silent
from tasks.store import AccessRefused, BucketMissing, Store, StoreError
from tasks.upload_plan import NAME_DIGITS, Planned, Refusal, plan

WORKERS = 8  # requests on the way at once
ATTEMPTS = 3  # per object, each with the client's own retries
GIVE_UP_AFTER = 24  # objects that failed in a row: then the store is gone, and the rest is not tried
_LARGEST_ORIGINAL = 256 * 1024  # a 160 x 120 file above this carries something else than pixels
_KINDS = {
    "jpeg": ("jpg", "image/jpeg"),
    "png": ("png", "image/png"),
    "pgm": ("pgm", "image/x-portable-graymap"),
    "raw": ("raw", "application/octet-stream"),
}
_log = logging.getLogger("f2f.upload")


class RefusedFile(BaseModel):
    """A file that did not become a frame; `reason` is a stable code, `message` a sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str
    reason: str
    message: str


class FailedFile(BaseModel):
    """A frame that could not be stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str
    error: str


class ChosenSessions(BaseModel):
    """How the sessions of the uploaded frames were found."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    method: Method
    frames: int
    sessions: int


class UploadSummary(BaseModel):
    """What an upload did. `files` = uploaded + already_there + copies + all of `refused` + failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    files: int
    uploaded: int
    already_there: int
    copies: int  # files with the bytes of another one of this import
    refused: dict[str, int]  # reason -> files
    refused_files: tuple[RefusedFile, ...]
    failed: tuple[FailedFile, ...]
    labels: dict[Label, int]  # of the frames that are in the bucket now: uploaded and already there
    splits: dict[Split, int]  # the same, where the split was imported
    devices: dict[str, int]
    sessions: tuple[ChosenSessions, ...]  # of the uploaded frames
    notes: tuple[str, ...]
    bytes: int  # uploaded
    seconds: float


def upload(
    store: Store, files: Sequence[LabelledFile], progress: Progress = silent, *, workers: int = WORKERS
) -> UploadSummary:
    """Uploads what is not in the bucket yet. Progress in "files read", "files checked" and "frames uploaded".

    May be interrupted at any time: an object is there whole or not at all, and the next call goes on.
    Raises `AccessRefused`, `BucketMissing`, and `StoreError` where the bucket cannot be listed; an object that cannot
    be stored is listed in `failed` instead.
    """
    started = time.monotonic()
    work = plan(store, files, progress)
    _quarantine(store, work.refused, workers)
    sender = _Sender(store, datetime.now(UTC).date())
    sent = list(in_parallel(sender.send, work.planned, workers, progress, "frames uploaded"))
    done = [planned.file for planned, size in zip(work.planned, sent, strict=True) if isinstance(size, int)]
    here = [*done, *work.already_there]
    refused = [RefusedFile(file=r.file.name, reason=r.reason, message=r.message) for r in work.refused]
    devices = sorted({file.device for file in files})
    renamed = [f"device {name!r} is stored as {safe_name(name)}" for name in devices if safe_name(name) != name]
    return UploadSummary(
        files=len(files),
        uploaded=len(done),
        already_there=len(work.already_there),
        copies=work.copies,
        refused=dict(sorted(Counter(one.reason for one in refused).items())),
        refused_files=tuple(refused),
        failed=tuple(one for one in sent if isinstance(one, FailedFile)),
        labels=dict(sorted(Counter(file.label for file in here if file.label).items())),
        splits=dict(sorted(Counter(file.split for file in here if file.split).items())),
        devices=dict(sorted(Counter(file.device for file in here).items())),
        sessions=tuple(ChosenSessions(method=m, frames=n, sessions=s) for m, n, s in work.sessions),
        notes=(*work.notes, *renamed),
        bytes=sum(one for one in sent if isinstance(one, int)),
        seconds=round(time.monotonic() - started, 3),
    )


class _Sender:
    """Stores frames from several threads and knows when the store is gone."""

    def __init__(self, store: Store, day: date) -> None:
        self.store, self.day = store, day
        self._failed_in_a_row = 0
        self._lock = threading.Lock()

    def send(self, planned: Planned) -> int | FailedFile:
        """Stores one frame; its size, or why it failed. Raises what would fail for every other frame as well."""
        if self._failed_in_a_row >= GIVE_UP_AFTER:
            return FailedFile(file=planned.file.name, error="not tried: the store did not take the frames before")
        try:
            key, body, content_type = _object(planned, self.day)
        except FrameRefused as refusal:  # the file changed since it was checked
            return FailedFile(file=planned.file.name, error=refusal.message)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self.store.create(key, body, content_type=content_type, metadata=_metadata(planned))
            except (AccessRefused, BucketMissing):
                raise
            except StoreError as error:
                if attempt < ATTEMPTS and self._failed_in_a_row < GIVE_UP_AFTER:
                    time.sleep(0.25 * 2**attempt)
                    continue
                with self._lock:
                    self._failed_in_a_row += 1
                _log.warning("%s: %s", planned.file.name, error.message)
                return FailedFile(file=planned.file.name, error=error.message)
            with self._lock:
                self._failed_in_a_row = 0
            break
        return len(body)


def _object(planned: Planned, day: date) -> tuple[str, bytes, str]:
    """Key, body and content type of one frame."""
    data = read_file(planned.file.path)
    if hashlib.sha256(data).hexdigest() != planned.sha256:
        raise FrameRefused("unreadable", "the file changed during the import; import again")
    if not planned.original or len(data) > _LARGEST_ORIGINAL:
        data = as_png(decode(data, planned.file.name).pixels)
        suffix, content_type = _KINDS["png"]
    else:
        suffix, content_type = _KINDS[planned.original]
    place = f"frames/{day:%Y-%m-%d}/{safe_name(planned.file.device)}/{planned.session}"
    return f"{place}/{planned.sha256[:NAME_DIGITS]}.{suffix}", data, content_type


def _metadata(planned: Planned) -> dict[str, str]:
    file = planned.file
    known = {
        "label": file.label,
        "label-source": file.label_source if file.label else None,
        "split": file.split,
        "captured-at": planned.captured_at.astimezone(UTC).isoformat() if planned.captured_at else None,
        "source-sha256": planned.sha256,
        "source-name": _ascii(file.name),
    }
    return {name: value for name, value in known.items() if value}


def _ascii(name: str) -> str:
    """A file name that a header can carry: percent-encoded where needed, its last 300 characters."""
    return urllib.parse.quote(name, safe="/!()+,-.;=@_~")[-300:]


def _quarantine(store: Store, refused: Sequence[Refusal], workers: int) -> None:
    """Records what is no frame. Contradicting labels are no fault of the image and are not recorded."""
    wanted = {one.sha256: one for one in refused if one.sha256 and one.reason != "both_labels"}
    if not wanted:
        return
    there = {info.key for info in store.list("quarantine/")}

    def record(one: Refusal) -> None:
        said = {
            "file": one.file.name,
            "device": one.file.device,
            "reason": one.reason,
            "message": one.message,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        body = json.dumps(said, indent=1).encode()
        store.create(f"quarantine/{one.sha256}.json", body, content_type="application/json")

    new = [one for digest, one in wanted.items() if f"quarantine/{digest}.json" not in there]
    list(in_parallel(record, new, workers, silent, "records"))
