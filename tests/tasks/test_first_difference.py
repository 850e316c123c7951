"""Which operator differs first: on made-up agreements, and with real kernels where one weight byte was changed.

The device is TFLM's interpreter on the host here; firmware is not run.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.cut_model import OutputNotComparable, cut_after
from tasks.first_difference import (
    LayerDifference,
    OutputsDoNotCompare,
    _feeds,
    first_difference,
    layer_difference,
)
from tasks.tflite_file import read_model
from tests.tasks.hand_built_models import SHAPE, Op, T, build
from tests.tasks.residual_model import (
    FEEDS,
    INPUT,
    OPERATORS,
    WEIGHTED,
    inputs,
    on_reference,
    on_tflm,
    residual_model,
    with_changed_weight,
)


def counted(agrees: Callable[[int], bool]) -> tuple[Callable[[int], bool], list[int]]:
    asked: list[int] = []

    def ask(operator: int) -> bool:
        asked.append(operator)
        return agrees(operator)

    return ask, asked


@pytest.mark.parametrize("operators", [1, 2, 3, 17, 67])
def test_in_a_chain_every_first_difference_is_found_in_logarithmic_time(operators: int) -> None:
    for fault in range(operators):
        ask, asked = counted(lambda i, fault=fault: i < fault)  # type: ignore[misc]
        assert first_difference(operators, ask) == fault
        assert len(asked) == len(set(asked)) <= np.ceil(np.log2(operators)) + 1


def test_where_the_last_operator_agrees_there_is_nothing_to_find() -> None:
    assert first_difference(9, lambda i: True) is None
    assert first_difference(0, lambda i: False) is None


def test_whatever_agrees_the_one_found_differs_and_the_one_before_it_agrees() -> None:
    """All patterns of nine operators: agreement need not be monotonic where an operator hides a difference."""
    for pattern in range(1 << 8):
        agree = [bool(pattern >> i & 1) for i in range(8)] + [False]
        found = first_difference(9, agree.__getitem__)
        assert found is not None
        assert not agree[found]
        assert found == 0 or agree[found - 1]


def test_whatever_agrees_all_that_feeds_the_one_found_agrees() -> None:
    for pattern in range(1 << 10):
        agree = [bool(pattern >> i & 1) for i in range(10)] + [False]
        ask, asked = counted(agree.__getitem__)
        found = first_difference(11, ask, FEEDS)
        assert found is not None
        assert not agree[found]
        assert all(agree[source] for source in FEEDS[found])
        assert len(asked) == len(set(asked))


def test_a_fault_in_a_branch_beside_the_last_agreement_is_found() -> None:
    """4 differs, 5 agrees since it reads 3 only: neighbours alone would blame 6, which joins them."""
    agree = [True, True, True, True, False, True, False, False, False, False, False]
    assert first_difference(11, agree.__getitem__) in (4, 6)
    assert first_difference(11, agree.__getitem__, FEEDS) == 4
    assert first_difference(7, agree.__getitem__, FEEDS[:7]) == 4


@pytest.mark.parametrize("feeds", [[[], [0]], [[], [1], [1]], [[], [0], [-1]]])
def test_feeds_that_do_not_fit_are_refused(feeds: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="operators before it"):
        first_difference(3, lambda i: False, feeds)


def test_what_feeds_an_operator_is_read_from_the_model() -> None:
    assert [tuple(known) for known in _feeds(read_model(residual_model()).subgraphs[0])] == list(FEEDS)


def sides(model: bytes, other: bytes, values: np.ndarray) -> tuple[Callable[[int], bytes], Callable[[int], bytes]]:
    """The untouched model on TFLite's reference kernels, the other on TFLM."""
    return (
        lambda operator: on_reference(cut_after(model, operator), values).tobytes(),
        lambda operator: on_tflm(cut_after(other, operator), values).tobytes(),
    )


@pytest.mark.parametrize("operator", WEIGHTED)
def test_one_changed_weight_byte_is_found_in_its_operator(operator: int) -> None:
    model = residual_model()
    for values in inputs(INPUT):
        found = layer_difference(model, *sides(model, with_changed_weight(model, operator), values))
        assert found is not None
        assert (found.operator, found.name) == (operator, OPERATORS[operator])


@pytest.mark.parametrize(("operator", "byte"), [(2, 72), (40, 1536), (51, 5376), (63, 35840)])
def test_one_changed_weight_byte_of_a_converted_mobilenet_is_found(shared: Path, operator: int, byte: int) -> None:
    """Its weights are random and its score saturates, so the model is taken up to the logit, and bytes that matter."""
    model = cut_after((shared / "fixtures" / "tflite" / "clean_mobilenetv2_035.tflite").read_bytes(), 65)
    changed = with_changed_weight(model, operator, byte)
    found = layer_difference(model, *sides(model, changed, inputs((1, 120, 160, 1), 1)[0]))
    assert found is not None
    assert found.operator == operator
    assert found.name == "CONV_2D"


def test_equal_models_have_no_difference() -> None:
    model = residual_model()
    assert layer_difference(model, *sides(model, model, inputs(INPUT)[0])) is None


def test_the_difference_is_counted_in_bytes_and_steps() -> None:
    graph = read_model(residual_model()).subgraphs[0]
    sizes = [graph.tensors[op.outputs[0]].nbytes for op in graph.operators]

    def device(operator: int) -> bytes:
        changed = np.array([-128, 5, 127] if operator >= 1 else [], np.int8).tobytes()
        return changed + bytes(sizes[operator] - len(changed))

    found = layer_difference(residual_model(), lambda operator: bytes(sizes[operator]), device)
    assert found == LayerDifference(1, "DEPTHWISE_CONV_2D", "depthwise_conv_2d_1", "int8", 384, 3, 128)
    assert found.sentence == (
        "operator 1 DEPTHWISE_CONV_2D (output 'depthwise_conv_2d_1', int8): 3 of 384 bytes differ, by 128 steps at most"
    )


@pytest.mark.parametrize(
    ("dtype", "one", "other", "different", "step"),
    [
        ("int8", -128, 127, 1, 255),
        ("uint8", 0, 255, 1, 255),
        ("int16", -32768, 32767, 2, 65535),
        ("int32", 256, 1, 2, 255),
        ("int64", -(2**63), 2**63 - 1, 8, 2**64 - 1),
    ],
)
def test_steps_of_every_type_are_exact(dtype: str, one: int, other: int, different: int, step: int) -> None:
    model = build([T(SHAPE, dtype), T(SHAPE, dtype)], [Op("ABS", (0,), (1,))], (0,), (1,))
    values = [np.zeros(SHAPE, dtype) for _ in range(2)]
    values[0].flat[5], values[1].flat[5] = one, other
    found = layer_difference(model, lambda i: values[0].tobytes(), lambda i: values[1].tobytes())
    assert found is not None
    assert (found.bytes_different, found.largest_step) == (different, step)


def test_an_output_of_the_wrong_size_names_the_side_and_the_operator() -> None:
    model = build([T(SHAPE), T(SHAPE)], [Op("ABS", (0,), (1,))], (0,), (1,))
    with pytest.raises(OutputsDoNotCompare, match="the device gave 31 bytes after operator 0 ABS, whose output has 32"):
        layer_difference(model, lambda i: bytes(32), lambda i: bytes(31))


def test_floats_are_not_compared() -> None:
    model = build([T(SHAPE, "float32"), T(SHAPE, "float32")], [Op("ABS", (0,), (1,))], (0,), (1,))
    with pytest.raises(OutputNotComparable, match="operator 0 ABS gives no integers"):
        layer_difference(model, lambda i: b"", lambda i: b"")
