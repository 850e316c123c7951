"""`f2f check-frames` as a user calls it. Needs no bucket; which file is refused why is tests/tasks/test_frames.py's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deployments.commands.check_frames import command
from tests.tasks.pictures import encoded, scene


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good files, one bad one, and what is to be passed over."""
    for name, data in {
        "b/good.jpg": encoded(scene(), "JPEG"),
        "a.png": encoded(scene(), "PNG"),
        "b/bad.jpg": b"no picture",
        ".DS_Store": b"x",
        "Thumbs.db": b"x",
        "b/.hidden.jpg": b"x",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


def run(*arguments: str | Path) -> Result:
    """The command, as `f2f check-frames ARGUMENTS`."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def lines(result: Result) -> dict[str, dict[str, object]]:
    """The JSON objects by file."""
    found = [json.loads(line) for line in result.stdout.splitlines()]
    return {one["file"]: one for one in found}


def test_json_has_one_object_a_file_with_file_ok_and_reason(folder: Path) -> None:
    result = run(folder, "--json")
    found = lines(result)
    assert list(found) == ["a.png", "b/bad.jpg", "b/good.jpg"]
    assert found["a.png"] == {"file": "a.png", "ok": True, "reason": None}
    assert found["b/bad.jpg"]["ok"] is False
    assert str(found["b/bad.jpg"]["reason"]).startswith("not_an_image: ")
    assert result.exit_code == 1


def test_people_read_the_refused_ones_and_a_summary(folder: Path) -> None:
    result = run(folder)
    assert "not_an_image  b/bad.jpg: " in result.stdout
    assert "2 of 3 files accepted, 1 refused" in result.stdout
    assert "good" not in result.stdout


def test_nothing_refused_is_exit_code_0(folder: Path) -> None:
    (folder / "b/bad.jpg").unlink()
    assert run(folder).exit_code == 0
    assert run(folder / "a.png", "--json").exit_code == 0


@pytest.mark.parametrize("what", ["missing", "empty", "hidden"])
def test_no_file_to_check_is_exit_code_2(tmp_path: Path, what: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/.DS_Store").write_bytes(b"x")
    result = run(tmp_path / what)
    assert result.exit_code == 2
    assert what in result.stderr
    assert result.stdout == ""


def test_strange_entries_are_answered_and_end(folder: Path) -> None:
    (folder / "loop").symlink_to(folder)
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.jpg")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")).write_bytes(encoded(scene(), "JPEG"))
    result = run(folder, "--json")
    found = lines(result)
    assert set(found) == {"a.png", "b/bad.jpg", "b/good.jpg", "gone.jpg", "pipe.jpg", "caf\\xe9.jpg"}
    assert str(found["gone.jpg"]["reason"]).startswith("unreadable: ")
    assert str(found["pipe.jpg"]["reason"]).startswith("unreadable: ")
    assert found["caf\\xe9.jpg"]["ok"] is True


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_answered(folder: Path) -> None:
    (folder / "a.png").chmod(0)
    (folder / "b").chmod(0)
    found = lines(run(folder, "--json"))
    (folder / "b").chmod(0o755)
    assert str(found["a.png"]["reason"]).startswith("unreadable: ")
    assert str(found["b"]["reason"]).startswith("unreadable: ")


def test_the_command_needs_neither_tensorflow_nor_boto3(folder: Path) -> None:
    code = (
        "import sys\nfrom deployments.cli import cli\n"
        f"try: cli(['check-frames', {str(folder)!r}], standalone_mode=False)\n"
        "except SystemExit as end: assert end.code == 1\n"
        "heavy = {'boto3', 'tensorflow', 'pandas', 'prefect', 'great_expectations', 'cv2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_every_fixture_gets_its_answer(shared: Path) -> None:
    found = lines(run(shared / "fixtures/frames", "--json"))
    assert {name: one["ok"] for name, one in found.items()} == {name: name.startswith("ok_") for name in found}
    assert len({one["reason"] for one in found.values()}) == 11
