"""Every rule of the audit, on models built by hand that break just that rule (and on one that breaks none).

Not covered: damaged files (test_flatbuffer.py, test_flatbuffer_fuzz.py), scales (test_audit_quantization.py), the table
of TFLM's kernels (test_audit_tflm.py), what the real converter writes (test_audit_conversions.py).
"""

import time
from collections.abc import Sequence

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tasks.flatbuffer import Audit, audit
from tests.tasks.hand_built_models import CONV, SHAPE, Op, T, build, clean_conv, one_operator, options, repacked


def one(result: Audit, kind: str) -> str:
    """The cause of the only offender, which is of `kind` and tells a way out."""
    assert not result.clean
    assert [o.kind for o in result.offenders] == [kind], result.offenders
    assert result.offenders[0].fix
    return result.offenders[0].cause


def kinds(result: Audit) -> list[tuple[str, str]]:
    return [(o.kind, o.op) for o in result.offenders]


@pytest.mark.parametrize("tflm", ["upstream", "registry"])
def test_a_plain_int8_convolution_is_clean_on_both_revisions(tflm: str) -> None:
    result = audit(clean_conv(), tflm=tflm)
    assert result.clean
    assert result.offenders == ()
    assert result.ops == {"CONV_2D": 1}


# ---- floats


def test_a_float_model_is_named_by_its_input_output_and_operator() -> None:
    tensors = [T(SHAPE, "float32", None, name="in"), T((), "float32", None, data=2.0), T(SHAPE, "float32", None)]
    result = audit(build(tensors, [Op("MUL", (0, 1), (2,), options("MulOptions"))], (0,), (2,)))
    assert kinds(result) == [("float_io", ""), ("float_io", ""), ("float_op", "MUL")]
    assert result.offenders[0].tensor == "in"
    assert "never quantized" in result.offenders[2].cause
    assert "representative_dataset" in result.offenders[2].fix


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "float8_e4m3fn", "complex64"])
def test_every_width_of_float_is_a_float(dtype: str) -> None:
    tensors = [T(SHAPE), T(SHAPE, dtype, None), T(SHAPE)]
    result = audit(build(tensors, [Op("NEG", (0,), (1,)), Op("NEG", (1,), (2,))], (0,), (2,)))
    assert kinds(result) == [("float_op", "NEG"), ("float_op", "NEG")]
    assert dtype in result.offenders[0].cause


def island() -> bytes:
    """int8 -> DEQUANTIZE -> SIN in float -> QUANTIZE -> int8, as the converter leaves it."""
    tensors = [T(SHAPE), T(SHAPE, "float32", None, name="f"), T(SHAPE, "float32", None, name="g"), T(SHAPE)]
    return build(tensors, [Op("DEQUANTIZE", (0,), (1,)), Op("SIN", (1,), (2,)), Op("QUANTIZE", (2,), (3,))], (0,), (3,))


def test_a_float_island_is_named_with_its_edges_and_their_places() -> None:
    result = audit(island())
    assert [(o.kind, o.op, o.index, o.tensor) for o in result.offenders] == [
        ("float_edge", "DEQUANTIZE", 0, "f"),
        ("float_op", "SIN", 1, "g"),
        ("float_edge", "QUANTIZE", 2, "g"),
    ]
    assert "SIN (operator 1)" in result.offenders[0].cause
    assert "between DEQUANTIZE (operator 0) and QUANTIZE (operator 2)" in result.offenders[1].cause
    assert "SIN (operator 1)" in result.offenders[2].cause


def test_float_input_and_output_around_int8_are_told_how_to_go() -> None:
    tensors = [T(SHAPE, "float32", None), T(SHAPE), T(SHAPE), T(SHAPE, "float32", None)]
    ops = [Op("QUANTIZE", (0,), (1,)), Op("RELU", (1,), (2,)), Op("DEQUANTIZE", (2,), (3,))]
    result = audit(build(tensors, ops, (0,), (3,)))
    assert kinds(result) == [
        ("float_io", ""),
        ("float_io", ""),
        ("float_edge", "QUANTIZE"),
        ("float_edge", "DEQUANTIZE"),
    ]
    assert "inference_input_type" in result.offenders[2].fix
    assert "inference_output_type" in result.offenders[3].fix


def test_int8_weights_under_float_activations_are_a_hybrid_operator() -> None:
    tensors = [T(SHAPE, "float32", None), T((3, 1, 1, 2), data=1, name="w"), T((1, 4, 4, 3), "float32", None)]
    result = audit(build(tensors, [Op("CONV_2D", (0, 1, -1), (2,), CONV)], (0,), (2,)))
    assert kinds(result) == [("float_io", ""), ("float_io", ""), ("hybrid_op", "CONV_2D")]
    assert result.offenders[2].tensor == "w"


def test_weights_that_are_stored_as_int8_and_dequantized_are_a_float_edge() -> None:
    tensors = [T(SHAPE), T(SHAPE, data=1, name="w"), T(SHAPE, "float32", None), T(SHAPE, "float32", None)]
    ops = [Op("DEQUANTIZE", (1,), (2,)), Op("DEQUANTIZE", (0,), (3,)), Op("ADD", (2, 3), (3,), options("AddOptions"))]
    result = audit(build(tensors, ops, (0,), (0,)))
    assert result.offenders[0].kind == "float_edge"
    assert "stored as int8" in result.offenders[0].cause


def test_float16_weights_are_told_apart_from_a_model_that_was_never_quantized() -> None:
    tensors = [T(SHAPE, "float32", None), T(SHAPE, "float16", None, data=1), *(T(SHAPE, "float32", None) for _ in "ab")]
    ops = [Op("DEQUANTIZE", (1,), (2,)), Op("ADD", (0, 2), (3,), options("AddOptions"))]
    result = audit(build(tensors, ops, (0,), (3,)))
    assert "float16 quantization" in next(o.cause for o in result.offenders if o.op == "DEQUANTIZE")


def test_a_float_tensor_that_nothing_uses_is_named_by_its_own_index() -> None:
    tensors = [T(SHAPE), T(SHAPE), T((3,), "float32", None, data=1.5, name="left over")]
    result = audit(build(tensors, [Op("RELU", (0,), (1,))], (0,), (1,)))
    one(result, "float_tensor")
    assert (result.offenders[0].op, result.offenders[0].index, result.offenders[0].tensor) == ("", 2, "left over")


# ---- operators


@pytest.mark.parametrize(("code", "word"), [("FlexErf", "TensorFlow runtime"), ("MyOp", "custom operator")])
def test_custom_and_flex_operators_are_named_by_their_own_name(code: str, word: str) -> None:
    result = audit(build([T(SHAPE), T(SHAPE)], [Op("CUSTOM", (0,), (1,), custom_code=code)], (0,), (1,)))
    assert word in one(result, "custom_op")
    assert result.offenders[0].op == code
    assert result.ops == {code: 1}


@pytest.mark.parametrize("op", ["GELU", "POW", "REDUCE_PROD"])
def test_an_operator_without_a_kernel_is_unsupported(op: str) -> None:
    assert f"has no kernel for {op}" in one(audit(one_operator(op, "int8")), "unsupported_op")


@pytest.mark.parametrize("op", ["EXP", "LOG", "SIN", "NEG"])
def test_an_operator_with_a_float_kernel_only_is_unsupported_in_int8(op: str) -> None:
    assert "for float only" in one(audit(one_operator(op, "int8")), "unsupported_op")


def test_types_that_a_kernel_does_not_take_are_listed() -> None:
    cause = one(audit(one_operator("ADD", "uint8")), "unsupported_op")
    assert "2 x uint8 to uint8" in cause
    assert audit(one_operator("ADD", "uint8"), tflm="registry").clean
    assert "int64" in one(audit(one_operator("ADD", "int64")), "unsupported_op")


@pytest.mark.parametrize("op", ["MEAN", "HARD_SWISH", "TRANSPOSE", "RESIZE_BILINEAR", "LEAKY_RELU", "SUM"])
def test_operators_that_came_after_2020_are_unsupported_on_the_registry_revision_only(op: str) -> None:
    assert audit(one_operator(op, "int8")).clean
    assert one(audit(one_operator(op, "int8"), tflm="registry"), "unsupported_op")


def test_uint8_input_is_clean_upstream_and_unsupported_on_the_registry_revision() -> None:
    tensors = [T(SHAPE, "uint8", 1.0), T(SHAPE, "int8", 1.0, -128), T(SHAPE, "int8", 1.0, -128)]
    data = build(tensors, [Op("QUANTIZE", (0,), (1,)), Op("RELU", (1,), (2,))], (0,), (2,))
    assert audit(data).clean
    assert "uint8 to int8" in one(audit(data, tflm="registry"), "unsupported_op")


def test_resource_variables_are_told_to_freeze() -> None:
    tensors = [T(SHAPE), T((1,), "resource", None), T(SHAPE)]
    result = audit(build(tensors, [Op("VAR_HANDLE", (), (1,)), Op("READ_VARIABLE", (1,), (2,))], (0,), (2,)))
    assert ("unsupported_op", "READ_VARIABLE") in kinds(result)
    assert "freeze" in result.offenders[0].fix
    assert "unsupported_tensor" in [o.kind for o in result.offenders]


def test_an_axis_that_is_computed_while_the_model_runs_is_unsupported() -> None:
    tensors = [T(SHAPE), T((4,), "int32", None, name="perm"), T((1, 2, 4, 4))]
    data = build(tensors, [Op("TRANSPOSE", (0, 1), (2,), options("TransposeOptions"))], (0, 1), (2,))
    result = audit(data)
    assert "as a constant" in one(result, "unsupported_op")
    assert result.offenders[0].tensor == "perm"


def test_int4_weights_run_upstream_only() -> None:
    data = clean_conv(w=T((3, 1, 1, 2), "int4", [0.01] * 3, [0] * 3, data=1))
    assert audit(data).clean
    assert one(audit(data, tflm="registry"), "unsupported_op")


def test_several_subgraphs_are_refused_by_the_registry_revision() -> None:
    data = build([T(SHAPE), T(SHAPE)], [Op("RELU", (0,), (1,))], (0,), (1,), more_subgraphs=2)
    assert audit(data).clean
    assert "3 subgraphs" in one(audit(data, tflm="registry"), "unsupported_op")


def test_an_operator_code_in_the_new_field_only_is_misread_by_the_registry_revision() -> None:
    tensors = [T(SHAPE), T(SHAPE)]
    data = build(tensors, [Op("RELU", (0,), (1,))], (0,), (1,), new_codes_only=True)
    assert audit(data).clean
    assert "reads ADD instead" in one(audit(data, tflm="registry"), "unsupported_op")


# ---- shapes and graphs


@pytest.mark.parametrize(("signature", "clean"), [((-1, 4, 4, 2), True), ((-1, -1, 4, 2), False), ((1, 4, 4, 2), True)])
def test_only_the_batch_may_be_open(signature: Sequence[int], clean: bool) -> None:
    result = audit(clean_conv(x=T(SHAPE, signature=signature)))
    assert result.clean == clean
    assert clean or "open at dimension 1" in one(result, "dynamic_shape")


def test_reading_what_nothing_has_written_is_refused() -> None:
    tensors = [T(SHAPE), T(SHAPE, name="ghost"), T(SHAPE), T(SHAPE)]
    ops = [Op("ADD", (0, 1), (2,), options("AddOptions")), Op("RELU", (2,), (3,))]
    result = audit(build(tensors, ops, (0,), (3,)))
    assert "nothing has written" in one(result, "bad_graph")
    assert result.offenders[0].tensor == "ghost"


def test_operators_in_the_wrong_order_are_refused() -> None:
    tensors = [T(SHAPE), T(SHAPE), T(SHAPE)]
    ops = [Op("RELU", (1,), (2,)), Op("RELU", (0,), (1,))]
    assert "nothing has written" in one(audit(build(tensors, ops, (0,), (2,))), "bad_graph")
    assert audit(build(tensors, ops[::-1], (0,), (2,))).clean


def test_writing_into_a_constant_is_refused() -> None:
    tensors = [T(SHAPE), T(SHAPE, data=1)]
    assert "into a constant" in one(audit(build(tensors, [Op("RELU", (0,), (1,))], (0,), (1,))), "bad_graph")


def test_a_model_without_operators_or_inputs_is_refused() -> None:
    assert "no operator" in one(audit(build([T(SHAPE)], [], (0,), (0,))), "bad_graph")
    data = build([T(SHAPE, data=1), T(SHAPE)], [Op("RELU", (0,), (1,))], (), (1,))
    assert "no input" in one(audit(data), "bad_graph")


def test_string_tensors_are_refused() -> None:
    result = audit(build([T((1,), "string", None), T((1,), "string", None)], [Op("RELU", (0,), (1,))], (0,), (1,)))
    assert [o.kind for o in result.offenders].count("unsupported_tensor") == 2


def test_sparse_weights_and_weights_outside_the_flatbuffer_are_refused() -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(clean_conv(), 0))
    model.subgraphs[0].tensors[1].sparsity = schema.SparsityParametersT()
    assert "sparse" in one(audit(repacked(model)), "unsupported_tensor")
    model.subgraphs[0].tensors[1].sparsity = None
    weights = model.buffers[model.subgraphs[0].tensors[1].buffer]
    weights.data, weights.offset, weights.size = None, 32, 6
    assert "outside the flatbuffer" in one(audit(repacked(model)), "unsupported_tensor")


def test_offenders_inside_a_called_subgraph_say_so() -> None:
    tensors = [T((), "bool", None), T((4,)), T((4,))]
    branch = options("IfOptions", thenSubgraphIndex=1, elseSubgraphIndex=1)
    data = build(tensors, [Op("IF", (0, 1), (2,), branch)], (0, 1), (2,), more_subgraphs=1)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    inner = schema.ModelT.InitFromObj(schema.Model.GetRootAs(one_operator("EXP", "int8"), 0))
    inner.subgraphs[0].operators[0].opcodeIndex = len(model.operatorCodes)
    model.operatorCodes += inner.operatorCodes
    model.subgraphs[1] = inner.subgraphs[0]
    model.subgraphs[1].name = "branch"
    result = audit(repacked(model))
    assert "in subgraph 1 'branch'" in one(result, "unsupported_op")
    assert result.ops == {"IF": 1, "EXP": 1}
    assert result.facts.activation_peak_bytes == 1 + 4 + 4 + 2 * 32


def test_a_graph_as_tangled_as_a_file_can_make_it_is_audited_in_seconds() -> None:
    wide = [T((), "float32", None), *(T((), "int8", None) for _ in range(6000))]
    every = range(len(wide))
    ops = [Op("ADD_N", every, (0,)) for _ in range(30)]
    data = build(wide, ops, (0,), (0,))
    started = time.monotonic()
    assert not audit(data).clean
    assert time.monotonic() - started < 20


def test_numpy_and_names_leave_the_audit_as_plain_values() -> None:
    result = audit(clean_conv(x=T(SHAPE, zero_point=200, name="x\x1b[31m\n")))
    assert result.offenders[0].model_dump_json()
    assert result.offenders[0].tensor == "x?[31m?"
    assert not isinstance(result.facts.inputs[0].zero_point, np.integer)
