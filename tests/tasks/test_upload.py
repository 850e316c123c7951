"""Labelled files become objects: which, where, with what metadata, once; against a real S3 server. No ingest."""

import hashlib
import io
import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from tasks.camera_sessions import safe_name
from tasks.frames import decode
from tasks.image_manifest import from_manifest
from tasks.labelled_folder import LabelledFile, labelled_folder
from tasks.settings import Settings
from tasks.store import AccessRefused, Store, StoreUnreachable
from tasks.upload import GIVE_UP_AFTER, UploadSummary, upload
from tests.conftest import free_port
from tests.tasks.pictures import encoded, pixels_of, png_claiming, scene, taken


def put(folder: Path, name: str, data: bytes) -> bytes:
    """Writes a file and gives its bytes back."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return data


def jpeg(seed: int, width: int = 160, height: int = 120) -> bytes:
    """A gray JPEG."""
    return encoded(scene(seed, width, height), "JPEG", quality=90)


def imported(store: Store, folder: Path) -> UploadSummary:
    """What `f2f import` does before it calls the ingest."""
    return upload(store, labelled_folder(folder, "cam-1").files)


def keys(store: Store, prefix: str = "frames/") -> list[str]:
    """All keys."""
    return [info.key for info in store.list(prefix)]


def object_of(store: Store, data: bytes) -> str:
    """The key of the object made of a file with these bytes."""
    digits = hashlib.sha256(data).hexdigest()[:32]
    (key,) = [key for key in keys(store) if key.split("/")[-1].startswith(digits + ".")]
    return key


def test_key_body_and_metadata_are_as_agreed_with_the_ingest(store: Store, tmp_path: Path) -> None:
    data = put(tmp_path, "train/person/kitchen/a.jpg", jpeg(1))
    summary = imported(store, tmp_path)
    (key,) = keys(store)
    today = datetime.now(UTC).date().isoformat()
    digest = hashlib.sha256(data).hexdigest()
    assert key == f"frames/{today}/cam-1/cam-1.train.kitchen/{digest[:32]}.jpg"
    stored = store.get_object(key)
    assert stored.data == data
    assert stored.metadata == {
        "label": "person",
        "label-source": "folder",
        "split": "train",
        "source-sha256": digest,
        "source-name": "train/person/kitchen/a.jpg",
    }
    assert (summary.uploaded, summary.labels, summary.splits) == (1, {"person": 1}, {"train": 1})
    assert [(one.method, one.frames, one.sessions) for one in summary.sessions] == [("folder", 1, 1)]


def test_a_frame_of_frame_size_is_stored_as_it_is_and_others_as_png(store: Store, tmp_path: Path) -> None:
    originals = {
        "jpg": put(tmp_path, "person/s/a.jpg", jpeg(1)),
        "png": put(tmp_path, "person/s/b.png", encoded(scene(2), "PNG")),
        "pgm": put(tmp_path, "person/s/c.pgm", encoded(scene(3), "PPM")),
        "raw": put(tmp_path, "person/s/d.raw", pixels_of(scene(4)).tobytes()),
    }
    made = {
        "large": put(tmp_path, "person/s/e.jpg", jpeg(5, 640, 480)),
        "colour": put(tmp_path, "person/s/f.jpg", encoded(scene(6).convert("RGB"), "JPEG")),
        "padded": put(tmp_path, "person/s/g.jpg", jpeg(7) + bytes(300_000)),
    }
    imported(store, tmp_path)
    for suffix, data in originals.items():
        key = object_of(store, data)
        assert key.endswith("." + suffix)
        assert store.get(key) == data
    for data in made.values():
        key = object_of(store, data)
        assert key.endswith(".png")
        body = store.get(key)
        with Image.open(io.BytesIO(body)) as picture:
            assert (picture.size, picture.mode) == ((160, 120), "L")
        assert decode(body, key).pixels_sha256 == decode(data).pixels_sha256


def test_a_second_run_uploads_nothing(store: Store, tmp_path: Path) -> None:
    for number in range(12):
        put(tmp_path, f"{'person' if number % 2 else 'no_person'}/{number}.jpg", jpeg(number))
    put(tmp_path, "person/bad.jpg", b"no picture")
    first, before = imported(store, tmp_path), keys(store, "")
    second = imported(store, tmp_path)
    assert (first.uploaded, first.already_there) == (12, 0)
    assert (second.uploaded, second.already_there, second.refused) == (0, 12, {"not_an_image": 1})
    assert second.labels == first.labels == {"person": 6, "no_person": 6}
    assert keys(store, "") == before


def test_what_arrived_on_another_day_is_known(store: Store, tmp_path: Path) -> None:
    data = put(tmp_path, "person/a.jpg", jpeg(1))
    store.create(f"frames/2020-02-02/old-cam/s/{hashlib.sha256(data).hexdigest()[:32]}.jpg", data)
    assert imported(store, tmp_path).already_there == 1
    assert len(keys(store)) == 1


def test_capture_time_is_stored_and_makes_the_session(store: Store, tmp_path: Path) -> None:
    for minute in (0, 4, 30):
        when = f"2026:01:31 14:{minute:02d}:00"
        put(tmp_path, f"person/{minute}.jpg", encoded(scene(minute), "JPEG", exif=taken(when, offset="+01:00")))
    put(tmp_path, "no_person/IMG_20260131_133200.jpg", jpeg(77))
    summary = imported(store, tmp_path)
    sessions = {key.split("/")[3]: store.get_object(key).metadata["captured-at"] for key in keys(store)}
    assert set(sessions) == {"cam-1.20260131T130000Z", "cam-1.20260131T133000Z"}
    assert sessions["cam-1.20260131T133000Z"] in ("2026-01-31T13:30:00+00:00", "2026-01-31T13:32:00+00:00")
    assert [(one.method, one.frames, one.sessions) for one in summary.sessions] == [("time", 4, 2)]


def test_a_folder_may_grow_and_new_look_alikes_join_their_session(store: Store, tmp_path: Path) -> None:
    put(tmp_path, "person/a.png", encoded(scene(1), "PNG"))
    put(tmp_path, "person/b.png", encoded(scene(2), "PNG"))
    imported(store, tmp_path)
    before = {key.split("/")[3] for key in keys(store)}
    grown = put(tmp_path, "no_person/c.jpg", jpeg(1))
    summary = imported(store, tmp_path)
    assert summary.uploaded == 1
    assert {key.split("/")[3] for key in keys(store)} == before
    assert object_of(store, grown).split("/")[3] == object_of(store, encoded(scene(1), "PNG")).split("/")[3]


def test_the_same_folder_gives_the_same_keys_in_another_bucket(store: Store, where: Settings, tmp_path: Path) -> None:
    for number in range(6):
        put(tmp_path / "in", f"person/{number}.jpg", jpeg(number % 4, 160 + number, 120))
    other = Store(where.model_copy(update={"bucket": where.bucket + "-2"}))
    other.create_bucket()
    for bucket in (store, other):
        upload(bucket, labelled_folder(tmp_path / "in", "cam-1").files)
    assert keys(store) == keys(other)


def test_a_refused_file_is_recorded_once_and_stops_no_other(store: Store, tmp_path: Path) -> None:
    bomb = put(tmp_path, "person/s/bomb.png", png_claiming(30_000, 30_000))
    empty = put(tmp_path, "person/s/empty.jpg", b"")
    (tmp_path / "person/s/broken").symlink_to(tmp_path / "nowhere")
    put(tmp_path, "person/s/good.jpg", jpeg(1))
    summary = imported(store, tmp_path)
    assert summary.uploaded == 1
    assert summary.refused == {"empty_file": 1, "too_many_pixels": 1, "unreadable": 1}
    records = {key: json.loads(store.get(key)) for key in keys(store, "quarantine/")}
    assert set(records) == {f"quarantine/{hashlib.sha256(data).hexdigest()}.json" for data in (bomb, empty)}
    said = records[f"quarantine/{hashlib.sha256(bomb).hexdigest()}.json"]
    assert (said["file"], said["device"], said["reason"]) == ("person/s/bomb.png", "cam-1", "too_many_pixels")
    assert "900 megapixels" in said["message"]
    assert datetime.fromisoformat(said["at"]).tzinfo is not None
    imported(store, tmp_path)
    assert {key: json.loads(store.get(key)) for key in keys(store, "quarantine/")} == records


def test_an_image_under_both_labels_is_left_out_and_said(store: Store, tmp_path: Path) -> None:
    for label in ("person", "no_person"):
        put(tmp_path, f"{label}/s/same.jpg", jpeg(1))
    put(tmp_path, "person/s/other.jpg", jpeg(2))
    summary = imported(store, tmp_path)
    assert (summary.uploaded, summary.refused) == (1, {"both_labels": 2})
    assert any("under both labels" in note for note in summary.notes)
    assert keys(store, "quarantine/") == []


def test_a_copy_is_stored_once_and_in_the_test_split(store: Store, tmp_path: Path) -> None:
    data = b""
    for split in ("train", "val", "test"):
        data = put(tmp_path, f"{split}/person/s/same.jpg", jpeg(1))
    summary = imported(store, tmp_path)
    assert (summary.files, summary.uploaded, summary.copies) == (3, 1, 2)
    assert store.get_object(object_of(store, data)).metadata["split"] == "test"
    assert any("more than one split" in note for note in summary.notes)


def test_look_alikes_across_imported_splits_are_said(store: Store, tmp_path: Path) -> None:
    put(tmp_path, "train/person/a.jpg", jpeg(1))
    put(tmp_path, "test/person/b.png", encoded(scene(1), "PNG"))
    put(tmp_path, "test/person/c.png", encoded(scene(2), "PNG"))
    summary = imported(store, tmp_path)
    assert any(note.startswith("1 group of look-alike images") for note in summary.notes)
    assert len({key.split("/")[3] for key in keys(store)}) == 3


def test_names_that_a_key_cannot_carry_are_mapped(store: Store, tmp_path: Path) -> None:
    put(tmp_path, "ü ß.jpg", jpeg(1))
    (tmp_path / "m.csv").write_text("file,label,device,session\nü ß.jpg,person,Flur 1,Sitzung/3\n", "utf-8")
    summary = upload(store, from_manifest(tmp_path, tmp_path / "m.csv", None).files)
    (key,) = keys(store)
    assert key.split("/")[2:4] == [safe_name("Flur 1"), safe_name("Sitzung/3")]
    assert store.get_object(key).metadata["source-name"] == "%C3%BC%20%C3%9F.jpg"
    assert any("'Flur 1' is stored as" in note for note in summary.notes)


def test_a_frame_without_a_label_carries_none(store: Store, tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", jpeg(1))
    upload(store, [LabelledFile(tmp_path / "a.jpg", "a.jpg", "cam", None, "manifest", session="s")])
    (key,) = keys(store)
    assert set(store.get_object(key).metadata) == {"source-sha256", "source-name"}


def test_an_interrupt_leaves_whole_objects_and_the_next_run_goes_on(store: Store, tmp_path: Path) -> None:
    for number in range(150):
        put(tmp_path, f"person/s/{number}.jpg", jpeg(number))
    files = labelled_folder(tmp_path, "cam-1").files

    def stop(done: int, total: int, unit: str) -> None:
        if unit == "frames uploaded" and done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upload(store, files, stop)
    there = keys(store)
    assert 20 <= len(there) < 150
    for key in there:
        decode(store.get(key), key)
    assert threading.active_count() == 1 or not [t for t in threading.enumerate() if "f2f-import" in t.name]
    summary = upload(store, files)
    assert (summary.uploaded, summary.already_there) == (150 - len(there), len(there))


class _Failing(Store):
    """The real store, whose link breaks for the objects of one session. Everything else reaches the server."""

    session = ""
    attempts = 0

    def create(self, key: str, data: bytes, **options: object) -> bool:  # type: ignore[override]
        if self.session and f"/{self.session}/" in key:
            self.attempts += 1
            raise StoreUnreachable("the line is cut")
        return super().create(key, data, **options)  # type: ignore[arg-type]


def test_what_cannot_be_stored_is_tried_again_then_listed_and_the_rest_is_stored(store: Store, tmp_path: Path) -> None:
    put(tmp_path, "person/lost/a.jpg", jpeg(1))
    for number in range(2, 8):
        put(tmp_path, f"person/kept/{number}.jpg", jpeg(number))
    failing = _Failing(store.where)
    failing.session = "cam-1.lost"
    summary = imported(failing, tmp_path)
    assert failing.attempts == 3
    assert summary.uploaded == 6
    assert [(one.file, one.error) for one in summary.failed] == [("person/lost/a.jpg", "the line is cut")]
    assert imported(store, tmp_path).uploaded == 1


def test_a_store_that_is_gone_is_not_tried_for_every_frame(store: Store, tmp_path: Path) -> None:
    for number in range(80):
        put(tmp_path, f"person/s/{number}.jpg", jpeg(number))
    failing = _Failing(store.where)
    failing.session = "cam-1.s"
    started = time.monotonic()
    summary = imported(failing, tmp_path)
    assert len(summary.failed) == 80
    assert failing.attempts < 3 * (GIVE_UP_AFTER + 16)
    assert time.monotonic() - started < 60


def test_wrong_credentials_end_the_upload_at_once(store: Store, where: Settings, tmp_path: Path) -> None:
    put(tmp_path, "in/person/s/a.jpg", jpeg(1))
    wrong = tmp_path / "wrong"
    wrong.write_text("[test]\naws_access_key_id = nobody\naws_secret_access_key = nothing-at-all\n")
    with pytest.raises(AccessRefused):
        imported(Store(where.model_copy(update={"credentials_file": wrong})), tmp_path / "in")


def test_no_server_is_said_before_anything_is_decoded(where: Settings, tmp_path: Path) -> None:
    put(tmp_path, "person/s/a.jpg", jpeg(1))
    nobody = Store(where.model_copy(update={"endpoint_url": f"http://127.0.0.1:{free_port()}"}))
    with pytest.raises(StoreUnreachable):
        imported(nobody, tmp_path)


def test_the_counts_add_up_on_real_frames_and_fixtures(store: Store, shared: Path, tmp_path: Path) -> None:
    for path in sorted((shared / "fixtures/frames").iterdir()):
        put(tmp_path, f"person/{path.name}", path.read_bytes())
    for path in sorted((shared / "data/landing-1/no_person").rglob("*.jpg"))[::40]:
        put(tmp_path, f"no_person/{path.parent.name}/{path.name}", path.read_bytes())
    summary = imported(store, tmp_path)
    assert len(summary.refused_files) == 10
    assert len(summary.refused) == 10
    assert summary.files == summary.uploaded + 10 + summary.copies
    assert len(keys(store)) == summary.uploaded
    assert len(keys(store, "quarantine/")) == 10
