"""`f2f verify`, `lineage` and `releases` against a real S3 server: output, exit codes, JSON.

What is verified is in tests/tasks/test_verify.py; promote and rollback are in tests/flows/test_release_flows.py.
"""

import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deployments.cli import cli
from tasks.ingest import ingest
from tasks.parameters import SplitParameters
from tasks.record import digest_of
from tasks.store import Store
from tests.tasks.landing import put, raw
from tests.tasks.published import published


@pytest.fixture
def two(this_bucket: Store) -> Store:
    published(this_bucket, "one", rows=40)
    published(this_bucket, "two", rows=60)
    return this_bucket


def f2f(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_verify_says_yes_or_names_every_object_that_is_not_as_published(two: Store) -> None:
    good = f2f("verify", "--json")
    assert good.exit_code == 0, good.output
    assert json.loads(good.stdout)["findings"] == []
    assert "channel stable, revision 2: release 2 is what was published" in good.stderr
    assert f2f("verify", "1").exit_code == 0
    artefacts = json.loads(two.get("releases/2.json"))["artefacts"]
    broken = [artefacts[name]["key"] for name in ("model_int8.tflite", "firmware/mps2-an386/firmware.bin")]
    two.put(broken[0], b"another model")
    two.delete(broken[1])
    bad = f2f("verify")
    assert bad.exit_code == 3
    assert f"REFUSED bytes: {broken[0]}" in bad.stderr
    assert f"REFUSED missing: {broken[1]}" in bad.stderr
    assert "do not flash it" in bad.stderr


def test_verify_without_anything_published_or_without_keys_is_an_error(this_bucket: Store) -> None:
    refused = f2f("verify")
    assert refused.exit_code == 1
    assert "no public keys" in str(refused.exception)


def test_lineage_lists_the_frames_of_a_release(two: Store) -> None:
    rows = list(csv.DictReader(f2f("lineage", "2").stdout.splitlines()))
    assert {row["pixels_sha256"] for row in rows} == {digest_of(("pixels", i)) for i in range(60)}
    assert set(rows[0]) == {"pixels_sha256", "key", "label", "split"}
    lines = [json.loads(line) for line in f2f("lineage", "1", "--json").stdout.splitlines()]
    assert len(lines) == 40
    assert set(lines[0]) == set(rows[0])


def test_a_reader_that_stops_early_is_no_error(two: Store) -> None:
    program = Path(sys.executable).with_name("f2f")
    shell = f"set -o pipefail; {program} lineage 2 | head -n 1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('"pixels_sha256"')
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_list_that_does_not_fit_on_the_disk_is_an_error(two: Store, form: tuple[str, ...]) -> None:
    program = Path(sys.executable).with_name("f2f")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([program, "lineage", "2", *form], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_lineage_of_a_frame_names_its_releases(two: Store) -> None:
    old, new = digest_of(("pixels", 3)), digest_of(("pixels", 50))
    assert [row["release"] for row in json.loads(f2f("lineage", "--frame", old, "--json").stdout)["releases"]] == [1, 2]
    by_object = hashlib.sha256(f"object of {new}".encode()).hexdigest()
    assert f2f("lineage", "--frame", by_object.upper()).stdout.startswith("release 2 ")
    unknown = f2f("lineage", "--frame", digest_of("nothing"))
    assert unknown.exit_code == 1
    assert "no frame" in str(unknown.exception)
    for wrong in ((), ("2", "--frame", old), ("--frame", "abc")):
        assert f2f("lineage", *wrong).exit_code != 0


def test_a_frame_that_is_in_no_release_yet_is_known(two: Store) -> None:
    put(two, 7)
    assert ingest(two, SplitParameters()).indexed == 1
    found = f2f("lineage", "--frame", hashlib.sha256(raw(7)).hexdigest())
    assert found.exit_code == 3
    assert "known, and in no release" in found.stderr


def test_an_empty_bucket_has_no_releases_and_says_what_to_do(this_bucket: Store) -> None:
    assert "f2f promote --publish" in f2f("releases").output
    assert json.loads(f2f("releases", "--json").stdout) == {"releases": [], "channels": []}
