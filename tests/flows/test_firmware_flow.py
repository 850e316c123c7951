"""Firmware as runs of their own: ordered once, found again, started again after a failure, waited for with patience.

A real Prefect server of this module's own, whose runs are put into every state by hand; one test brings it down and up
again. What a worker makes of such a run, on another machine, is in tests/deployments/test_two_machines.py; how an image
is built in tests/firmware.
"""

import contextvars
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import State
from pydantic import ValidationError

from deployments import prefect_server
from flows import firmware_runs
from flows.firmware_runs import FirmwareRunFailed, FirmwareRunLate, NoFirmwareDeployment, PrefectUnreachable
from flows.parameters import FirmwareRunParameters
from flows.stages import shown
from tasks.firmware_order import FirmwareOrder, golden_frames_on, ordered_image
from tasks.parameters import BoardLimits, FirmwareParameters, HysteresisParameters
from tasks.settings import PROJECT
from tasks.store import Store
from tests.conftest import free_port
from tests.tasks.firmware_records_example import example_image

BOARD = "mps2-an386"
PARAMETERS = FirmwareRunParameters(board=BOARD, int8="models/a.json", report="models/b.json", dataset="datasets/c.json")


class Server:
    """A Prefect server that can be killed and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = prefect_server.api_url(self.port)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        part = prefect_server.server_part(self.folder, self.port)
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                part.command, env={**os.environ, **part.environment}, stdout=log, stderr=log
            )
        end = time.monotonic() + 120
        while not prefect_server.healthy(self.url):
            assert self.process.poll() is None, (self.folder / "server.log").read_text()[-3000:]
            assert time.monotonic() < end
            time.sleep(0.2)

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With the deployments of prefect.yaml, and no worker."""
    folder = tmp_path_factory.mktemp("prefect-of-firmware")
    (folder / "prefect").mkdir()
    started = Server(folder)
    try:
        started.start()
        prefect_server.deploy(folder, started.url, {}, PROJECT, print)
        with temporary_settings({PREFECT_API_URL: started.url}):
            yield started
    finally:
        for worker in (EventsWorker, APILogWorker):  # else they would look for the server until the end of the suite
            worker.drain_all(timeout=20)
        started.stop()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firmware_runs, "POLL_SECONDS", 0.2)


@flow(name="orders")
def ordering(order: str) -> str:
    """A flow that orders: only there a link can be shown."""
    return firmware_runs.start_run(PARAMETERS, order)


def read(run: str) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(run))


def put(run: str, kind: StateType, message: str = "") -> None:
    """The run in a state, as its worker would have reported it."""
    with get_client(sync_client=True) as client:
        state: State[object] = State(type=kind, name=kind.value.title(), message=message)
        client.set_flow_run_state(UUID(run), state, force=True)


def waiting_for(run: str) -> tuple[threading.Thread, list[BaseException]]:
    """A thread that waits for the run, not yet started, and what it will have raised."""
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            firmware_runs.wait_for_run(run, BOARD, 5)
        except BaseException as error:
            errors.append(error)

    # Prefect's settings (which server) belong to a context, and a thread starts in an empty one.
    return threading.Thread(target=contextvars.copy_context().run, args=(wait,)), errors


def order(letter: str) -> str:
    return letter * 64


def test_an_order_is_one_run_however_often_it_is_placed(server: Server) -> None:
    first = ordering(order("1"))
    assert ordering(order("1")) == first
    assert ordering(order("2")) != first
    run = read(first)
    assert run.state
    assert run.state.is_scheduled()
    assert run.work_queue_name == "firmware"
    assert run.parameters["parameters"]["int8"] == "models/a.json"
    put(first, StateType.RUNNING)
    assert ordering(order("1")) == first, "what runs is left alone"
    assert read(first).state_type == StateType.RUNNING


@pytest.mark.parametrize("kind", [StateType.FAILED, StateType.CANCELLED])
def test_a_run_that_ended_is_named_and_the_same_order_starts_it_again(server: Server, kind: StateType) -> None:
    run = ordering(order("3" if kind == StateType.FAILED else "4"))
    put(run, kind, "qemu-system-arm is not on PATH")
    with pytest.raises(FirmwareRunFailed) as failed:
        firmware_runs.wait_for_run(run, BOARD, 1)
    assert read(run).name in failed.value.message
    assert f"/runs/flow-run/{run}" in failed.value.message
    assert f"{kind.value.title()}: qemu-system-arm is not on PATH" in failed.value.message
    assert "starts that run again" in failed.value.next_step
    assert ordering(order("3" if kind == StateType.FAILED else "4")) == run
    again = read(run).state
    assert again
    assert again.is_scheduled()


def test_a_completed_run_whose_image_is_gone_runs_again(server: Server) -> None:
    run = ordering(order("5"))
    put(run, StateType.COMPLETED)
    firmware_runs.wait_for_run(run, BOARD, 1)
    assert ordering(order("5")) == run
    assert read(run).state_type == StateType.SCHEDULED


def test_a_run_whose_worker_died_is_started_again_twice_and_then_named(server: Server) -> None:
    run, seen = ordering(order("6")), 0
    waiting, errors = waiting_for(run)
    put(run, StateType.CRASHED, "its machine is gone")
    waiting.start()
    end = time.monotonic() + 60
    while waiting.is_alive():
        assert time.monotonic() < end
        if read(run).state_type == StateType.SCHEDULED:
            seen += 1
            put(run, StateType.RUNNING)
            put(run, StateType.CRASHED, "its machine is gone")
        time.sleep(0.05)
    assert seen == firmware_runs.RESTARTS
    assert isinstance(errors[0], FirmwareRunFailed)
    assert "its machine is gone" in str(errors[0])


def test_a_run_that_nobody_takes_ends_the_wait_with_what_to_start(server: Server) -> None:
    run = ordering(order("7"))
    with pytest.raises(FirmwareRunLate, match=r"is still Scheduled after 0\.02 minutes") as late:
        firmware_runs.wait_for_run(run, BOARD, 0.02)
    assert read(run).name in late.value.message
    assert "f2f worker --queue firmware" in late.value.next_step
    assert read(run).state_type == StateType.SCHEDULED, "it stays, for the next who waits"


@pytest.mark.filterwarnings("ignore:Artifact creation outside of a flow")
def test_a_run_that_was_deleted_is_named(server: Server) -> None:
    run = ordering(order("e"))
    with get_client(sync_client=True) as client:
        client.delete_flow_run(UUID(run))
    with pytest.raises(FirmwareRunFailed, match=f"run {run} was deleted"):
        firmware_runs.wait_for_run(run, BOARD, 1)


def test_a_server_that_is_away_for_a_while_is_waited_for(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ordering(order("8"))
    waiting, errors = waiting_for(run)
    server.stop()
    try:
        waiting.start()
        end = time.monotonic() + 60
        while "is away" not in caplog.text:
            assert time.monotonic() < end
            assert waiting.is_alive(), errors
            time.sleep(0.1)
        with pytest.raises(PrefectUnreachable, match="Prefect API did not answer"):
            firmware_runs.wait_for_run(run, BOARD, 0.01)
        # Nor does a training end because its progress cannot be shown.
        progress = shown("training")
        time.sleep(5.1)  # what is shorter has no bar
        progress(1, 2, "frames")
        assert "no progress bar for now" in caplog.text
    finally:
        server.start()
    put(run, StateType.COMPLETED)
    waiting.join(60)
    assert not waiting.is_alive()
    assert errors == []


def test_without_the_deployment_an_order_is_refused_before_anything_is_trained(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    firmware_runs.check_deployment()
    monkeypatch.setattr(firmware_runs, "DEPLOYMENT", "firmware/elsewhere")
    with pytest.raises(NoFirmwareDeployment, match="firmware/elsewhere") as missing:
        firmware_runs.check_deployment()
    assert "firmware.build=here" in missing.value.next_step


def test_a_worker_with_other_sources_refuses_the_order(server: Server, this_bucket: Store) -> None:
    from flows.firmware import OtherVersion, firmware

    asked = PARAMETERS.model_copy(update={"code_version": "0" * 64})
    state = firmware(asked, return_state=True)
    assert state.is_failed()
    with pytest.raises(OtherVersion, match=r"have version [0-9a-f]{12}, the run asks for 000000000000"):
        state.result()


def test_records_are_named_together_or_not_at_all() -> None:
    with pytest.raises(ValidationError, match="together"):
        FirmwareRunParameters(int8="models/a.json")


IDENTITY = {
    "int8": "1" * 64,
    "report": "2" * 64,
    "dataset": "3" * 64,
    "board": BOARD,
    "golden_frames": 32,
    "hysteresis": HysteresisParameters(),
    "limits": BoardLimits(),
    "seed": 0,
    "code_version": "4" * 64,
}


@pytest.mark.parametrize(
    "change",
    [
        {"int8": "5" * 64},
        {"report": "5" * 64},
        {"board": "mps2-an500"},
        {"golden_frames": 8},
        {"hysteresis": HysteresisParameters(margin=0.2)},
        {"limits": BoardLimits(ram_bytes=1)},
        {"seed": 1},
        {"code_version": "5" * 64},
    ],
)
def test_another_order_for_everything_that_the_image_depends_on(change: dict[str, object]) -> None:
    assert FirmwareOrder.digest_for(**{**IDENTITY, **change}) != FirmwareOrder.digest_for(**IDENTITY)


def test_the_first_board_alone_gets_the_many_golden_frames_wherever_it_is_built() -> None:
    parameters = FirmwareParameters(boards=("mps2-an500", BOARD), golden_frames=20, golden_frames_others=6)
    assert [golden_frames_on(board, parameters) for board in parameters.boards] == [20, 6]
    elsewhere = FirmwareRunParameters(board=BOARD, golden_frames=6).as_firmware
    assert golden_frames_on(BOARD, elsewhere) == 6


def test_an_order_is_carried_out_once_every_file_of_its_image_is_there(store: Store) -> None:
    image = example_image()
    done = FirmwareOrder.model_validate({**IDENTITY, "image": image.digest})
    assert done.digest == FirmwareOrder.digest_for(**IDENTITY)
    assert ordered_image(store, done.digest) is None
    store.put_record(done.key, done)
    assert ordered_image(store, done.digest) is None
    store.put_record(image.key, image)
    for name in image.files:
        assert ordered_image(store, done.digest) is None
        store.put(image.folder + name, b"file")
    assert ordered_image(store, done.digest) == image
