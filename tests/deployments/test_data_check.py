"""`f2f data check` as people and scripts call it: on folders with planted faults, and on a stored data set.

Does not touch the single checks' limits (tests/tasks/test_frame_quality.py, test_near_duplicates.py, ...).
"""

import json
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from deployments.cli import cli
from tasks.dataset import build_dataset
from tasks.errors import PipelineError
from tasks.ingest import ingest
from tasks.labelled_folder import labelled_folder
from tasks.parameters import DatasetParameters, SplitParameters
from tasks.store import Store
from tasks.upload import upload
from tests.tasks.checkable import scenes

FRAMES = scenes(48)


def save(path: Path, pixels: NDArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """train/ and test/ with sound frames, each picture once."""
    for number, pixels in enumerate(FRAMES):
        split = "test" if number >= 32 else "train"
        save(tmp_path / "data" / split / ("no_person", "person")[number % 2] / f"s{number}" / "a.png", pixels)
    return tmp_path / "data"


def check(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["data", "check", *arguments])


def findings(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_sound_folder_has_no_finding(folder: Path) -> None:
    result = check(str(folder), "--json")
    assert (result.exit_code, findings(result)) == (0, [])
    told = check(str(folder))
    assert "nothing blocks" in told.stderr
    assert "✓ class_balance" in told.stdout


def test_a_copy_in_another_split_blocks_and_both_files_are_named(folder: Path, tmp_path: Path) -> None:
    save(folder / "test" / "no_person" / "copy.png", FRAMES[4])
    (folder / "test" / "person" / "broken.png").write_bytes(b"")
    page = tmp_path / "checks.html"
    result = check(str(folder), "--json", "--report", str(page))
    assert result.exit_code == 3
    found = {(one["check"], one["severity"]): {one["file"], one["other"]} for one in findings(result)}
    assert found["near_duplicates_across_splits", "blocking"] == {"test/no_person/copy.png", "train/no_person/s4/a.png"}
    assert found["decodability", "warning"] == {"test/person/broken.png", ""}
    html = page.read_text()
    assert html.count("data:image/jpeg") == 2
    assert "1 check blocks" in html
    assert "test/no_person/copy.png" in html


def test_frames_that_became_darker_have_drifted_from_the_reference(folder: Path, tmp_path: Path) -> None:
    for number, pixels in enumerate(scenes(48, seed=3)):
        darker = (pixels * 0.5).astype("uint8") if number % 4 < 2 else pixels
        save(tmp_path / "new" / ("no_person", "person")[number % 2] / f"n{number}" / "a.png", pixels)
        save(tmp_path / "dark" / ("no_person", "person")[number % 2] / f"n{number}" / "a.png", darker)
    drifted = {}
    for name in ("new", "dark"):
        result = check(str(tmp_path / name), "--reference", str(folder), "--json")
        assert result.exit_code == 0, result.output
        drifted[name] = [one for one in findings(result) if one["check"] == "drift"]
    assert drifted["new"] == []
    assert [(one["severity"], one["file"].startswith("camera")) for one in drifted["dark"]] == [("warning", True)]


def test_a_limit_that_is_given_holds(folder: Path) -> None:
    for number in range(1, 12, 2):
        (folder / "train" / "person" / f"s{number}" / "a.png").unlink()
    assert check(str(folder)).exit_code == 3
    assert check(str(folder), "max_class_share=0.7").exit_code == 0


def test_a_stored_data_set_is_checked_by_its_first_digits_and_repeats_of_the_index_count(
    this_bucket: Store, tmp_path: Path
) -> None:
    for number, pixels in enumerate(FRAMES):
        save(tmp_path / ("no_person", "person")[number % 2] / f"s{number}" / "a.png", pixels)
    for number in range(3):
        save(tmp_path / "person" / "s1" / f"again{number}.jpg", FRAMES[1])
        path = tmp_path / "person" / "s1" / f"again{number}.png"
        save(path, FRAMES[1])
        path.write_bytes(path.read_bytes() + bytes(number + 1))  # other files, the same pixels
    upload(this_bucket, labelled_folder(tmp_path, "hall").files)
    ingest(this_bucket, SplitParameters())
    version = build_dataset(this_bucket, DatasetParameters())
    for name in ("latest", version.digest[:10]):
        result = check(name, "--json")
        stuck = [one for one in findings(result) if one["check"] == "stuck_sensor"]
        assert [one["note"] for one in stuck] == ["hall sent these pixels 4 times"]


@pytest.mark.parametrize("name", ["no-such-folder", "abcdef", "latest"])
def test_what_is_neither_folder_nor_data_set_is_refused(this_bucket: Store, name: str) -> None:
    result = check(name)
    assert isinstance(result.exception, PipelineError)
    assert "is no folder, and no data set" in str(result.exception)


def test_a_folder_without_frames_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "person").mkdir()
    (tmp_path / "person" / "a.jpg").write_text("text")
    result = check(str(tmp_path))
    assert isinstance(result.exception, PipelineError)
    assert "holds no frame" in str(result.exception)
