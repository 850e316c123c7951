"""`f2f import` as a user calls it, with the ingest behind it, against a real S3 server. Prefect is not touched."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deployments.commands import import_frames
from tasks import store as store_module
from tasks.errors import PipelineError
from tasks.store import BucketMissing, Store
from tests.tasks.pictures import encoded, scene


@pytest.fixture
def bucket(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The test's bucket as the one of the settings."""
    monkeypatch.setattr(store_module, "open_store", lambda: store)
    return store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four sessions of five frames and one bad file."""
    root = tmp_path / "photos"
    for number in range(20):
        label = "person" if number < 10 else "no_person"
        place = root / label / f"scene{number // 5}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.jpg").write_bytes(encoded(scene(number), "JPEG"))
    (root / "person/scene0/bad.jpg").write_bytes(b"no picture")
    return root


def run(*arguments: str | Path) -> Result:
    """The command, as `f2f import ARGUMENTS`."""
    return CliRunner().invoke(import_frames.command, [str(argument) for argument in arguments])


def test_a_folder_becomes_indexed_frames(bucket: Store, folder: Path) -> None:
    result = run(folder, "--device", "hall", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["upload"]["uploaded"] == 20
    assert said["upload"]["labels"] == {"no_person": 10, "person": 10}
    assert said["upload"]["refused"] == {"not_an_image": 1}
    assert said["upload"]["sessions"] == [{"method": "folder", "frames": 20, "sessions": 4}]
    assert said["ingest"]["indexed"] == 20
    assert len(list(bucket.list("frames/"))) == 20
    assert len(list(bucket.list("index/"))) > 0
    again = json.loads(run(folder, "--device", "hall", "--json").stdout)
    assert (again["upload"]["uploaded"], again["upload"]["already_there"]) == (0, 20)
    assert again["ingest"]["new"] == 0


def test_people_read_the_session_choice_the_counts_and_the_refusals(bucket: Store, folder: Path) -> None:
    result = run(folder, "--device", "hall", "--no-ingest")
    assert result.exit_code == 0
    for said in (
        "sessions: 4 of 20 frames, the sub-folder below the label",
        "refused person/scene0/bad.jpg: not_an_image: ",
        "20 frames uploaded",
        "label: no_person 10, person 10",
        "refused: not_an_image 1",
    ):
        assert said in result.stdout
    assert list(bucket.list("index/")) == []


def test_a_manifest_needs_no_device_and_says_its_bad_rows(bucket: Store, folder: Path) -> None:
    (folder / "m.csv").write_text(
        "file,label,device,session,batch\n"
        "person/scene0/0.jpg,person,hall,s1,x\n"
        "person/scene0/1.jpg,dog,hall,s1,x\n"
        "person/scene0/2.jpg,person,hall,s1,y\n"
    )
    result = run(folder, "--manifest", folder / "m.csv", "--only", "batch=x", "--no-ingest", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["upload"]["uploaded"] == 1
    assert [(row["line"], row["reason"]) for row in said["folder"]["refused_rows"]] == [(3, "unknown_label")]
    (info,) = bucket.list("frames/")
    assert info.key.split("/")[2:4] == ["hall", "s1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--device is missing"),
        (["--device", "my cam"], "1 to 64 of A-Z"),
        (["--device", ".."], "1 to 64 of A-Z"),
        (["--device", "hall", "--only", "a=b"], "give it with --manifest"),
    ],
)
def test_wrong_usage_is_exit_code_2(folder: Path, arguments: list[str], said: str) -> None:
    result = run(folder, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def refusal(result: Result) -> PipelineError:
    """The error that `f2f` shows in two lines with exit code 1."""
    assert isinstance(result.exception, PipelineError), result.output
    return result.exception


def test_a_typo_in_the_folder_is_named(bucket: Store, folder: Path) -> None:
    assert "fotos does not exist" in refusal(run(folder.parent / "fotos", "--device", "hall")).message


def test_a_folder_of_bad_files_is_an_error_and_leaves_their_records(bucket: Store, tmp_path: Path) -> None:
    (tmp_path / "person").mkdir()
    (tmp_path / "person/a.jpg").write_bytes(b"no picture")
    assert "none of the 1 files was accepted" in refusal(run(tmp_path, "--device", "hall")).message
    assert len(list(bucket.list("quarantine/"))) == 1


def test_a_manifest_of_bad_rows_is_an_error(bucket: Store, folder: Path) -> None:
    (folder / "m.csv").write_text("file,label\nnowhere.jpg,person\n")
    result = run(folder, "--device", "hall", "--manifest", folder / "m.csv")
    assert "none of the manifest's 1 rows" in refusal(result).message
    assert "line 2: nowhere.jpg: missing_file" in result.stderr


def test_a_missing_bucket_is_said_before_files_are_read(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Store(store.where.model_copy(update={"bucket": "not-there"}))
    monkeypatch.setattr(store_module, "open_store", lambda: elsewhere)
    result = run(folder, "--device", "hall")
    assert isinstance(result.exception, BucketMissing)
    assert "files read" not in result.stderr


def test_a_frame_that_could_not_be_stored_is_exit_code_1_after_the_rest(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Store):
        def create(self, key: str, data: bytes, **options: object) -> bool:  # type: ignore[override]
            if "hall.scene1" in key:
                raise store_module.StoreUnreachable("the line is cut")
            return super().create(key, data, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(store_module, "open_store", lambda: Failing(store.where))
    result = run(folder, "--device", "hall", "--json")
    error = refusal(result)
    assert "5 frames could not be stored" in error.message
    assert "run the same command again" in error.next_step
    said = json.loads(result.stdout)
    assert said["ingest"]["indexed"] == 15
    assert len(said["upload"]["failed"]) == 5
