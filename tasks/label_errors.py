"""Frames whose label is probably wrong: confident learning (Northcutt, Jiang and Chuang, JAIR 2021) with cleanlab."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.checked_frames import CheckedFrames
from tasks.embedding import Embed
from tasks.findings import CheckResult, Finding, worst_first
from tasks.frame_descriptors import descriptors
from tasks.lineage import CLASSES
from tasks.progress import Progress, silent
from tasks.session_folds import session_folds

CHECK = "label_errors"
FOLDS = 5
_LANDMARKS = 800  # of the kernel approximation: 1,500 find a few more, in three times the time
_ADVICE = (
    "look at the worst first and correct the labels that are wrong; a frame that shows what its label says, but as no "
    "other frame does, is listed too and is worth keeping"
)


def label_errors(
    frames: CheckedFrames,
    *,
    embed: Embed | None = None,
    min_frames: int = 50,
    min_sessions: int = 20,
    min_accuracy: float = 0.75,
    progress: Progress = silent,
) -> CheckResult:
    """Frames that look like the other class to classifiers that never saw their session.

    `embed`: features of a trained network (`tasks.embedding.keras_embedding`); without it plain descriptors of
    gradients and gray, which find far fewer. A network that was trained on these very labels has learnt some of the
    errors by heart and finds fewer, too. `min_frames` and `min_sessions` of each class are needed, and classifiers
    whose balanced accuracy (0..1) on sessions that they did not see reaches `min_accuracy`.
    Score: 1 - cleanlab's label quality, the probability (0..1) of the other label.
    """
    all_labels, all_sessions, digests = (frames.column(name) for name in ("label", "session", "pixels_sha256"))
    keys = frames.column("key")
    # By content, not by row: the same frames in another order give the same findings.
    chosen = [number for number in range(len(frames)) if all_labels[number] in CLASSES]
    numbers = np.array(sorted(chosen, key=lambda number: (digests[number], keys[number])), np.intp)
    labels, sessions = [all_labels[number] for number in numbers], [all_sessions[number] for number in numbers]
    if reason := _too_few(labels, sessions, min_frames, min_sessions):
        return CheckResult(check=CHECK, severity="warning", skipped=reason, looked_at=len(numbers))
    features = _embedded(frames, embed, progress) if embed else descriptors(frames, progress)
    given = np.array([CLASSES.index(label) for label in labels], np.intp)
    person = _out_of_fold(features[numbers], given, session_folds(sessions, labels, FOLDS), plain=embed is None)
    accuracy = float(np.mean([((person > 0.5) == one)[given == one].mean() for one in (0, 1)]))
    observed = f"balanced accuracy {accuracy:.1%} on sessions that the classifier did not see"
    if accuracy < min_accuracy:
        reason = f"{observed}; {min_accuracy:.0%} is needed to tell a wrong label from a hard frame"
        return CheckResult(check=CHECK, severity="warning", skipped=reason, looked_at=len(numbers))
    findings = _suspects([keys[number] for number in numbers], given, person)
    return CheckResult(
        check=CHECK,
        severity="warning",
        findings=findings,
        observed=f"{len(findings):,} of {len(numbers):,} labels are doubtful; {observed}",
        advice=_ADVICE if findings else "",
        looked_at=len(numbers),
    )


def _too_few(labels: Sequence[str], sessions: Sequence[str], min_frames: int, min_sessions: int) -> str:
    """Why nothing can be told, or ""."""
    for one in CLASSES:
        here = [session for session, label in zip(sessions, labels, strict=True) if label == one]
        if len(here) < min_frames or len(set(here)) < min_sessions:
            return (
                f"{len(here):,} frames of {len(set(here)):,} sessions are labelled {one}: "
                f"at least {min_frames} frames of {min_sessions} sessions are needed"
            )
    return ""


def _embedded(frames: CheckedFrames, embed: Embed, progress: Progress) -> NDArray[np.float32]:
    """float32 (n, d)."""
    parts = []
    for numbers in frames.blocks():
        parts.append(embed(frames.gather(numbers)))
        progress(int(numbers[-1]) + 1, len(frames), "frames")
    return np.concatenate(parts)


def _out_of_fold(
    features: NDArray[np.float32], given: NDArray[np.intp], fold: NDArray[np.intp], *, plain: bool
) -> NDArray[np.float64]:
    """Probability (0..1) of `person` of each frame, by a classifier that saw none of its fold: (n,)."""
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler

    if not plain:  # plain descriptors are on one scale already
        features = StandardScaler().fit_transform(features)
    gamma = 0.4 / max(float(features.var(0).sum()), 1e-9)
    margin = np.empty(len(given))
    for number in range(FOLDS):
        train, held_out = fold != number, fold == number
        kernel = Nystroem(gamma=gamma, n_components=min(_LANDMARKS, int(train.sum())), random_state=0)
        ridge = Ridge(alpha=0.1 if plain else 0.3).fit(kernel.fit_transform(features[train]), 2.0 * given[train] - 1)
        margin[held_out] = ridge.predict(kernel.transform(features[held_out]))
    # Platt's scaling of margins that were all made out of fold: two numbers, which no single frame can move.
    scaled = LogisticRegression(C=1e6).fit(margin[:, None], given)
    probability: NDArray[np.float64] = scaled.predict_proba(margin[:, None])[:, 1]
    return probability


def _suspects(keys: Sequence[str], given: NDArray[np.intp], person: NDArray[np.float64]) -> tuple[Finding, ...]:
    """Those that confident learning rejects, the surest first."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    probabilities = np.stack([1 - person, person], axis=1)
    rejected = find_label_issues(given, probabilities, filter_by="prune_by_noise_rate", n_jobs=1)
    doubt = 1 - get_label_quality_scores(given, probabilities)
    return worst_first(
        [
            Finding(
                file=keys[number],
                score=float(np.clip(doubt[number], 0, 1)),
                note=f"labelled {CLASSES[given[number]]}, "
                f"looks like {CLASSES[1 - given[number]]} ({doubt[number]:.2f})",
            )
            for number in np.flatnonzero(rejected).tolist()
        ]
    )
