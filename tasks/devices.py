"""Devices that may upload and nothing more: who they are, and the URLs with which they create their frames.

A device is a record `devices/<name>.json` and a token, of which only the SHA-256 is stored. For the token the upload
gate (deployments/upload_gate.py) hands out presigned PUT URLs below `frames/<arrival day>/<device>/<session>/`. Each
creates one object once: it cannot read, list, delete, overwrite, write anywhere else, or set a label.

Presigned URLs with `If-None-Match: *` among the signed headers are what S3 servers have in common here. AWS can refuse
unconditional writes by policy (condition key `s3:if-none-match`), versitygw 1.8.0 does not know that key.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from tasks.errors import PipelineError
from tasks.inbox import INBOX, LOOK_BACK
from tasks.record import Sha256
from tasks.store import ObjectMissing, Store

FOLDER = "devices/"
MOST_URLS = 1000  # at once
HOUR, DAY = 3600, 24 * 3600  # seconds
LONGEST = 7 * DAY  # S3's own limit for a presigned URL

# One part of a key: never empty, never "." or "..", nothing that a URL or a shell would read as something else.
Segment = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$", strict=True)]
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 random bytes, base64url
ALLOWED = "1 to 64 characters of A-Z a-z 0-9 . _ -, not beginning with . or -"


class DeviceExists(PipelineError):
    """There is a device of this name already."""


class DeviceUnknown(PipelineError):
    """There is no device of this name."""


class NameInvalid(PipelineError):
    """A device's or session's name that is no part of a key."""


class Device(BaseModel):
    """A device that may upload, as stored in `devices/<name>.json`. Its token is not in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: Literal[1] = 1
    name: Segment
    token_sha256: Sha256
    added_at: AwareDatetime

    @property
    def key(self) -> str:
        return device_key(self.name)


class WantedFile(BaseModel):
    """A file that a device wants to upload."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Segment
    sha256: Sha256 | None = Field(
        None, description="Of its bytes: the URL then takes these bytes only, and all of them."
    )
    captured_at: AwareDatetime | None = Field(None, description="When the picture was taken; kept in UTC.")

    @field_validator("captured_at")
    @classmethod
    def _in_utc(cls, moment: datetime | None) -> datetime | None:
        try:
            return moment and moment.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("in UTC that is before year 1 or after year 9999") from error


class UploadRequest(BaseModel):
    """What a device asks for. It names its session and its files; day, device and everything else are not its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    session: Segment
    files: Annotated[tuple[WantedFile, ...], Field(max_length=MOST_URLS)] = ()
    names: Annotated[tuple[Segment, ...], Field(max_length=MOST_URLS)] = ()
    count: Annotated[int, Field(ge=1, le=MOST_URLS, strict=True)] | None = None
    seconds: Annotated[int, Field(ge=1, le=LONGEST, strict=True, description="How long the URLs hold.")] = HOUR

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(map(bool, (self.files, self.names, self.count))) != 1:
            raise ValueError("give exactly one of files, names, count")
        names = [file.name for file in self.files] or self.names
        if len(set(names)) != len(names):
            raise ValueError("the same name is there twice")
        return self


class Upload(NamedTuple):
    """One object that a device may create: a PUT to `url` with exactly these `headers`."""

    name: str
    key: str
    url: str
    headers: dict[str, str]


def device_key(name: str) -> str:
    """Where a device's record lies."""
    return f"{FOLDER}{name}.json"


def add(store: Store, name: str, now: datetime | None = None) -> str:
    """Registers a device; returns its token, which is nowhere else. Raises `NameInvalid`, `DeviceExists`."""
    token = f"{checked(name, 'device')}.{secrets.token_urlsafe(32)}"
    device = Device(name=name, token_sha256=_hash(token), added_at=now or datetime.now(UTC))
    if not store.create(device.key, device.model_dump_json(indent=1).encode(), content_type="application/json"):
        raise DeviceExists(
            f"there is a device {name!r} already, and its token cannot be shown again",
            next_step=f"take another name, or `f2f device remove {name}` first: the old token then ends",
        )
    return token


def devices(store: Store) -> list[Device]:
    """All devices, in order of their names."""
    return [store.get_record(item.key, Device) for item in store.list(FOLDER)]


def load(store: Store, name: str) -> Device:
    """The device of this name. Raises `NameInvalid`, `DeviceUnknown`."""
    found = store.find_record(device_key(checked(name, "device")), Device)
    if found is None:
        raise DeviceUnknown(f"there is no device {name!r}", next_step="`f2f device list` shows all of them")
    return found


def remove(store: Store, name: str) -> Device:
    """Ends a device's token at once. URLs that it holds go on until they expire. Raises `DeviceUnknown`."""
    found = load(store, name)
    store.delete(found.key)
    return found


def authenticated(store: Store, token: str) -> Device | None:
    """The device whose token this is; None for anything else."""
    name, _, secret = token.rpartition(".")
    if not _SECRET.fullmatch(secret) or not _SEGMENT.fullmatch(name):
        return None
    try:
        device = store.get_record(device_key(name), Device)
    except ObjectMissing:
        return None
    return device if hmac.compare_digest(device.token_sha256, _hash(token)) else None


def uploads(store: Store, device: Device, wanted: UploadRequest, now: datetime | None = None) -> list[Upload]:
    """The URLs for what `device` asks for, all of them below its own folder. Nothing is written."""
    now = now or datetime.now(UTC)
    folder = f"{INBOX}{landing_day(now, wanted.seconds)}/{device.name}/{wanted.session}/"
    made = []
    for file in wanted.files or [WantedFile(name=name) for name in wanted.names or _numbered(wanted.count or 0, now)]:
        metadata = {"captured-at": file.captured_at.isoformat()} if file.captured_at else None
        url, headers = store.presigned_create(
            folder + file.name, seconds=wanted.seconds, metadata=metadata, sha256=file.sha256 or ""
        )
        made.append(Upload(file.name, folder + file.name, url, headers))
    return made


def landing_day(now: datetime, seconds: int) -> date:
    """The day in the keys: today (UTC), for long-lived URLs a later one.

    An ingest lists from the newest day that it has seen minus `LOOK_BACK` on. Whenever a URL is used until it expires,
    its key's day is not before that.
    """
    return max(now.astimezone(UTC).date(), (now + timedelta(seconds=seconds)).astimezone(UTC).date() - LOOK_BACK)


def checked(name: str, what: str) -> str:
    """`name`, where it may be part of a key. Raises `NameInvalid`."""
    if not _SEGMENT.fullmatch(name):
        raise NameInvalid(f"{what} {name[:80]!r} is not a name", next_step=f"allowed are {ALLOWED}")
    return name


def _numbered(count: int, now: datetime) -> Sequence[str]:
    """Names that sort by time and that no second request gets again. No suffix: what a file is, its bytes say."""
    start = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    return [f"{start}-{number:04d}" for number in range(1, count + 1)]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
