"""What may be flashed is what was published: signature, bytes, lineage and channel revision of a release, checked anew.

Nothing is taken from the local cache. Every finding names its object; all of them are collected before anything is
said. Besides the bucket it needs the trusted public keys of this machine, and remembers here the newest revision of a
channel that it has seen: an older one, put back by whoever can write to the bucket, is refused. Where a frame was
erased (tasks/erase.py), a signed record says which report and which golden frames that changed, and how.
"""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.erasures import load_erasures
from tasks.errors import PipelineError
from tasks.firmware_records import FirmwareImage
from tasks.lineage import Candidate, DatasetVersion, Int8Model, Record, Report, TrainedModel, ValidationOutcome, Verdict
from tasks.progress import Progress, silent
from tasks.release_records import Artefact, Channel, Release, channel_key, release_key
from tasks.releases import sha256_of
from tasks.signing import SignatureRefused, check, load_trusted_keys
from tasks.store import ObjectMissing, Store

Kind = Literal["signature", "bytes", "missing", "lineage", "revision"]
RECORDS: dict[str, type[Record]] = {
    "candidate": Candidate,
    "dataset": DatasetVersion,
    "validation": ValidationOutcome,
    "model": TrainedModel,
    "int8": Int8Model,
    "report": Report,
    "verdict": Verdict,
}


class Finding(BaseModel):
    """One thing that is not as it was published."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Kind
    object: str
    message: str


class _Seen(BaseModel):
    """The newest revision of a channel that was seen on this machine."""

    revision: int
    digest: str


class Verification(BaseModel):
    """The result for one release and, where a channel was asked for, for that channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    release: int | None  # None where the channel cannot be read
    channel: str | None
    revision: int | None
    artefacts: int  # objects that were read and compared
    bytes: int
    findings: tuple[Finding, ...]
    erased: tuple[str, ...] = ()  # what is not as it was published because a frame was erased, in sentences

    @property
    def passed(self) -> bool:
        return not self.findings


class NothingToVerify(PipelineError):
    """No such release, or nothing in the channel."""


class MemoryDamaged(PipelineError):
    """The file that remembers a channel's newest revision cannot be read."""


def verify_channel(store: Store, name: str, *, progress: Progress = silent) -> Verification:
    """The channel's own signature and revision, and the release that it names.

    Raises `NothingToVerify`, `MemoryDamaged`, `tasks.signing.KeyMissing`.
    """
    trusted = load_trusted_keys(store.where)
    # Before the channel itself: a copy is written after its revision, so none of these is newer than what is read next.
    newest = _newest_copy(store, name)
    key = channel_key(name)
    try:
        written = store.get(key)
    except ObjectMissing as missing:
        raise NothingToVerify(
            f"channel {name} holds nothing yet", next_step="publish something: `f2f promote --publish`"
        ) from missing
    found: list[Finding] = []
    try:
        check(written, Channel, trusted, what=key)
    except SignatureRefused as refused:
        found.append(Finding(kind="signature", object=key, message=refused.message))
    try:
        held = Channel.model_validate_json(written)
    except ValidationError as error:
        message = f"cannot be read: {error.errors()[0]['msg']}"
        found.append(Finding(kind="signature", object=key, message=message))
        return _verification(None, found).model_copy(update={"channel": name})
    if held.name != name:
        found.append(Finding(kind="signature", object=key, message=f"{key} holds channel {held.name}"))
    if not found:
        found += _revision(store, held, newest)
    release = verify_release(store, held.release, progress=progress)
    if release.passed and Release.model_validate_json(_written(store, held.release)).digest != held.release_digest:
        message = f"{release_key(held.release)} is not the release that revision {held.revision} names"
        found.append(Finding(kind="lineage", object=key, message=message))
    return release.model_copy(
        update={"channel": name, "revision": held.revision, "findings": (*found, *release.findings)}
    )


def verify_release(store: Store, number: int, *, progress: Progress = silent) -> Verification:
    """Signature, bytes and lineage of one release. Raises `NothingToVerify`, `tasks.signing.KeyMissing`."""
    trusted = load_trusted_keys(store.where)
    key = release_key(number)
    try:
        written = _written(store, number)
        check(written, Release, trusted, what=key)
        release = Release.model_validate_json(written)
        if release.number != number:
            raise SignatureRefused(f"{key} holds release {release.number}")
    except SignatureRefused as refused:
        return _verification(number, [Finding(kind="signature", object=key, message=refused.message)])
    except ValidationError as error:
        message = f"cannot be read: {error.errors()[0]['msg']}"
        return _verification(number, [Finding(kind="signature", object=key, message=message)])
    found, erased = _erased(store, release, trusted, _bytes(store, release, progress))
    if not found:
        found = list(_lineage(store, release))
    return _verification(number, found, release).model_copy(update={"erased": erased})


def _verification(number: int | None, found: list[Finding], release: Release | None = None) -> Verification:
    artefacts = release.artefacts.values() if release else ()
    total = sum(artefact.size for artefact in artefacts)
    return Verification(
        release=number, channel=None, revision=None, artefacts=len(artefacts), bytes=total, findings=tuple(found)
    )


def _written(store: Store, number: int) -> bytes:
    try:
        return store.get(release_key(number))
    except ObjectMissing as missing:
        raise NothingToVerify(f"there is no release {number}", next_step="`f2f releases` lists them") from missing


def _bytes(store: Store, release: Release, progress: Progress) -> dict[str, str | None]:
    """Name of each artefact that is not as it was published -> its SHA-256 in the bucket, None where it is gone."""
    done = 0

    def one(item: tuple[str, Artefact]) -> str | None:
        nonlocal done
        try:
            return sha256_of(store, item[1].key)
        except ObjectMissing:
            return None
        finally:
            done += 1
            progress(done, len(release.artefacts), "objects")

    with ThreadPoolExecutor(4) as threads:
        found = dict(zip(release.artefacts, threads.map(one, release.artefacts.items()), strict=True))
    return {name: sha256 for name, sha256 in found.items() if sha256 != release.artefacts[name].sha256}


def _erased(
    store: Store, release: Release, trusted: dict[str, Ed25519PublicKey], changed: dict[str, str | None]
) -> tuple[list[Finding], tuple[str, ...]]:
    """Of what is not as it was published: findings, and what a signed erasure names exactly as it is."""
    if not changed:
        return [], ()
    erasures = load_erasures(store, trusted)
    findings, erased = [], []
    for name, found in changed.items():
        artefact = release.artefacts[name]
        excuse = erasures.excuse(store, name, artefact, found)
        if excuse:
            erased.append(f"{name} ({artefact.key}): {excuse}")
            continue
        if found is None:
            kind: Kind = "missing"
            message = f"{name} is not in the bucket any more"
        else:
            kind, was = "bytes", artefact.sha256[:12]
            message = f"{name} has SHA-256 {found[:12]}, published was {was}: it was changed or replaced"
        if erasures.refused:
            message += f"; erasures that do not count: {'; '.join(erasures.refused.values())}"
        findings.append(Finding(kind=kind, object=artefact.key, message=message))
    return findings, tuple(erased)


def _lineage(store: Store, release: Release) -> Iterator[Finding]:
    """Every record names its parent, and all of them are those of this release."""

    def record(name: str, kind: type[Record]) -> Record | Finding:
        artefact = release.artefacts.get(f"records/{name}.json")
        if artefact is None:
            return Finding(kind="lineage", object=release.key, message=f"lists no record of its {name}")
        try:
            return kind.model_validate_json(store.get(artefact.key))
        except ValidationError as error:
            return Finding(kind="lineage", object=artefact.key, message=f"{name}: {error.errors()[0]['msg']}")

    named = {name: record(name, kind) for name, kind in RECORDS.items()}
    named |= {f"firmware-{board}": record(f"firmware-{board}", FirmwareImage) for board in release.boards}
    broken = [found for found in named.values() if isinstance(found, Finding)]
    yield from broken
    if broken:
        return
    for holds, message in _links(release, named):
        if not holds:
            yield Finding(kind="lineage", object=release.key, message=message)


def _links(release: Release, named: dict[str, Record | Finding]) -> Iterator[tuple[bool, str]]:
    """Each link of the chain from frames to image, whether it holds, and what to say where it does not."""
    candidate, dataset, validation = named["candidate"], named["dataset"], named["validation"]
    model, int8, report, verdict = (named[name] for name in ("model", "int8", "report", "verdict"))
    assert isinstance(candidate, Candidate)
    assert isinstance(dataset, DatasetVersion)
    assert isinstance(validation, ValidationOutcome)
    assert isinstance(model, TrainedModel)
    assert isinstance(int8, Int8Model)
    assert isinstance(report, Report)
    assert isinstance(verdict, Verdict)
    listed = {name: artefact.sha256 for name, artefact in release.artefacts.items()}
    for name in RECORDS:
        yield _digest(named[name]) == getattr(release, name), f"the {name} record is not the one it names"
    for name in ("dataset", "validation", "model", "int8", "report", "verdict", "firmware"):
        yield getattr(candidate, name) == getattr(release, name), f"the candidate has another {name}"
    yield candidate.passed and verdict.passed, "the candidate did not pass its gate"
    yield validation.dataset == dataset.digest and validation.success, "the data set was not validated"
    yield model.dataset == dataset.digest, "the FP32 model was trained on another data set"
    yield int8.model == model.digest, "the INT8 model comes from another FP32 model"
    yield report.int8 == int8.digest and report.dataset == dataset.digest, "the report is on another model"
    yield verdict.report == report.digest and verdict.int8 == int8.digest, "the verdict is on another report"
    yield release.comparison.candidate == int8.digest, "the comparison is of another model"
    yield release.comparison.passed, "the comparison with the channel did not pass"
    yield listed.get("manifest.parquet") == dataset.manifest, "the manifest is of another data set"
    yield listed.get("model.keras") == model.model, "model.keras is not the record's"
    yield listed.get("model_int8.tflite") == int8.tflite, "model_int8.tflite is not the record's"
    yield listed.get("scores.parquet") == report.scores, "the scores are of another report"
    images = [image for image in named.values() if isinstance(image, FirmwareImage)]
    yield tuple(image.digest for image in images) == release.firmware, "its images are not those it names"
    for image in images:
        files = {f"firmware/{image.board}/{name}": sha256 for name, sha256 in image.files.items()}
        yield image.int8 == int8.digest and image.passed, f"the image for {image.board} holds another model"
        yield image.files.get("model.tflite") == int8.tflite, f"the image for {image.board} has another model file"
        yield files.items() <= listed.items(), f"a file of the image for {image.board} is another one, or not listed"


def _digest(record: Record | Finding) -> str:
    return record.digest if isinstance(record, Record) else ""


# -- channel revisions -------------------------------------------------------------------------------------------------


def _newest_copy(store: Store, name: str) -> int:
    """The newest revision of a channel that has its copy; 0 where none has."""
    kept = (item.key.rpartition("/")[2].removesuffix(".json") for item in store.list(f"channels/{name}/"))
    return max((int(revision) for revision in kept if revision.isdecimal()), default=0)


def _revision(store: Store, held: Channel, newest: int) -> Iterator[Finding]:
    """Refuses a channel that lies behind its newest copy, or behind what was seen here; remembers it otherwise."""
    seen_file = _seen_file(store, held.name)
    seen = _seen(seen_file)
    if held.revision < newest:
        message = f"is at revision {held.revision}, and revision {newest} was published: it was put back"
        yield Finding(kind="revision", object=held.key, message=message)
    elif held.revision < seen.revision:
        message = f"is at revision {held.revision}, and revision {seen.revision} was seen here: it was put back"
        yield Finding(kind="revision", object=held.key, message=message)
    elif held.revision == seen.revision and held.digest != seen.digest:
        message = f"revision {held.revision} is another one than was seen here before"
        yield Finding(kind="revision", object=held.key, message=message)
    else:
        seen_file.parent.mkdir(parents=True, exist_ok=True)
        part = seen_file.with_suffix(f".{os.getpid()}.part")  # its own: others verify at the same time
        part.write_text(_Seen(revision=held.revision, digest=held.digest).model_dump_json())
        part.replace(seen_file)


def _seen(file: Path) -> _Seen:
    try:
        return _Seen.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return _Seen(revision=0, digest="")
    except ValidationError as error:
        raise MemoryDamaged(
            f"{file}, the newest revision that was seen here, cannot be read: {error.errors()[0]['msg']}",
            next_step="look at the channel's history (`f2f releases`); if it is right, delete that file",
        ) from error


def _seen_file(store: Store, name: str) -> Path:
    where = store.where
    place = hashlib.sha256(f"{where.endpoint_url}\0{where.bucket}\0{where.prefix}".encode()).hexdigest()[:16]
    return where.data_dir / "seen" / f"{place}-{name}.json"
