"""What is told once: the event and its mark in the bucket. Sending is in tests/flows/test_events.py."""

from concurrent.futures import ThreadPoolExecutor

from tasks import outbox
from tasks.events import Event, resource
from tasks.store import Store

EVENT = Event(
    name="frames2firmware.device.silent",
    resource=resource("device", "porch", "porch"),
    related=[],
    payload={"n": 1},
    subject="porch-1",
)


def test_an_event_stays_to_be_sent_until_it_is_marked(store: Store) -> None:
    first = outbox.keep(store, EVENT)
    assert first
    assert first.key == "alerts/device-silent/porch-1.json"
    assert outbox.keep(store, EVENT) == first, "whoever comes after a death sends the same event by the same id"
    assert list(outbox.unsent(store)) == [first.key]
    outbox.mark_sent(store, first)
    assert outbox.keep(store, EVENT) is None
    assert list(outbox.unsent(store)) == []


def test_of_many_at_once_all_send_one_event_by_one_id(store: Store) -> None:
    told = [EVENT.model_copy(update={"payload": {"n": number}}) for number in range(12)]
    with ThreadPoolExecutor(12) as threads:
        kept = list(threads.map(lambda event: outbox.keep(store, event), told))
    assert kept[0] is not None
    assert kept == [kept[0]] * 12


def test_subjects_and_kinds_are_apart(store: Store) -> None:
    other = EVENT.model_copy(update={"subject": "porch-2"})
    kind = EVENT.model_copy(update={"name": "frames2firmware.validation.failed"})
    for event in (EVENT, other, kind):
        assert outbox.keep(store, event)
    assert list(outbox.unsent(store)) == [
        "alerts/device-silent/porch-1.json",
        "alerts/device-silent/porch-2.json",
        "alerts/validation-failed/porch-1.json",
    ]
