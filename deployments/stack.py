"""The local stack: S3 server, Prefect server with a worker, report server, upload gate, event bridge. All on 127.0.0.1,
data in one folder.

`up` brings up what does not run, `down` stops what `up` started, `status` looks. Each may be called at any time, after
any crash or reboot. An S3 store or a Prefect server that the user names (F2F_ENDPOINT_URL, PREFECT_API_URL) is used
instead of a local one, and never started or stopped.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from deployments import landing_parts, prefect_server, report_server, versitygw, versitygw_install
from deployments.prefect_database import database
from deployments.prefect_server import api_url, call
from deployments.processes import (
    Part,
    Say,
    answers,
    locked,
    marked,
    recorded,
    resident_bytes,
    start,
    stop,
    wait_healthy,
)
from deployments.stack_settings import (
    absolute,
    apply_stack_environment,
    credentials,
    no_proxy,
    reached_settings,
    settings_environment,
    user_prefect_url,
    write_stack_file,
)
from tasks.errors import PipelineError
from tasks.settings import PROJECT, Settings, own_settings, settings
from tasks.signing import make_keys, signing_key_file
from tasks.store import Store, StoreError

STOP_SECONDS = {  # in this order
    "prefect-worker": 40.0,
    "report-server": 10.0,
    landing_parts.GATE: 10.0,
    landing_parts.BRIDGE: 15.0,
    "prefect-server": 20.0,
    "s3": 20.0,
}
MARK = "F2F_STACK"  # in the environment of everything that the stack starts, flow runs included

__all__ = ["PartStatus", "apply_stack_environment", "as_json", "down", "status", "up"]

State = Literal["running", "stopped", "unhealthy"]


@dataclass(frozen=True)
class PartStatus:
    """One part of the stack, as it is now. `pid` is None for what somebody else runs."""

    name: str
    state: State
    address: str
    pid: int | None
    log: str | None
    memory_bytes: int = 0
    managed: bool = True


def up(where: Settings | None = None, *, prefect: bool = True, say: Say = print, project: Path = PROJECT) -> Settings:
    """Brings the stack up and returns the settings that reach it. What runs and is healthy is left alone.

    `where`: what the user set (default: environment and .env). `project`: the folder with prefect.yaml.
    Raises `PipelineError`: a taken port, a process that dies, a store that is refused.
    """
    own = absolute(where or own_settings())
    folder = own.data_dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # it will hold frames and credentials
    with locked(folder / "run" / "stack.lock", say, "f2f up"):
        no_proxy()
        local_s3 = own.endpoint_url is None
        reached = reached_settings(own, folder)
        if local_s3:
            program = versitygw_install.install(folder, say)
            if prefect:  # before the S3 server, which does not start while its webhook is down
                _bring_up(landing_parts.bridge_part(reached, user_prefect_url() or api_url(own.prefect_port)), say)
            _bring_up(_s3_part(own, program), say)
        store = Store(reached)
        if local_s3:
            store.create_bucket()
        store.probe()
        if make_keys(reached):
            say(f"keys: made one that signs releases, {signing_key_file(reached)}; keep a copy of it")
        say(f"bucket: {reached.bucket} at {reached.endpoint_url}, conditional writes are honoured")
        external = user_prefect_url()
        url = external or api_url(own.prefect_port)
        if external and prefect and prefect_server.call(external, "GET", "/health") is not True:
            raise PipelineError(
                f"the Prefect server at {external} does not answer", next_step="start it, or unset PREFECT_API_URL"
            )
        postgres = database() if prefect and not external else None
        if postgres:
            postgres.check()
        write_stack_file(reached, url if prefect or _recorded_alive(folder, "prefect-server") else None)
        _bring_up(_report_part(reached), say)
        _bring_up(landing_parts.gate_part(reached), say)
        if prefect:
            environment = settings_environment(reached)
            if not external:
                _bring_up(_marked(prefect_server.server_part(folder, own.prefect_port, postgres), folder), say)
                if postgres:
                    say(f"prefect-server: keeps its records in PostgreSQL, {postgres.name}")
            prefect_server.deploy(folder, url, environment, project, say)
            if not external and not _recorded_alive(folder, "prefect-worker"):
                prefect_server.close_lost_runs(url, _living_runs(folder), say)
            worker = prefect_server.worker_part(folder, url, environment, project, local=not external)
            _bring_up(_marked(worker, folder), say)
    settings.cache_clear()
    return reached


def down(where: Settings | None = None, *, say: Say = print) -> list[str]:
    """Stops what `up` started, the worker first and the S3 server last. Data stay. Returns what was stopped."""
    folder = absolute(where or own_settings()).data_dir
    if not folder.is_dir():
        return []
    stopped = []
    with locked(folder / "run" / "stack.lock", say, "f2f up"):
        for name, seconds in STOP_SECONDS.items():
            pid_file = folder / "run" / f"{name}.json"
            now = recorded(pid_file)
            if now and now.alive:
                say(f"{name}: stopping process {now.pid}")
            if stop(pid_file, seconds):
                stopped.append(name)
            if name == "prefect-worker":
                _end_flow_runs(folder, say)
                server = recorded(folder / "run" / "prefect-server.json")
                if server and server.alive:
                    prefect_server.close_lost_runs(f"{server.address}/api", set(), say)
    return stopped


def status(where: Settings | None = None) -> list[PartStatus]:
    """Every part of the stack: local ones by their process and health, the user's own ones by their answer."""
    own = absolute(where or _own_settings_at_last_ports())
    folder = own.data_dir
    reached = reached_settings(own, folder)
    external = user_prefect_url()
    url = external or api_url(own.prefect_port)
    no_proxy()
    found = []
    if own.endpoint_url:
        found.append(_outside("s3", own.endpoint_url, lambda: _answers(reached)))
    else:
        found.append(_look(_s3_part(own, versitygw_install.program(folder), ensure=False)))
    if external:
        found.append(_outside("prefect-server", external, lambda: call(external, "GET", "/health") is True))
    else:
        found.append(_look(prefect_server.server_part(folder, own.prefect_port)))
        if postgres := database():
            found.append(_outside("prefect-database", postgres.name, postgres.answers))
    environment = settings_environment(reached)
    found.append(_look(prefect_server.worker_part(folder, url, environment, PROJECT, local=not external)))
    found.append(_look(_report_part(reached)))
    found.append(_look(landing_parts.gate_part(reached)))
    if own.endpoint_url is None:
        found.append(_look(landing_parts.bridge_part(reached, url)))
    return found


# -- parts -------------------------------------------------------------------------------------------------------------


def _s3_part(own: Settings, program: Path, *, ensure: bool = True) -> Part:
    """`ensure` False: only to look at, nothing is created."""
    folder, port = own.data_dir, own.s3_port
    access_key, secret_key = credentials(folder) if ensure else ("", "")
    webhook = landing_parts.notices_url(folder)
    line = versitygw.command(program, folder / "s3", port, webhook_url=webhook) if ensure else []
    return Part(
        name="s3",
        command=line,
        environment=versitygw.environment(access_key, secret_key),
        folder=folder,
        working_directory=folder,
        address=f"http://127.0.0.1:{port}",
        healthy=lambda: versitygw.healthy(port),
        port=port,
        port_setting="F2F_S3_PORT",
        start_seconds=30,
    )


def _report_part(reached: Settings) -> Part:
    address = f"http://127.0.0.1:{reached.reports_port}"
    return Part(
        name="report-server",
        command=[sys.executable, "-m", "deployments.report_server", str(reached.reports_port)],
        environment=settings_environment(reached),
        folder=reached.data_dir,
        working_directory=PROJECT,
        address=address,
        healthy=lambda: answers(reached.reports_port, report_server.HEALTH),
        port=reached.reports_port,
        port_setting="F2F_REPORTS_PORT",
        start_seconds=60,
    )


def _marked(part: Part, folder: Path) -> Part:
    return Part(**{**part.__dict__, "environment": {**part.environment, MARK: str(folder)}})


def _bring_up(part: Part, say: Say) -> None:
    """Running, healthy and as it would be started now: left alone. Anything else is (re)started."""
    now = recorded(part.pid_file)
    if now and now.alive:
        if now.settings_digest == part.settings_digest and _soon(part.healthy):
            say(f"{part.name}: runs at {part.address} (process {now.pid})")
            return
        why = "does not answer" if now.settings_digest == part.settings_digest else "has other settings"
        say(f"{part.name}: process {now.pid} {why}, restarting it")
        stop(part.pid_file, STOP_SECONDS[part.name])
    now = start(part)
    seconds = wait_healthy(part, now, say)
    say(f"{part.name}: started at {part.address} in {seconds:.1f} s (process {now.pid})")


def _own_settings_at_last_ports() -> Settings:
    """What the user set, with the ports that the last `up` used."""
    now = settings()
    ports = {name: getattr(now, name) for name in type(now).model_fields if name.endswith("_port")}
    return own_settings().model_copy(update=ports)


def _soon(healthy: Callable[[], bool], seconds: float = 5) -> bool:
    """Whether `healthy` holds now or within some seconds: a busy process is not a broken one."""
    end = time.monotonic() + seconds
    while not healthy():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def _look(part: Part) -> PartStatus:
    now = recorded(part.pid_file)
    if now is None or not now.alive:
        return PartStatus(part.name, "stopped", part.address, None, str(part.log))
    state: State = "running" if part.healthy() else "unhealthy"
    return PartStatus(part.name, state, now.address, now.pid, str(part.log), resident_bytes(now.pid))


def _outside(name: str, address: str, healthy: Callable[[], bool]) -> PartStatus:
    return PartStatus(name, "running" if healthy() else "unhealthy", address, None, None, managed=False)


def _answers(reached: Settings) -> bool:
    try:
        Store(reached).probe()
    except StoreError:
        return False
    return True


def _recorded_alive(folder: Path, name: str) -> bool:
    now = recorded(folder / "run" / f"{name}.json")
    return now is not None and now.alive


def _living_runs(folder: Path) -> set[str]:
    """Ids of flow runs that have a process (those of a killed worker go on without it)."""
    return {e["PREFECT__FLOW_RUN_ID"] for e in marked(MARK, str(folder)).values() if "PREFECT__FLOW_RUN_ID" in e}


def _end_flow_runs(folder: Path, say: Say) -> None:
    """Ends flow runs that outlived their worker (one that was killed cannot end them itself)."""
    mine = {now.pid for name in STOP_SECONDS if (now := recorded(folder / "run" / f"{name}.json"))}
    left = [pid for pid in marked(MARK, str(folder)) if pid not in mine]
    for pid in left:
        say(f"flow run: stopping process {pid}")
        _signal(pid, signal.SIGTERM)
    end = time.monotonic() + 20
    while left and time.monotonic() < end:
        time.sleep(0.2)
        left = [pid for pid in marked(MARK, str(folder)) if pid in left]
    for pid in left:
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, kind: signal.Signals) -> None:
    try:
        os.kill(pid, kind)
    except ProcessLookupError:
        return


def as_json(parts: list[PartStatus]) -> list[dict[str, object]]:
    """For `f2f status --json`."""
    return [asdict(part) for part in parts]
