"""A real HTTP server in front of the test's S3 server, with the faults that real stores and networks have."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tasks.settings import Settings
from tasks.store import Store


class _Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: Store
    ignored: frozenset[str]  # condition headers that this store does not know
    cut_after: int | None  # bytes of an upload's body after which the line breaks

    def _serve(self) -> None:
        if self.command == "PUT" and self.ignored & {name.lower() for name in self.headers}:
            return self._careless_put()
        server = urlsplit(self.upstream.where.endpoint_url or "")
        connection = http.client.HTTPConnection(server.hostname or "", server.port)
        length = int(self.headers.get("Content-Length") or 0)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():  # Host too: the signature covers it
            connection.putheader(name, value)
        connection.endheaders()
        if self.cut_after is not None and length > self.cut_after:
            connection.send(self.rfile.read(self.cut_after))
            connection.close()
            self.connection.close()
            self.close_connection = True
            return None
        if length:
            connection.send(self.rfile.read(length))
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        connection.close()

    def _careless_put(self) -> None:
        """What a store without conditional writes does: it takes the object. (Signed anew: the header was signed.)"""
        bucket, key = self.path.lstrip("/").split("/", 1)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        etag = self.upstream.client.put_object(Bucket=bucket, Key=key, Body=body)["ETag"]
        self.send_response(200)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = _serve

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test speaks."""


@contextmanager
def front(store: Store, *, ignored: frozenset[str] = frozenset(), cut_after: int | None = None) -> Iterator[Settings]:
    """Settings that reach `store`'s bucket through the faulty front."""
    handler = type("Front", (_Front,), {"upstream": store, "ignored": ignored, "cut_after": cut_after})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield store.where.model_copy(update={"endpoint_url": f"http://127.0.0.1:{server.server_port}"})
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
