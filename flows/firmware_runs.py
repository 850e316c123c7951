"""Runs of the deployment firmware/firmware: started once for one order, waited for, and started again if they ended.

Prefect says how a run stands and nothing else; what it made is in the bucket. A Prefect API that is away for a while is
waited for, like the run itself.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.artifacts import create_link_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Scheduled, State
from prefect.utilities.urls import url_for

from flows.parameters import FirmwareRunParameters
from tasks.errors import PipelineError

DEPLOYMENT = "firmware/firmware"
QUEUE = "firmware"
POLL_SECONDS = 5.0
SAY_SECONDS = 30.0  # between two lines about a run whose state does not change
AWAY_MINUTES = 30.0  # how long an API that does not answer is asked again before a run exists that could be waited for
RESTARTS = 2  # of a run whose worker died, while it is waited for

logger = logging.getLogger("f2f.firmware")
T = TypeVar("T")


class NoFirmwareDeployment(PipelineError):
    """Prefect does not know the deployment that builds firmware."""


class FirmwareRunFailed(PipelineError):
    """A run that was to build firmware ended without."""


class FirmwareRunLate(PipelineError):
    """A run that was to build firmware did not end in time."""


class PrefectUnreachable(PipelineError):
    """The Prefect API did not answer for as long as it was asked."""


def check_deployment() -> None:
    """Raises `NoFirmwareDeployment` where nobody could be asked for firmware; warns where nobody would answer now."""

    def look(client: SyncPrefectClient) -> Any:
        try:
            return client.read_deployment_by_name(DEPLOYMENT)
        except ObjectNotFound as missing:
            raise NoFirmwareDeployment(
                f"firmware.build=queue, and this Prefect server has no deployment {DEPLOYMENT}",
                next_step="run `f2f up` (or `prefect deploy --all` for a server of your own), "
                "or build here: firmware.build=here",
            ) from missing

    deployment = _asked(look, AWAY_MINUTES)
    if getattr(deployment.status, "value", "") == "NOT_READY":
        logger.warning("no worker serves the work queue %s now; start one: f2f worker --queue %s", QUEUE, QUEUE)


def start_run(parameters: FirmwareRunParameters, order: str) -> str:
    """Id of the run that carries out the order with this digest: the one there is, started again if it has ended.

    Raises `FirmwareRunFailed` where Prefect refuses to start it again, `PrefectUnreachable`.
    """

    def start(client: SyncPrefectClient) -> FlowRun:
        run = run_deployment(
            DEPLOYMENT,
            parameters={"parameters": parameters.model_dump(mode="json")},
            flow_run_name=f"{parameters.board}-{order[:8]}",
            idempotency_key=f"firmware-{order}",
            timeout=0,
            # Not a subflow: the run may be older than this one, and outlive it.
            as_subflow=False,
        )
        assert isinstance(run, FlowRun)
        if run.state and run.state.is_final():
            logger.info("%s: run %s ended as %s before, starting it again", parameters.board, run.name, run.state.name)
            _start_again(client, run)
        return run

    run = _asked(start, AWAY_MINUTES)
    logger.info("%s: ordered as run %s of %s", parameters.board, run.name, DEPLOYMENT)
    if url := url_for(run):
        try:
            create_link_artifact(url, link_text=run.name, key=f"firmware-{parameters.board}", description="Its build")
        except httpx.HTTPError as error:  # a link is not worth a failed run
            logger.warning("no link to run %s on this page: %s", run.name, error)
    return str(run.id)


def wait_for_run(run_id: str, board: str, minutes: float) -> None:
    """Returns once the run has completed. One that crashed (its worker died) is started again, at most twice.

    Raises `FirmwareRunFailed`, `FirmwareRunLate`, `PrefectUnreachable`, each naming the run.
    """
    started = time.monotonic()
    restarts, told, spoken = 0, "", started
    while True:
        left = minutes - (time.monotonic() - started) / 60
        try:
            run = _asked(lambda client: client.read_flow_run(UUID(run_id)), left, f"for run {run_id}")
        except ObjectNotFound as gone:
            raise FirmwareRunFailed(
                f"firmware for {board}: run {run_id} was deleted", next_step="run the retrain again: it orders anew"
            ) from gone
        state = run.state
        name = (state.name if state else None) or "unknown"
        if state and state.is_completed():
            logger.info("%s: run %s is done", board, run.name)
            return
        if state and state.is_crashed() and restarts < RESTARTS:
            restarts += 1
            logger.warning("%s: run %s crashed (%s), starting it again", board, run.name, state.message)
            _asked(lambda client, run=run: _start_again(client, run), left)  # type: ignore[misc]
        elif state and state.is_final():
            raise FirmwareRunFailed(
                f"firmware for {board}: run {_where(run)} ended as {name}: {state.message}",
                next_step="its log says more; a repeated or resumed retrain starts that run again",
            )
        waited = time.monotonic() - started
        if waited >= minutes * 60:
            raise FirmwareRunLate(
                f"firmware for {board}: run {_where(run)} is still {name} after {minutes:g} minutes",
                next_step=f"does a worker serve its queue (`f2f worker --queue {QUEUE}`)? A repeated or resumed "
                "retrain waits for the same run; firmware.wait_minutes says how long",
            )
        if name != told or time.monotonic() - spoken > SAY_SECONDS:
            told, spoken = name, time.monotonic()
            logger.info("%s: run %s is %s (%.0f s)", board, run.name, name, waited)
        time.sleep(min(POLL_SECONDS, max(minutes * 60 - waited, 0.1)))


def _start_again(client: SyncPrefectClient, run: FlowRun) -> None:
    """The same run once more; workers find it as if it were new."""
    again: State[Any] = Scheduled(message="started again by the run that waits for its image")
    answer = client.set_flow_run_state(run.id, again)
    if answer.status != SetStateStatus.ACCEPT:
        reason = getattr(answer.details, "reason", None) or answer.status.value
        raise FirmwareRunFailed(
            f"run {_where(run)} has ended, and Prefect does not start it again: {reason}",
            next_step="delete that run in the UI: the next retrain makes a new one",
        )


def _asked(question: Callable[[SyncPrefectClient], T], minutes: float, whereabouts: str = "") -> T:
    """The answer of the Prefect API, asked again for up to `minutes` while it is away."""
    started = time.monotonic()
    while True:
        try:
            with get_client(sync_client=True) as client:
                return question(client)
        except (httpx.TransportError, PrefectHTTPStatusError) as error:
            if not _is_away(error):
                raise
            waited = time.monotonic() - started
            if waited >= minutes * 60:
                raise PrefectUnreachable(
                    f"the Prefect API did not answer for {waited / 60:.0f} minutes {whereabouts}".strip()
                    + f": {str(error) or type(error).__name__}",
                    next_step="see that the Prefect server runs, then run the retrain again: it finds what is done",
                ) from error
            logger.warning("the Prefect API is away (%s), asking again", str(error) or type(error).__name__)
            time.sleep(POLL_SECONDS)


def _is_away(error: Exception) -> bool:
    """No answer, or one that says that there is none for now."""
    return not isinstance(error, PrefectHTTPStatusError) or error.response.status_code >= 500


def _where(run: FlowRun) -> str:
    url = url_for(run)
    return f"{run.name} ({url})" if url else f"{run.name} ({run.id})"
