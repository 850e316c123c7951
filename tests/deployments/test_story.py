"""The whole story with real servers: seed, release, a landing that retrains by itself, an alert, rollback, verify.

A local stack of the test's own (S3, Prefect server and worker, bridge, reports), the project's own flows and
automations, a receiver of webhooks on loopback. Does not touch the browser (test_prefect_ui.py), nor what happens when
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
from tasks.lineage import Int8Model
from tasks.releases import releases
from tasks.settings import PROJECT, Settings
from tasks.store import Store
from tests.conftest import missing_firmware_tool
from tests.deployments.alert_receivers import Webhook, webhook
from tests.deployments.sabotaged_retrain import sabotaged_layers
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
@pytest.mark.timeout(2400)  # six minutes on two idle cores; a machine that does other things as well takes its time
def test_frames_become_releases_by_themselves_and_a_bad_conversion_raises_the_alarm(
    own: Settings, tmp_path: Path, start_weights: bytes
) -> None:
    with webhook() as alerts:
        _story(own, tmp_path, start_weights, alerts)


def _story(own: Settings, tmp_path: Path, start_weights: bytes, alerts: Webhook) -> None:
    url = api_url(own.prefect_port)
    environment = _environment(own)
    store = Store(stack.up(own, say=lambda text: None))
    store.put(START_WEIGHTS, start_weights)
    _f2f(environment, "alerts", "add", "webhook", alerts.url)

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

    # A conversion goes wrong: rejected, nothing released, and the alarm says what somebody needs.
    candidate = _rejected(environment)
    alert = alerts.wait(_degraded, 120)
    payload = alert["payload"]
    assert payload["int8"] == candidate["int8"]
    assert payload["fp32_accuracy"] - payload["int8_accuracy"] == pytest.approx(payload["loss"]["point"])
    assert payload["loss"]["point"] > payload["loss"]["limit"]
    assert payload["loss"]["bound"] >= payload["loss"]["point"]
    int8 = store.get_blob(store.get_record(candidate["records"]["int8"], Int8Model).tflite)
    assert len(payload["layers"]) == 3
    assert {layer["name"] for layer in payload["layers"]} <= sabotaged_layers(int8)
    assert payload["worst_slice"]["name"] in {"easy-cam", "porch-cam"}
    assert payload["field"]["release"] == 2
    assert f"{100 * payload['int8_accuracy']:.2f} %" in alert["subject"]
    assert all(layer["text"] in alert["text"] for layer in payload["layers"])
    with urllib.request.urlopen(payload["report"]["url"]) as page:  # the link opens
        assert candidate["verdict"][:12] in page.read().decode()
    assert _release(store) == 2

    # The same model once more is the same rejection, and no second alert.
    assert _rejected(environment)["digest"] == candidate["digest"]

    # Back to the first release, with a reason; what devices get is what was published, to the byte.
    _f2f(environment, "rollback", "1", "--reason", "the porch sees ghosts")
    held = channels.current(store)
    assert held
    assert (held.release, held.revision, held.kind, held.reason) == (1, 3, "rollback", "the porch sees ghosts")
    verified = json.loads(_f2f(environment, "verify", "--json"))
    assert (verified["release"], verified["revision"], verified["findings"]) == (1, 3, [])
    model = releases(store)[0].artefacts["model_int8.tflite"]
    store.put(model.key, store.get(model.key)[:-1] + b"!")
    refused = subprocess.run([_program(), "verify"], env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 3
    assert model.key in refused.stderr
    assert [one["payload"]["int8"] for one in alerts.got if _degraded(one)] == [candidate["int8"]]


def _release(store: Store) -> int:
    held = channels.current(store)
    return held.release if held else 0


def _rejected(environment: dict[str, str]) -> dict[str, Any]:
    """The candidate of a retrain whose conversion is bad."""
    wanted = [*_assignments("", RETRAIN), "quantize.seed=1", "promote.dry_run=false", "--json"]
    program = [sys.executable, "-m", "tests.deployments.sabotaged_retrain", *wanted]
    done = subprocess.run(program, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr[-3000:]
    candidate: dict[str, Any] = json.loads(done.stdout)
    return candidate


def _degraded(alert: dict[str, Any]) -> bool:
    return bool(alert["alert"] == "quantization degraded")


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
