"""The real retrain flow on a few hundred frames, real S3 server, real Prefect server, emulated boards: what it stores.

Covers data set, validation, two-phase training, conversion, evaluation, gate, firmware, report and export together.
Does not touch the local stack (tests/deployments) or the accuracy on real frames (benchmarks).
"""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from deployments.cli import cli
from flows.parameters import RetrainParameters, SweepParameters
from tasks.candidates import newest_passed
from tasks.errors import PipelineError
from tasks.firmware import NotEmulated, Unproven
from tasks.firmware_records import FirmwareImage
from tasks.flatbuffer import audit
from tasks.lineage import Candidate, DatasetVersion, Int8Model, Report, TrainedModel, ValidationOutcome, Verdict
from tasks.parameters import FirmwareParameters
from tasks.store import Store
from tests.conftest import missing_firmware_tool
from tests.flows.conftest import START_WEIGHTS

pytestmark = pytest.mark.usefixtures("prefect_server")
MISSING = missing_firmware_tool()
BOARDS = () if MISSING else FirmwareParameters().boards

SMALL = {
    "validation": {"min_frames_train": 100, "min_frames_val": 20, "min_frames_test": 20},
    "train": {
        "alpha": 0.35,
        "width": 96,
        "height": 72,
        "weights": START_WEIGHTS,
        "head_epochs": 1,
        "fine_tune_layers": -1,
        "fine_tune_epochs": 12,
        "fine_tune_learning_rate": 2e-3,
        "patience": 12,
        "camera_effects_share": 0.1,
    },
    "quantize": {"calibration_frames": 32},
    # Some fifty test frames cannot bound a loss of one point: this test states what they can.
    "limits": {
        "min_accuracy": 0.8,
        "min_recall": 0.7,
        "max_degradation": 0.1,
        "max_degradation_bound": 0.3,
        "min_test_frames": 40,
    },
    "firmware": {"boards": BOARDS, "golden_frames": 12, "golden_frames_others": 6},
}


def small(**groups: dict[str, object]) -> RetrainParameters:
    """The small run's parameters with some groups changed."""
    merged = {name: {**SMALL.get(name, {}), **groups.get(name, {})} for name in {*SMALL, *groups}}
    return RetrainParameters.model_validate(merged)


def everything(store: Store) -> dict[str, str]:
    """Every key in the bucket with its etag."""
    return {item.key: item.etag for item in store.list("")}


def test_frames_become_a_judged_int8_model_and_a_rerun_does_nothing_twice(indexed: Store, tmp_path: Path) -> None:
    from flows.retrain import retrain

    state = retrain(small(), return_state=True)
    candidate = state.result()
    assert isinstance(candidate, Candidate)
    assert state.name == "Passed", state.message

    # Every record is in the bucket, and each names its parent.
    keys = candidate.records
    dataset = indexed.get_record(keys["dataset"], DatasetVersion)
    validation = indexed.get_record(keys["validation"], ValidationOutcome)
    model = indexed.get_record(keys["model"], TrainedModel)
    int8 = indexed.get_record(keys["int8"], Int8Model)
    report = indexed.get_record(keys["report"], Report)
    verdict = indexed.get_record(keys["verdict"], Verdict)
    assert validation.dataset == model.dataset == report.dataset == dataset.digest
    assert int8.model == model.digest
    assert verdict.int8 == report.int8 == int8.digest
    assert verdict.passed
    assert all(rule.passed for rule in verdict.rules)

    # Sessions of three never cross; both classes are there; the figures are about the test split.
    assert set(dataset.counts) == {"train", "val", "test"}
    assert report.fp32.samples == report.quantized.samples == sum(dataset.counts["test"].values())
    assert report.quantized.accuracy >= 0.8
    assert {epoch.phase for epoch in model.curves} == {"head", "fine_tune"}

    # The model in the bucket is what the records say, and fit for the device.
    data = indexed.get_blob(int8.tflite)
    assert len(data) == int8.size_bytes
    assert audit(data).clean
    assert int8.input.scale == 1.0
    assert int8.input.zero_point == -128
    assert int8.size_bytes < int8.fp32_size_bytes

    # An image a board, proven on golden frames of the test split, and all of it is in the bucket.
    images = [indexed.get_record(keys[f"firmware-{board}"], FirmwareImage) for board in BOARDS]
    assert candidate.firmware == tuple(image.digest for image in images)
    for image in images:
        assert image.passed, image.rules
        assert image.int8 == int8.digest
        assert image.outcome is not None
        assert image.outcome.frames == image.outcome.compared_with_host == image.outcome.compared_with_reference
        assert image.outcome.frames == (12 if image is images[0] else 6)
        assert image.outcome.kinds["hardest"] >= 1
        assert not image.outcome.mismatches
        assert image.arena.target is not None
        assert image.arena.lower_bound < image.arena.target.smallest == image.arena.reserved
        assert "too small" in image.arena.one_step_less
        assert image.timing is not None
        assert 0 < image.timing.least <= image.timing.most <= image.timing.limit
        assert indexed.get(image.folder + "model.tflite") == data
        for name, sha256 in image.files.items():
            assert hashlib.sha256(indexed.get(image.folder + name)).hexdigest() == sha256, name
        assert indexed.get(image.folder + "firmware.elf").startswith(b"\x7fELF")

    page = indexed.get(candidate.html).decode()
    assert "Passed" in page
    assert all(digest[:12] in page for digest in (dataset.digest, model.digest, int8.digest, verdict.digest))
    assert all(image.board in page and image.digest[:12] in page for image in images)
    assert indexed.exists(f"{validation.docs}/index.html")

    # The run's page shows verdict, gate and validation.
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["verdict", "gate", "validation", "firmware"]))
        shown = {artifact.key for artifact in client.read_artifacts(artifact_filter=wanted)}
    assert shown == {"verdict", "gate", "validation", *(["firmware"] if BOARDS else [])}

    # The same once more: no object is added or changed but the page, which is the same for the same records.
    before = everything(indexed)
    again = retrain(small(), return_state=True).result()
    assert again == candidate
    after = everything(indexed)
    assert set(after) == set(before)
    assert {key for key in after if after[key] != before[key]} <= {candidate.html}

    # Stricter limits on the same models: rejected with a reason, report kept, nothing trained again, not exported.
    strict = retrain(small(limits={"max_size_bytes": 1000}), return_state=True)
    rejected = strict.result()
    assert strict.name == "Rejected"
    assert strict.is_completed()
    assert "more than the 1,000 B" in (strict.message or "")
    assert not rejected.passed
    assert rejected.model == candidate.model
    assert indexed.exists(rejected.html)

    result = CliRunner().invoke(cli, ["export", str(tmp_path / "out"), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["candidate"] == candidate.digest
    assert (tmp_path / "out" / "model_int8.tflite").read_bytes() == data
    for image in images:
        elf = (tmp_path / "out" / "firmware" / image.board / "firmware.elf").read_bytes()
        assert hashlib.sha256(elf).hexdigest() == image.files["firmware.elf"]

    # A sweep over the same architecture finds the models and judges them on the validation split.
    from flows.sweep import sweep

    models = {item.key for item in indexed.list("models/") if item.key.endswith(("model.json", f"{int8.digest}.json"))}
    groups = {name: SMALL[name] for name in ("validation", "train", "quantize")}
    (point,) = sweep(SweepParameters.model_validate({"alphas": [0.35], "widths": [96], **groups}))
    assert (point.trained, point.int8) == (model.digest, int8.digest)
    assert point.report not in (None, report.digest)
    assert point.on_front
    assert point.accuracy_int8 is not None
    assert models == {
        item.key for item in indexed.list("models/") if item.key.endswith(("model.json", f"{int8.digest}.json"))
    }
    (page,) = indexed.list("models/sweeps/")
    assert point.name.encode() in indexed.get(page.key)

    if MISSING:
        pytest.skip(f"all of it but the firmware was tested: {MISSING}")

    # An image over its budget fails the run by name. What was made stays, as does the candidate that passed before.
    tight = {"boards": ["mps2-an386"], "limits": {"mps2-an386": {"flash_bytes": 100_000}}}
    refused = retrain(small(firmware=tight), return_state=True)
    assert refused.is_failed()
    with pytest.raises(Unproven, match=r"mps2-an386: .*flash budget of 100,000 B.*model weights"):
        refused.result()
    passed = newest_passed(indexed)
    assert passed == candidate


def test_a_board_that_nothing_emulates_is_refused_before_anything_is_trained(indexed: Store) -> None:
    from flows.retrain import retrain

    state = retrain(small(firmware={"boards": ["xiao-esp32s3"]}), return_state=True)
    assert state.is_failed()
    with pytest.raises(NotEmulated, match="xiao-esp32s3: nothing emulates this board"):
        state.result()
    assert not list(indexed.list("datasets/"))


def test_a_data_set_that_is_too_small_ends_the_flow_as_failed_by_name(indexed: Store) -> None:
    from expectations.checkpoint import ValidationFailed
    from flows.retrain import retrain

    state = retrain(small(validation={"min_frames_train": 5000}), return_state=True)
    assert state.is_failed()
    with pytest.raises(ValidationFailed, match="train"):
        state.result()
    assert not list(indexed.list("models/"))


def test_an_empty_bucket_is_a_clear_error(this_bucket: Store) -> None:
    from flows.retrain import retrain

    state = retrain(small(), return_state=True)
    assert state.is_failed()
    with pytest.raises(PipelineError, match="f2f import"):
        state.result()


def test_a_missing_bucket_is_a_clear_error(this_bucket: Store) -> None:
    from flows.retrain import retrain

    this_bucket.client.delete_bucket(Bucket=this_bucket.where.bucket)
    state = retrain(small(), return_state=True)
    assert state.is_failed()
    with pytest.raises(PipelineError, match="no bucket"):
        state.result()


def test_an_error_for_people_is_logged_without_a_traceback(
    this_bucket: Store, caplog: pytest.LogCaptureFixture
) -> None:
    from flows.retrain import retrain

    retrain(small(), return_state=True)
    said = [record for record in caplog.records if "f2f import" in record.getMessage()]
    assert said
    assert all(record.exc_info is None for record in said)
