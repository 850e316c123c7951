"""The watch flow on a real Prefect server and a real S3 server: exactly one retrain for one set of frames.

`retrain` is a deployment of a tiny flow with the real one's form; no worker takes its runs, their states are set as the
engine, a worker or an automation sets them. What is enough for a retrain is in tests/tasks/test_watch.py, races for a
claim in test_claims.py; servers that end and are started again, and the event, are in test_watch_servers.py.
"""

import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus
from prefect.client.schemas.sorting import ArtifactSort
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running, State

from flows import claim_run
from flows.claim_run import NoRetrainDeployment, ParametersNotAccepted
from flows.parameters import RetrainParameters, WatchParameters
from flows.watch import claim_frames, sentences, watch
from tasks import claims
from tasks.ingest import ingest
from tasks.store import Store, StoreUnreachable
from tasks.watch import WatchSummary
from tests.conftest import free_port
from tests.flows import watching
from tests.flows.stalling_proxy import stalling_proxy
from tests.flows.watching import PARAMETERS, actions, deploy_tiny, land, look, seen
from tests.tasks import landing

Runs = Callable[[], list[FlowRun]]


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    """A client of the test run's server, which knows retrain/retrain."""
    with get_client(sync_client=True) as opened:
        deploy_tiny(opened)
        yield opened


@pytest.fixture
def runs(client: SyncPrefectClient, this_bucket: Store) -> Runs:
    """The runs of retrain/retrain that this test made."""
    before = {run.id for run in watching.retrains(client)}
    return lambda: [run for run in watching.retrains(client) if run.id not in before]


def end(client: SyncPrefectClient, run: FlowRun | str, *states: State) -> None:
    """The run goes through these states, as its engine sets them."""
    for state in states:
        result = client.set_flow_run_state(run if isinstance(run, str) else run.id, state)
        assert result.status == SetStateStatus.ACCEPT, result


def page(client: SyncPrefectClient) -> str:
    """What the newest look left on its page."""
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["watch"]))
    return str(client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC)[0].data)


def started(store: Store, start: int = 0) -> WatchSummary:
    """A look that found enough and started a retrain."""
    land(store, start)
    summary = watch(PARAMETERS)
    assert summary.runs[-1].action == "started", summary
    return summary


def test_below_the_threshold_nothing_starts_and_the_runs_page_says_what_is_missing(
    this_bucket: Store, client: SyncPrefectClient, runs: Runs
) -> None:
    land(this_bucket)
    policy = PARAMETERS.policy.model_copy(update={"min_new_per_class": 21})
    summary = watch(PARAMETERS.model_copy(update={"policy": policy}))
    assert (summary.runs, runs(), claims.newest(this_bucket)) == ((), [], None)
    said = "waits for the first retrain; 20 of 21 new person frames, 20 of 21 new no_person frames"
    assert summary.decision
    assert summary.decision.sentence == said
    assert f"retrain {said}" in sentences(summary)
    assert said in page(client)
    assert "| Frames indexed | 40 |" in page(client)


def test_enough_frames_start_one_retrain_of_exactly_these_frames_which_releases_what_passes(
    this_bucket: Store, runs: Runs
) -> None:
    summary = started(this_bucket)
    (run,) = runs()
    newest = claims.newest(this_bucket)
    assert newest
    assert newest.open
    assert (newest.claim.rows, newest.claim.labelled) == (40, {"no_person": 20, "person": 20})
    assert (run.idempotency_key, str(run.id)) == (newest.claim.digest, summary.runs[0].flow_run)
    retrain = RetrainParameters.model_validate(run.parameters["parameters"])
    assert (retrain.index_rows, retrain.promote.dry_run, retrain.train.alpha) == (40, False, 0.35)
    assert run.state
    assert run.state.is_scheduled()


def test_while_a_retrain_is_under_way_no_look_starts_another_however_much_lands(
    this_bucket: Store, client: SyncPrefectClient, runs: Runs
) -> None:
    started(this_bucket)
    for at, states in enumerate([(), (Pending(),), (Running(),)], start=1):
        end(client, runs()[0], *states)
        land(this_bucket, 1000 * at)
        summary = watch(PARAMETERS)
        assert [(run.action, run.claim) for run in summary.runs] == [("under_way", 1)]
        assert summary.decision is None
    assert len(runs()) == 1


def test_a_retrain_that_ended_closes_its_claim_and_what_landed_meanwhile_gets_the_next_one(
    this_bucket: Store, client: SyncPrefectClient, runs: Runs
) -> None:
    started(this_bucket)
    end(client, runs()[0], Pending(), Running(), Completed(name="Passed", message="every rule of the gate holds"))
    land(this_bucket, 1000)
    summary = watch(PARAMETERS)
    assert [(run.action, run.claim) for run in summary.runs] == [("closed", 1), ("started", 2)]
    outcome = this_bucket.get_record("claims/000001-outcome.json", claims.Outcome)
    assert (outcome.state, outcome.name, outcome.message) == ("completed", "Passed", "every rule of the gate holds")
    assert len(runs()) == 2
    newest = claims.newest(this_bucket)
    assert newest
    assert (newest.claim.rows, newest.claim.new) == (80, {"no_person": 20, "person": 20})


@pytest.mark.parametrize("last", [Failed(message="ValidationFailed: 3 of 13"), Cancelled(message="by hand")])
def test_a_retrain_that_failed_or_was_cancelled_is_not_started_again_for_the_same_frames(
    this_bucket: Store, client: SyncPrefectClient, runs: Runs, last: State
) -> None:
    started(this_bucket)
    end(client, runs()[0], Pending(), Running(), last)
    summary = watch(PARAMETERS)
    assert [run.action for run in summary.runs] == ["closed"]
    assert f"ended as {last.name}: {last.message}; it is not started again" in summary.runs[0].sentence
    assert "f2f retrain index_rows=40" in summary.runs[0].sentence
    assert summary.decision
    assert summary.decision.why is None
    assert watch(PARAMETERS).runs == ()
    assert len(runs()) == 1
    land(this_bucket, 1000)
    assert [(run.action, run.claim) for run in watch(PARAMETERS).runs] == [("started", 2)]


def test_a_crashed_retrain_is_resumed_as_the_same_run_and_given_up_after_a_number_of_times(
    this_bucket: Store, client: SyncPrefectClient, runs: Runs
) -> None:
    started(this_bucket)
    run = runs()[0]
    for number in (1, 2):
        # The first time it had run, the second time it could not even be submitted.
        end(client, run, *((Pending(), Running()) if number == 1 else (Pending(),)), Crashed(message="its worker died"))
        summary = watch(PARAMETERS)
        assert [(one.action, one.flow_run) for one in summary.runs] == [("resumed", str(run.id))]
        assert f"{number} of 2 times: its worker died" in summary.runs[0].sentence
        state = client.read_flow_run(run.id).state
        assert state
        assert (state.type.value, state.name) == ("SCHEDULED", "Resuming")
        assert state.state_details.scheduled_time
        assert state.state_details.scheduled_time > datetime.now(UTC) + timedelta(seconds=15)
        assert actions(watch(PARAMETERS).model_dump()) == ["under_way"], "it is resumed once for one crash"
    end(client, run, Pending(), Crashed(message="its worker died"))
    summary = watch(PARAMETERS)
    assert [one.action for one in summary.runs] == ["closed"]
    assert "after 2 resumes; it is not started again" in summary.runs[0].sentence
    outcome = this_bucket.get_record("claims/000001-outcome.json", claims.Outcome)
    assert (outcome.state, outcome.resumes) == ("crashed", 2)
    assert watch(PARAMETERS).runs == ()
    assert [one.id for one in runs()] == [run.id]


def test_of_two_looks_that_saw_the_same_crash_one_resumes_it(
    this_bucket: Store, client: SyncPrefectClient, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(this_bucket)
    run = runs()[0]
    crashed = Crashed(message="its worker died")
    end(client, run, Pending(), Running(), crashed)
    late = client.read_flow_run(run.id)
    assert claim_run._resume(client, run, crashed, 1, 2)
    assert not claim_run._resume(client, late, crashed, 1, 2)
    assert sum(state.name == claim_run.RESUMING for state in client.read_flow_run_states(run.id)) == 1
    # One that was held up between seeing the crash and resuming leaves it alone: a worker may have the run by now.
    end(client, run, Pending(), crashed)
    monkeypatch.setattr(claim_run, "_QUICK", 0.0)
    assert [one.action for one in watch(PARAMETERS).runs] == ["under_way"]
    state = client.read_flow_run(run.id).state
    assert state
    assert state.is_crashed()


def test_a_retrain_that_failed_only_because_the_store_was_away_is_resumed(
    this_bucket: Store, client: SyncPrefectClient, runs: Runs
) -> None:
    started(this_bucket)

    @flow(name="retrain", persist_result=False)
    def away(parameters: RetrainParameters) -> None:
        raise StoreUnreachable("http://127.0.0.1:9 (bucket f2f) does not answer", next_step="start it")

    with pytest.raises(StoreUnreachable):
        run_flow(away, flow_run=runs()[0], parameters={"parameters": RetrainParameters()})
    state = client.read_flow_run(runs()[0].id).state
    assert state
    assert state.is_failed()
    assert [run.action for run in watch(PARAMETERS).runs] == ["resumed"]
    assert len(runs()) == 1


def test_three_watchers_at_the_same_moment_start_one_retrain(this_bucket: Store, runs: Runs) -> None:
    land(this_bucket)
    url = PREFECT_API_URL.value()
    assert url
    found = [seen(process) for process in [look(url) for _ in range(3)]]
    assert len(runs()) == 1
    followed = {run["flow_run"] for summary in found for run in summary["runs"]}
    assert followed == {str(runs()[0].id)}
    assert [item.key for item in this_bucket.list("claims/")] == ["claims/000001.json"]


def test_a_watcher_killed_between_its_claim_and_its_start_has_its_retrain_started_by_the_next_look(
    this_bucket: Store, runs: Runs
) -> None:
    land(this_bucket)
    port = urlsplit(PREFECT_API_URL.value() or "").port
    assert port
    with stalling_proxy(port, b"/create_flow_run") as proxy:
        process = look(proxy.url)
        try:
            assert proxy.reached.wait(120), process.communicate(timeout=10)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
    newest = claims.newest(this_bucket)
    assert newest
    assert (newest.claim.number, newest.open, runs()) == (1, True, [])
    # One frame more must not make another claim of nearly the same frames.
    land(this_bucket, 1000)
    summary = watch(PARAMETERS)
    assert [(run.action, run.claim) for run in summary.runs] == [("started", 1)]
    (run,) = runs()
    assert run.idempotency_key == newest.claim.digest
    assert run.parameters["parameters"]["index_rows"] == newest.claim.rows == 40
    assert actions(watch(PARAMETERS).model_dump()) == ["under_way"]
    assert len(runs()) == 1


def test_a_look_that_was_overtaken_by_another_ones_claim_makes_none_of_its_own(this_bucket: Store, runs: Runs) -> None:
    started(this_bucket)
    land(this_bucket, 1000)  # enough for a second retrain, which must wait for the first
    ingest(this_bucket, PARAMETERS.splits)
    assert claim_frames(PARAMETERS) is None
    assert [item.key for item in this_bucket.list("claims/")] == ["claims/000001.json"]


def test_without_a_server_the_command_says_so_and_claims_nothing(this_bucket: Store) -> None:
    land(this_bucket)
    process = look(f"http://127.0.0.1:{free_port()}/api")
    output, log = process.communicate(timeout=120)
    assert (process.returncode, output, len(log.splitlines())) == (1, "", 2), log
    assert "does not answer" in log
    assert "f2f up" in log
    assert list(this_bucket.list("claims/")) == []


def test_a_server_without_the_deployment_is_an_error_and_the_claim_waits(
    this_bucket: Store, client: SyncPrefectClient, runs: Runs
) -> None:
    land(this_bucket)
    client.delete_deployment(client.read_deployment_by_name(claim_run.DEPLOYMENT).id)
    with pytest.raises(NoRetrainDeployment, match="f2f up"):
        watch(PARAMETERS)
    deploy_tiny(client)
    assert actions(watch(PARAMETERS).model_dump()) == ["started"]
    assert len(runs()) == 1


def test_a_deployment_that_does_not_take_the_claimed_parameters_is_named_and_the_claim_waits(
    this_bucket: Store, client: SyncPrefectClient, runs: Runs
) -> None:
    land(this_bucket)
    deployment = client.read_deployment_by_name(claim_run.DEPLOYMENT)
    narrow = {"type": "object", "properties": {"parameters": {"type": "integer"}}}
    client.create_deployment(
        deployment.flow_id, "retrain", enforce_parameter_schema=True, parameter_openapi_schema=narrow
    )
    with pytest.raises(ParametersNotAccepted, match=r"claims/000001\.json"):
        watch(PARAMETERS)
    deploy_tiny(client)
    assert actions(watch(PARAMETERS).model_dump()) == ["started"]
    assert len(runs()) == 1


def test_a_run_that_is_there_is_followed_also_where_its_parameters_would_not_be_accepted_any_more(
    this_bucket: Store, client: SyncPrefectClient, runs: Runs
) -> None:
    started(this_bucket)
    deployment = client.read_deployment_by_name(claim_run.DEPLOYMENT)
    narrow = {"type": "object", "properties": {"parameters": {"type": "integer"}}}
    client.create_deployment(
        deployment.flow_id, "retrain", enforce_parameter_schema=True, parameter_openapi_schema=narrow
    )
    assert actions(watch(PARAMETERS).model_dump()) == ["under_way"]
    assert len(runs()) == 1


def test_one_parameter_of_the_retrain_does_not_make_it_a_dry_run() -> None:
    assert not WatchParameters().retrain.promote.dry_run
    assert not WatchParameters.model_validate({"retrain": {"train": {"alpha": 0.35}}}).retrain.promote.dry_run
    beta = WatchParameters.model_validate({"retrain": {"promote": {"channel": "beta"}}}).retrain.promote
    assert (beta.channel, beta.dry_run) == ("beta", False)
    assert WatchParameters.model_validate({"retrain": {"promote": {"dry_run": True}}}).retrain.promote.dry_run
    assert RetrainParameters().promote.dry_run
    with pytest.raises(ValueError, match="counted by the watch itself"):
        WatchParameters.model_validate({"retrain": {"index_rows": 5}})


def test_silent_devices_are_in_the_summary(this_bucket: Store, runs: Runs) -> None:
    landing.put(this_bucket, 5, None, device="hall")
    policy = PARAMETERS.policy.model_copy(update={"device_silent_hours": 1e-9})
    summary = watch(PARAMETERS.model_copy(update={"policy": policy}))
    assert [one.device for one in summary.silent] == ["hall"]
    assert any("device hall is silent" in line for line in sentences(summary))
    assert watch(PARAMETERS).silent == ()


def test_a_run_id_is_a_link_on_the_page(this_bucket: Store, client: SyncPrefectClient, runs: Runs) -> None:
    summary = started(this_bucket)
    assert UUID(summary.runs[0].flow_run)
    assert f"({summary.runs[0].url})" in page(client)
    assert (summary.runs[0].url or "").endswith(summary.runs[0].flow_run)
