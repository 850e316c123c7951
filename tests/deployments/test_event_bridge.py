"""The event bridge between a real S3 server and a real Prefect server: what becomes an event, what it says, and that
nothing is lost while the bridge or Prefect is away. What is started by an event is in tests/flows; how `f2f up` starts
the bridge is in test_stack.py and test_prefect_stack.py.
"""

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from deployments import event_bridge, versitygw
from deployments.event_bridge import EVENT, Forwarder, Landings, landed_keys, make_server
from deployments.prefect_server import call
from deployments.processes import answers
from tasks.errors import PipelineError
from tasks.ingest import ingest
from tasks.parameters import SplitParameters
from tasks.settings import PROJECT, Settings
from tasks.store import Store
from tests.conftest import ACCESS_KEY, SECRET_KEY, free_port
from tests.deployments.conftest import serving
from tests.tasks.landing import DAY, put, raw

SECONDS = 3.0  # between two events of a device, in these tests: long enough for a few uploads on a busy machine


@pytest.fixture(scope="module")
def prefect_api() -> Iterator[str]:
    """The address of a Prefect server with a database of its own."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield str(PREFECT_API_URL.value())


@dataclass
class Bridge:
    """The bridge as a process, on a port that stays."""

    port: int
    environment: dict[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        line = [sys.executable, "-m", "deployments.event_bridge", str(self.port), str(SECONDS)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(line, cwd=PROJECT, env={**os.environ, **self.environment}, stderr=log)
        wait_until(lambda: answers(self.port, "/-/health"))

    def stop(self, kind: signal.Signals = signal.SIGTERM) -> int:
        assert self.process
        self.process.send_signal(kind)
        return self.process.wait(30)

    def counts(self) -> dict[str, int]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/-/health")
            return dict(json.loads(connection.getresponse().read()))
        finally:
            connection.close()


@contextmanager
def bridge_for(bucket: str, api: str, log: Path) -> Iterator[Bridge]:
    bridge = Bridge(free_port(), {"F2F_BUCKET": bucket, "PREFECT_API_URL": api}, log)
    bridge.start()
    try:
        yield bridge
    finally:
        if bridge.process and bridge.process.poll() is None:
            bridge.stop()


@contextmanager
def s3_with_notices(folder: Path, program: Path, credentials: Path, webhook: str, bucket: str) -> Iterator[Store]:
    """An S3 server that posts its notices to `webhook`, with an empty bucket."""
    port = free_port()
    server = versitygw.start(
        *(folder / "s3",), port=port, access_key=ACCESS_KEY, secret_key=SECRET_KEY, program=program, webhook_url=webhook
    )
    where = Settings(
        _env_file=None,  # type: ignore[call-arg]
        endpoint_url=f"http://127.0.0.1:{port}",
        profile="test",
        credentials_file=credentials,
        bucket=bucket,
        data_dir=folder / "f2f",
    )
    try:
        versitygw.wait_healthy(port, server)
        store = Store(where)
        store.create_bucket()
        yield store
    finally:
        server.terminate()
        server.wait(10)


def wait_until(true: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


def events(api: str, bucket: str) -> list[dict[str, Any]]:
    """Prefect's events of this bucket's frames, the oldest first."""
    found = call(api, "POST", "/events/filter", {"filter": {"event": {"name": [EVENT]}, "order": "ASC"}, "limit": 50})
    related = f"frames2firmware.bucket.{bucket}"
    return [one for one in found["events"] if any(r["prefect.resource.id"] == related for r in one["related"])]


def summed(found: list[dict[str, Any]]) -> dict[str, int]:
    """Frames by device."""
    counts: dict[str, int] = defaultdict(int)
    for one in found:
        counts[one["payload"]["device"]] += one["payload"]["count"]
    return dict(counts)


# -- real servers ------------------------------------------------------------------------------------------------------


def test_what_lands_becomes_one_event_a_device_and_what_lands_unheard_is_found_by_a_look(
    prefect_api: str, s3_program: Path, s3_credentials: Path, tmp_path: Path
) -> None:
    bucket = "landing"
    with (
        bridge_for(bucket, prefect_api, tmp_path / "log") as bridge,
        s3_with_notices(tmp_path, s3_program, s3_credentials, f"http://127.0.0.1:{bridge.port}/", bucket) as store,
    ):
        for seed in range(6):
            put(store, seed, None, device="hall-7" if seed % 3 else "hall-8", session=f"s{seed % 2}")
        store.put("index/elsewhere.json", b"{}")
        store.put("frames/not-a-day/hall-9/s/1.raw", raw(9))
        other = Store(store.where.model_copy(update={"bucket": "another"}))
        other.create_bucket()
        put(other, 1, device="hall-9")
        store.delete("index/elsewhere.json")
        wait_until(lambda: bridge.counts()["sent"] == 6)
        wait_until(lambda: len(events(prefect_api, bucket)) == 2)
        found = {one["payload"]["device"]: one for one in events(prefect_api, bucket)}
        hall_7, payload = found["hall-7"], found["hall-7"]["payload"]
        assert hall_7["resource"]["prefect.resource.id"] == "frames2firmware.device.hall-7"
        assert payload.pop("seconds") < SECONDS + 5
        assert payload == {
            "device": "hall-7",
            "sessions": ["s0", "s1"],
            "count": 4,
            "first_key": f"frames/{DAY}/hall-7/s0/000002.raw",
            "last_key": f"frames/{DAY}/hall-7/s1/000005.raw",
        }
        assert found["hall-8"]["payload"]["count"] == 2
        assert bridge.counts() == {"frames": 6, "sent": 6, "waiting": 0, "dropped": 0}

        # Killed: the S3 server takes frames all the same, and a look finds them.
        bridge.stop(signal.SIGKILL)
        assert ingest(store, SplitParameters()).indexed == 6
        for seed in range(10, 15):
            put(store, seed, None, device="hall-7", session="s2")
        summary = ingest(store, SplitParameters())
        assert summary.indexed == 5
        assert summed(events(prefect_api, bucket)) == {"hall-7": 4, "hall-8": 2}

        # Back again: it hears what lands from now on, and tells at its end what it had not told yet.
        bridge.start()
        put(store, 20, None, device="hall-8")
        wait_until(lambda: summed(events(prefect_api, bucket)) == {"hall-7": 4, "hall-8": 3})
        put(store, 21, None, device="hall-8")
        wait_until(lambda: bridge.counts()["frames"] == 2)
        assert bridge.stop() == 0
        wait_until(lambda: summed(events(prefect_api, bucket)) == {"hall-7": 4, "hall-8": 4})


def test_while_prefect_is_away_what_lands_is_summed_up_and_told_when_it_is_back(
    prefect_api: str, tmp_path: Path
) -> None:
    bucket, port, log = "away", free_port(), tmp_path / "log"
    with bridge_for(bucket, f"http://127.0.0.1:{port}/api", log) as bridge:
        for number, session in enumerate(("s1", "s2")):
            notify(bridge.port, [f"frames/{DAY}/hall-7/{session}/{n}.raw" for n in range(10)], bucket)
            wait_until(lambda tries=number + 1: log.read_text().count("no event for") >= tries)
        wait_until(lambda: bridge.counts() == {"frames": 20, "sent": 0, "waiting": 20, "dropped": 0})
        with forwarding(port, prefect_api):
            wait_until(lambda: bridge.counts()["sent"] == 20)
            wait_until(lambda: events(prefect_api, bucket))
            [event] = events(prefect_api, bucket)
            assert (event["payload"]["count"], event["payload"]["sessions"]) == (20, ["s1", "s2"])


def test_the_s3_server_does_not_start_without_its_bridge_but_goes_on_without_it(
    s3_program: Path, s3_credentials: Path, tmp_path: Path
) -> None:
    port = free_port()
    webhook = f"http://127.0.0.1:{port}/"
    with (
        pytest.raises(PipelineError, match="ended with code"),
        s3_with_notices(tmp_path / "a", s3_program, s3_credentials, webhook, "bucket"),
    ):
        pass
    landings = Landings("b")
    with contextlib.ExitStack() as stack:
        with serving(make_server(settings_for("b"), landings, port)):
            store = stack.enter_context(s3_with_notices(tmp_path / "b", s3_program, s3_credentials, webhook, "bucket"))
            store.put("frames/1", b"1")
        started = time.monotonic()
        for number in range(20):
            store.put(f"frames/{number + 2}", b"2")
        assert time.monotonic() - started < 5, "an upload does not wait for the bridge"


@contextmanager
def forwarding(port: int, api: str) -> Iterator[None]:
    """127.0.0.1:`port` leads to the server of `api` for as long as this lasts."""
    target = urlsplit(api)
    ended = threading.Event()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(listening: socket.socket) -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                near, _ = listening.accept()
                far = socket.create_connection((target.hostname or "", target.port or 0))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", port)) as listening:
        listening.settimeout(0.2)
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


# -- without them ------------------------------------------------------------------------------------------------------


def settings_for(bucket: str, prefix: str = "") -> Settings:
    return Settings(_env_file=None, bucket=bucket, prefix=prefix)  # type: ignore[call-arg]


def notice(keys: list[str], bucket: str = "b", name: str = "s3:ObjectCreated:Put") -> bytes:
    """As versitygw 1.8.0 posts it, with the fields that matter."""
    records = [{"eventName": name, "s3": {"bucket": {"name": bucket}, "object": {"key": key}}} for key in keys]
    return json.dumps({"Records": records}).encode()


def post(port: int, body: bytes, path: str = "/", **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        sent = {"Content-Type": "application/json; charset=utf-8"} | {
            k.replace("_", "-"): v for k, v in headers.items()
        }
        connection.request("POST", path, body, sent)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def notify(port: int, keys: list[str], bucket: str) -> None:
    assert post(port, notice(keys, bucket)) == 200


KEY = f"frames/{DAY}/hall-7/s/1.raw"


@pytest.mark.parametrize(
    ("body", "prefix", "expected"),
    [
        (notice([KEY]), "", [KEY]),
        (notice([KEY, KEY.replace("1.raw", "2.raw")]), "", [KEY, KEY.replace("1.raw", "2.raw")]),
        (notice([KEY], name="s3:ObjectCreated:CompleteMultipartUpload"), "", [KEY]),
        (notice([KEY], name="ObjectCreated:Put"), "", [KEY]),  # AWS writes it without s3:
        (notice([KEY.replace("/", "%2F")]), "", [KEY]),  # MinIO encodes keys
        (notice([f"team/{KEY}"]), "team", [KEY]),
        (notice([f"team/{KEY}"]), "/team/", [KEY]),
        (notice([KEY]), "team", []),
        (notice([f"team/{KEY}"]), "", []),
        (notice([KEY], "another"), "", []),
        (notice([KEY], name="s3:ObjectRemoved:Delete"), "", []),
        (notice([KEY], name="s3:ObjectTagging:Put"), "", []),
        (
            notice(["blobs/x", "frames/x", f"frames/{DAY}/a/b", f"frames/{DAY}/a//c", "frames/x/a/b/c", f"{KEY}/x"]),
            "",
            [],
        ),
        (b'{"Service": "S3", "Event": "s3:TestEvent", "Time": "now", "Bucket": "Test-Bucket"}', "", []),
        (b'{"Records": null}', "", []),
        (b'{"Records": [{}, null, 1, {"eventName": 1}, {"eventName": "s3:ObjectCreated:Put", "s3": []}]}', "", []),
        (b"{}", "", []),
        (b'{"Records": 5}', "", []),
        # What no S3 server sends, and Prefect would not take: its event would hold up those of all devices.
        (notice([KEY.replace("hall-7", "\ud800"), KEY]), "", [KEY]),
        (notice([KEY.replace("hall-7", "hall\x007"), KEY]), "", [KEY]),
        (notice([KEY.replace("hall-7", "h" * 1024), KEY]), "", [KEY]),
    ],
)
def test_only_new_frames_of_this_bucket_count(body: bytes, prefix: str, expected: list[str]) -> None:
    assert landed_keys(body, settings_for("b", prefix)) == expected


def test_between_two_events_of_a_device_its_time_passes_and_no_frame_is_missing() -> None:
    told: list[tuple[float, dict[str, Any]]] = []
    landings = Landings("b", 0.3)
    forwarder = Forwarder(landings, lambda found: told.extend((time.monotonic(), one) for one in found))
    forwarder.start()
    for number in range(400):
        landings.add([f"frames/{DAY}/hall-{number % 3}/s{number % 7}/{number:03}.raw"])
        time.sleep(0.003)
    wait_until(lambda: landings.waiting == 0)
    forwarder.stop(10)
    times = defaultdict(list)
    for at, one in told:
        times[one["payload"]["device"]].append(at)
    assert summed([one for _, one in told]) == {"hall-0": 134, "hall-1": 133, "hall-2": 133}
    for moments in times.values():
        assert len(moments) >= 2, "there was nothing to keep apart: this proved nothing"
        assert min(later - earlier for earlier, later in itertools.pairwise(moments)) >= 0.29


def test_a_failed_try_is_repeated_with_all_that_came_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_bridge, "RETRY_SECONDS", (0.2, 0.2))
    told: list[dict[str, Any]] = []
    landings, tries = Landings("b", 0.05), []

    def emit(found: list[dict[str, Any]]) -> None:
        tries.append(len(found))
        if len(tries) < 3:
            landings.add([f"frames/{DAY}/hall-7/late/{len(tries)}.raw"])
            raise ConnectionRefusedError("nobody there")
        told.extend(found)

    forwarder = Forwarder(landings, emit)
    forwarder.start()
    landings.add([KEY, KEY.replace("hall-7", "hall-8")])
    wait_until(lambda: landings.waiting == 0 and told)
    forwarder.stop(10)
    assert summed(told) == {"hall-7": 3, "hall-8": 1}
    assert {one["payload"]["device"]: one["payload"]["sessions"] for one in told}["hall-7"] == ["late", "s"]


def test_what_waits_is_bounded_and_what_is_dropped_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(event_bridge, "MOST_DEVICES", 5)
    landings = Landings("b")
    for number in range(1000):
        landings.add([f"frames/{DAY}/hall-{number % 10}/session-{number}/1.raw"])
    assert (landings.frames, landings.waiting, landings.dropped) == (1000, 500, 500)
    assert capsys.readouterr().err.count("dropped") == 1
    assert max(len(batch.sessions) for batch in landings.due(float("inf"))) == event_bridge.MOST_SESSIONS


def test_a_web_page_cannot_post_and_garbage_does_no_harm(capfd: pytest.CaptureFixture[str]) -> None:
    landings = Landings("b")
    with serving(make_server(settings_for("b"), landings, 0)) as port:
        good = notice([KEY])
        assert post(port, good, Content_Type="text/plain") == 415
        assert post(port, good, Content_Type="application/x-www-form-urlencoded") == 415
        assert post(port, good, Host="evil.example") == 403
        assert post(port, good, path="/elsewhere") == 404
        for garbage in (b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000):
            assert post(port, garbage) == 400
        assert post(port, b" " * (event_bridge.MOST_BYTES + 1)) == 413
        assert landings.frames == 0
        assert post(port, good, Host=f"localhost:{port}") == 200
        assert landings.frames == 1
    assert "Traceback" not in capfd.readouterr().err
