"""The search for frames that show the same, and the checks built on it, on generated pictures.

Not here: how well it does on photographs (benchmarks/duplicates.py), and how the checks are shown.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.alike_pairs import SAME, Alike, alike_pairs
from tasks.checked_frames import SCHEMA, CheckedFrames
from tasks.near_duplicates import (
    exact_duplicates,
    label_conflicts,
    near_duplicates_across_splits,
    near_duplicates_in_split,
    session_leakage,
)
from tests.tasks.checkable import checkable
from tests.tasks.pictures import pixels_of, scene

Pixels = NDArray[np.uint8]


def frames_of(pixels: Sequence[Pixels], **columns: Sequence[str | None]) -> CheckedFrames:
    """Frames f000, f001, ..., each in a session of its own where `columns` does not say otherwise."""
    count = len(pixels)
    given: dict[str, Sequence[str | None]] = {"label": ["person"] * count, **columns}
    return checkable(np.stack(pixels), key=[f"f{number:03}" for number in range(count)], **given)


def picture(seed: int) -> Pixels:
    """A scene with edges: generated blobs and a few bars."""
    random = np.random.default_rng(seed)
    drawn = pixels_of(scene(seed)).copy()
    for _ in range(6):
        start = random.integers(0, (160, 120), 2)
        end = start + random.integers(8, 50, 2)
        cv2.rectangle(drawn, start.tolist(), end.tolist(), int(random.integers(10, 245)), -1)
    return cv2.GaussianBlur(drawn, (0, 0), 0.8).astype(np.uint8)


def recompressed(pixels: Pixels, quality: int) -> Pixels:
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def cropped(pixels: Pixels, top: int, bottom: int, left: int, right: int) -> Pixels:
    """Without so many pixels at each side, at its old size."""
    return np.asarray(cv2.resize(pixels[top : 120 - bottom, left : 160 - right], (160, 120)), np.uint8)


def relit(pixels: Pixels) -> Pixels:
    return (pixels * 0.7 + 30).astype(np.uint8)


def noisy(pixels: Pixels) -> Pixels:
    noise = np.random.default_rng(5).normal(0, 4, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "strong recompression": lambda one: recompressed(one, 30),
    "mirroring": lambda one: one[:, ::-1],
    "cropping on one side": lambda one: cropped(one, 0, 0, 9, 0),
    "cropping on two sides": lambda one: cropped(one, 7, 0, 0, 9),
    "cropping all round": lambda one: cropped(one, 5, 5, 7, 7),
    "light": relit,
    "noise": noisy,
    "all at once": lambda one: recompressed(noisy(relit(cropped(one[:, ::-1], 3, 0, 5, 0))), 60),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(change: str) -> None:
    originals = [picture(seed) for seed in range(30)]
    pairs = alike_pairs(frames_of([*originals, *(CHANGES[change](one) for one in originals)]))
    found, planted = {one[:2] for one in pairs}, {(number, number + 30) for number in range(30)}
    assert found <= planted
    assert len(found) >= 29  # the search is not exact: one in a hundred heavily cropped ones is missed
    assert all(0.7 <= one.similarity <= 1 for one in pairs)


@pytest.mark.parametrize(
    ("change", "how"),
    [
        ("strong recompression", "recompressed"),
        ("mirroring", "mirrored"),
        ("cropping all round", "cropped"),
        ("light", "brightness changed"),
        ("all at once", "mirrored, cropped, brightness changed"),
    ],
)
def test_a_pair_says_how_it_was_changed(change: str, how: str) -> None:
    original = picture(3)
    assert [one.how for one in alike_pairs(frames_of([original, CHANGES[change](original)]))] == [how]


def test_a_room_with_and_without_somebody_in_it_is_two_pictures() -> None:
    rooms = [picture(seed) for seed in range(20)]
    visited = []
    for seed, room in enumerate(rooms):
        one = room.copy()
        cv2.ellipse(one, (30 + 5 * seed, 90), (12, 30), 0, 0, 360, 20 if room[60:, :].mean() > 120 else 230, -1)
        visited.append(one)
    assert alike_pairs(frames_of([*rooms, *visited])) == []


def test_frames_that_show_next_to_nothing_are_no_pairs() -> None:
    random = np.random.default_rng(0)
    down = np.linspace(0, 40, 120)[:, None]
    walls = [(down + 60 + random.normal(0, 3, (120, 160))).clip(0, 255).astype(np.uint8) for _ in range(60)]
    dark = [random.integers(0, 5, (120, 160)).astype(np.uint8) for _ in range(60)]
    edges = [np.where(np.arange(160) < 60 + number % 9, 50, 200) + np.zeros((120, 1)) for number in range(60)]
    horizons = [(one + random.normal(0, 2, one.shape)).astype(np.uint8) for one in edges]
    frames = frames_of([*walls, *dark, *horizons])
    pairs = alike_pairs(frames)
    assert pairs == []
    assert "180 frames that show next to nothing" in near_duplicates_in_split(frames, pairs).observed


def test_the_order_of_the_table_changes_nothing() -> None:
    originals = [picture(seed) for seed in range(12)]
    frames = frames_of([*originals, *(relit(one) for one in originals), originals[0], originals[0]])
    shuffled = np.random.default_rng(1).permutation(len(frames))
    other = CheckedFrames(frames.rows.take(shuffled), lambda indices: frames.gather(shuffled[indices]))

    def named(of: CheckedFrames) -> list[tuple[frozenset[str], float, str]]:
        keys = of.column("key")
        return [(frozenset((keys[a], keys[b])), round(at, 3), how) for a, b, at, how in alike_pairs(of)]

    assert sorted(map(str, map(sorted, (n for n, *_ in named(frames))))) == sorted(
        map(str, map(sorted, (n for n, *_ in named(other))))
    )
    assert (
        exact_duplicates(frames, alike_pairs(frames)).findings == exact_duplicates(other, alike_pairs(other)).findings
    )


def test_a_camera_that_stands_still_gives_few_pairs_and_every_frame_is_in_one() -> None:
    random = np.random.default_rng(2)
    still = [(picture(1) + random.normal(0, 3, (120, 160))).clip(0, 255).astype(np.uint8) for _ in range(120)]
    frames = frames_of(still, session=["burst"] * 60 + [f"s{number}" for number in range(60)])
    pairs = alike_pairs(frames)
    assert {number for one in pairs for number in one[:2]} == set(range(120))
    assert len(pairs) <= 120 * 8 * 2


def test_a_copy_in_another_split_is_found_among_many_nearer_ones() -> None:
    random = np.random.default_rng(2)
    still = [(picture(1) + random.normal(0, 3, (120, 160))).clip(0, 255).astype(np.uint8) for _ in range(30)]
    frames = frames_of([*still, cropped(picture(1), 5, 0, 7, 0)], split=["train"] * 30 + ["test"])
    blocking, _ = near_duplicates_across_splits(frames, alike_pairs(frames))
    assert blocking.blocks
    assert all("f030" in (one.file, one.other) for one in blocking.findings)


def test_exact_copies_warn_inside_a_split_and_block_across_two() -> None:
    one, other = picture(1), picture(2)
    frames = frames_of([one, one, other, other], split=["train", "train", "train", "test"])
    pairs = alike_pairs(frames)
    assert [pair.how for pair in pairs] == [SAME, SAME]
    inside = exact_duplicates(frames, pairs)
    assert [(found.file, found.other, found.score) for found in inside.findings] == [("f001", "f000", 1)]
    assert not inside.blocks
    across, weak = near_duplicates_across_splits(frames, pairs)
    assert across.blocks
    assert [(found.file, found.other) for found in across.findings] == [("f003", "f002")]
    assert weak.findings == ()


def test_a_frame_without_a_split_never_leaks() -> None:
    one = picture(1)
    frames = frames_of([one, one, relit(one)], split=["train", None, None])
    blocking, weak = near_duplicates_across_splits(frames, alike_pairs(frames))
    assert not blocking.findings
    assert not weak.findings
    assert blocking.looked_at == 1


def test_without_splits_the_checks_of_splits_say_that_they_did_not_look() -> None:
    frames = frames_of([picture(1), picture(1)])
    assert near_duplicates_across_splits(frames, alike_pairs(frames))[0].skipped
    assert session_leakage(frames).skipped


def test_a_weak_pair_across_splits_warns_and_does_not_block() -> None:
    frames = frames_of([picture(1), picture(2)], split=["train", "test"])
    blocking, weak = near_duplicates_across_splits(frames, [Alike(0, 1, 0.75, "cropped")])
    assert not blocking.findings
    assert [(one.file, one.score) for one in weak.findings] == [("f001", 0.75)]
    assert near_duplicates_across_splits(frames, [Alike(0, 1, 0.75, "cropped")], sure=0.7)[0].blocks


def test_near_copies_in_one_session_are_counted_and_only_those_of_two_are_listed() -> None:
    one, other = picture(1), picture(2)
    frames = frames_of([one, relit(one), other, relit(other)], session=["a", "a", "b", "c"])
    result = near_duplicates_in_split(frames, alike_pairs(frames))
    assert [(found.file, found.other) for found in result.findings] == [("f003", "f002")]
    assert "2 frames (50.0%) are near copies of another one of their own session" in result.observed
    assert result.severity == "warning"


def test_two_labels_of_the_same_pixels_block_and_of_near_copies_warn() -> None:
    one, other = picture(1), picture(2)
    labels = [None, "person", "no_person", "person", "no_person", "person"]
    frames = frames_of([one, one, one, other, relit(other), relit(other)], label=labels)
    exact, near = label_conflicts(frames, alike_pairs(frames))
    assert {frozenset((found.file, found.other)) for found in exact.findings} == {
        frozenset({"f001", "f002"}),
        frozenset({"f004", "f005"}),
    }
    assert exact.blocks
    assert [(found.file, found.other) for found in near.findings] == [("f004", "f003")]
    assert near.severity == "warning"


def test_one_wrong_label_in_a_burst_is_found() -> None:
    random = np.random.default_rng(2)
    burst = [(picture(1) + random.normal(0, 3, (120, 160))).clip(0, 255).astype(np.uint8) for _ in range(20)]
    frames = frames_of(burst, session=["burst"] * 20, label=["person"] * 13 + ["no_person"] + ["person"] * 6)
    near = label_conflicts(frames, alike_pairs(frames))[1]
    assert near.findings
    assert all("f013" in (one.file, one.other) for one in near.findings)


def test_a_session_in_two_splits_blocks_and_names_a_frame_of_each() -> None:
    frames = frames_of(
        [picture(seed) for seed in range(6)],
        session=["a", "a", "a", "b", "b", "c"],
        split=["train", "train", "test", "val", None, None],
    )
    result = session_leakage(frames)
    assert result.blocks
    assert [(one.file, one.other, one.note) for one in result.findings] == [
        ("f002", "f000", "session a: 2 in train, 1 in test")
    ]


def test_no_frames_and_one_frame_are_no_pairs() -> None:
    empty = CheckedFrames(SCHEMA.empty_table(), lambda indices: np.empty((len(indices), 120, 160), np.uint8))
    assert alike_pairs(empty) == []
    assert alike_pairs(frames_of([picture(1)])) == []


def test_real_photographs_of_different_sessions_are_strangers_and_their_copies_are_found(shared: Path) -> None:
    paths = (
        sorted((shared / "data/seed").rglob("catdog/*.jpg"))[:250]
        + sorted((shared / "data/seed").rglob("clothing/*.jpg"))[:250]
    )
    originals = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    copies = [CHANGES[list(CHANGES)[number % 8]](one) for number, one in enumerate(originals[::5])]
    pairs = {one[:2] for one in alike_pairs(frames_of([*originals, *copies]))}
    planted = {(5 * number, 500 + number) for number in range(100)}
    assert len(planted & pairs) >= 95
    assert len(pairs - planted) <= 1
