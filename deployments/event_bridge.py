"""The event bridge: object-created notices of the S3 server become Prefect events `frames2firmware.frames.landed`.

    python -m deployments.event_bridge PORT [SECONDS]

versitygw posts a notice of every object (`--event-webhook-url`), once, and ignores the answer; what counts here are
those of frames in this process's bucket. One event a device in SECONDS (30) says what has landed since the last one.
Events are hints: the bucket's listing is the truth. So the bridge may be down, forget what it held, or say something
twice; a scheduled look finds every frame all the same. While Prefect is away, what landed is kept, summed up by device.
versitygw does not start while its webhook is down, so the stack starts the bridge first.
"""

import asyncio
import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from deployments.bounded_server import HEALTH, BoundedServer, JsonHandler, Refused
from tasks.inbox import INBOX, day_of
from tasks.settings import Settings, settings

EVENT = "frames2firmware.frames.landed"
SECONDS = 30.0  # between two events of a device
MOST_BYTES = 1024 * 1024  # of a notice
MOST_KEY = 1024  # characters; S3's own limit, in bytes
MOST_DEVICES = 1000  # that may wait for an event at once
MOST_SESSIONS = 50  # named in one event
RETRY_SECONDS = (2.0, 60.0)  # while Prefect is away: first and longest wait between two tries
SEND_SECONDS = 20.0  # for one try
LAST_SECONDS = 10.0  # for the one at the end


@dataclass
class Batch:
    """What one device has landed since its last event."""

    device: str
    due: float  # by time.monotonic
    first_key: str
    last_key: str
    first_at: float  # seconds since the epoch
    last_at: float
    count: int = 0
    sessions: set[str] = field(default_factory=set)

    def add(self, other: "Batch") -> None:
        """Sums up."""
        self.count += other.count
        self.sessions |= set(sorted(other.sessions)[: MOST_SESSIONS - len(self.sessions)])
        self.first_key, self.last_key = min(self.first_key, other.first_key), max(self.last_key, other.last_key)
        self.first_at, self.last_at = min(self.first_at, other.first_at), max(self.last_at, other.last_at)

    def event(self, bucket: str) -> dict[str, Any]:
        """As arguments of Prefect's `Event`. The keys are the least and the greatest, sessions the first 50."""
        return {
            "event": EVENT,
            "occurred": datetime.fromtimestamp(self.last_at, UTC),
            "resource": {
                "prefect.resource.id": f"frames2firmware.device.{self.device}",
                "prefect.resource.name": self.device,
            },
            "related": [
                {"prefect.resource.id": f"frames2firmware.bucket.{bucket}", "prefect.resource.role": "bucket"},
            ],
            "payload": {
                "device": self.device,
                "sessions": sorted(self.sessions),
                "count": self.count,
                "first_key": self.first_key,
                "last_key": self.last_key,
                "seconds": round(self.last_at - self.first_at, 3),
            },
        }


def landed_keys(notice: bytes, where: Settings) -> list[str]:
    """The frames' keys (without the configured prefix) in a notice; none in one of anything else.

    versitygw and MinIO post S3's event records, the one with keys as they are, the other with encoded ones; versitygw
    also posts `{"Event": "s3:TestEvent"}` when it starts. Raises `ValueError` for what is no JSON object.
    """
    found = json.loads(notice)
    if not isinstance(found, dict):
        raise ValueError("a notice is a JSON object")
    prefix = f"{where.prefix.strip('/')}/{INBOX}".lstrip("/")
    keys = []
    records = found.get("Records")
    for record in records if isinstance(records, list) else ():
        with contextlib.suppress(KeyError, TypeError, AttributeError):  # no S3 event record: not ours
            name, key = record["eventName"].removeprefix("s3:"), record["s3"]["object"]["key"]
            if name.startswith("ObjectCreated:") and record["s3"]["bucket"]["name"] == where.bucket:
                key = key if key.startswith(prefix) else unquote_plus(key)
                key = key[len(prefix) - len(INBOX) :] if key.startswith(prefix) else ""
                # Prefect takes no half characters, and S3 has no such keys: one such event would hold up all others.
                sound = len(key) <= MOST_KEY and key.isprintable()
                if sound and key.count("/") == 4 and day_of(key) and all(key.split("/")):
                    keys.append(key)
    return keys


class Landings:
    """What has landed and waits for its event: bounded, one batch a device. Threads share it."""

    def __init__(self, bucket: str, seconds: float = SECONDS) -> None:
        self.bucket, self.seconds = bucket, seconds
        self.frames = self.sent = self.dropped = 0  # frames heard of; frames in events that went out; frames forgotten
        self.changed = threading.Condition()
        self._batches: dict[str, Batch] = {}
        self._said = 0.0

    @property
    def waiting(self) -> int:
        """Frames without an event yet."""
        with self.changed:
            return sum(batch.count for batch in self._batches.values())

    def add(self, keys: Iterable[str]) -> None:
        """Takes what a notice said."""
        now = time.time()
        for key in keys:
            _, _, device, session, _ = key.split("/")
            with self.changed:
                self.frames += 1
            self.keep(Batch(device, time.monotonic() + self.seconds, key, key, now, now, 1, {session}))

    def keep(self, batch: Batch) -> None:
        """Sums `batch` up with what its device has; forgets it, and says so, where too many devices wait."""
        with self.changed:
            if batch.device in self._batches:
                self._batches[batch.device].add(batch)
            elif len(self._batches) < MOST_DEVICES:
                self._batches[batch.device] = batch
                self.changed.notify_all()
            else:
                self.dropped += batch.count
                if time.monotonic() > self._said + 60:
                    self._said = time.monotonic()
                    say(f"{MOST_DEVICES:,} devices wait already: {self.dropped:,} notices dropped, a look finds them")

    def due(self, at: float) -> list[Batch]:
        """Takes out the batches that are due at the time `at`."""
        with self.changed:
            found = [batch for batch in self._batches.values() if batch.due <= at]
            for batch in found:
                del self._batches[batch.device]
        return found

    def postpone(self, devices: set[str]) -> None:
        """`devices` had an event just now: what they landed meanwhile waits for its turn."""
        with self.changed:
            for device in devices & self._batches.keys():
                self._batches[device].due = time.monotonic() + self.seconds

    def next_due(self) -> float:
        """When the next batch is due; never where none waits."""
        with self.changed:
            return min((batch.due for batch in self._batches.values()), default=float("inf"))


class Forwarder:
    """The thread that makes events of what has landed. `emit` gets them one try at a time and raises where it fails."""

    def __init__(self, landings: Landings, emit: Callable[[list[dict[str, Any]]], None]) -> None:
        self.landings, self._emit = landings, emit
        self._stopping, self._failures, self._not_before = False, 0, 0.0
        self._thread = threading.Thread(target=self._run, name="forwarder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Tries once to send all that waits, then ends."""
        with self.landings.changed:
            self._stopping = True
            self.landings.changed.notify_all()
        self._thread.join(seconds)
        if self.landings.waiting:
            say(f"stopped with {self.landings.waiting:,} notices not forwarded: a look finds those frames")

    def _run(self) -> None:
        while True:
            with self.landings.changed:
                wait = max(self.landings.next_due(), self._not_before) - time.monotonic()
                if wait > 0 and not self._stopping:
                    self.landings.changed.wait(min(wait, 60))
                    continue
                last = self._stopping
            self._send(self.landings.due(float("inf") if last else time.monotonic()))
            if last:
                return

    def _send(self, batches: list[Batch]) -> None:
        if not batches:
            return
        count = sum(batch.count for batch in batches)
        try:
            self._emit([batch.event(self.landings.bucket) for batch in batches])
        except Exception as error:  # whatever Prefect's client raises: what landed waits for the next try
            first, longest = RETRY_SECONDS
            wait = min(longest, first * 2 ** min(self._failures, 10))
            self._failures, self._not_before = self._failures + 1, time.monotonic() + wait
            for batch in batches:
                self.landings.keep(batch)
            say(f"no event for {count:,} frames: {type(error).__name__} {error}; next try in {wait:.0f} s".strip())
            return
        self._failures, self._not_before = 0, 0.0
        self.landings.sent += count
        self.landings.postpone({batch.device for batch in batches})
        say(f"event: {count:,} frames of {', '.join(sorted(batch.device for batch in batches)[:5])}")


def emit_events(events: list[dict[str, Any]]) -> None:
    """Sends them to the Prefect server of PREFECT_API_URL. Raises where it does not take them; some may be there."""
    # Imported here: 80 MB and seconds that a bridge without frames does not need.
    from prefect.events import Event
    from prefect.events.clients import get_events_client
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        raise RuntimeError("PREFECT_API_URL is not set")

    async def send() -> None:
        # Each event is confirmed before the next one; a reconnection is ours to try, later.
        async with get_events_client(reconnection_attempts=0, checkpoint_every=1) as client:
            for event in events:
                await client.emit(Event(**event))

    asyncio.run(asyncio.wait_for(send(), SEND_SECONDS))


class Handler(JsonHandler):
    """POST of notices, and the health check."""

    timeout = 120  # the S3 server keeps its connections
    landings: Landings
    where: Settings

    def route(self) -> None:
        # A web page may neither post here (its JSON needs a permission that nobody gives) nor come by another name.
        if (urlsplit(f"//{self.headers.get('Host', '')}").hostname or "") not in ("127.0.0.1", "localhost", "::1"):
            raise Refused(HTTPStatus.FORBIDDEN, "other_name", "this server answers to 127.0.0.1 and localhost")
        if self.path == HEALTH and self.command in ("GET", "HEAD"):
            now = self.landings
            found = {"frames": now.frames, "sent": now.sent, "waiting": now.waiting, "dropped": now.dropped}
            return self.answer(HTTPStatus.OK, json.dumps(found).encode() + b"\n")
        if self.path != "/" or self.command != "POST":
            raise Refused(HTTPStatus.NOT_FOUND, "no_such_path", "notices are posted to /")
        if self.headers.get_content_type() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "no_json", "a notice is application/json")
        try:
            keys = landed_keys(self.body(MOST_BYTES), self.where)
        except (ValueError, RecursionError) as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "bad_notice", f"no JSON object: {str(error)[:100]}") from error
        self.landings.add(keys)
        # No body: versitygw never reads one, and Go reuses a connection only where there is nothing left to read.
        self.answer(HTTPStatus.OK)


def make_server(where: Settings, landings: Landings, port: int) -> BoundedServer:
    """A server on 127.0.0.1:`port` (0: any free port); call `serve_forever` on it."""
    handler = type("BoundHandler", (Handler,), {"landings": landings, "where": where})
    return BoundedServer("127.0.0.1", port, handler, most=256, seconds=300)


def say(text: str) -> None:
    """A line for the log."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Forwards notices for the bucket of this process's settings until it is told to stop."""
    where = settings()
    landings = Landings(where.bucket, float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS)
    forwarder = Forwarder(landings, emit_events)
    with make_server(where, landings, int(sys.argv[1])) as server:
        for kind in (signal.SIGTERM, signal.SIGINT):
            signal.signal(kind, lambda *_: threading.Thread(target=server.shutdown).start())
        forwarder.start()
        server.serve_forever()
        forwarder.stop(LAST_SECONDS)


if __name__ == "__main__":
    main()
