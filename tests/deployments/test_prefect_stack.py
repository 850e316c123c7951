"""The local stack with Prefect, on SQLite and PostgreSQL: a real server and worker run a tiny flow of the test's own.
Which flows the project deploys is checked from prefect.yaml; what those flows do is in tests/flows, and workers on
several machines are in test_two_machines.py.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from deployments import prefect_server, processes, stack
from deployments.cli import cli
from deployments.commands.worker import CannotJoin
from deployments.prefect_database import SETTING, DatabaseRefused, database
from deployments.prefect_server import QUEUES, DeployFailed, api_url, call
from deployments.stack_settings import apply_stack_environment
from tasks.settings import PROJECT, Settings, settings
from tasks.store import Store
from tests.conftest import free_port
from tests.deployments.postgres import cluster

FLOW = '''
import logging, time
from prefect import flow
from tasks.settings import settings
from tasks.store import open_store

@flow
def tiny(seconds: int = 0) -> None:
    """Writes an object, then sleeps."""
    logging.getLogger("f2f.tiny").info("written by our own logger")
    open_store().put("tiny/ran", str(settings().data_dir).encode())
    time.sleep(seconds)
'''
DEPLOYMENTS = """
name: tiny
deployments:
  - {name: tiny, entrypoint: "flows/tiny.py:tiny", work_pool: {name: f2f, work_queue_name: light}}
  - {name: long, entrypoint: "flows/tiny.py:tiny", work_pool: {name: f2f, work_queue_name: training}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "flows").mkdir(parents=True)
    (folder / "flows" / "tiny.py").write_text(FLOW)
    (folder / "prefect.yaml").write_text(DEPLOYMENTS)
    return folder


def pids(where: Settings) -> dict[str, int | None]:
    return {part.name: part.pid for part in stack.status(where)}


def runs(url: str) -> dict[str, str]:
    """Id -> state of every flow run."""
    return {run["id"]: run["state_type"] for run in call(url, "POST", "/flow_runs/filter", {})}


def messages(url: str) -> list[str]:
    return [item["message"] for item in call(url, "POST", "/logs/filter", {})]


def queue_limits(url: str) -> dict[str, int | None]:
    found = call(url, "POST", "/work_pools/f2f/queues/filter", {})
    return {queue["name"]: queue["concurrency_limit"] for queue in found}


def start_run(url: str, seconds: int) -> str:
    """A long run goes to the queue training, one that is over at once to light."""
    deployment = call(url, "GET", f"/deployments/name/tiny/{'long' if seconds else 'tiny'}")
    body = {"parameters": {"seconds": seconds}, "state": {"type": "SCHEDULED"}, "idempotency_key": uuid.uuid4().hex}
    made: dict[str, Any] | None = None
    while not made:  # SQLite may be locked for a moment
        made = call(url, "POST", f"/deployments/{deployment['id']}/create_flow_run", body)
    return str(made["id"])


def cancel(url: str, run: str) -> None:
    call(url, "POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})


def wait_for(url: str, run: str, state: str, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while (found := runs(url).get(run)) != state:
        assert time.monotonic() < end, f"run is {found}, not {state}, after {seconds} s"
        assert found not in {"FAILED", "CRASHED", "COMPLETED"}, f"run is {found}, not {state}"
        time.sleep(0.5)


@pytest.mark.slow
def test_deployments_run_with_the_stacks_settings_and_survive_crashes_and_restarts(
    own: Settings, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = api_url(own.prefect_port)
    said: list[str] = []
    reached = stack.up(own, say=said.append, project=project)
    assert [part.state for part in stack.status(own)] == ["running"] * 6, said
    first = pids(own)
    assert queue_limits(url) == {"default": None, "light": 4, "firmware": 1, "training": 1}
    while queue_limits(url)["light"] != 9:  # SQLite may be locked for a moment
        call(url, "PATCH", "/work_pools/f2f/queues/light", {"concurrency_limit": 9})  # a person's choice

    # A second `up` changes nothing.
    said.clear()
    stack.up(own, say=said.append, project=project)
    assert pids(own) == first
    assert not [line for line in said if "start" in line or "deployments" in line], said
    assert sorted(item["name"] for item in call(url, "POST", "/deployments/filter", {})) == ["long", "tiny"]
    assert [item["name"] for item in call(url, "POST", "/work_pools/filter", {})] == ["f2f"]

    # Nor does one without Prefect: the S3 server still has its bridge. What lands is an event soon (looked at below).
    stack.up(own, prefect=False, say=said.append)
    assert pids(own) == first
    Store(reached).put("frames/2026-01-01/hall-7/s/1.raw", b"frame")

    # A foreground command reports to this server.
    monkeypatch.setenv("F2F_DATA_DIR", str(own.data_dir))
    monkeypatch.delenv("PREFECT_HOME")
    settings.cache_clear()
    before = dict(os.environ)
    try:
        apply_stack_environment()
        assert os.environ["PREFECT_API_URL"] == url
        assert os.environ["PREFECT_HOME"] == str(own.data_dir / "prefect")
    finally:
        os.environ.clear()
        os.environ.update(before)
        settings.cache_clear()

    # A run from the server ends up in the worker, with the bucket and our log lines in it.
    run = start_run(url, 0)
    wait_for(url, run, "COMPLETED")
    assert Store(reached).get("tiny/ran") == str(own.data_dir).encode()
    end = time.monotonic() + 20  # log lines travel in batches
    while "written by our own logger" not in (lines := messages(url)):
        assert time.monotonic() < end, lines
        time.sleep(0.5)

    landed = {"filter": {"event": {"name": ["frames2firmware.frames.landed"]}}}
    end = time.monotonic() + 90
    while not (found := call(url, "POST", "/events/filter", landed)["events"]):
        assert time.monotonic() < end, processes.tail(own.data_dir / "logs" / "event-bridge.log")
        time.sleep(0.5)
    assert [one["payload"]["count"] for one in found] == [1]

    # A long training keeps the next one waiting, and nothing else.
    run, next_training = start_run(url, 600), start_run(url, 601)
    wait_for(url, run, "RUNNING")
    wait_for(url, start_run(url, 0), "COMPLETED")
    assert (runs(url)[run], runs(url)[next_training]) == ("RUNNING", "SCHEDULED")
    cancel(url, next_training)

    # The worker is killed: its run goes on without it, and `up` brings a worker back.
    worker = first["prefect-worker"]
    assert worker
    os.kill(worker, signal.SIGKILL)
    stack.up(own, say=said.append, project=project)
    second = pids(own)
    assert second["prefect-worker"] != worker
    assert {name: pid for name, pid in second.items() if name != "prefect-worker"} == {
        name: pid for name, pid in first.items() if name != "prefect-worker"
    }
    assert runs(url)[run] == "RUNNING"
    living = processes.marked(stack.MARK, str(own.data_dir))
    assert run in {environment.get("PREFECT__FLOW_RUN_ID") for environment in living.values()}

    # Down ends everything, that run too; the server's books say so after the next start, and the history is there.
    stack.down(own, say=said.append)
    assert processes.marked(stack.MARK, str(own.data_dir)) == {}
    (project / "prefect.yaml").write_text(DEPLOYMENTS + "# deployed anew\n")
    stack.up(own, say=said.append, project=project)
    assert sorted(runs(url).values()) == ["CANCELLED", "COMPLETED", "COMPLETED", "CRASHED"]
    assert sorted(item["name"] for item in call(url, "POST", "/deployments/filter", {})) == ["long", "tiny"]
    assert queue_limits(url)["light"] == 9, "what a person chose stays"

    # A run of another machine's worker, whose process cannot be seen from here, is not taken for lost.
    elsewhere = start_run(url, 602)
    wait_for(url, elsewhere, "RUNNING")
    call(url, "PATCH", f"/flow_runs/{elsewhere}/labels", {"prefect.worker.name": "f2f-another-machine"})
    prefect_server.close_lost_runs(url, set(), said.append)
    assert runs(url)[elsewhere] == "RUNNING"
    cancel(url, elsewhere)
    wait_for(url, elsewhere, "CANCELLED")

    # Everything is killed at once, as by a reboot: the run that was lost does not stay "running" for ever.
    run = start_run(url, 600)
    wait_for(url, run, "RUNNING")
    for pid in [*processes.marked(stack.MARK, str(own.data_dir)), *filter(None, pids(own).values())]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    stack.up(own, say=said.append, project=project)
    assert runs(url)[run] == "CRASHED"
    assert Store(reached).exists("tiny/ran")


@pytest.mark.slow
def test_a_flow_that_cannot_be_deployed_is_named_with_prefects_own_words(own: Settings, project: Path) -> None:
    (project / "flows" / "tiny.py").write_text("import no_such_module_anywhere\n" + FLOW)
    with pytest.raises(DeployFailed, match="no_such_module_anywhere"):
        stack.up(own, say=lambda text: None, project=project)
    (project / "flows" / "tiny.py").write_text(FLOW)
    stack.up(own, say=lambda text: None, project=project)
    assert all(part.state == "running" for part in stack.status(own))


@pytest.mark.slow
def test_postgresql_behind_the_server_by_one_setting_and_its_password_nowhere_else(
    own: Settings, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    url = api_url(own.prefect_port)
    with cluster() as postgres:
        monkeypatch.setenv(SETTING, postgres.url)
        try:
            stack.up(own, say=said.append, project=project)
            wait_for(url, start_run(url, 0), "COMPLETED")
            assert postgres.query("SELECT state_type::text FROM flow_run") == [("COMPLETED",)]
            assert not (own.data_dir / "prefect" / "prefect.db").exists()
            shown = {part.name: part for part in stack.status(own)}
            assert shown["prefect-database"].address == f"prefect on 127.0.0.1:{postgres.port}"
            assert {part.state for part in shown.values()} == {"running"}

            # Of what runs and of what is on disk, only the server knows the password.
            secret = postgres.password.encode()
            files = [p for p in own.data_dir.rglob("*") if p.is_file() and not p.is_symlink()]
            assert [p for p in files if secret in p.read_bytes()] == []
            assert not any(postgres.password in line for line in said)
            running = {name: Path(f"/proc/{pid}") for name, pid in pids(own).items() if pid}
            assert [name for name, folder in running.items() if secret in (folder / "cmdline").read_bytes()] == []
            assert secret in (running["prefect-server"] / "environ").read_bytes()
            assert secret not in (running["prefect-worker"] / "environ").read_bytes()

            # A worker in the foreground instead of the stack's own; Ctrl-C ends it, and its run can be taken up again.
            processes.stop(own.data_dir / "run" / "prefect-worker.json", 60)
            monkeypatch.setenv("F2F_DATA_DIR", str(own.data_dir))
            line = [f"{sys.prefix}/bin/f2f", "worker", "--queue", "training"]
            with (tmp_path / "worker.log").open("wb") as log:
                worker = subprocess.Popen(line, stdout=log, stderr=log)
            try:
                run = start_run(url, 600)
                wait_for(url, run, "RUNNING")
                assert (
                    call(url, "GET", f"/flow_runs/{run}")["labels"]["prefect.worker.name"]
                    == f"f2f-{socket.gethostname()}-training"
                )
                twin = subprocess.run(line, capture_output=True, text=True, check=False)
                assert (twin.returncode, "runs here already" in twin.stderr) == (1, True), twin.stderr
                worker.send_signal(signal.SIGINT)
                assert worker.wait(90) == 0, (tmp_path / "worker.log").read_text()
            finally:
                worker.kill()
            assert runs(url)[run] == "CRASHED"
            assert postgres.password not in (tmp_path / "worker.log").read_text()
        finally:
            stack.down(own, say=said.append)
    with pytest.raises(DatabaseRefused, match="does not answer"):
        stack.up(own, say=said.append, project=project)
    assert pids(own)["prefect-server"] is None


def test_a_worker_says_what_it_lacks_to_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("F2F_DATA_DIR", str(tmp_path))
    settings.cache_clear()
    try:
        unknown = CliRunner().invoke(cli, ["worker"])
        assert isinstance(unknown.exception, CannotJoin)
        assert "PREFECT_API_URL" in unknown.exception.next_step
        monkeypatch.setenv("PREFECT_API_URL", api := api_url(free_port()))
        away = CliRunner().invoke(cli, ["worker"])
        assert isinstance(away.exception, CannotJoin)
        assert f"{api} does not answer" in away.exception.message
        no_file = CliRunner().invoke(cli, ["worker", "--name", "hall/7"])
        assert isinstance(no_file.exception, CannotJoin)
        assert "'hall/7' is no name for a worker" in no_file.exception.message
    finally:
        settings.cache_clear()


def test_a_database_that_cannot_be_used_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(url: str) -> str:
        monkeypatch.setenv(SETTING, url)
        with pytest.raises(DatabaseRefused) as error:
            (database() or pytest.fail("no database")).check()
        assert "t0psecret" not in f"{error.value} {error.value.__cause__}"
        assert SETTING in str(error.value)
        return error.value.message

    for url in ("mysql://me:t0psecret@db/prefect", "postgresql://me:t0psecret@db:port/prefect", "t0psecret"):
        assert "not the URL of a PostgreSQL database" in refused(url)
    port = free_port()
    said = refused(f"postgresql://me:t0psecret@127.0.0.1:{port}/prefect")
    assert f"prefect on 127.0.0.1:{port} does not answer" in said
    with cluster() as postgres:
        monkeypatch.setenv(SETTING, postgres.url)
        (database() or pytest.fail("no database")).check()
        where = f"{postgres.host}:{postgres.port}"
        assert "password authentication failed" in refused(f"postgresql://f2f:t0psecret@{where}/prefect")
        assert 'database "gone" does not exist' in refused(f"postgresql://f2f:{postgres.password}@{where}/gone")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("postgresql://u:p%40ss@h/d", "postgresql+asyncpg://u:p%40ss@h/d"),
        ("postgres://u@h:5433/d", "postgresql+asyncpg://u@h:5433/d"),
        ("postgresql+asyncpg://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgresql://u@h/d?sslmode=require", "postgresql+asyncpg://u@h/d?ssl=require"),
    ],
)
def test_a_database_url_is_written_as_everybody_writes_it(
    given: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, given)
    found = database()
    assert found
    assert found.secret_url == wanted
    assert "p%40ss" not in repr(found)
    assert "p@ss" not in f"{found} {found.name}"


def test_a_run_uses_the_checkout_of_its_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from deployments.checkout import own_checkout

    config = yaml.safe_load((PROJECT / "prefect.yaml").read_text())
    assert config["pull"] == [{"deployments.checkout.own_checkout": {}}]
    assert not any("pull" in item for item in config["deployments"])
    monkeypatch.chdir(tmp_path)
    assert own_checkout() == {"directory": str(PROJECT)}
    assert Path.cwd() == PROJECT


def test_without_a_server_a_foreground_run_brings_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("F2F_DATA_DIR", str(tmp_path))
    (tmp_path / "stack.env").write_text(f"PREFECT_API_URL='http://127.0.0.1:{free_port()}/api'\n")
    settings.cache_clear()
    before = dict(os.environ)
    try:
        apply_stack_environment()
        assert "PREFECT_API_URL" not in os.environ
        monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example.org/api")
        apply_stack_environment()
        assert os.environ["PREFECT_API_URL"] == "http://prefect.example.org/api", "the user's own choice stays"
    finally:
        os.environ.clear()
        os.environ.update(before)
        settings.cache_clear()


def test_every_deployment_names_a_flow_with_a_filled_in_form() -> None:
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.callables import parameter_schema

    found = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    assert {item["name"] for item in found} >= {"ingest", "retrain", "sweep", "firmware"}
    for item in found:
        assert item["work_pool"]["name"] == "f2f"
        assert item["work_pool"]["work_queue_name"] in {queue.name for queue in QUEUES}
        assert len(item["description"]) > 40
        flow = load_flow_from_entrypoint(str(PROJECT / item["entrypoint"]), use_placeholder_flow=False)
        assert flow.name == item["name"]
        schema = parameter_schema(flow)
        filled_in = schema.properties["parameters"].get("default")
        assert filled_in or item["name"] == "rollback", item["name"]  # a rollback wants its reason typed
        for definition in schema.definitions.values():
            for name, field in definition.get("properties", {}).items():
                assert field.get("description"), f"{definition['title']}.{name} has no description in the form"
