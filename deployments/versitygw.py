"""The local S3 server: versitygw (posix backend), on 127.0.0.1 only."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

from deployments import versitygw_install
from deployments.processes import answers
from tasks.errors import PipelineError
from tasks.settings import settings


def binary() -> Path:
    """Where the server's executable is. Raises `PipelineError` where it is not installed."""
    path = versitygw_install.program(settings().data_dir)
    if not path.exists():
        raise PipelineError(f"no S3 server at {path}", next_step="run `f2f up`, which installs it")
    return path


def command(program: Path, folder: Path, port: int, *, webhook_url: str | None = None) -> list[str | Path]:
    """The server's command line, with its data below `folder` (absolute), which is created.

    Object metadata lie in extended attributes, or in a folder of their own where the file system has none. To
    `webhook_url` it posts a notice of every object; it does not start while nobody answers there.
    """
    folders = {name: folder / name for name in ("data", "versions", "sidecar")}
    # Once with a sidecar, always with it: the metadata of what is stored are there.
    sidecar = folders["sidecar"].exists() or not _has_attributes(folder)
    for name in ("data", "versions", *(("sidecar",) if sidecar else ())):
        folders[name].mkdir(parents=True, exist_ok=True)
    # --quiet: no line per request, which would be a gigabyte of log every few million frames. Errors are still logged.
    line: list[str | Path] = [program, "--port", f"127.0.0.1:{port}", "--health", "/health", "--quiet"]
    line += [*(("--event-webhook-url", webhook_url) if webhook_url else ()), "posix"]
    line += ["--versioning-dir", folders["versions"]]
    return [*line, *(("--sidecar", folders["sidecar"]) if sidecar else ()), folders["data"]]


def environment(access_key: str, secret_key: str) -> dict[str, str]:
    """The credentials, as the server wants them. Not on the command line: every user of the machine can read that."""
    return {"ROOT_ACCESS_KEY": access_key, "ROOT_SECRET_KEY": secret_key}


def start(
    folder: Path,
    *,
    port: int,
    access_key: str,
    secret_key: str,
    program: Path | None = None,
    webhook_url: str | None = None,
) -> "subprocess.Popen[bytes]":
    """Starts a server that ends with its parent's help (tests, benchmarks); `f2f up` starts detached ones."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "versitygw.log").open("ab") as log:
        return subprocess.Popen(
            command(program or binary(), folder.absolute(), port, webhook_url=webhook_url),
            env={**os.environ, **environment(access_key, secret_key)},
            stdout=log,
            stderr=log,
        )


def healthy(port: int) -> bool:
    """Whether the server answers."""
    return answers(port, "/health")


def wait_healthy(port: int, process: "subprocess.Popen[bytes] | None" = None, *, seconds: float = 20) -> None:
    """Returns when the server answers. Raises `PipelineError` when it ends or does not answer in time."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if process and process.poll() is not None:
            raise PipelineError(f"the S3 server ended with code {process.returncode}")
        if healthy(port):
            return
        time.sleep(0.1)
    raise PipelineError(f"the S3 server did not answer on port {port} within {seconds:.0f} s")


def _has_attributes(folder: Path) -> bool:
    """Whether the file system below `folder` keeps user extended attributes."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder) as probe:
        try:
            os.setxattr(probe.name, "user.f2f", b"1")
        except OSError:
            return False
    return True
