"""The one run of the flow `retrain` that a claim gets: found or started, left alone, resumed, or closed.

Whoever looks does the same, any number of times: the run is started under the claim's digest as Prefect's idempotency
key, so that two who find none get the same one.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from uuid import NAMESPACE_OID, uuid5

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL
from prefect.states import Scheduled, to_state_create
from prefect.utilities.urls import url_for

from tasks import claims
from tasks.claims import Claim, Outcome
from tasks.errors import PipelineError
from tasks.store import Store, StoreUnreachable
from tasks.watch import ClaimRun

DEPLOYMENT = "retrain/retrain"
RESUMING = "Resuming"  # name of the state that a resumed run is set to; they are counted by it
RESUME_AFTER = timedelta(seconds=30)  # before a worker may take it: see _resume
_QUICK = 10.0  # seconds: from reading that a run crashed to resuming it
_LATE = timedelta(minutes=10)


class NoRetrainDeployment(PipelineError):
    """Prefect does not know the deployment that a claim is to start."""


class ParametersNotAccepted(PipelineError):
    """The deployment does not take the parameters that the claim has."""


def follow(store: Store, client: SyncPrefectClient, claim: Claim, *, max_resumes: int) -> ClaimRun:
    """Brings the run of an open claim one step on and says how it stands.

    No run: starts it. Crashed, or failed only because the store did not answer: resumes the same run, at most
    `max_resumes` times. Ended: closes the claim. Anything else is left alone. Raises `NoRetrainDeployment`,
    `ParametersNotAccepted`, `StoreError`; the claim then stays open, and the next look tries again.
    """
    asked = time.monotonic()
    run = _find(client, claim)
    if run is None:
        run = _start(client, claim)
        return _said(claim, run, "started", f"retrain of claim {claim.number} is started: {claim.reason}")
    state = run.state
    if state is None or not state.is_final():
        return _said(
            claim, run, "under_way", f"retrain of claim {claim.number} is {_standing(run)}; nothing new starts"
        )
    resumes = _resumes(client, run)
    if not (state.is_crashed() or _store_was_away(state)) or resumes >= max_resumes:
        return _close(store, claim, run, state, resumes)
    if time.monotonic() - asked < _QUICK and _resume(client, run, state, resumes + 1, max_resumes):
        why = state.message or state.name
        sentence = f"retrain of claim {claim.number} is resumed, {resumes + 1} of {max_resumes} times: {why}"
        return _said(claim, run, "resumed", sentence)
    return _said(claim, run, "under_way", f"retrain of claim {claim.number} is being resumed by another look")


def _find(client: SyncPrefectClient, claim: Claim) -> FlowRun | None:
    # Looked for before it is started: a deployment made since may not accept the parameters of a run that is there.
    key = FlowRunFilterIdempotencyKey(any_=[claim.digest])
    found = client.read_flow_runs(flow_run_filter=FlowRunFilter(idempotency_key=key), limit=1)
    return found[0] if found else None


def _start(client: SyncPrefectClient, claim: Claim) -> FlowRun:
    """The run, started now unless another watcher was first: then it is that one."""
    try:
        deployment = client.read_deployment_by_name(DEPLOYMENT)
        return client.create_flow_run_from_deployment(
            deployment.id,
            parameters={"parameters": claim.parameters},
            name=f"retrain-{claim.number:06d}",
            idempotency_key=claim.digest,
        )
    except ObjectNotFound as error:
        raise NoRetrainDeployment(
            f"the Prefect server at {PREFECT_API_URL.value()} has no deployment {DEPLOYMENT}",
            next_step=f"run `f2f up`, or `prefect deploy --all` for a server of your own; the next look starts the "
            f"retrain of {claim.key}",
        ) from error
    except PrefectHTTPStatusError as error:
        if error.response.status_code in (400, 409, 422):
            _not_accepted(claim, error)
        raise


def _not_accepted(claim: Claim, error: PrefectHTTPStatusError) -> NoReturn:
    try:
        detail = str(error.response.json()["detail"])
    except (ValueError, LookupError, TypeError):
        detail = error.response.text
    raise ParametersNotAccepted(
        f"deployment {DEPLOYMENT} does not take the parameters of {claim.key}: {detail[:500]}",
        next_step="where the flows were updated, deploy them again (`f2f up`), and the next look starts it; "
        f"to give this retrain up, write {claim.outcome_key} by hand",
    ) from error


def _resume(client: SyncPrefectClient, run: FlowRun, crashed: State[Any], number: int, most: int) -> bool:
    """Schedules the same run again; False where another look was first.

    Two looks that saw the same crash must not both set it, or the second would schedule a run that a worker has taken
    meanwhile. Both give the transition the same id, of which Prefect takes one as long as the run is scheduled (not
    under `force`, which skips that rule and is not needed here); no worker takes it before `RESUME_AFTER`, and a look
    that was held up for `_QUICK` since it saw the crash leaves it to the next one.
    """
    state: State[Any] = Scheduled(
        name=RESUMING,
        scheduled_time=datetime.now(UTC) + RESUME_AFTER,
        message=f"resumed by watch, {number} of {most} times, after: {crashed.message or crashed.name}",
    )
    state.state_details.flow_run_id = run.id
    state.state_details.transition_id = uuid5(NAMESPACE_OID, f"{run.id}/{number}")
    # Not set_flow_run_state: that makes up a transition id of its own.
    body = {"state": to_state_create(state).model_dump(mode="json", serialize_as_any=True), "force": False}
    answer = client.request("POST", "/flow_runs/{id}/set_state", path_params={"id": run.id}, json=body)
    result: OrchestrationResult[Any] = OrchestrationResult.model_validate(answer.json())
    return result.status == SetStateStatus.ACCEPT


def _resumes(client: SyncPrefectClient, run: FlowRun) -> int:
    """How often it was resumed. Not `run_count`: a run may crash before it ever runs."""
    return sum(state.name == RESUMING for state in client.read_flow_run_states(run.id))


def _store_was_away(state: State[Any]) -> bool:
    """Whether it failed for nothing but a store that did not answer: Prefect keeps no exception, only its text."""
    return state.is_failed() and f" {StoreUnreachable.__name__}: " in (state.message or "")


def _close(store: Store, claim: Claim, run: FlowRun, state: State[Any], resumes: int) -> ClaimRun:
    kinds = {"COMPLETED": "completed", "FAILED": "failed", "CRASHED": "crashed", "CANCELLED": "cancelled"}
    outcome = Outcome.model_validate(
        {
            "claim": claim.digest,
            "state": kinds[state.type.value],
            "name": state.name or kinds[state.type.value],
            "message": state.message or "",
            "flow_run": str(run.id),
            "resumes": resumes,
            "closed_at": datetime.now(UTC),
        }
    )
    outcome = claims.close(store, claim, outcome)
    sentence = f"retrain of claim {claim.number} ended as {outcome.name}: {outcome.message or 'no message'}"
    if outcome.state != "completed":
        tried = f" after {outcome.resumes} resumes" if outcome.resumes else ""
        sentence += (
            f"{tried}; it is not started again for these frames. Once its cause is gone, retry that run in the Prefect "
            f"UI, or `f2f retrain index_rows={claim.rows}`"
        )
    return _said(claim, run, "closed", sentence)


def _standing(run: FlowRun) -> str:
    name = (run.state.name if run.state else None) or "without a state"
    due = run.next_scheduled_start_time
    if run.state and run.state.is_scheduled() and due and datetime.now(UTC) - due > _LATE:
        minutes = (datetime.now(UTC) - due) / timedelta(minutes=1)
        return f"{name}, no worker has taken it for {minutes:.0f} minutes (does one serve its work queue?)"
    return name


def _said(claim: Claim, run: FlowRun, action: Any, sentence: str) -> ClaimRun:
    state = (run.state.name if run.state else None) or ""
    if action == "resumed":
        state = RESUMING
    url = url_for("flow-run", obj_id=run.id)
    return ClaimRun(claim=claim.number, action=action, state=state, sentence=sentence, flow_run=str(run.id), url=url)
