"""The story with real servers: seed, first release, a landing that retrains and releases by itself.

A local stack of the test's own (S3, Prefect server and worker, bridge, reports), the project's own flows and
automations. Does not touch alerts (test_alerts.py), the browser (test_prefect_ui.py), nor what happens when
parts of it die (tests/flows/test_watch_flow.py, test_two_machines.py).
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from deployments import stack
from deployments.prefect_server import api_url, call
from tasks import channels, claims
from tasks.releases import releases
from tasks.settings import Settings
from tasks.store import Store
from tests.conftest import missing_firmware_tool
from tests.flows.conftest import PER_CLASS, START_WEIGHTS, easy_folder
from tests.flows.conftest import start_weights as start_weights
from tests.flows.test_retrain import SMALL

LANDED = 60  # frames of each class that land later
BOARDS: list[str] = [] if missing_firmware_tool() else ["mps2-an386"]
RETRAIN: dict[str, Any] = {
    **SMALL,
    "firmware": {"boards": BOARDS, "golden_frames": 8},
    "promote": {"compare": {"max_behind_bound": 0.5, "min_slice_accuracy": 0.6, "min_slice_frames": 10}},
}
POLICY = {"min_new_per_class": LANDED, "min_new_fraction": 1.0, "max_age_days": 0}
STORY_SECONDS = 900


@pytest.mark.slow
@pytest.mark.timeout(2400)  # 345 s on two cores; a machine that does other things as well takes its time
def test_frames_become_releases_by_themselves(own: Settings, tmp_path: Path, start_weights: bytes) -> None:
    url = api_url(own.prefect_port)
    environment = _environment(own)
    store = Store(stack.up(own, say=lambda text: None))
    store.put(START_WEIGHTS, start_weights)

    # The seed, and a look that somebody starts: the first release. Until then frames start nothing by themselves.
    watch = call(url, "GET", "/deployments/name/watch/watch")
    assert _patch(url, watch["id"], {"paused": True})
    easy_folder(tmp_path / "seed", PER_CLASS, seed=7)
    _f2f(environment, "import", str(tmp_path / "seed"), "--device", "easy-cam")
    _f2f(environment, "watch", *_assignments("retrain", RETRAIN), *_assignments("policy", POLICY))
    _until(lambda: channels.current(store), "the first release", url)
    assert [release.number for release in releases(store)] == [1]

    # Frames land from another device, and what follows needs nobody: notice, event, look, claim, run, release.
    parameters = {
        "parameters": {"policy": POLICY, "retrain": {**RETRAIN, "promote": {**RETRAIN["promote"], "dry_run": False}}}
    }
    assert _patch(url, watch["id"], {"paused": False, "parameters": parameters})
    easy_folder(tmp_path / "landing", LANDED, seed=8, place="porch-")
    _f2f(environment, "import", str(tmp_path / "landing"), "--device", "porch-cam")
    _until(lambda: _release(store) == 2, "the second release", url)
    runs = _retrains(url)
    assert len(runs) == 2, runs
    newest = claims.newest(store)
    assert newest
    assert newest.claim.number == 2

    # The same events once more: nothing new, so nothing starts.
    before = len(_runs(url, "watch"))
    event = {
        "id": str(uuid.uuid4()),
        "event": "frames2firmware.frames.landed",
        "resource": {"prefect.resource.id": "frames2firmware.device.porch-cam"},
        "occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "payload": {"device": "porch-cam"},
    }
    for _ in range(2):
        _post(f"{url}/events", [event])
    _until(lambda: len(_runs(url, "watch")) > before, "a look after the events", url)
    ended = {"COMPLETED", "CANCELLED"}  # one that comes while another looks is dropped
    _until(lambda: all(run["state_type"] in ended for run in _runs(url, "watch")), "its end", url)
    assert len(_retrains(url)) == 2


def _release(store: Store) -> int:
    held = channels.current(store)
    return held.release if held else 0


def _runs(url: str, deployment: str) -> list[dict[str, Any]]:
    """The deployment's runs, the newest first."""
    wanted = {"deployments": {"name": {"any_": [deployment]}}, "sort": "EXPECTED_START_TIME_DESC"}
    found: list[dict[str, Any]] = call(url, "POST", "/flow_runs/filter", wanted)
    return [run for run in found if not (run["state_type"] == "SCHEDULED" and run["auto_scheduled"])]


def _retrains(url: str) -> list[str]:
    return [run["state_name"] for run in _runs(url, "retrain")]


def _patch(url: str, deployment: str, change: dict[str, Any]) -> bool:
    request = urllib.request.Request(
        f"{url}/deployments/{deployment}",
        json.dumps(change).encode(),
        {"Content-Type": "application/json"},
        method="PATCH",
    )
    for _ in range(20):
        try:
            with urllib.request.urlopen(request) as answer:
                return bool(answer.status == 204)
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:  # SQLite is busy
                raise
            time.sleep(1)
    return False


def _post(address: str, body: object) -> None:
    data, kind = json.dumps(body).encode(), {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(address, data, kind)) as answer:
        assert answer.status < 300


def _until(holds: Callable[[], Any], what: str, url: str) -> None:
    end = time.monotonic() + STORY_SECONDS
    while not holds():
        runs = _runs(url, "watch") + _runs(url, "retrain")
        said = [f"{run['name']} {run['state_name']}: {(run['state'] or {}).get('message')}" for run in runs]
        assert time.monotonic() < end, f"no {what} within {STORY_SECONDS} s; runs: {said}"
        assert not {"FAILED", "CRASHED"} & {run["state_type"] for run in runs}, (what, said)
        time.sleep(1)


def _assignments(prefix: str, groups: dict[str, Any]) -> list[str]:
    """Nested groups as NAME=VALUE."""
    found = []
    for name, value in groups.items():
        full = f"{prefix}.{name}" if prefix else name
        found += _assignments(full, value) if isinstance(value, dict) else [f"{full}={json.dumps(value)}"]
    return found


def _environment(own: Settings) -> dict[str, str]:
    ports = {
        f"F2F_{name.upper()}": str(getattr(own, name)) for name in type(own).model_fields if name.endswith("_port")
    }
    mine = {name: value for name, value in os.environ.items() if name != "PREFECT_HOME"}
    return {**mine, "F2F_DATA_DIR": str(own.data_dir), **ports}


def _program() -> str:
    return str(Path(sys.executable).with_name("f2f"))


def _f2f(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run([_program(), *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"f2f {' '.join(arguments)}: {done.stderr[-3000:]}"
    return done.stdout
