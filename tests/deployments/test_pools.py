"""Templates of the container pools and the Dockerfile: consistent in themselves and with the rest of the checkout.

Neither Docker nor Kubernetes runs here: no image is built and no container started.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from deployments.prefect_server import client_environment
from tasks.settings import PROJECT, Settings

POOLS = PROJECT / "deployments" / "pools"
DOCKERFILE = (PROJECT / "deployments" / "Dockerfile").read_text()


@pytest.fixture(params=["docker", "kubernetes"])
def template(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((POOLS / f"{request.param}.json").read_text())
    return found


def test_every_variable_is_used_and_every_placeholder_is_a_described_variable(template: dict[str, Any]) -> None:
    used = set(re.findall(r"{{ (\w+) }}", json.dumps(template["job_configuration"])))
    variables = template["variables"]["properties"]
    assert used == set(variables)
    for name, variable in variables.items():
        assert variable["title"], name
        assert variable["description"], name
        if "enum" in variable:
            assert variable["default"] in variable["enum"], name


def test_no_template_holds_a_secret(template: dict[str, Any]) -> None:
    environment = template["variables"]["properties"]["env"]["default"]
    for name, value in environment.items():
        assert name.startswith("PREFECT_") or value == f"{{{{ ${name} }}}}", f"{name} is not the worker's own"


def test_what_a_worker_does_not_have_is_not_set_in_its_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Settings(_env_file=None)  # type: ignore[call-arg]
    template = json.loads((POOLS / "docker.json").read_text())
    for name in template["variables"]["properties"]["env"]["default"]:
        if name.startswith("F2F_"):
            assert name.removeprefix("F2F_").lower() in Settings.model_fields
            monkeypatch.setenv(name, "")  # what Prefect makes of `{{ $NAME }}` where there is none
    assert Settings(_env_file=None) == before  # type: ignore[call-arg]


def test_the_image_has_every_package_the_pinned_uv_and_the_settings_of_flow_runs() -> None:
    copied = {line.split()[1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ")}
    packages = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert copied >= {*packages["packages"], "firmware", "prefect.yaml"}
    ignored = (PROJECT / "deployments" / "Dockerfile.dockerignore").read_text().split()
    for line in DOCKERFILE.splitlines():
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (PROJECT / source).exists()
                assert {f"!{source}", f"!{source}/**"} & set(ignored), source
    (pinned,) = re.findall(r"^UV_VERSION=(\S+)", (PROJECT / "deployments" / "setup.sh").read_text(), re.MULTILINE)
    assert f"uv=={pinned}" in DOCKERFILE
    for name, value in client_environment(Path("/var/lib/f2f"), None).items():
        if value:
            assert f"{name}={value}" in DOCKERFILE, "a container's flow runs have the settings of all others"
