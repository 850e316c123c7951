"""Blobs from which frames were erased: where the rest of them is now.

Manifests, scores and index rows name a frame's pixels by shard (its SHA-256) and row, and stay as they are. The shard
without the frame has zeros in its row and all other frames in theirs; `erased/<SHA-256 of the old shard>.json`,
created once, leads to it, and the old one is deleted. A page with pictures that was copied into a blob is treated the
same way. Nothing here decides what is erased: that is tasks/erase.py.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from tasks.record import Sha256
from tasks.store import ObjectMissing, Store

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "erased/"


class ErasedBlob(BaseModel):
    """What became of a blob."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    blob: Sha256
    to: Sha256  # the blob that has the rest
    rows: tuple[int, ...]  # of a shard: those that hold a frame in `blob` and none in `to`
    at: datetime

    @property
    def key(self) -> str:
        return f"{FOLDER}{self.blob}.json"


class Shards:
    """Packed shards by the SHA-256 under which they were named, as they are now.

    Looks once at what was erased (one request) and deletes local copies of that: a cache filled by an earlier run, on
    this machine or another, never gives an erased frame back. Safe to share between threads.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._moved: dict[str, ErasedBlob | None] = {}
        self._look()

    def path(self, shard: str) -> Path:
        """A local, read-only copy of the shard as it is now. Raises `ObjectMissing`, `DigestMismatch`."""
        while True:
            try:
                return self._store.blob_path(self.newest(shard))
            except ObjectMissing:
                if not self._look():  # nothing was erased in between: it is really missing
                    raise

    def newest(self, shard: str) -> str:
        """SHA-256 of the shard as it is now."""
        return self._chain(shard)[-1]

    def erased(self, shard: str) -> frozenset[int]:
        """The rows of the shard that hold no frame any more."""
        records = (self._record(name) for name in self._chain(shard)[:-1])
        return frozenset(row for record in records for row in record.rows)

    def there(self, shards: "pa.ChunkedArray | Sequence[str]", rows: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Mask (n,) of the places that still hold their frame; a place is a shard and a row."""
        import pyarrow as pa
        import pyarrow.compute as pc

        kept = np.ones(len(rows), bool)
        column = shards if isinstance(shards, pa.ChunkedArray) else pa.array(shards, pa.string())
        for name in set(pc.unique(column).to_pylist()) & set(self._moved):
            of = pc.equal(column, name).to_numpy(zero_copy_only=False)
            kept &= ~(of & np.isin(rows, list(self.erased(name))))
        return kept

    def moved(self) -> list[str]:
        """SHA-256 of every blob from which something was erased."""
        return list(self._moved)

    def _look(self) -> bool:
        """Lists what was erased; whether there is something that was not there before."""
        names = [item.key.removeprefix(FOLDER).removesuffix(".json") for item in self._store.list(FOLDER)]
        new = [name for name in names if name not in self._moved]
        for name in new:
            self._moved[name] = None
        for name in names:
            self._store.drop_cached(name)
        return bool(new)

    def _chain(self, shard: str) -> list[str]:
        names = [shard]
        while names[-1] in self._moved:
            names.append(self._record(names[-1]).to)
        return names

    def _record(self, shard: str) -> ErasedBlob:
        found = self._moved[shard]
        if found is None:
            found = self._moved[shard] = self._store.get_record(f"{FOLDER}{shard}.json", ErasedBlob)
        return found


def replace_blob(store: Store, blob: str, rest: bytes, rows: Collection[int] = ()) -> bool:
    """Stores `rest` as what is left of `blob`, and deletes `blob`; False where somebody else did so with another rest.

    `rows`: of a shard, those of the frames that were taken out. May be killed at any time and run again: the new blob
    is there before the record that leads to it, and that before the old one goes.
    """
    record = ErasedBlob(blob=blob, to=store.put_blob(rest), rows=tuple(sorted(rows)), at=datetime.now(UTC))
    if not store.create(record.key, record.model_dump_json().encode(), content_type="application/json"):
        winner = store.get_record(record.key, ErasedBlob)
        if winner.to != record.to:  # theirs may lack other frames than ours: ours must not stay
            drop_blob(store, record.to)
            return False
    drop_blob(store, blob)
    return True


def drop_blob(store: Store, blob: str) -> None:
    """Deletes a blob with all its versions, and its local copy."""
    store.purge(f"blobs/{blob}")
    store.drop_cached(blob)
