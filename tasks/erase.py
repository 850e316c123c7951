"""Erasing: every copy of a frame's pixels goes from the bucket and from this machine's cache; all other frames stay.

Copies are in the frame's objects, in packed shards, in the golden frames of firmware images, and as pictures in report
pages, of which releases have a copy in a blob. What names a frame without showing it stays: index, manifests, scores,
figures, and the key below a picture.

Order of work, so that a kill at any moment leaves nothing that does not verify, and the same call again finishes: the
signed record of what will change in releases, the changes, the shards, the objects. Each call looks for everything
anew, by the bytes and for all frames that were ever erased: also for what an earlier call, a lost race, or a run that
was under way has left.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict

from tasks import frame_index
from tasks.erased_blobs import Shards, drop_blob, replace_blob
from tasks.erasures import Erasures, load_erasures
from tasks.errors import PipelineError
from tasks.frames import HEIGHT, WIDTH
from tasks.picture_copies import is_frames, is_page, without_pictures, without_rows
from tasks.progress import Progress, silent
from tasks.release_records import Erasure
from tasks.signing import key_id, load_signing_key, load_trusted_keys, sign
from tasks.store import DigestMismatch, ObjectInfo, ObjectMissing, Store

T = TypeVar("T")
R = TypeVar("R")
BLOBS = "blobs/"
THREADS = 8
ROUNDS = 20  # looks in a row that each found something new: then others write new pictures all the time
HEAD = 512  # bytes that say what a file is
STALE = 3600  # seconds after which a file that was being written into the cache is left over from a killed run
_HEADER, _FRAME = 128, HEIGHT * WIDTH  # bytes of a packed shard
_log = logging.getLogger("f2f.erase")


class ErasureRefused(PipelineError):
    """Erasing cannot begin, because it could not be finished in a way that verifies."""


class StillThere(PipelineError):
    """Copies came back all the time."""


class Erased(BaseModel):
    """What one call erased; all zero where nothing was left to do."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    objects: int  # of the inbox
    shards: int  # packed anew
    pages: int  # reports that lost a picture, copies of them in releases included
    golden: int  # files of golden frames
    records: tuple[str, ...]  # keys of the signed erasures that it wrote


class _Wanted(NamedTuple):
    """What is looked for."""

    pixels: frozenset[str]  # pixels_sha256
    keys: frozenset[str]  # of the objects with these pixels


class _Blobs(NamedTuple):
    """Blobs that may hold a wanted frame, by their SHA-256."""

    shards: list[str]
    pages: list[str]


def erasing_key(store: Store) -> Ed25519PrivateKey:
    """The key that signs erasures. Raises `KeyMissing`, `KeyUnusable`, `ErasureRefused` for a key not trusted here."""
    key, trusted = load_signing_key(store.where), load_trusted_keys(store.where)
    if key_id(key.public_key()) not in trusted:
        raise ErasureRefused(
            f"the signing key {key_id(key.public_key())} is not trusted here ({', '.join(trusted)} are): releases that "
            "show an erased frame would not verify any more",
            next_step="add its public key to the file of trusted keys, or sign with a key that is trusted",
        )
    return key


def erase(
    store: Store, pixels: Collection[str], keys: Sequence[str], reason: str, *, progress: Progress = silent
) -> Erased:
    """Erases the frames with these pixels_sha256, and the objects of the inbox under `keys`.

    The frames must have been forgotten (tasks/forget.py), or a run that begins meanwhile takes them again. Reads all
    report pages and golden frames, the first bytes of every blob that the index does not name, and the shards that
    hold the frames. May be killed at any time and run any number of times, by several processes at once. Raises what
    `erasing_key` does, `StillThere`, `DigestMismatch` for a damaged shard.
    """
    key = erasing_key(store)
    known = load_erasures(store, load_trusted_keys(store.where))
    index = frame_index.load(store, ["key", "pixels_sha256", "shard", "row"]).rows
    every = known.pixels | frozenset(pixels)
    of_frames = index.filter(pc.is_in(index["pixels_sha256"], value_set=pa.array(every, pa.string())))
    wanted = _Wanted(every, frozenset(of_frames["key"].to_pylist()))
    packed = index.filter(pc.is_valid(index["shard"])).select(["pixels_sha256", "shard", "row"])
    shards = pages = golden = 0
    records: list[str] = []
    clean: set[str] = set()  # blobs that were read and hold nothing of it: they never change
    for _ in range(ROUNDS):
        progress(1, 5, "steps")
        blobs = _suspects(store, packed, wanted, clean)
        changes = _changes(store, [BLOBS + name for name in blobs.pages], wanted)
        known, record = _recorded(store, known, pixels, changes, reason, key)
        records += [record] if record else []
        made = _each(lambda item: _change(store, *item, wanted), changes.items())
        pages += sum(one for name, one in zip(changes, made, strict=True) if not name.endswith(".npy"))
        golden += sum(one for name, one in zip(changes, made, strict=True) if name.endswith(".npy"))
        progress(2, 5, "steps")
        packed_anew = [name for name in blobs.shards if _repack(store, name, wanted)]
        shards += len(packed_anew)
        if not changes and not packed_anew:
            break
        clean |= {*blobs.shards, *blobs.pages}.difference(packed_anew, (name.removeprefix(BLOBS) for name in changes))
    else:
        raise StillThere(
            f"{ROUNDS} times in a row a new copy of the picture was there",
            next_step="wait until the ingests and retrains that are under way have ended, and run the same again",
        )
    progress(3, 5, "steps")
    objects = sum(_each(lambda name: store.purge(name) > 0, keys))
    progress(4, 5, "steps")
    _tidy(store, known)
    progress(5, 5, "steps")
    _log.info("erased %d objects; %d shards, %d pages, %d golden files anew", objects, shards, pages, golden)
    return Erased(objects=objects, shards=shards, pages=pages, golden=golden, records=tuple(records))


# -- where copies are --------------------------------------------------------------------------------------------------


def _suspects(store: Store, packed: pa.Table, wanted: _Wanted, clean: Collection[str]) -> _Blobs:
    """Shards in which a wanted frame is by the index, or that have rows which the index does not name; and all pages.

    Rows without a name are left by ingests that lost a race; shards without one by those, or by an index that was made
    anew. `packed`: rows of the index that name a place.
    """
    shards = Shards(store)
    moved = set(shards.moved())
    holding = packed.filter(pc.is_in(packed["pixels_sha256"], value_set=pa.array(wanted.pixels, pa.string())))
    places = zip(holding["shard"].to_pylist(), holding["row"].to_pylist(), strict=True)
    suspects = {shards.newest(shard) for shard, row in places if row not in shards.erased(shard)}
    named = {shards.newest(shard): _named(packed, shard, count, shards) for shard, count in _counts(packed).items()}
    unknown: list[ObjectInfo] = []
    for item in store.list(BLOBS):
        name = item.key.removeprefix(BLOBS)
        if name in named:
            if item.size > _HEADER + named[name] * _FRAME:
                suspects.add(name)
        elif name not in moved and name not in clean and item.size:
            unknown.append(item)
    heads = _each(lambda item: _head(store, item), unknown)
    names = [item.key.removeprefix(BLOBS) for item in unknown]
    suspects.update(name for name, head in zip(names, heads, strict=True) if is_frames(head))
    pages = [name for name, head in zip(names, heads, strict=True) if is_page(head)]
    return _Blobs(sorted(suspects.difference(clean)), pages)


def _counts(packed: pa.Table) -> dict[str, int]:
    """Shard -> how many of its rows the index names."""
    counts = packed.group_by("shard").aggregate([("row", "count_distinct")])
    return dict(zip(counts["shard"].to_pylist(), counts["row_count_distinct"].to_pylist(), strict=True))


def _named(packed: pa.Table, shard: str, count: int, shards: Shards) -> int:
    """How many rows of a shard are accounted for: named by the index, or erased."""
    erased = shards.erased(shard)
    if not erased:
        return count
    return len(erased.union(packed.filter(pc.equal(packed["shard"], shard))["row"].to_pylist()))


def _head(store: Store, item: ObjectInfo) -> bytes:
    try:
        return store.get_range(item.key, 0, min(HEAD, item.size))
    except ObjectMissing:
        return b""


def _changes(store: Store, pages: Iterable[str], wanted: _Wanted) -> dict[str, tuple[str, str]]:
    """Key of everything that shows a wanted frame, but shards -> its SHA-256 now, and without the frame."""
    keys = [*pages]
    keys += [item.key for item in store.list("models/") if item.key.endswith(".html")]
    keys += [item.key for item in store.list("firmware/") if item.key.endswith("/golden-frames.npy")]

    def one(key: str) -> tuple[str, str] | None:
        try:
            data = store.get(key)
        except ObjectMissing:
            return None
        rest = _rest(key, data, wanted)
        return None if rest == data else (hashlib.sha256(data).hexdigest(), hashlib.sha256(rest).hexdigest())

    return {key: found for key, found in zip(keys, _each(one, keys), strict=True) if found}


def _rest(key: str, data: bytes, wanted: _Wanted) -> bytes:
    """What is left of a page or of golden frames."""
    try:
        if key.endswith(".npy"):
            return without_rows(data, wanted.pixels)[0]
        return without_pictures(data, wanted.pixels, wanted.keys)
    except ValueError:  # neither frames nor text: nothing of ours
        return data


# -- taking them out ---------------------------------------------------------------------------------------------------


def _recorded(
    store: Store,
    known: Erasures,
    pixels: Collection[str],
    changes: dict[str, tuple[str, str]],
    reason: str,
    key: Ed25519PrivateKey,
) -> tuple[Erasures, str]:
    """All erasures with one for these changes, and the key of that; "" where all of it was recorded before."""
    there = {(name, *change) for erasure in known.signed for name, change in erasure.replaced.items()}
    new = {name: change for name, change in changes.items() if (name, *change) not in there}
    if not new and known.pixels.issuperset(pixels):
        return known, ""
    made = Erasure(pixels=tuple(sorted(pixels)), replaced=new, reason=reason, at=datetime.now(UTC))
    made = made.model_copy(update={"signature": sign(made, key)})
    store.create(made.key, made.model_dump_json(indent=1).encode(), content_type="application/json")
    return Erasures((*known.signed, made), known.refused), made.key


def _change(store: Store, key: str, change: tuple[str, str], wanted: _Wanted) -> bool:
    """Takes the wanted frames out of a page or of golden frames; False where somebody else changed it first.

    Does what was recorded and nothing else: another change would verify nowhere.
    """
    try:
        found = store.get_object(key)
    except ObjectMissing:
        return False
    rest = _rest(key, found.data, wanted)
    if (hashlib.sha256(found.data).hexdigest(), hashlib.sha256(rest).hexdigest()) != change:
        return False
    if key.startswith(BLOBS):
        return replace_blob(store, key.removeprefix(BLOBS), rest)
    kind = "" if key.endswith(".npy") else "text/html; charset=utf-8"
    return store.swap(key, rest, found.etag, content_type=kind)


def _repack(store: Store, shard: str, wanted: _Wanted) -> bool:
    """Takes the wanted frames out of a shard; False where it has none of them."""
    try:
        data = store.get(BLOBS + shard)  # not through the cache: what is read here is to go
    except ObjectMissing:
        return False
    if hashlib.sha256(data).hexdigest() != shard:
        raise DigestMismatch(
            f"{BLOBS}{shard} holds other bytes than its name says: it cannot be packed anew",
            next_step="restore it from a backup, and run the same command again",
        )
    try:
        rest, rows = without_rows(data, wanted.pixels)
    except ValueError:
        return False
    return bool(rows) and replace_blob(store, shard, rest, rows)


def _tidy(store: Store, known: Erasures) -> None:
    """Deletes earlier versions of what was changed, and what a killed erasure has left, in the cache as well."""
    changed = {name: change[0] for erasure in known.signed for name, change in erasure.replaced.items()}
    in_place = [name for name, before in changed.items() if name != BLOBS + before]
    _each(lambda name: store.purge(name, keep_newest=True), in_place)
    _each(lambda name: drop_blob(store, name), Shards(store).moved())
    there = {item.key.removeprefix(BLOBS) for item in store.list(BLOBS)}
    for path in (store.where.cache_dir / "blobs").glob("*/*"):
        try:
            left_over = path.suffix == ".part" and time.time() - path.stat().st_mtime > STALE
            with path.open("rb") as file:
                head = file.read(HEAD)
            # Of what the bucket does not have only what may show a frame: it may be on its way into the bucket.
            if left_over or (not path.suffix and path.name not in there and (is_frames(head) or is_page(head))):
                path.unlink()
        except FileNotFoundError:  # somebody else tidies as well
            continue


def _each(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(function, items))
