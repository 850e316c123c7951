"""Figures of a binary classifier from labels and scores. Pure numpy; person (label 1) is the positive class."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.lineage import ModelMetrics


def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Labels as bool (n,) and scores as float64 (n,).

    Raises `ValueError` for no samples, unequal lengths, labels other than 0 and 1, and scores outside 0..1 or NaN: a
    model that gives those has no accuracy.
    """
    truth, values = np.asarray(labels), np.asarray(scores, np.float64)
    if truth.shape != values.shape or truth.ndim != 1 or not len(truth):
        raise ValueError(f"labels {truth.shape} and scores {values.shape} must be equally long and not empty")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("labels must be 0 (no_person) or 1 (person)")
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        raise ValueError(
            f"{len(wrong)} of {len(values)} scores are not in 0..1, the first is sample {wrong[0]}: {values[wrong[0]]}"
        )
    return truth.astype(bool), values


def auc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the ROC curve, ties counted half (Mann-Whitney U with mid-ranks); None where one class is missing."""
    truth, values = checked(labels, scores)
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    mid_ranks = np.cumsum(counts) - (counts - 1) / 2  # ranks from 1; equal scores share the mean of theirs
    rank_sum = float(mid_ranks[inverse][truth].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def roc_points(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ROC curve from (0, 0) to (1, 1), one point a distinct score: (false positive rate, true positive rate).

    Raises `ValueError` where one class is missing: there is no curve.
    """
    truth, values = checked(labels, scores)
    if truth.all() or not truth.any():
        raise ValueError("an ROC curve needs frames of both classes")
    order = np.argsort(-values, kind="stable")
    last_of_score = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    true_positives = np.cumsum(truth[order])[last_of_score]
    false_positives = last_of_score + 1 - true_positives
    return (
        np.concatenate([[0.0], false_positives / (~truth).sum()]),
        np.concatenate([[0.0], true_positives / truth.sum()]),
    )


def model_metrics(labels: ArrayLike, scores: ArrayLike, threshold: float) -> ModelMetrics:
    """All figures at one threshold. `labels`: 0/1 (n,); `scores`: 0..1 (n,); person from `threshold` on."""
    truth, values = checked(labels, scores)
    said = values >= threshold
    tp, fp = int((said & truth).sum()), int((said & ~truth).sum())
    fn, tn = int((~said & truth).sum()), int((~said & ~truth).sum())
    return ModelMetrics(
        samples=len(truth),
        accuracy=(tp + tn) / len(truth),
        precision=tp / (tp + fp) if tp + fp else None,
        recall=tp / (tp + fn) if tp + fn else None,
        auc=auc(truth, values),
        confusion=((tn, fp), (fn, tp)),
    )
