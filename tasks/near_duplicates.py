"""Checks of frames that are there twice: copies, near copies, copies in two splits, copies with two labels.

All take the pairs of `tasks.alike_pairs.alike_pairs`, which are found once. The score of a finding is the pair's
similarity, 1 where every pixel is the same.

A camera that does not move sees the same picture whenever nothing happens: frames of an empty room on two days are near
copies as well, and pixels cannot tell which of the two it is. In two splits they mislead all the same: the model is
judged on what it saw in training.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations

from tasks.aligned import plain
from tasks.alike_pairs import NEAREST, SAME, Alike
from tasks.checked_frames import CheckedFrames
from tasks.findings import CheckResult, Finding, worst_first

# Similarity from which a pair in two splits stops a run. Of 28 pairs that 16,216 photographs have between sessions the
# only wrong one is at 0.80; the margin above `aligned.LIMIT` is for cameras that are unlike those.
SURE = 0.8


def exact_duplicates(frames: CheckedFrames, pairs: Sequence[Alike]) -> CheckResult:
    """Frames with the same pixels as an earlier one, both in one split or without splits. Warning: ingest drops them.

    Score 1. Copies in two splits are `near_duplicates_across_splits`.
    """
    split = frames.column("split")
    same = [one for one in pairs if one.how == SAME and split[one.first] == split[one.second]]
    count = len({number for one in same for number in one[:2]})
    return CheckResult(
        check="exact_duplicates",
        severity="warning",
        findings=_found(frames, same),
        observed=f"{_frames(count)} share their pixels with another one of their split",
        advice="Nothing has to be done: an import keeps one frame of each. Where you did not copy them yourself, look "
        "for a camera that sends the same frame again." * bool(same),
        looked_at=len(frames),
    )


def near_duplicates_across_splits(
    frames: CheckedFrames, pairs: Sequence[Alike], sure: float = SURE
) -> tuple[CheckResult, CheckResult]:
    """The same picture in two splits: blocking from similarity `sure` on, and a warning below.

    Frames without a split are not looked at. Pairs of one session count as well.
    """
    split = frames.column("split")
    apart = [one for one in pairs if None not in (a := _both(split, one)) and a[0] != a[1]]
    certain = [one for one in apart if one.similarity >= sure]
    possible = [one for one in apart if one.similarity < sure]
    advice = (
        "Give all frames of a picture one session and split them again, or remove the copies from the larger split. "
        "Empty rooms before a camera that does not move are alike too: keep that camera in one split."
    )
    splits = Counter(" and ".join(sorted(_both(split, one))) for one in certain)
    where = "; ".join(f"{count:,} in {names}" for names, count in sorted(splits.items()))
    skipped = "" if any(split) else "the frames have no splits yet"
    sure_result = CheckResult(
        check="near_duplicates_across_splits",
        severity="blocking",
        findings=_found(frames, certain, split),
        observed=f"{_pairs(len(certain))} of frames show the same in two splits{': ' * bool(where)}{where}. "
        + _limits(frames),
        advice=advice * bool(certain),
        looked_at=sum(one is not None for one in split),
        skipped=skipped,
    )
    unsure = CheckResult(
        check="possible_duplicates_across_splits",
        severity="warning",
        findings=_found(frames, possible, split),
        observed=f"{_pairs(len(possible))} in two splits may show the same (similarity below {sure:g})",
        advice=f"Look at them. {advice}" * bool(possible),
        looked_at=sure_result.looked_at,
        skipped=skipped,
    )
    return sure_result, unsure


def near_duplicates_in_split(frames: CheckedFrames, pairs: Sequence[Alike]) -> CheckResult:
    """Near copies in different sessions of one split, or of a set without splits. Warning.

    Near copies within a session are how cameras work: they are counted in `observed` and not listed.
    """
    split, session = frames.column("split"), frames.column("session")
    near = [one for one in pairs if one.how != SAME and split[one.first] == split[one.second]]
    bursts = {n for one in near if session[one.first] == session[one.second] for n in one[:2]}
    listed = [one for one in near if session[one.first] != session[one.second]]
    share = len(bursts) / max(len(frames), 1)
    return CheckResult(
        check="near_duplicates_in_split",
        severity="warning",
        findings=_found(frames, listed),
        observed=f"{_pairs(len(listed))} of near copies in different sessions. {_frames(len(bursts))} ({share:.1%}) "
        f"are near copies of another one of their own session. {_limits(frames)}",
        advice="Give them one session: else they may be dealt to two splits the next time, and they count as several "
        "where they say the same." * bool(listed),
        looked_at=len(frames),
    )


def label_conflicts(frames: CheckedFrames, pairs: Sequence[Alike]) -> tuple[CheckResult, CheckResult]:
    """The same pixels with two labels (blocking), and near copies with two labels (warning).

    Of identical frames each is compared with the first that has the other label. Frames without a label are left out.
    """
    label, keys, digests = frames.column("label"), frames.column("key"), frames.column("pixels_sha256")
    groups: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number in sorted(range(len(frames)), key=keys.__getitem__):
        if label[number] is not None:
            groups[digests[number]][label[number]].append(number)
    exact = [
        Alike(min(one[0], number), max(one[0], number), 1.0, SAME)
        for group in groups.values()
        for one, other in combinations(list(group.values()), 2)
        for number in other
    ]
    near = [one for one in pairs if one.how != SAME and None not in (a := _both(label, one)) and a[0] != a[1]]
    looked_at = sum(one is not None for one in label)
    return (
        CheckResult(
            check="label_conflicts",
            severity="blocking",
            findings=_found(frames, exact, label),
            observed=f"{_pairs(len(exact))} with the same pixels and two labels",
            advice="One of the two labels is wrong, or the picture is neither: correct it or take both out."
            * bool(exact),
            looked_at=looked_at,
        ),
        CheckResult(
            check="near_label_conflicts",
            severity="warning",
            findings=_found(frames, near, label),
            observed=f"{_pairs(len(near))} that show nearly the same and have two labels. {_limits(frames)}",
            advice="Look at both: one label is wrong, unless somebody just comes into the picture." * bool(near),
            looked_at=looked_at,
        ),
    )


def session_leakage(frames: CheckedFrames) -> CheckResult:
    """Sessions with frames in two splits: one finding a session, blocking. `file` is in its smaller split, `other` in
    its largest; the score is twice the share of its frames outside the largest, at most 1."""
    split, session, keys = frames.column("split"), frames.column("session"), frames.column("key")
    inside: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number in sorted(range(len(frames)), key=keys.__getitem__):
        if split[number] is not None and session[number] is not None:
            inside[session[number]][split[number]].append(number)
    findings = []
    for name, splits in inside.items():
        if len(splits) < 2:
            continue
        ranked = sorted(splits.items(), key=lambda one: (-len(one[1]), one[0]))
        outside = sum(len(numbers) for _, numbers in ranked[1:])
        counts = ", ".join(f"{len(numbers):,} in {where}" for where, numbers in ranked)
        findings.append(
            Finding(
                file=keys[ranked[-1][1][0]],
                other=keys[ranked[0][1][0]],
                score=min(2 * outside / (outside + len(ranked[0][1])), 1),
                note=f"session {name}: {counts}",
            )
        )
    return CheckResult(
        check="session_leakage",
        severity="blocking",
        findings=worst_first(findings),
        observed=f"{len(findings):,} of {len(inside):,} sessions have frames in two splits",
        advice="A session belongs in one split: move the smaller part to the split of the larger one." * bool(findings),
        looked_at=sum(one is not None for one in split),
        skipped="" if any(split) else "the frames have no splits yet",
    )


def _found(
    frames: CheckedFrames, pairs: Iterable[Alike], what: Sequence[str | None] | None = None
) -> tuple[Finding, ...]:
    """A finding a pair: the later name is the copy. `what`: a column whose two values are part of the note."""
    keys = frames.column("key")
    findings = []
    for one in pairs:
        other, file = sorted(one[:2], key=keys.__getitem__)
        note = f"{one.how}: {what[file]}, the other {what[other]}" if what else one.how
        findings.append(Finding(file=keys[file], other=keys[other], score=one.similarity, note=note))
    return worst_first(findings)


def _limits(frames: CheckedFrames) -> str:
    """What the search for near copies leaves out."""
    few = int(plain(frames.thumbnails).sum())
    left_out = f"; {_frames(few)} that show next to nothing were compared byte by byte only" if few else ""
    return f"Each frame was compared with the {NEAREST} nearest in each split{left_out}."


def _both(values: Sequence[str], one: Alike) -> tuple[str, str]:
    return values[one.first], values[one.second]


def _frames(count: int) -> str:
    return f"{count:,} frame{'s' * (count != 1)}"


def _pairs(count: int) -> str:
    return f"{count:,} pair{'s' * (count != 1)}"
