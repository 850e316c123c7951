"""Which labelled images a folder or a manifest names. No image is opened, the bucket is not touched."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.image_manifest import ManifestRefused, from_manifest, only_options
from tasks.labelled_folder import FolderRefused, LabelledFolder, labelled_folder, walk


def make(folder: Path, *names: str) -> Path:
    """Empty files; what is in them is not this module's business."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def facts(found: LabelledFolder) -> set[tuple[object, ...]]:
    """What matters of each file."""
    return {(file.name, file.label, file.split, file.folder) for file in found.files}


def test_label_folders_give_label_and_sub_folder(tmp_path: Path) -> None:
    make(tmp_path, "person/a.jpg", "person/kitchen/b.jpg", "person/kitchen/dawn/c.jpg", "no_person/kitchen/d.png")
    assert facts(labelled_folder(tmp_path, "cam")) == {
        ("person/a.jpg", "person", None, None),
        ("person/kitchen/b.jpg", "person", None, "kitchen"),
        ("person/kitchen/dawn/c.jpg", "person", None, "kitchen"),
        ("no_person/kitchen/d.png", "no_person", None, "kitchen"),
    }


def test_the_articles_layout_keeps_its_split(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        make(tmp_path, f"dataset/{split}/person/{split}1.jpg", f"dataset/{split}/no_person/{split}2.jpg")
    inside = labelled_folder(tmp_path / "dataset", "cam")
    assert {(file.name, file.split) for file in inside.files} == {
        (f"{split}/{label}/{split}{number}.jpg", split)
        for split in ("train", "val", "test")
        for label, number in (("person", 1), ("no_person", 2))
    }
    above = labelled_folder(tmp_path, "cam")
    assert facts(above) == facts(inside)
    assert above.notes == ("took the folder dataset/ inside it",)


def test_not_person_is_taken_as_no_person_and_said(tmp_path: Path) -> None:
    found = labelled_folder(make(tmp_path, "person/a.jpg", "not_person/b.jpg"), "cam")
    assert {file.label for file in found.files} == {"person", "no_person"}
    assert "not_person/ is taken as no_person" in found.notes


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    make(
        tmp_path, "person/a.jpg", "person/a.txt", "person/b.xml", "unsure/c.jpg", "person/.DS_Store", "person/Thumbs.db"
    )
    make(tmp_path, ".git/x.jpg", "person/__MACOSX/._a.jpg", "person/._a.jpg")
    found = labelled_folder(tmp_path, "cam")
    assert [file.name for file in found.files] == ["person/a.jpg"]
    notes = "\n".join(found.notes)
    for said in ("only person is there", "1 .txt file ", "1 .xml file ", "unsure/"):
        assert said in notes
    assert ".git" not in notes


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["persons/a.jpg", "other/b.jpg"], "no labelled folders"),
        (["person/.hidden"], "its labelled folders are empty"),
        (["person/a.jpg", "train/person/b.jpg"], "with or without a split"),
    ],
)
def test_a_folder_in_no_known_layout_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(FolderRefused, match=message):
        labelled_folder(make(tmp_path, *names), "cam")


def test_a_missing_folder_and_a_file_are_refused_by_name(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    with pytest.raises(FolderRefused, match="nowhere does not exist"):
        labelled_folder(tmp_path / "nowhere", "cam")
    with pytest.raises(FolderRefused, match=r"a\.jpg is a file"):
        labelled_folder(tmp_path / "a.jpg", "cam")


def test_a_folder_with_a_manifest_but_no_labels_points_at_the_manifest(tmp_path: Path) -> None:
    with pytest.raises(FolderRefused) as refusal:
        labelled_folder(make(tmp_path, "images/a.jpg", "labels.csv"), "cam")
    assert "--manifest" in refusal.value.next_step
    assert "labels.csv" in refusal.value.next_step


def test_a_loop_of_links_ends_and_linked_folders_are_read_once(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/b.jpg", "person/a.jpg", "no_person/c.jpg")
    (tmp_path / "person/again").symlink_to(tmp_path / "person")
    (tmp_path / "person/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "person/more2").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "person/circle").symlink_to(tmp_path / "person/circle")
    names = [file.name for file in labelled_folder(tmp_path, "cam").files]
    assert names == ["no_person/c.jpg", "person/a.jpg", "person/circle", "person/more/b.jpg"]


def test_names_that_are_no_utf8_are_shown_and_never_lost(tmp_path: Path) -> None:
    make(tmp_path, "person/ok.jpg")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/person/caf\xe9.jpg")).write_bytes(b"")
    names = [file.name for file in labelled_folder(tmp_path, "cam").files]
    assert names == ["person/caf\\xe9.jpg", "person/ok.jpg"]
    assert all(name.encode("utf-8") for name in names)


def test_a_walk_is_in_the_order_of_names_whatever_the_file_system(tmp_path: Path) -> None:
    make(tmp_path, "b/2.jpg", "a.jpg", "b/1.jpg", "c.jpg", "B.jpg")
    assert [path.relative_to(tmp_path).as_posix() for path in walk(tmp_path)] == [
        "B.jpg",
        "a.jpg",
        "b/1.jpg",
        "b/2.jpg",
        "c.jpg",
    ]


Write = Callable[..., LabelledFolder]


@pytest.fixture
def by_manifest(tmp_path: Path) -> Write:
    """Writes a manifest beside images a.jpg to d.jpg and reads it."""

    def write(*lines: str, device: str | None = "cam", only: dict[str, list[str]] | None = None) -> LabelledFolder:
        make(tmp_path, "images/a.jpg", "images/b.jpg", "images/sub/c.jpg", "images/d.jpg", "outside.jpg")
        manifest = tmp_path / "images/manifest.csv"
        manifest.write_text("\n".join(lines) + "\n", "utf-8")
        return from_manifest(tmp_path / "images", manifest, device, only)

    return write


def test_a_manifest_gives_everything_it_names(by_manifest: Write) -> None:
    found = by_manifest(
        "file,label,device,session,split,captured_at,weather",
        "a.jpg,person,hall,s1,train,2026-01-31T14:25:30+02:00,sunny",
        "sub/c.jpg,no_person,,,,,",
    )
    first, second = found.files
    assert (first.device, first.session, first.split, first.label_source) == ("hall", "s1", "train", "manifest")
    assert first.captured_at is not None
    assert first.captured_at.isoformat() == "2026-01-31T12:25:30+00:00"
    assert (second.device, second.session, second.split, second.captured_at) == ("cam", None, None, None)
    assert "columns not used: weather" in found.notes


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("nowhere.jpg,person,,", "missing_file"),
        ("sub,person,,", "missing_file"),
        ("b.jpg,cat,,", "unknown_label"),
        ("b.jpg,,,", "unknown_label"),
        ("b.jpg,person,dev,", "unknown_split"),
        ("b.jpg,person,,noon", "bad_time"),
        ("../outside.jpg,person,,", "path_outside"),
        ("sub/../../outside.jpg,person,,", "path_outside"),
        ("/etc/hostname,person,,", "path_outside"),
        (",person,,", "no_file_name"),
        ("a.jpg,no_person,,", "conflicting_rows"),
        ("./a.jpg,person,,", "duplicate_row"),
    ],
)
def test_a_bad_row_is_refused_by_line_and_stops_no_other(by_manifest: Write, row: str, reason: str) -> None:
    found = by_manifest("file,label,split,captured_at", "a.jpg,person,,", row, "d.jpg,no_person,,")
    assert {(refusal.row, refusal.reason) for refusal in found.refused_rows} >= {(3, reason)}
    kept = {file.name for file in found.files}
    assert "d.jpg" in kept
    assert ("a.jpg" in kept) == (reason != "conflicting_rows")


def test_a_row_without_a_device_needs_the_default(by_manifest: Write) -> None:
    found = by_manifest("file,label,device", "a.jpg,person,hall", "b.jpg,person,", device=None)
    assert [file.name for file in found.files] == ["a.jpg"]
    assert [row.reason for row in found.refused_rows] == ["no_device"]


def test_spreadsheet_csv_is_read(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.jpg")
    for mark in (";", "\t", ","):
        text = f"file{mark}label\r\na.jpg{mark}Person\r\n\r\nb.jpg{mark}no_person\r\n"
        (tmp_path / "m.csv").write_bytes(text.encode("utf-8-sig"))
        found = from_manifest(tmp_path, tmp_path / "m.csv", "cam")
        assert [(file.name, file.label) for file in found.files] == [("a.jpg", "person"), ("b.jpg", "no_person")]


def test_only_keeps_the_rows_that_were_asked_for(by_manifest: Write) -> None:
    lines = ("file,label,batch", "a.jpg,person,one", "b.jpg,person,two", "d.jpg,no_person,three")
    found = by_manifest(*lines, only={"batch": ["one", "three"]})
    assert [file.name for file in found.files] == ["a.jpg", "d.jpg"]
    with pytest.raises(ManifestRefused, match="no column 'bach'"):
        by_manifest(*lines, only={"bach": ["one"]})
    with pytest.raises(ManifestRefused, match="names no image"):
        by_manifest(*lines, only={"batch": ["four"]})


def test_only_is_column_and_value() -> None:
    assert only_options(["batch=a", "batch=b", "x=1=2"]) == {"batch": ["a", "b"], "x": ["1=2"]}
    with pytest.raises(ManifestRefused, match="COLUMN=VALUE"):
        only_options(["batch"])


def test_a_manifest_above_the_folder_may_name_files_from_its_own_place(tmp_path: Path) -> None:
    make(tmp_path, "seed/person/a.jpg", "later/person/b.jpg")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("file,label\nlater/person/b.jpg,person\nseed/person/a.jpg,person\n")
    found = from_manifest(tmp_path / "seed", manifest, "cam")
    assert [file.name for file in found.files] == ["seed/person/a.jpg"]
    assert found.refused_rows == ()
    assert any("1 rows are not in seed/" in note for note in found.notes)


def test_a_manifest_above_the_folder_may_name_files_from_the_folder(tmp_path: Path) -> None:
    make(tmp_path, "images/a.jpg")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("file,label\na.jpg,person\n")
    assert [file.name for file in from_manifest(tmp_path / "images", manifest, "cam").files] == ["a.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"name,label\na.jpg,person\n", "no column file"),
        (b"file,label,label\na.jpg,person,person\n", "two columns label"),
        (b"", "no column file and label"),
        (b"file,label\ncaf\xe9.jpg,person\n", "not UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0", "not UTF-8"),
        (b"file,label\n", "names no image"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "m.csv").write_bytes(text)
    with pytest.raises(ManifestRefused, match=message):
        from_manifest(tmp_path, tmp_path / "m.csv", "cam")


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestRefused, match=r"nope\.csv cannot be read"):
        from_manifest(tmp_path, tmp_path / "nope.csv", "cam")


def test_the_seed_batch_of_the_real_manifest_is_one_option(shared: Path) -> None:
    manifest = shared / "data/manifest.csv"
    chosen = from_manifest(shared / "data", manifest, None, {"batch": ["seed"]})
    pointed = from_manifest(shared / "data/seed", manifest, None)
    assert len(chosen.files) == 12_791
    assert chosen.files == pointed.files
    assert chosen.refused_rows == ()
    assert len({file.device for file in chosen.files}) == 11
