"""The repair list: what the checks found as a table that a person edits, and its decisions back into the index.

A row names a frame that a check found. The person fills the column `action`: a label (`person`, `no_person`), `drop`
(the frame is forgotten), or `keep` or nothing (it stays as it is). All rows are judged before anything changes.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from tasks import frame_index
from tasks.checked_frames import CheckedFrames
from tasks.errors import PipelineError
from tasks.findings import CheckResult
from tasks.forget import Selection, forget
from tasks.lineage import CLASSES
from tasks.progress import Progress, silent
from tasks.store import Store

COLUMNS = ("check", "severity", "file", "other", "score", "note", "label", "action")
ACTIONS = (*CLASSES, "drop", "keep", "")
_NAMED = 5  # faulty lines that a message names


class ReviewRefused(PipelineError):
    """A repair list that cannot be taken as it is. Nothing was changed."""


class Decisions(BaseModel):
    """What a repair list says. `labels`: key -> label; `drops`: keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    labels: dict[str, str]
    drops: tuple[str, ...]
    kept: int  # rows that leave their frame as it is


class Applied(BaseModel):
    """What became of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    relabelled: int  # frames whose label is another one now
    forgotten: int
    kept: int


def review_list(results: Iterable[CheckResult], frames: CheckedFrames) -> str:
    """The findings about single frames as CSV, the blocking checks first, each with the label that it has now."""
    label_of = dict(zip(frames.column("key"), frames.column("label"), strict=True))
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in sorted(results, key=lambda one: not one.blocks):
        for one in result.findings:
            if one.file in label_of:  # findings about a split or a refused file have no label to change
                score = f"{one.score:.4f}"
                label = label_of[one.file] or ""
                writer.writerow([result.check, result.severity, one.file, one.other, score, one.note, label, ""])
    return sink.getvalue()


def read_decisions(text: str) -> Decisions:
    """The decisions in an edited list. Raises `ReviewRefused`, with the lines, for anything that is not understood."""
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    missing = {"file", "action"} - set(rows.fieldnames or ())
    if missing:
        raise ReviewRefused(
            f"the list has no column {' and '.join(sorted(missing))}",
            next_step="`f2f data review export` writes one; keep its first line, and commas between the columns",
        )
    faults: list[str] = []
    wanted: dict[str, dict[str, int]] = defaultdict(dict)  # key -> action -> line
    kept = 0
    for row in rows:
        key, action = (row["file"] or "").strip(), (row["action"] or "").strip().lower()
        if action not in ACTIONS:
            faults.append(f"line {rows.line_num}: action {action!r}")
        elif action in ("", "keep"):
            kept += 1
        elif not key:
            faults.append(f"line {rows.line_num}: no file")
        else:
            wanted[key].setdefault(action, rows.line_num)
    faults += [
        f"{key} is to be {' and '.join(f'{action} (line {line})' for action, line in actions.items())}"
        for key, actions in wanted.items()
        if len(actions) > 1
    ]
    if faults:
        raise ReviewRefused(
            f"{_told(faults)}; nothing was changed",
            next_step=f"actions are {', '.join(filter(None, ACTIONS))}, or nothing; one for each frame",
        )
    chosen = {key: next(iter(actions)) for key, actions in wanted.items()}
    return Decisions(
        labels={key: action for key, action in chosen.items() if action != "drop"},
        drops=tuple(key for key, action in chosen.items() if action == "drop"),
        kept=kept,
    )


def apply(store: Store, decisions: Decisions, reason: str, progress: Progress = silent) -> Applied:
    """Sets labels and forgets frames. Data sets that exist stay as they are; the next one is made of what holds then.

    A second time it changes nothing. Raises `ReviewRefused` where a frame is not in the index.
    """
    pixels = _pixels_of(store, [*decisions.labels, *decisions.drops])
    relabelled = frame_index.set_labels(store, decisions.labels) if decisions.labels else 0  # type: ignore[arg-type]
    gone = dict.fromkeys(digest for key in decisions.drops if (digest := pixels[key]))
    for done, digest in enumerate(gone, 1):
        forget(store, Selection("frame", digest), reason)
        progress(done, len(gone), "frames")
    if gone:
        frame_index.compact(store)
    return Applied(relabelled=relabelled, forgotten=len(gone), kept=decisions.kept)


def _pixels_of(store: Store, keys: Sequence[str]) -> dict[str, str | None]:
    """pixels_sha256 of frames; None of one that was forgotten before."""
    index = frame_index.load(store, ["kind", "key", "pixels_sha256", "label"])
    every = index.rows.filter(pc.equal(index.rows["kind"], "frame"))
    names = pa.array(keys, pa.string())
    known = every.filter(pc.is_in(every["key"], value_set=names))
    found = dict(zip(known["key"].to_pylist(), known["pixels_sha256"].to_pylist(), strict=True))
    still = set(index.frames.filter(pc.is_in(index.frames["key"], value_set=names))["key"].to_pylist())
    if unknown := [key for key in keys if key not in found]:
        raise ReviewRefused(
            f"{_told(unknown)}: no such frame in the index; nothing was changed",
            next_step="the list must be of this bucket; leave the column `file` as it was exported",
        )
    return {key: digest if key in still else None for key, digest in found.items()}


def _told(faults: Sequence[str]) -> str:
    more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return "; ".join(faults[:_NAMED]) + more
