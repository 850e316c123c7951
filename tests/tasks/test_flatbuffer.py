"""Reading a .tflite: figures that can be checked by hand, and files that are no model.

Models are built by hand here. Not covered: damage at random (test_flatbuffer_fuzz.py), the rules of the audit
(test_audit.py), TFLM's kernels (test_audit_tflm.py), models of the real converter (test_audit_conversions.py).
"""

import struct
import time
import tracemalloc
from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema

from tasks.flatbuffer import Audit, NotAModel, audit, inspect, read_file
from tasks.tflite_file import read_model
from tests.tasks.hand_built_models import (
    CONV,
    DEPTHWISE,
    Op,
    T,
    build,
    clean_conv,
    options,
    repacked,
)


def chain() -> bytes:
    """x (64 B) -> CONV 1x1 -> a (96 B) -> DEPTHWISE 3x3 -> b (96 B); a + b -> y (96 B); 32 bytes of input x."""
    tensors = [
        T((1, 4, 4, 2), name="x"),
        T((6, 1, 1, 2), data=1),
        T((1, 4, 4, 6), name="a"),
        T((1, 3, 3, 6), data=1),
        T((1, 4, 4, 6), name="b"),
        T((1, 4, 4, 6), name="y"),
    ]
    ops = [
        Op("CONV_2D", (0, 1, -1), (2,), CONV),
        Op("DEPTHWISE_CONV_2D", (2, 3), (4,), DEPTHWISE),
        Op("ADD", (2, 4), (5,), options("AddOptions")),
    ]
    return build(tensors, ops, (0,), (5,))


def test_the_figures_of_a_small_model_are_those_worked_out_by_hand() -> None:
    facts = inspect(chain())
    assert facts.ops == {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "ADD": 1}
    assert [op.macs for op in facts.operators] == [96 * 2, 96 * 9, 0]
    assert facts.macs == 96 * 2 + 96 * 9
    assert facts.weights_bytes == 12 + 54
    assert [op.weights_bytes for op in facts.operators] == [12, 54, 0]
    # x and a; a and b (x is dead); a, b and y
    assert [op.live_bytes for op in facts.operators] == [32 + 96, 96 + 96, 96 * 3]
    assert facts.activation_peak_bytes == 288
    assert facts.size_bytes == len(chain())
    assert facts.inputs[0].model_dump() == {
        "name": "x",
        "shape": (1, 4, 4, 2),
        "dtype": "int8",
        "scale": pytest.approx(0.05),
        "zero_point": 0,
    }
    assert facts.operators[0].inputs == (0, 1, -1)
    assert [facts.tensors[i].name for op in facts.operators for i in op.outputs] == ["a", "b", "y"]


def test_an_output_stays_alive_to_the_end_and_an_input_dies_with_its_last_reader() -> None:
    tensors = [T((100,)), T((10,)), T((10,)), T((10,))]
    ops = [Op("RELU", (0,), (1,)), Op("RELU", (1,), (2,)), Op("RELU", (2,), (3,))]
    assert [op.live_bytes for op in inspect(build(tensors, ops, (0,), (1, 3))).operators] == [110, 20, 30]


def test_a_variable_is_alive_throughout() -> None:
    data = bytearray(build([T((8,)), T((16,)), T((8,))], [Op("RELU", (0,), (2,))], (0,), (2,)))
    before = inspect(bytes(data)).activation_peak_bytes
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytes(data), 0))
    model.subgraphs[0].tensors[1].isVariable = True
    model.subgraphs[0].operators[0].inputs = [0, 1]
    assert before == 16
    assert inspect(repacked(model)).activation_peak_bytes == 32


def agree(data: bytes) -> None:
    """The checked reader against the generated parser, field by field."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    mine = read_model(data)
    assert len(mine.subgraphs) == len(model.subgraphs)
    for graph, theirs in zip(mine.subgraphs, model.subgraphs, strict=True):
        assert graph.inputs == tuple(theirs.inputs)
        assert graph.outputs == tuple(theirs.outputs)
        for tensor, other in zip(graph.tensors, theirs.tensors, strict=True):
            assert tensor.name == other.name.decode()
            assert tensor.shape == tuple([] if other.shape is None else other.shape)
            assert tensor.shape_signature == tuple([] if other.shapeSignature is None else other.shapeSignature)
            stored = model.buffers[other.buffer].data
            assert tensor.data_bytes == (0 if stored is None else len(stored))
            if other.quantization is not None and other.quantization.scale is not None:
                assert list(tensor.scales) == list(other.quantization.scale)
                assert list(tensor.zero_points) == list(other.quantization.zeroPoint)
                assert tensor.quantized_dimension == other.quantization.quantizedDimension
        for op, other in zip(graph.operators, theirs.operators, strict=True):
            assert op.inputs == tuple(other.inputs)
            assert op.outputs == tuple(other.outputs)
            code = model.operatorCodes[other.opcodeIndex]
            builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
            assert getattr(schema.BuiltinOperator, op.name) == builtin


def test_the_checked_reader_agrees_with_the_generated_parser() -> None:
    agree(chain())
    agree(clean_conv())


def test_the_checked_reader_agrees_with_the_generated_parser_on_real_models(shared: Path) -> None:
    for path in sorted((shared / "fixtures/tflite").glob("*.tflite")):
        agree(path.read_bytes())


def test_mobilenet_needs_288000_bytes_of_activations(shared: Path) -> None:
    facts = inspect((shared / "fixtures/tflite/clean_mobilenetv2_035.tflite").read_bytes())
    assert facts.activation_peak_bytes == 288_000
    assert facts.ops["CONV_2D"] == 36
    assert max(op.live_bytes for op in facts.operators) == 288_000


# ---- what is no model


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\0" * 64, b"\x89PNG\r\n\x1a\n" + b"\0" * 100, b"TFL3" * 100])
def test_other_bytes_are_not_a_model(data: bytes) -> None:
    with pytest.raises(NotAModel):
        audit(data)


def test_a_model_cut_off_anywhere_is_refused_or_audited_but_never_crashes() -> None:
    data = clean_conv()
    for length in range(len(data)):
        verdict(data[:length])
    for length in range(0, len(data) // 2, 7):
        with pytest.raises(NotAModel):
            audit(data[:length])


def verdict(data: bytes) -> Audit | None:
    """The audit, or None where it is refused; any other exception escapes."""
    try:
        return audit(data)
    except NotAModel:
        return None


def changed(data: bytes, **parts: object) -> bytes:
    """`data` with fields of the first tensor, operator or subgraph replaced, as `tensor_shape=[-1]`."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    graph = model.subgraphs[0]
    owners = {"tensor": graph.tensors[0], "operator": graph.operators[0], "graph": graph, "model": model}
    for name, value in parts.items():
        owner, field = name.split("_")
        assert hasattr(owners[owner], field), name
        setattr(owners[owner], field, value)
    return repacked(model)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"operator_inputs": [0, 99, 2]}, "refers to tensor 99 of 4"),
        ({"operator_inputs": [0, -2, 2]}, "refers to tensor -2"),
        ({"operator_outputs": [-1]}, "refers to tensor -1"),
        ({"operator_opcodeIndex": 7}, "operator code 7 of 1"),
        ({"graph_inputs": [4]}, "refers to tensor 4"),
        ({"tensor_shape": [1, -4, 4, 2]}, "impossible shape"),
        ({"tensor_shape": [2**31 - 1, 2**31 - 1, 2**31 - 1]}, "more than any device can address"),
        ({"tensor_shape": [1] * 40}, "impossible shape"),
        ({"tensor_buffer": 1000}, "refers to buffer 1000"),
        ({"tensor_buffer": 1, "tensor_shape": [64]}, "needs 64 bytes, its buffer holds 6"),
        ({"model_version": 2}, "schema version 2"),
        ({"model_subgraphs": []}, "no subgraph"),
    ],
)
def test_indices_and_sizes_out_of_range_are_not_a_model(parts: dict[str, object], reason: str) -> None:
    with pytest.raises(NotAModel, match=reason):
        audit(changed(clean_conv(), **parts))


def pointed(data: bytes, slot: int, target: int) -> bytes:
    """`data` whose subgraph's field `slot` (an offset) points to byte `target`."""
    table = schema.Model.GetRootAs(data, 0).Subgraphs(0)._tab
    place = table.Pos + table.Offset(slot)
    return data[:place] + struct.pack("<I", target - place) + data[place + 4 :]


def test_a_list_that_claims_two_gigabytes_is_refused_without_taking_them() -> None:
    data = clean_conv()
    data += b"\0" * (-len(data) % 4)
    hostile = pointed(data, 10, len(data)) + struct.pack("<I", 2**29) + b"\0" * 64
    tracemalloc.start()
    try:
        with pytest.raises(NotAModel, match="claims 536,870,912 elements"):
            audit(hostile)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_millions_of_references_to_one_record_are_refused_in_seconds() -> None:
    data = clean_conv()
    data += b"\0" * (-len(data) % 4)
    operator = schema.Model.GetRootAs(data, 0).Subgraphs(0).Operators(0)._tab.Pos
    count = 2_000_000
    first = len(data) + 4
    offsets = struct.pack(f"<{count}I", *((operator - first - 4 * i) % 2**32 for i in range(count)))
    hostile = pointed(data, 10, len(data)) + struct.pack("<I", count) + offsets
    started = time.monotonic()
    with pytest.raises(NotAModel):
        audit(hostile)
    assert time.monotonic() - started < 10


def test_records_that_contain_themselves_are_refused_or_read_once() -> None:
    data = clean_conv()
    root = struct.unpack_from("<I", data)[0]
    for position in range(8, len(data) - 4, 4):  # every word becomes an offset back to the root record
        verdict(data[:position] + struct.pack("<I", (root - position) % 2**32) + data[position + 4 :])
    with pytest.raises(NotAModel):
        audit(struct.pack("<I", 0) + data[4:])


def test_control_flow_that_calls_itself_is_refused() -> None:
    tensors = [T((), "bool", None), T((4,)), T((4,))]
    op = Op("IF", (0, 1), (2,), options("IfOptions", thenSubgraphIndex=0, elseSubgraphIndex=0))
    with pytest.raises(NotAModel, match="calls itself"):
        audit(build(tensors, [op], (0, 1), (2,)))
    op.options = options("IfOptions", thenSubgraphIndex=1, elseSubgraphIndex=9)
    with pytest.raises(NotAModel, match="calls subgraph 9 of 2"):
        audit(build(tensors, [op], (0, 1), (2,), more_subgraphs=1))


# ---- files


def test_a_missing_file_a_folder_and_a_device_are_not_a_model(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tflite", tmp_path, Path("/dev/zero"), Path("/dev/null"), tmp_path / "a\0b"):
        with pytest.raises(NotAModel):
            read_file(path)


def test_a_huge_file_of_something_else_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.truncate(3 << 30)  # sparse: takes no space
    tracemalloc.start()
    try:
        with pytest.raises(NotAModel):
            audit(read_file(path))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
