"""Which frames belong together: the session of every imported image.

Frames of one session never cross splits, so a session that is too fine leaks and one that is too coarse only costs
variety. The first of these that is known decides, for each image by itself:

    manifest        its session column, taken as given
    folder          the first sub-folder below the label
    time            capture time from EXIF or the file name; a gap of more than 5 minutes starts a new session
    near-duplicate  frames that look alike

File modification times are not used: copying, unpacking and cloning set them to the hour of the copy. Numbers alone
in a file name are not read as seconds since 1970, since an image's number looks the same.

A session's name is made of the device and something that stays the same when the folder is imported again; a group
that holds images from an earlier import keeps their session, so that a folder may grow. Where an image comes with a
split, it is part of the name: sessions are not taken across an imported split.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Method = Literal["manifest", "folder", "time", "near-duplicate"]
METHODS: tuple[Method, ...] = ("manifest", "folder", "time", "near-duplicate")
GAP = timedelta(minutes=5)
# Bits of 128 in which near-duplicates may differ (benchmarks/near_duplicates.py). On 12,791 photographs: up to 14 all
# pairs looked at showed the same scene, from 15 on some did not. Of frames that were shifted by up to 2 pixels, dimmed
# and made noisy nine of ten are found. With 64 bits of horizontal gradients a radius that finds fewer of them joins
# 251 frames to one group.
RADIUS = 14
_NEAREST = 64  # frames compared per bucket: exact while fewer share 16 bits, else the next ones in the files' order
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TIME = re.compile(
    r"(?<!\d)(20\d\d)([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])"
    r"(?:[T_ .-]| at )?([01]\d|2[0-3])([-_.:h]?)([0-5]\d)[-_.:m]?([0-5]\d)(?:\d{3})?(?!\d)"
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the choice of a session is made from."""

    sha256: str  # of the file
    device: str
    split: str | None = None
    given: str | None = None  # from the manifest
    folder: str | None = None
    captured_at: datetime | None = None
    look: bytes | None = None  # `look_of` its pixels; needed where nothing else is known


class Chosen(NamedTuple):
    """One image's session and how it was found."""

    session: str
    method: Method


class SessionCounts(NamedTuple):
    """How many images and sessions one method gave."""

    method: Method
    images: int
    sessions: int


def choose(candidates: Sequence[Candidate], known: Mapping[str, str] | None = None) -> list[Chosen]:
    """The session of each candidate, in order. `known`: session of images that are in the bucket, by SHA-256."""
    known = known or {}
    chosen: dict[int, Chosen] = {}
    timed: dict[Hashable, list[int]] = defaultdict(list)
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for number, one in enumerate(candidates):
        method = method_of(one)
        if method == "manifest":
            chosen[number] = Chosen(safe_name(one.given or ""), method)
        elif method == "folder":
            chosen[number] = Chosen(_named(one, one.folder or ""), method)
        else:
            (timed if method == "time" else alike)[one.device, one.split].append(number)
    for members in timed.values():
        for group in _by_gap(members, [candidates[number].captured_at for number in members]):
            first = min(moment for n in group if (moment := candidates[n].captured_at))
            session = _kept([candidates[n] for n in group], known) or _named(
                candidates[group[0]], f"{first.astimezone(UTC):%Y%m%dT%H%M%SZ}"
            )
            chosen |= {number: Chosen(session, "time") for number in group}
    for members in alike.values():
        for group in near_duplicates([candidates[n].look or b"" for n in members]):
            inside = [candidates[members[position]] for position in group]
            session = _kept(inside, known) or _named(inside[0], "look-" + min(one.sha256 for one in inside)[:12])
            chosen |= {members[position]: Chosen(session, "near-duplicate") for position in group}
    return [chosen[number] for number in range(len(candidates))]


def method_of(one: Candidate) -> Method:
    """How this image's session is found."""
    if one.given:
        return "manifest"
    if one.folder:
        return "folder"
    return "time" if one.captured_at else "near-duplicate"


def counted(chosen: Iterable[Chosen]) -> tuple[SessionCounts, ...]:
    """Images and sessions by method, for the user."""
    chosen = list(chosen)
    images = Counter(one.method for one in chosen)
    sessions = Counter(method for _, method in set(chosen))
    return tuple(SessionCounts(method, images[method], sessions[method]) for method in METHODS if images[method])


def across_splits(candidates: Sequence[Candidate]) -> int:
    """How many groups of near-duplicates lie in two imported splits or more: that many scenes leak."""
    seen = [one for one in candidates if one.look]
    splits = [{seen[number].split for number in group} for group in near_duplicates([one.look or b"" for one in seen])]
    return sum(len(group - {None}) > 1 for group in splits)


def safe_name(text: str) -> str:
    """`text` where it is 1 to 64 characters of A-Z a-z 0-9 . _ -, else a stable name of that kind made from it."""
    if _NAME.fullmatch(text) and set(text) != {"."}:
        return text
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:51]
    return f"{readable or 'x'}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def time_in_name(name: str) -> datetime | None:
    """The capture time in a file name like IMG_20260131_142530.jpg or 2026-01-31T14-25-30.png, taken as UTC."""
    found = _TIME.search(name.rsplit("/", 1)[-1])
    if not found:
        return None
    year, _, month, day, hour, _, minute, second = found.groups()
    try:
        return datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError:  # 31 February
        return None


def look_of(pixels: NDArray[np.uint8]) -> bytes:
    """How a frame, uint8 (120, 160), looks, in 16 bytes: whether each of 8 x 8 cells is brighter than those before it.

    The difference hash of N. Krawetz ("Kind of Like That", 2013) in both directions.
    """
    cells = np.asarray(Image.fromarray(pixels).resize((9, 9), Image.Resampling.BOX)).astype(np.int16)
    rightwards, downwards = cells[:8, 1:] > cells[:8, :-1], cells[1:, :8] > cells[:-1, :8]
    return np.packbits(np.concatenate([rightwards.ravel(), downwards.ravel()])).tobytes()


def near_duplicates(looks: Sequence[bytes], radius: int = RADIUS) -> list[list[int]]:
    """Groups of positions whose looks are linked by steps of at most `radius` bits (below 16); each in rising order.

    Two looks that differ in fewer than 16 of 128 bits agree, but for one bit at most, in one of 8 bands of 16 bits: so
    only those are compared. 20,000 frames take about a second.
    """
    if not looks:
        return []
    distinct, members = np.unique(np.frombuffer(b"".join(looks), "V16"), return_inverse=True)
    first = np.full(len(distinct), len(looks))
    np.minimum.at(first, members, np.arange(len(looks)))
    order = np.argsort(first)  # the order of the files: neighbours in time are neighbours here
    words = distinct[order].view(np.uint64).reshape(-1, 2)
    bands = distinct[order].view(np.uint16).reshape(-1, 8)
    parent = np.arange(len(order))
    for band in range(8):
        keys = bands[:, band].astype(np.int64)
        places = np.sort(keys << 32 | np.arange(len(keys)))  # by band, then by position
        for flip in (0, *(1 << bit for bit in range(16))):
            _link(parent, words, places, keys ^ flip, radius)
    roots = _roots(parent)[np.argsort(order)[members]]
    groups: dict[int, list[int]] = defaultdict(list)
    for position, root in enumerate(roots.tolist()):
        groups[root].append(position)
    return list(groups.values())


def _link(
    parent: NDArray[np.int64],
    words: NDArray[np.uint64],
    places: NDArray[np.int64],
    keys: NDArray[np.int64],
    radius: int,
) -> None:
    """Joins every position with the later ones in the bucket of its key that are within `radius` bits."""
    positions = np.arange(len(keys))
    start = np.searchsorted(places, keys << 32 | positions, "right")
    end = np.searchsorted(places, (keys + 1) << 32, "left")
    stop = np.minimum(end, start + _NEAREST)
    # A stretch of a bucket that is joined with the one who asks already needs no look: a camera that stands still.
    roots = _roots(parent)
    place_roots = roots[places & 0xFFFFFFFF]
    changes = np.concatenate([[0], np.cumsum(place_roots[1:] != place_roots[:-1])])
    first, final = np.minimum(start, len(places) - 1), np.maximum(stop - 1, 0)
    joined = (changes[first] == changes[final]) & (place_roots[first] == roots)
    counts = np.where(joined, 0, np.maximum(stop - start, 0))
    for chunk in np.array_split(positions, max(int(counts.sum()) // 2_000_000, 1)):
        count = counts[chunk]
        left = np.repeat(chunk, count)
        within = np.arange(len(left)) - np.repeat(np.cumsum(count) - count, count)
        right = places[np.repeat(start[chunk], count) + within] & 0xFFFFFFFF
        near = np.bitwise_count(words[left] ^ words[right]).sum(axis=1) <= radius
        left, right = left[near], right[near]
        while len(left):
            roots = _roots(parent)
            a, b = roots[left], roots[right]
            apart = a != b
            left, right = left[apart], right[apart]
            np.minimum.at(parent, np.maximum(a, b)[apart], np.minimum(a, b)[apart])


def _roots(parent: NDArray[np.int64]) -> NDArray[np.int64]:
    while (parent[parent] != parent).any():
        parent[:] = parent[parent]
    return parent.copy()


def _by_gap(members: list[int], moments: Sequence[datetime | None]) -> list[list[int]]:
    order = sorted((moment, number) for moment, number in zip(moments, members, strict=True) if moment)
    groups: list[list[int]] = []
    last: datetime | None = None
    for moment, number in order:
        if last is None or moment - last > GAP:
            groups.append([])
        groups[-1].append(number)
        last = moment
    return groups


def _kept(group: Iterable[Candidate], known: Mapping[str, str]) -> str | None:
    """The session that members of the group already have in the bucket; the most common one where there are several."""
    sessions = Counter(known[one.sha256] for one in group if one.sha256 in known)
    return min(sessions, key=lambda session: (-sessions[session], session)) if sessions else None


def _named(one: Candidate, what: str) -> str:
    return safe_name(".".join(part for part in (one.device, one.split, what) if part))
