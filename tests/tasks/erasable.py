"""A bucket in which frames are everywhere that they can be: for tests of forgetting and erasing.

48 frames of tests/tasks/landing.py in 12 sessions and two shards; every test frame is shown in the report, some are
golden frames, and there is a release of it all.
"""

import hashlib
import io
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.candidates import FinishedRun
from tasks.dataset import build_dataset, open_split
from tasks.firmware_records import FirmwareImage
from tasks.gate import judge
from tasks.ingest import ingest
from tasks.lineage import Candidate, DatasetVersion
from tasks.parameters import DatasetParameters, PromoteParameters, SplitParameters
from tasks.promotion import promote
from tasks.record import Record, digest_of
from tasks.report import store_report
from tasks.signing import make_keys
from tasks.store import Store
from tasks.thumbnails import data_uri
from tests.tasks.brightness_models import brightness_model
from tests.tasks.candidate_records import finished_run
from tests.tasks.firmware_records_example import example_image
from tests.tasks.landing import pixels, png, put, raw
from tests.tasks.published import ANY

R = TypeVar("R", bound=Record)
SEEDS = range(48)
TEST = range(32, 48)  # seeds of the test split
GOLDEN = (33, 36, 40)


def sha(seed: int) -> str:
    """pixels_sha256 of a frame, and the SHA-256 of its raw file."""
    return hashlib.sha256(raw(seed)).hexdigest()


def session(seed: int) -> str:
    return f"s{seed // 4}"


def device(seed: int) -> str:
    return "cam" if seed // 4 % 4 < 2 else "hall"


def landed(store: Store) -> None:
    """The frames, indexed by two ingests."""
    for half in (SEEDS[:24], SEEDS[24:]):
        for seed in half:
            split = "train" if seed < 24 else "val" if seed < 32 else "test"
            label = "person" if seed // 4 % 2 else "no_person"
            put(store, seed, label, device=device(seed), session=session(seed), split=split)
        ingest(store, SplitParameters())


def dataset_of(store: Store) -> DatasetVersion:
    return build_dataset(store, DatasetParameters(balance="weights"))


def released(store: Store, variant: str = "a") -> Candidate:
    """Data set, report page, firmware image and release of the frames that are in the index now."""
    make_keys(store.where)
    version = dataset_of(store)
    run = finished_run(store, mistakes=0.0, devices=("cam", "hall"))
    tflite = brightness_model()
    trained = again(
        run.trained, dataset=version.digest, code_version=digest_of(variant), model=store.put_blob(b"keras" * 99)
    )
    int8 = again(
        run.int8,
        model=trained.digest,
        tflite=store.put_blob(tflite),
        fp32_tflite=store.put_blob(brightness_model(dtype="float32")),
    )
    assert run.report
    report = again(run.report, dataset=version.digest, int8=int8.digest, scores=_scores(store, version))
    validation = again(run.validation, dataset=version.digest)
    verdict = judge(report, int8, ANY)
    assert verdict.passed, verdict.rules
    images = (_image(store, int8.digest, tflite),)
    whole = FinishedRun(version, validation, trained, int8, report, verdict, images)
    for record in (version, validation, trained, int8, report, verdict):
        store.put_record(record.key, record)
    html, _ = store_report(store, whole)
    candidate = whole.candidate(html, datetime(2026, 3, 1, tzinfo=UTC))
    store.put_record(candidate.key, candidate)
    promote(store, candidate, PromoteParameters(dry_run=False))
    return candidate


def _scores(store: Store, version: DatasetVersion) -> str:
    """INT8 has every test frame wrong and FP32 right, so that all of them are shown."""
    frames = open_split(store, version, "test")
    right = frames.labels.astype(float) * 0.8 + 0.1
    table = pa.table(
        {
            "pixels_sha256": list(frames.pixels_sha256),
            "key": list(frames.keys),
            "device": list(frames.devices),
            "session": list(frames.sessions),
            "label": ["person" if label else "no_person" for label in frames.labels],
            "fp32_score": right,
            "int8_score": 1 - right,
            "shard": [frames.shards[number].name for number in frames.shard],
            "row": pa.array(frames.row, pa.int32()),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return store.put_blob(sink.getvalue())


def _image(store: Store, int8: str, tflite: bytes) -> FirmwareImage:
    golden = io.BytesIO()
    np.save(golden, np.stack([np.zeros((120, 160), np.uint8), *map(pixels, GOLDEN)]))
    image = example_image("mps2-an386", int8=int8)
    files = {name: f"{name}".encode() for name in image.files}
    files |= {"model.tflite": tflite, "golden-frames.npy": golden.getvalue()}
    image = again(image, files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
    for name, data in files.items():
        store.put(image.folder + name, data)
    store.put_record(image.key, image)
    return image


def again(record: R, **changes: object) -> R:
    """The same record with other fields, its digest made anew."""
    return type(record)(**{**record.model_dump(exclude={"digest"}), **changes})


def copies(store: Store, seed: int) -> list[str]:
    """Every version of every object of the bucket, and every file on this machine, that holds a frame's pixels.

    As they are, as a PNG, or as the picture of a page. (A Parquet file is compressed, and holds no pixels.)
    """
    shown = data_uri(pixels(seed)).partition(",")[2].encode()
    traces = (raw(seed), png(seed), shown)

    def has(data: bytes) -> bool:
        return any(trace in data for trace in traces)

    client, bucket = store.client, store.where.bucket
    found = []
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for item in page.get("Versions", ()):
            if has(client.get_object(Bucket=bucket, Key=item["Key"], VersionId=item["VersionId"])["Body"].read()):
                found.append(item["Key"])
    files = [path for path in store.where.data_dir.rglob("*") if path.is_file()]
    return sorted(found) + [path.name for path in files if has(path.read_bytes())]


def assert_intact(store: Store, version: DatasetVersion, without: set[int]) -> None:
    """Every frame of a data set version but those of seeds `without` loads with the pixels that it had."""
    expected = {sha(seed): seed for seed in SEEDS if seed not in without}
    found = set()
    for split in ("train", "val", "test"):
        frames = open_split(store, version, split)  # type: ignore[arg-type]
        for digest, picture in zip(frames.pixels_sha256, frames.gather(), strict=True):
            assert np.array_equal(picture, pixels(expected[digest])), digest
            found.add(digest)
    assert found == set(expected)
