"""The local stack without Prefect: up, crashes, down, and up again, in a folder and on ports of the test's own.
Prefect's server and worker are in test_prefect_stack.py, what the report server serves in test_report_server.py.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from deployments import landing_parts, processes, stack
from deployments.processes import Part, PortTaken, ProcessDied
from deployments.stack import PartStatus
from tasks import devices
from tasks.settings import PROJECT, Settings
from tasks.store import AccessRefused, BucketMissing, ConditionsIgnored, Store
from tests.conftest import free_port
from tests.deployments.test_upload_gate import one_upload, send
from tests.tasks.s3_front import front


def silent(text: str) -> None:
    """Says nothing."""


@pytest.fixture
def stack_folder(tmp_path: Path) -> Path:
    """A folder that has to be quoted everywhere."""
    return tmp_path / "it's my f2f #1"


def parts(where: Settings) -> dict[str, PartStatus]:
    return {part.name: part for part in stack.status(where)}


def pids(where: Settings) -> dict[str, int | None]:
    return {name: part.pid for name, part in parts(where).items() if part.pid}


def test_what_is_healthy_is_left_alone_what_was_killed_comes_back_and_data_stay(own: Settings) -> None:
    reached = stack.up(own, prefect=False, say=silent)
    Store(reached).put("models/r/report.html", b"report", metadata={"kept": "yes"})
    first = pids(own)
    assert set(first) == {"s3", "report-server", "upload-gate"}

    said: list[str] = []
    assert stack.up(own, prefect=False, say=said.append) == reached
    assert pids(own) == first
    assert not any("start" in line for line in said), said

    os.kill(first["s3"] or 0, signal.SIGKILL)
    limit = time.monotonic() + 30
    while parts(own)["s3"].state != "stopped":  # the kernel takes its time to bury it on a busy machine
        assert time.monotonic() < limit
    stack.up(own, prefect=False, say=silent)
    second = pids(own)
    assert second["report-server"] == first["report-server"]
    assert second["s3"] != first["s3"]
    assert Store(reached).get_object("models/r/report.html").metadata == {"kept": "yes"}

    assert stack.down(own, say=silent) == ["report-server", "upload-gate", "s3"]
    assert {part.state for part in stack.status(own)} == {"stopped"}
    for port in (own.s3_port, own.reports_port, own.gate_port):
        processes.check_port(port, "nobody", "")
    assert stack.down(own, say=silent) == []

    assert stack.up(own, prefect=False, say=silent) == reached
    assert Store(reached).get("models/r/report.html") == b"report"
    assert processes.answers(own.reports_port, "/models/r/report.html")


def test_two_at_once_start_everything_once(own: Settings) -> None:
    said: list[str] = []
    runs = [threading.Thread(target=lambda: stack.up(own, prefect=False, say=said.append)) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert sum("s3: started" in line for line in said) == 1
    assert sum("report-server: started" in line for line in said) == 1
    assert sum("s3: runs" in line for line in said) == 1


def test_a_part_that_hangs_is_restarted(own: Settings) -> None:
    stack.up(own, prefect=False, say=silent)
    hung = pids(own)["report-server"] or 0
    os.kill(hung, signal.SIGSTOP)
    try:
        assert parts(own)["report-server"].state == "unhealthy"
        stack.up(own, prefect=False, say=silent)
    finally:
        if Path(f"/proc/{hung}").exists():
            os.kill(hung, signal.SIGCONT)
    assert parts(own)["report-server"].state == "running"
    assert pids(own)["report-server"] != hung


def test_other_settings_restart_only_what_they_concern(own: Settings) -> None:
    stack.up(own, prefect=False, say=silent)
    before = pids(own)
    moved = own.model_copy(update={"reports_port": free_port()})
    reached = stack.up(moved, prefect=False, say=silent)
    after = pids(moved)
    assert after["s3"] == before["s3"]
    assert after["report-server"] != before["report-server"]
    assert reached.public_base_url == f"http://127.0.0.1:{moved.reports_port}"


def test_the_s3_server_posts_its_notices_while_there_is_a_bridge_and_starts_without_one_when_there_is_none(
    own: Settings,
) -> None:
    stack.up(own, prefect=False, say=silent)
    before = pids(own)
    reached = stack.reached_settings(own, own.data_dir)
    stack._bring_up(landing_parts.bridge_part(reached, f"http://127.0.0.1:{free_port()}/api"), silent)
    stack.up(own, prefect=False, say=silent)
    assert pids(own)["s3"] != before["s3"], "it has other settings"
    key = "frames/2026-01-01/hall-7/s/1.raw"
    Store(reached).put(key, b"frame")

    def heard() -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{own.bridge_port}/-/health") as answer:
            return int(json.loads(answer.read())["frames"])

    limit = time.monotonic() + 30
    while not heard():
        assert time.monotonic() < limit
    assert pids(own)["event-bridge"]

    # Without its bridge a new S3 server would not start: it is started without notices.
    os.kill(pids(own)["event-bridge"] or 0, signal.SIGKILL)
    os.kill(pids(own)["s3"] or 0, signal.SIGKILL)
    while pids(own).keys() & {"s3", "event-bridge"}:
        assert time.monotonic() < limit
    stack.up(own, prefect=False, say=silent)
    assert set(pids(own)) == {"s3", "report-server", "upload-gate"}
    assert Store(reached).get(key) == b"frame"


def test_credentials_are_random_private_and_in_no_other_file(own: Settings) -> None:
    stack.up(own, prefect=False, say=silent)
    file = own.data_dir / "credentials"
    assert file.stat().st_mode & 0o777 == 0o600
    values = dict(line.split(" = ") for line in file.read_text().splitlines()[1:])
    secret = values["aws_secret_access_key"]
    assert len(secret) == 48
    others = [p for p in own.data_dir.rglob("*") if p.is_file() and not p.is_symlink() and p != file]
    assert [p for p in others if secret.encode() in p.read_bytes()] == []
    assert all(secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids(own).values())
    with pytest.raises(AccessRefused):
        Store(own.model_copy(update={"endpoint_url": f"http://127.0.0.1:{own.s3_port}"})).probe()


def test_a_new_process_finds_the_stack_by_its_file_alone(own: Settings) -> None:
    reached = stack.up(own, prefect=False, say=silent)
    Store(reached).put("hello", b"world")
    code = "from tasks.store import open_store; print(open_store().get('hello').decode())"
    environment = {**os.environ, "F2F_DATA_DIR": str(own.data_dir)}
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout == "world\n"


@pytest.mark.parametrize(
    ("field", "setting", "part"),
    [
        ("s3_port", "F2F_S3_PORT", "s3"),
        ("reports_port", "F2F_REPORTS_PORT", "report"),
        ("gate_port", "F2F_GATE_PORT", "upload-gate"),
    ],
)
def test_a_taken_port_is_named_with_its_holder_and_its_setting(
    own: Settings, field: str, setting: str, part: str
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", getattr(own, field)))
        other.listen()
        with pytest.raises(PortTaken) as taken:
            stack.up(own, prefect=False, say=silent)
    assert f"port {getattr(own, field)} for {part}" in taken.value.message
    assert f"by process {os.getpid()}" in taken.value.message
    assert setting in taken.value.next_step
    stack.up(own, prefect=False, say=silent)


def test_a_recycled_process_id_is_neither_believed_nor_stopped(own: Settings) -> None:
    stack.up(own, prefect=False, say=silent)
    stack.down(own, say=silent)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        for boot in (processes._boot(), "the boot before"):
            ticks = processes._start_ticks(stranger.pid) or 0
            recorded = {
                "pid": stranger.pid,
                "start_ticks": ticks + (1 if boot == processes._boot() else 0),
                "boot": boot,
                "settings_digest": "x",
                "address": "http://127.0.0.1:1",
                "started_at": time.time(),
            }
            (own.data_dir / "run" / "s3.json").write_text(json.dumps(recorded))
            assert parts(own)["s3"].state == "stopped"
            assert stack.down(own, say=silent) == []
            assert stranger.poll() is None
        stranger.kill()


def test_a_damaged_pid_file_is_taken_as_none(own: Settings) -> None:
    (own.data_dir / "run").mkdir()
    for text in ("", "{", "[]", '{"pid": 1}'):
        (own.data_dir / "run" / "s3.json").write_text(text)
        assert parts(own)["s3"].state == "stopped"
        assert stack.down(own, say=silent) == []


def test_a_process_that_dies_at_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    part = Part(
        name="unlucky",
        command=[sys.executable, "-c", "print('line 1'); print('no such luck'); raise SystemExit(3)"],
        environment={},
        folder=tmp_path,
        working_directory=tmp_path,
        address="nowhere",
        healthy=lambda: False,
    )
    with pytest.raises(ProcessDied) as died:
        processes.wait_healthy(part, processes.start(part), silent)
    assert "no such luck" in died.value.message
    assert str(part.log) in died.value.message


def test_a_process_that_ignores_the_polite_signal_is_stopped_all_the_same(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    part = Part(
        name="stubborn",
        command=[sys.executable, "-c", code],
        environment={},
        folder=tmp_path,
        working_directory=tmp_path,
        address="nowhere",
        healthy=lambda: "deaf" in (tmp_path / "logs" / "stubborn.log").read_text(),
    )
    now = processes.start(part)
    processes.wait_healthy(part, now, silent)
    assert processes.stop(part.pid_file, 0.5)
    assert not now.alive
    assert not part.pid_file.exists()


# -- somebody else's S3 ------------------------------------------------------------------------------------------------


def test_the_users_own_store_is_checked_and_not_replaced(own: Settings, store: Store) -> None:
    ports = {name: getattr(own, name) for name in ("reports_port", "gate_port")}
    mine = store.where.model_copy(update={"data_dir": own.data_dir, **ports})
    reached = stack.up(mine, prefect=False, say=silent)
    assert (reached.endpoint_url, reached.profile) == (store.where.endpoint_url, "test")
    assert not (own.data_dir / "credentials").exists()
    found = parts(mine)
    assert (found["s3"].state, found["s3"].managed, found["s3"].pid) == ("running", False, None)
    assert "event-bridge" not in found, "notices of that store are not ours to arrange"
    token = devices.add(store, "hall-7")
    upload = one_upload(own.gate_port, token)
    assert send(upload["url"], b"frame") == 200
    assert store.get(upload["key"]) == b"frame"
    store.put("models/r/report.html", b"mine")
    assert processes.answers(own.reports_port, "/models/r/report.html")
    stack.down(mine, say=silent)
    assert store.get("models/r/report.html") == b"mine", "a store of the user's is never stopped"


def test_the_users_own_store_without_the_bucket_is_refused_not_filled(own: Settings, where: Settings) -> None:
    with pytest.raises(BucketMissing, match=where.bucket):
        stack.up(where.model_copy(update={"data_dir": own.data_dir}), prefect=False, say=silent)
    assert pids(own) == {}


def test_a_store_that_ignores_conditions_is_refused_at_start(own: Settings, store: Store) -> None:
    with front(store, ignored=frozenset({"if-match"})) as careless:
        with pytest.raises(ConditionsIgnored, match="If-Match"):
            stack.up(careless.model_copy(update={"data_dir": own.data_dir}), prefect=False, say=silent)
        assert parts(careless)["s3"].state == "unhealthy"
    assert pids(own) == {}


# -- commands ----------------------------------------------------------------------------------------------------------


def test_the_commands_start_show_and_stop_it(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.cli import cli
    from tasks.settings import settings

    for name in ("data_dir", "s3_port", "prefect_port", "reports_port", "bridge_port", "gate_port"):
        monkeypatch.setenv(f"F2F_{name.upper()}", str(getattr(own, name)))
    settings.cache_clear()
    try:
        run = CliRunner().invoke
        assert run(cli, ["up", "--no-prefect"]).exit_code == 0
        shown = run(cli, ["status", "--json"])
        found = {part["name"]: part for part in json.loads(shown.stdout)}
        assert shown.exit_code == 1, "without Prefect not all of it runs"
        assert {name: part["state"] for name, part in found.items()} == {
            "s3": "running",
            "report-server": "running",
            "upload-gate": "running",
            "event-bridge": "stopped",
            "prefect-server": "stopped",
            "prefect-worker": "stopped",
        }
        assert found["s3"]["address"] == f"http://127.0.0.1:{own.s3_port}"
        assert found["s3"]["memory_bytes"] > 1_000_000
        table = run(cli, ["status"]).stdout
        assert str(found["s3"]["pid"]) in table
        down = run(cli, ["down"])
        assert (down.exit_code, down.stdout) == (0, "")
        assert "stopped: report-server, upload-gate, s3" in down.stderr
        assert "nothing was running" in run(cli, ["down"]).stderr
    finally:
        settings.cache_clear()
