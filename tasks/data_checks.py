"""All checks of a data set, one after the other, with the limits of a run."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from tasks.alike_pairs import alike_pairs
from tasks.checked_frames import CheckedFrames
from tasks.drift import drift
from tasks.embedding import Embed
from tasks.errors import PipelineError
from tasks.findings import CheckResult
from tasks.folder_checks import class_balance, decodability, shape
from tasks.frame_quality import blur, dead_pixels, exposure, stuck_sensor
from tasks.label_errors import label_errors
from tasks.near_duplicates import (
    exact_duplicates,
    label_conflicts,
    near_duplicates_across_splits,
    near_duplicates_in_split,
    session_leakage,
)
from tasks.parameters import DataCheckParameters
from tasks.progress import Progress, silent
from tasks.shortcut_probe import device_tells_label, shortcut_probe

T = TypeVar("T")
Results = CheckResult | Iterable[CheckResult]


class CheckCrashed(PipelineError):
    """A check did not come to an answer. Never taken for one."""


def run_checks(
    frames: CheckedFrames,
    limits: DataCheckParameters,
    *,
    repeats: Mapping[str, int] | None = None,
    embed: Embed | None = None,
    reference: CheckedFrames | None = None,
    progress: Progress = silent,
) -> tuple[CheckResult, ...]:
    """Every check's answer, in a fixed order. Raises `CheckCrashed`.

    `repeats`: as in `stuck_sensor`. `embed`: as in `label_errors`. `reference`: frames that these are compared with;
    without them there is no answer about drift.
    """
    pairs = _run("near duplicates", lambda: alike_pairs(frames, progress))
    checks: dict[str, Callable[[], Results]] = {
        "decodability": lambda: decodability(frames),
        "shape": lambda: shape(frames),
        "class_balance": lambda: class_balance(frames, max_share=limits.max_class_share),
        "session_leakage": lambda: session_leakage(frames),
        "label_conflicts": lambda: label_conflicts(frames, pairs),
        "near_duplicates_across_splits": lambda: near_duplicates_across_splits(frames, pairs, limits.sure_similarity),
        "near_duplicates_in_split": lambda: near_duplicates_in_split(frames, pairs),
        "exact_duplicates": lambda: exact_duplicates(frames, pairs),
        "stuck_sensor": lambda: stuck_sensor(frames, min_repeats=limits.min_repeats, repeats=repeats),
        "dead_pixels": lambda: dead_pixels(frames),
        "exposure": lambda: exposure(
            frames, max_dark=limits.max_dark, max_bright=limits.max_bright, min_contrast=limits.low_contrast
        ),
        "blur": lambda: blur(frames, min_sharpness=limits.min_sharpness),
        "label_errors": lambda: label_errors(frames, embed=embed, progress=progress),
        "shortcut_probe": lambda: shortcut_probe(frames, limit=limits.max_shortcut_accuracy, progress=progress),
        "device_tells_label": lambda: device_tells_label(frames),
    }
    if reference is not None:
        checks["drift"] = lambda: drift(
            reference, frames, false_alarm_rate=limits.drift_false_alarm_rate, progress=progress
        )
    results: list[CheckResult] = []
    for done, (name, check) in enumerate(checks.items(), 1):
        found = _run(name, check)
        results += [found] if isinstance(found, CheckResult) else found
        progress(done, len(checks), "checks")
    return tuple(results)


def _run(name: str, check: Callable[[], T]) -> T:
    try:
        return check()
    except PipelineError:
        raise
    except Exception as error:
        raise CheckCrashed(
            f"check {name} crashed: {type(error).__name__}: {error}",
            next_step="this counts as failed; report it with the frames that it happened on",
        ) from error
