"""The report server, asked over HTTP, on a real bucket: what it serves, and above all what it does not. How `f2f up`
starts it is in test_stack.py.
"""

import http.client
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from deployments.report_server import make_server, served_key
from tasks.lineage import Candidate
from tasks.store import Store
from tests.conftest import free_port
from tests.deployments.conftest import serving
from tests.tasks.firmware_records_example import example_image

SECRET = b"a frame that nobody may list or read here"
FIRMWARE = f"firmware/{'f' * 64}"
DOCS = f"datasets/{'d' * 64}/data-docs/0123456789abcdef"


@pytest.fixture
def port(store: Store) -> Iterator[int]:
    for key in (
        "frames/2026-01-01/cam/s/1.png",
        "blobs/" + "a" * 64,
        "index/0.json",
        "quarantine/x.json",
        "secret.html",
    ):
        store.put(key, SECRET, content_type="text/html")
    store.put("models/x/model.keras", SECRET)
    store.put("models/x/.hidden.html", SECRET)
    for name in ("page.html", "script.js", "picture.svg", "secret.key", "deep/firmware.elf"):
        store.put(f"{FIRMWARE}/{name}", SECRET)
    store.put("firmware/x/firmware.elf", SECRET)
    store.put("models/x/firmware.elf", SECRET)
    with serving(make_server(store, 0)) as found:
        yield found


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """The answer to `path` exactly as written: no client tidies it up."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "path",
    [
        "/frames/2026-01-01/cam/s/1.png",
        "/blobs/" + "a" * 64,
        "/index/0.json",
        "/quarantine/x.json",
        "/secret.html",
        "/models/x/model.keras",
        "/models/x/.hidden.html",
        "/models/../secret.html",
        "/models/%2e%2e/secret.html",
        "/models/x/..%2f..%2fsecret.html",
        "/models/%252e%252e/secret.html",
        "/models//../secret.html",
        "//models/../secret.html",
        "/models\\..\\secret.html",
        "/models/x%00.html",
        f"/{FIRMWARE}/page.html",
        f"/{FIRMWARE}/script.js",
        f"/{FIRMWARE}/picture.svg",
        f"/{FIRMWARE}/secret.key",
        f"/{FIRMWARE}/deep/firmware.elf",
        f"/{FIRMWARE}/../../secret.html",
        f"/{FIRMWARE}/",
        "/firmware/x/firmware.elf",
        "/models/x/firmware.elf",
        "/models/",
        "/models",
        "/frames/",
        "/?prefix=frames/&list-type=2",
        "/../../../../etc/passwd",
    ],
)
def test_nothing_but_reports_data_docs_and_firmware_is_served(port: int, path: str) -> None:
    status, _, body = ask(port, path)
    assert SECRET not in body
    assert b"cam/s/1.png" not in body.replace(path.encode(), b"")
    assert b"root:" not in body
    assert status == (200 if path.startswith("/?") else 404)  # a query on the start page is the start page


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_get_and_head_are_understood(store: Store, port: int, method: str) -> None:
    store.put("models/r/report.html", b"report")
    status, _, _ = ask(port, "/models/r/report.html", method)
    assert status == 501
    assert store.get("models/r/report.html") == b"report"


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("models/reports/r/report.html", "text/html; charset=utf-8"),
        ("models/m/model.json", "application/json"),
        (f"{DOCS}/static/styles/a.css", "text/css; charset=utf-8"),
        (f"{DOCS}/static/images/a.png", "image/png"),
        (f"{DOCS}/expectations/a-b_c/1.0.html", "text/html; charset=utf-8"),
        (f"{FIRMWARE}/image.json", "application/json"),
        (f"{FIRMWARE}/transcript.txt", "text/plain; charset=utf-8"),
        (f"{FIRMWARE}/firmware.map", "text/plain; charset=utf-8"),
        (f"{FIRMWARE}/firmware.elf", "application/octet-stream"),
        (f"{FIRMWARE}/golden-frames.npy", "application/octet-stream"),
    ],
)
def test_a_page_comes_with_the_type_of_its_name_and_may_not_reach_out(
    store: Store, port: int, key: str, kind: str
) -> None:
    data = key.encode() * 100
    store.put(key, data, content_type="application/x-wrong")
    status, headers, body = ask(port, f"/{key}")
    assert (status, body, headers["content-type"]) == (200, data, kind)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    status, headers, body = ask(port, f"/{key}", "HEAD")
    assert (status, body, headers["content-length"]) == (200, b"", str(len(data)))


def test_a_folder_of_data_docs_opens_its_index(store: Store, port: int) -> None:
    store.put(f"{DOCS}/index.html", b"docs")
    assert ask(port, f"/{DOCS}/")[2] == b"docs"


def test_a_large_report_arrives_whole_and_an_unchanged_one_not_again(store: Store, port: int) -> None:
    data = bytes(range(256)) * 40_000
    store.put("models/r/report.html", data)
    status, headers, body = ask(port, "/models/r/report.html")
    assert (status, body) == (200, data)
    status, _, body = ask(port, "/models/r/report.html", If_None_Match=headers["etag"])
    assert (status, body) == (304, b"")


def test_one_connection_serves_many_requests(store: Store, port: int) -> None:
    store.put("models/r/report.html", b"report")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for path, expected in (("/models/r/report.html", 200), ("/models/none.html", 404), ("/-/health", 200), ("/", 200)):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == expected
    connection.close()


def test_a_missing_page_says_so_and_leads_back(port: int) -> None:
    status, headers, body = ask(port, "/models/gone/<b>report.html")
    assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert b"<b>" not in body
    status, _, body = ask(port, "/models/gone/report.html")
    assert status == 404
    assert b"/models/gone/report.html" in body
    assert b'<a href="/">' in body


def test_a_store_that_is_away_is_said_to_be_away(store: Store) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with serving(make_server(Store(store.where.model_copy(update={"endpoint_url": nobody})), 0)) as port:
        status, _, body = ask(port, "/models/r/report.html")
        assert status == 502
        assert nobody.encode() in body
        assert ask(port, "/-/health")[0] == 200, "the server itself is well"


def test_another_sites_name_is_not_answered(store: Store, port: int) -> None:
    assert ask(port, "/", Host="evil.example")[0] == 403
    assert ask(port, "/", Host=f"localhost:{port}")[0] == 200
    with serving(make_server(store, 0, public_base_url="https://reports.example.org/f2f")) as public:
        assert ask(public, "/", Host="reports.example.org")[0] == 200


def candidate(number: int, *, passed: bool, firmware: tuple[str, ...] = ()) -> Candidate:
    return Candidate(
        dataset="d",
        validation="v",
        model=f"m{number}",
        int8="i",
        report="r",
        verdict="v",
        firmware=firmware,
        passed=passed,
        html=f"models/reports/r{number}/report.html",
        decided_at=datetime(2026, 1, 1, number, tzinfo=UTC),
        records={},
    )


def test_the_start_page_links_the_newest_verdict_first_and_every_link_opens(store: Store, port: int) -> None:
    for number, passed in ((1, True), (2, False)):
        made = candidate(number, passed=passed)
        store.put_record(made.key, made)
        store.put(made.html, b"report")
    store.put("models/sweeps/s/report.html", b"sweep")
    store.put(f"{DOCS}/index.html", b"docs")
    store.put(f"{DOCS}/validations/deep/index.html", b"docs")
    store.put(f"datasets/{'d' * 64}/dataset.json", b"{}")
    status, _, page = ask(port, "/")
    text = page.decode()
    assert status == 200
    assert text.index("2026-01-01 02:00:00: rejected") < text.index(": passed")
    assert text.count('<link rel="icon" href="data:,">') == 1  # or the browser asks for one, and gets a 404
    links = ["/" + part.split('"')[0] for part in text.split('href="/')[1:]]
    assert {"/models/reports/r2/report.html", "/models/sweeps/s/report.html", f"/{DOCS}/index.html"} <= set(links)
    assert len(links) == len(set(links)) == 7  # two reports, two records, one sweep, Data Docs, data set record
    assert [ask(port, link)[0] for link in links] == [200] * 7


def test_the_start_page_tells_a_refused_image_from_a_rejected_model(store: Store, port: int) -> None:
    for number, firmware in ((1, ()), (2, ("f" * 64,))):
        made = candidate(number, passed=False, firmware=firmware)
        store.put_record(made.key, made)
    text = ask(port, "/")[2].decode()
    assert "2026-01-01 01:00:00: rejected<" in text
    assert "2026-01-01 02:00:00: image refused<" in text


def test_every_file_of_an_image_is_served(store: Store, port: int) -> None:
    image = example_image()
    for name in image.files:
        store.put(image.folder + name, name.encode())
        assert ask(port, f"/{image.folder}{name}")[::2] == (200, name.encode())


def test_an_empty_bucket_has_a_start_page(store: Store) -> None:
    with serving(make_server(store, 0)) as port:
        assert ask(port, "/")[2].count(b"None yet") == 3


def test_reports_below_a_prefix_are_found_under_their_own_keys(store: Store) -> None:
    team = Store(store.where.model_copy(update={"prefix": "team"}))
    team.put("models/r/report.html", b"ours")
    store.put("models/r/report.html", b"theirs")
    with serving(make_server(team, 0)) as port:
        assert ask(port, "/models/r/report.html")[2] == b"ours"
        assert b"/models/r/report.html" in ask(port, "/")[2]


def test_a_key_is_served_only_in_its_plain_form() -> None:
    assert served_key("/models/r/report.html") == "models/r/report.html"
    assert served_key("/models/r/report%2Ehtml") == "models/r/report.html"
    assert served_key("/models/r/REPORT.HTML") is None
    assert served_key("/models/r/ä.html") is None
