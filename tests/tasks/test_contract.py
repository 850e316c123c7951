"""The contract: the examples that Rust is held to as well, what is refused before it is made, and thresholds in steps.

Not here: the Rust side of the same examples (firmware/contract/tests) and what is compiled from a contract.
"""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tasks.contract import (
    SCHEMA,
    WITHOUT_KERNEL,
    Contract,
    Decision,
    NotDeployable,
    Tensor,
    checked,
    make_contract,
    schema_text,
    thresholds,
)
from tasks.flatbuffer import NotAModel, audit
from tasks.parameters import HysteresisParameters
from tasks.tflm_support import SUPPORTED, Revision
from tests.firmware import example_contract, example_model
from tests.tasks.hand_built_models import DEPTHWISE, SHAPE, Op, T, build, const, one_operator, options

EXAMPLES = SCHEMA.with_name("examples")
OPERATORS = SCHEMA.parents[1] / "tflm-sys" / "ops.rs"
REVISIONS: tuple[Revision, ...] = ("registry", "upstream")
STEADY = HysteresisParameters(margin=0.1, enter_frames=2, leave_frames=3, stale_after_ms=2000)


def examples(kind: str) -> list[Path]:
    return sorted((EXAMPLES / kind).glob("*.json"))


@pytest.mark.parametrize("path", examples("valid"), ids=lambda path: path.stem)
def test_a_valid_example_is_read_and_written_again_as_it_is(path: Path) -> None:
    contract = Contract.model_validate_json(path.read_text(), strict=True)
    assert json.loads(contract.text()) == json.loads(path.read_text())
    assert Contract.model_validate_json(contract.text(), strict=True) == contract


@pytest.mark.parametrize("path", examples("invalid"), ids=lambda path: path.stem)
def test_an_invalid_example_is_refused_by_field(path: Path) -> None:
    with pytest.raises(ValidationError) as refused:
        Contract.model_validate_json(path.read_text(), strict=True)
    field = path.stem.partition("--")[0]
    assert all(part in str(refused.value).partition("\n")[2] for part in field.split("."))


def test_there_are_as_many_examples_as_rust_tries() -> None:
    assert (len(examples("valid")), len(examples("invalid"))) == (6, 59)


def test_the_schema_in_the_firmware_is_that_of_this_contract() -> None:
    """After a change: `python -m tasks.contract`."""
    assert SCHEMA.read_text() == schema_text()


def test_the_example_models_contract_and_outputs_are_what_its_generator_gives() -> None:
    """After a change: `python -m tests.firmware.example_contract`."""
    found = Contract.model_validate_json(example_contract.CONTRACT.read_text(), strict=True)
    model = example_model.PATH.read_bytes()
    assert found == make_contract(model, checked(model, "registry"), found.arena_bytes, 0.5, HysteresisParameters())
    assert example_contract.CONTRACT.read_text() == example_contract.contract().text()
    assert json.loads(example_contract.EXPECTED.read_text()) == example_contract.expected()


def test_a_contract_says_of_the_model_what_is_in_it() -> None:
    model = example_model.PATH.read_bytes()
    contract = make_contract(model, checked(model, "upstream"), 4096, None, STEADY)
    assert contract.model.sha256 == hashlib.sha256(model).hexdigest()
    assert contract.model.bytes == len(model)
    assert contract.operators == ("ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "LOGISTIC")
    assert (contract.input.shape, contract.input.scale, contract.input.zero_point) == ((1, 24, 32, 1), 1.0, -128)
    assert (contract.output.scale, contract.output.zero_point) == (1 / 256, -128)
    assert (contract.feeding.kind, contract.decision, contract.arena_bytes) == ("flip", None, 4096)


# What the firmware cannot run


def image_model(**changes: Any) -> bytes:
    """An input image through a depthwise convolution; `shape`, `dtype`, `scale`, `zero_point` of the input."""
    given = {"shape": (1, 4, 4, 1), "dtype": "int8", "scale": 1.0, "zero_point": -128} | changes
    shape, kind = given["shape"], given["dtype"]
    weights = T((1, 1, 1, shape[-1]), kind, 0.5, 0, data=1)
    bias = T((shape[-1],), "int32", 0.5 * given["scale"], data=1)
    tensors = [T(shape, kind, given["scale"], given["zero_point"]), weights, bias, T(shape, kind, 0.7)]
    return build(tensors, [Op("DEPTHWISE_CONV_2D", (0, 1, 2), (3,), DEPTHWISE)], (0,), (3,))


def uint8_input() -> bytes:
    """As TensorFlow converts with inference_input_type uint8: a QUANTIZE in front of the int8 network."""
    tensors = [T((1, 4, 4, 1), "uint8", 1.0, 0), T((1, 4, 4, 1), "int8", 1.0, -128)]
    return build(tensors, [Op("QUANTIZE", (0,), (1,))], (0,), (1,))


def mean() -> bytes:
    axes = const(1, 2)
    operator = Op("MEAN", (0, 1), (2,), options("ReducerOptions"))
    return build([T(SHAPE), axes, T((1, 2))], [operator], (0,), (2,))


@pytest.mark.parametrize(
    ("model", "op"), [(one_operator("HARD_SWISH", "int8"), "HARD_SWISH"), (uint8_input(), "QUANTIZE"), (mean(), "MEAN")]
)
def test_what_only_todays_tflm_runs_is_named_with_the_two_ways_out(model: bytes, op: str) -> None:
    with pytest.raises(NotDeployable) as refused:
        checked(model, "registry")
    assert f"unsupported_op {op}:" in refused.value.message
    assert "today's TFLM runs this model" in refused.value.message
    assert "TFLM_DIR" in refused.value.next_step
    assert "or change the model: " in refused.value.next_step
    assert audit(model, tflm="upstream").clean


def test_the_fixtures_are_refused_by_name_or_taken(shared: Path) -> None:
    def said(name: str, revision: Revision) -> str:
        try:
            checked((shared / f"fixtures/tflite/{name}.tflite").read_bytes(), revision)
        except NotDeployable as refused:
            return str(refused)
        return ""

    for revision in REVISIONS:
        assert said("clean_mobilenetv2_035", revision) == ""
        assert "SIN" in said("float_sin", revision)
        assert "the model's own input is float32" in said("float_io", revision)
        assert "unsupported_op EXP" in said("int8_but_unsupported_on_device", revision)
        assert "not fit for the device" in said("dynamic_range", revision)
    assert said("clean_hard_swish", "upstream") == ""
    assert "HARD_SWISH" in said("clean_hard_swish", "registry")
    assert "TFLM_DIR" in said("clean_hard_swish", "registry")


@pytest.mark.parametrize("revision", REVISIONS)
def test_an_operator_in_float_is_named(revision: Revision) -> None:
    model = build(
        [T((1, 4, 4, 1), "float32", None), T((1, 4, 4, 1), "float32", None)], [Op("SIN", (0,), (1,))], [0], [1]
    )
    with pytest.raises(NotDeployable, match=r"the model is not fit for the device.*float"):
        checked(model, revision)


@pytest.mark.parametrize("revision", REVISIONS)
def test_an_operator_that_no_tflm_has_is_named(revision: Revision) -> None:
    with pytest.raises(NotDeployable, match="not fit for the device: unsupported_op GELU"):
        checked(one_operator("GELU", "int8"), revision)


@pytest.mark.parametrize("size", [0, 3, 8, 100, 1000, 3000])
def test_a_truncated_model_is_no_model(size: int) -> None:
    with pytest.raises(NotAModel):
        checked(example_model.PATH.read_bytes()[:size], "registry")


def test_a_file_with_another_identifier_is_no_model() -> None:
    model = bytearray(example_model.PATH.read_bytes())
    model[4:8] = b"TFL2"
    with pytest.raises(NotAModel):
        checked(bytes(model), "registry")


@pytest.mark.parametrize("shape", [(1, 4, 4, 2), (2, 4, 4, 1), (1, 4, 321, 1), (1, 4097, 4, 1), (1, 1, 4, 4, 1)])
def test_an_input_that_is_no_single_image_is_refused_with_its_shape(shape: tuple[int, ...]) -> None:
    model = image_model(shape=shape) if len(shape) == 4 else reshape(shape)
    with pytest.raises(NotDeployable, match=f"the model's input is {' x '.join(map(str, shape))}; the firmware feeds"):
        checked(model, "registry")


def reshape(shape: tuple[int, ...]) -> bytes:
    size = math.prod(shape)
    operator = Op("RESHAPE", (0, 1), (2,), options("ReshapeOptions", newShape=[1, size]))
    return build([T(shape), const(1, size), T((1, size))], [operator], (0,), (2,))


def test_two_inputs_are_refused() -> None:
    shape = (1, 4, 4, 1)
    model = build([T(shape), T(shape), T(shape)], [Op("ADD", (0, 1), (2,), options("AddOptions"))], (0, 1), (2,))
    with pytest.raises(NotDeployable, match="2 inputs and 1 outputs, one each is needed"):
        checked(model, "registry")


def test_16_bit_inputs_are_refused_by_type() -> None:
    model = build([T((1, 4, 4, 1), "int16"), T((1, 4, 4, 1), "int16")], [Op("RELU", (0,), (1,))], (0,), (1,))
    with pytest.raises(NotDeployable, match="the model's input is int16; the firmware takes int8 and uint8"):
        checked(model, "upstream")


def test_an_output_of_millions_of_values_is_refused() -> None:
    model = image_model(shape=(1, 4096, 320, 3))
    assert checked(model, "registry").clean
    padding = T((4, 2), "int32", None, data=[[0, 0], [0, 4096], [0, 0], [0, 0]])
    tensors = [T((1, 4096, 320, 3)), padding, T((1, 8192, 320, 3))]
    with pytest.raises(NotDeployable, match="output has 7864320 values"):
        checked(build(tensors, [Op("PAD", (0, 1), (2,))], (0,), (2,)), "registry")


def test_an_input_whose_scale_does_not_show_how_to_feed_it_is_refused() -> None:
    model = image_model(scale=7.0)
    with pytest.raises(NotDeployable, match=r"cannot be fed: its input spans .* does not show how gray 0\.\.255 maps"):
        make_contract(model, checked(model, "registry"), 4096, None, STEADY)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "flip"),
        ({"dtype": "uint8", "zero_point": 0}, "same"),
        ({"scale": 1 / 255, "zero_point": -128}, "flip"),
        ({"scale": 2 / 255, "zero_point": 0}, "flip"),
        ({"scale": 1.01, "zero_point": -127}, "table"),
    ],
)
def test_the_input_is_fed_as_in_the_evaluation(changes: dict[str, Any], kind: str) -> None:
    from tasks.kernels import input_table, tflite_tensors

    model = image_model(**changes)
    contract = make_contract(model, checked(model, "registry"), 4096, None, STEADY)
    assert contract.feeding.kind == kind
    table = input_table(tflite_tensors(model)[0], "auto")[0].view(np.uint8)
    levels = np.arange(256, dtype=np.uint8)
    fed = {"flip": levels ^ 0x80, "same": levels}.get(kind, np.array(getattr(contract.feeding, "table", ()), np.uint8))
    np.testing.assert_array_equal(fed, table)


# Which kernels the firmware can compile in


def rust_operators() -> list[tuple[str, int, str, str, bool]]:
    """The rows of firmware/tflm-sys/ops.rs."""
    row = re.compile(r'^\s+\("(\w+)", (\d+), "(\w+)", "(\w+)", (true|false)\),$', re.MULTILINE)
    return [
        (op, int(code), method, file, old == "true")
        for op, code, method, file, old in row.findall(OPERATORS.read_text())
    ]


def test_the_firmware_has_the_kernels_that_the_audit_lets_through() -> None:
    rows = rust_operators()
    assert len(rows) == OPERATORS.read_text().count('\n    ("'), "a row is written in another way than this test reads"
    integers = {revision: {op for op, kernel in SUPPORTED[revision].items() if kernel} for revision in REVISIONS}
    names = [row[0] for row in rows]
    assert names == sorted(set(names))
    assert integers["upstream"] - set(names) == WITHOUT_KERNEL - {"DEQUANTIZE"}
    assert set(names) <= integers["upstream"]
    old = {row[0] for row in rows if row[4]}
    assert integers["registry"] - old == {"DEQUANTIZE"}
    assert old <= integers["registry"]
    assert not WITHOUT_KERNEL & set(names)


def test_operator_codes_are_those_of_the_schema() -> None:
    from ai_edge_litert import schema_py_generated as schema

    assert {op: code for op, code, *_ in rust_operators()} == {
        op: getattr(schema.BuiltinOperator, op) for op, *_ in rust_operators()
    }


@pytest.mark.parametrize("revision", REVISIONS)
def test_what_the_firmware_has_no_kernel_for_is_refused_by_name(
    revision: Revision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.contract.WITHOUT_KERNEL", WITHOUT_KERNEL | {"LOGISTIC", "ADD"})
    with pytest.raises(NotDeployable, match="the firmware has no kernel for ADD, LOGISTIC"):
        checked(example_model.PATH.read_bytes(), revision)


# Thresholds


def scores_of(output: Tensor) -> dict[int, float]:
    """The score of every step, as tasks/scores.py computes it; of a pair, by their difference."""

    def sigmoid(x: float) -> float:
        return 0.5 * (1.0 + math.tanh(x / 2))

    if math.prod(output.shape) == 2:
        probabilities = 255 * output.scale <= 1.01
        differences = {step: step * output.scale for step in range(-255, 256)}
        return {step: (1 + d) / 2 if probabilities else sigmoid(d) for step, d in differences.items()}
    limits = np.iinfo(output.element)
    values = {q: (q - output.zero_point) * output.scale for q in range(int(limits.min), int(limits.max) + 1)}
    logit = min(values.values()) < -0.01 or max(values.values()) > 1.01
    return {q: sigmoid(value) if logit else value for q, value in values.items()}


def random_output(rng: np.random.Generator, element: str, values: int) -> Tensor:
    limits = np.iinfo(element)
    probability = rng.random() < 0.4
    scale = 1 / 256 if probability else float(np.float32(10 ** rng.uniform(-2.5, 0.5)))
    zero_point = int(limits.min) if probability else int(rng.integers(limits.min, limits.max, endpoint=True))
    return Tensor.model_validate({"element": element, "shape": (1, values), "scale": scale, "zero_point": zero_point})


@pytest.mark.parametrize("values", [1, 2])
@pytest.mark.parametrize("element", ["int8", "uint8"])
def test_thresholds_are_the_smallest_steps_that_reach_them(element: str, values: int) -> None:
    rng = np.random.default_rng(values)
    taken = refused = 0
    for _ in range(2000):
        output = random_output(rng, element, values)
        threshold, margin = float(rng.uniform(0.001, 0.999)), float(rng.choice([0.0, rng.uniform(0, 0.5)]))
        scores = scores_of(output)
        leave = max(threshold - margin, 0.0)
        reaching = {at: [step for step, score in scores.items() if score >= at] for at in (threshold, leave)}
        hysteresis = STEADY.model_copy(update={"margin": margin})
        if not reaching[threshold] or min(reaching[leave]) == min(scores):
            refused += 1
            with pytest.raises(NotDeployable):
                thresholds(output, threshold, hysteresis)
            continue
        found = thresholds(output, threshold, hysteresis)
        taken += 1
        assert (found.enter, found.leave) == (min(reaching[threshold]), min(reaching[leave]))
        assert min(scores) < found.leave <= found.enter <= max(scores)
        assert (found.outputs, found.enter_frames, found.leave_frames, found.stale_after_ms) == (values, 2, 3, 2000)
    assert taken > 800, "what is refused is the exception"
    assert refused > 20


def test_a_threshold_that_no_output_reaches_is_refused() -> None:
    output = Tensor(element="int8", shape=(1, 1), scale=1 / 256, zero_point=-128)
    assert thresholds(output, 255 / 256, STEADY).enter == 127
    with pytest.raises(NotDeployable, match=r"no output of the model reaches the threshold 0\.999: .* is 0\.9961"):
        thresholds(output, 0.999, STEADY)


def test_a_person_that_could_never_leave_is_refused() -> None:
    output = Tensor(element="int8", shape=(1, 1), scale=1 / 256, zero_point=-128)
    assert thresholds(output, 0.11, STEADY).leave == -125
    with pytest.raises(NotDeployable, match=r"a person once seen would be seen for ever"):
        thresholds(output, 0.1, STEADY)


def test_outputs_that_are_no_scores_are_refused() -> None:
    output = Tensor(element="int8", shape=(1, 3), scale=0.1, zero_point=0)
    with pytest.raises(NotDeployable, match="the output has 3 values; a detector has one score, or two"):
        thresholds(output, 0.5, STEADY)


def test_half_a_probability_is_the_middle_step() -> None:
    for element, middle in (("int8", 0), ("uint8", 128)):
        output = Tensor.model_validate(
            {"element": element, "shape": (1, 1), "scale": 1 / 256, "zero_point": middle - 128}
        )
        assert thresholds(output, 0.5, STEADY) == Decision(
            outputs=1, enter=middle, leave=middle - 25, enter_frames=2, leave_frames=3, stale_after_ms=2000
        )
