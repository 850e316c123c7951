"""The `f2f device` commands on a real bucket, and the example that `add` prints, run as it is by a shell against a real
gate. What tokens and URLs are good for is in tests/tasks/test_devices.py and test_upload_gate.py.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deployments.cli import cli
from deployments.upload_gate import make_server
from tasks import devices
from tasks.errors import PipelineError
from tasks.settings import settings
from tasks.store import Store
from tests.deployments.conftest import serving
from tests.deployments.test_upload_gate import SENT, send
from tests.tasks.landing import raw


def f2f(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["device", *arguments])


@pytest.fixture
def gate(this_bucket: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A gate for the bucket that the commands find, on the port that they name."""
    with serving(make_server(this_bucket, 0)) as port:
        monkeypatch.setenv("F2F_GATE_PORT", str(port))
        settings.cache_clear()
        yield port


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("sha256sum")), reason="needs curl and sha256sum")
def test_the_printed_example_uploads_a_file_as_it_is(this_bucket: Store, gate: int, tmp_path: Path) -> None:
    shown = f2f("add", "hall-7")
    assert shown.exit_code == 0
    example = shown.stdout[shown.stdout.index("curl ") :]
    (tmp_path / "0001.jpg").write_bytes(raw(1))
    done = subprocess.run(["sh", "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    [key] = [item.key for item in this_bucket.list("frames/")]
    assert key.endswith("/hall-7/first/0001.jpg")
    assert this_bucket.get(key) == raw(1)
    (tmp_path / "0001.jpg").write_bytes(raw(2))
    again = subprocess.run(["sh", "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 22, "curl's word for an answer that is a refusal"
    assert "412" in again.stderr
    assert this_bucket.get(key) == raw(1)


def test_a_name_is_added_once_shown_and_removed(this_bucket: Store) -> None:
    assert "f2f device add" in f2f("list").stderr
    made = json.loads(f2f("add", "hall-7", "--json").stdout)
    assert made["device"] == "hall-7"
    assert devices.authenticated(this_bucket, made["token"])
    assert made["token"] in made["example"]
    second = f2f("add", "hall-7")
    assert isinstance(second.exception, PipelineError)
    assert "hall-7" in second.exception.message
    assert second.exception.next_step
    assert f2f("list").stdout.startswith("hall-7 ")
    [listed] = json.loads(f2f("list", "--json").stdout)
    assert sorted(listed) == ["added_at", "name"]
    assert f2f("remove", "hall-7").exit_code == 0
    assert devices.authenticated(this_bucket, made["token"]) is None
    assert isinstance(f2f("remove", "hall-7").exception, PipelineError)
    assert json.loads(f2f("list", "--json").stdout) == []


def test_urls_without_the_gate_are_as_good_and_hold_as_long_as_asked(this_bucket: Store) -> None:
    f2f("add", "hall-7")
    shown = f2f("uploads", "hall-7", "--session", "monday", "--count", "3", "--days", "7", "--json")
    made = json.loads(shown.stdout)
    assert len(made["uploads"]) == 3
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)
    for number, upload in enumerate(made["uploads"]):
        assert upload["headers"] == SENT
        assert "X-Amz-Expires=604800" in upload["url"]
        assert send(upload["url"], raw(number), upload["headers"]) == 200
        assert send(upload["url"], raw(9), upload["headers"]) == 412
        assert upload["key"].split("/")[2:4] == ["hall-7", "monday"]
        assert this_bucket.get(upload["key"]) == raw(number)
    urls = f2f("uploads", "hall-7", "--session", "monday", "--count", "2").stdout.splitlines()
    assert [send(url, raw(9)) for url in urls] == [200, 200]


def test_urls_are_only_for_devices_that_are_there_and_within_bounds(this_bucket: Store) -> None:
    for arguments in (("hall-7", "s", "1"), ("../x", "s", "1"), ("hall-7", "a/b", "1")):
        name, session, count = arguments
        assert isinstance(f2f("uploads", name, "--session", session, "--count", count).exception, PipelineError)
    f2f("add", "hall-7")
    for option in (("--count", "0"), ("--count", "1001"), ("--count", "1", "--days", "8")):
        assert f2f("uploads", "hall-7", "--session", "s", *option).exit_code == 2
