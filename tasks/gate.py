"""The gate: a report and limits in, a verdict with reasons out. Pure: no file, no bucket, no clock.

Every rule is evaluated and listed, also after one has failed. A figure that is missing or not a number fails its rule.
"""

import math
from typing import TypeGuard

from tasks.degradation import sessions_needed
from tasks.errors import PipelineError
from tasks.lineage import Int8Model, Report, Rule, Verdict
from tasks.parameters import GateLimits


class ReportOfAnotherModel(PipelineError):
    """The report and the model do not belong together."""


def judge(report: Report, int8: Int8Model, limits: GateLimits) -> Verdict:
    """The verdict on an evaluated model. Raises `ReportOfAnotherModel`."""
    if report.int8 != int8.digest:
        raise ReportOfAnotherModel(
            f"report {report.digest[:12]} is about INT8 model {report.int8[:12]}, not about {int8.digest[:12]}",
            next_step="evaluate this model and judge it by its own report",
        )
    loss = report.degradation
    return _verdict(
        report.digest,
        int8,
        limits,
        (
            _float_free(int8),
            _test_frames(report, limits),
            _at_least("accuracy", "INT8 accuracy", report.quantized.accuracy, limits.min_accuracy),
            _at_least("recall", "INT8 recall of person", report.quantized.recall, limits.min_recall),
            _at_most("degradation", "accuracy loss FP32 - INT8", loss.point, limits.max_degradation),
            _degradation_bound(report, limits),
            _size(int8, limits),
        ),
    )


def judge_unclean(int8: Int8Model, limits: GateLimits) -> Verdict:
    """The verdict on a model that the audit refused: rejected without a report.

    Such a model is not evaluated: degenerate scales abort the interpreters, and the figures of a graph with float ops
    would say nothing about the device. Raises `ValueError` for a clean model, which must be evaluated.
    """
    if int8.clean:
        raise ValueError(f"INT8 model {int8.digest[:12]} is clean: evaluate it, then judge its report")
    unknown = (
        ("test_frames", float(limits.min_test_frames)),
        ("accuracy", limits.min_accuracy),
        ("recall", limits.min_recall),
        ("degradation", limits.max_degradation),
        ("degradation_bound", limits.max_degradation_bound),
    )
    reason = "not evaluated: the audit found ops or tensors that are not fit for the device"
    missing = tuple(Rule(name=n, passed=False, figure=None, limit=limit, reason=reason) for n, limit in unknown)
    return _verdict("", int8, limits, (_float_free(int8), *missing, _size(int8, limits)))


def _verdict(report: str, int8: Int8Model, limits: GateLimits, rules: tuple[Rule, ...]) -> Verdict:
    passed = all(rule.passed for rule in rules)
    return Verdict(report=report, int8=int8.digest, limits=limits, passed=passed, rules=rules)


def _float_free(int8: Int8Model) -> Rule:
    found = len(int8.offenders)
    passed = int8.clean and not found
    if passed:
        reason = f"every op and tensor is full-integer and runs on the device ({sum(int8.ops.values())} ops)"
    else:
        first = "; ".join(f"{o.kind} {o.op or o.tensor}".strip() for o in int8.offenders[:3])
        more = f" and {found - 3} more" if found > 3 else ""
        reason = f"the audit found {found} offenders: {first}{more}" if found else "the audit did not call it clean"
    return Rule(name="float_free", passed=passed, figure=float(found), limit=0.0, reason=reason)


def _test_frames(report: Report, limits: GateLimits) -> Rule:
    frames, split = report.degradation.frames, report.parameters.split
    enough = frames >= limits.min_test_frames
    if split != "test":
        reason = f"evaluated on split {split}: a verdict needs the test split, which served no choice"
    elif enough:
        reason = f"{frames} test frames in {report.degradation.sessions} sessions, at least {limits.min_test_frames}"
    else:
        reason = f"too few test frames to decide: {frames}, at least {limits.min_test_frames} are needed"
    return Rule(
        name="test_frames",
        passed=enough and split == "test",
        figure=float(frames),
        limit=float(limits.min_test_frames),
        reason=reason,
    )


def _degradation_bound(report: Report, limits: GateLimits) -> Rule:
    loss, limit = report.degradation, limits.max_degradation_bound
    rule = _at_most("degradation_bound", "95 % bound of the accuracy loss", loss.bound, limit)
    if rule.passed:
        return rule
    needed = sessions_needed(limit)
    if needed is None:
        more = ": no number of frames can bound the loss at or below 0 without frames that INT8 gained"
    elif loss.sessions < needed:
        unit = "frames" if loss.method == "exact" else "sessions"
        more = (
            f": too few to decide, {loss.sessions} independent test {unit} are there and at least {needed} are needed "
            f"even with no flip at all"
        )
    else:
        more = f" ({loss.lost} frames lost, {loss.gained} gained in {loss.sessions} sessions)"
    return rule.model_copy(update={"reason": rule.reason + more})


def _size(int8: Int8Model, limits: GateLimits) -> Rule:
    passed = 0 < int8.size_bytes <= limits.max_size_bytes
    relation = "at most" if passed else "more than the"
    return Rule(
        name="size",
        passed=passed,
        figure=float(int8.size_bytes),
        limit=float(limits.max_size_bytes),
        reason=f"INT8 file {int8.size_bytes:,} B, {relation} {limits.max_size_bytes:,} B",
    )


def _at_least(name: str, what: str, figure: float | None, limit: float) -> Rule:
    if not _known(figure):
        return _unknown(name, what, limit)
    passed = figure >= limit
    relation = "at least" if passed else "below the"
    return Rule(
        name=name, passed=passed, figure=figure, limit=limit, reason=f"{what} {figure:.4f}, {relation} {limit:g}"
    )


def _at_most(name: str, what: str, figure: float | None, limit: float) -> Rule:
    if not _known(figure):
        return _unknown(name, what, limit)
    passed = figure <= limit
    text = f"{what} {100 * figure:.2f} points, {'at most' if passed else 'above the'} {100 * limit:g}"
    return Rule(name=name, passed=passed, figure=figure, limit=limit, reason=text)


def _known(figure: float | None) -> TypeGuard[float]:
    return figure is not None and math.isfinite(figure)


def _unknown(name: str, what: str, limit: float) -> Rule:
    return Rule(
        name=name, passed=False, figure=None, limit=limit, reason=f"{what} could not be computed: that fails the rule"
    )
