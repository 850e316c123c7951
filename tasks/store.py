"""The bucket. Only this file and store_client.py know boto3.

Plain objects, create-once objects (If-None-Match: *), compare-and-swap (If-Match) and immutable blobs named by their
SHA-256. Keys given here are relative to the configured prefix.
"""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from tasks.settings import Settings, settings
from tasks.store_client import Presigned, connect, presign_create, store_name, translated_errors, versions_of
from tasks.store_errors import (
    AccessRefused,
    BucketMissing,
    ConditionFailed,
    ConditionsIgnored,
    DigestMismatch,
    ObjectMissing,
    RecordDamaged,
    StoreError,
    StoreUnreachable,
)

__all__ = [
    "AccessRefused",
    "BucketMissing",
    "ConditionsIgnored",
    "DigestMismatch",
    "ObjectInfo",
    "ObjectMissing",
    "ObjectStream",
    "Presigned",
    "RecordDamaged",
    "Store",
    "StoreError",
    "StoreUnreachable",
    "StoredObject",
    "open_store",
]

R = TypeVar("R", bound=BaseModel)


class ObjectInfo(NamedTuple):
    """What a listing tells about an object."""

    key: str
    size: int
    etag: str
    modified: datetime


class ObjectStream(NamedTuple):
    """An object on its way: `chunks` must be read inside the `with` block that gave it."""

    size: int
    etag: str
    content_type: str
    chunks: Iterator[bytes]


class StoredObject(NamedTuple):
    """An object's bytes with what the store keeps beside them. `metadata` keys are lower case."""

    data: bytes
    etag: str
    metadata: dict[str, str]


class Store:
    """One bucket (and key prefix). Safe to share between threads; open one per process."""

    def __init__(self, where: Settings, *, max_connections: int = 32) -> None:
        self.where = where
        self._prefix = where.prefix.strip("/") + "/" if where.prefix.strip("/") else ""
        self.client: Any = connect(where, max_connections=max_connections)

    # -- reading ---------------------------------------------------------------------------------------------------

    def get(self, key: str) -> bytes:
        """The object's bytes. Raises `ObjectMissing`."""
        return self.get_object(key).data

    def get_object(self, key: str) -> StoredObject:
        """The object's bytes, etag (for `swap`) and metadata. Raises `ObjectMissing`."""
        with self._errors(key):
            answer = self.client.get_object(Bucket=self.where.bucket, Key=self._prefix + key)
            data = answer["Body"].read()
        return StoredObject(data, answer["ETag"], {k.lower(): v for k, v in answer.get("Metadata", {}).items()})

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop) of an object, at least one of them there. Raises `ObjectMissing`."""
        with self._errors(key):
            answer = self.client.get_object(
                Bucket=self.where.bucket, Key=self._prefix + key, Range=f"bytes={start}-{stop - 1}"
            )
            return bytes(answer["Body"].read())

    @contextlib.contextmanager
    def stream(self, key: str, *, chunk_bytes: int = 1 << 20) -> Iterator[ObjectStream]:
        """The object in chunks, for what need not fit into memory. Raises `ObjectMissing`."""
        with self._errors(key):
            answer = self.client.get_object(Bucket=self.where.bucket, Key=self._prefix + key)
        with contextlib.closing(answer["Body"]) as body:
            kind = answer.get("ContentType", "application/octet-stream")
            yield ObjectStream(answer["ContentLength"], answer["ETag"], kind, body.iter_chunks(chunk_bytes))

    def head(self, key: str) -> ObjectInfo | None:
        """Size and etag without the bytes; None where there is no such object."""
        try:
            with self._errors(key):
                answer = self.client.head_object(Bucket=self.where.bucket, Key=self._prefix + key)
        except ObjectMissing:
            return None
        return ObjectInfo(key, answer["ContentLength"], answer["ETag"], answer["LastModified"])

    def exists(self, key: str) -> bool:
        """Whether there is an object under `key`."""
        return self.head(key) is not None

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        """All objects below `prefix`, in key order, from the one after `start_after`."""
        arguments = {"Bucket": self.where.bucket, "Prefix": self._prefix + prefix}
        if start_after:
            arguments["StartAfter"] = self._prefix + start_after
        with self._errors(prefix):
            for page in self.client.get_paginator("list_objects_v2").paginate(**arguments):
                for item in page.get("Contents", ()):
                    key = item["Key"][len(self._prefix) :]
                    yield ObjectInfo(key, item["Size"], item["ETag"], item["LastModified"])

    def list_folders(self, prefix: str) -> Iterator[str]:
        """The "folders" right below `prefix`, or that begin with its last part; each with its slash at the end."""
        with self._errors(prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.where.bucket, Prefix=self._prefix + prefix, Delimiter="/"
            )
            for page in pages:
                for item in page.get("CommonPrefixes", ()):
                    yield item["Prefix"][len(self._prefix) :]

    # -- writing ---------------------------------------------------------------------------------------------------

    def put(self, key: str, data: bytes, *, content_type: str = "", metadata: dict[str, str] | None = None) -> None:
        """Writes or overwrites. For objects that nobody else writes, or whose content follows from their key."""
        self._put(key, data, content_type, metadata, {})

    def create(self, key: str, data: bytes, *, content_type: str = "", metadata: dict[str, str] | None = None) -> bool:
        """Writes only where nothing is yet; False where somebody was first."""
        return self._put_if(key, data, content_type, metadata, {"IfNoneMatch": "*"})

    def swap(self, key: str, data: bytes, etag: str | None, *, content_type: str = "application/json") -> bool:
        """Replaces the object that had `etag` (None: that did not exist); False where it has changed since."""
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        return self._put_if(key, data, content_type, None, condition)

    def presigned_create(
        self, key: str, *, seconds: int, metadata: dict[str, str] | None = None, sha256: str = ""
    ) -> Presigned:
        """A URL with which whoever holds it may create `key` once within `seconds` (at most 7 days), and nothing else.

        It holds for exactly this `metadata` and, where `sha256` (hex) is given, for these bytes only.
        """
        with self._errors(key):
            return presign_create(self._device_client, self.where.bucket, self._prefix + key, seconds, metadata, sha256)

    def delete(self, key: str) -> None:
        """Deletes; an object that is not there is fine."""
        with self._errors(key):
            self.client.delete_object(Bucket=self.where.bucket, Key=self._prefix + key)

    def purge(self, key: str, *, keep_newest: bool = False) -> int:
        """Deletes every version of an object that the bucket keeps, the newest too unless `keep_newest`; how many."""
        place = {"Bucket": self.where.bucket, "Key": self._prefix + key}
        with self._errors(key):
            versions = versions_of(self.client, **place)
            doomed = [version for version in versions if not (keep_newest and version.newest)]
            for version in doomed:
                self.client.delete_object(**place, **({"VersionId": version.id} if version.id else {}))
        return len(doomed)

    # -- blobs and records -----------------------------------------------------------------------------------------

    def put_blob(self, data: bytes) -> str:
        """Stores bytes under `blobs/<sha256>` (once) and in the local cache; returns the SHA-256."""
        return self.put_named("blobs/{digest}", data)

    def put_named(self, pattern: str, data: bytes) -> str:
        """`put_blob` under another key that holds the SHA-256: `pattern` has `{digest}` in it."""
        digest = hashlib.sha256(data).hexdigest()
        key = pattern.format(digest=digest)
        self._write_cache(digest, data)
        if not self.exists(key):
            self.create(key, data, content_type="application/octet-stream")
        return digest

    def get_blob(self, digest: str) -> bytes:
        """A blob's bytes, from the cache or the bucket. Raises `ObjectMissing`, `DigestMismatch`."""
        return self.blob_path(digest).read_bytes()

    def blob_path(self, digest: str) -> Path:
        """A local, read-only copy of a blob (fetched and checked when it is not cached yet)."""
        return self.cached(f"blobs/{digest}", digest)

    def cached(self, key: str, digest: str) -> Path:
        """A local, read-only copy of an object that never changes. Raises `ObjectMissing`, `DigestMismatch`."""
        path = self._cache_path(digest)
        if not path.exists():
            data = self.get(key)
            found = hashlib.sha256(data).hexdigest()
            if found != digest:
                raise DigestMismatch(
                    f"{key} holds bytes with SHA-256 {found[:12]}, expected {digest[:12]}",
                    next_step="somebody replaced it; restore it from a backup, or rebuild what names it",
                )
            self._write_cache(digest, data)
        return path

    def drop_cached(self, digest: str) -> None:
        """Deletes the local copy of a blob, where there is one."""
        self._cache_path(digest).unlink(missing_ok=True)

    def put_record(self, key: str, record: BaseModel) -> None:
        """Stores a record as JSON."""
        self.put(key, record.model_dump_json(indent=1).encode(), content_type="application/json")

    def get_record(self, key: str, kind: type[R]) -> R:
        """Loads and checks a record. Raises `ObjectMissing`, `RecordDamaged`."""
        try:
            return kind.model_validate_json(self.get(key))
        except ValidationError as error:
            raise RecordDamaged(
                f"{key} in bucket {self.where.bucket} is no {kind.__name__}: {error.errors()[0]['msg']}",
                next_step="restore the object's earlier version; nothing of ours writes into a record",
            ) from error

    def find_record(self, key: str, kind: type[R]) -> R | None:
        """`get_record`, None where there is none yet."""
        try:
            return self.get_record(key, kind)
        except ObjectMissing:
            return None

    # -- the bucket itself -----------------------------------------------------------------------------------------

    def create_bucket(self) -> None:
        """Creates the bucket where it does not exist."""
        with self._errors(""), contextlib.suppress(self.client.exceptions.BucketAlreadyOwnedByYou):
            self.client.create_bucket(Bucket=self.where.bucket)

    def probe(self) -> None:
        """Checks reachability, credentials, the bucket, and that conditional writes are honoured.

        Raises one `StoreError` subclass for each thing that can be wrong; leaves nothing behind.
        """
        with self._errors(""):
            # Not HEAD: its answers have no body, and versitygw's to an unknown access key is a bare 404.
            self.client.list_objects_v2(Bucket=self.where.bucket, MaxKeys=1)
        key = f"probe/{uuid.uuid4().hex}"
        try:
            first, second = self.create(key, b"1"), self.create(key, b"2")
            stale = self.get_object(key).etag
            moved, again = self.swap(key, b"3", stale), self.swap(key, b"4", stale)
        finally:
            self.delete(key)
        advice = "use a store with conditional writes: AWS S3, versitygw, MinIO, R2 or Ceph"
        if not first or not moved:
            held = f"(create: {first}, swap: {moved})"
            raise ConditionsIgnored(
                f"{store_name(self.where)} refused a write whose condition held {held}", next_step=advice
            )
        if second or again:
            what = " and ".join(w for w, bad in (("If-None-Match", second), ("If-Match", again)) if bad)
            loss = "two runs at once would overwrite each other's results"
            raise ConditionsIgnored(f"{store_name(self.where)} ignores {what}: {loss}", next_step=advice)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _put_if(
        self, key: str, data: bytes, content_type: str, metadata: dict[str, str] | None, condition: dict[str, str]
    ) -> bool:
        try:
            self._put(key, data, content_type, metadata, condition)
        except ConditionFailed:
            return False
        except ObjectMissing:  # If-Match on an object that has gone
            return False
        return True

    def _put(
        self, key: str, data: bytes, content_type: str, metadata: dict[str, str] | None, condition: dict[str, str]
    ) -> None:
        arguments: dict[str, Any] = {**condition, "Metadata": metadata or {}}
        if content_type:
            arguments["ContentType"] = content_type
        with self._errors(key):
            self.client.put_object(Bucket=self.where.bucket, Key=self._prefix + key, Body=data, **arguments)

    def _cache_path(self, digest: str) -> Path:
        return self.where.cache_dir / "blobs" / digest[:2] / digest

    def _write_cache(self, digest: str, data: bytes) -> None:
        path = self._cache_path(digest)
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{digest}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
        part.write_bytes(data)
        part.replace(path)  # atomic: a reader never sees half a blob

    @cached_property
    def _device_client(self) -> Any:
        """Signs for the address at which devices reach the store: the signature covers the host."""
        if not self.where.device_endpoint_url:
            return self.client
        return connect(
            self.where.model_copy(update={"endpoint_url": self.where.device_endpoint_url}), max_connections=1
        )

    def _errors(self, key: str) -> contextlib.AbstractContextManager[None]:
        return translated_errors(self.where, key)


@lru_cache
def open_store() -> Store:
    """This process's store, from the settings."""
    return Store(settings())
