"""What can be said without looking at pixels: files that are no frames, odd sizes, balance of the classes."""

from collections import Counter, defaultdict

from tasks.checked_frames import CheckedFrames
from tasks.findings import CheckResult, Finding, worst_first
from tasks.lineage import CLASSES


def decodability(frames: CheckedFrames) -> CheckResult:
    """Files that are no frames, by `f2f check-frames`' rules. A warning: an import refuses them by itself."""
    reasons = Counter(file.reason for file in frames.refused)
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(4))
    every = len(frames) + len(frames.refused)
    return CheckResult(
        check="decodability",
        severity="warning",
        findings=worst_first(
            [Finding(file=file.name, note=f"{file.reason}: {file.message}") for file in frames.refused]
        ),
        observed=f"{len(frames.refused)} of {every} files are no frames" + (f": {told}" if told else ""),
        advice="an import leaves them out and says why; look whether the camera or a copy damages files",
        looked_at=every,
    )


def shape(frames: CheckedFrames) -> CheckResult:
    """Pictures of another size than the most of their device: they are cropped to 4:3 and brought to size, and look
    different from all others. Score: the share of the device's pictures that have another size than this one."""
    keys, devices = frames.column("key"), frames.column("device")
    sizes = list(zip(frames.column("width"), frames.column("height"), strict=True))
    per_device: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    for device, size in zip(devices, sizes, strict=True):
        per_device[device][size] += 1
    findings = []
    for key, device, size in zip(keys, devices, sizes, strict=True):
        usual, times = per_device[device].most_common(1)[0]
        count, every = per_device[device][size], per_device[device].total()
        if size != usual and None not in size and 2 * times > every:
            note = f"{size[0]} x {size[1]}; most from {device} are {usual[0]} x {usual[1]}"
            findings.append(Finding(file=key, score=1 - count / every, note=note))
    return CheckResult(
        check="shape",
        severity="warning",
        findings=worst_first(findings),
        observed=f"{len(findings)} of {len(keys)} pictures have another size than the most of their device",
        advice="find out where they are from: a picture from elsewhere is cropped, scaled and looks different",
        looked_at=len(keys),
        skipped="" if any(None not in size for size in sizes) or not keys else "sizes of the files are not known",
    )


def class_balance(frames: CheckedFrames, *, max_share: float = 0.6) -> CheckResult:
    """Splits in which one class has more than `max_share` (0.5..1) of the labelled frames, or that lack one.

    Frames without a split are judged as one. Blocking: accuracy on such a split is mostly that of always saying the
    larger class. Score: the share of the larger class.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for split, label in zip(frames.column("split"), frames.column("label"), strict=True):
        if label:
            counts[split or "all frames"][label] += 1
    findings, told = [], []
    for split, labels in sorted(counts.items()):
        share = max(labels.values()) / labels.total()
        what = ", ".join(f"{labels[label]:,} {label}" for label in CLASSES)
        told.append(f"{split}: {what}")
        if share > max_share:
            findings.append(
                Finding(file=split, score=share, note=f"{share:.1%} {labels.most_common(1)[0][0]} ({what})")
            )
    return CheckResult(
        check="class_balance",
        severity="blocking",
        findings=worst_first(findings),
        observed="; ".join(told),
        advice="collect frames of the smaller class, or train with balance=undersample",
        looked_at=len(frames),
        skipped="" if counts else "no frame has a label",
    )
