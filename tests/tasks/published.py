"""Whole candidates in a bucket, with every object that a release of them consists of: for tests of releases.

The frames are those of candidate_records.py, bright ones are persons: `brightness_model()` has all of them right.
"""

import hashlib
import io
from datetime import UTC, datetime
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.candidates import FinishedRun
from tasks.channels import read
from tasks.firmware_records import FirmwareImage
from tasks.gate import judge
from tasks.lineage import Candidate, Report, digest_of
from tasks.parameters import GateLimits, PromoteParameters
from tasks.promotion import Promotion, promote
from tasks.record import Record
from tasks.release_records import Channel
from tasks.signing import make_keys
from tasks.store import Store
from tests.tasks.brightness_models import brightness_model
from tests.tasks.candidate_records import finished_run
from tests.tasks.firmware_records_example import example_image

R = TypeVar("R", bound=Record)
ANY = GateLimits(min_accuracy=0, min_recall=0, max_degradation=1, max_degradation_bound=1)


def stored_candidate(
    store: Store,
    variant: str = "a",
    *,
    model: bytes | None = None,
    mistakes: float = 0.0,
    frames: int = 600,
    devices: tuple[str, ...] = ("porch", "hall"),
    boards: tuple[str, ...] = ("mps2-an386",),
    limits: GateLimits = ANY,
    rows: int = 1000,
) -> Candidate:
    """A candidate that passed, stored with all it names. Equal `variant`: the same FP32 and INT8 model.

    `model`: the INT8 model's bytes (default: one that is right on every frame). `mistakes`: share of test frames that
    the *report* has wrong. `rows`: frames in the data set's manifest.
    """
    run = finished_run(store, frames=frames, mistakes=mistakes, devices=devices)
    tflite = model or brightness_model()
    dataset = run.dataset.model_copy(update={"manifest": store.put_blob(manifest(rows))})
    trained = _again(run.trained, code_version=digest_of(("trained", variant)), model=store.put_blob(b"keras" * 99))
    int8 = _again(
        run.int8,
        model=trained.digest,
        code_version=digest_of(("int8", variant)),
        tflite=store.put_blob(tflite),
        fp32_tflite=store.put_blob(brightness_model(dtype="float32")),
    )
    assert run.report
    report = _again(run.report, int8=int8.digest)
    images = tuple(stored_image(store, board, int8.digest, tflite) for board in boards)
    verdict = judge(report, int8, limits)
    assert verdict.passed, [rule for rule in verdict.rules if not rule.passed]
    return store_run(store, FinishedRun(dataset, run.validation, trained, int8, report, verdict, images))


def store_run(store: Store, run: FinishedRun) -> Candidate:
    """Stores the run's records, a page and the candidate, as flows/publish.py does."""
    assert isinstance(run.report, Report)
    html = f"models/reports/{run.report.digest}/report-{run.verdict.digest[:16]}.html"
    store.put(html, b"<!DOCTYPE html><title>a report</title>", content_type="text/html")
    for record in (run.dataset, run.validation, run.trained, run.int8, run.report, run.verdict):
        store.put_record(record.key, record)
    candidate = run.candidate(html, datetime(2026, 3, 1, tzinfo=UTC))
    store.put_record(candidate.key, candidate)
    return candidate


def stored_image(store: Store, board: str, int8: str, tflite: bytes) -> FirmwareImage:
    """An image with real files in the bucket."""
    image = example_image(board, int8=int8)
    files = {name: f"{board} {name}".encode() for name in image.files} | {"model.tflite": tflite}
    image = image.model_copy(update={"files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}})
    for name, data in files.items():
        store.put(image.folder + name, data)
    store.put_record(image.key, image)
    return image


def manifest(rows: int) -> bytes:
    """A data set's manifest with the columns that lineage reads; row i has the pixels digest_of(("pixels", i))."""
    pixels = sorted(digest_of(("pixels", i)) for i in range(rows))
    table = pa.table(
        {
            "pixels_sha256": pixels,
            "sha256": [hashlib.sha256(f"object of {one}".encode()).hexdigest() for one in pixels],
            "key": [f"frames/2026-03-01/porch/s{i // 10}/{i:07d}.jpg" for i in range(rows)],
            "device": ["porch"] * rows,
            "session": [f"s{i // 10}" for i in range(rows)],
            "label": ["person" if i % 2 else "no_person" for i in range(rows)],
            "split": ["train"] * rows,
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def published(store: Store, variant: str = "a", **wanted: Any) -> Promotion:
    """Promotes a new stored candidate for real; keys are made where there are none."""
    make_keys(store.where)
    return promote(store, stored_candidate(store, variant, **wanted), PromoteParameters(dry_run=False))


def held(store: Store, name: str = "stable") -> Channel:
    """What the channel holds now."""
    channel, _ = read(store, name)
    assert channel
    return channel


def _again(record: R, **changes: object) -> R:
    """The same record with other fields, its digest made anew."""
    plain = record.model_dump(exclude={"digest"})
    return type(record)(**{**plain, **changes})
