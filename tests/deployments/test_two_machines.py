"""A retrain on two machines that share no file system: trained on one, firmware on the other, one of them cut off.

Two workers in namespaces of their own (machines.py), each with its copy of the code at another path; S3, Prefect on
PostgreSQL and the bucket are reached over the network alone. The machine that trains loses power in the middle; the
server finds out by the missing heartbeat, a new machine with an empty disk takes the same run, and it ends as Passed
with a proven image. Does not touch who starts the run or sets it to scheduled again (tests/flows: watch).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployments import prefect_server, versitygw
from deployments.prefect_server import api_url, call
from tasks import dataset as datasets
from tasks.candidates import newest_passed
from tasks.firmware import build_firmware, firmware_code_version
from tasks.firmware_records import FirmwareImage
from tasks.ingest import ingest
from tasks.labelled_folder import labelled_folder
from tasks.lineage import DatasetVersion, Int8Model, Report
from tasks.parameters import FirmwareParameters, SplitParameters
from tasks.settings import PROJECT, Settings
from tasks.store import Store
from tasks.upload import upload
from tests.conftest import ACCESS_KEY, SECRET_KEY, free_port
from tests.deployments.machines import Machine, Network, network, require_namespaces
from tests.deployments.postgres import Cluster, cluster
from tests.flows.conftest import easy_frames  # noqa: F401 - a fixture
from tests.flows.test_retrain import SMALL

BOARD = "mps2-an386"
FIRMWARE = FirmwareParameters(boards=(BOARD,), golden_frames=8, build="queue", wait_minutes=15)
SILENT_SECONDS = 90  # three missed heartbeats; the automation itself waits longer


@dataclass
class Site:
    """What the machines share: addresses."""

    network: Network
    url: str
    store: Store
    postgres: Cluster

    def machine(self, name: str, code: str, queue: str) -> Machine:
        """A worker for one queue on a machine of its own."""
        environment = {
            "PREFECT_API_URL": self.url,
            "F2F_ENDPOINT_URL": str(self.store.where.endpoint_url),
            "F2F_BUCKET": self.store.where.bucket,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        line = [f"{sys.prefix}/bin/f2f", "worker", "--queue", queue]
        machine = self.network.start(name, code, line, environment)
        self.wait(f"worker of {name}", lambda: f"f2f-{name}-{queue}" in self._workers(), 120, machine)
        return machine

    def _workers(self) -> set[str]:
        found = call(self.url, "POST", "/work_pools/f2f/workers/filter", {}) or ()
        return {worker["name"] for worker in found if worker["status"] == "ONLINE"}

    def wait(self, what: str, done: Callable[[], Any], seconds: float, *alive: Machine) -> Any:
        """What `done` returns, once it is true; fails where a machine that has to be there is not."""
        end = time.monotonic() + seconds
        while not (found := done()):
            for machine in alive:
                assert machine.process.poll() is None, f"{machine.name} ended:\n{machine.tail()}"
            if time.monotonic() > end:
                logs = "\n".join(f"--- {machine.name}\n{machine.tail()}" for machine in self.network.machines)
                pytest.fail(f"{what}: not within {seconds:.0f} s\n{logs}")
            time.sleep(0.5)
        return found

    def run(self, run: str) -> dict[str, Any]:
        return call(self.url, "GET", f"/flow_runs/{run}") or {}

    def said(self, run: str, words: str) -> bool:
        """Whether the run's log has a line with these words."""
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200, "sort": "TIMESTAMP_DESC"}
        return any(words in line["message"] for line in call(self.url, "POST", "/logs/filter", wanted) or ())


@pytest.fixture
def site(arm_tools: None, s3_program: Path, easy_frames: Path) -> Iterator[Site]:  # noqa: F811
    """S3 and Prefect on PostgreSQL at the hub's address, all deployments, a bucket with indexed frames, no machine."""
    require_namespaces()
    firmware_code_version()  # is read once a process: what this one has is what the machines get a copy of
    with network() as machines, cluster(machines.hub, clients=machines.block) as postgres:
        servers: list[subprocess.Popen[bytes]] = []
        folder = machines.folder
        try:
            servers.append(_s3(s3_program, machines, port := free_port()))
            where = _settings(folder, f"http://{machines.hub}:{port}")
            url = _prefect(folder, machines.hub, postgres, servers)
            store = Store(where)
            store.create_bucket()
            upload(store, labelled_folder(easy_frames, "easy-cam").files)
            ingest(store, SplitParameters())
            prefect_server.deploy(folder, url, {}, PROJECT, print)
            yield Site(machines, url, store, postgres)
        finally:
            machines.close()  # before what they talk to
            for server in servers:
                server.kill()  # nothing of them is kept
                server.wait(30)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_machine_is_lost_in_the_middle_of_training_and_the_run_goes_on_on_another(site: Site) -> None:
    stuck = _sooner(site.url)
    builder = site.machine("builder", "srv/firmware-checkout", "firmware")
    trainer = site.machine("trainer", "home/somebody/f2f", "training")
    _share_no_files(trainer, builder)

    run = _start(site.url)
    site.wait("an epoch", lambda: site.said(run, "fine_tune epoch 2"), 600, trainer, builder)
    assert site.run(run)["state_type"] == "RUNNING"
    trainer.kill()
    before = {item.key: item.etag for item in site.store.list("datasets/")}
    assert any(key.endswith("dataset.json") for key in before)
    assert not [item.key for item in site.store.list("models/") if item.key.endswith("model.json")], "too late"

    # Nobody tells the server; it misses the heartbeat.
    site.wait("crash", lambda: site.run(run).get("state_type") == "CRASHED", SILENT_SECONDS + 120, builder)
    assert "no heartbeat" in site.run(run)["state"]["message"]
    call(site.url, "PUT", f"/automations/{stuck['id']}", _writable(stuck))

    # A new machine with nothing on it, and the same run once more.
    successor = site.machine("successor", "opt/code", "training")
    again = {"state": {"type": "SCHEDULED", "name": "Scheduled"}}
    while site.run(run).get("state_type") == "CRASHED":
        call(site.url, "POST", f"/flow_runs/{run}/set_state", again)
    site.wait(
        "end", lambda: site.run(run).get("state_type") in {"COMPLETED", "FAILED", "CRASHED"}, 900, successor, builder
    )
    ended = site.run(run)
    assert (ended["state"]["name"], ended["run_count"]) == ("Passed", 2), ended["state"]["message"]
    assert ended["labels"]["prefect.worker.name"] == "f2f-successor-training"

    # What was made before the loss was found, not made again.
    after = {item.key: item.etag for item in site.store.list("datasets/")}
    assert {key: after[key] for key in before} == before

    # The firmware was one run, on the machine that has the tools, of nothing but keys.
    wanted = {"deployments": {"name": {"any_": ["firmware"]}}}
    (built,) = call(site.url, "POST", "/flow_runs/filter", wanted)
    assert built["state"]["name"] == "Proven"
    assert built["labels"]["prefect.worker.name"] == "f2f-builder-firmware"
    for record in (ended, built, *call(site.url, "POST", "/deployments/filter", {})):
        text = json.dumps({name: record.get(name) for name in ("parameters", "pull_steps", "path", "job_variables")})
        assert str(PROJECT) not in text
        assert str(site.network.folder) not in text
    ended_runs = "SELECT count(*) FROM flow_run WHERE state_type IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')"
    assert site.postgres.query(ended_runs) == [(2,)], "nothing else was started, and all of it is in PostgreSQL"

    # It is the very image that a retrain which builds by itself would have made.
    candidate = newest_passed(site.store)
    assert candidate
    image = site.store.get_record(candidate.records[f"firmware-{BOARD}"], FirmwareImage)
    assert image.passed
    assert image.outcome
    assert image.outcome.frames == 8
    int8, report, version = (
        site.store.get_record(candidate.records[name], kind)
        for name, kind in (("int8", Int8Model), ("report", Report), ("dataset", DatasetVersion))
    )
    assert isinstance(int8, Int8Model)
    assert isinstance(report, Report)
    assert isinstance(version, DatasetVersion)
    test = datasets.open_split(site.store, version, "test")
    here = FIRMWARE.model_copy(update={"build": "here"})
    assert build_firmware(site.store, int8, report, test, BOARD, here) == image


def _start(url: str) -> str:
    parameters = {**SMALL, "train": {**SMALL["train"], "weights": "none"}, "firmware": FIRMWARE.model_dump(mode="json")}
    deployment = call(url, "GET", "/deployments/name/retrain/retrain")
    body = {"parameters": {"parameters": parameters}, "state": {"type": "SCHEDULED"}, "idempotency_key": "the-run"}
    made = None
    while not made:
        made = call(url, "POST", f"/deployments/{deployment['id']}/create_flow_run", body)
    return str(made["id"])


def _share_no_files(one: Machine, other: Machine) -> None:
    """Either has its own disk, sees nothing of the other's or of this checkout, and can write nowhere else."""
    for machine, stranger in ((one, other), (other, one)):
        assert machine.run("test", "-e", str(machine.code / "prefect.yaml")).returncode == 0
        assert machine.run("test", "-e", str(stranger.code)).returncode == 1
        assert machine.run("test", "-e", str(PROJECT / "prefect.yaml")).returncode == 1
        assert machine.run("test", "-e", str(machine.log)).returncode == 1, "the folder with the servers' data"
        assert "Read-only file system" in machine.run("touch", "/usr/f2f-was-here", str(Path.home() / "x")).stderr
        assert machine.run("hostname").stdout.strip() == machine.name


def _sooner(url: str) -> dict[str, Any]:
    """The automation that finds stuck runs, with less patience; returns it as it was."""
    (stuck,) = [one for one in call(url, "POST", "/automations/filter", {}) if "run stuck" in one["name"]]
    changed = _writable(stuck)
    changed["trigger"] = {**changed["trigger"], "within": SILENT_SECONDS}
    while (call(url, "GET", f"/automations/{stuck['id']}") or stuck)["trigger"]["within"] != SILENT_SECONDS:
        call(url, "PUT", f"/automations/{stuck['id']}", changed)
    return dict(stuck)


def _writable(automation: dict[str, Any]) -> dict[str, Any]:
    names = ("name", "description", "enabled", "tags", "trigger", "actions", "actions_on_trigger", "actions_on_resolve")
    return {name: automation[name] for name in names if name in automation}


def _settings(folder: Path, endpoint: str) -> Settings:
    credentials = folder / "credentials"
    credentials.write_text(f"[site]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
    return Settings(
        _env_file=None,  # type: ignore[call-arg]
        endpoint_url=endpoint,
        bucket="two-machines",
        profile="site",
        credentials_file=credentials,
        data_dir=folder / "f2f",
    )


def _s3(program: Path, machines: Network, port: int) -> "subprocess.Popen[bytes]":
    folder = machines.folder / "s3"
    folder.mkdir()
    line = [str(part).replace("127.0.0.1:", f"{machines.hub}:") for part in versitygw.command(program, folder, port)]
    environment = {**os.environ, **versitygw.environment(ACCESS_KEY, SECRET_KEY)}
    return subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _prefect(folder: Path, hub: str, postgres: Cluster, servers: list["subprocess.Popen[bytes]"]) -> str:
    """Starts the server as `f2f up` would, at the hub's address; returns its API's URL."""
    from deployments.prefect_database import SETTING, database

    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SETTING, postgres.url)
        part = prefect_server.server_part(folder, port, database())
    line = [str(word).replace("127.0.0.1", hub) for word in part.command]
    url = api_url(port).replace("127.0.0.1", hub)
    environment = {name: value.replace("127.0.0.1", hub) for name, value in part.environment.items()}
    (folder / "prefect").mkdir()
    with (folder / "server.log").open("wb") as log:
        servers.append(subprocess.Popen(line, env={**os.environ, **environment}, stdout=log, stderr=log))
    end = time.monotonic() + 180
    while not prefect_server.healthy(url):
        assert servers[-1].poll() is None, (folder / "server.log").read_text()[-3000:]
        assert time.monotonic() < end, (folder / "server.log").read_text()[-3000:]
        time.sleep(0.3)
    return url
