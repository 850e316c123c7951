"""Models cut after each of their operators, on TFLM's interpreter and on TFLite's reference kernels.

What a cut model gives out is compared with the tensor that the whole model leaves behind. Firmware is not run.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tasks.checked_flatbuffer import NotAModel
from tasks.cut_model import ALIGNMENT, CutImpossible, NoSuchOperator, OutputNotComparable, cut_after
from tasks.flatbuffer import audit
from tasks.tflite_file import read_model
from tests.tasks.hand_built_models import SHAPE, Op, T, build, one_operator, options, repacked, scalar
from tests.tasks.residual_model import INPUT, OPERATORS, every_tensor, inputs, on_reference, on_tflm, residual_model


@pytest.fixture(scope="module")
def model() -> bytes:
    return residual_model()


def unpacked(model: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))


def data_offsets(model: bytes) -> list[int]:
    """Where in the file the data of each buffer that has some begins."""
    root, found = schema.Model.GetRootAs(model, 0), []
    for number in range(root.BuffersLength()):
        table = root.Buffers(number)._tab
        field = table.Offset(4)
        if field and table.VectorLen(field):
            found.append(table.Vector(field))
    return found


def assert_cuts_are_the_layers(model: bytes, values: np.ndarray) -> None:
    """After every operator, both interpreters give the bytes that the whole model has there."""
    for operator, expected in enumerate(every_tensor(model, values)):
        cut = cut_after(model, operator)
        np.testing.assert_array_equal(on_reference(cut, values), expected, f"reference kernels, operator {operator}")
        np.testing.assert_array_equal(on_tflm(cut, values), expected, f"TFLM, operator {operator}")


def test_each_cut_gives_the_tensor_that_the_whole_model_has_there(model: bytes) -> None:
    for values in inputs(INPUT):
        assert_cuts_are_the_layers(model, values)


def test_each_cut_of_a_converted_mobilenet_gives_the_tensor_that_the_whole_model_has_there(shared: Path) -> None:
    whole = (shared / "fixtures" / "tflite" / "clean_mobilenetv2_035.tflite").read_bytes()
    assert_cuts_are_the_layers(whole, inputs((1, 120, 160, 1), 1)[0])


def test_each_cut_of_a_trained_model_of_others_gives_the_tensor_that_the_whole_model_has_there(shared: Path) -> None:
    whole = (shared / "peers" / "mlperf_vww_96_int8.tflite").read_bytes()
    assert_cuts_are_the_layers(whole, inputs((1, 96, 96, 3), 1)[0])


def test_a_cut_ends_with_its_operator_and_has_its_output_only(model: bytes) -> None:
    whole = read_model(model).subgraphs[0]
    for operator, name in enumerate(OPERATORS):
        cut = read_model(cut_after(model, operator)).subgraphs[0]
        assert cut.operators[-1].name == name
        assert cut.outputs == cut.operators[-1].outputs
        assert cut.tensors[cut.outputs[0]].name == whole.tensors[whole.operators[operator].outputs[0]].name
        assert [cut.tensors[i].name for i in cut.inputs] == ["frame"]


def test_nothing_is_left_that_the_output_does_not_depend_on(model: bytes) -> None:
    """TFLM of 2020 refuses a tensor that is never read ("invalid lifetime"): after 5 the branch of 4 has to go."""
    cut = read_model(cut_after(model, 5)).subgraphs[0]
    assert [op.name for op in cut.operators] == [*OPERATORS[:4], "CONV_2D"]
    for operator in range(len(OPERATORS)):
        cut = read_model(cut_after(model, operator)).subgraphs[0]
        read = {i for op in cut.operators for i in op.inputs} | {*cut.outputs}
        assert {tensor.index for tensor in cut.tensors} == read


def test_tensors_and_weights_keep_their_order_and_their_bytes(model: bytes) -> None:
    def by_name(data: bytes) -> dict[str, bytes]:
        made = unpacked(data)
        held = {t.name.decode(): made.buffers[t.buffer].data for t in made.subgraphs[0].tensors}
        return {name: b"" if data is None else bytes(data) for name, data in held.items()}

    whole = by_name(model)
    sizes = []
    for operator in range(len(OPERATORS)):
        cut = cut_after(model, operator)
        found = by_name(cut)
        assert list(found) == [name for name in whole if name in found]
        assert all(whole[name] == data for name, data in found.items())
        assert len(unpacked(cut).buffers) == 1 + sum(bool(data) for data in found.values())
        sizes.append(len(cut))
    assert sizes[0] < len(model) / 2


def test_cutting_after_the_last_operator_leaves_the_model_as_it_is(model: bytes) -> None:
    cut = cut_after(model, len(OPERATORS) - 1)
    whole, again = audit(model), audit(cut)
    assert again.clean
    assert again.ops == whole.ops
    assert again.facts.macs == whole.facts.macs
    assert again.facts.activation_peak_bytes == whole.facts.activation_peak_bytes
    assert read_model(cut).subgraphs[0].operators == read_model(model).subgraphs[0].operators
    assert cut_after(cut, len(OPERATORS) - 1) == cut


def test_weights_are_aligned_though_the_python_packer_does_not_align_them(model: bytes) -> None:
    assert any(at % ALIGNMENT for at in data_offsets(model))
    for operator in range(len(OPERATORS)):
        offsets = data_offsets(cut_after(model, operator))
        assert offsets
        assert [at % ALIGNMENT for at in offsets] == [0] * len(offsets)


def test_a_converters_model_keeps_aligned_weights(shared: Path) -> None:
    whole = (shared / "fixtures" / "tflite" / "clean_mobilenetv2_035.tflite").read_bytes()
    for operator in (0, 30, 66):
        assert not any(at % ALIGNMENT for at in data_offsets(cut_after(whole, operator)))


def test_metadata_and_signatures_go(model: bytes) -> None:
    made = unpacked(model)
    made.metadata, note, signature = [schema.MetadataT()], schema.BufferT(), schema.SignatureDefT()
    made.metadata[0].name, made.metadata[0].buffer = "min_runtime_version", len(made.buffers)
    note.data = np.frombuffer(b"1.5.0 and much more of it" * 9, np.uint8)
    made.buffers.append(note)
    signature.inputs, signature.outputs, signature.signatureKey = [schema.TensorMapT()], [], "serving_default"
    signature.inputs[0].name = "frame"
    made.signatureDefs = [signature]
    made.subgraphs[0].debugMetadataIndex = made.subgraphs[0].operators[0].debugMetadataIndex = 0
    with_notes = repacked(made)
    cut = cut_after(with_notes, 3)
    assert cut == cut_after(model, 3)
    assert b"much more" not in cut
    assert not unpacked(cut).signatureDefs


def test_of_several_outputs_the_first_is_given_out() -> None:
    split = Op("SPLIT", (1, 0), (2, 3), options("SplitOptions", numSplits=2))
    tensors = [T(SHAPE), scalar(3), T((1, 4, 4, 1)), T((1, 4, 4, 1)), T((1, 4, 4, 1))]
    whole = build(tensors, [split, Op("ABS", (3,), (4,))], (0,), (4,))
    values = inputs(SHAPE)[0]
    cut = cut_after(whole, 0)
    np.testing.assert_array_equal(on_reference(cut, values), values[..., :1])
    np.testing.assert_array_equal(on_tflm(cut, values), values[..., :1])


def test_an_input_left_out_stays_left_out() -> None:
    weights = T((2, 4), data=[[1, 2, 3, 4], [5, 6, 7, 8]])
    first = Op("FULLY_CONNECTED", (0, 1, -1), (2,), options("FullyConnectedOptions"))
    whole = build([T((1, 4)), weights, T((1, 2)), T((1, 2))], [first, Op("ABS", (2,), (3,))], (0,), (3,))
    cut = cut_after(whole, 0)
    assert read_model(cut).subgraphs[0].operators[0].inputs == (0, 1, -1)
    values = inputs((1, 4))[0]
    np.testing.assert_array_equal(on_tflm(cut, values), every_tensor(whole, values)[0])


def test_subgraphs_stay_where_one_is_called_and_go_where_none_is() -> None:
    branches = options("IfOptions", thenSubgraphIndex=1, elseSubgraphIndex=2)
    tensors = [T(SHAPE), T((), "bool", None), T(SHAPE), T(SHAPE)]
    whole = build(tensors, [Op("ABS", (0,), (2,)), Op("IF", (1, 2), (3,), branches)], (0, 1), (3,), more_subgraphs=2)
    assert len(read_model(cut_after(whole, 0)).subgraphs) == 1
    cut = read_model(cut_after(whole, 1))
    assert [graph.name for graph in cut.subgraphs] == ["main", "extra_0", "extra_1"]
    assert cut.subgraphs[0].operators[1].calls == (1, 2)


def test_weights_behind_the_flatbuffer_are_taken_inside(model: bytes) -> None:
    """`_experimental_use_buffer_offset` of the converter writes them there."""
    made = unpacked(model)
    held = {i: bytes(buffer.data) for i, buffer in enumerate(made.buffers) if buffer.data is not None}

    def packed(start: int) -> bytes:
        at = start
        for number, data in held.items():
            made.buffers[number].data, made.buffers[number].offset = None, at
            made.buffers[number].size = len(data)
            at += len(data)
        return repacked(made)

    front = packed(len(packed(1 << 20)))  # offsets and sizes are numbers of a fixed width
    outside = front + b"".join(held.values())
    assert read_model(outside).subgraphs[0].tensors[1].is_external
    for operator in (0, 6, 10):
        assert cut_after(outside, operator) == cut_after(model, operator)


@pytest.mark.parametrize("operator", [-1, 11, 10**9])
def test_an_operator_that_is_not_there_is_named_with_what_is(model: bytes, operator: int) -> None:
    with pytest.raises(NoSuchOperator, match=rf"no operator {operator} .* has 11") as raised:
        cut_after(model, operator)
    assert raised.value.next_step == "give a number from 0 to 10"


def test_an_output_of_floats_is_refused_by_name() -> None:
    floats = [T(SHAPE, "float32", None), T(SHAPE, "float32", None, name="sine"), T(SHAPE)]
    whole = build(floats, [Op("SIN", (0,), (1,)), Op("QUANTIZE", (1,), (2,))], (0,), (2,))
    with pytest.raises(OutputNotComparable, match=r"operator 0 SIN, tensor 1 'sine', is float32") as raised:
        cut_after(whole, 0)
    assert raised.value.next_step
    assert read_model(cut_after(whole, 1)).subgraphs[0].operators[0].name == "SIN"


@pytest.mark.parametrize("name", ["SHAPE", "ARG_MAX", "GREATER"])
def test_integer_and_bool_outputs_can_be_compared(name: str) -> None:
    whole = one_operator(name, "int8")
    kind = {"SHAPE": "int32", "ARG_MAX": "int32", "GREATER": "bool"}[name]
    graph = read_model(cut_after(whole, 0)).subgraphs[0]
    assert graph.tensors[graph.outputs[0]].dtype == kind


def test_an_operator_without_output_is_refused_and_never_dropped() -> None:
    call = Op("CALL_ONCE", (), (), options("CallOnceOptions", initSubgraphIndex=1))
    whole = build([T(SHAPE), T(SHAPE)], [call, Op("ABS", (0,), (1,))], (0,), (1,), more_subgraphs=1)
    with pytest.raises(CutImpossible, match="operator 0 CALL_ONCE has no output"):
        cut_after(whole, 0)
    assert [op.name for op in read_model(cut_after(whole, 1)).subgraphs[0].operators] == ["CALL_ONCE", "ABS"]


def test_weights_in_other_files_are_refused() -> None:
    made = unpacked(one_operator("CONV_2D", "int8"))
    made.subgraphs[0].tensors[1].buffer, made.subgraphs[0].tensors[1].externalBuffer = 0, 1
    with pytest.raises(CutImpossible, match="outside of its flatbuffer"):
        cut_after(repacked(made), 0)


@pytest.mark.parametrize("data", [b"", b"no model", b"\x1c\0\0\0TFL3" + bytes(100)])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(NotAModel):
        cut_after(data, 0)


def test_the_packer_writes_what_flatbuffers_reads(model: bytes) -> None:
    """Guards the alignment against another version of flatbuffers: lengths and contents, byte by byte."""
    cut = unpacked(cut_after(model, 10))
    whole = unpacked(model)
    for one, other in zip(cut.buffers, whole.buffers, strict=True):
        assert (one.data is None) == (other.data is None)
        assert one.data is None or bytes(one.data) == bytes(other.data)
