"""The watch flow around Prefect servers of the test's own: one that is killed and started again on its database, one
that has lost it, and one that delivers the event twice. Every look is `f2f watch`, or a run of the deployment `watch`
of prefect.yaml, in a process of its own; nothing here runs a retrain. The rest is in test_watch_flow.py."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Pending, Running

from deployments import event_bridge, prefect_server
from deployments.processes import recorded, start, stop, wait_healthy
from tasks import claims
from tasks.settings import PROJECT
from tasks.store import Store
from tests.conftest import free_port
from tests.flows.stalling_proxy import stalling_proxy
from tests.flows.watching import PARAMETERS, actions, deploy_tiny, land, look, retrains, seen

Serve = Callable[[str], str]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def serve(tmp_path: Path, port: int) -> Iterator[Serve]:
    """Starts a server on `port` with the database in a folder of that name, after killing the one before; its URL."""
    folders: list[Path] = []

    def end(kind: signal.Signals) -> None:
        for folder in folders:
            now = recorded(folder / "run" / "prefect-server.json")
            if now and now.alive and kind == signal.SIGKILL:
                os.kill(now.pid, kind)
            stop(folder / "run" / "prefect-server.json", 20)
        folders.clear()

    def up(name: str) -> str:
        end(signal.SIGKILL)
        folders.append(tmp_path / name)
        (tmp_path / name / "prefect").mkdir(parents=True, exist_ok=True)
        part = prefect_server.server_part(tmp_path / name, port)
        wait_healthy(part, start(part), print)
        return prefect_server.api_url(port)

    yield up
    end(signal.SIGTERM)


@pytest.fixture
def client() -> Iterator[Callable[[str], SyncPrefectClient]]:
    """A client of the server at that URL."""
    with ExitStack() as opened:

        def connect(url: str) -> SyncPrefectClient:
            opened.enter_context(temporary_settings({PREFECT_API_URL: url}))
            return opened.enter_context(get_client(sync_client=True))

        yield connect


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_between_claim_and_start_and_after_it_gets_one_retrain(
    this_bucket: Store, serve: Serve, port: int, client: Callable[[str], SyncPrefectClient]
) -> None:
    url = serve("a")
    deploy_tiny(client(url))
    land(this_bucket)
    with stalling_proxy(port, b"/create_flow_run") as proxy:
        process = look(proxy.url)
        assert proxy.reached.wait(120)
        serve("a")  # the server goes while a watcher waits for its answer, and the watcher goes too
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
    assert retrains(client(url)) == []
    newest = claims.newest(this_bucket)
    assert newest
    assert newest.open

    assert actions(seen(look(url))) == ["started"]
    (run,) = retrains(client(url))
    assert run.idempotency_key == newest.claim.digest

    serve("a")
    land(this_bucket, 1000)
    assert actions(seen(look(url))) == ["under_way"]
    assert [one.id for one in retrains(client(url))] == [run.id]


@pytest.mark.slow
def test_a_server_that_has_lost_its_database_starts_an_open_claim_once_and_a_closed_one_never(
    this_bucket: Store, serve: Serve, client: Callable[[str], SyncPrefectClient]
) -> None:
    url = serve("a")
    deploy_tiny(client(url))
    land(this_bucket)
    assert actions(seen(look(url))) == ["started"]

    url = serve("b")
    deploy_tiny(client(url))
    assert [actions(seen(look(url))), actions(seen(look(url)))] == [["started"], ["under_way"]]
    (run,) = retrains(client(url))
    for state in (Pending(), Running(), Completed(name="Rejected", message="accuracy 0.61")):
        client(url).set_flow_run_state(run.id, state)
    assert actions(seen(look(url))) == ["closed"]

    url = serve("c")
    deploy_tiny(client(url))
    summary = seen(look(url))
    assert summary["runs"] == []
    assert "0 of 20 new person frames" in summary["decision"]["sentence"]
    assert retrains(client(url)) == []


@pytest.mark.slow
def test_an_event_storm_makes_one_look_that_comes_after_it_and_an_event_delivered_twice_one_retrain(
    this_bucket: Store, serve: Serve, client: Callable[[str], SyncPrefectClient]
) -> None:
    url = serve("a")
    here = client(url)
    deploy_tiny(here)
    deploy_watch(url)

    # Thirty events of three devices, each of them sent twice. (The schedule's looks are not made by an event.)
    landed = time.time()
    storm = [
        event_bridge.Batch(device, 0.0, "frames/k", "frames/k", landed, landed, 8, {"s"}).event("bucket")
        for device in ("hall", "yard", "gate") * 10
    ]
    with temporary_settings({PREFECT_API_URL: url}):
        event_bridge.emit_events([event for event in storm for _ in range(2)])
    first = wait_for_one(lambda: by_event(here))
    time.sleep(5)
    assert [run.id for run in by_event(here)] == [first.id], "one look for all of them"
    sent = datetime.fromtimestamp(landed, UTC)
    assert first.expected_start_time
    # After the window in which further events are swallowed: whatever they were about has landed by then.
    assert first.expected_start_time >= sent + timedelta(seconds=60)

    # Two looks all the same, at the same moment, as two workers run them.
    land(this_bucket)
    watch = here.read_deployment_by_name("watch/watch")
    wanted = {"parameters": PARAMETERS.model_dump(mode="json")}
    twice = [here.create_flow_run_from_deployment(watch.id, parameters=wanted) for _ in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "prefect", "flow-run", "execute", str(run.id)],
            cwd=PROJECT,
            env={**os.environ, "PREFECT_API_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for run in twice
    ]
    logs = [process.communicate(timeout=180)[0] for process in processes]
    states = [here.read_flow_run(run.id).state for run in twice]
    assert all(state and state.is_completed() for state in states), (states, logs)
    (run,) = retrains(here)
    newest = claims.newest(this_bucket)
    assert newest
    assert (newest.claim.number, newest.claim.digest) == (1, run.idempotency_key)


def deploy_watch(url: str) -> None:
    """The deployment `watch` of the project's own prefect.yaml, with its schedule and its trigger."""
    for command in (["work-pool", "create", "f2f", "--type", "process"], ["--no-prompt", "deploy", "-n", "watch"]):
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *command],
            cwd=PROJECT,
            env={**os.environ, "PREFECT_API_URL": url},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def by_event(client: SyncPrefectClient) -> list[FlowRun]:
    """The runs of `watch` that an automation made."""
    return [run for run in retrains(client, "watch") if run.created_by and run.created_by.type == "AUTOMATION"]


def wait_for_one(runs: Callable[[], list[FlowRun]], seconds: float = 60) -> FlowRun:
    """The first run that there is."""
    end = time.monotonic() + seconds
    while not (found := runs()):
        assert time.monotonic() < end, f"no run after {seconds} s"
        time.sleep(0.5)
    return found[0]
