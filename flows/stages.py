"""The stages as Prefect tasks: each opens the bucket, calls one plain function, and shows its progress in the UI.

They take and return records only: data travels through the bucket, so that any worker can run any stage. Wrapping
happens here and not in tasks/, because importing Prefect takes seconds that `f2f audit` and every evaluation worker
would pay.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect import Task, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.states import State

from tasks import dataset as datasets
from tasks import gate
from tasks.lineage import (
    DatasetVersion,
    Int8Model,
    Report,
    TrainedModel,
    ValidationOutcome,
    Verdict,
)
from tasks.parameters import (
    DatasetParameters,
    EvaluateParameters,
    GateLimits,
    QuantizeParameters,
    TrainParameters,
    ValidationParameters,
)
from tasks.progress import Progress
from tasks.store import StoreUnreachable, open_store

F = TypeVar("F", bound=Callable[..., Any])


async def _store_was_away(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Only a store that did not answer is worth another try: every other error would be the same again."""
    try:
        await state.aresult()
    except StoreUnreachable:
        return True
    except Exception:
        return False
    return False


def stage(function: F) -> F:
    """A task without Prefect's result cache: content-addressed records in the bucket know better what was done."""
    wrapped: Any = task(
        name=function.__name__,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=3,
        retry_delay_seconds=[5, 20, 60],
        retry_condition_fn=_store_was_away,
    )(function)
    return wrapped  # the task keeps the function's own signature


def shown(what: str) -> Progress:
    """Progress as a bar on the run's page and as log lines, at most one every five seconds.

    A Prefect server that is away costs the bar and a warning: nothing that can be shown is worth a failed training.
    """
    logger = logging.getLogger("f2f.progress")
    artifact: UUID | None = None
    started = last = time.monotonic()
    no_bar_until = started

    def show(done: int, total: int, unit: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < 5 and (done < total or artifact is None):
            return  # what is over in less than five seconds needs no bar
        last = now
        logger.info("%s: %d of %d %s, %.0f s", what, done, total, unit, now - started)
        if now >= no_bar_until:
            draw(round(min(100.0, 100.0 * done / max(total, 1)), 1), done, total, unit)

    def draw(percent: float, done: int, total: int, unit: str) -> None:
        nonlocal artifact, no_bar_until
        try:
            if artifact is None:
                created = create_progress_artifact(percent, description=f"{what} ({unit})")
                artifact = created if isinstance(created, UUID) else None
            else:
                update_progress_artifact(artifact, percent, description=f"{what}: {done} of {total} {unit}")
        except httpx.HTTPError as error:
            no_bar_until = time.monotonic() + 120  # each try takes its time
            logger.warning("%s: no progress bar for now (%s)", what, str(error) or type(error).__name__)

    return show


@stage
def check_store() -> None:
    """Refuses a store that cannot be reached, has no bucket, or ignores conditional writes."""
    open_store().probe()


@stage
def build_dataset(parameters: DatasetParameters, index_rows: int = 0) -> DatasetVersion:
    """Frame index (its first `index_rows` rows; 0: all) -> data set version."""
    return datasets.build_dataset(open_store(), parameters, index_rows=index_rows, progress=shown("data set"))


@stage
def validate(version: DatasetVersion, parameters: ValidationParameters) -> ValidationOutcome:
    """Data set version -> outcome of the Great Expectations checkpoint."""
    from expectations.checkpoint import validate

    store = open_store()
    return validate(store, version, datasets.load_manifest(store, version), parameters)


@stage
def train(version: DatasetVersion, parameters: TrainParameters) -> TrainedModel:
    """Data set version -> FP32 model."""
    from tasks.train import train_model

    store = open_store()
    return train_model(
        store,
        version,
        parameters,
        train=datasets.open_split(store, version, "train"),
        val=datasets.open_split(store, version, "val"),
        progress=shown("training"),
    )


@stage
def quantize(trained: TrainedModel, version: DatasetVersion, parameters: QuantizeParameters) -> Int8Model:
    """FP32 model -> INT8 model, audited."""
    from tasks.quantize import quantize

    store = open_store()
    return quantize(store, trained, datasets.open_split(store, version, "train"), parameters)


@stage
def evaluate(int8: Int8Model, trained: TrainedModel, version: DatasetVersion, parameters: EvaluateParameters) -> Report:
    """FP32 and INT8 on the same frames -> report."""
    from tasks.evaluate import evaluate

    store = open_store()
    frames = datasets.open_split(store, version, parameters.split)
    return evaluate(store, int8, trained, version, frames, parameters, progress=shown("evaluation"))


@stage
def judge(report: Report | None, int8: Int8Model, limits: GateLimits) -> Verdict:
    """Report and limits -> verdict. A model that the audit refused has no report and is rejected for that."""
    return gate.judge(report, int8, limits) if report else gate.judge_unclean(int8, limits)
