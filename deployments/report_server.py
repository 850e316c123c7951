"""Serves reports and Data Docs from the bucket, read-only, on 127.0.0.1: so that every link in the Prefect UI opens.

Only pages and records below `models/` and `datasets/`, and the files of firmware images, are served; frames, blobs and
the index are not. An image's golden frames (32 unless more are asked for) are test frames, as are the pictures in a
report. Started by `f2f up` as a process of its own: `python -m deployments.report_server PORT`.
"""

import json
import re
import sys
from collections.abc import Iterator
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from tasks.settings import settings
from tasks.store import ObjectMissing, Store, StoreError, open_store

HEALTH = "/-/health"
FOLDERS = ("models/", "datasets/")
KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "ico": "image/x-icon",
    "woff2": "font/woff2",
}
# Of an image's folder nothing is shown as a page: records and text to read, the rest to save.
FIRMWARE_KINDS = {
    "json": KINDS["json"],
    "txt": KINDS["txt"],
    "log": KINDS["txt"],
    "map": KINDS["txt"],
    **dict.fromkeys(("elf", "bin", "npy", "tflite"), "application/octet-stream"),
}
NEWEST = 30  # lines a section on the start page
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    # Pages are self-contained: whatever is in them, nothing of it may reach out.
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline'; font-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
}
_FIRMWARE = re.compile(r"firmware/[0-9a-f]{64}/[^/]+")
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+@,:-]*")


def served_key(path: str) -> str | None:
    """The key that the URL path `path` asks for; None for anything that is not served.

    Percent signs are decoded once. No empty segment and none that starts with a dot: `..` never reaches the store.
    """
    key = unquote(path).removeprefix("/")
    if key.endswith("/"):
        key += "index.html"
    if not all(_SEGMENT.fullmatch(part) for part in key.split("/")):
        return None
    return key if _kind(key) else None


def _kind(key: str) -> str | None:
    """The content type of a key by its folder and ending; None for what is not served."""
    kinds = KINDS if key.startswith(FOLDERS) else FIRMWARE_KINDS if _FIRMWARE.fullmatch(key) else {}
    return kinds.get(key.rpartition(".")[2])


def start_page(store: Store) -> str:
    """Links to the newest verdicts, other reports, and data sets with their Data Docs."""
    candidates = [item.key for item in store.list("models/candidates/") if item.key.endswith(".json")]
    verdicts, linked = [], set()
    for key in reversed(candidates[-NEWEST:]):  # keys begin with the time of the decision
        record = json.loads(store.get(key))
        linked.add(record["html"])
        answer = "passed" if record["passed"] else "image refused" if record.get("firmware") else "rejected"
        mark = "passed" if record["passed"] else "rejected"
        time = str(record["decided_at"]).replace("T", " ").removesuffix("Z")
        verdicts.append(
            f'<li class="{mark}"><a href="/{escape(record["html"])}">{escape(time)}: {answer}</a> '
            f'<a class="more" href="/{escape(key)}">record</a></li>'
        )
    pages = sorted(
        (i for i in store.list("models/") if i.key.endswith(".html") and served_key(i.key)), key=lambda i: i.modified
    )
    others = [i for i in reversed(pages) if i.key not in linked][:NEWEST]
    docs = [i for i in store.list("datasets/") if re.fullmatch(r"datasets/[^/]+/data-docs/[^/]+/index\.html", i.key)]
    docs = sorted(docs, key=lambda i: i.modified, reverse=True)[:NEWEST]

    def lines(items: list[str]) -> str:
        return f"<ul>{''.join(items)}</ul>" if items else "<p>None yet.</p>"

    reports = [
        f'<li><a href="/{escape(i.key)}">{i.modified:%Y-%m-%d %H:%M:%S}</a> {escape(i.key)}</li>' for i in others
    ]
    sets = [
        f'<li><a href="/{escape(i.key)}">{i.modified:%Y-%m-%d %H:%M:%S}</a> data set {escape(digest[:12])} '
        f'<a class="more" href="/datasets/{escape(digest)}/dataset.json">record</a></li>'
        for i, digest in ((i, i.key.split("/")[1]) for i in docs)
    ]
    where = escape(f"{store.where.bucket}{f'/{store.where.prefix}' if store.where.prefix else ''}")
    return _page(
        "Reports",
        f"<h1>frames2firmware: {where}</h1><h2>Verdicts</h2>{lines(verdicts)}"
        f"<h2>Data sets and their validation</h2>{lines(sets)}<h2>Other reports</h2>{lines(reports)}",
    )


def _page(title: str, body: str) -> str:
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>'
        ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;"
        "padding:0 1rem}h2{font-size:1.1rem;margin-top:2rem}li{margin:.2rem 0}.passed::marker{content:'✓ '}"
        ".rejected::marker{content:'✗ '}.more{opacity:.7;font-size:.85em;margin-left:.5em}"
        f"</style></head><body>{body}</body></html>"
    )


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of served keys; everything else is answered with a page that says why not."""

    protocol_version = "HTTP/1.1"
    server_version = "f2f"
    sys_version = ""
    timeout = 60  # seconds; a silent client does not hold a thread for ever
    store: Store
    hosts: frozenset[str]  # names under which it may be asked: another name is another site's trick (DNS rebinding)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        try:
            self._route(urlsplit(self.path).path, body=body)
        except (BrokenPipeError, ConnectionResetError):  # the reader went away
            self.close_connection = True

    def _route(self, path: str, *, body: bool) -> None:
        host = (urlsplit(f"//{self.headers.get('Host', '')}").hostname or "").lower()
        if host not in self.hosts:
            return self._refuse(HTTPStatus.FORBIDDEN, f"This server does not answer to the name {host!r}.", body=body)
        if path == HEALTH:
            return self._send(HTTPStatus.OK, "text/plain", b"ok\n", body=body)
        try:
            if path == "/":
                return self._send(HTTPStatus.OK, KINDS["html"], start_page(self.store).encode(), body=body)
            key = served_key(path)
            if key is None:
                text = f"Only reports, Data Docs and files of firmware are served here, and {path!r} is none of them."
                return self._refuse(HTTPStatus.NOT_FOUND, text, body=body)
            return self._stream(key, body=body)
        except ObjectMissing:
            self._refuse(
                HTTPStatus.NOT_FOUND, f"There is no {path!r} in bucket {self.store.where.bucket!r}.", body=body
            )
        except StoreError as error:
            self._refuse(HTTPStatus.BAD_GATEWAY, str(error), body=body)

    def _stream(self, key: str, *, body: bool) -> None:
        with self.store.stream(key) as found:
            if self.headers.get("If-None-Match") == found.etag:
                return self._send(HTTPStatus.NOT_MODIFIED, None, b"", body=False, etag=found.etag)
            self._send(HTTPStatus.OK, _kind(key), found.chunks, body=body, size=found.size, etag=found.etag)

    def _refuse(self, status: HTTPStatus, text: str, *, body: bool) -> None:
        page = _page(status.phrase, f'<h1>{status.phrase}</h1><p>{escape(text)}</p><p><a href="/">All reports</a></p>')
        self._send(status, KINDS["html"], page.encode(), body=body)

    def _send(
        self,
        status: HTTPStatus,
        kind: str | None,
        data: bytes | Iterator[bytes],
        *,
        body: bool,
        size: int | None = None,
        etag: str = "",
    ) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "ETag": etag, **HEADERS}
        if status != HTTPStatus.NOT_MODIFIED:
            headers["Content-Length"] = str(len(data) if isinstance(data, bytes) else size)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if body:
            for chunk in (data,) if isinstance(data, bytes) else data:
                self.wfile.write(chunk)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        if not str(int(code)).startswith(("2", "3")):  # refusals and failures only
            super().log_request(int(code), size)


def make_server(store: Store, port: int, *, public_base_url: str | None = None) -> ThreadingHTTPServer:
    """A server on 127.0.0.1:`port` (0: any free port) for `store`; call `serve_forever` on it."""
    public = urlsplit(public_base_url or "").hostname
    names = frozenset({"127.0.0.1", "localhost", "::1"} | ({public} if public else set()))
    handler = type("BoundHandler", (Handler,), {"store": store, "hosts": names})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    return server


def main() -> None:
    """Serves the bucket of this process's settings until it is stopped."""
    server = make_server(open_store(), int(sys.argv[1]), public_base_url=settings().public_base_url)
    with server:
        server.serve_forever()


if __name__ == "__main__":
    main()
