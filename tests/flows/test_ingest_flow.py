"""The ingest flow on a real Prefect server and a real S3 server. What ingest does is in
tests/tasks/test_ingest.py; here is only what the wrapping adds. The command is in tests/deployments/."""

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.ingest import ingest
from flows.parameters import IngestParameters
from tasks.ingest import IngestSummary
from tasks.parameters import SplitParameters
from tasks.splits import SharesInvalid
from tasks.store import Store
from tests.tasks import landing


def land_some(store: Store) -> str:
    landing.put_many(store, range(20))
    return landing.put(store, 0, name="bad.jpg", data=b"no picture")


@pytest.mark.usefixtures("prefect_server")
def test_the_flow_indexes_and_leaves_an_artifact_that_names_what_was_refused(this_bucket: Store) -> None:
    bad = land_some(this_bucket)
    summary = ingest(IngestParameters())
    assert isinstance(summary, IngestSummary)
    assert (summary.indexed, sum(summary.refused.values())) == (20, 1)
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["ingest"]))
        # The newest: other tests of this run have left theirs on the same server.
        artifact = max(client.read_artifacts(artifact_filter=wanted), key=lambda found: str(found.created))
    assert f"`{bad}`" in str(artifact.data)
    assert "| Frames indexed | 20 |" in str(artifact.data)


@pytest.mark.usefixtures("prefect_server")
def test_the_flow_fails_with_the_reason_on_shares_that_are_no_whole(this_bucket: Store) -> None:
    wrong = IngestParameters(splits=SplitParameters(train=0.5, val=0.1, test=0.1))
    state = ingest(wrong, return_state=True)
    assert state.is_failed()
    assert isinstance(state.result(raise_on_failure=False), SharesInvalid)
