"""What the tests of the watch flow share: frames, looks in this process and in others, and a tiny flow `retrain`."""

import json
import os
import subprocess
import sys
from typing import Any

from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.utilities.callables import parameter_schema

from flows.parameters import RetrainParameters, WatchParameters
from tasks.settings import PROJECT
from tasks.store import Store
from tests.tasks import landing

FEW = {"min_frames_train": 2, "min_frames_val": 2, "min_frames_test": 2}
PARAMETERS = WatchParameters.model_validate(
    {
        # Of 40 frames 20 are of each class; the fraction is out of reach.
        "policy": {"min_new_per_class": 20, "min_new_fraction": 100, "max_resumes": 2},
        "retrain": {"validation": FEW, "train": {"alpha": 0.35}},
    }
)
ARGUMENTS = [
    *("policy.min_new_per_class=20", "policy.min_new_fraction=100", "retrain.train.alpha=0.35"),
    *(f"retrain.validation.{name}={value}" for name, value in FEW.items()),
]


@flow(name="retrain", persist_result=False)
def tiny(parameters: RetrainParameters = RetrainParameters()) -> None:  # noqa: B008 - frozen
    """Has the form of the real one and does nothing."""


def deploy_tiny(client: SyncPrefectClient) -> None:
    """The deployment retrain/retrain, with the parameter schema of the real one."""
    client.create_deployment(
        client.create_flow(tiny),
        "retrain",
        enforce_parameter_schema=True,
        parameter_openapi_schema=parameter_schema(tiny).model_dump_for_openapi(),
    )


def retrains(client: SyncPrefectClient, name: str = "retrain") -> list[FlowRun]:
    """Every run of that deployment."""
    wanted = DeploymentFilter(name=DeploymentFilterName(any_=[name]))
    return client.read_flow_runs(deployment_filter=wanted)


def land(store: Store, start: int = 0) -> None:
    """40 frames, 20 of each class, in sessions that no other `start` has."""
    landing.put_many(store, range(start, start + 40))


def look(url: str, *more: str) -> "subprocess.Popen[str]":
    """`f2f watch` in a process of its own, started and not waited for. The bucket is that of the environment."""
    return subprocess.Popen(
        [sys.executable, "-c", "from deployments.cli import main; main()", "watch", "--json", *ARGUMENTS, *more],
        cwd=PROJECT,
        env={**os.environ, "PREFECT_API_URL": url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def seen(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The summary of a look, once it has ended well."""
    output, log = process.communicate(timeout=180)
    assert process.returncode == 0, log
    found: dict[str, Any] = json.loads(output)
    return found


def actions(summary: dict[str, Any]) -> list[str]:
    return [run["action"] for run in summary["runs"]]
