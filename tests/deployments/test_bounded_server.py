"""The server behind upload gate and event bridge: what its places and its log survive. What clients are told, and that
slow ones are cut off, is in test_upload_gate.py.
"""

import logging
import socket
import struct
import time
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any

import pytest

from deployments.bounded_server import BoundedServer, JsonHandler
from deployments.processes import answers
from tests.deployments.test_upload_gate import serving


class Handler(JsonHandler):
    """Answers everything."""

    def route(self) -> None:
        self.answer(HTTPStatus.OK, b"{}\n")


def test_a_connection_that_gets_no_thread_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    started, failures = ThreadingMixIn.process_request, iter([True])

    def start(server: ThreadingMixIn, *arguments: Any) -> None:
        if next(failures, False):
            raise RuntimeError("can't start new thread")
        started(server, *arguments)

    monkeypatch.setattr(ThreadingMixIn, "process_request", start)
    with serving(BoundedServer("127.0.0.1", 0, Handler, most=1)) as port:
        assert not answers(port, "/")
        assert answers(port, "/")


def test_a_client_that_resets_its_connection_leaves_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    server = BoundedServer("127.0.0.1", 0, Handler, most=1)
    with caplog.at_level(logging.ERROR, "bounded_server"), serving(server) as port:
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(b"GET / HT")
            time.sleep(0.2)  # it is being read
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert answers(port, "/"), "served once the one place is free again"
    assert not caplog.records
