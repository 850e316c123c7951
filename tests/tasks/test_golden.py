"""Golden frames: what is chosen from a test split, synthetic pictures, and any folder of images.

No model is run and no bucket is read: scores are made up.
"""

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.batches import FrameSet
from tasks.frames import as_png
from tasks.golden import (
    LEAST,
    GoldenFrames,
    GoldenImpossible,
    choose_golden,
    golden_from_folder,
    synthetic_golden,
)
from tasks.labelled_folder import FolderRefused
from tasks.settings import PROJECT
from tasks.thumbnails import Scores
from tests.tasks.generated_frames import frame_set

THRESHOLD = 0.5


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> FrameSet:
    """120 frames, classes alternating, with the true digests of their pixels."""
    made = frame_set(tmp_path_factory.mktemp("golden"), 120)
    digests = [hashlib.sha256(pixels.tobytes()).hexdigest() for pixels in made.gather()]
    return dataclasses.replace(made, pixels_sha256=digests)


def scored(frames: FrameSet, int8: NDArray[np.float64], fp32: NDArray[np.float64] | None = None) -> Scores:
    return Scores(
        labels=frames.labels.astype(bool),
        fp32=int8 if fp32 is None else fp32,
        int8=int8,
        pixels_sha256=frames.pixels_sha256,
        keys=frames.keys,
        devices=frames.devices,
        sessions=frames.sessions,
        shard=["0"] * len(frames),
        row=frames.row.astype(np.int64),
    )


def far_scores(frames: FrameSet) -> NDArray[np.float64]:
    """Right and sure about every frame, each in its own degree."""
    sure = 0.3 + 0.001 * np.arange(len(frames))
    return np.where(frames.labels == 1, 0.5 + sure, 0.5 - sure)


def of_kind(golden: GoldenFrames, kind: str) -> list[str]:
    return [name for name, its in zip(golden.names, golden.kinds, strict=True) if its.startswith(kind)]


def labels_of(frames: FrameSet, names: list[str]) -> list[int]:
    return [int(frames.labels[list(frames.keys).index(name.removeprefix("test/"))]) for name in names]


@pytest.mark.parametrize("count", [5, 6, 7, 8, 9, 10, 11, 16, 32, 60])
def test_the_count_is_kept_with_black_white_and_noise_and_about_half_of_the_rest_hard(
    frames: FrameSet, count: int
) -> None:
    golden = choose_golden(frames, scored(frames, far_scores(frames)), THRESHOLD, count)
    assert len(golden) == count == len(set(golden.names)) == len(golden.kinds)
    assert golden.pixels.shape == (count, 120, 160)
    assert golden.pixels.dtype == np.uint8
    assert golden.names[:3] == ("synthetic/black", "synthetic/white", "synthetic/noise")
    assert ("checkerboard" in golden.kinds) == ("gradient" in golden.kinds) == (count >= 10)
    hard, random = of_kind(golden, "hardest"), of_kind(golden, "random")
    assert len(random) <= len(hard) <= len(random) + 1
    assert len({pixels.tobytes() for pixels in golden.pixels}) == count
    for chosen in (hard, random, hard + random):
        assert len(chosen) < 2 or set(labels_of(frames, chosen)) == {0, 1}


def test_names_and_kinds_tell_which_frame_it_is(frames: FrameSet) -> None:
    golden = choose_golden(frames, scored(frames, far_scores(frames)), THRESHOLD, 20)
    for name, kind, pixels in zip(golden.names, golden.kinds, golden.pixels, strict=True):
        if name.startswith("test/"):
            index = list(frames.keys).index(name.removeprefix("test/"))
            np.testing.assert_array_equal(pixels, frames.gather(np.array([index]))[0])
            assert kind == "hardest" or kind == f"random {('no_person', 'person')[frames.labels[index]]}"


def test_frames_that_int8_answers_differently_come_first_then_those_nearest_to_the_threshold(frames: FrameSet) -> None:
    int8, fp32 = far_scores(frames), far_scores(frames)
    int8[[10, 11]] = [0.9, 0.1]  # FP32 is right and sure about these two
    int8[[20, 21, 22, 23]] = [0.49, 0.51, 0.47, 0.53]
    golden = choose_golden(frames, scored(frames, int8, fp32), THRESHOLD, 5 + 8)
    hardest = of_kind(golden, "hardest")
    assert set(hardest[:2]) == {f"test/{frames.keys[i]}" for i in (10, 11)}
    assert set(hardest[2:]) == {f"test/{frames.keys[i]}" for i in (20, 21)}


def test_the_threshold_is_the_one_given(frames: FrameSet) -> None:
    int8 = far_scores(frames)
    int8[[6, 7]] = 0.7
    golden = choose_golden(frames, scored(frames, int8), 0.7, 7)
    assert set(of_kind(golden, "hardest")) == {f"test/{frames.keys[i]}" for i in (6, 7)}


def test_the_hardest_hold_both_classes_though_all_hard_ones_are_of_one(frames: FrameSet) -> None:
    int8 = far_scores(frames)
    people = np.flatnonzero(frames.labels == 1)
    int8[people] = 0.5 + 0.001 * np.arange(len(people))
    golden = choose_golden(frames, scored(frames, int8), THRESHOLD, 15)
    assert labels_of(frames, of_kind(golden, "hardest")) == [1, 1, 1, 1, 0]


def test_the_same_frames_are_chosen_again_in_whatever_order_they_come(frames: FrameSet) -> None:
    scores = scored(frames, far_scores(frames).round(2))  # many ties, as INT8 scores have them
    order = np.random.default_rng(3).permutation(len(frames))
    turned = frames.take(order)
    first = choose_golden(frames, scores, THRESHOLD, 24, 7)
    again = choose_golden(turned, scored(turned, far_scores(frames).round(2)[order]), THRESHOLD, 24, 7)
    assert first.names == again.names
    assert first.kinds == again.kinds
    np.testing.assert_array_equal(first.pixels, again.pixels)


def test_another_seed_changes_what_is_random_and_nothing_else(frames: FrameSet) -> None:
    scores = scored(frames, far_scores(frames))
    one, other = (choose_golden(frames, scores, THRESHOLD, 24, seed) for seed in (0, 1))
    assert of_kind(one, "hardest") == of_kind(other, "hardest")
    assert of_kind(one, "random") != of_kind(other, "random")
    assert not np.array_equal(one.pixels[2], other.pixels[2])  # noise


def test_frames_with_the_same_pixels_are_taken_once(frames: FrameSet) -> None:
    doubled = frames.take(np.repeat(np.arange(12), 10))
    doubled = dataclasses.replace(doubled, keys=[f"{key}-{i}" for i, key in enumerate(doubled.keys)])
    scores = scored(doubled, far_scores(doubled))
    golden = choose_golden(doubled, scores, THRESHOLD, 12 + 5)
    assert len({pixels.tobytes() for pixels in golden.pixels}) == 17
    with pytest.raises(GoldenImpossible, match=r"take 13 different .* there are 12"):
        choose_golden(doubled, scores, THRESHOLD, 13 + 5)


def test_a_report_on_a_part_of_the_split_is_enough(frames: FrameSet) -> None:
    part = frames.take(np.arange(30, 70))
    golden = choose_golden(frames, scored(part, far_scores(part)), THRESHOLD, 30)
    assert {name.removeprefix("test/") for name in golden.names[5:]} <= set(part.keys)


def test_a_class_with_one_frame_gives_it_and_the_other_class_gives_the_rest(frames: FrameSet) -> None:
    some = frames.take(np.array([1, *range(0, 60, 2)]))
    golden = choose_golden(some, scored(some, far_scores(some)), THRESHOLD, 20)
    assert sum(labels_of(some, list(golden.names[5:]))) == 1


def test_scores_of_other_frames_are_refused(frames: FrameSet) -> None:
    part = frames.take(np.arange(40))
    with pytest.raises(GoldenImpossible, match=r"80 of 120 scored frames are not among the 40 given") as raised:
        choose_golden(part, scored(frames, far_scores(frames)), THRESHOLD, 12)
    assert raised.value.next_step


def test_more_than_there_are_or_a_missing_class_is_refused_by_figures(frames: FrameSet) -> None:
    some = frames.take(np.arange(10))
    with pytest.raises(GoldenImpossible, match=r"16 golden frames take 11 .* there are 10") as raised:
        choose_golden(some, scored(some, far_scores(some)), THRESHOLD, 16)
    assert "ask for 15 at most" in raised.value.next_step
    assert len(choose_golden(some, scored(some, far_scores(some)), THRESHOLD, 15)) == 15
    few = frames.take(np.arange(4))
    with pytest.raises(GoldenImpossible, match="9 golden frames take 6") as raised:
        choose_golden(few, scored(few, far_scores(few)), THRESHOLD, 9)
    assert "ask for 7 at most" in raised.value.next_step
    assert len(choose_golden(few, scored(few, far_scores(few)), THRESHOLD, 7)) == 7
    empty_rooms = frames.take(np.arange(0, 40, 2))
    with pytest.raises(GoldenImpossible, match="there are 20, none labelled person"):
        choose_golden(empty_rooms, scored(empty_rooms, far_scores(empty_rooms)), THRESHOLD, 8)
    nothing = frames.take(np.arange(0))
    with pytest.raises(GoldenImpossible, match="there are 0, none labelled no_person or person"):
        choose_golden(nothing, scored(nothing, far_scores(nothing)), THRESHOLD, 8)


@pytest.mark.parametrize("count", [-1, 0, 4])
def test_fewer_than_five_are_refused(frames: FrameSet, count: int) -> None:
    with pytest.raises(GoldenImpossible, match=rf"{count} golden frames are too few") as raised:
        choose_golden(frames, scored(frames, far_scores(frames)), THRESHOLD, count)
    assert "5 or more" in raised.value.next_step
    with pytest.raises(GoldenImpossible):
        synthetic_golden(count)


def test_synthetic_pictures_reach_both_ends_of_the_range_and_differ_from_each_other() -> None:
    golden = synthetic_golden(40)
    assert golden.pixels.shape == (40, 120, 160)
    assert len(set(golden.names)) == 40
    assert len({pixels.tobytes() for pixels in golden.pixels}) == 40
    named = dict(zip(golden.names, golden.pixels, strict=True))
    assert not named["synthetic/black"].any()
    assert (named["synthetic/white"] == 255).all()
    assert set(np.unique(named["synthetic/checkerboard"])) == {0, 255}
    assert (np.diff(named["synthetic/gradient"].astype(int), axis=1) >= 0).all()
    assert named["synthetic/gradient"][:, 0].max() == 0
    assert named["synthetic/gradient"][:, -1].min() == 255
    levels = np.bincount(named["synthetic/noise"].ravel(), minlength=256)
    assert levels.min() > 30  # 75 of each are expected


def test_synthetic_scenes_have_structure() -> None:
    """Neighbours are alike in all of them but noise: whoever sees only noise sees one point of the input space."""
    golden = synthetic_golden(25)
    for name, pixels in zip(golden.names[5:], golden.pixels[5:], strict=True):
        values = pixels.astype(float)
        assert values.std() > 0.3, name
        if "noise" not in name:
            assert np.abs(np.diff(values, axis=1)).mean() < 0.3 * values.std(), name


def test_synthetic_pictures_follow_from_the_seed_and_a_small_count_begins_a_larger_one() -> None:
    first, again, longer, other = (synthetic_golden(n, seed) for n, seed in ((12, 3), (12, 3), (30, 3), (12, 4)))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.pixels, longer.pixels[:12])
    assert first.names == longer.names[:12] == other.names
    assert sum(not np.array_equal(a, b) for a, b in zip(first.pixels, other.pixels, strict=True)) == 8
    assert len(synthetic_golden(LEAST)) == LEAST


def test_synthetic_pictures_need_no_cloud_library_and_no_tensorflow() -> None:
    code = (
        "import sys; from tasks.golden import synthetic_golden; synthetic_golden(9);"
        "print(sorted({'boto3', 'tensorflow', 'prefect', 'cv2', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert done.stdout.strip() == "[]"


def test_every_image_below_a_folder_becomes_a_golden_frame_and_every_other_file_is_listed(
    frames: FrameSet, tmp_path: Path
) -> None:
    pixels = frames.gather(np.arange(3))
    (tmp_path / "hall" / "monday").mkdir(parents=True)
    (tmp_path / "b.png").write_bytes(as_png(pixels[0]))
    (tmp_path / "hall" / "monday" / "1.raw").write_bytes(pixels[1].tobytes())
    (tmp_path / "a.pgm").write_bytes(b"P5 160 120 255\n" + pixels[2].tobytes())
    (tmp_path / "hall" / "notes.txt").write_text("taken on a Monday")
    dark = np.zeros((120, 160), np.uint8)  # no example of anything, but an input that a device must survive
    (tmp_path / "hall" / "dark.png").write_bytes(as_png(dark))
    (tmp_path / "hall" / "cut.png").write_bytes(as_png(pixels[0])[:900])
    golden = golden_from_folder(tmp_path)
    assert golden.names == ("folder/a.pgm", "folder/b.png", "folder/hall/dark.png", "folder/hall/monday/1.raw")
    assert golden.kinds == ("folder",) * 4
    np.testing.assert_array_equal(golden.pixels, np.stack([pixels[2], pixels[0], dark, pixels[1]]))
    assert [(file.file, file.reason) for file in golden.refused] == [
        ("hall/cut.png", "truncated"),
        ("hall/notes.txt", "not_an_image"),
    ]
    assert all(file.message for file in golden.refused)


def test_bad_fixtures_are_listed_and_good_ones_taken(shared: Path) -> None:
    folder = shared / "fixtures" / "frames"
    golden = golden_from_folder(folder)
    extreme = {"bad_all_black.jpg", "bad_all_white.jpg"}  # refused as examples, wanted as inputs
    taken = {path.name for path in folder.glob("ok_*")} | extreme
    assert {name.removeprefix("folder/") for name in golden.names} == taken
    assert {file.file for file in golden.refused} == {path.name for path in folder.glob("bad_*")} - extreme


def test_a_folder_without_a_frame_says_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(GoldenImpossible, match="no golden frame among 0 files"):
        golden_from_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(GoldenImpossible, match=r"among 1 files of .*notes\.txt: text") as raised:
        golden_from_folder(tmp_path)
    assert "JPEG" in raised.value.next_step
    with pytest.raises(FolderRefused, match="does not exist"):
        golden_from_folder(tmp_path / "nowhere")
