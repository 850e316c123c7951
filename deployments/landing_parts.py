"""The parts of the local stack around landing frames: the devices' upload gate, the bridge to Prefect's events."""

import sys
from pathlib import Path

from deployments import bounded_server, prefect_server
from deployments.processes import Part, answers, recorded
from deployments.stack_settings import settings_environment
from tasks.settings import PROJECT, Settings

GATE, BRIDGE = "upload-gate", "event-bridge"


def gate_part(reached: Settings) -> Part:
    """The upload gate for the bucket of `reached`."""
    return _part(reached, GATE, "deployments.upload_gate", reached.gate_port, "F2F_GATE_PORT", {})


def bridge_part(reached: Settings, prefect_url: str) -> Part:
    """The event bridge, which hears of new objects at `notices_url` and speaks to the server at `prefect_url`."""
    environment = prefect_server.client_environment(reached.data_dir, prefect_url)
    return _part(reached, BRIDGE, "deployments.event_bridge", reached.bridge_port, "F2F_BRIDGE_PORT", environment)


def notices_url(folder: Path) -> str | None:
    """Where the local S3 server posts its notices: to the bridge, while there is one."""
    now = recorded(folder / "run" / f"{BRIDGE}.json")
    return f"{now.address}/" if now and now.alive else None


def _part(reached: Settings, name: str, module: str, port: int, setting: str, environment: dict[str, str]) -> Part:
    return Part(
        name=name,
        command=[sys.executable, "-m", module, str(port)],
        environment=environment | settings_environment(reached),
        folder=reached.data_dir,
        working_directory=PROJECT,
        address=f"http://127.0.0.1:{port}",
        healthy=lambda: answers(port, bounded_server.HEALTH),
        port=port,
        port_setting=setting,
        start_seconds=60,
    )
