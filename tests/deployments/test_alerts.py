"""Alerts on a real Prefect server of this file's own: automations from their files, delivery to receivers on loopback.

What events carry is in tests/tasks/test_alerts.py, that flows send them in tests/flows/test_events.py. Slack itself is
not reached from here: its block goes the same way through Apprise as the one for mail.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments import alert_targets
from deployments.alerts import AUTOMATIONS, PREFIX, AutomationFileInvalid, reconcile
from deployments.prefect_server import api_url, has_alert_target, healthy
from flows import events
from tasks import alerts, outbox
from tasks.events import Event
from tasks.layer_error import layer_sentence
from tasks.lineage import ExpectationOutcome, LayerError
from tasks.parameters import GateLimits
from tasks.settings import PROJECT
from tasks.store import Store
from tests.conftest import free_port
from tests.deployments.alert_receivers import Webhook, mailbox, wait_for, webhook
from tests.tasks.candidate_records import finished_run

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
OURS = sorted(PREFIX + path.stem.replace("-", " ") for path in (PROJECT / AUTOMATIONS).glob("*.yaml"))
SETTLED = 3.0  # seconds in which an alert that should not be would have come; one takes about a tenth of that


class Server:
    """A Prefect server that can be killed and started again on its port and database."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = api_url(self.port)
        self.log = folder / "server.log"
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(folder),
            "PREFECT_API_URL": self.url,
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "0.5",
        }
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + 120
        while not healthy(self.url):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.3)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("prefect"))
    yield server
    server.stop()


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """The server with no automations or targets of ours, and this process talking to it."""
    with temporary_settings({PREFECT_API_URL: running.url}):
        with get_client(sync_client=True) as client:
            for automation in client.read_automations():
                client.delete_automation(automation.id)
        for target in alert_targets.targets():
            alert_targets.remove(target)
        yield running


@pytest.fixture
def receiver(server: Server) -> Iterator[Webhook]:
    """A webhook that gets every alert."""
    with webhook() as received:
        alert_targets.add_webhook("ops", received.url)
        reconcile()
        yield received


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A copy of the project's automation files."""
    return Path(shutil.copytree(PROJECT / AUTOMATIONS, tmp_path / "automations"))


def on_server() -> dict[str, Any]:
    with get_client(sync_client=True) as client:
        found = client.read_automations()
    assert len({automation.name for automation in found}) == len(found), "a name is there twice"
    return {automation.name: automation for automation in found}


def of(name: str) -> Any:
    return lambda message: message["alert"] == name


def f2f(server: Server, *arguments: str, given: str = "", folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", "from deployments.cli import main; main()", "alerts", *arguments],
        cwd=PROJECT,
        env={**os.environ, "PREFECT_API_URL": server.url, "F2F_DATA_DIR": str(folder)},
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


def outcomes() -> dict[str, str]:
    """What came of the newest alert, of the targets that had one."""
    return {target.name: target.last for target in map(alert_targets.with_last, alert_targets.targets()) if target.last}


def degraded_event(store: Store, clean: bool = True, layers: tuple[LayerError, ...] = ()) -> Event:
    run = finished_run(store, limits=GateLimits(max_degradation_bound=0.0001), devices=("porch", "hall"), clean=clean)
    if run.report:
        run = replace(run, report=run.report.model_copy(update={"layers": layers}))
    candidate = run.candidate("models/reports/r.html", NOW)
    return alerts.quantization_degraded(run, candidate, held=None, report_url="http://reports.example/r.html")


def test_every_file_is_one_automation_however_often_they_are_made(server: Server) -> None:
    assert sorted(reconcile().created) == OURS
    first = on_server()
    again = reconcile()
    assert sorted(again.unchanged) == OURS
    assert (again.created, again.updated, again.removed) == ((), (), ())
    assert {name: one.id for name, one in on_server().items()} == {name: one.id for name, one in first.items()}
    assert {name for name, one in first.items() if one.actions} == {PREFIX + "run stuck"}, "nobody is told yet"
    assert has_alert_target(server.url) is False


def test_the_files_win_over_the_server_except_for_whether_an_automation_is_enabled(server: Server, files: Path) -> None:
    reconcile(files)
    there = on_server()
    silent, crashed, stuck = (PREFIX + name for name in ("device silent", "run crashed", "run stuck"))
    with get_client(sync_client=True) as client:
        client.pause_automation(there[silent].id)
        client.delete_automation(there[crashed].id)
        same = AutomationCore.model_validate(there[stuck].model_dump())
        twin = client.create_automation(same)
        foreign = client.create_automation(same.model_copy(update={"name": "somebody else's"}))
    text = yaml.safe_load((files / "device-silent.yaml").read_text())
    (files / "device-silent.yaml").write_text(yaml.safe_dump({**text, "description": "changed"}))
    (files / "validation-failed.yaml").unlink()
    done = reconcile(files)
    assert (done.created, done.updated) == ((crashed,), (silent,))
    assert sorted(done.removed) == [stuck, PREFIX + "validation failed"]
    now = on_server()
    assert set(now) == {*OURS, "somebody else's"} - {PREFIX + "validation failed"}
    assert now["somebody else's"].id == foreign
    assert now[stuck].id in (there[stuck].id, twin)
    assert now[silent].description == "changed"
    assert not now[silent].enabled, "what a person switched off stays off"
    assert now[crashed].enabled


def test_a_file_that_makes_no_automation_is_named_and_changes_nothing(server: Server, files: Path) -> None:
    wrong = yaml.safe_load((files / "run-stuck.yaml").read_text())
    wrong["trigger"]["posture"] = "Sleeping"
    (files / "run-stuck.yaml").write_text(yaml.safe_dump(wrong))
    with pytest.raises(AutomationFileInvalid, match="run stuck"):
        reconcile(files)
    (files / "run-stuck.yaml").write_text("name: [")
    with pytest.raises(AutomationFileInvalid, match=r"run-stuck\.yaml"):
        reconcile(files)
    assert not on_server()


def test_alerts_about_runs_are_about_every_deployed_flow() -> None:
    deployed = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    flows = {item["entrypoint"].partition(":")[2] for item in deployed}
    for name in ("run-crashed", "run-stuck"):
        trigger = yaml.safe_load((PROJECT / AUTOMATIONS / f"{name}.yaml").read_text())["trigger"]
        assert set(trigger["match_related"]["prefect.resource.name"]) == flows


def test_a_degraded_model_arrives_with_a_text_for_people_and_fields_for_scripts(
    receiver: Webhook, this_bucket: Store
) -> None:
    layer = LayerError(
        operator=7, op="CONV_2D", name="block_3", snr_db=9.0, own_snr_db=12.0, drop_db=None, saturated=0.02
    )
    event = degraded_event(this_bucket, layers=(layer,))
    events.emit(event)
    got = receiver.wait(of("quantization degraded"))
    payload = json.loads(json.dumps(event.payload))
    assert got["payload"] == payload
    assert got["event"] == "frames2firmware.quantization.degraded"
    assert got["resource"] == event.resource
    assert datetime.fromisoformat(got["occurred"]) <= datetime.now(UTC)
    both = [f"{100 * payload[name]:.2f} %" for name in ("int8_accuracy", "fp32_accuracy")]
    assert got["subject"] == f"Quantization degraded: INT8 {both[0]}, FP32 {both[1]}"
    loss = payload["loss"]
    worst = payload["worst_slice"]
    assert got["text"].splitlines() == [
        f"Accuracy on 600 test frames (600 sessions): FP32 {both[1]}, INT8 {both[0]}",
        f"Loss: 0.00 points (limit {100 * loss['limit']:.2f}), with 95 % confidence at most "
        f"{100 * loss['bound']:.2f} (limit 0.01); 1 frames lost, 1 gained",
        "Worst layers:",
        f"- {layer_sentence(layer)}",
        f"Worst device: {worst['name']}, FP32 {100 * worst['fp32_accuracy']:.2f} %, "
        f"INT8 {100 * worst['int8_accuracy']:.2f} % of 300 frames",
        "In the field: nothing was released yet",
        "Why:",
        *(f"- {reason}" for reason in payload["reasons"]),
        "Report: http://reports.example/r.html",
        f"INT8 model {payload['int8'][:16]}, FP32 model {payload['model'][:16]}, data set {payload['dataset'][:16]}",
    ]


def test_the_other_alerts_arrive_each_with_its_own_text(receiver: Webhook, this_bucket: Store) -> None:
    events.emit(degraded_event(this_bucket, clean=False))
    got = receiver.wait(of("quantization degraded"))
    assert got["subject"] == "Quantization degraded: the INT8 model is not fit for the device"
    assert (
        "- float_op SIN: tf.sin has no INT8 kernel; replace it by an op that has one\nWorst layers: not analysed\n"
        in got["text"]
    )

    run = finished_run(this_bucket, limits=GateLimits(min_accuracy=0.999))
    candidate = run.candidate("models/reports/r.html", NOW)
    events.emit(alerts.candidate_rejected(run, candidate, report_url=None))
    got = receiver.wait(of("candidate rejected"))
    assert got["subject"] == f"Candidate {candidate.digest[:12]} rejected by accuracy"
    assert f"- {run.broken[0]}\nReport: models/reports/r.html\n" in got["text"]

    failed = ExpectationOutcome(
        name='at most 60 % "person"', expectation="e", success=False, observed="0.8", examples=("frames/a.jpg",)
    )
    outcome = run.validation.model_copy(update={"success": False, "expectations": (failed,)})
    events.emit(alerts.validation_failed(run.dataset, outcome, docs_url="http://docs.example/"))
    got = receiver.wait(of("validation failed"))
    assert got["subject"] == f"Data set {run.dataset.digest[:12]} refused: 1 expectations do not hold"
    assert got["text"].splitlines() == [
        "2580 frames of 3 devices. What does not hold:",
        '- at most 60 % "person"; found: 0.8 (e.g. frames/a.jpg)',
        "Data Docs: http://docs.example/",
    ]

    events.emit(alerts.device_silent("porch", NOW, 24))
    got = receiver.wait(of("device silent"))
    assert got["subject"] == "Device porch is silent"
    assert got["text"].startswith("Nothing came from porch since 2026-11-20 12:30 UTC; the limit is 24")


def test_one_rejected_model_is_one_alert_however_often_it_is_judged_and_whatever_dies(
    receiver: Webhook, server: Server, this_bucket: Store
) -> None:
    run = finished_run(this_bucket, limits=GateLimits(max_degradation_bound=0.0001, min_accuracy=0.999))
    candidate = run.candidate("models/reports/r.html", NOW)
    for _ in range(2):
        events.tell_verdict(run, candidate)
    receiver.wait(of("quantization degraded"))

    # A process that died after it had sent an event and before it noted that. The server forgets in a restart which
    # ids it has seen, and would make another alert of it.
    event = alerts.device_silent("porch", NOW, 24)
    events.emit(event)
    receiver.wait(of("device silent"))
    (told,) = (
        this_bucket.get_record(item.key, outbox.Told)
        for item in this_bucket.list("alerts/device-silent/")
        if item.key.endswith(".json")
    )
    this_bucket.delete(told.mark)
    time.sleep(1)  # the server has stored it
    server.stop()
    server.start()
    events.emit(event)
    assert not list(outbox.unsent(this_bucket)), "it is noted now"
    time.sleep(SETTLED)
    assert sorted(message["alert"] for message in receiver.got) == ["device silent", "quantization degraded"]


def test_an_event_that_the_server_evaluates_twice_is_one_alert(receiver: Webhook) -> None:
    event = alerts.device_silent("twice", NOW, 24)
    body = {"event": event.name, "resource": event.resource, "payload": event.payload}
    body["occurred"] = datetime.now(UTC).isoformat()
    with get_client(sync_client=True) as client:
        for _ in range(2):  # under two ids: of one, the server would drop the second
            client.request("POST", "/events", json=[{**body, "id": str(uuid4())}])
    got = receiver.wait(of("device silent"))
    time.sleep(SETTLED)
    assert receiver.got == [got]


def test_receivers_that_fail_fail_no_run_and_the_list_says_so(
    server: Server, this_bucket: Store, tmp_path: Path
) -> None:
    closed = f"http://127.0.0.1:{free_port()}/hooks/s3cret-token"
    with webhook() as broken:
        broken.status = 500
        alert_targets.add_webhook("broken", broken.url)
        alert_targets.add_webhook("closed", closed)
        reconcile()

        @flow
        def goes_on() -> str:
            events.emit(alerts.device_silent("failing", NOW, 24))
            return "done"

        assert goes_on(return_state=True).is_completed()
        broken.wait(of("device silent"))
        last = wait_for(lambda: found if len(found := outcomes()) == 2 else None)
        assert last["broken"].endswith(("answered 500", "failed"))
        assert last["closed"].endswith("failed")
        tried = f2f(server, "test", folder=tmp_path)
        assert tried.returncode == 1
        assert "target broken (webhook, 127.0.0.1) did not take the test alert: it answered 500" in tried.stderr
        assert "target closed (webhook, 127.0.0.1) did not take the test alert: ConnectError" in tried.stderr
        assert "s3cret" not in tried.stderr + tried.stdout
    assert "s3cret" not in server.log.read_text()


def test_a_run_that_is_killed_is_marked_as_crashed_and_told(receiver: Webhook, server: Server, files: Path) -> None:
    text = yaml.safe_load((files / "run-stuck.yaml").read_text())
    text["trigger"]["within"] = 10  # the least that Prefect takes
    (files / "run-stuck.yaml").write_text(yaml.safe_dump(text))
    reconcile(files)
    code = "import time\nfrom prefect import flow\n@flow(name='retrain')\ndef hangs():\n    time.sleep(600)\nhangs()"
    started = datetime.now(UTC).isoformat()
    victim = subprocess.Popen(
        [sys.executable, "-c", code], env={**server.environment, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    )
    try:
        with get_client(sync_client=True) as client:
            beat = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "occurred": {"since": started}}
            found = wait_for(
                lambda: client.request("POST", "/events/filter", json={"filter": beat}).json()["events"], 120
            )
            os.kill(victim.pid, signal.SIGKILL)
            run_id = found[0]["resource"]["prefect.resource.id"].removeprefix("prefect.flow-run.")
            got = receiver.wait(of("run crashed"), seconds=60)
            run = client.read_flow_run(run_id)
    finally:
        victim.kill()
        victim.wait()
    assert run.state
    assert run.state.is_crashed()
    assert got["subject"] == f"retrain crashed: {run.name}"
    assert got["text"].startswith("no heartbeat for five minutes")
    assert f"/runs/flow-run/{run_id}" in got["text"]
    time.sleep(SETTLED)
    assert receiver.got == [got], "stuck and crashed are one alert"


def test_a_failed_run_is_told_unless_it_failed_by_its_data_set_which_has_an_alert_of_its_own(receiver: Webhook) -> None:
    from expectations.checkpoint import ValidationFailed

    @flow(name="retrain")
    def fails(error: str) -> None:
        raise ValidationFailed("refused") if error == "data" else RuntimeError(error)

    @flow(name="of-another-project")
    def foreign() -> None:
        raise RuntimeError("not ours")

    fails("data", return_state=True)
    foreign(return_state=True)
    fails("disk full", return_state=True)
    got = receiver.wait(lambda message: "RuntimeError: disk full" in message["text"])
    assert got["alert"] == "run crashed"
    assert got["subject"].startswith("retrain failed: ")
    time.sleep(SETTLED)
    assert receiver.got == [got]


def test_targets_are_added_listed_tried_and_removed_and_their_secrets_never_shown(
    server: Server, this_bucket: Store, tmp_path: Path
) -> None:
    reconcile()
    with webhook() as received:
        added = f2f(server, "add", "webhook", "-", "--name", "ops", given=f"{received.url}\n", folder=tmp_path)
        assert added.returncode == 0, added.stderr
        assert [len(one.actions) for name, one in on_server().items() if name != PREFIX + "run stuck"] == [1] * (
            len(OURS) - 1
        ), "every alert has it at once"
        assert has_alert_target(server.url) is True
        tried = f2f(server, "test", "ops", folder=tmp_path)
        assert tried.returncode == 0, tried.stderr
        assert "ops: answered 200" in tried.stderr
        assert received.got[-1]["alert"] == "test"
        again = f2f(server, "add", "webhook", received.url, "--name", "ops", folder=tmp_path)
        assert again.returncode == 1
        assert "there is an alert target ops already" in again.stderr
        listed = f2f(server, "list", "--json", folder=tmp_path)
        assert json.loads(listed.stdout) == [{"name": "ops", "kind": "webhook", "host": "127.0.0.1", "last": None}]
        removed = f2f(server, "remove", "ops", folder=tmp_path)
        assert removed.returncode == 0, removed.stderr
        for said in (added, tried, again, listed, removed):
            assert "s3cret" not in said.stdout + said.stderr
    assert not alert_targets.targets()
    assert {name for name, one in on_server().items() if one.actions} == {PREFIX + "run stuck"}
    assert f2f(server, "remove", "ops", folder=tmp_path).returncode == 1


def test_alerts_arrive_by_mail(server: Server, this_bucket: Store) -> None:
    with mailbox() as (port, mails):
        target = alert_targets.add_email(
            "mail", smtp=f"127.0.0.1:{port}", mode="insecure", sender="cam@example.com", to=["ops@example.com"],
            user="", password="",
        )  # fmt: skip
        assert (target.kind, target.host) == ("email", "127.0.0.1")
        assert alert_targets.send_test(target, "a test", "of mail") == "accepted"
        reconcile()
        events.emit(alerts.device_silent("by-mail", NOW, 24))
        tried, sent = wait_for(lambda: mails if len(mails) == 2 else None)
    assert tried["Subject"] == "a test"
    assert (sent["Subject"], sent["To"]) == ("Device by-mail is silent", "ops@example.com")
    assert b"Nothing came from by-mail since" in sent.as_bytes()


@pytest.mark.parametrize("receivers", [["nobody"], ["ops@example.com", "nobody"]])
def test_mail_to_an_address_that_is_none_is_refused(server: Server, receivers: list[str]) -> None:
    with pytest.raises(alert_targets.TargetRefused, match="Apprise makes nothing"):
        alert_targets.add_email(
            "mail", smtp="127.0.0.1", mode="insecure", sender="cam@example.com", to=receivers, user="", password=""
        )
    assert not alert_targets.targets()


@pytest.mark.parametrize(
    "url", ["ftp://example.com/x", "example.com/hook", "http:///x", "http://[::1/x", "http://a:b/x", "http://a:99999/x"]
)
def test_an_address_that_is_none_is_refused_without_being_repeated(server: Server, url: str) -> None:
    with pytest.raises(alert_targets.TargetRefused) as refused:
        alert_targets.add_webhook("ops", url)
    assert url not in str(refused.value)
    with pytest.raises(alert_targets.TargetRefused, match="no incoming webhook of Slack"):
        alert_targets.add_slack("slack", url)
    assert not alert_targets.targets()


def test_a_slack_address_is_kept_in_a_block(server: Server) -> None:
    target = alert_targets.add_slack(
        "slack", "https://hooks.slack.com/services/T0AAAAAAA/B0BBBBBBB/cccccccccccccccccccccccc"
    )
    assert (target.kind, target.host) == ("slack", "hooks.slack.com")
