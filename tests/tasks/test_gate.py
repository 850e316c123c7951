"""The gate's rules on hand-made reports. Pure: no model runs, no bucket is there."""

import math
from typing import Any

import pytest

from tasks.degradation import sessions_needed
from tasks.gate import ReportOfAnotherModel, judge, judge_unclean
from tasks.lineage import Int8Model, Rule, Verdict
from tasks.parameters import GateLimits
from tests.tasks.records import OFFENDER, dataset_version, int8_model, report, trained_model

NAMES = ["float_free", "test_frames", "accuracy", "recall", "degradation", "degradation_bound", "size"]
TRAINED = trained_model(dataset_version())


def verdict(limits: GateLimits = GateLimits(), int8: Int8Model | None = None, **figures: Any) -> Verdict:  # noqa: B008
    int8 = int8 or int8_model(TRAINED)
    return judge(report(int8, **figures), int8, limits)


def broken(found: Verdict) -> dict[str, Rule]:
    return {rule.name: rule for rule in found.rules if not rule.passed}


def test_a_candidate_that_holds_every_limit_passes_with_every_rule_listed() -> None:
    found = verdict()
    assert found.passed
    assert [rule.name for rule in found.rules] == NAMES
    assert all(rule.passed and rule.reason and rule.figure is not None for rule in found.rules)


@pytest.mark.parametrize(
    ("rule", "figures"),
    [
        ("accuracy", {"accuracy": 0.8999}),
        ("recall", {"recall": 0.8499}),
        ("degradation", {"point": 0.00501}),
        ("degradation_bound", {"bound": 0.01001}),
        ("test_frames", {"frames": 298, "sessions": 298}),
    ],
)
def test_one_figure_beyond_its_limit_rejects_by_that_rule_alone(rule: str, figures: dict[str, Any]) -> None:
    found = verdict(**figures)
    assert not found.passed
    assert list(broken(found)) == [rule]
    assert [r.name for r in found.rules] == NAMES  # the others were evaluated, too


def test_a_figure_at_its_limit_passes() -> None:
    assert verdict(accuracy=0.9, recall=0.85, point=0.005, bound=0.01, frames=299, sessions=299).passed


def test_a_file_above_the_size_limit_is_rejected() -> None:
    found = verdict(int8=int8_model(TRAINED, size=1_500_001))
    assert list(broken(found)) == ["size"]
    assert "1,500,001 B" in broken(found)["size"].reason
    assert verdict(int8=int8_model(TRAINED, size=1_500_000)).passed


@pytest.mark.parametrize("figure", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("rule", "name"), [("degradation", "point"), ("degradation_bound", "bound")])
def test_a_loss_that_is_no_number_fails_its_rule(rule: str, name: str, figure: float) -> None:
    found = verdict(**{name: figure})
    assert list(broken(found)) == [rule]
    assert broken(found)[rule].figure is None


def test_a_recall_that_does_not_exist_fails_even_where_none_is_asked_for() -> None:
    found = verdict(limits=GateLimits(min_recall=0.0), recall=None)
    assert list(broken(found)) == ["recall"]
    assert "could not be computed" in broken(found)["recall"].reason


def test_an_accuracy_that_is_no_number_fails() -> None:
    assert list(broken(verdict(accuracy=math.nan))) == ["accuracy"]


def test_too_few_frames_say_how_many_are_needed() -> None:
    found = verdict(frames=120, sessions=120, bound=0.0247)
    assert "too few test frames to decide: 120, at least 299" in broken(found)["test_frames"].reason
    assert (
        "120 independent test frames are there and at least 299 are needed" in broken(found)["degradation_bound"].reason
    )


def test_many_frames_of_few_sessions_are_too_few_sessions() -> None:
    found = verdict(frames=2000, sessions=40, bound=0.07)
    assert list(broken(found)) == ["degradation_bound"]
    assert (
        "40 independent test sessions are there and at least 299 are needed"
        in broken(found)["degradation_bound"].reason
    )


def test_enough_sessions_and_a_broken_bound_give_the_flips_as_reason() -> None:
    assert "4 frames lost, 2 gained in 1500 sessions" in broken(verdict(bound=0.02))["degradation_bound"].reason


def test_a_bound_of_zero_is_not_answered_with_a_number_of_frames() -> None:
    found = verdict(limits=GateLimits(max_degradation_bound=0.0))
    assert sessions_needed(0.0) is None
    assert "no number of frames" in broken(found)["degradation_bound"].reason


def test_figures_of_the_validation_split_never_pass() -> None:
    found = verdict(split="val")
    assert list(broken(found)) == ["test_frames"]
    assert "split val" in broken(found)["test_frames"].reason


def test_a_model_with_offenders_is_rejected_without_a_report() -> None:
    int8 = int8_model(TRAINED, offenders=(OFFENDER,) * 5)
    found = judge_unclean(int8, GateLimits())
    assert not found.passed
    assert found.report == ""
    assert [rule.name for rule in found.rules] == NAMES
    assert list(broken(found)) == NAMES[:-1]  # its size is known and fine
    assert "float_op SIN" in broken(found)["float_free"].reason
    assert "and 2 more" in broken(found)["float_free"].reason


def test_a_model_with_offenders_is_rejected_with_a_good_report_as_well() -> None:
    assert list(broken(verdict(int8=int8_model(TRAINED, offenders=(OFFENDER,))))) == ["float_free"]


def test_a_clean_model_is_not_judged_as_an_unclean_one() -> None:
    with pytest.raises(ValueError, match="is clean"):
        judge_unclean(int8_model(TRAINED), GateLimits())


def test_a_report_about_another_model_is_refused() -> None:
    mine = int8_model(TRAINED)
    other = mine.model_copy(update={"digest": "", "code_version": "other"})
    other = Int8Model.model_validate(other.model_dump())
    with pytest.raises(ReportOfAnotherModel):
        judge(report(other), mine, GateLimits())


def test_the_same_report_and_limits_give_the_same_verdict() -> None:
    assert verdict() == verdict()
    assert verdict().digest != verdict(limits=GateLimits(min_accuracy=0.91)).digest
