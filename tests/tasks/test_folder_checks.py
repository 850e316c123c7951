"""Decodability, shape and class balance over frames of a folder: what is planted is named, and nothing else."""

from pathlib import Path

import cv2

from tasks.checked_frames import of_folder
from tasks.folder_checks import class_balance, decodability, shape
from tasks.labelled_folder import labelled_folder
from tests.tasks.checkable import checkable, scenes

FRAMES = scenes(20)


def test_files_that_are_no_frames_and_odd_sizes_are_named(tmp_path: Path) -> None:
    (tmp_path / "person").mkdir()
    for number, pixels in enumerate(FRAMES):
        cv2.imwrite(str(tmp_path / "person" / f"{number:02}.png"), pixels)
    cv2.imwrite(str(tmp_path / "person" / "07.png"), cv2.resize(FRAMES[7], (320, 320)))
    (tmp_path / "person" / "text.jpg").write_text("no picture")
    with of_folder(labelled_folder(tmp_path, "cam")) as frames:
        odd = shape(frames)
        none = decodability(frames)
    assert [(one.file, one.note) for one in odd.findings] == [
        ("person/07.png", "320 x 320; most from cam are 160 x 120")
    ]
    assert [one.file for one in none.findings] == ["person/text.jpg"]
    assert none.observed == "1 of 21 files are no frames: 1 not_an_image"


def test_a_device_without_a_usual_size_has_no_odd_ones() -> None:
    sizes = [160, 320] * 10
    assert shape(checkable(FRAMES, width=sizes, height=[3 * width // 4 for width in sizes])).findings == ()
    unknown = shape(checkable(FRAMES, width=[None] * 20, height=[None] * 20))
    assert unknown.skipped == "sizes of the files are not known"


def test_each_split_is_judged_by_itself_and_blocks() -> None:
    labels = ["person"] * 8 + ["no_person"] * 2 + ["person", "no_person"] * 5
    result = class_balance(checkable(FRAMES, label=labels, split=["test"] * 10 + ["train"] * 10))
    assert [(one.file, one.note) for one in result.findings] == [("test", "80.0% person (2 no_person, 8 person)")]
    assert result.blocks
    assert class_balance(checkable(FRAMES, label=labels), max_share=0.7).findings == ()
    assert class_balance(checkable(FRAMES, label=[None] * 20)).skipped == "no frame has a label"


def test_a_split_with_one_class_is_as_unbalanced_as_can_be() -> None:
    result = class_balance(checkable(FRAMES, label=["person"] * 20))
    assert [(one.file, one.score) for one in result.findings] == [("all frames", 1.0)]
