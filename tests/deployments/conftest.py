"""What tests start for themselves: a local stack with its folder and ports, or one server in a thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from deployments import stack
from tasks.settings import Settings
from tests.conftest import free_port


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[int]:
    """The port of `server`, which answers until the block ends."""
    thread = threading.Thread(target=partial(server.serve_forever, 0.05), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def stack_folder(tmp_path: Path) -> Path:
    """Where the stack keeps its data."""
    return tmp_path / "f2f"


@pytest.fixture
def own(stack_folder: Path, s3_program: Path) -> Iterator[Settings]:
    """Settings of a user whose stack does not exist yet; the S3 server's program is there."""
    (stack_folder / "bin").mkdir(parents=True)
    (stack_folder / "bin" / "versitygw").symlink_to(s3_program)
    yield (
        where := Settings(
            _env_file=None,  # type: ignore[call-arg]
            data_dir=stack_folder,
            s3_port=free_port(),
            prefect_port=free_port(),
            reports_port=free_port(),
            bridge_port=free_port(),
            gate_port=free_port(),
        )
    )
    stack.down(where, say=lambda text: None)
