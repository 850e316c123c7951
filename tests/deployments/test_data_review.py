"""`f2f data review`: export, a person's edits, and what the index and the next data set then are. Real S3 server."""

import csv
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner, Result

from deployments.cli import cli
from tasks import frame_index
from tasks.dataset import build_dataset
from tasks.errors import PipelineError
from tasks.ingest import ingest
from tasks.labelled_folder import labelled_folder
from tasks.parameters import DatasetParameters, SplitParameters
from tasks.store import Store
from tasks.upload import upload
from tests.tasks.checkable import scenes

BLURRED, WHITE, DARK = 3, 4, 5


@pytest.fixture
def stored(this_bucket: Store, tmp_path: Path) -> Store:
    """A data set of 48 frames, three of which some check names."""
    frames = scenes(48)
    frames[BLURRED] = cv2.GaussianBlur(frames[BLURRED], (0, 0), 6)
    frames[WHITE, :80] = 255
    frames[DARK, :100] = 0
    for number, pixels in enumerate(frames):
        path = tmp_path / "data" / ("no_person", "person")[number % 2] / f"s{number}" / f"{number:02}.png"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), pixels)
    upload(this_bucket, labelled_folder(tmp_path / "data", "hall").files)
    ingest(this_bucket, SplitParameters())
    build_dataset(this_bucket, DatasetParameters())
    return this_bucket


def f2f(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["data", "review", *arguments])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def edit(path: Path, actions: dict[str, str]) -> None:
    """Fills `action` by the frame's key."""
    rows = rows_of(path)
    for row in rows:
        row["action"] = actions[row["file"]]
    with path.open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def labels(store: Store) -> dict[str, str]:
    frames = frame_index.load(store).frames
    return dict(zip(frames["key"].to_pylist(), frames["label"].to_pylist(), strict=True))


def test_decisions_of_an_edited_list_reach_the_index_once(stored: Store, tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    assert f2f("export", "latest", str(path)).exit_code == 0
    rows = rows_of(path)
    key_of = {(row["check"], row["label"]): row["file"] for row in rows}
    assert len(rows) == 3
    blurred, white, dark = (
        key_of["blur", "person"],
        key_of["exposure", "no_person"],
        key_of["exposure", "person"],
    )
    edit(path, {blurred: "no_person", white: "drop", dark: "keep"})
    tried = f2f("apply", str(path), "--dry-run")
    assert "would set 1 labels, 1 frames to forget, 1 rows left" in tried.stderr
    assert labels(stored)[blurred] == "person"
    for relabelled in (1, 0):
        done = f2f("apply", str(path), "--json")
        assert done.exit_code == 0, done.output
        assert f'"relabelled": {relabelled}' in done.stdout
        after = labels(stored)
        assert after[blurred] == "no_person"
        assert white not in after
        assert after[dark] == "person"
    counts = build_dataset(stored, DatasetParameters(balance="weights")).counts
    assert sum(sum(split.values()) for split in counts.values()) == 47


def test_an_edited_list_is_not_overwritten(stored: Store, tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_text("mine")
    assert f2f("export", "latest", str(path)).exit_code == 2
    assert path.read_text() == "mine"
    assert f2f("export", "latest", str(path), "--force").exit_code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,action\nx,maybe\n", "line 2: action 'maybe'"),
        ("file,action\n,drop\n", "line 2: no file"),
        ("file,action\nx,person\nx,drop\n", r"x is to be person \(line 2\) and drop \(line 3\)"),
        ("file,action\nframes/no/such.png,drop\n", "no such frame in the index"),
        ("file;action\nx;drop\n", "no column action and file"),
        ("", "no column action and file"),
    ],
)
def test_a_list_that_is_not_understood_changes_nothing(stored: Store, tmp_path: Path, text: str, message: str) -> None:
    before = labels(stored)
    path = tmp_path / "review.csv"
    path.write_text(text)
    result = f2f("apply", str(path))
    assert isinstance(result.exception, PipelineError)
    with pytest.raises(PipelineError, match=message):
        raise result.exception
    assert labels(stored) == before
