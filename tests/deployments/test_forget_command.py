"""`f2f forget` against a real S3 server: what it asks and prints, JSON, exit codes, and what other commands then do.

What is forgotten and erased, and that nothing is left of it, is in tests/tasks/test_forget.py.
"""

import json
import os
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from deployments.cli import cli
from deployments.report_server import make_server
from tasks import frame_index
from tasks.errors import PipelineError
from tasks.settings import PROJECT
from tasks.signing import KeyMissing, signing_key_file
from tasks.store import Store
from tests.tasks.erasable import copies, landed, released, sha
from tests.tasks.landing import pixels

SHOWN = 33
PROGRAM = Path(sys.executable).with_name("f2f")


@pytest.fixture
def frames(this_bucket: Store) -> Store:
    """48 frames in the index."""
    landed(this_bucket)
    return this_bucket


def f2f(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def left(store: Store) -> int:
    return frame_index.load(store).frames.num_rows


def test_a_dry_run_shows_what_it_is_about_and_changes_nothing(frames: Store) -> None:
    before = {(item.key, item.etag) for item in frames.list("")}
    done = f2f("forget", "--device", "hall", "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    assert "device hall: 24 frames, 24 objects" in done.stderr
    assert "session: s10 4, s11 4, s2 4, s3 4, s6 4, s7 4" in done.stderr
    assert "split: test 8, train 8, val 8" in done.stderr
    assert "in no release" in done.stderr
    answer = json.loads(done.stdout)
    assert (answer["by"], answer["name"], answer["frames"], answer["done"]) == ("device", "hall", 24, False)
    assert {(item.key, item.etag) for item in frames.list("")} == before


def test_without_a_terminal_it_needs_a_yes(frames: Store) -> None:
    refused = f2f("forget", "--session", "s3")
    assert refused.exit_code == 1
    assert isinstance(refused.exception, PipelineError)
    assert "give --yes" in str(refused.exception)
    assert left(frames) == 48
    assert f2f("forget", "--session", "s3", "--yes").exit_code == 0
    assert left(frames) == 44
    again = f2f("forget", "--session", "s3", "--yes")
    assert again.exit_code == 0
    assert "4 frames (4 of them forgotten before)" in again.stderr


@pytest.mark.parametrize(("answer", "code", "frames_left"), [("n", 3, 48), ("y", 0, 47)])
def test_at_a_terminal_it_asks(frames: Store, answer: str, code: int, frames_left: int) -> None:
    own, theirs = os.openpty()
    try:
        with subprocess.Popen(
            [PROGRAM, "forget", "--frame", sha(SHOWN)], cwd=PROJECT, stdin=theirs, stderr=subprocess.PIPE, text=True
        ) as process:
            os.write(own, f"{answer}\n".encode())
            _, said = process.communicate(timeout=60)
    finally:
        os.close(own)
        os.close(theirs)
    assert process.returncode == code, said
    assert f"frame {sha(SHOWN)[:16]}: 1 frame, 1 object" in said
    assert "Forget. Go on?" in said
    assert left(frames) == frames_left


@pytest.mark.parametrize(
    "arguments", [(), ("--device", "cam", "--session", "s1")], ids=["nothing to forget", "two things"]
)
def test_exactly_one_selection_is_taken(this_bucket: Store, arguments: tuple[str, ...]) -> None:
    refused = f2f("forget", *arguments)
    assert refused.exit_code == 2
    assert "give one of --frame SHA, --device NAME, --session ID" in refused.output


def test_an_unknown_frame_and_a_missing_key_are_errors_before_anything_is_done(frames: Store) -> None:
    unknown = f2f("forget", "--frame", sha(999), "--yes")
    assert unknown.exit_code == 1
    assert "knows no frame" in str(unknown.exception)
    keyless = f2f("forget", "--frame", sha(SHOWN), "--erase", "--yes")
    assert isinstance(keyless.exception, KeyMissing)
    assert left(frames) == 48


def test_erasing_tells_what_it_did_and_all_other_commands_go_on(frames: Store, tmp_path: Path) -> None:
    candidate = released(frames)
    done = f2f("forget", "--frame", sha(SHOWN).upper(), "--erase", "--reason", "asked for", "--yes", "--json")
    assert done.exit_code == 0, done.output
    assert "in release 1, now in channel stable" in done.stderr
    assert (
        "erased: 1 object; packed anew: 1 shard; taken out of 2 report pages and 1 file of golden frames"
    ) in done.stderr
    answer = json.loads(done.stdout)
    assert answer["releases"] == [{"release": 1, "channels": ["stable"]}]
    assert answer["erased"]["records"] == [item.key for item in frames.list("erasures/")]
    assert copies(frames, SHOWN) == []

    verified = f2f("verify", "--json")
    assert verified.exit_code == 0, verified.output
    assert "ERASED report.html (blobs/" in verified.stderr
    assert "ERASED firmware/mps2-an386/golden-frames.npy (firmware/" in verified.stderr
    assert "lineage and revision hold, but for what was erased" in verified.stderr
    assert len(json.loads(verified.stdout)["erased"]) == 2

    assert f2f("lineage", "--frame", sha(SHOWN)).exit_code == 0  # which releases it is in is still known
    assert f2f("lineage", "1").stdout.count("\n") == 49

    exported = f2f("export", str(tmp_path / "out"))
    assert exported.exit_code == 0, exported.output
    assert "Picture erased" in (tmp_path / "out" / "report.html").read_text()

    with make_server(frames, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            page = urllib.request.urlopen(f"{at}/{candidate.html}").read().decode()
            key = candidate.records["firmware-mps2-an386"].replace("image.json", "golden-frames.npy")
            golden = urllib.request.urlopen(f"{at}/{key}").read()
        finally:
            server.shutdown()
    assert page.count("Picture erased") == 2
    assert pixels(SHOWN).tobytes() not in golden
    assert np.load(_file(tmp_path, golden)).shape == (4, 120, 160)


def test_the_help_says_what_stays_and_does_not_load_the_libraries() -> None:
    script = "import sys; from deployments.cli import cli; cli(['forget', '--help'], standalone_mode=False); "
    script += "sys.exit(any(name in sys.modules for name in ('boto3', 'pyarrow', 'prefect', 'tensorflow')))"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for words in ("f2f device remove NAME", "Digests, keys, labels", "Exit codes", "run the same command again"):
        assert words in " ".join(done.stdout.split())


def _file(folder: Path, data: bytes) -> Path:
    path = folder / "golden.npy"
    path.write_bytes(data)
    return path


def test_a_signing_key_is_needed_for_erasing_only(frames: Store) -> None:
    assert not signing_key_file(frames.where).exists()
    assert f2f("forget", "--frame", sha(SHOWN), "--yes").exit_code == 0
    assert left(frames) == 47
