"""A small HTTP server for programs that are no browsers: JSON answers, and a bound on everything a client may take."""

import contextlib
import json
import logging
import socket
import sys
import threading
import time
from abc import ABC, abstractmethod
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HEALTH = "/-/health"
_log = logging.getLogger("bounded_server")


class Refused(Exception):
    """A request that is answered with `status` and a reason: `code` for programs, `message` for people."""

    def __init__(self, status: HTTPStatus, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class BoundedServer(ThreadingHTTPServer):
    """At most `most` connections at once, each for at most `seconds`, however slowly its client sends."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, host: str, port: int, handler: type[BaseHTTPRequestHandler], *, most: int = 64, seconds: float = 30
    ) -> None:
        self._places, self._seconds = threading.BoundedSemaphore(most), seconds
        self._ends: dict[Any, float] = {}  # connection -> when it ends, by time.monotonic
        self._lock = threading.Lock()
        super().__init__((host, port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(timeout=1):
            return self.shutdown_request(request)
        with self._lock:
            self._ends[request] = time.monotonic() + self._seconds
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread was started for it
            self._left(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._left(request)

    def service_actions(self) -> None:
        """Called between two requests, and every half second: ends the connections whose time is over."""
        now = time.monotonic()
        with self._lock:
            late = [request for request, end in self._ends.items() if end < now]
        for request in late:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if isinstance(sys.exception(), ConnectionError):
            return  # the client went away
        _log.exception("a request of %s failed", client_address[0])

    def _left(self, request: Any) -> None:
        with self._lock:
            self._ends.pop(request, None)
        self._places.release()


class JsonHandler(BaseHTTPRequestHandler, ABC):
    """Subclasses give `route`, which returns nothing and answers, or raises `Refused`."""

    protocol_version = "HTTP/1.1"
    server_version = "f2f"
    sys_version = ""
    timeout = 10  # seconds without a byte
    who = "-"  # in the log line of a refusal, once it is known
    unread = True  # whether some of the request may still be on its way

    @abstractmethod
    def route(self) -> None:
        """Answers one request."""

    def body(self, limit: int) -> bytes:
        """The request's body. Raises `Refused` where its length is not announced or above `limit`."""
        announced = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (announced.isascii() and announced.isdigit()):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "no_length", "send the body with a Content-Length")
        if len(announced) > 9 or int(announced) > limit:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", f"the body is above {limit:,} bytes")
        data = self.rfile.read(int(announced))
        self.unread = False
        if len(data) < int(announced):
            raise ConnectionAbortedError("the client went away in the middle of its request")
        return data

    def answer(self, status: HTTPStatus, body: bytes = b"", kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        if body:
            self.send_header("Content-Type", kind)
        for name, value in {"Content-Length": str(len(body)), "Cache-Control": "no-store", **headers}.items():
            self.send_header(name, value)
        if self.unread:  # what is left of this request is not the next one
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(body)
        if self.unread:
            self._linger()

    def refuse(self, refused: Refused) -> None:
        self.log_message(
            '%s refused %d %s: %s ("%s %s")',
            *(self.who, refused.status, refused.code, refused.message, self.command, self.path),
        )
        error = {"status": int(refused.status), "code": refused.code, "message": refused.message}
        self.answer(refused.status, json.dumps({"error": error}).encode() + b"\n", **refused.headers)

    def _linger(self) -> None:
        """Lets the client finish, within bounds: closed in the middle of its body, it might never see the answer."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(2)
            for _ in range(64):
                if not self.connection.recv(65536):
                    return

    def _serve(self) -> None:
        self.who, self.unread = (
            "-",
            self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers,
        )
        try:
            self.route()
        except Refused as refused:
            self.refuse(refused)
        except TimeoutError:
            self.unread = True
            self.refuse(Refused(HTTPStatus.REQUEST_TIMEOUT, "timeout", "the request did not arrive in time"))
        except ConnectionError:  # the client went away
            self.close_connection = True
        except Exception:  # whatever it is, the client gets an answer and no traceback
            _log.exception("%s %s of %s failed", self.command, self.path, self.who)
            self.refuse(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "the server failed; its log says why"))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _serve  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """For requests that http.server itself cannot read."""
        self.unread, self.command, self.path = True, self.command or "-", getattr(self, "path", "-")
        self.refuse(Refused(HTTPStatus(code), "bad_http", message or HTTPStatus(code).phrase))

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: refusals have a line of their own."""
