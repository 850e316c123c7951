"""The local Prefect server and its worker: how they are started, and how one sees that they work.

Prefect itself is not imported here: that takes seconds, and `f2f status` should not.
"""

import contextlib
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deployments.prefect_database import SETTING as DATABASE_SETTING
from deployments.prefect_database import Database
from deployments.processes import Part, Say, recorded, tail
from tasks.errors import PipelineError

POOL = "f2f"  # work pool of the deployments in prefect.yaml
WORKER = "f2f-local"
ALERT_BLOCKS = "f2f-alert-"  # names of the blocks that say where alerts go begin with it (alert_targets.py)
HEARTBEAT_SECONDS = 30  # Prefect sends none oftener


@dataclass(frozen=True)
class Queue:
    """A work queue of the pool: how many of its runs may be at work at once, on all workers together."""

    name: str
    limit: int
    description: str


# In order of priority. A worker without `--queue` serves them all, and none waits for another: an ingest starts while a
# training runs. Limits are set once, when a queue is made: whoever has two training machines raises the second one
# (`prefect work-queue set-concurrency-limit training 2 --pool f2f`).
QUEUES = (
    Queue("light", 4, "Ingest, watch, promotion, rollback: seconds to minutes"),
    Queue("firmware", 1, "Firmware of one board: needs Rust, Arm's GCC and QEMU"),
    Queue("training", 1, "Retrain and sweep: every core, for minutes to hours"),
)


class DeployFailed(PipelineError):
    """`prefect deploy` refused prefect.yaml or one of its flows."""


def api_url(port: int) -> str:
    """Address of the local server's API."""
    return f"http://127.0.0.1:{port}/api"


def client_environment(folder: Path, url: str | None) -> dict[str, str]:
    """What a flow run or a worker needs from Prefect's settings; `url` None: no server, one of its own for the run.

    Heartbeats: while it is alive, a flow run tells the server every 30 s (event `prefect.flow-run.heartbeat`). Without
    that, a run whose machine died stays "Running" for ever, and holds its place in queue and concurrency limit. The
    automation that marks such a run as Crashed is a proactive trigger: after `prefect.flow-run.heartbeat`, expect
    `prefect.flow-run.*` for each `prefect.resource.id` within some minutes, and change the flow run's state. The
    expectation is a wildcard because events carry the names of states, and those of this project are not only Prefect's
    (Passed, Rejected, Proven). Minutes rather than seconds, because a server that was down for a moment has missed
    beats too. A crashed run is then set to Scheduled, the same run and no new one: any worker that serves its queue
    takes it, and its stages find what they made before by digest.
    """
    chosen = {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_LOGGING_EXTRA_LOGGERS": "f2f",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # Flow runs use this environment as it is; Prefect would call `uv run`, which may change it.
        "PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        # Flow runs talk to the server; the password of its database is nothing for them.
        DATABASE_SETTING: "",
    }
    return chosen | ({"PREFECT_API_URL": url} if url else {})


def server_part(folder: Path, port: int, database: Database | None = None) -> Part:
    """The server: SQLite in `folder`/prefect or the user's PostgreSQL, the UI, the scheduler."""
    sqlite = f"sqlite+aiosqlite:///{folder / 'prefect' / 'prefect.db'}"
    origins = f"http://127.0.0.1:{port},http://localhost:{port}"
    return Part(
        name="prefect-server",
        command=[sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        environment=client_environment(folder, api_url(port))
        | {
            "PREFECT_API_DATABASE_CONNECTION_URL": database.secret_url if database else sqlite,
            "PREFECT_SERVER_UI_API_URL": api_url(port),
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origins,  # the default lets any web page start flow runs
        },
        folder=folder,
        working_directory=folder,
        address=f"http://127.0.0.1:{port}",
        healthy=lambda: healthy(api_url(port)),
        port=port,
        port_setting="F2F_PREFECT_PORT",
    )


def worker_part(folder: Path, url: str, settings_environment: dict[str, str], project: Path, *, local: bool) -> Part:
    """The worker that runs deployments in processes of its own, with this stack's settings."""
    return Part(
        name="prefect-worker",
        command=[
            *(sys.executable, "-m", "prefect", "worker", "start"),
            # Two machines with a server elsewhere may each have such a worker.
            *("--pool", POOL, "--type", "process", "--name", WORKER if local else f"{WORKER}-{socket.gethostname()}"),
            *("--install-policy", "never"),
        ],
        environment=client_environment(folder, url) | settings_environment,
        folder=folder,
        working_directory=project,
        address=f"work pool {POOL} at {url.removesuffix('/api')}",
        # A server elsewhere may want credentials that only Prefect's own client knows how to send.
        healthy=lambda: worker_online(url, folder / "run" / "prefect-worker.json") if local else True,
    )


def healthy(url: str) -> bool:
    """Whether the API at `url` answers and says that it is well."""
    return call(url, "GET", "/health") is True


def worker_online(url: str, pid_file: Path) -> bool:
    """Whether the recorded worker has been heard of by the server since its start."""
    now = recorded(pid_file)
    found = call(url, "POST", f"/work_pools/{POOL}/workers/filter", {})
    if now is None or not isinstance(found, list):
        return False
    beats = [
        datetime.fromisoformat(w["last_heartbeat_time"]).timestamp()
        for w in found
        if w.get("name") == WORKER and w.get("status") == "ONLINE" and w.get("last_heartbeat_time")
    ]
    return any(beat >= now.started_at - 1 for beat in beats)


def close_lost_runs(
    url: str, living: set[str], say: Say, *, worker: str = WORKER, why: str = "its process ended with the local stack"
) -> None:
    """Ends, in the server's books, the runs of `worker` that have no process any more; `living` are ids of those that
    do. Runs of other workers, on other machines maybe, are not looked at.

    A worker that is stopped or killed leaves its runs as "Running" (until their missing heartbeat is noticed), each
    holding a place in its queue's and its deployment's concurrency limit.
    """
    states = {"any_": ["RUNNING", "PENDING", "CANCELLING"]}
    wanted = {"flow_runs": {"state": {"type": states}}, "work_pools": {"name": {"any_": [POOL]}}}
    for run in call(url, "POST", "/flow_runs/filter", wanted) or ():
        if run["id"] not in living and _was_taken_by(worker, run):
            kind = "CANCELLED" if run["state_type"] == "CANCELLING" else "CRASHED"
            state = {"type": kind, "name": kind.title(), "message": why}
            call(url, "POST", f"/flow_runs/{run['id']}/set_state", {"state": state})
            say(f"flow run {run['name']}: its process is gone, marked as {kind.lower()}")


def _was_taken_by(worker: str, run: dict[str, Any]) -> bool:
    """Whether `worker` took this run. Workers write their names on runs, a moment after they took them: what has no
    name for a minute was taken by one that is gone."""
    name = (run.get("labels") or {}).get("prefect.worker.name")
    age = time.time() - datetime.fromisoformat(run["state"]["timestamp"]).timestamp()
    return bool(name == worker) if name else age > 60


def deploy(folder: Path, url: str, settings_environment: dict[str, str], project: Path, say: Say) -> None:
    """Makes the work pool, the deployments in prefect.yaml and the alerts; nothing where neither they nor the flows
    changed.

    Raises `DeployFailed` with the end of Prefect's output.
    """
    record = folder / "prefect" / "deployed.json"
    digest = sources_digest(project, url)
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        done = json.loads(record.read_text())
        known = call(url, "POST", "/deployments/filter", {})
        ids = {item["id"] for item in known} if isinstance(known, list) else set()
        known = call(url, "POST", "/automations/filter", {})
        ids |= {item["id"] for item in known} if isinstance(known, list) else set()
        if done["digest"] == digest and done["ids"] and {*done["ids"], *done["automations"]} <= ids:
            return
    say("deployments: reading prefect.yaml and the flows")
    started = time.monotonic()
    log = folder / "logs" / "prefect-deploy.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        code = subprocess.run(
            [sys.executable, "-m", "deployments.prefect_deploy", record.with_suffix(".part")],
            cwd=project,
            env={
                **os.environ,
                **client_environment(folder, url),
                **settings_environment,
                "PYTHONPATH": os.pathsep.join([str(project), str(Path(__file__).resolve().parent.parent)]),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        ).returncode
    if code:
        raise DeployFailed(
            f"`prefect deploy` ended with code {code}; the end of {log}:\n{tail(log)}",
            next_step="correct prefect.yaml or the flow that it names, then run `f2f up` again",
        )
    made = json.loads(record.with_suffix(".part").read_text())
    record.write_text(json.dumps({"digest": digest, **made}))
    record.with_suffix(".part").unlink()
    alerts = f"; {len(made['automations'])} alerts" if made["automations"] else ""
    say(f"deployments: {', '.join(made['names'])}{alerts} ({time.monotonic() - started:.0f} s)")


def sources_digest(project: Path, url: str) -> str:
    """Digest of everything that a deployment's form and schedule and the alerts follow from."""
    digest = hashlib.sha256(f"{url}\0{project}\0".encode())
    parameters = [path for path in (project / "tasks" / "parameters.py",) if path.exists()]
    own = [Path(__file__), *map(Path(__file__).with_name, ("prefect_deploy.py", "alerts.py", "alert_targets.py"))]
    alerts = sorted(project.glob("deployments/automations/*.yaml"))
    for path in [project / "prefect.yaml", *sorted(project.glob("flows/*.py")), *parameters, *own, *alerts]:
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def has_alert_target(url: str) -> bool | None:
    """Whether anybody is told of an alert; None where the server does not say."""
    found = call(url, "POST", "/block_documents/filter", {"block_documents": {"name": {"like_": ALERT_BLOCKS}}})
    return bool(found) if isinstance(found, list) else None


def call(url: str, method: str, path: str, body: object = None) -> Any:
    """The API's JSON answer; None where there is none or it is an error. Never through a proxy."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=3)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, parts.path.rstrip("/") + path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return json.loads(answer.read()) if answer.status < 300 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
