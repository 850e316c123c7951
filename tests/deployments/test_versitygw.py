"""The S3 server: how it is installed, and that it keeps what it was given. Archives come from a server of the test's
own; the compilation itself (minutes) runs only where `make test` has no server yet. Does not touch Prefect.
"""

import hashlib
import io
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deployments import versitygw, versitygw_install
from deployments.versitygw_install import InstallFailed, Release, install, installed, program
from tasks.settings import PROJECT, Settings
from tasks.store import Store
from tests.conftest import ACCESS_KEY, SECRET_KEY, free_port

MEMBER = "versitygw_v1.8.0_Linux_x86_64/versitygw"


class Archive(BaseHTTPRequestHandler):
    """Serves one archive, and counts how often."""

    data: bytes
    asked: list[str]
    pause: threading.Event | None  # after half of it, until set

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.data)))
        self.end_headers()
        half = len(self.data) // 2
        self.wfile.write(self.data[:half])
        self.wfile.flush()
        if self.pause:
            self.pause.wait(30)
        self.wfile.write(self.data[half:])

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def archive_server(data: bytes, pause: threading.Event | None = None) -> Iterator[tuple[str, list[str]]]:
    """URL of `data`, and the list of requests so far."""
    asked: list[str] = []
    handler = type("BoundArchive", (Archive,), {"data": data, "asked": asked, "pause": pause})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=partial(server.serve_forever, 0.05), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/archive.tar.gz", asked
    finally:
        if pause:
            pause.set()
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def archive(s3_program: Path) -> bytes:
    """A release archive with the real program."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        tar.add(s3_program, MEMBER)
    return buffer.getvalue()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_installed_version_is_left_alone(s3_program: Path) -> None:
    before = s3_program.stat()
    said: list[str] = []
    assert install(s3_program.parent.parent, said.append, release=None) == s3_program
    assert (s3_program.stat().st_ino, s3_program.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert said == []


def test_an_archive_with_the_right_digest_is_installed(archive: bytes, tmp_path: Path) -> None:
    with archive_server(archive) as (url, asked):
        path = install(tmp_path, lambda text: None, release=Release(url, digest(archive), MEMBER))
    assert installed(path)
    assert asked == ["/archive.tar.gz"]
    assert sorted(p.name for p in path.parent.iterdir()) == [".install.lock", "versitygw"]


def test_two_installations_at_once_fetch_once(archive: bytes, tmp_path: Path) -> None:
    said: list[str] = []
    with archive_server(archive) as (url, asked):
        run: Callable[[], object] = partial(
            install, tmp_path, said.append, release=Release(url, digest(archive), MEMBER)
        )
        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(asked) == 1
    assert installed(program(tmp_path))
    assert any("waiting for another" in line for line in said)


@pytest.mark.parametrize("fault", ["another digest", "nobody there"])
def test_without_a_good_archive_it_is_compiled_and_never_taken_as_it_is(
    archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    # A Go that may fetch nothing: what would follow is tried, and fails with its own words.
    monkeypatch.setenv("GOPROXY", "off")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "empty"))
    said: list[str] = []
    with archive_server(archive) as (url, _):
        if fault == "nobody there":
            url = f"http://127.0.0.1:{free_port()}/archive.tar.gz"
        with pytest.raises(InstallFailed) as failed:
            install(tmp_path, said.append, release=Release(url, "0" * 64, MEMBER))
    expected = f"REFUSED the archive: its SHA-256 is {digest(archive)}" if fault == "another digest" else "no release"
    assert any(expected in line for line in said), said
    assert failed.value.next_step
    assert not program(tmp_path).exists()
    assert [p.name for p in (tmp_path / "bin").iterdir()] == [".install.lock"]


def test_a_killed_installation_leaves_nothing_that_looks_installed(archive: bytes, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from deployments.versitygw_install import *;"
        "install(Path(sys.argv[1]), print, release=Release(sys.argv[2], sys.argv[3], sys.argv[4]))"
    )
    with archive_server(archive, threading.Event()) as (url, asked):
        line = [sys.executable, "-c", code, str(tmp_path), url, digest(archive), MEMBER]
        process = subprocess.Popen(line, cwd=PROJECT, stdout=subprocess.DEVNULL)
        staged: list[Path] = []
        limit = time.monotonic() + 60
        while not (asked and staged) and time.monotonic() < limit:
            staged = list(tmp_path.glob("bin/.staging-*/archive.tar.gz"))
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert staged, "it was killed before it fetched anything: this proved nothing"
    assert not program(tmp_path).exists()
    with archive_server(archive) as (url, _):
        assert installed(install(tmp_path, lambda text: None, release=Release(url, digest(archive), MEMBER)))
    assert not list(tmp_path.glob("bin/.staging-*"))


def test_a_go_that_is_too_old_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho go1.19.8\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert versitygw_install._go_on_path() is None
    go.write_text("#!/bin/sh\necho go1.25.0\n")
    assert versitygw_install._go_on_path() == go


@pytest.mark.parametrize("metadata", ["attributes", "sidecar"])
def test_objects_and_their_metadata_survive_a_kill(
    s3_program: Path, s3_credentials: Path, tmp_path: Path, metadata: str
) -> None:
    if metadata == "sidecar":  # what a file system without extended attributes leads to
        (tmp_path / "s3" / "sidecar").mkdir(parents=True)
    for life in ("before", "after"):
        port = free_port()
        server = versitygw.start(
            tmp_path / "s3", port=port, access_key=ACCESS_KEY, secret_key=SECRET_KEY, program=s3_program
        )
        where = Settings(
            _env_file=None,  # type: ignore[call-arg]
            endpoint_url=f"http://127.0.0.1:{port}",
            profile="test",
            credentials_file=s3_credentials,
            data_dir=tmp_path / "f2f",
        )
        try:
            versitygw.wait_healthy(port, server)
            store = Store(where)
            if life == "before":
                store.create_bucket()
                store.put("frames/1", b"pixels", metadata={"label": "person"})
            store.probe()
            found = store.get_object("frames/1")
        finally:
            server.kill()
            server.wait()
        assert (found.data, found.metadata) == (b"pixels", {"label": "person"}), life
