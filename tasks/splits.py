"""Which split a session belongs to: dealt once, when the session is first indexed, and never changed.

Frames of one session are near-copies, so a session is dealt as a whole. The deal is deterministic (no random state:
the order comes from the session's name), keeps the wanted shares within every (label, device) stratum, and evens out
over the strata of a label what whole sessions cannot do within one.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping

from tasks.errors import PipelineError
from tasks.lineage import SPLITS, Split
from tasks.parameters import SplitParameters

Stratum = tuple[str, str]  # (label, or "" where there is none yet; device)
Counts = Mapping[Stratum, Mapping[Split, int]]


class SharesInvalid(PipelineError):
    """The three shares do not make a whole."""


def shares_of(parameters: SplitParameters) -> dict[Split, float]:
    """Share of frames per split. Raises `SharesInvalid` where the three do not sum to 1."""
    shares: dict[Split, float] = {"train": parameters.train, "val": parameters.val, "test": parameters.test}
    if not math.isclose(sum(shares.values()), 1.0, abs_tol=1e-6):
        raise SharesInvalid(
            f"the shares train={parameters.train:g}, val={parameters.val:g}, test={parameters.test:g} "
            f"sum to {sum(shares.values()):g}; they must sum to 1",
            next_step="change them, e.g. train=0.7 val=0.15 test=0.15",
        )
    return shares


def deal(sessions: Mapping[str, Mapping[Stratum, int]], have: Counts, parameters: SplitParameters) -> dict[str, Split]:
    """A split for each session that has none yet.

    `sessions`: frames of each undealt session per stratum. `have`: frames per stratum and split that are already dealt
    (imported ones count). Sessions go one by one, those of large strata and the big ones first, to the split that
    reduces the sum of squared deviations most (steepest descent: the sum over strata of frames x deficit). Two
    deviations count: that of each stratum from its final target, and that of each label from the target of what was
    dealt so far; the second keeps thirty devices of one session each from all landing in train.
    A split with share 0 gets nothing. Raises `SharesInvalid`.
    """
    shares = {split: share for split, share in shares_of(parameters).items() if share > 0}
    stratum_have: dict[Stratum, Counter[Split]] = defaultdict(Counter)
    label_have: dict[str, Counter[Split]] = defaultdict(Counter)
    total: Counter[Stratum] = Counter()
    for stratum, per_split in have.items():
        for split, frames in per_split.items():
            stratum_have[stratum][split] += frames
            label_have[stratum[0]][split] += frames
            total[stratum] += frames
    for strata in sessions.values():
        total.update(strata)

    def order(session: str) -> tuple[int, Stratum, int, bytes]:
        strata = sessions[session]
        main = max(strata, key=lambda stratum: (strata[stratum], stratum))
        return -total[main], main, -sum(strata.values()), _shuffled(session)

    dealt: dict[str, Split] = {}
    for session in sorted(sessions, key=order):
        strata = sessions[session]
        labels: Counter[str] = Counter()
        for (label, _), frames in strata.items():
            labels[label] += frames
        so_far = {label: sum(label_have[label].values()) + frames for label, frames in labels.items()}
        gain = {
            split: sum(n * (share * total[stratum] - stratum_have[stratum][split]) for stratum, n in strata.items())
            + sum(n * (share * so_far[label] - label_have[label][split]) for label, n in labels.items())
            for split, share in shares.items()
        }
        # Rounded, so that the order of a float sum never decides; ties go by the session's name.
        best = max(shares, key=lambda split: (round(gain[split], 6), _shuffled(f"{session}/{split}")))
        dealt[session] = best
        for stratum, frames in strata.items():
            stratum_have[stratum][best] += frames
            label_have[stratum[0]][best] += frames
    return dealt


def _shuffled(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


__all__ = ["SPLITS", "SharesInvalid", "Stratum", "deal", "shares_of"]
