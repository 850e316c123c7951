"""The bucket. The only file that knows boto3.

Plain objects, create-once objects (If-None-Match: *), compare-and-swap (If-Match) and immutable blobs named by their
SHA-256. Keys given here are relative to the configured prefix.
"""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import boto3
import botocore.config
import botocore.exceptions
import botocore.session
import botocore.utils
from pydantic import BaseModel

from tasks.settings import Settings, settings
from tasks.store_errors import (
    AccessRefused,
    BucketMissing,
    ConditionFailed,
    ConditionsIgnored,
    DigestMismatch,
    ObjectMissing,
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
        session = botocore.session.Session(profile=where.profile)
        if where.credentials_file:
            session.set_config_variable("credentials_file", str(where.credentials_file))
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
        config = botocore.config.Config(
            signature_version="s3v4",
            region_name=where.region,
            max_pool_connections=max_connections,
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": 4},
            # Path style: bucket names as host names need DNS that local servers do not have. Signed payloads, over TLS
            # too: versitygw 1.8.0 keeps what arrived of an upload that broke off, unless a digest was announced.
            s3={"addressing_style": "path" if where.endpoint_url else "auto", "payload_signing_enabled": True},
            # Newer checksums only where asked for: not every S3-compatible server knows them.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            self.client: Any = boto3.Session(botocore_session=session).client(
                "s3", endpoint_url=where.endpoint_url, config=config
            )
        except botocore.exceptions.ProfileNotFound as error:
            raise AccessRefused(
                f"credentials profile {where.profile!r} not found: {error}",
                next_step="`f2f up` writes it for the local stack; elsewhere set AWS_PROFILE or F2F_PROFILE",
            ) from error

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
        """The "folders" right below `prefix` (which ends with a slash), each with its slash at the end."""
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

    def delete(self, key: str) -> None:
        """Deletes; an object that is not there is fine."""
        with self._errors(key):
            self.client.delete_object(Bucket=self.where.bucket, Key=self._prefix + key)

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

    def put_record(self, key: str, record: BaseModel) -> None:
        """Stores a record as JSON."""
        self.put(key, record.model_dump_json(indent=1).encode(), content_type="application/json")

    def get_record(self, key: str, kind: type[R]) -> R:
        """Loads and checks a record. Raises `ObjectMissing`, pydantic's `ValidationError`."""
        return kind.model_validate_json(self.get(key))

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
            raise ConditionsIgnored(f"{self._name()} refused a write whose condition held {held}", next_step=advice)
        if second or again:
            what = " and ".join(w for w, bad in (("If-None-Match", second), ("If-Match", again)) if bad)
            loss = "two runs at once would overwrite each other's results"
            raise ConditionsIgnored(f"{self._name()} ignores {what}: {loss}", next_step=advice)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _name(self) -> str:
        return f"{self.where.endpoint_url or 'AWS S3'} (bucket {self.where.bucket})"

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

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except botocore.exceptions.ClientError as error:
            raise self._translated(key, error) from error
        except (botocore.exceptions.NoCredentialsError, botocore.exceptions.PartialCredentialsError) as error:
            raise AccessRefused(
                f"no S3 credentials for {self._name()}",
                next_step="run `f2f up` for the local stack, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ) from error
        except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError) as error:
            raise StoreUnreachable(
                f"no answer from {self._name()}: {error}",
                next_step="`f2f status` shows the local stack, `f2f up` starts it; elsewhere check F2F_ENDPOINT_URL",
            ) from error

    def _translated(self, key: str, error: botocore.exceptions.ClientError) -> StoreError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        # XAdminUserNotFound: versitygw 1.8.0 answers an unknown access key with 404.
        if status in (401, 403) or code == "XAdminUserNotFound":
            return AccessRefused(
                f"{self._name()} refused access{f' to {key!r}' if key else ''}: {code or status}",
                next_step="check the credentials (AWS_ACCESS_KEY_ID, profile) and what they are allowed to do",
            )
        if code == "NoSuchBucket" or (status == 404 and not key):
            return BucketMissing(
                f"no bucket {self.where.bucket!r} at {self.where.endpoint_url or 'AWS S3'}",
                next_step="create it (`f2f up` does for the local stack) or set F2F_BUCKET",
            )
        if code in ("PreconditionFailed", "ConditionalRequestConflict") or status in (409, 412):
            return ConditionFailed(f"{key}: somebody else wrote first ({code})")
        if code in ("NoSuchKey", "404", "NotFound") or status == 404:
            return ObjectMissing(f"no object {key!r} in {self._name()}")
        return StoreError(f"{self._name()} answered {status} {code} for {key!r}: {error}")


def _timestamp(value: Any) -> datetime:
    """botocore's own parser takes more than half of the time of a long listing; S3 lists ISO 8601."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment: datetime = botocore.utils.parse_timestamp(value)
        return moment


@lru_cache
def open_store() -> Store:
    """This process's store, from the settings."""
    return Store(settings())
