"""`f2f ingest` as a process of its own against a real S3 server: output, exit codes, errors without a traceback.
What ingest does is in tests/tasks/test_ingest.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.settings import PROJECT, Settings
from tasks.store import Store
from tests.tasks import landing


@pytest.fixture
def environment(where: Settings) -> dict[str, str]:
    """The test's bucket as the settings of a process."""
    names = ("endpoint_url", "bucket", "profile", "credentials_file", "data_dir")
    return {f"F2F_{name.upper()}": str(getattr(where, name)) for name in names}


def f2f_ingest(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    start = "import sys; from deployments.cli import main; sys.argv[0] = 'f2f'; main()"
    return subprocess.run(
        [sys.executable, "-c", start, "ingest", *arguments],
        env={**os.environ, **environment, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_stdout_is_json_and_nothing_else_and_progress_goes_to_stderr(store: Store, environment: dict[str, str]) -> None:
    landing.put_many(store, range(20))
    bad = landing.put(store, 0, name="bad.jpg", data=b"no picture")
    done = f2f_ingest(environment, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert (found["indexed"], found["refused"]) == (20, {"not_an_image": 1})
    assert found["refused_examples"][0]["key"] == bad
    assert "21 of 21 frames" in done.stderr


def test_people_read_what_was_refused_and_that_a_second_run_found_nothing(
    store: Store, environment: dict[str, str]
) -> None:
    landing.put_many(store, range(20))
    bad = landing.put(store, 0, name="bad.jpg", data=b"no picture")
    first, again = f2f_ingest(environment), f2f_ingest(environment, "--full")
    assert "21 new: 20 frames indexed" in first.stdout
    assert f"refused not_an_image: {bad}" in first.stdout
    assert "21 objects looked at, 0 new" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--train", "1.5"), "--train 1.5: input should be less than or equal to 1"),
        (("--train", "0.9"), "sum to 1.2; they must sum to 1"),
        ((), "no bucket"),
    ],
)
def test_what_cannot_be_done_is_said_in_two_lines(
    environment: dict[str, str], arguments: tuple[str, ...], said: str
) -> None:
    done = f2f_ingest(environment, *arguments)  # the bucket does not exist
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "next:" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_credentials_are_said_to_be_that(store: Store, environment: dict[str, str], tmp_path: Path) -> None:
    wrong = tmp_path / "credentials"
    wrong.write_text("[test]\naws_access_key_id = test-access\naws_secret_access_key = wrong\n")
    done = f2f_ingest(environment | {"F2F_CREDENTIALS_FILE": str(wrong)})
    assert done.returncode == 1
    assert "refused access" in done.stderr
    assert "check the credentials" in done.stderr
