"""What landed objects are to the frame index: a frame, a duplicate, a label, or refused. Pure, so that a lost race can
decide again on the newer index."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from tasks.frame_index import FrameIndex
from tasks.inbox import Landed
from tasks.lineage import Split
from tasks.parameters import SplitParameters
from tasks.splits import Stratum, deal


@dataclass
class Tally:
    """How many objects became what."""

    indexed: int = 0
    unlabelled: int = 0
    duplicates: int = 0
    relabelled: int = 0
    elsewhere: int = 0
    refused: list[Landed] = field(default_factory=list)


def decide(
    index: FrameIndex, landed: Sequence[Landed], splits: SplitParameters
) -> tuple[list[dict[str, object]], Tally]:
    """The rows that `landed` adds to `index`, and the count of what they are. Pure.

    What was forgotten is refused. Needs the columns of `tasks.ingest.COLUMNS`.
    The first object with some pixels is the frame. A later one under the same label, or under none, is a duplicate; if
    only the later one has a label, the frame gets it; under another label it is refused.
    """
    landed = refuse_forgotten(index, landed)
    tally = Tally()
    rows: list[dict[str, object]] = []
    keys = pa.array([item.key for item in landed], pa.string())
    known = pc.is_in(keys, value_set=index.rows["key"].combine_chunks()).to_pylist()
    label_of = _labels_of(index, landed)
    frames: list[Landed] = []
    for item, seen in zip(landed, known, strict=True):
        base: dict[str, object] = {"key": item.key, "sha256": item.sha256, "device": item.device}
        base |= {"session": item.session, "pixels_sha256": item.pixels_sha256 or None}
        if seen or item.gone:
            tally.elsewhere += 1
            continue
        if not item.reason and item.pixels_sha256 not in label_of:
            label_of[item.pixels_sha256] = item.label
            frames.append(item)
            continue
        first = label_of.get(item.pixels_sha256)
        if not item.reason and item.label and first and item.label != first:
            message = f"labelled {item.label}, but a frame with the same pixels is there as {first}"
            item = item.refused("label_conflict", message)
        if item.reason:
            tally.refused.append(item)
            rows.append({"kind": "refused", **base, "label": item.label, "reason": item.reason})
            continue
        tally.duplicates += 1
        rows.append({"kind": "duplicate", **base, "label": item.label})
        if item.label and not first:
            tally.relabelled += 1
            label_of[item.pixels_sha256] = item.label
            rows.append({"kind": "label", **base, "label": item.label, "label_source": "metadata"})
    tally.indexed = len(frames)
    tally.unlabelled = sum(label_of[item.pixels_sha256] is None for item in frames)
    # Frames first: a label row comes after the frame that it is for.
    return [*_frame_rows(index, frames, splits), *rows], tally


def refuse_forgotten(index: FrameIndex, landed: Sequence[Landed]) -> list[Landed]:
    """`landed`, of it refused what has the pixels or the bytes of something forgotten, or is of a closed session."""
    if not index.tombstones.num_rows:
        return list(landed)
    gone = index.tombstones.select(["sha256", "pixels_sha256", "session"]).to_pylist()
    digests = {row[name] for row in gone for name in ("sha256", "pixels_sha256")} - {None}
    closed = {row["session"] for row in gone if not row["sha256"] and not row["pixels_sha256"]}

    def judged(item: Landed) -> Landed:
        if item.reason or item.gone:
            return item
        if item.session in closed:
            return item.refused("forgotten", f"session {item.session} was taken out with `f2f forget`")
        if digests & {item.sha256, item.pixels_sha256}:
            return item.refused("forgotten", "this picture was taken out with `f2f forget`")
        return item

    return list(map(judged, landed))


def _labels_of(index: FrameIndex, landed: Sequence[Landed]) -> dict[str, str | None]:
    """The label that holds now, for those pixels of `landed` that the index has."""
    wanted = pa.array([item.pixels_sha256 for item in landed if item.pixels_sha256], pa.string())
    there = index.frames.filter(pc.is_in(index.frames["pixels_sha256"], value_set=wanted))
    return dict(zip(there["pixels_sha256"].to_pylist(), there["label"].to_pylist(), strict=True))


def _frame_rows(index: FrameIndex, frames: Sequence[Landed], splits: SplitParameters) -> Iterator[dict[str, object]]:
    split_of = _splits(index, frames, splits) if frames else {}
    for item in frames:
        yield {
            "kind": "frame",
            "key": item.key,
            "sha256": item.sha256,
            "pixels_sha256": item.pixels_sha256,
            "device": item.device,
            "session": item.session,
            "captured_at": item.captured_at,
            "label": item.label,
            "label_source": "metadata" if item.label else None,
            "split": item.split or split_of[item.session],
            "split_source": "imported" if item.split else "assigned",
            "brightness": item.brightness,
            "contrast": item.contrast,
            "shard": item.shard,
            "row": item.row,
        }


def _splits(index: FrameIndex, frames: Sequence[Landed], splits: SplitParameters) -> dict[str, Split]:
    """The split of every session in `frames`: the one it has, else an imported one, else a new one."""
    have: dict[Stratum, Counter[Split]] = defaultdict(Counter)
    for found in index.frames.group_by(["label", "device", "split"]).aggregate([([], "count_all")]).to_pylist():
        have[found["label"] or "", found["device"]][found["split"]] += found["count_all"]
    sessions = pa.array({item.session for item in frames}, pa.string())
    # Forgotten frames too: a session that was once dealt stays where it was, or a model would be tested on its like.
    of_sessions = pc.is_in(index.rows["session"], value_set=sessions)
    there = index.rows.filter(pc.and_(of_sessions, pc.equal(index.rows["kind"], "frame")))
    split_of: dict[str, Split] = {}
    for session, split in zip(there["session"].to_pylist(), there["split"].to_pylist(), strict=True):
        split_of.setdefault(session, split)  # an imported session may be in two; the first is kept, validation refuses
    for item in frames:
        if item.split:
            split_of.setdefault(item.session, item.split)  # type: ignore[arg-type]
    undealt: dict[str, Counter[Stratum]] = defaultdict(Counter)
    for item in frames:
        stratum = item.label or "", item.device
        split = item.split or split_of.get(item.session)
        if split:
            have[stratum][split] += 1  # type: ignore[index]
        else:
            undealt[item.session][stratum] += 1
    return split_of | deal(undealt, have, splits)
