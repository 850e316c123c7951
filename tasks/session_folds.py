"""Folds for cross-validation in which no session is on both sides."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def session_folds(sessions: Sequence[str], labels: Sequence[str], folds: int = 5) -> NDArray[np.intp]:
    """The fold (0..folds-1) of every frame: (n,).

    All frames of a session are in one fold, since near-copies would teach each other their label, right or wrong. Each
    class is spread evenly: large sessions are dealt first, to the fold that holds least of their most frequent class.
    Depends on names and labels only, not on the order of the frames.
    """
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for session, label in zip(sessions, labels, strict=True):
        counts[session][label] += 1

    def order(session: str) -> tuple[int, str]:
        return -sum(counts[session].values()), hashlib.sha256(session.encode()).hexdigest()

    held: dict[str, list[int]] = defaultdict(lambda: [0] * folds)
    chosen: dict[str, int] = {}
    for session in sorted(counts, key=order):
        here = counts[session]
        most = max(sorted(here), key=lambda label: here[label])
        fold = min(range(folds), key=lambda number: (held[most][number], sum(held[one][number] for one in held)))
        chosen[session] = fold
        for label, count in here.items():
            held[label][fold] += count
    return np.array([chosen[session] for session in sessions], np.intp)
