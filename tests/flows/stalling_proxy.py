"""An address that passes everything on to a server until one word comes by, and then hangs: where a process can be
killed in the middle of a request that never arrives."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class StallingProxy:
    """`url` speaks to the server on `port`; a request with `word` in it is not passed on, and sets `reached`."""

    port: int
    word: bytes
    reached: threading.Event = field(default_factory=threading.Event)
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/api"

    def serve(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.port))
                threading.Thread(target=self.pump, args=(near, far, self.word), daemon=True).start()
                threading.Thread(target=self.pump, args=(far, near, b""), daemon=True).start()

    def pump(self, source: socket.socket, sink: socket.socket, word: bytes) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if word and word in data:
                    self.reached.set()
                    return  # keeps both ends open: whoever asked waits
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def stalling_proxy(port: int, word: bytes) -> Iterator[StallingProxy]:
    """A proxy that runs for the time of the `with` block."""
    proxy = StallingProxy(port, word)
    threading.Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.listener.close()
