"""Events to the Prefect server, of which automations make alerts (deployments/automations/).

Telling never fails or holds up a run: what goes wrong is logged, and the wait is bounded. An event with a subject is
told once for it: it lies in the bucket (tasks/outbox.py) until the server has taken it, so nothing is lost with a
process or while the server is away; `send_unsent` makes up for it. The server drops an event whose id it has seen, but
only for half an hour and until it is restarted: so it is asked first.

Sent by the HTTP API, not by `prefect.events.emit_event`: that hands over to a thread and never says what became of it.

No run of a deployment may be what starts that deployment again: flows never emit `frames2firmware.frames.landed`,
which starts `watch`. Only the bridge does (deployments/event_bridge.py).
"""

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import anyio
import pyarrow.compute as pc
from prefect.client.orchestration import PrefectClient, get_client
from prefect.events import Event as PrefectEvent
from prefect.events.related import related_resources_from_run_context
from prefect.exceptions import PrefectHTTPStatusError
from prefect.utilities.asyncutils import run_coro_as_sync
from pydantic import ValidationError

from tasks import alerts, channels, frame_index, outbox
from tasks.candidates import FinishedRun
from tasks.events import Event
from tasks.ingest import IngestSummary
from tasks.lineage import Candidate, DatasetVersion, ValidationOutcome
from tasks.releases import load_release
from tasks.report import public_url
from tasks.store import ObjectMissing, RecordDamaged, Store, open_store
from tasks.watch import SilentDevice

SECONDS = 10.0  # for one event; an answer takes 10 ms
REFUSED = (400, 413, 422)  # HTTP answers that mean the event, not the server
CHANNEL = "stable"  # whose release an alert names as what devices run now
_log = logging.getLogger("f2f.events")


def emit(event: Event) -> None:
    """Tells the Prefect server; never raises. Inside a run the event is related to it, its flow and deployment."""
    try:
        if event.subject is None:
            run_coro_as_sync(_send(event, event.id or uuid4(), datetime.now(UTC), of_this_run=True))
            return
        store = open_store()
        if told := outbox.keep(store, event):
            _deliver(store, told, of_this_run=True)
    except Exception as error:
        later = "" if event.subject is None else "; it lies in the bucket and is sent by a later look"
        _log.warning("event %s was not sent (%s)%s", event.name, _reason(error), later)


def send_unsent() -> int:
    """Sends what earlier runs could not; returns how many events that were. Never raises.

    Ends where the server or the bucket is away; an event that is itself at fault is left out.
    """
    sent = 0
    try:
        store = open_store()
        for key in outbox.unsent(store):
            try:
                _deliver(store, store.get_record(key, outbox.Told), of_this_run=False)
            except (RecordDamaged, ValidationError, ObjectMissing, PrefectHTTPStatusError) as error:
                if isinstance(error, PrefectHTTPStatusError) and error.response.status_code not in REFUSED:
                    raise
                # It will not be taken later either, and must not hold up those after it.
                _log.warning("event %s cannot be sent (%s)", key, _reason(error))
                continue
            sent += 1
    except Exception as error:
        _log.warning("events of earlier runs were not sent (%s); a later look tries again", _reason(error))
    return sent


def tell_ingest(store: Store, summary: IngestSummary, since: datetime) -> None:
    """An event where an ingest that began at `since` looked at new objects; nothing where there were none."""
    if not summary.new:
        return
    try:
        devices = _indexed_since(store, since) if summary.indexed else {}
    except Exception as error:
        _log.warning("frames were not counted by device (%s)", _reason(error))
        devices = {}
    emit(alerts.ingest_finished(summary, devices))


def tell_validation(dataset: DatasetVersion, outcome: ValidationOutcome) -> None:
    """An event where the data set is refused; nothing where it is valid."""
    if not outcome.success:
        docs_url = public_url(open_store(), f"{outcome.docs}/index.html")
        emit(alerts.validation_failed(dataset, outcome, docs_url=docs_url))


def tell_verdict(run: FinishedRun, candidate: Candidate) -> None:
    """Events of a candidate that did not pass; nothing of one that did."""
    if run.passed:
        return
    try:
        store = open_store()
        report_url = public_url(store, candidate.html)
        held = channels.current(store, CHANNEL)
        rejected = alerts.candidate_rejected(run, candidate, report_url=report_url)
        degraded = alerts.quantization_degraded(run, candidate, held=held, channel=CHANNEL, report_url=report_url)
    except Exception as error:
        _log.warning("events of candidate %s were not made (%s)", candidate.digest[:12], _reason(error))
        return
    emit(rejected)
    if alerts.is_degraded(run):
        emit(degraded)


def tell_silent(devices: Sequence[SilentDevice], hours: float) -> None:
    """An event for each device of which nothing came for `hours`; once for each silence, however often one looks."""
    for one in devices:
        emit(alerts.device_silent(one.device, one.last_seen, hours))


def tell_channel(name: str) -> None:
    """An event of the revision that a channel is at: published or rolled back. Once a revision, whoever looks first."""
    try:
        store = open_store()
        held = channels.current(store, name)
        if held is None:
            return
        release = load_release(store, held.release)
        before = [revision.release for revision in channels.history(store, name) if revision.revision < held.revision]
        if held.kind == "rollback":
            event = alerts.rolled_back(held, left=before[-1] if before else None)
        else:
            event = alerts.release_published(release, held, report_url=public_url(store, release.html))
    except Exception as error:
        _log.warning("the event of channel %s was not made (%s)", name, _reason(error))
        return
    emit(event)


def _indexed_since(store: Store, moment: datetime) -> dict[str, int]:
    """Frames that came into the index since then, by device."""
    rows = frame_index.load(store, ("kind", "device", "indexed_at")).rows
    newer = pc.and_(pc.equal(rows["kind"], "frame"), pc.greater_equal(rows["indexed_at"], moment))
    return dict(Counter(rows["device"].filter(newer).to_pylist()))


def _deliver(store: Store, told: outbox.Told, *, of_this_run: bool) -> None:
    # A process may have died after it sent this and before it marked it: then the server has it.
    if not run_coro_as_sync(_is_known(told.id)):
        run_coro_as_sync(_send(told.event, told.id, told.occurred, of_this_run=of_this_run))
    outbox.mark_sent(store, told)


async def _send(event: Event, event_id: UUID, occurred: datetime, *, of_this_run: bool) -> None:
    with anyio.fail_after(SECONDS):
        async with get_client() as client:
            run = await _run_resources(client) if of_this_run else []
            sent = PrefectEvent.model_validate(
                {
                    "id": event_id,
                    "occurred": occurred,
                    "event": event.name,
                    "resource": event.resource,
                    "related": [*event.related, *run],
                    "payload": event.payload,
                }
            )
            await client.request("POST", "/events", json=[sent.model_dump(mode="json")])


async def _is_known(event_id: UUID) -> bool:
    with anyio.fail_after(SECONDS):
        async with get_client() as client:
            answer = await client.request("POST", "/events/filter", json={"filter": {"id": {"id": [str(event_id)]}}})
            return bool(answer.json()["total"])


async def _run_resources(client: PrefectClient) -> list[dict[str, str]]:
    """The run that this is called in, with its flow, deployment and tags; none outside of one."""
    return [dict(resource) for resource in await related_resources_from_run_context(client)]


def _reason(error: Exception) -> str:
    """One short line: what a server says of a request may repeat all of it."""
    first = str(error).partition("\n")[0][:200]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
