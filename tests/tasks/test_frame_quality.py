"""Exposure, blur, stuck sensors and dead pixels: what is planted is named, and nothing else.

Generated scenes. Does not touch how the checks become expectations (tests/expectations) or the command.
"""

import cv2
import numpy as np
import pytest

from tasks.frame_quality import blur, dead_pixels, exposure, stuck_sensor
from tests.tasks.checkable import checkable, scenes

FRAMES = scenes(40)


def names(result: object) -> set[str]:
    return {finding.file for finding in result.findings}  # type: ignore[attr-defined]


def test_good_frames_have_no_finding_and_say_how_many_were_looked_at() -> None:
    frames = checkable(FRAMES)
    for check in (exposure, blur, stuck_sensor, dead_pixels):
        result = check(frames)
        assert result.findings == ()
        assert result.skipped == ""
        assert result.looked_at == 40
        assert not result.blocks


def test_dark_bright_and_flat_frames_are_named_the_worst_first() -> None:
    pixels = FRAMES.copy()
    pixels[3] = 0
    pixels[3, :20] = FRAMES[3, :20]
    pixels[5] = 255
    pixels[5, :50] = FRAMES[5, :50]
    pixels[8] = 128
    pixels[8, ::2] = 131
    result = exposure(checkable(pixels))
    assert [finding.file for finding in result.findings] == ["0003.png", "0008.png", "0005.png"]
    assert [finding.note for finding in result.findings] == ["83% black", "contrast 1.5 gray levels", "59% white"]
    assert result.observed == "3 of 40 frames badly exposed: 1 too dark, 1 too bright, 1 too flat"


def test_blurred_frames_are_named_and_a_device_that_is_soft_throughout_is_not() -> None:
    pixels = FRAMES.copy()
    pixels[7] = cv2.GaussianBlur(pixels[7], (0, 0), 6)
    assert names(blur(checkable(pixels))) == {"0007.png"}
    soft = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in FRAMES])
    assert names(blur(checkable(soft))) == set()
    mixed = np.concatenate([FRAMES, soft])
    assert names(blur(checkable(mixed, device=["sharp"] * 40 + ["soft"] * 40))) == set()
    # The same soft frames from a camera that is sharp otherwise are its fault.
    few = np.concatenate([FRAMES, np.stack([cv2.GaussianBlur(frame, (0, 0), 2.0) for frame in FRAMES[:2]])])
    assert names(blur(checkable(few))) == {"0040.png", "0041.png"}


def test_a_device_that_sends_one_picture_again_and_again_is_stuck_and_another_device_is_not_blamed() -> None:
    pixels = np.concatenate([FRAMES, np.repeat(FRAMES[:1], 3, 0), FRAMES[1:2]])
    devices = ["cam"] * 40 + ["cam"] * 3 + ["other"]
    result = stuck_sensor(checkable(pixels, device=devices))
    assert names(result) == {"0040.png", "0041.png", "0042.png"}
    assert {finding.other for finding in result.findings} == {"0000.png"}
    assert {finding.note for finding in result.findings} == {"cam sent these pixels 4 times"}
    assert result.observed == "1 of the pictures came 3 times or more: cam (1)"


def test_repeats_that_the_index_knows_of_count() -> None:
    frames = checkable(FRAMES)
    digests = frames.column("pixels_sha256")
    result = stuck_sensor(frames, repeats={digests[4]: 2, digests[5]: 1})
    assert [(finding.file, finding.other) for finding in result.findings] == [("0004.png", "")]


def test_pixels_that_never_change_name_their_device_and_place() -> None:
    pixels = np.concatenate([FRAMES, FRAMES[::-1]])
    pixels[40:, 60, 20:40] = 255
    result = dead_pixels(checkable(pixels, device=["good"] * 40 + ["scratched"] * 40))
    assert [finding.file for finding in result.findings] == ["0040.png"]
    assert result.findings[0].note == "scratched: 20 pixels never change, e.g. row 60, column 20"


@pytest.mark.parametrize("sessions", [["one"] * 40, [f"s{number // 4}" for number in range(40)]])
def test_too_few_scenes_are_no_answer(sessions: list[str]) -> None:
    result = dead_pixels(checkable(FRAMES, session=sessions))
    assert result.findings == ()
    assert result.skipped == "no device has 12 sessions of different scenes"


def test_a_camera_that_always_sees_the_same_is_not_called_dead() -> None:
    still = np.repeat(FRAMES[:1], 40, 0) + np.random.default_rng(1).integers(0, 3, (40, 120, 160)).astype(np.uint8)
    result = dead_pixels(checkable(still))
    assert result.findings == ()
    assert "cam" in result.observed
