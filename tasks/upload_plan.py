"""What an import has to do: which files are in the bucket already, which are no frames, and the session of the rest.

Every file is read and hashed; the bucket's listing of `frames/` says which are there, since an object's name starts
with the first 32 hex digits of its source file's SHA-256. Only what is not there is decoded.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from tasks.camera_sessions import (
    Candidate,
    SessionCounts,
    across_splits,
    choose,
    counted,
    look_of,
    method_of,
    time_in_name,
)
from tasks.frames import FrameRefused, decode, read_file
from tasks.labelled_folder import LabelledFile
from tasks.parallel import cores, in_parallel
from tasks.progress import Progress
from tasks.store import Store

NAME_DIGITS = 32  # hex digits of the source's SHA-256 in an object's name


class Refusal(NamedTuple):
    """A file that does not become a frame. `sha256` is empty where the file could not be read."""

    file: LabelledFile
    sha256: str
    reason: str
    message: str


class Planned(NamedTuple):
    """A file to upload."""

    file: LabelledFile
    sha256: str
    session: str
    captured_at: datetime | None
    original: str  # format of a file that already is 160 x 120 gray, "" where the frame has to be made of it


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. `files` = planned + refused + `already_there` + `copies`."""

    planned: tuple[Planned, ...]
    refused: tuple[Refusal, ...]
    already_there: tuple[LabelledFile, ...]
    copies: int  # files with the bytes of another one of this import
    sessions: tuple[SessionCounts, ...]  # of the planned files
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    file: LabelledFile
    sha256: str
    refusal: FrameRefused | None = None


@dataclass(frozen=True, slots=True)
class _Checked:
    read: _Read
    candidate: Candidate
    refusal: FrameRefused | None = None
    original: str = ""


def plan(store: Store, files: Sequence[LabelledFile], progress: Progress) -> Plan:
    """What an import of `files` into `store` has to do. Progress in "files read" and "files checked"."""
    with ThreadPoolExecutor(1) as aside:
        listing = aside.submit(stored_sessions, store)
        reads = list(in_parallel(_read, files, cores(), progress, "files read"))
        known = listing.result()
    firsts, refused, copies, notes = _without_copies(reads)
    there = [read for read in firsts if read.sha256[:NAME_DIGITS] in known]
    fresh = [read for read in firsts if read.sha256[:NAME_DIGITS] not in known]
    checks = [_Checked(read, _candidate(read), read.refusal) for read in fresh if read.refusal]
    to_check = [read for read in fresh if not read.refusal]
    # A group of look-alikes or of neighbours in time may hold files that are there: the new ones join their session.
    open_ends = {(one.file.device, one.file.split) for one in to_check if not (one.file.session or one.file.folder)}
    beside = [
        one
        for one in there
        if (one.file.device, one.file.split) in open_ends and not (one.file.session or one.file.folder)
    ]
    checks += in_parallel(_check, to_check + beside, cores(), progress, "files checked")
    refused += [Refusal(one.read.file, one.read.sha256, r.reason, r.message) for one in checks if (r := one.refusal)]
    good = [one for one in checks if not one.refusal]
    sessions = {one.sha256: known[one.sha256[:NAME_DIGITS]] for one in beside}
    chosen = choose([one.candidate for one in good], sessions)
    fresh_names = {read.sha256 for read in to_check}
    pairs = [(one, session) for one, session in zip(good, chosen, strict=True) if one.read.sha256 in fresh_names]
    leaks = across_splits([one.candidate for one in good if one.candidate.split])
    if leaks:
        notes.append(
            f"{leaks:,} {'group' if leaks == 1 else 'groups'} of look-alike images in more than one imported split: "
            "the figures on test will be too good"
        )
    return Plan(
        tuple(
            Planned(one.read.file, one.read.sha256, s.session, one.candidate.captured_at, one.original)
            for one, s in pairs
        ),
        tuple(refused),
        tuple(read.file for read in there),
        copies,
        counted(session for _, session in pairs),
        tuple(notes),
    )


def stored_sessions(store: Store) -> dict[str, str]:
    """Session of every object below `frames/` that an import made, by the digits in its name."""
    sessions = {}
    for info in store.list("frames/"):
        parts = info.key.split("/")
        if len(parts) == 5:
            sessions[parts[4][:NAME_DIGITS]] = parts[3]
    return sessions


def _read(file: LabelledFile) -> _Read:
    try:
        return _Read(file, hashlib.sha256(read_file(file.path)).hexdigest())
    except FrameRefused as refusal:
        if refusal.reason != "too_many_bytes":
            return _Read(file, "", refusal)
        with file.path.open("rb") as opened:
            return _Read(file, hashlib.file_digest(opened, "sha256").hexdigest(), refusal)


def _candidate(read: _Read) -> Candidate:
    file = read.file
    return Candidate(read.sha256, file.device, file.split, file.session, file.folder, file.captured_at)


def _check(read: _Read) -> _Checked:
    """Decodes a file; the candidate gets what its session is to be chosen from."""
    file, candidate = read.file, _candidate(read)
    try:
        data = read_file(file.path)
        if hashlib.sha256(data).hexdigest() != read.sha256:
            raise FrameRefused("unreadable", "the file changed while it was read")
        frame = decode(data, file.name)
    except FrameRefused as refusal:
        return _Checked(read, candidate, refusal)
    captured_at = file.captured_at or frame.captured_at or time_in_name(file.name)
    candidate = Candidate(read.sha256, file.device, file.split, file.session, file.folder, captured_at)
    if method_of(candidate) == "near-duplicate" or file.split:
        look = look_of(frame.pixels)
        candidate = Candidate(read.sha256, file.device, file.split, file.session, file.folder, captured_at, look)
    return _Checked(read, candidate, original=frame.format if frame.unchanged else "")


def _without_copies(reads: Sequence[_Read]) -> tuple[list[_Read], list[Refusal], int, list[str]]:
    """Each content once: first of its copies, the imported test split before the others; contradictions refused."""
    refused = [
        Refusal(one.file, "", one.refusal.reason, one.refusal.message)
        for one in reads
        if one.refusal and not one.sha256
    ]
    by_content: dict[str, list[_Read]] = defaultdict(list)
    for read in reads:
        if read.sha256:
            by_content[read.sha256].append(read)
    firsts: list[_Read] = []
    copies = contradictions = crossing = 0
    for same in by_content.values():
        if len({read.file.label for read in same}) > 1:
            names = " and ".join(f"{read.file.name} ({read.file.label})" for read in same[:3])
            message = f"the same image under two labels: {names}; none of them is taken"
            refused += [Refusal(read.file, read.sha256, "both_labels", message) for read in same]
            contradictions += 1
            continue
        splits = {read.file.split for read in same}
        crossing += len(splits) > 1
        firsts.append(next((read for read in same if read.file.split == "test"), same[0]))
        copies += len(same) - 1
    notes = []
    if contradictions:
        notes.append(f"{contradictions:,} images lie under both labels and were left out: decide which one holds")
    if crossing:
        notes.append(f"{crossing:,} images lie in more than one split; each is taken once, from test where it is there")
    return firsts, refused, copies, notes
