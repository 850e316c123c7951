"""`NAME=VALUE` into the flows' parameter models. Does not run a flow."""

import pytest
from click.testing import CliRunner

from deployments.assignments import BadParameter, described, fields, parse
from deployments.cli import cli
from flows.parameters import RetrainParameters, SweepParameters


def test_short_and_full_names_set_the_same_parameter() -> None:
    short = parse(RetrainParameters, ["alpha=0.35", "weights=none"])
    assert short == parse(RetrainParameters, ["train.alpha=0.35", "train.weights=none"])
    assert short.train.alpha == 0.35
    assert short.train.weights == "none"


@pytest.mark.parametrize("digits", ["2881e67543", "1234567890", "true", "null", "[1]", "0012"])
def test_text_is_never_taken_for_a_number_or_a_list(digits: str) -> None:
    assert parse(RetrainParameters, [f"weights={digits}"]).train.weights == digits
    assert parse(RetrainParameters, [f'weights="{digits}"']).train.weights == digits


def test_lists_are_json() -> None:
    assert parse(RetrainParameters, ['devices=["a","b"]']).dataset.devices == ("a", "b")
    assert parse(SweepParameters, ["widths=[64]"]).widths == (64,)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("alph=0.35", "did you mean alpha"),
        ("limits.min_acuracy=1", "limits.min_accuracy"),
        ("seed=1", "dataset.seed, train.seed"),
        ("alpha", "not NAME=VALUE"),
        ("alpha=0.4", "0.35, 0.5, 0.75, 1.0"),
        ("batch_size=0", "greater than or equal to 1"),
        ("batch_size=many", "batch_size='many'"),
        ("evaluate.split=val", "test split only"),
    ],
)
def test_what_cannot_be_is_refused_with_what_was_meant(assignment: str, said: str) -> None:
    with pytest.raises(BadParameter) as refused:
        parse(RetrainParameters, [assignment])
    assert said in str(refused.value)


def test_a_sweep_never_looks_at_test_and_refuses_an_impossible_width_before_any_training() -> None:
    with pytest.raises(BadParameter, match="never serves one"):
        parse(SweepParameters, ["evaluate.split=test"])
    with pytest.raises(BadParameter, match="multiple of 32"):
        parse(SweepParameters, ["widths=[100]"])


def test_every_parameter_has_a_description_for_the_form() -> None:
    for kind in (RetrainParameters, SweepParameters):
        assert not [name for name, field in fields(kind).items() if not field.description]
        assert all(name in described(kind) for name in fields(kind))


@pytest.mark.parametrize("name", ["retrain", "sweep"])
def test_the_command_lists_its_parameters(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--parameters"])
    assert result.exit_code == 0
    assert "train.fine_tune_layers=60" in result.stdout


def test_a_margin_that_no_score_can_fall_below_is_refused_before_anything_is_trained() -> None:
    from flows.parameters import RetrainParameters

    with pytest.raises(BadParameter, match="no score would be low enough"):
        parse(RetrainParameters, ["firmware.hysteresis.margin=0.5"])
    with pytest.raises(BadParameter, match="named twice"):
        parse(RetrainParameters, ['boards=["mps2-an386", "mps2-an386"]'])
