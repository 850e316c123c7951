"""Which INT8 operator is which FP32 one, what unchained models are, and what layers are called.

Hand-built models with their FP32 twins; that real conversions match in full is in test_layer_error.
"""

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tasks.checked_flatbuffer import NotAModel
from tasks.layer_error import SNR_LIMIT, LayersNotComparable, layer_errors
from tasks.layer_match import match
from tasks.layer_names import layer_names
from tasks.layer_sums import unchained
from tasks.tflite_file import read_model
from tests.tasks.float_twin import float_twin
from tests.tasks.hand_built_models import CONV, Op, T, build, changed, clean_conv, renamed
from tests.tasks.residual_model import INPUT, OPERATORS, residual_model

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 120, 160), np.uint8)


@pytest.fixture(scope="module")
def model() -> bytes:
    return residual_model()


@pytest.fixture(scope="module")
def twin(model: bytes) -> bytes:
    return float_twin(model)


def test_an_operator_with_another_name_is_found_by_its_place(model: bytes, twin: bytes) -> None:
    other = renamed(twin, residual="functional/add", conv_2d_0="x", pooled="y", scores="z")
    expected, found = layer_errors(twin, model, FRAMES), layer_errors(other, model, FRAMES)
    assert found == expected


def test_what_is_ambiguous_is_left_out_and_counted_and_what_follows_is_still_compared(
    model: bytes, twin: bytes
) -> None:
    # Two convolutions that read the same tensor: without their names nobody knows which is which.
    layers, left_out = layer_errors(renamed(twin, conv_2d_4="a", conv_2d_5="b"), model, FRAMES)
    assert left_out == 3
    assert {layer.operator for layer in layers} == set(range(11)) - {4, 5, 6}  # 6 reads them
    assert [layer for layer in layer_errors(twin, model, FRAMES)[0] if layer.operator in (3, 8)] == [
        layer for layer in layers if layer.operator in (3, 8)
    ]


def test_an_operator_that_reads_something_else_in_fp32_is_left_out(model: bytes, twin: bytes) -> None:
    def swap(whole: Any) -> None:
        concatenation = whole.subgraphs[0].operators[6]
        concatenation.inputs = concatenation.inputs[::-1].copy()

    left, right = read_model(changed(twin, swap)).subgraphs[0], read_model(model).subgraphs[0]
    assert match(left, right).left_out == (6,)


def test_operators_of_one_name_and_another_kind_or_shape_do_not_match(model: bytes) -> None:
    other = float_twin(clean_conv(x=T(INPUT, name="frame"), y=T((1, 12, 16, 3), name="conv_2d_0")))
    graph = read_model(model).subgraphs[0]
    assert match(read_model(other).subgraphs[0], graph).pairs == ()
    relu = build([T(INPUT, name="frame"), T((1, 6, 8, 8), name="conv_2d_0")], [Op("RELU", (0,), (1,))], (0,), (1,))
    assert match(read_model(float_twin(relu)).subgraphs[0], graph).pairs == ()


def test_quantize_operators_exist_in_int8_only_and_stand_for_nothing() -> None:
    frame, weights = T(INPUT, "uint8", 1.0, 0, name="frame"), T((2, 1, 1, 1), scale=0.01, data=[[[[50]]], [[[90]]]])
    inner, out = T(INPUT, "int8", 1.0, -128, name="inner"), T((1, 12, 16, 2), scale=1.0, zero_point=-128, name="out")
    named = T((1, 12, 16, 2), scale=1.0, zero_point=-128, name="out1")  # the last operator has the output's name
    coarse = T((1, 12, 16, 2), scale=8.0, zero_point=-128, name="out")
    bias = T((2,), "int32", 0.01, data=0, name="bias")
    ops = [Op("QUANTIZE", (0,), (3,)), Op("CONV_2D", (3, 1, 2), (4,), CONV), Op("QUANTIZE", (4,), (5,))]
    int8 = build([frame, weights, bias, inner, named, coarse], ops, (0,), (5,))
    fp32 = float_twin(build([frame, weights, bias, out], [Op("CONV_2D", (0, 1, 2), (3,), CONV)], (0,), (3,)))
    layers, left_out = layer_errors(fp32, int8, FRAMES)
    assert left_out == 0
    assert [layer.op for layer in layers] == ["QUANTIZE", "CONV_2D", "QUANTIZE"]
    assert layers[0].own_snr_db == SNR_LIMIT  # uint8 to int8: the same gray levels
    assert layers[2].own_snr_db < layers[1].own_snr_db - 15  # steps of eight


def test_a_quantize_operator_of_a_stored_tensor_has_no_counterpart() -> None:
    stored, out = T((1, 2), "uint8", 1.0, data=7, name="stored"), T((1, 2), "int8", 1.0, -128, name="out")
    int8 = read_model(build([T((1, 2)), stored, out], [Op("QUANTIZE", (1,), (2,))], (0,), (2,))).subgraphs[0]
    assert match(int8, int8).left_out == (0,)


def test_files_of_two_models_are_refused(model: bytes) -> None:
    with pytest.raises(LayersNotComparable, match="candidate 7: none of its 11 operators"):
        layer_errors(float_twin(clean_conv()), model, FRAMES, name="candidate 7")
    with pytest.raises(NotAModel):
        layer_errors(b"", model, FRAMES)


def test_unchained_operators_read_inputs_of_their_own(model: bytes) -> None:
    alone = read_model(unchained(model, [0, 2, 3])).subgraphs[0]
    assert [op.name for op in alone.operators] == ["CONV_2D", "CONV_2D", "ADD"]
    assert len(alone.inputs) == len(set(alone.inputs)) == 4  # ADD reads two
    written = {tensor for op in alone.operators for tensor in op.outputs}
    assert written == set(alone.outputs)
    assert not written & {tensor for op in alone.operators for tensor in op.inputs}
    whole = read_model(unchained(model, range(len(OPERATORS)))).subgraphs[0]
    assert [op.name for op in whole.operators] == list(OPERATORS)


def test_options_and_weights_of_an_operator_survive_unchaining(model: bytes) -> None:
    alone, whole = (
        schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0)) for data in (unchained(model, [0]), model)
    )
    first = [data.subgraphs[0].operators[0] for data in (alone, whole)]
    assert first[0].builtinOptions.strideH == first[1].builtinOptions.strideH == 2
    weights = [
        data.buffers[data.subgraphs[0].tensors[op.inputs[1]].buffer].data
        for data, op in zip((alone, whole), first, strict=True)
    ]
    np.testing.assert_array_equal(*weights)


def test_names_are_short_printable_and_unique() -> None:
    names = ["net/a_1/Relu;net/a_bn_1/add;net/a_1/convolution2", "net/b_1/mul", "net/b_1/add", "net/c_1/Pad", "o"]
    tensors = [T(INPUT, name="x"), *(T(INPUT, name=name) for name in names)]
    graph = read_model(build(tensors, [Op("RELU", (i,), (i + 1,)) for i in range(5)], (0,), (5,))).subgraphs[0]
    assert layer_names(graph) == ("a", "b/mul", "b/add", "c", "output")
    odd = ["q" * 300, "q" * 300, "line\nbreak;;", ";;", "m/block_1/Relu"]
    tensors = [T(INPUT, name="x"), *(T(INPUT, name=name) for name in odd)]
    graph = read_model(build(tensors, [Op("RELU", (i,), (i + 1,)) for i in range(5)], (0,), (0,))).subgraphs[0]
    found = layer_names(graph)
    assert len(set(found)) == 5
    assert max(map(len, found)) < 70
    assert "".join(found).isprintable()
    assert found[4] == "m/block_1"  # a number of its own stays
