"""The local S3 server: versitygw, pinned. Installed once into the data folder, started on 127.0.0.1."""

import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from tasks.errors import PipelineError
from tasks.settings import settings


def binary() -> Path:
    """Where the server's executable is. Raises `PipelineError` where it is not installed."""
    path = settings().data_dir / "bin" / "versitygw"
    if not path.exists():
        raise PipelineError(f"no S3 server at {path}", next_step="run `f2f up`, which installs it")
    return path


def start(folder: Path, *, port: int, access_key: str, secret_key: str) -> "subprocess.Popen[bytes]":
    """Starts the server on 127.0.0.1 with its data below `folder`."""
    data, versions = folder / "data", folder / "versions"
    data.mkdir(parents=True, exist_ok=True)
    versions.mkdir(parents=True, exist_ok=True)
    with (folder / "versitygw.log").open("ab") as log:
        return subprocess.Popen(
            [
                binary(),
                "--port",
                f"127.0.0.1:{port}",
                "--health",
                "/health",
                "posix",
                "--versioning-dir",
                versions,
                data,
            ],
            env={**os.environ, "ROOT_ACCESS_KEY": access_key, "ROOT_SECRET_KEY": secret_key},
            stdout=log,
            stderr=log,
        )


def wait_healthy(port: int, process: "subprocess.Popen[bytes] | None" = None, *, seconds: float = 20) -> None:
    """Returns when the server answers. Raises `PipelineError` when it ends or does not answer in time."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if process and process.poll() is not None:
            raise PipelineError(f"the S3 server ended with code {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise PipelineError(f"the S3 server did not answer on port {port} within {seconds:.0f} s")
