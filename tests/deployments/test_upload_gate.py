"""The upload gate and what its URLs are good for, against a real S3 server: an upload once, and nothing else. How
`f2f up` starts the gate is in test_stack.py, the `f2f device` commands are in test_devices.py.
"""

import base64
import hashlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from deployments.upload_gate import MOST_BYTES, make_server
from tasks import devices
from tasks.devices import UploadRequest
from tasks.settings import Settings
from tasks.store import Store
from tests.conftest import free_port
from tests.deployments.conftest import serving
from tests.tasks.landing import raw

SENT = {"If-None-Match": "*"}


@pytest.fixture
def gate(store: Store) -> Iterator[int]:
    with serving(make_server(store, 0)) as port:
        yield port


@pytest.fixture
def token(store: Store) -> str:
    return devices.add(store, "hall-7")


def ask(
    port: int, body: object, token: str = "", method: str = "POST", path: str = "/uploads", **headers: str
) -> tuple[int, Any, dict[str, str]]:
    """Status, JSON (or text) and headers of the gate's answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = headers | ({"Authorization": f"Bearer {token}"} if token else {})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, data, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        found = json.loads(text) if answer.getheader("Content-Type") == "application/json" and text else text
        return answer.status, found, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def send(url: str, data: bytes = b"", headers: dict[str, str] = SENT, method: str = "PUT") -> int:
    """The S3 server's answer to exactly this request, as a device would send it."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
    try:
        connection.request(method, f"{where.path}?{where.query}", data, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def one_upload(port: int, token: str, **file: str) -> dict[str, Any]:
    status, found, _ = ask(port, {"session": "s", "files": [{"name": "1.raw", **file}]}, token)
    assert status == 200, found
    [upload] = found["uploads"]
    return dict(upload)


# -- what a URL is good for --------------------------------------------------------------------------------------------


def test_a_url_uploads_once_and_never_again(store: Store, gate: int, token: str) -> None:
    before = datetime.now(UTC).date()
    upload = one_upload(gate, token)
    day = upload["key"].split("/")[1]
    assert before.isoformat() <= day <= datetime.now(UTC).date().isoformat(), "the day is the server's"
    assert upload["key"] == f"frames/{day}/hall-7/s/1.raw"
    assert upload["headers"] == SENT
    assert send(upload["url"], raw(1), upload["headers"]) == 200
    again = one_upload(gate, token)
    assert again["key"] == upload["key"]
    assert [send(one["url"], raw(2), one["headers"]) for one in (upload, again)] == [412, 412]
    found = store.get_object(upload["key"])
    assert (found.data, found.metadata) == (raw(1), {})


def test_of_eight_uploads_at_once_one_is_stored(store: Store, gate: int, token: str) -> None:
    upload = one_upload(gate, token)
    answers: list[tuple[int, int]] = []
    threads = [threading.Thread(target=lambda n=n: answers.append((send(upload["url"], raw(n)), n))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(status for status, _ in answers) == [200] + [412] * 7
    [winner] = [n for status, n in answers if status == 200]
    assert store.get(upload["key"]) == raw(winner)


@pytest.mark.parametrize("stored", [False, True], ids=["before", "after"])
def test_nothing_but_this_one_upload_is_possible_with_it(store: Store, gate: int, token: str, stored: bool) -> None:
    store.put("frames/2026-01-01/hall-8/s/1.raw", raw(8))
    moment = "2026-01-31T14:25:30+00:00"
    upload = one_upload(gate, token, captured_at=moment)
    url, signed = upload["url"], {**SENT, "x-amz-meta-captured-at": moment}
    assert upload["headers"] == signed
    if stored:
        assert send(url, raw(1), signed) == 200
    source = f"{store.where.bucket}/frames/2026-01-01/hall-8/s/1.raw"
    changes: dict[str, tuple[str, dict[str, str]]] = {
        "no If-None-Match": (url, {"x-amz-meta-captured-at": moment}),
        "another If-None-Match": (url, {**signed, "If-None-Match": '"abc"'}),
        "a list of them": (url, {**signed, "If-None-Match": '*, "abc"'}),
        "no capture time": (url, SENT),
        "another capture time": (url, {**signed, "x-amz-meta-captured-at": "2020-01-01T00:00:00+00:00"}),
        "a label": (url, {**signed, "x-amz-meta-label": "person"}),
        "a split": (url, {**signed, "x-amz-meta-split": "train"}),
        "tags": (url, {**signed, "x-amz-tagging": "a=b"}),
        "an ACL": (url, {**signed, "x-amz-acl": "public-read"}),
        "somebody else's frame": (url, {**signed, "x-amz-copy-source": source}),
        "a label in the query": (f"{url}&x-amz-meta-label=person", signed),
        "the ACL itself": (f"{url}&acl", signed),
        "the tags themselves": (f"{url}&tagging", signed),
        "a part": (f"{url}&partNumber=1&uploadId=x", signed),
        "another name": (url.replace("/1.raw", "/2.raw"), signed),
        "another device": (url.replace("/hall-7/", "/hall-8/"), signed),
        "another device by dots": (url.replace("/1.raw", "/../../hall-8/s/1.raw"), signed),
        "another folder": (url.replace("/frames/", "/channels/"), signed),
        "a longer life": (url.replace("X-Amz-Expires=3600", "X-Amz-Expires=604800"), signed),
    }
    found = {name: send(changed, raw(2), headers) for name, (changed, headers) in changes.items()}
    assert found == dict.fromkeys(changes, 403)
    for method in ("GET", "HEAD", "DELETE"):
        assert {send(url, b"", headers, method) for headers in ({}, signed)} == {403}, method
    assert send(url, b"", signed, "POST") == 405
    where = urlsplit(url)
    bucket = f"{where.scheme}://{where.netloc}/{store.where.bucket}?list-type=2&{where.query}"
    assert send(bucket, b"", signed, "GET") == 403
    # If-Match beside it: refused as well (versitygw 1.8.0 says 501), and nothing is overwritten.
    etag = store.get_object(upload["key"]).etag if stored else '"abc"'
    assert send(url, raw(2), {**signed, "If-Match": etag}) in (403, 412, 501)
    kept = {"frames/2026-01-01/hall-8/s/1.raw": raw(8)} | ({upload["key"]: raw(1)} if stored else {})
    assert {item.key: store.get(item.key) for item in store.list("") if not item.key.startswith("devices/")} == kept
    if stored:
        assert store.get_object(upload["key"]).metadata == {"captured-at": moment}


def test_an_expired_url_is_refused(store: Store, gate: int, token: str) -> None:
    status, found, _ = ask(gate, {"session": "s", "names": ["1.raw"], "seconds": 1}, token)
    assert status == 200
    [upload] = found["uploads"]
    time.sleep(max(0.0, datetime.fromisoformat(found["expires_at"]).timestamp() - time.time()) + 1.5)
    assert send(upload["url"], raw(1)) == 403
    assert not store.exists(upload["key"])


def test_an_upload_that_breaks_off_leaves_nothing_and_can_be_repeated(store: Store, gate: int, token: str) -> None:
    data = b"".join(raw(seed) for seed in range(16))
    upload = one_upload(gate, token, sha256=hashlib.sha256(data).hexdigest())
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert upload["headers"] == {**SENT, "x-amz-checksum-sha256": digest}
    where = urlsplit(upload["url"])
    head = [f"PUT {where.path}?{where.query} HTTP/1.1", f"Host: {where.netloc}", f"Content-Length: {len(data)}"]
    head += [f"{name}: {value}" for name, value in upload["headers"].items()]
    with socket.create_connection((where.hostname or "", where.port or 0)) as line:
        line.sendall("\r\n".join([*head, "", ""]).encode() + data[: len(data) * 2 // 3])
    time.sleep(1)
    assert not store.exists(upload["key"])
    assert send(upload["url"], data[::-1], upload["headers"]) == 400, "these are other bytes"
    assert send(upload["url"], data, {**upload["headers"], "x-amz-checksum-sha256": "AAAA"}) == 403
    assert not store.exists(upload["key"])
    assert send(upload["url"], data, upload["headers"]) == 200
    assert store.get(upload["key"]) == data


def test_urls_are_signed_for_the_address_at_which_devices_reach_the_store(store: Store, token: str) -> None:
    port = urlsplit(store.where.endpoint_url or "").port
    away = f"http://localhost:{port}"
    with serving(make_server(Store(store.where.model_copy(update={"device_endpoint_url": away})), 0)) as gate:
        upload = one_upload(gate, token)
    assert upload["url"].startswith(f"{away}/{store.where.bucket}/frames/")
    assert send(upload["url"].replace(away, f"http://127.0.0.1:{port}"), raw(1)) == 403, "the host is signed"
    # As behind a router or proxy: the connection goes elsewhere, the Host header says what was signed.
    assert (
        send(upload["url"].replace(away, f"http://127.0.0.1:{port}"), raw(1), {**SENT, "Host": f"localhost:{port}"})
        == 200
    )
    assert store.get(upload["key"]) == raw(1)


# -- who gets one ------------------------------------------------------------------------------------------------------


def test_without_a_good_token_there_are_no_urls(store: Store, gate: int, token: str) -> None:
    wanted = {"session": "s", "count": 1}
    secret = token.rpartition(".")[2]
    bad = [
        "",
        "x",
        "hall-7",
        f"hall-7.{secret[:-1]}x",
        f"hall-8.{secret}",
        f"../hall-7.{secret}",
        "x" * 5000,
        "\x80\xff",
    ]
    for header in [f"Bearer {text}" for text in bad] + [token, f"Basic {token}", f"Bearer{token}", "Bearer", ""]:
        status, found, headers = ask(gate, wanted, Authorization=header)
        assert (status, found["error"]["status"], found["error"]["code"]) == (401, 401, "bad_token"), header
        assert headers["www-authenticate"] == "Bearer"
    assert ask(gate, wanted)[0] == 401
    assert ask(gate, wanted, token)[0] == 200
    devices.remove(store, "hall-7")
    assert ask(gate, wanted, token)[0] == 401, "revoked"


def test_another_devices_folder_cannot_be_asked_for(gate: int, token: str, store: Store) -> None:
    devices.add(store, "hall-8")
    for wanted in (
        {"session": "../hall-8/s", "names": ["1"]},
        {"session": "s", "names": ["../../hall-8/s/1"]},
        {"session": "s", "names": ["1"], "device": "hall-8"},
        {"session": "s", "files": [{"name": "1", "key": "frames/2026-01-01/hall-8/s/1"}]},
        {"session": "s", "names": ["1"], "day": "2020-01-01"},
    ):
        status, found, _ = ask(gate, wanted, token)
        assert (status, found["error"]["code"]) == (400, "bad_request"), wanted
    status, found, _ = ask(gate, {"session": "s", "count": 3}, token)
    assert {key.split("/")[2] for key in (one["key"] for one in found["uploads"])} == {"hall-7"}


def test_with_a_prefix_the_urls_are_below_it(store: Store) -> None:
    team = Store(store.where.model_copy(update={"prefix": "team"}))
    token = devices.add(team, "hall-7")
    with serving(make_server(team, 0)) as gate:
        assert send(one_upload(gate, token)["url"], raw(1)) == 200
    [key] = [item.key for item in store.list("team/frames/")]
    assert key.endswith("/hall-7/s/1.raw")
    with serving(make_server(store, 0)) as gate:
        assert ask(gate, {"session": "s", "count": 1}, token)[0] == 401, "it is a device of the team's"


# -- what the gate survives --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[]", "object"),
        (b'{"session": "s"}', "exactly one of files, names, count"),
        (b'{"session": "s", "names": ["a", "a"]}', "twice"),
        (b'{"session": "s", "count": 1, "label": "person"}', "label"),
        (b'{"session": "a/b", "count": 1}', "session"),
        (b'{"session": "s", "count": 100000}', "count"),
        (b'{"session": "s", "count": 1, "seconds": 604801}', "seconds"),
        (b'{"session": "s", "files": [{"name": "1", "captured_at": "x\\r\\ny: z"}]}', "captured_at"),
        (b'{"session": "s", "files": [{"name": "1", "captured_at": "0001-01-01T00:00:00+14:00"}]}', "captured_at"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong_with_it(gate: int, token: str, body: bytes, named: str) -> None:
    status, found, _ = ask(gate, body, token)
    assert (status, found["error"]["code"]) == (400, "bad_request")
    assert named in found["error"]["message"]
    assert "Traceback" not in json.dumps(found)


def test_a_refusal_is_one_line_of_the_log_and_the_token_is_in_none(
    gate: int, token: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ask(gate, {"session": "s", "names": ["a\n/b"]}, token)
    ask(gate, {"session": "s", "count": 1}, token + "x")
    ask(gate, {"session": "s", "count": 1}, token)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2, lines
    assert "device hall-7 refused 400 bad_request" in lines[0]
    assert "refused 401 bad_token" in lines[1]
    assert token not in "".join(lines)


def test_other_paths_methods_and_sizes_are_refused_and_the_connection_stays_in_order(gate: int, token: str) -> None:
    big = b" " * (MOST_BYTES + 1)
    for method, path, body, expected, code in (
        ("GET", "/", b"", 404, "no_such_path"),
        ("POST", "/frames", b"{}", 404, "no_such_path"),
        ("GET", "/uploads", b"", 405, "method"),
        ("PUT", "/uploads", b"{}", 405, "method"),
        ("DELETE", "/uploads", b"", 405, "method"),
        ("POST", "/uploads", big, 413, "too_large"),
    ):
        status, found, _ = ask(gate, body, token, method, path)
        assert (status, found["error"]["code"]) == (expected, code), (method, path)
    for length in ("", "-1", "1e3", "９", "9" * 5000):
        with socket.create_connection(("127.0.0.1", gate)) as line:
            sent = f"POST /uploads HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
            line.sendall(sent.encode())
            assert line.recv(100).split()[1] in (b"411", b"413"), length
    with socket.create_connection(("127.0.0.1", gate)) as line:
        line.sendall(b"\x16\x03\x01 not http at all\r\n\r\n")
        assert b'"bad_http"' in b"".join(iter(lambda: line.recv(4096), b""))
    assert ask(gate, b"", method="GET", path="/-/health")[:2] == (200, {"ok": True})
    connection = http.client.HTTPConnection("127.0.0.1", gate, timeout=10)
    for count in (0, 1, 0, 2):  # a refusal in between does not confuse what follows on the same connection
        body = json.dumps({"session": "s", "count": count})
        connection.request("POST", "/uploads", body, {"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == (200 if count else 400)
    connection.close()


def test_a_client_that_dawdles_is_cut_off_and_others_are_served(store: Store, token: str) -> None:
    with serving(make_server(store, 0, seconds=1)) as gate, socket.create_connection(("127.0.0.1", gate)) as slow:
        slow.sendall(b"POST /uploads HTTP/1.1\r\nContent-Length: 1000\r\n")
        slow.settimeout(20)
        ended = threading.Event()

        def drip() -> None:
            try:
                while not ended.wait(0.2):
                    slow.sendall(b"X-Slow: 1\r\n")
            except OSError:
                ended.set()

        dripping = threading.Thread(target=drip)
        dripping.start()
        started = time.monotonic()
        assert ask(gate, {"session": "s", "count": 1}, token)[0] == 200
        try:
            while slow.recv(4096):
                continue
        except OSError:
            pass
        assert time.monotonic() - started < 15, "it was cut off by its time, not by its silence"
        ended.set()
        dripping.join()


def test_a_store_that_is_away_is_said_to_be_away_without_saying_where(store: Store, where: Settings) -> None:
    token = devices.add(store, "hall-7")
    nobody = f"http://127.0.0.1:{free_port()}"
    with serving(make_server(Store(where.model_copy(update={"endpoint_url": nobody})), 0)) as gate:
        status, found, headers = ask(gate, {"session": "s", "count": 1}, token)
        assert (status, found["error"]["code"], headers["retry-after"]) == (503, "store_away", "10")
        assert nobody not in json.dumps(found)
        assert ask(gate, b"", method="GET", path="/-/health")[0] == 200, "the gate itself is well"


def test_a_thousand_files_fit_in_one_request(store: Store, gate: int, token: str) -> None:
    file = {"sha256": "ab" * 32, "captured_at": "2026-01-31T14:25:30.123456+00:00"}
    files = [{"name": f"{'n' * 58}-{number:04d}", **file} for number in range(1000)]
    status, found, _ = ask(gate, {"session": "s" * 64, "files": files}, token)
    assert (status, len(found["uploads"])) == (200, 1000)
    assert UploadRequest.model_validate({"session": "s", "files": files})
