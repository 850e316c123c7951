"""Labels that can be told without looking: from statistics of the picture, from the device, from the day.

Does not touch what real collections give away: benchmarks/label_errors.py prints that.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.checked_frames import CheckedFrames
from tasks.shortcut_probe import device_tells_label, shortcut_probe
from tests.tasks.checkable import checkable, scenes

COUNT = 600
CLASSES = ("no_person", "person")
SPLITS = [("train", "train", "train", "val", "test")[number // 2 % 5] for number in range(COUNT)]


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return scenes(COUNT)


def _darker_people(pixels: NDArray[np.uint8], numbers: list[int]) -> NDArray[np.uint8]:
    changed = pixels.copy()
    changed[numbers] = (changed[numbers] * 0.5).astype(np.uint8)
    return changed


def test_classes_that_differ_in_light_are_a_shortcut_in_every_split(pixels: NDArray[np.uint8]) -> None:
    result = shortcut_probe(checkable(_darker_people(pixels, list(range(1, COUNT, 2))), split=SPLITS))
    assert {finding.note.split(":")[0] for finding in result.findings} == {"train", "val", "test"}
    assert "brightness (lower with person, AUC 1.00)" in result.observed
    assert all(finding.score > 0.9 for finding in result.findings[:10])
    assert result.advice


def test_a_split_where_the_shortcut_does_not_work_is_not_named(pixels: NDArray[np.uint8]) -> None:
    here = [number for number in range(1, COUNT, 2) if SPLITS[number] != "test"]
    result = shortcut_probe(checkable(_darker_people(pixels, here), split=SPLITS))
    assert {finding.note.split(":")[0] for finding in result.findings} == {"train", "val"}


def test_classes_alike_in_their_statistics_are_no_shortcut(pixels: NDArray[np.uint8]) -> None:
    result = shortcut_probe(checkable(pixels))
    assert result.findings == ()
    assert not result.skipped
    assert "all frames" in result.observed


def test_statistics_that_tell_sessions_apart_do_not_count_as_a_shortcut() -> None:
    """Twenty near-copies a session: whoever has seen one knows the others, and nothing about any other session."""
    pixels = np.repeat(scenes(100, seed=3), 10, axis=0)
    session = [f"s{number // 10}" for number in range(1000)]
    label = [CLASSES[number // 10 % 2] for number in range(1000)]
    assert shortcut_probe(checkable(pixels, session=session, label=label)).findings == ()
    alone = [f"s{number}" for number in range(1000)]
    assert shortcut_probe(checkable(pixels, session=alone, label=label)).findings


def test_splits_that_share_all_sessions_are_probed_as_one(pixels: NDArray[np.uint8]) -> None:
    session = [f"s{number // 10}" for number in range(COUNT)]
    changed = _darker_people(pixels, list(range(1, COUNT, 2)))
    result = shortcut_probe(checkable(changed, split=SPLITS, session=session))
    assert {finding.note.split(":")[0] for finding in result.findings} == {"all"}


def test_the_order_of_the_table_does_not_matter(pixels: NDArray[np.uint8]) -> None:
    changed = _darker_people(pixels, list(range(1, COUNT, 2)))
    frames, order = checkable(changed, split=SPLITS), np.random.default_rng(0).permutation(COUNT)
    shuffled = CheckedFrames(frames.rows.take(order), lambda indices: changed[order[indices]])
    assert shortcut_probe(frames) == shortcut_probe(shuffled)


def test_too_few_frames_are_said(pixels: NDArray[np.uint8]) -> None:
    assert "fewer than 50" in shortcut_probe(checkable(pixels[:60])).skipped


def test_a_device_and_a_day_with_a_single_class_are_named(pixels: NDArray[np.uint8]) -> None:
    device = ["mixed"] * 400 + ["porch"] * 100 + ["small"] * 20 + ["mixed"] * 80
    label = [CLASSES[number % 2] for number in range(COUNT)]
    label[400:520] = ["person"] * 120
    start = datetime(2026, 1, 30, 23, 0, tzinfo=UTC)
    captured = [start] * 400 + [start + timedelta(hours=2)] * 100 + [None] * 100
    result = device_tells_label(checkable(pixels, device=device, label=label, captured_at=captured))
    assert [(finding.file, finding.score) for finding in result.findings] == [("2026-01-31", 1.0), ("porch", 1.0)]
    assert result.findings[1].note == "device: 100 of 100 frames are person"
    assert "1 of 2 days" in result.observed


def test_devices_that_see_both_classes_are_not_named(pixels: NDArray[np.uint8]) -> None:
    result = device_tells_label(checkable(pixels, device=["a"] * 300 + ["b"] * 300))
    assert result.findings == ()
    assert "guesses 50% right" in result.observed
    assert "no frame has a time" in result.observed
    assert device_tells_label(checkable(pixels[:40], label=["person"] * 40)).skipped == "only person is labelled"
