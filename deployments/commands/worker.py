"""`f2f worker`: a worker in the foreground, on this machine or on one that joins others."""

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from deployments import prefect_server
from deployments.prefect_database import SETTING as DATABASE_SETTING
from deployments.prefect_server import POOL, QUEUES, call
from deployments.stack_settings import absolute, no_proxy, settings_environment, user_prefect_url
from tasks.errors import PipelineError
from tasks.settings import PROJECT, Settings, settings, stack_file


class CannotJoin(PipelineError):
    """What a worker needs to know, or to reach, is not there."""


@click.command()
@click.option(
    "--queue",
    "queues",
    multiple=True,
    metavar="NAME",
    help=f"Serve this work queue only; may be repeated. Of: {', '.join(queue.name for queue in QUEUES)}.",
)
@click.option("--pool", default=POOL, show_default=True, help="Work pool to take runs from.")
@click.option("--limit", type=click.IntRange(min=1), help="Runs at once on this machine; default: as the queues allow.")
@click.option("--name", help=f"Name of the worker, no other's.  [default: {POOL}-HOSTNAME-QUEUES]")
def command(queues: tuple[str, ...], pool: str, limit: int | None, name: str | None) -> None:
    """Run flows of the work pool here, in the foreground, with this checkout.

    On the machine of `f2f up` it joins the local stack. To join with a second machine, put the same commit there, run
    `make setup` (and `make firmware-tools` where it serves the queue firmware), and set, in the environment or .env:

    \b
      PREFECT_API_URL    the Prefect server's API, e.g. http://prefect.example.org:4200/api
      F2F_ENDPOINT_URL   the S3 endpoint (and F2F_BUCKET, F2F_PREFIX, F2F_REGION where they are not the defaults)
      AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY   or F2F_CREDENTIALS_FILE and F2F_PROFILE, or any other place of boto3
      F2F_SIGNING_KEY_FILE  where this worker is to publish releases (queues training and light)
      F2F_PUBLIC_BASE_URL   where people read reports: without it this worker's runs show no links to them

    Nothing else is shared: a run's parameters and results are keys in the bucket, and what such a machine keeps in
    F2F_DATA_DIR can be made again. The local stack listens on 127.0.0.1 only; another machine reaches it through SSH:
    `ssh -N -L 4200:127.0.0.1:4200 -L 9103:127.0.0.1:9103 HOST`, with both URLs at 127.0.0.1 and the keys in
    HOST's .f2f/credentials.

    Ctrl-C ends the worker and what it runs. Such a run is marked as crashed; set to scheduled (Retry in the UI), it
    goes on from what is stored, on any worker.

    \b
    Examples:
      f2f worker                                  every queue
      f2f worker --queue training                 a machine with many cores
      f2f worker --queue firmware --queue light   the machine with the firmware's tool chain
      f2f retrain firmware.build=queue            trains here, builds there

    Exit codes: 0 ended by Ctrl-C or SIGTERM, 1 it cannot join (it says why).
    """
    if name and "/" in name:
        raise CannotJoin(f"{name!r} is no name for a worker", next_step="give it a --name without slashes")
    where = absolute(settings())
    no_proxy()
    url = _api_url(where)
    _check_prefect(url, pool, queues)
    _check_bucket(where)
    _check_tools(queues)
    if not where.public_base_url:
        click.echo("no F2F_PUBLIC_BASE_URL: runs of this worker will show no links to reports", err=True)
    click.echo(
        f"worker for {', '.join(queues) or 'every queue'} of pool {pool} at {url}, bucket {where.bucket} at "
        f"{where.endpoint_url or 'AWS'}, code in {PROJECT}",
        err=True,
    )
    (where.data_dir / "prefect").mkdir(parents=True, exist_ok=True, mode=0o700)
    name = name or "-".join([POOL, socket.gethostname(), *queues])
    line = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", name]
    line += ["--install-policy", "never", "--no-create-pool-if-not-found"]
    line += [part for queue in queues for part in ("--work-queue", queue)]
    line += ["--limit", str(limit)] if limit else []
    with _only_one(where.data_dir / "run" / f"worker-{name}.lock", name):
        code = _run(line, worker_environment(where, url))
        # Prefect's worker ends what it runs without telling the server.
        prefect_server.close_lost_runs(
            url, set(), lambda text: click.echo(text, err=True), worker=name, why=f"worker {name} ended"
        )
    sys.exit(1 if code else 0)


def worker_environment(where: Settings, url: str) -> dict[str, str]:
    """What a worker and its flow runs are started with. Prefect's own settings in the environment stay as they are."""
    path = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return (
        prefect_server.client_environment(where.data_dir, url)
        | dict(os.environ)
        | settings_environment(where)
        | {"PREFECT_API_URL": url, "PYTHONPATH": os.pathsep.join(path), DATABASE_SETTING: ""}
    )


def _run(line: list[str], environment: dict[str, str]) -> int:
    """Runs a program in the foreground and hands SIGINT and SIGTERM on; returns its exit code.

    In a session of its own, so that Ctrl-C reaches it through here alone: to Prefect's worker a second signal means
    that it should not take its time.
    """

    def end_with_parent() -> None:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: also where this process is killed

    process = subprocess.Popen(line, env=environment, start_new_session=True, preexec_fn=end_with_parent)
    previous = {
        kind: signal.signal(kind, lambda number, _: process.send_signal(number))
        for kind in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        return process.wait()
    finally:
        for kind, handler in previous.items():
            signal.signal(kind, handler)


@contextlib.contextmanager
def _only_one(path: Path, name: str) -> Iterator[None]:
    """Holds the name of a worker on this machine: by it one tells which runs were whose."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CannotJoin(f"a worker {name} runs here already", next_step="give this one another --name") from error
        yield


def _api_url(where: Settings) -> str:
    from dotenv import dotenv_values

    url = user_prefect_url() or dotenv_values(stack_file(where.data_dir)).get("PREFECT_API_URL")
    if not url:
        raise CannotJoin(
            "no Prefect server is known here",
            next_step="set PREFECT_API_URL to the one that the other machines use, or start one: f2f up",
        )
    return url.rstrip("/")


def _check_prefect(url: str, pool: str, queues: tuple[str, ...]) -> None:
    if not prefect_server.healthy(url):
        raise CannotJoin(
            f"the Prefect server at {url} does not answer",
            next_step="correct PREFECT_API_URL (it ends in /api), or start that server",
        )
    if not isinstance(call(url, "POST", "/work_pools/filter", {}), list):
        return  # it wants credentials, which only Prefect's own client knows how to send
    if call(url, "GET", f"/work_pools/{pool}") is None:
        raise CannotJoin(
            f"the Prefect server at {url} has no work pool {pool}",
            next_step=f"`f2f up` makes pool {POOL} with its queues and deployments there",
        )
    known = {queue["name"] for queue in call(url, "POST", f"/work_pools/{pool}/queues/filter", {}) or ()}
    if unknown := sorted(set(queues) - known):
        raise CannotJoin(
            f"work pool {pool} has no queue {', '.join(unknown)}", next_step=f"choose of {', '.join(sorted(known))}"
        )


def _check_bucket(where: Settings) -> None:
    from tasks.store import Store

    Store(where).probe()


def _check_tools(queues: tuple[str, ...]) -> None:
    """A worker that says it makes firmware must be able to; one that serves everything is told that it cannot."""
    if queues and "firmware" not in queues:
        return
    from tasks.firmware import check_firmware
    from tasks.parameters import FirmwareParameters
    from tasks.toolchain import MissingTool

    try:
        check_firmware(FirmwareParameters())
    except MissingTool as missing:
        if queues:
            raise CannotJoin(
                f"queue firmware: {missing.message}", next_step=f"{missing.next_step}; or leave that queue out"
            ) from missing
        click.echo(f"WARNING: firmware runs will fail on this machine: {missing}", err=True)
