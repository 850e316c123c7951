"""Is there enough that is new for a retrain, and which devices have gone silent? Pure: the index in, a decision out.

New is a labelled frame that the newest claim (tasks/claims.py) did not cover: one that landed since, and one that was
there and has got a label, or another one, since. Forgotten frames never count.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from tasks.claims import Claim, Why
from tasks.frame_index import FrameIndex
from tasks.ingest import IngestSummary
from tasks.lineage import CLASSES, SPLITS, Label
from tasks.parameters import DatasetParameters, ValidationParameters, WatchPolicy

COLUMNS = ("kind", "pixels_sha256", "label", "device", "split", "indexed_at")  # of the index: what is looked at here
ARRIVALS = ("frame", "duplicate", "refused")  # kinds of rows that stand for an object which a device has sent


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Decision(_Part):
    """Whether a retrain is due, with the figures."""

    why: Why | None  # the rule that fired; None: nothing is started
    sentence: str  # the figures against their limits, and what is missing
    labelled: dict[Label, int]  # frames that a retrain could use
    new: dict[Label, int]  # of those, not in the newest claim


class SilentDevice(_Part):
    """A device that used to send."""

    device: str
    last_seen: datetime  # when something of it was last indexed
    hours: float  # since then


class ClaimRun(_Part):
    """How the retrain of the newest claim stands."""

    claim: int
    action: Literal["started", "under_way", "resumed", "closed"]  # what this look did, or found
    state: str  # Prefect's name for it
    sentence: str
    flow_run: str  # id
    url: str | None  # of its page in the UI


class WatchSummary(_Part):
    """What one look found and did."""

    ingest: IngestSummary
    decision: Decision | None  # None where a retrain is still under way: nothing is decided before it has ended
    runs: tuple[ClaimRun, ...]  # that were looked at, in the order of their claims
    silent: tuple[SilentDevice, ...]


def decide(
    index: FrameIndex,
    claim: Claim | None,
    policy: WatchPolicy,
    dataset: DatasetParameters,
    validation: ValidationParameters,
    now: datetime,
) -> Decision:
    """Whether what is new since `claim` (None: there was never one) is enough. `index` has `COLUMNS`.

    Where a split has fewer labelled frames than the validation asks for, a retrain is sure to be refused, and none is
    started whatever the policy says.
    """
    frames, before = _usable(index.frames, dataset), _usable(_covered(index, claim).frames, dataset)
    fresh = frames.filter(_is_new(frames, before))
    labelled, new = _per_class(frames), _per_class(fresh)
    total = sum(new.values())

    def decision(why: Why | None, sentence: str) -> Decision:
        return Decision(why=why, sentence=sentence, labelled=labelled, new=new)

    # The positive class first, as everybody asks for it first.
    per_class = ", ".join(
        f"{new[label]:,} of {policy.min_new_per_class:,} new {label} frames" for label in reversed(CLASSES)
    )
    enough = all(count >= policy.min_new_per_class for count in new.values())
    short = _too_few(frames, validation)
    if claim is None:
        if enough and not short:
            return decision("first", f"first retrain: {per_class}")
        return decision(None, "; ".join(["waits for the first retrain", per_class, *short]))

    share = total / before.num_rows if before.num_rows else 0.0
    # Rounded: 0.1 * 30 is more than 3 to a computer.
    least = max(policy.min_new_frames, ceil(round(policy.min_new_fraction * before.num_rows, 6)))
    by_share = f"{_percent(share)} new of {_percent(policy.min_new_fraction)} ({total:,} of {least:,} frames)"
    days = max((now - claim.claimed_at) / timedelta(days=1), 0.0)
    by_age = f"newest retrain {int(days)} days old of {policy.max_age_days:g}" if policy.max_age_days else ""
    fired: Why | None = None
    if enough:
        fired = "per_class"
    elif total >= least:
        fired = "fraction"
    elif policy.max_age_days and days >= policy.max_age_days and total:
        fired = "age"
    figures = [per_class, by_share, by_age]
    if fired and not short:
        reason = {"per_class": per_class, "fraction": by_share, "age": f"{by_age}, {total:,} new frames"}[fired]
        return decision(fired, reason)
    return decision(None, "; ".join(["waits", *(figure for figure in figures if figure), *short]))


def silent_devices(
    index: FrameIndex, registered: Collection[str], hours: float, now: datetime
) -> tuple[SilentDevice, ...]:
    """The devices that sent something once and nothing in the last `hours` (0: none), longest silent first.

    When something came is when it was indexed: that clock is ours, while the day in a key and the time of capture are
    what somebody says. A device is one that is `registered` (tasks/devices.py); where none is, one that ever sent a
    frame without a label. A folder that was imported is labelled, and is nobody who could fall silent.
    """
    if not hours:
        return ()
    rows = index.rows.filter(pc.is_in(index.rows["kind"], value_set=pa.array(ARRIVALS)))
    if registered:
        devices = pa.array(sorted(registered), pa.string())
    else:
        unlabelled = pc.and_(pc.is_null(rows["label"]), pc.not_equal(rows["kind"], "refused"))
        devices = pc.unique(rows.filter(unlabelled)["device"])
    rows = rows.filter(pc.is_in(rows["device"], value_set=devices))
    newest = rows.group_by("device").aggregate([("indexed_at", "max")]).sort_by("indexed_at_max")
    found = []
    for device, seen in zip(newest["device"].to_pylist(), newest["indexed_at_max"].to_pylist(), strict=True):
        silent = (now - seen.astimezone(UTC)) / timedelta(hours=1)
        if device and silent >= hours:
            found.append(SilentDevice(device=device, last_seen=seen, hours=round(silent, 1)))
    return tuple(found)


def _covered(index: FrameIndex, claim: Claim | None) -> FrameIndex:
    """What the claim had. Where the index was made anew since, its rows are others, and the claim had none of them."""
    made_anew = claim and (claim.index_revision > index.head.revision or claim.rows > index.rows.num_rows)
    if claim is None or made_anew:
        return FrameIndex(index.head, index.etag, index.rows.slice(0, 0))
    return index.first(claim.rows)


def _usable(frames: pa.Table, dataset: DatasetParameters) -> pa.Table:
    """The frames that the retrain would take: labelled, of its devices."""
    frames = frames.filter(pc.is_valid(frames["label"]))
    if dataset.devices:
        frames = frames.filter(pc.is_in(frames["device"], value_set=pa.array(dataset.devices, pa.string())))
    return frames


def _is_new(frames: pa.Table, before: pa.Table) -> pa.ChunkedArray:
    """Mask of `frames`: not among those `before`, or under another label."""
    at = pc.index_in(frames["pixels_sha256"], value_set=before["pixels_sha256"].combine_chunks())
    label_before = before["label"].combine_chunks().take(at)
    return pc.fill_null(pc.not_equal(frames["label"], label_before), True)


def _per_class(frames: pa.Table) -> dict[Label, int]:
    counts = {item["values"]: item["counts"] for item in pc.value_counts(frames["label"]).to_pylist()}
    return {label: counts.get(label, 0) for label in CLASSES}


def _too_few(frames: pa.Table, validation: ValidationParameters) -> list[str]:
    """What the validation is sure to miss: balancing makes these counts smaller, never larger."""
    counts = {item["values"]: item["counts"] for item in pc.value_counts(frames["split"]).to_pylist()}
    missing = []
    for split in SPLITS:
        least = getattr(validation, f"min_frames_{split}")
        if counts.get(split, 0) < least:
            missing.append(
                f"split {split} has {counts.get(split, 0):,} of {least:,} frames that the validation asks for"
            )
    return missing


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
