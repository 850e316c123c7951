"""Drift of new frames: false alarms at the stated rate, planted changes of a camera found, too little data said.

Does not touch how two landings of photographs differ: benchmarks/label_errors.py prints that.
"""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.checked_frames import CheckedFrames
from tasks.drift import _rejected, _Tested, drift, permutation_test
from tests.tasks.checkable import checkable, scenes

DEVICES = ("door", "hall", "yard")
PER_DEVICE = 60  # sessions, on each side


def _camera_frames(device: int, seed: int) -> NDArray[np.uint8]:
    """What one fixed camera sees in `PER_DEVICE` sessions: its place, other light and a passing object each time."""
    place = scenes(1, seed=50 + device)[0].astype(np.float64)
    dice = np.random.default_rng((device, seed))
    frames = np.repeat(place[None], PER_DEVICE, axis=0) * dice.uniform(0.8, 1.1, (PER_DEVICE, 1, 1))
    for frame in frames:
        top, left = dice.integers(0, 80), dice.integers(0, 120)
        frame[top : top + 40, left : left + 40] = dice.uniform(30, 220)
    noisy: NDArray[np.uint8] = (frames + dice.normal(0, 3, frames.shape)).clip(0, 255).astype(np.uint8)
    return noisy


def _landing(seed: int, changed: NDArray[np.uint8] | None = None) -> CheckedFrames:
    """Frames of all devices; `changed` stands in for those of the hall."""
    parts = [_camera_frames(number, seed) for number in range(len(DEVICES))]
    if changed is not None:
        parts[1] = changed
    return checkable(
        np.concatenate(parts),
        device=np.repeat(DEVICES, PER_DEVICE).tolist(),
        session=[f"{seed}-{number}" for number in range(PER_DEVICE * len(DEVICES))],
    )


@pytest.fixture(scope="module")
def known() -> CheckedFrames:
    return _landing(0)


def test_unchanged_cameras_give_no_finding(known: CheckedFrames) -> None:
    result = drift(known, _landing(1))
    assert result.findings == ()
    assert "0 of 3 devices differ" in result.observed


def test_fifteen_gray_levels_less_light_are_found_and_told_in_gray_levels(known: CheckedFrames) -> None:
    darker = (_camera_frames(1, 1).astype(int) - 15).clip(0, 255).astype(np.uint8)
    result = drift(known, _landing(1, darker))
    assert [finding.file for finding in result.findings] == ["hall"]
    assert "light and focus: " in result.findings[0].note
    assert "gray levels" in result.findings[0].note
    assert 0 < result.findings[0].score < 1


def test_a_blurred_lens_is_found_by_its_sharpness(known: CheckedFrames) -> None:
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 2.0) for frame in _camera_frames(1, 1)])
    result = drift(known, _landing(1, blurred))
    assert [finding.file for finding in result.findings] == ["hall"]
    assert "light and focus: sharpness " in result.findings[0].note


def test_a_moved_camera_is_found_by_its_layout(known: CheckedFrames) -> None:
    moved = np.roll(_camera_frames(1, 1), (8, 25), (1, 2))  # the same gray levels elsewhere
    result = drift(known, _landing(1, moved))
    assert [finding.file for finding in result.findings] == ["hall"]
    assert result.findings[0].note.startswith("layout: ")
    assert " against the rest of the picture" in result.findings[0].note


def test_a_long_session_is_no_drift(known: CheckedFrames) -> None:
    """One of the yard's sessions is held for 200 frames of one dark moment: one session of 61 differs, no more."""
    landing = _landing(1)
    one = np.repeat(landing.gather(np.array([150]))[:, :, ::-1] // 2, 200, axis=0)
    pixels = np.concatenate([landing.gather(np.arange(len(landing))), one])
    longer = checkable(
        pixels,
        device=landing.column("device") + ["yard"] * 200,
        session=landing.column("session") + ["held"] * 200,
    )
    assert drift(known, longer).findings == ()


def test_too_few_sessions_are_said_and_not_judged(known: CheckedFrames) -> None:
    dark = np.full((40, 120, 160), 9, np.uint8)
    result = drift(known, checkable(dark, device=["hall"] * 40, session=[f"n{number % 5}" for number in range(40)]))
    assert result.findings == ()
    assert result.skipped == ("too few sessions to tell: hall (5 new, 60 known); at least 8 are needed on each side")
    assert "hall (60 new, 0 known)" in drift(known, known).skipped  # a session that goes on is no second sample
    assert drift(known, checkable(dark[:0])).skipped == "no new frames"


def test_a_new_device_is_compared_with_all(known: CheckedFrames) -> None:
    strange = scenes(40, seed=9) // 3
    result = drift(known, checkable(strange, device=["attic"] * 40, session=[f"n{number}" for number in range(40)]))
    assert [finding.file for finding in result.findings] == ["attic"]
    assert "new device: " in result.findings[0].note
    assert "180 of all devices" in result.findings[0].note


def test_the_order_of_the_tables_does_not_matter(known: CheckedFrames) -> None:
    darker = (_camera_frames(1, 1).astype(int) - 15).clip(0, 255).astype(np.uint8)
    new = _landing(1, darker)
    order = np.random.default_rng(0).permutation(len(new))
    shuffled = CheckedFrames(new.rows.take(order), lambda indices: new.gather(order[indices]))
    assert drift(known, new) == drift(known, shuffled)


def test_where_nothing_changed_p_values_are_as_often_below_a_level_as_it_says() -> None:
    """Skewed and correlated samples of unequal size, 600 times: the share of p-values up to 5 % is 5 %, up to chance
    (99.9 % of the binomial distribution)."""
    dice = np.random.default_rng(0)
    mixing = dice.normal(0, 1, (5, 5))
    low = 0
    for number in range(600):
        rows = np.exp(dice.normal(0, 1, (40, 5))) @ mixing
        low += permutation_test(rows[:28], rows[28:], 400, number)[0] <= 0.05
    assert 14 <= low <= 49


def test_over_many_landings_without_a_change_the_stated_rate_of_false_alarms_holds() -> None:
    """120 pairs of landings of three devices at a family-wise rate of 10 %: at most 23 alarms (99.9 % of chance)."""
    dice = np.random.default_rng(1)
    alarms = 0
    for number in range(120):
        pixels = dice.integers(60, 120, (6, 1, 1)) + dice.integers(0, 90, (6 * 12, 6, 8)).reshape(12, 6, 6, 8).swapaxes(
            0, 1
        ).reshape(6, 12, 48)
        frames = np.repeat(np.repeat(pixels.reshape(72, 6, 8), 20, 1), 20, 2).astype(np.uint8)
        # The same place before and after: what differs is only each session's own draw.
        device = np.repeat(["a", "a", "b", "b", "c", "c"], 12)
        frames = frames[dice.permutation(72)]
        old = np.arange(72) // 12 % 2 == 0
        sides = [
            checkable(
                frames[side], device=device[side].tolist(), session=[f"{number}-{one}" for one in np.flatnonzero(side)]
            )
            for side in (old, ~old)
        ]
        alarms += bool(drift(*sides, false_alarm_rate=0.1).findings)
    assert 1 <= alarms <= 23


def test_holm_goes_on_only_while_each_p_value_holds() -> None:
    def tested(*p_values: float) -> list[_Tested]:
        return [_Tested(f"d{number}", "layout", p_value, 0.5, "") for number, p_value in enumerate(p_values)]

    assert [one.device for one in _rejected(tested(0.004, 0.02, 0.001), 0.01)] == ["d2", "d0"]
    assert _rejected(tested(0.004, 0.004, 0.004), 0.01) == []
