"""A candidate against the model in the channel: both on the candidate's test frames, on the device's kernels, paired.

No session ever crosses splits, so the channel's model has not been trained on any of these frames either, also where
they landed after it was made. The candidate's scores are those of its report; only the channel's model is run.
"""

import io
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks import degradation, interpreters, kernels, scores
from tasks.code_version import code_version
from tasks.degradation import sessions_needed
from tasks.erased_blobs import Shards
from tasks.errors import PipelineError
from tasks.interpreters import int8_outputs
from tasks.lineage import Candidate, Report, Rule
from tasks.parameters import ComparisonParameters
from tasks.progress import Progress, silent
from tasks.release_records import Comparison, Release, SliceComparison
from tasks.store import Store
from tasks.thumbnails import Scores, load_scores


def compare(
    store: Store,
    candidate: Candidate,
    held: Release | None,
    parameters: ComparisonParameters,
    progress: Progress = silent,
) -> Comparison:
    """The comparison with what the channel holds (None: nothing yet); found again where it was made before.

    Stored at its key. Progress counts inferences. Raises `tasks.interpreters.InterpreterError`.
    """
    report = store.get_record(candidate.records["report"], Report)
    identity = {
        "candidate": candidate.int8,
        "channel": held.int8 if held else None,
        "report": report.digest,
        "parameters": parameters,
        "code_version": code_version([degradation, interpreters, kernels, scores, sys.modules[__name__]]),
    }
    known = store.find_record(f"models/comparisons/{Comparison.digest_for(**identity)}.json", Comparison)
    boards = _boards(candidate, held)  # not part of the identity: the same model comes with other images as well
    if known and known.channel_release == (held.number if held else None) and known.rules[-1] == boards:
        return known
    frames = load_scores(store, report)
    right = (frames.int8 >= report.parameters.threshold) == frames.labels
    channel_right, blob = _channel_answers(store, held, candidate, frames, right, parameters, progress)
    loss = None
    if channel_right is not None:
        loss = degradation.degradation(
            channel_right, right, frames.sessions, rounds=parameters.bootstrap_rounds, seed=parameters.seed
        )
    slices = _slices(frames, right, channel_right, parameters)
    rules = (_not_behind(loss, parameters, held), *_floors(slices, parameters), boards)
    comparison = Comparison(
        **identity,
        channel_release=held.number if held else None,
        frames=len(frames),
        sessions=len(set(frames.sessions)),
        candidate_accuracy=float(right.mean()),
        channel_accuracy=None if channel_right is None else float(channel_right.mean()),
        point=loss.point if loss else None,
        bound=loss.bound if loss else None,
        lost=loss.lost if loss else 0,
        gained=loss.gained if loss else 0,
        channel_scores=blob,
        slices=slices,
        rules=rules,
        passed=all(rule.passed for rule in rules),
    )
    store.put_record(comparison.key, comparison)
    return comparison


def _channel_answers(
    store: Store,
    held: Release | None,
    candidate: Candidate,
    frames: Scores,
    right: NDArray[np.bool_],
    parameters: ComparisonParameters,
    progress: Progress,
) -> tuple[NDArray[np.bool_] | None, str | None]:
    """Whether the channel's model is right on each frame (n,), and the blob of its scores; None without a model."""
    if held is None:
        return None, None
    if held.int8 == candidate.int8:  # the same file on the same frames
        return right, None
    where = Shards(store)
    shards = {digest: np.load(where.path(digest), mmap_mode="r") for digest in set(frames.shard)}
    if not where.there(frames.shard, frames.row).all():
        raise PipelineError("frames were erased while the models were compared", next_step="run the same again")

    def pixels(start: int, stop: int) -> NDArray[np.uint8]:
        here = range(start, stop)
        return np.stack([shards[frames.shard[i]][frames.row[i]] for i in here])

    # From the release and not from records under their own keys: what is in the field is what was signed.
    model = store.get_blob(held.artefacts["model_int8.tflite"].sha256)
    threshold = Report.model_validate_json(
        store.get_blob(held.artefacts["records/report.json"].sha256)
    ).parameters.threshold
    outputs = int8_outputs(
        model,
        pixels,
        len(frames),
        workers=parameters.workers,
        name=f"INT8 model {held.int8[:12]} of release {held.number}",
        frame_name=lambda index: frames.keys[index],
        progress=progress,
    )
    values, _ = scores.scores(outputs)
    table = pa.table({"pixels_sha256": pa.array(frames.pixels_sha256, pa.string()), "score": pa.array(values)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return (values >= threshold) == frames.labels, store.put_blob(buffer.getvalue())


def _slices(
    frames: Scores,
    right: NDArray[np.bool_],
    channel_right: NDArray[np.bool_] | None,
    parameters: ComparisonParameters,
) -> tuple[SliceComparison, ...]:
    devices = np.asarray(frames.devices)
    found = []
    for name in np.unique(devices):
        here = devices == name
        count = int(here.sum())
        floor = parameters.slice_floors.get(str(name))
        if floor is None and count >= parameters.min_slice_frames:
            floor = parameters.min_slice_accuracy
        found.append(
            SliceComparison(
                name=str(name),
                frames=count,
                candidate=float(right[here].mean()),
                channel=None if channel_right is None else float(channel_right[here].mean()),
                floor=floor,
            )
        )
    return tuple(found)


def _not_behind(loss: degradation.Degradation | None, parameters: ComparisonParameters, held: Release | None) -> Rule:
    limit = parameters.max_behind_bound
    if loss is None or held is None:
        reason = "nothing is in the channel yet"
        return Rule(name="not_behind", passed=True, figure=None, limit=limit, reason=reason)
    counts = f"{loss.gained} frames gained, {loss.lost} lost of {loss.frames} in {loss.sessions} sessions"
    better = loss.point <= 0
    passed = better or loss.bound <= limit
    if loss.point == 0:
        text = f"as accurate as release {held.number} ({counts})"
    elif better:
        text = f"{-100 * loss.point:.2f} points better than release {held.number} ({counts})"
    else:
        text = (
            f"{100 * loss.point:.2f} points behind release {held.number}, at most {100 * loss.bound:.2f} at 95 % "
            f"({'within' if passed else 'more than'} the {100 * limit:g} allowed; {counts})"
        )
        needed = sessions_needed(limit)
        if not passed and needed and loss.sessions < needed:
            text += f"; too few sessions to tell: even without a lost frame {needed} are needed"
    return Rule(name="not_behind", passed=passed, figure=loss.bound, limit=limit, reason=text)


def _floors(slices: tuple[SliceComparison, ...], parameters: ComparisonParameters) -> list[Rule]:
    """One rule over all slices, and one more for each named floor that no frame speaks for."""
    judged = [s for s in slices if s.floor is not None]
    below = [s for s in judged if s.candidate < (s.floor or 0)]
    worst = min(judged, key=lambda s: s.candidate - (s.floor or 0), default=None)
    if below:
        named = "; ".join(
            f"{s.name} {s.candidate:.4f} (floor {s.floor:g}, {_count(s.frames, 'frame')})" for s in below[:5]
        )
        its = "its" if len(judged) == 1 else "their"
        reason = f"{len(below)} of {_count(len(judged), 'device')} below {its} floor: {named}"
    elif worst and len(judged) == 1:
        reason = f"the only device with enough frames, {worst.name}, reaches its floor"
    elif worst:
        reason = f"all {len(judged)} devices with enough frames reach their floor; nearest is {worst.name}"
    else:
        reason = f"no device has {_count(parameters.min_slice_frames, 'test frame')}: none has a floor"
    figure, limit = (worst.candidate, worst.floor) if worst else (None, None)
    rules = [Rule(name="slices", passed=not below, figure=figure, limit=limit, reason=reason)]
    for name in sorted(set(parameters.slice_floors) - {s.name for s in slices}):
        why = f"device {name} has a floor of {parameters.slice_floors[name]:g} and no test frame"
        rules.append(
            Rule(name=f"slice {name}", passed=False, figure=None, limit=parameters.slice_floors[name], reason=why)
        )
    return rules


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _boards(candidate: Candidate, held: Release | None) -> Rule:
    """A device in the field must not lose its image."""
    have = {name.removeprefix("firmware-") for name in candidate.records if name.startswith("firmware-")}
    missing = sorted(set(held.boards) - have) if held else []
    reason = f"images for {', '.join(sorted(have)) or 'no board'}"
    if missing and held:
        reason += f"; release {held.number} also has {', '.join(missing)}: those devices would get nothing"
    return Rule(name="boards", passed=not missing, figure=float(len(have)), limit=None, reason=reason)
