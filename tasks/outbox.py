"""`alerts/`: what is told once, kept until it was told.

    alerts/<kind>/<subject>.json    the event with its id, created once
    alerts/<kind>/<subject>.sent    created when the Prefect server has taken it

Two objects, so that a process that dies between them loses nothing: whoever looks next finds an event without its mark
and sends it with the same id. One listing says what is left to send. To have something told again, delete its two
objects.
"""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from tasks.events import Event
from tasks.store import Store

FOLDER = "alerts/"
JSON = "application/json"


class Told(BaseModel):
    """An event that is told once, as it was when it first happened."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    event: Event
    id: uuid.UUID
    occurred: datetime

    @property
    def key(self) -> str:
        return f"{FOLDER}{self.event.kind}/{self.event.subject}.json"

    @property
    def mark(self) -> str:
        return self.key.removesuffix(".json") + ".sent"


def keep(store: Store, event: Event) -> Told | None:
    """The event as it is to be sent; None where it was sent before.

    Of all who keep the same subject at once, one creates the object and the others get what it says: one id for all.
    """
    told = Told(event=event, id=uuid.uuid4(), occurred=datetime.now(UTC))
    store.create(told.key, told.model_dump_json(indent=1).encode(), content_type=JSON)
    if store.exists(told.mark):
        return None
    return store.get_record(told.key, Told)


def mark_sent(store: Store, told: Told) -> None:
    """Nobody sends it again."""
    store.create(told.mark, datetime.now(UTC).isoformat(timespec="seconds").encode(), content_type="text/plain")


def unsent(store: Store) -> Iterator[str]:
    """Keys of what was kept and never marked as sent, in order."""
    keys = {item.key for item in store.list(FOLDER)}
    for key in sorted(key for key in keys if key.endswith(".json")):
        if key.removesuffix(".json") + ".sent" not in keys:
            yield key
