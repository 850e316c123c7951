"""The S3 client behind the bucket: how it is configured, and what its errors mean for a person."""

import base64
import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import boto3
import botocore.config
import botocore.exceptions
import botocore.session
import botocore.utils

from tasks.settings import Settings
from tasks.store_errors import (
    AccessRefused,
    BucketMissing,
    ConditionFailed,
    ObjectMissing,
    StoreError,
    StoreUnreachable,
)


def connect(where: Settings, *, max_connections: int) -> Any:
    """A boto3 S3 client. Raises `AccessRefused` for a profile that does not exist."""
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
        client: Any = boto3.Session(botocore_session=session).client(
            "s3", endpoint_url=where.endpoint_url, config=config
        )
    except botocore.exceptions.ProfileNotFound as error:
        raise AccessRefused(
            f"credentials profile {where.profile!r} not found: {error}",
            next_step="`f2f up` writes it for the local stack; elsewhere set AWS_PROFILE or F2F_PROFILE",
        ) from error
    return client


class Presigned(NamedTuple):
    """A PUT that somebody without credentials may send: to `url`, with exactly these `headers`."""

    url: str
    headers: dict[str, str]


def presign_create(
    client: Any, bucket: str, key: str, seconds: int, metadata: dict[str, str] | None, sha256: str
) -> Presigned:
    """A signed PUT of `key` with `If-None-Match: *` among the signed headers.

    Left out or changed, a signed header breaks the signature (403); sent, it lets nobody overwrite (412). S3 refuses
    any `x-amz-*` header that was not signed (metadata, tags, ACL, copy source), and any other method, key or query.
    """
    params: dict[str, Any] = {"Bucket": bucket, "Key": key, "IfNoneMatch": "*"}
    headers = {"If-None-Match": "*"}
    if metadata:
        params["Metadata"] = metadata
        headers |= {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    if sha256:
        params["ChecksumSHA256"] = headers["x-amz-checksum-sha256"] = base64.b64encode(bytes.fromhex(sha256)).decode()
    url = client.generate_presigned_url("put_object", Params=params, ExpiresIn=seconds, HttpMethod="PUT")
    return Presigned(url, headers)


class Version(NamedTuple):
    """One version of an object. `id` is "" in a store that knows no versions."""

    id: str
    newest: bool


def versions_of(client: Any, Bucket: str, Key: str) -> list[Version]:  # noqa: N803 - as in boto3
    """Every version of an object, deletions included; a bucket that never kept any has one, the object itself."""
    try:
        pages = list(client.get_paginator("list_object_versions").paginate(Bucket=Bucket, Prefix=Key))
    except client.exceptions.ClientError as error:
        if error.response.get("Error", {}).get("Code") not in ("NotImplemented", "MethodNotAllowed"):
            raise
        return [Version("", newest=True)]
    kept = [item for page in pages for item in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))]
    return [Version(item["VersionId"], item["IsLatest"]) for item in kept if item["Key"] == Key]


def store_name(where: Settings) -> str:
    """The store as errors call it."""
    return f"{where.endpoint_url or 'AWS S3'} (bucket {where.bucket})"


@contextlib.contextmanager
def translated_errors(where: Settings, key: str) -> Iterator[None]:
    """What boto3 raises inside becomes the `StoreError` that says what to do. `key` is "" for the bucket itself."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        raise _translated(where, key, error) from error
    except (botocore.exceptions.NoCredentialsError, botocore.exceptions.PartialCredentialsError) as error:
        raise AccessRefused(
            f"no S3 credentials for {store_name(where)}",
            next_step="run `f2f up` for the local stack, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ) from error
    except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError) as error:
        raise StoreUnreachable(
            f"no answer from {store_name(where)}: {error}",
            next_step="`f2f status` shows the local stack, `f2f up` starts it; elsewhere check F2F_ENDPOINT_URL",
        ) from error


def _translated(where: Settings, key: str, error: botocore.exceptions.ClientError) -> StoreError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    # XAdminUserNotFound: versitygw 1.8.0 answers an unknown access key with 404.
    if status in (401, 403) or code == "XAdminUserNotFound":
        return AccessRefused(
            f"{store_name(where)} refused access{f' to {key!r}' if key else ''}: {code or status}",
            next_step="check the credentials (AWS_ACCESS_KEY_ID, profile) and what they are allowed to do",
        )
    if code == "NoSuchBucket" or (status == 404 and not key):
        return BucketMissing(
            f"no bucket {where.bucket!r} at {where.endpoint_url or 'AWS S3'}",
            next_step="create it (`f2f up` does for the local stack) or set F2F_BUCKET",
        )
    if code in ("PreconditionFailed", "ConditionalRequestConflict") or status in (409, 412):
        return ConditionFailed(f"{key}: somebody else wrote first ({code})")
    if code in ("NoSuchKey", "404", "NotFound") or status == 404:
        return ObjectMissing(f"no object {key!r} in {store_name(where)}")
    return StoreError(f"{store_name(where)} answered {status} {code} for {key!r}: {error}")


def _timestamp(value: Any) -> datetime:
    """botocore's own parser takes more than half of the time of a long listing; S3 lists ISO 8601."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment: datetime = botocore.utils.parse_timestamp(value)
        return moment
