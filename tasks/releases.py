"""Releases: `releases/<number>.json`, each created once, numbered without gaps, signed, every object by its SHA-256."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tasks.errors import PipelineError
from tasks.firmware_records import FirmwareImage
from tasks.frame_digests import frame_digests
from tasks.lineage import Candidate, DatasetVersion, Int8Model, Report, TrainedModel
from tasks.release_records import Artefact, Comparison, Release, release_key
from tasks.signing import sign
from tasks.store import ObjectMissing, Store

FOLDER = "releases/"


class NoSuchRelease(PipelineError):
    """A release that was asked for and is not there."""


def releases(store: Store) -> list[Release]:
    """All releases, in order of their numbers."""
    keys = [release_key(number) for number in numbers(store)]
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(lambda key: store.get_record(key, Release), keys))


def numbers(store: Store) -> list[int]:
    """The numbers of all releases, ascending."""
    names = (item.key.removeprefix(FOLDER).removesuffix(".json") for item in store.list(FOLDER))
    return sorted(int(name) for name in names if name.isdecimal())


def load_release(store: Store, number: int) -> Release:
    """One release. Raises `NoSuchRelease`."""
    try:
        return store.get_record(release_key(number), Release)
    except ObjectMissing as missing:
        there = numbers(store)
        raise NoSuchRelease(
            f"there is no release {number}; {f'there are {there[0]} to {there[-1]}' if there else 'there is none yet'}",
            next_step="`f2f releases` lists them" if there else "publish one: `f2f promote --publish`",
        ) from missing


def release_of(store: Store, candidate: Candidate) -> Release | None:
    """The release that `candidate` became; None where it became none yet."""
    return _of(candidate, releases(store))


def publish(
    store: Store, candidate: Candidate, comparison: Comparison, *, previous: int | None, key: Ed25519PrivateKey
) -> Release:
    """The release of `candidate`, made under the next free number unless there is one already.

    Numbers have no gaps, and whoever loses the race for one looks at the winner before it tries the next: so a
    candidate has one release, however many processes publish it at once.
    """
    known = releases(store)
    mine = _of(candidate, known)
    if mine:
        return mine
    number = known[-1].number + 1 if known else 1
    artefacts = collect(store, candidate)
    report = store.get_record(candidate.records["report"], Report)
    images = [store.get_record(k, FirmwareImage) for n, k in candidate.records.items() if n.startswith("firmware-")]
    while True:
        release = Release(
            number=number,
            candidate=candidate.digest,
            dataset=candidate.dataset,
            validation=candidate.validation,
            model=candidate.model,
            int8=candidate.int8,
            report=report.digest,
            verdict=candidate.verdict,
            firmware=candidate.firmware,
            boards=tuple(image.board for image in images),
            html=candidate.html,
            previous=previous,
            comparison=comparison,
            artefacts=artefacts,
            accuracy=report.quantized.accuracy,
            test_frames=report.quantized.samples,
            created_at=datetime.now(UTC).replace(microsecond=0),
        )
        release = release.model_copy(update={"signature": sign(release, key)})
        data = release.model_dump_json(indent=1).encode()
        if store.create(release.key, data, content_type="application/json"):
            return release
        winner = load_release(store, number)
        if winner.candidate == candidate.digest:  # another process, or this one and the answer was lost
            return winner
        number += 1


def collect(store: Store, candidate: Candidate) -> dict[str, Artefact]:
    """Every object that the release of `candidate` consists of.

    Records and the report page are copied into blobs: what lies under their own keys may be written again by a later
    version of this program, what a release names must never change.
    """
    found: dict[str, Artefact] = {}

    def blob(name: str, sha256: str) -> None:
        info = store.head(f"blobs/{sha256}")
        if info is None:
            raise ObjectMissing(
                f"blobs/{sha256} ({name} of candidate {candidate.digest[:12]}) is not in the bucket",
                next_step="run the same retrain again, which makes what is missing, then promote its candidate",
            )
        found[name] = Artefact(key=info.key, sha256=sha256, size=info.size)

    def copied(name: str, data: bytes) -> None:
        sha256 = store.put_blob(data)
        found[name] = Artefact(key=f"blobs/{sha256}", sha256=sha256, size=len(data))

    for name, key in {"candidate": candidate.key, **candidate.records}.items():
        copied(f"records/{name}.json", store.get(key))
    copied("report.html", store.get(candidate.html))
    dataset = store.get_record(candidate.records["dataset"], DatasetVersion)
    int8 = store.get_record(candidate.records["int8"], Int8Model)
    blob("manifest.parquet", dataset.manifest)
    copied("frames.digests", frame_digests(store.blob_path(dataset.manifest)))
    blob("model.keras", store.get_record(candidate.records["model"], TrainedModel).model)
    blob("model_fp32.tflite", int8.fp32_tflite)
    blob("model_int8.tflite", int8.tflite)
    blob("scores.parquet", store.get_record(candidate.records["report"], Report).scores)
    for name, key in candidate.records.items():
        if name.startswith("firmware-"):
            image = store.get_record(key, FirmwareImage)
            for file, sha256 in image.files.items():
                info = store.head(image.folder + file)
                if info is None:
                    raise ObjectMissing(
                        f"{image.folder}{file} is not in the bucket",
                        next_step="run the same retrain again, which builds what is missing, then promote",
                    )
                found[f"firmware/{image.board}/{file}"] = Artefact(key=info.key, sha256=sha256, size=info.size)
    return found


def _of(candidate: Candidate, known: list[Release]) -> Release | None:
    return next((release for release in known if release.candidate == candidate.digest), None)


def sha256_of(store: Store, key: str) -> str:
    """SHA-256 (hex) of an object's bytes as they are in the bucket now, read in chunks."""
    digest = hashlib.sha256()
    with store.stream(key) as stream:
        for chunk in stream.chunks:
            digest.update(chunk)
    return digest.hexdigest()
