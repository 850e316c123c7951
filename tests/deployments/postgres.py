"""A PostgreSQL cluster of a test's own, from Debian's package, in a folder that goes away with it."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import free_port

USER = "f2f"


def programs() -> Path:
    """The folder with `initdb` and `postgres` of the newest version; skips where there is none, or no one to run it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found:
        pytest.skip("needs PostgreSQL in /usr/lib/postgresql (Debian: apt-get install postgresql)")
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    return found[-1].parent


class Cluster:
    """`url` is for the database `prefect`, as a person would write it."""

    def __init__(self, host: str, port: int, password: str) -> None:
        self.host, self.port, self.password = host, port, password

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{self.password}@{self.host}:{self.port}/prefect"

    def query(self, sql: str) -> list[Any]:
        """Rows of one statement."""
        import asyncio

        import asyncpg

        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.url)
            try:
                return [tuple(row) for row in await connection.fetch(sql)]
            finally:
                await connection.close()

        return asyncio.run(ask())


@contextlib.contextmanager
def cluster(host: str = "127.0.0.1", *, clients: str = "127.0.0.1/32") -> Iterator[Cluster]:
    """A running cluster that listens on `host` for `clients`, with passwords; gone afterwards."""
    bin_folder, port, password = programs(), free_port(), secrets.token_hex(12)
    as_user: dict[str, Any] = {}
    # Not in pytest's folder: that one is closed to other users, and PostgreSQL refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="f2f-postgres-"))
    process = None
    try:
        (folder / "password").write_text(password)
        if os.geteuid() == 0:
            entry = pwd.getpwnam("postgres")
            as_user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            for path in (folder, folder / "password"):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        data = folder / "data"
        options = ["--auth=scram-sha-256", f"--pwfile={folder / 'password'}", f"--username={USER}", "--no-sync"]
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        subprocess.run(
            [bin_folder / "initdb", *options, "--encoding=UTF8", data],
            check=True,
            capture_output=True,
            cwd=folder,
            env=environment,
            **as_user,
        )
        with (data / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {clients} scram-sha-256\n")
        settings = {"listen_addresses": host, "port": port, "unix_socket_directories": "", "fsync": "off"}
        line = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [bin_folder / "postgres", "-D", data, *line],
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment,
                **as_user,
            )
        made = Cluster(host, port, password)
        _wait(made, process, folder / "log")
        yield made
    finally:
        if process:
            process.send_signal(signal.SIGINT)  # fast shutdown
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(made: Cluster, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Makes the database as soon as the server answers."""
    import asyncio

    import asyncpg

    async def make() -> None:
        dsn = made.url.removesuffix("/prefect") + "/postgres"
        connection = await asyncpg.connect(dsn, timeout=5)
        await connection.execute("CREATE DATABASE prefect")
        await connection.close()

    end = time.monotonic() + 60
    while True:
        try:
            return asyncio.run(make())
        except (OSError, asyncpg.CannotConnectNowError):
            assert process.poll() is None, log.read_text(errors="replace")[-2000:]
            assert time.monotonic() < end
            time.sleep(0.2)
