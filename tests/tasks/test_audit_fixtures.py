"""The audit on the fixtures and on person detectors that others ship; needs ../shared.

What is said of a fixture is what the README beside it says must be said. Everything here has its own small counterpart
in test_audit.py, which needs nothing.
"""

from pathlib import Path

import pytest

from tasks.flatbuffer import Audit, audit
from tests.tasks.tflm_judge import judged


def fixture(shared: Path, name: str, tflm: str = "upstream") -> Audit:
    return audit((shared / f"fixtures/tflite/{name}.tflite").read_bytes(), tflm=tflm)


def found(result: Audit) -> list[tuple[str, str]]:
    return [(o.kind, o.op) for o in result.offenders]


@pytest.mark.parametrize("tflm", ["upstream", "registry"])
def test_the_full_int8_mobilenet_is_clean(shared: Path, tflm: str) -> None:
    result = fixture(shared, "clean_mobilenetv2_035", tflm)
    assert result.clean
    assert result.ops == {
        "CONV_2D": 36,
        "DEPTHWISE_CONV_2D": 17,
        "ADD": 11,
        "MUL": 1,
        "AVERAGE_POOL_2D": 1,
        "LOGISTIC": 1,
    }
    assert result.facts.inputs[0].scale == 1.0
    assert result.facts.inputs[0].zero_point == -128
    assert result.facts.macs == 21_542_400


def test_hard_swish_is_clean_upstream_and_unknown_to_the_registry_revision(shared: Path) -> None:
    assert fixture(shared, "clean_hard_swish").clean
    old = fixture(shared, "clean_hard_swish", "registry")
    assert found(old) == [("unsupported_op", "HARD_SWISH"), ("unsupported_op", "MEAN")]


def test_the_float_sine_is_named_with_its_dequantize_and_quantize_and_their_places(shared: Path) -> None:
    result = fixture(shared, "float_sin")
    assert [(o.kind, o.op, o.index) for o in result.offenders] == [
        ("float_edge", "DEQUANTIZE", 3),
        ("float_op", "SIN", 4),
        ("float_edge", "QUANTIZE", 5),
    ]
    assert all(o.tensor and o.cause and o.fix for o in result.offenders)


def test_float_input_and_output_are_named_as_the_models_own(shared: Path) -> None:
    result = fixture(shared, "float_io")
    own = [o for o in result.offenders if o.kind == "float_io"]
    assert ["input" in o.cause for o in own] == [True, False]
    assert {o.tensor for o in own} == {t.name for t in (*result.facts.inputs, *result.facts.outputs)}


def test_dynamic_range_quantization_is_named_as_hybrid(shared: Path) -> None:
    result = fixture(shared, "dynamic_range")
    assert {o.op for o in result.offenders if o.kind == "hybrid_op"} == {
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
    }
    assert {"float_io", "float_op", "hybrid_op"} == {o.kind for o in result.offenders}


def test_int8_exp_and_log_are_refused_without_a_float_in_sight(shared: Path) -> None:
    assert found(fixture(shared, "int8_but_unsupported_on_device")) == [
        ("unsupported_op", "EXP"),
        ("unsupported_op", "LOG"),
    ]


@pytest.mark.parametrize("tflm", ["upstream", "registry"])
@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("tflm_person_detect", True),
        ("mlperf_vww_96_int8", True),
        ("tinyengine_vww", False),
        ("tinyengine_persondet", False),
    ],
)
def test_int8_models_of_others_are_clean_and_those_with_float_input_are_not(
    shared: Path, name: str, clean: bool, tflm: str
) -> None:
    result = audit((shared / f"peers/{name}.tflite").read_bytes(), tflm=tflm)
    assert result.clean == clean, result.offenders
    assert clean or "float_io" in {o.kind for o in result.offenders}


def test_whatever_is_clean_runs_on_the_interpreter_and_what_has_no_kernel_does_not(
    shared: Path, tmp_path: Path
) -> None:
    paths = [*(shared / "fixtures/tflite").glob("*.tflite"), *(shared / "peers").glob("*.tflite")]
    models = {path.stem: path.read_bytes() for path in paths}
    verdicts = judged(models, tmp_path)
    for name, data in models.items():
        kinds = {o.kind for o in audit(data).offenders}
        if not kinds:
            assert verdicts[name] == 0, name
        if kinds & {"unsupported_op", "hybrid_op"}:
            assert verdicts[name] != 0, name
