"""The local stack with Prefect: a real server and worker run a tiny flow of the test's own. Which flows the project
deploys is checked from prefect.yaml; what those flows do is in tests/flows.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments import processes, stack
from deployments.prefect_server import DeployFailed, api_url, call
from deployments.stack_settings import apply_stack_environment
from tasks.settings import PROJECT, Settings, settings
from tasks.store import Store
from tests.conftest import free_port

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
  - {name: tiny, entrypoint: "flows/tiny.py:tiny", work_pool: {name: f2f}, concurrency_limit: 1}
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


def start_run(url: str, seconds: int) -> str:
    deployment = call(url, "GET", "/deployments/name/tiny/tiny")
    state = {"type": "SCHEDULED"}
    made: dict[str, Any] = call(
        url,
        "POST",
        f"/deployments/{deployment['id']}/create_flow_run",
        {"parameters": {"seconds": seconds}, "state": state},
    )
    return str(made["id"])


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
    assert [part.state for part in stack.status(own)] == ["running"] * 4, said
    first = pids(own)

    # A second `up` changes nothing.
    said.clear()
    stack.up(own, say=said.append, project=project)
    assert pids(own) == first
    assert not [line for line in said if "start" in line or "deployments" in line], said
    assert [item["name"] for item in call(url, "POST", "/deployments/filter", {})] == ["tiny"]
    assert [item["name"] for item in call(url, "POST", "/work_pools/filter", {})] == ["f2f"]

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

    # The worker is killed: its run goes on without it, and `up` brings a worker back.
    run = start_run(url, 600)
    wait_for(url, run, "RUNNING")
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
    stack.up(own, say=said.append, project=project)
    assert sorted(runs(url).values()) == ["COMPLETED", "CRASHED"]
    assert [item["name"] for item in call(url, "POST", "/deployments/filter", {})] == ["tiny"]

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
    assert [item["name"] for item in found] == ["ingest", "retrain", "sweep"]
    for item in found:
        assert item["work_pool"]["name"] == "f2f"
        assert len(item["description"]) > 40
        flow = load_flow_from_entrypoint(str(PROJECT / item["entrypoint"]), use_placeholder_flow=False)
        assert flow.name == item["name"]
        schema = parameter_schema(flow)
        assert schema.properties["parameters"]["default"], item["name"]
        for definition in schema.definitions.values():
            for name, field in definition.get("properties", {}).items():
                assert field.get("description"), f"{definition['title']}.{name} has no description in the form"
