"""Frames that show too little: badly exposed, blurred, or from a sensor that is stuck or has dead pixels.

All of these warn. A camera in the dark sees dark frames; what is wrong with one only somebody who looks can say. Limits
were set on 12,791 photographs of eleven collections, of which each check then names less than one in a hundred.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from tasks.checked_frames import CheckedFrames
from tasks.findings import CheckResult, Finding, worst_first

NOISE_LEVELS = 1.5  # gray levels: a pixel that moves less than that over many scenes is dead or stuck
LIVELY_LEVELS = 12.0  # gray levels: what the device's other pixels have to move for that to mean anything
MIN_SCENES = 12  # sessions of a device before its pixels are judged
MAD_TO_SIGMA = 1.4826  # of a normal distribution


def exposure(
    frames: CheckedFrames, *, max_dark: float = 0.75, max_bright: float = 0.5, min_contrast: float = 5.0
) -> CheckResult:
    """Frames where too much is lost in black or in white, or that are nearly one gray.

    `max_dark`, `max_bright`: largest share (0..1) of pixels at gray levels 0..4 and 251..255. `min_contrast`: smallest
    standard deviation of the gray levels (0..127.5). Score: the share that is lost, or how much contrast is missing.
    """
    seen, keys = frames.figures, frames.column("key")
    findings = []
    for number, key in enumerate(keys):
        dark, bright, contrast = float(seen.dark[number]), float(seen.bright[number]), float(seen.contrast[number])
        if dark > max_dark:
            findings.append(Finding(file=key, score=dark, note=f"{dark:.0%} black"))
        elif bright > max_bright:
            findings.append(Finding(file=key, score=bright, note=f"{bright:.0%} white"))
        elif contrast < min_contrast:
            score = 1 - contrast / min_contrast
            findings.append(Finding(file=key, score=score, note=f"contrast {contrast:.1f} gray levels"))
    why = Counter(one.note.split()[-1] for one in findings)
    told = ", ".join(
        f"{why[word]} too {what}"
        for word, what in (("black", "dark"), ("white", "bright"), ("levels", "flat"))
        if why[word]
    )
    return CheckResult(
        check="exposure",
        severity="warning",
        findings=worst_first(findings),
        observed=f"{len(findings)} of {len(keys)} frames badly exposed" + (f": {told}" if told else ""),
        advice="look at the worst; frames that a device will meet as well may stay, a covered lens goes",
        looked_at=len(keys),
    )


def blur(frames: CheckedFrames, *, min_sharpness: float = 0.004, max_deviations: float = 4.0) -> CheckResult:
    """Frames without a sharp edge: out of focus, moved, or a wet lens.

    The measure is the variance of the Laplacian over the variance of the gray levels (Pech-Pacheco et al. 2000, freed
    of contrast). Named is what lies below `min_sharpness`, and what lies `max_deviations` robust standard deviations
    (median absolute deviation, of the logarithm) below its own device's median: a device that is soft throughout is
    no fault of a single frame. Score: 1 - sharpness / the limit that was missed.
    """
    seen, keys, devices = frames.figures, frames.column("key"), frames.column("device")
    flat = seen.contrast < 2  # noise only: exposure names it
    sharpness = seen.sharpness.astype(float) / np.maximum(seen.contrast.astype(float), 2.0) ** 2
    limits = np.full(len(keys), min_sharpness)
    for numbers in _by(devices).values():
        if len(numbers) >= 2 * MIN_SCENES:
            logs = np.log(np.maximum(sharpness[numbers], 1e-9))
            middle = float(np.median(logs))
            spread = MAD_TO_SIGMA * float(np.median(np.abs(logs - middle)))
            limits[numbers] = max(min_sharpness, float(np.exp(middle - max_deviations * max(spread, 0.1))))
    bad = np.flatnonzero((sharpness < limits) & ~flat)
    findings = [
        Finding(file=keys[i], score=1 - sharpness[i] / limits[i], note=f"sharpness {sharpness[i]:.4f}") for i in bad
    ]
    soft = Counter(devices[i] for i in bad).most_common(1)
    return CheckResult(
        check="blur",
        severity="warning",
        findings=worst_first(findings),
        observed=f"{len(bad)} of {len(keys)} frames without a sharp edge"
        + (f", most from {soft[0][0]} ({soft[0][1]})" if soft else ""),
        advice="clean or focus the lens of the device that has most of them; frames in which nobody could be seen go",
        looked_at=len(keys),
    )


def stuck_sensor(
    frames: CheckedFrames, *, min_repeats: int = 3, repeats: Mapping[str, int] | None = None
) -> CheckResult:
    """Devices that deliver the same picture again and again.

    Real light never falls twice in the same way: even a still scene differs in its noise. So `min_repeats` frames of
    one device with the same pixels are a frozen sensor or a full buffer. `repeats`: pixels_sha256 -> how many more
    objects had these pixels; a data set holds each picture once, the frame index knows of the others. Score: 1 - 1 /
    times.
    """
    keys, devices, pixels = (frames.column(name) for name in ("key", "device", "pixels_sha256"))
    same: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, place in enumerate(zip(devices, pixels, strict=True)):
        same[place].append(number)
    findings: list[Finding] = []
    pictures: Counter[str] = Counter()
    for (device, digest), numbers in same.items():
        times = len(numbers) + (repeats or {}).get(digest, 0)
        if times < min_repeats:
            continue
        pictures[device] += 1
        first = keys[numbers[0]]
        note = f"{device} sent these pixels {times} times"
        # Alone it stands for itself; others of its like each name the first.
        for number in numbers[1:] or numbers:
            other = first if number != numbers[0] else ""
            findings.append(Finding(file=keys[number], other=other, score=1 - 1 / times, note=note))
    told = ", ".join(f"{device} ({count})" for device, count in pictures.most_common(3))
    return CheckResult(
        check="stuck_sensor",
        severity="warning",
        findings=worst_first(findings),
        observed=f"{pictures.total()} of the pictures came {min_repeats} times or more" + (f": {told}" if told else ""),
        advice="restart the device and look at its next frames; keep one frame of each picture",
        looked_at=len(keys),
    )


def dead_pixels(frames: CheckedFrames, *, max_share: float = 0.0005) -> CheckResult:
    """Devices with pixels that stay the same over many scenes: dead or stuck ones, a scratch, dirt, a printed logo.

    Over one frame from each session of a device (at least 12), a pixel whose standard deviation stays below 1.5 gray
    levels while the median pixel's is above 12 does not see. A device is named when more than `max_share` (0..1) of its
    pixels are so. Score: 0.5 at the limit, up to 1. The finding's file is a frame of the device.
    """
    keys, devices, sessions = (frames.column(name) for name in ("key", "device", "session"))
    findings, judged, too_few = [], 0, []
    for device, numbers in sorted(_by(devices).items()):
        scenes = np.array(list({sessions[i]: i for i in reversed(numbers)}.values())[::-1])
        if len(scenes) < MIN_SCENES:
            too_few.append(device)
            continue
        deviation = _deviation(frames, scenes)
        if float(np.median(deviation)) < LIVELY_LEVELS:  # always the same view: no pixel can be told from a dead one
            too_few.append(device)
            continue
        judged += 1
        share = float((deviation < NOISE_LEVELS).mean())
        if share > max_share:
            row, column = np.unravel_index(int(deviation.argmin()), deviation.shape)
            note = f"{device}: {share * deviation.size:.0f} pixels never change, e.g. row {row}, column {column}"
            score = min(1.0, 0.5 + 0.5 * np.log10(share / max_share) / 3)
            findings.append(Finding(file=keys[int(scenes[0])], score=score, note=note))
    return CheckResult(
        check="dead_pixels",
        severity="warning",
        findings=worst_first(findings),
        observed=f"{len(findings)} of {judged} devices have pixels that never change"
        + (f"; too few or too similar scenes to tell: {', '.join(too_few[:5])}" if too_few else ""),
        advice="clean the lens, or replace the camera; a model learns such marks as the device's name",
        looked_at=len(keys),
        skipped="" if judged else f"no device has {MIN_SCENES} sessions of different scenes",
    )


def _deviation(frames: CheckedFrames, numbers: NDArray[np.integer]) -> NDArray[np.float64]:
    """Standard deviation of every pixel over these frames, in gray levels: float64 (120, 160)."""
    total = np.zeros((120, 160))
    squares = np.zeros((120, 160))
    for start in range(0, len(numbers), 256):
        pixels = frames.gather(numbers[start : start + 256]).astype(np.float32)
        total += pixels.sum(0, dtype=np.float64)
        squares += (pixels * pixels).sum(0, dtype=np.float64)
    mean = total / len(numbers)
    deviation: NDArray[np.float64] = np.sqrt(np.maximum(squares / len(numbers) - mean * mean, 0))
    return deviation


def _by(values: Sequence[str | datetime | None]) -> dict[str, list[int]]:
    """The numbers of the rows that hold each value."""
    found: dict[str, list[int]] = defaultdict(list)
    for number, value in enumerate(values):
        found[str(value)].append(number)
    return dict(found)
