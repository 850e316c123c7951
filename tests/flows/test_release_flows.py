"""The flows promote and rollback and their commands, against a real S3 server and a real Prefect server.

What promotion decides is in tests/tasks/test_promotion.py; here: defaults, artifacts, exit codes.
"""

import json

import pytest
from click.testing import CliRunner, Result
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from deployments.cli import cli
from flows.parameters import PromoteRunParameters, RollbackParameters
from tasks.channels import current
from tasks.releases import releases
from tasks.signing import make_keys
from tasks.store import Store
from tests.tasks.published import stored_candidate

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def keyed(this_bucket: Store) -> Store:
    make_keys(this_bucket.where)
    return this_bucket


def f2f(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def artifacts(key: str) -> list[str]:
    """The data of every artifact with this key, oldest first."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    return [str(artifact.data) for artifact in sorted(found, key=lambda artifact: str(artifact.created))]


def test_started_by_hand_a_promotion_is_a_dry_run(keyed: Store) -> None:
    from flows.promote import promote

    candidate = stored_candidate(keyed)
    found = promote(PromoteRunParameters())
    assert found.outcome == "would"
    assert not releases(keyed)
    assert current(keyed) is None
    assert candidate.digest[:12] in artifacts("promotion")[-1]
    shown = f2f("promote")
    assert shown.exit_code == 0, shown.output
    assert "dry run" in shown.stderr
    assert "f2f promote --publish" in shown.stderr
    assert not releases(keyed)


def test_promote_rollback_and_their_artifacts(keyed: Store) -> None:
    one = stored_candidate(keyed, "one")
    first = f2f("promote", f"candidate={one.digest[:10]}", "--publish", "--json")
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["release"]["number"] == 1
    two = stored_candidate(keyed, "two")
    assert f2f("promote", f"candidate={two.digest[:10]}", "--publish").exit_code == 0
    assert "release 2" in artifacts("channel-stable")[-1]

    back = f2f("rollback", "--reason", "ghosts in the hall", "--json")
    assert back.exit_code == 0, back.output
    assert json.loads(back.stdout)["release"] == 1
    table = artifacts("channel-stable")[-1]
    assert "ghosts in the hall" in table
    assert "| **1** |" in table  # the one in the field
    for revision in (1, 2, 3):  # a picture of its own for each revision: old artifacts keep theirs
        picture = keyed.get(f"models/lines/stable/accuracy-{revision:06d}.svg").decode()
        assert picture.startswith("<svg xmlns=")
    assert "rolled back" in picture

    # Each revision was told once: two releases and a rollback.
    told = sorted(item.key for item in keyed.list("alerts/release-"))
    names = ("published/stable-1", "published/stable-2", "rolled-back/stable-3")
    assert told == [f"alerts/release-{name}.{end}" for name in names for end in ("json", "sent")]

    kept = f2f("promote", f"candidate={two.digest[:10]}", "--publish")
    assert kept.exit_code == 3
    assert "only a newer one is promoted" in kept.stderr
    listed = f2f("releases")
    assert "<- stable" in listed.output.splitlines()[0]
    assert "ghosts in the hall" in listed.output


def test_the_picture_is_an_image_artifact_where_reports_are_served(
    keyed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.rollback import rollback
    from tasks.settings import settings
    from tasks.store import open_store

    monkeypatch.setenv("F2F_PUBLIC_BASE_URL", "http://127.0.0.1:9/reports")
    settings.cache_clear()
    open_store.cache_clear()
    for name in ("one", "two"):
        digest = stored_candidate(keyed, name).digest
        assert f2f("promote", f"candidate={digest}", "--publish").exit_code == 0
    rollback(RollbackParameters(reason="back to the one before"))
    shown = [f"http://127.0.0.1:9/reports/models/lines/stable/accuracy-{n:06d}.svg" for n in (1, 2, 3)]
    assert artifacts("accuracy-stable")[-3:] == shown


def test_a_rollback_needs_a_reason_and_a_release_that_is_there(keyed: Store) -> None:
    assert f2f("promote", f"candidate={stored_candidate(keyed).digest}", "--publish").exit_code == 0
    assert f2f("rollback", "1").exit_code == 2
    for arguments, message in (
        (("rollback", "7", "--reason", "why not"), "there is no release 7"),
        (("rollback", "--reason", "why not"), "never held another release"),
        (("rollback", "1", "--reason", ""), "reason"),
    ):
        refused = f2f(*arguments)
        assert refused.exit_code == 1
        assert message in str(refused.exception), refused.exception
