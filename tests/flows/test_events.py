"""Events of flows on a real Prefect server and a real S3 server: what arrives, and that telling never fails a run.

What events carry is in tests/tasks/test_alerts.py; what automations make of them in tests/deployments/test_alerts.py.
"""

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import events
from flows.ingest import ingest
from flows.parameters import IngestParameters, RetrainParameters
from tasks import outbox
from tasks.alerts import device_silent
from tasks.candidates import FinishedRun
from tasks.events import Event
from tasks.lineage import Candidate
from tasks.parameters import GateLimits
from tasks.store import Store
from tests.conftest import free_port
from tests.tasks import landing
from tests.tasks.candidate_records import finished_run

pytestmark = pytest.mark.usefixtures("prefect_server")
NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
SETTLED = 8.0  # seconds; the server stores events every 5


def on_server(**wanted: object) -> list[dict[str, Any]]:
    """Stored events that match the filter."""
    with get_client(sync_client=True) as client:
        return list(client.request("POST", "/events/filter", json={"filter": wanted}).json()["events"])


def wait_for(count: int = 1, **wanted: object) -> list[dict[str, Any]]:
    """The events that match the filter, once there are `count`."""
    end = time.monotonic() + 30
    while len(found := on_server(**wanted)) < count:
        assert time.monotonic() < end, f"{len(found)} of {count} events {wanted}"
        time.sleep(0.3)
    return found


def silent(device: str) -> Event:
    return device_silent(device, datetime.now(UTC), 24)


def by_resource(event: Event) -> dict[str, object]:
    return {"resource": {"id": [event.resource["prefect.resource.id"]]}}


def rejected_run(store: Store) -> tuple[FinishedRun, Candidate]:
    run = finished_run(store, limits=GateLimits(max_degradation_bound=0.0001))
    return run, run.candidate("models/reports/r.html", NOW)


@contextmanager
def api_at(url: str) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: url}):
        yield


def test_an_event_arrives_and_belongs_to_the_run_that_sent_it(this_bucket: Store) -> None:
    event = silent("belongs")

    @flow
    def sends() -> str:
        events.emit(event)
        context = FlowRunContext.get()
        assert context
        assert context.flow_run
        return str(context.flow_run.id)

    run = sends()
    (found,) = wait_for(**by_resource(event))
    assert found["event"] == "frames2firmware.device.silent"
    assert found["payload"] == event.payload
    assert f"prefect.flow-run.{run}" in {one["prefect.resource.id"] for one in found["related"]}


def test_two_runs_over_the_same_rejected_model_tell_of_it_once(this_bucket: Store) -> None:
    run, candidate = rejected_run(this_bucket)

    @flow
    def judges() -> None:
        events.tell_verdict(run, candidate)

    judges()
    judges()
    names = {"event": {"name": ["frames2firmware.quantization.degraded", "frames2firmware.candidate.rejected"]}}
    mine = {"any_resource": {"id": [f"frames2firmware.dataset.{run.dataset.digest[:16]}"]}}
    wait_for(2, **names, **mine)
    time.sleep(SETTLED)
    found = on_server(**names, **mine)
    assert sorted(one["event"] for one in found) == sorted(names["event"]["name"])
    assert not list(outbox.unsent(this_bucket))


def test_whoever_dies_before_sending_is_made_up_for_by_the_next_run(this_bucket: Store) -> None:
    event = silent("died-before")
    kept = outbox.keep(this_bucket, event)
    assert kept
    events.emit(event)
    (found,) = wait_for(**by_resource(event))
    assert found["id"] == str(kept.id)
    assert datetime.fromisoformat(found["occurred"]) == kept.occurred, "when it happened, not when it was sent"
    assert outbox.keep(this_bucket, event) is None


def test_whoever_died_after_sending_is_not_sent_again(this_bucket: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    event = silent("died-after")
    events.emit(event)
    wait_for(**by_resource(event))
    kept = this_bucket.get_record(f"alerts/device-silent/{event.subject}.json", outbox.Told)
    this_bucket.delete(kept.mark)

    async def sends(*arguments: object, **options: object) -> None:
        raise RuntimeError("the server has it, and forgets in a restart which events made an alert")

    monkeypatch.setattr(events, "_send", sends)
    events.emit(event)
    assert outbox.keep(this_bucket, event) is None, "it is noted now"


def test_a_server_that_is_away_fails_nothing_and_the_event_is_sent_later(
    this_bucket: Store, caplog: pytest.LogCaptureFixture
) -> None:
    once, every_time = silent("away"), silent("away").model_copy(update={"subject": None})

    @flow
    def goes_on() -> str:
        with api_at(f"http://127.0.0.1:{free_port()}/api"):
            events.emit(once)
            events.emit(every_time)
            assert events.send_unsent() == 0
        return "done"

    started = time.monotonic()
    with caplog.at_level(logging.WARNING, "f2f.events"):
        assert goes_on() == "done"
    assert time.monotonic() - started < 30
    assert [record.getMessage() for record in caplog.records if "lies in the bucket" in record.getMessage()]
    assert not on_server(**by_resource(once))
    assert events.send_unsent() == 1
    assert events.send_unsent() == 0
    (found,) = wait_for(**by_resource(once))
    assert found["payload"] == once.payload


def test_an_event_that_nobody_takes_does_not_hold_up_those_after_it(this_bucket: Store) -> None:
    this_bucket.put("alerts/a-broken/record.json", b"{}")
    crowd = [{"prefect.resource.id": f"r.{number}", "prefect.resource.role": "r"} for number in range(200)]
    assert outbox.keep(this_bucket, silent("crowded").model_copy(update={"related": crowd, "subject": "0"}))
    event = silent("behind-them")
    assert outbox.keep(this_bucket, event)
    assert events.send_unsent() == 1
    wait_for(**by_resource(event))


def test_a_server_that_never_answers_holds_up_no_run_for_long(
    this_bucket: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SECONDS", 1.0)
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        with api_at(f"http://127.0.0.1:{hole.getsockname()[1]}/api"):
            started = time.monotonic()
            events.emit(silent("hole"))
            assert time.monotonic() - started < 5


def test_a_bucket_that_is_away_fails_nothing(this_bucket: Store, caplog: pytest.LogCaptureFixture) -> None:
    run, candidate = rejected_run(this_bucket)
    for item in list(this_bucket.list("")):
        this_bucket.delete(item.key)
    this_bucket.client.delete_bucket(Bucket=this_bucket.where.bucket)
    with caplog.at_level(logging.WARNING, "f2f.events"):
        events.emit(silent("no-bucket"))
        events.tell_verdict(run, candidate)
        events.send_unsent()
    assert len(caplog.records) == 3


def test_an_ingest_is_told_only_where_something_was_new_and_never_as_frames_that_landed(this_bucket: Store) -> None:
    since = datetime.now(UTC).isoformat()
    landing.put_many(this_bucket, range(12), device="told-porch")
    landing.put_many(this_bucket, range(100, 104), device="told-hall")
    landing.put(this_bucket, 0, name="bad.jpg", data=b"no picture", device="told-hall")
    ingest(IngestParameters())
    ingest(IngestParameters())
    mine = {"event": {"prefix": ["frames2firmware."]}, "occurred": {"since": since}}
    wait_for(**mine)
    time.sleep(SETTLED)
    (found,) = on_server(**mine)
    assert found["event"] == "frames2firmware.ingest.finished"
    assert found["resource"]["prefect.resource.id"] == "frames2firmware.index"
    assert found["payload"]["devices"] == {"told-hall": 4, "told-porch": 12}
    assert sum(found["payload"]["refused"].values()) == 1
    landing.put(this_bucket, 500, device="told-porch", session="later")
    ingest(IngestParameters())
    newest = wait_for(2, **mine)[0]
    assert newest["payload"]["devices"] == {"told-porch": 1}, "only what this ingest brought"


def test_a_refused_data_set_is_told_once_and_the_run_still_fails_by_name(this_bucket: Store) -> None:
    from expectations.checkpoint import ValidationFailed
    from flows.retrain import retrain

    landing.put_many(this_bucket, range(200, 240), per_session=2)
    ingest(IngestParameters())
    parameters = RetrainParameters.model_validate({"firmware": {"boards": ()}})
    for _ in range(2):
        state = retrain(parameters, return_state=True)
        with pytest.raises(ValidationFailed):
            state.result()
    event, mark = this_bucket.list("alerts/validation-failed/")
    told = this_bucket.get_record(event.key, outbox.Told)
    assert mark.key == told.mark
    (found,) = wait_for(**by_resource(told.event))
    assert "split train has at least 1000 frames" in [one["name"] for one in found["payload"]["failed"]]
