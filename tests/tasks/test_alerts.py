"""What events carry, from real records. Not here: that and when they are sent (tests/flows/test_events.py), and what
becomes of them (tests/deployments/test_alerts.py)."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks import alerts
from tasks.candidates import FinishedRun
from tasks.events import Event
from tasks.ingest import IngestSummary
from tasks.lineage import Candidate, ExpectationOutcome, LayerError, Slice
from tasks.parameters import GateLimits
from tasks.release_records import Channel
from tasks.store import Store
from tests.tasks.candidate_records import finished_run

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
URL = "http://reports.example/models/reports/r.html"
CHANNEL = Channel(
    name="stable",
    revision=5,
    release=3,
    release_digest="3" * 64,
    kind="rollback",
    reason="hall camera missed visitors",
    highest=4,
    previous=None,
    moved_at=NOW,
)


def candidate_of(run: FinishedRun) -> Candidate:
    return run.candidate("models/reports/r.html", NOW)


def degraded(run: FinishedRun, held: Channel | None = CHANNEL) -> Event:
    return alerts.quantization_degraded(run, candidate_of(run), held=held, report_url=URL)


def as_sent(event: Event) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(json.dumps(event.model_dump(mode="json")["payload"], allow_nan=False))
    return sent


def test_a_degraded_model_tells_all_that_somebody_needs_to_act(store: Store) -> None:
    run = finished_run(store, limits=GateLimits(max_degradation_bound=0.0001), devices=("porch", "hall"))
    assert run.report
    assert alerts.is_degraded(run)
    event = degraded(run)
    payload = as_sent(event)
    assert event.name == "frames2firmware.quantization.degraded"
    assert event.resource["prefect.resource.id"] == f"frames2firmware.int8.{run.int8.digest[:16]}"
    assert event.subject == run.int8.digest
    assert payload["fp32_accuracy"] == run.report.fp32.accuracy
    assert payload["int8_accuracy"] == run.report.quantized.accuracy
    found = run.report.degradation
    assert payload["loss"] == {
        "point": found.point,
        "limit": run.verdict.limits.max_degradation,
        "bound": found.bound,
        "bound_limit": 0.0001,
        "lost": 1,
        "gained": 1,
        "frames": 600,
        "sessions": 600,
    }
    assert payload["rules"] == ["degradation_bound"]
    (reason,) = payload["reasons"]
    assert reason.startswith("95 % bound of the accuracy loss")
    assert payload["report"] == {"url": URL, "key": "models/reports/r.html"}
    field = payload["field"]
    assert (field["channel"], field["release"], field["revision"]) == ("stable", 3, 5)
    assert "Devices still get release 3 (revision 5 of channel stable)" in payload["summary"]
    assert [payload[name] for name in ("int8", "model", "dataset")] == [
        run.int8.digest,
        run.trained.digest,
        run.dataset.digest,
    ]
    assert payload["worst_slice"]["name"] in ("porch", "hall")
    assert payload["worst_slice"]["samples"] == 300


def test_the_three_layers_that_lose_most_are_named_worst_first(store: Store) -> None:
    run = finished_run(store, limits=GateLimits(max_degradation_bound=0.0001))
    assert run.report
    layers = tuple(
        LayerError(operator=n, op="CONV_2D", name=f"block_{n}", snr_db=20.0, own_snr_db=own, drop_db=None, saturated=0)
        for n, own in enumerate((40.0, 3.5, 120.0, 12.0, 30.0))
    )

    def told(layers: tuple[LayerError, ...]) -> dict[str, Any]:
        assert run.report
        return as_sent(degraded(replace(run, report=run.report.model_copy(update={"layers": layers}))))

    payload = told(layers)
    assert [layer["name"] for layer in payload["layers"]] == ["block_1", "block_3", "block_4"]
    assert payload["layers"][0]["own_snr_db"] == 3.5
    assert payload["layers"][0]["text"].startswith("block_1 (CONV_2D, operator 1)")
    assert payload["layers_text"].count("; ") >= 2
    assert (told(())["layers"], told(())["layers_text"]) == ([], "not analysed")
    assert told(layers[2:3])["layers_text"] == "none loses anything by itself"


def test_before_the_first_release_the_alert_says_that_nothing_was_released(store: Store) -> None:
    run = finished_run(store, limits=GateLimits(max_degradation_bound=0.0001))
    assert as_sent(degraded(run, None))["field"] == {
        "channel": "stable",
        "release": None,
        "revision": None,
        "text": "nothing was released yet",
    }


def test_a_model_that_the_audit_refused_is_degraded_and_says_what_is_wrong_with_it(store: Store) -> None:
    run = finished_run(store, clean=False)
    assert alerts.is_degraded(run)
    payload = as_sent(degraded(run))
    assert payload["evaluated"] is False
    assert payload["fp32_accuracy"] is None
    assert payload["loss"]["bound"] is None
    assert payload["worst_slice"] is None
    assert payload["layers_text"] == "not analysed"
    assert payload["offenders"][0]["op"] == "SIN"
    assert "the audit found 1 offender" in payload["summary"]


@pytest.mark.parametrize(
    ("limits", "clean", "cause"),
    [
        (GateLimits(min_accuracy=0.999), True, "gate"),
        (GateLimits(max_degradation_bound=0.0001), True, "degradation"),
        (GateLimits(min_accuracy=0.999, max_degradation_bound=0.0001), True, "degradation"),
        (GateLimits(), False, "degradation"),
    ],
)
def test_a_rejection_names_its_cause(store: Store, limits: GateLimits, clean: bool, cause: str) -> None:
    run = finished_run(store, limits=limits, clean=clean)
    candidate = candidate_of(run)
    event = alerts.candidate_rejected(run, candidate, report_url=URL)
    assert alerts.is_degraded(run) == (cause == "degradation")
    assert event.resource["frames2firmware.cause"] == cause
    payload = as_sent(event)
    assert payload["cause"] == cause
    assert tuple(payload["reasons"]) == run.broken
    assert all(reason in payload["summary"] for reason in run.broken)
    assert event.subject == payload["candidate"] == candidate.digest


def test_the_worst_slice_is_the_one_that_int8_cost_most_of_those_with_enough_frames(store: Store) -> None:
    report = finished_run(store).report
    assert report

    def one(name: str, samples: int, fp32: float, int8: float) -> Slice:
        figures = report.fp32.model_copy(update={"samples": samples})
        return Slice(
            name=name,
            samples=samples,
            sessions=samples,
            fp32=figures.model_copy(update={"accuracy": fp32}),
            int8=figures.model_copy(update={"accuracy": int8}),
        )

    slices = [one("weak", 500, 0.80, 0.79), one("worst", 60, 0.97, 0.91), one("few", 49, 1.0, 0.5)]
    assert alerts.worst_slice(slices) == {
        "name": "worst",
        "samples": 60,
        "fp32_accuracy": 0.97,
        "int8_accuracy": 0.91,
    }
    assert alerts.worst_slice(slices[2:]) is None


def test_a_refused_data_set_names_what_failed_and_where_to_look(store: Store) -> None:
    run = finished_run(store)
    failed = ExpectationOutcome(
        name="at least 700 frames of person in split train",
        expectation="expect_count",
        success=False,
        observed="120",
        examples=("frames/a", "frames/b", "frames/c", "frames/d"),
    )
    crashed = failed.model_copy(update={"name": "no near duplicates", "error": "KeyError", "severity": "warning"})
    warned = failed.model_copy(update={"name": "only a warning", "severity": "warning"})
    outcome = run.validation.model_copy(
        update={"success": False, "expectations": (*run.validation.expectations, failed, crashed, warned)}
    )
    event = alerts.validation_failed(run.dataset, outcome, docs_url=None)
    payload = as_sent(event)
    assert [one["name"] for one in payload["failed"]] == [failed.name, "no near duplicates"]
    assert payload["failed"][0] | {"found": "120"} == payload["failed"][0]
    assert payload["failed"][1]["found"] == "KeyError"
    assert len(payload["failed"][0]["examples"]) == 3
    assert payload["docs"] == {"url": None, "key": f"{outcome.docs}/index.html"}
    assert event.subject == outcome.digest


def test_training_names_the_model_and_how_good_it_is(store: Store) -> None:
    trained = finished_run(store).trained
    event = alerts.training_finished(trained)
    assert event.subject == trained.digest
    assert event.resource["prefect.resource.id"] == f"frames2firmware.model.{trained.digest[:16]}"
    assert as_sent(event)["val_accuracy"] == 0.976


def test_an_ingest_tells_of_every_device_and_relates_to_no_more_than_prefect_takes() -> None:
    summary = IngestSummary(
        full=False,
        listed=130,
        new=130,
        indexed=120,
        unlabelled=0,
        duplicates=6,
        relabelled=0,
        refused={"decode": 4},
        refused_examples=(),
        elsewhere=0,
        shards=1,
        index_revision=7,
        seconds=1.0,
    )
    event = alerts.ingest_finished(summary, {f"cam-{number:03}": 1 for number in range(120)})
    payload = as_sent(event)
    assert event.subject is None, "every ingest is told"
    assert len(payload["devices"]) == 120
    assert len(event.related) == 50
    assert payload["summary"] == "120 new frames of 120 devices, 4 refused"


def test_a_silent_device_is_told_once_for_each_silence() -> None:
    event = alerts.device_silent("porch/ü", NOW, 24)
    assert as_sent(event)["summary"] == "nothing from device porch/ü since 2026-11-20 12:30 UTC (limit: 24 hours)"
    assert event.subject == "porch%2F%C3%BC-20261120T123000Z", "a part of a key"
    assert event.kind == "device-silent"
    assert alerts.device_silent("porch/ü", NOW.replace(hour=13), 24).subject != event.subject


def test_a_rollback_says_from_where_to_where_and_why() -> None:
    event = alerts.rolled_back(CHANNEL, left=4)
    payload = as_sent(event)
    assert (payload["left"], payload["release"], payload["revision"]) == (4, 3, 5)
    assert payload["reason"] == "hall camera missed visitors"
    assert event.resource["prefect.resource.id"] == "frames2firmware.channel.stable"
    assert event.subject == "stable-5"
