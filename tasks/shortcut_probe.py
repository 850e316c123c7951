"""Whether the task can be cheated: labels that brightness and sharpness, the device or the day give away."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.checked_frames import CheckedFrames
from tasks.findings import CheckResult, Finding, worst_first
from tasks.lineage import CLASSES, SPLITS
from tasks.progress import Progress, silent
from tasks.session_folds import session_folds

CHECK = "shortcut_probe"
DEVICE_CHECK = "device_tells_label"
FOLDS = 4
SHOWN = 12  # frames of a split and class
_BINS = 16  # of the gray histogram, 16 levels each
_RESAMPLED = 400


def shortcut_probe(
    frames: CheckedFrames,
    *,
    limit: float = 0.75,
    min_frames: int = 50,
    min_sessions: int = 20,
    progress: Progress = silent,
) -> CheckResult:
    """How well statistics of the whole picture alone predict the label, in each split.

    Brightness, contrast, black and white share, sharpness and a gray histogram of 16 bins, given to gradient-boosted
    trees. Fitted on the train split (by cross-validation over sessions for that split itself), or over all frames
    where they have no splits. Warns where the lower end of the 95 % interval (bootstrap over sessions) of the balanced
    accuracy (0..1, 0.5 is chance) is above `limit`. Splits with fewer than `min_frames` frames or `min_sessions`
    sessions of a class are left out. Score: probability (0..1) that the statistics give the frame's own label; the
    frames shown are those whose statistics say most.
    """
    keys, digests, sessions, labels = (frames.column(name) for name in ("key", "pixels_sha256", "session", "label"))
    splits = [one or "" for one in frames.column("split")]
    chosen = [number for number in range(len(frames)) if labels[number] in CLASSES]
    # By content, not by row: the same frames in another order give the same answer.
    numbers = np.array(sorted(chosen, key=lambda number: (digests[number], keys[number])), np.intp)
    label, session = np.array([labels[one] for one in numbers]), np.array([sessions[one] for one in numbers])
    split = np.array([splits[one] for one in numbers])

    def enough(mask: NDArray[np.bool_]) -> bool:
        return all(
            (mask & (label == one)).sum() >= min_frames and len(set(session[mask & (label == one)])) >= min_sessions
            for one in CLASSES
        )

    # A session on both sides is another check's finding; here it must not make statistics look strong.
    train = split == "train"
    apart = train & ~np.isin(session, session[~train])
    trained_on = train if enough(apart) else np.ones(len(numbers), bool)
    if not enough(trained_on):
        reason = f"fewer than {min_frames} labelled frames of {min_sessions} sessions in a class"
        return CheckResult(check=CHECK, severity="warning", skipped=reason, looked_at=len(numbers))
    names, table = _statistics(frames, progress)
    table = table[numbers]
    person = _probabilities(table, label == "person", session, label, trained_on)
    findings: list[Finding] = []
    told, above = [], []
    parts: list[str] = [one for one in SPLITS if enough(split == one)] if not trained_on.all() else []
    for part in parts or ["all"]:
        here = np.flatnonzero(split == part) if parts else np.arange(len(numbers))
        accuracy, low, high = _balanced_accuracy(person[here] > 0.5, label[here] == "person", session[here])
        told.append(f"{'all frames' if part == 'all' else part} {accuracy:.1%} ({low:.1%} to {high:.1%})")
        if low > limit:
            above.append(part)
            findings += _telling([keys[one] for one in numbers[here]], label[here], person[here], table[here], part)
    strongest = _strongest(names, table, label == "person")
    observed = f"balanced accuracy of picture statistics alone: {', '.join(told)}; strongest: {strongest}"
    advice = (
        "make the classes alike where they are not: take frames of both under the same light and with the same lens, "
        "and augment what gives the label away; look at the accuracy per device"
    )
    return CheckResult(
        check=CHECK,
        severity="warning",
        findings=worst_first(findings),
        observed=f"{observed}; the limit is {limit:.0%}",
        advice=advice if above else "",
        looked_at=len(numbers),
    )


def _statistics(frames: CheckedFrames, progress: Progress) -> tuple[list[str], NDArray[np.float32]]:
    """Names (d), and float32 (n, d)."""
    thumbnails, figures = frames.look(progress)
    cells = thumbnails.reshape(len(frames), -1)
    width = 256 // _BINS
    shares = np.stack([((cells // width) == level).mean(1, dtype=np.float32) for level in range(_BINS)], axis=1)
    names = ["brightness", "contrast", "black share", "white share", "sharpness"]
    names += [f"share of gray levels {level * width}-{(level + 1) * width - 1}" for level in range(_BINS)]
    return names, np.concatenate([np.stack(figures, axis=1), shares], axis=1)


def _probabilities(
    table: NDArray[np.float32],
    person: NDArray[np.bool_],
    session: NDArray[np.str_],
    label: NDArray[np.str_],
    trained_on: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Probability (0..1) of `person` by trees that saw no frame of the same session: (n,)."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    def fitted(rows: NDArray[np.intp]) -> HistGradientBoostingClassifier:
        trees = HistGradientBoostingClassifier(
            max_iter=40,
            learning_rate=0.2,
            max_leaf_nodes=8,
            max_bins=63,
            early_stopping=False,
            class_weight="balanced",
            random_state=0,
        )
        # OpenMP's threads wait by spinning: on a machine with other work two are twenty times slower than one.
        with threadpool_limits(1, "openmp"):
            return trees.fit(table[rows], person[rows])

    found = np.empty(len(person))
    train = np.flatnonzero(trained_on)
    fold = session_folds(session[train].tolist(), label[train].tolist(), FOLDS)
    for number in range(FOLDS):
        held_out = train[fold == number]
        found[held_out] = fitted(train[fold != number]).predict_proba(table[held_out])[:, 1]
    others = np.flatnonzero(~trained_on)
    if len(others):
        shared = np.isin(session[train], session[others])
        found[others] = fitted(train[~shared]).predict_proba(table[others])[:, 1]
    return found


def _balanced_accuracy(
    said: NDArray[np.bool_], person: NDArray[np.bool_], session: NDArray[np.str_]
) -> tuple[float, float, float]:
    """Balanced accuracy (0..1) with its 95 % interval by a bootstrap over sessions."""
    _, number = np.unique(session, return_inverse=True)
    total = int(number.max()) + 1
    counts = np.stack(
        [np.bincount(number, weights, total) for weights in (person, person & said, ~person, ~person & ~said)], axis=1
    )

    def accuracy(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = (
            sums[..., 1] / np.maximum(sums[..., 0], 1) + sums[..., 3] / np.maximum(sums[..., 2], 1)
        ) / 2
        return found

    dice = np.random.default_rng(0)
    drawn = [np.bincount(dice.integers(0, total, total), minlength=total) @ counts for _ in range(_RESAMPLED)]
    low, high = np.quantile(accuracy(np.stack(drawn)), (0.025, 0.975))
    return float(accuracy(counts.sum(0))), float(low), float(high)


def _strongest(names: Sequence[str], table: NDArray[np.float32], person: NDArray[np.bool_]) -> str:
    """The three statistics that tell most by themselves, with their area under the ROC curve."""
    from sklearn.metrics import roc_auc_score

    areas = [float(roc_auc_score(person, column)) for column in table.T]
    best = sorted(range(len(names)), key=lambda number: -abs(areas[number] - 0.5))[:3]
    return ", ".join(
        f"{names[number]} ({'higher' if areas[number] > 0.5 else 'lower'} with person, "
        f"AUC {max(areas[number], 1 - areas[number]):.2f})"
        for number in best
    )


def _telling(
    keys: Sequence[str],
    label: NDArray[np.str_],
    person: NDArray[np.float64],
    table: NDArray[np.float32],
    part: str,
) -> list[Finding]:
    """The frames of each class whose statistics say most."""
    found = []
    for number, one in enumerate(CLASSES):
        sure = person if number else 1 - person
        mine = np.flatnonzero(label == one)
        for row in sorted(mine.tolist(), key=lambda row: (-sure[row], keys[row]))[:SHOWN]:
            note = (
                f"{part}: brightness {table[row, 0]:.0f}, contrast {table[row, 1]:.0f}, sharpness {table[row, 4]:.0f}"
            )
            found.append(
                Finding(file=keys[row], score=float(sure[row]), note=f"{note} alone say {one} ({sure[row]:.2f})")
            )
    return found


def device_tells_label(frames: CheckedFrames, *, min_frames: int = 30, max_share: float = 0.98) -> CheckResult:
    """Devices, and days of capture (UTC), with at least `min_frames` labelled frames of which more than `max_share`
    (0..1) are of one class: the label can be told from the device's noise and lens, or from the day's light.

    A finding's file is the device or the day (2026-01-31). Score: the larger class's share.
    """
    labels = frames.column("label")
    captured = frames.column("captured_at")
    by_device: dict[str, Counter[str]] = defaultdict(Counter)
    by_day: dict[str, Counter[str]] = defaultdict(Counter)
    for label, device, when in zip(labels, frames.column("device"), captured, strict=True):
        if label not in CLASSES:
            continue
        by_device[device][label] += 1
        if when is not None:
            by_day[when.date().isoformat()][label] += 1
    both = sum(by_device.values(), Counter())
    total = both.total()
    if len(both) < len(CLASSES):
        reason = f"only {next(iter(both))} is labelled" if both else "no frame has a label"
        return CheckResult(check=DEVICE_CHECK, severity="warning", skipped=reason, looked_at=total)
    groups = [("device", by_device), ("day", by_day)]
    findings, told = [], []
    for kind, group in groups:
        single = [
            Finding(
                file=name,
                score=max(counts.values()) / counts.total(),
                note=f"{kind}: {counts.most_common(1)[0][1]:,} of {counts.total():,} frames are "
                f"{counts.most_common(1)[0][0]}",
            )
            for name, counts in sorted(group.items())
            if counts.total() >= min_frames and max(counts.values()) / counts.total() > max_share
        ]
        findings += single
        if group:
            guessed = sum(max(counts.values()) for counts in group.values()) / sum(
                counts.total() for counts in group.values()
            )
            told.append(
                f"{len(single):,} of {len(group):,} {kind}s hold a single class; "
                f"who knows only the {kind} guesses {guessed:.0%} right"
            )
    if not by_day:
        told.append("no frame has a time of capture, so days could not be compared")
    advice = "take frames of both classes with each of these devices, and on each of these days"
    return CheckResult(
        check=DEVICE_CHECK,
        severity="warning",
        findings=worst_first(findings),
        observed="; ".join(told),
        advice=advice if findings else "",
        looked_at=total,
    )
