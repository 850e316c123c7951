"""The audit's rules on operators: what a device cannot run as integer arithmetic, where it is, why, and what to do.

Every rule is a pure function over a `GraphView`. Tensors have their own rules in `tensor_offenders`. An operator is
named once, by the first of its reasons; kinds are those of `tasks.lineage.Offender`.
"""

from collections.abc import Iterator

from tasks.lineage import Offender
from tasks.offender_advice import INT8_CONVERSION, way_out
from tasks.tensor_offenders import GraphView, is_float, tensor_offenders
from tasks.tflite_file import ModelFile, Operator, Tensor
from tasks.tflm_support import CONSTANT_INPUTS, STATEFUL, SUPPORTED, Revision, runs

LABEL: dict[Revision, str] = {
    "upstream": "TFLM (upstream)",
    "registry": "TFLM of July 2020 (registry)",
}
_QUANTIZED = ("int8", "uint8", "int16", "int4", "int2")


def find_offenders(model: ModelFile, revision: Revision) -> tuple[Offender, ...]:
    """Every reason why that TFLM revision cannot run the model as a full-integer model; empty where it can."""
    found: list[Offender] = []
    for graph in model.subgraphs:
        view = GraphView.of(graph, revision)
        if graph.index == 0:
            found += _graph_rules(view, len(model.subgraphs))
        named: set[int] = set()
        for op in graph.operators:
            if offender := _operator_rule(view, op):
                named.add(op.index)
                found.append(offender)
        found += tensor_offenders(view, named)
    return tuple(found)


def _graph_rules(view: GraphView, subgraphs: int) -> Iterator[Offender]:
    graph = view.graph
    if not graph.operators:
        yield view.offender("bad_graph", None, None, "the model has no operator", "export the whole network")
    if not graph.inputs or not graph.outputs:
        yield view.offender(
            "bad_graph", None, None, "the model has no input or no output", "export it with its inputs and outputs"
        )
    if subgraphs > 1 and view.revision == "registry":
        yield view.offender(
            "unsupported_op",
            None,
            None,
            f"the file has {subgraphs} subgraphs, {LABEL['registry']} runs files with one only",
            "convert one signature, without tf.while_loop and tf.cond",
        )
    for what, indices in (("input", graph.inputs), ("output", graph.outputs)):
        for tensor in (graph.tensors[i] for i in indices):
            if is_float(tensor.dtype):
                yield view.offender(
                    "float_io",
                    None,
                    tensor,
                    f"the model's own {what} is {tensor.dtype}: the converter's default unless told otherwise",
                    f"set converter.inference_{what}_type = tf.int8 (or tf.uint8)",
                )


def _operator_rule(view: GraphView, op: Operator) -> Offender | None:
    if op.name in ("CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES") or op.custom_code:
        return _custom(view, op)
    return _float_operator(view, op) or _unsupported(view, op)


def _custom(view: GraphView, op: Operator) -> Offender:
    code, tensor = op.custom_code or op.name, view.first_output(op)
    if code.startswith("Flex"):
        cause = f"{code} is a TensorFlow operator (Flex); it needs the TensorFlow runtime"
        fix = "leave SELECT_TF_OPS out of supported_ops and replace what then fails to convert"
    else:
        cause = (
            f"{code} is a custom operator: the resolver is generated from builtin operators, no kernel comes with it"
        )
        fix = "replace it by builtin operators, or cut it off and do that step in the application"
    return view.offender("custom_op", op, tensor, cause, fix, name=code)


def _float_operator(view: GraphView, op: Operator) -> Offender | None:
    if op.index not in view.float_operators:
        return None
    inputs, outputs = view.inputs(op), view.outputs(op)
    floats = [t for t in (*outputs, *inputs) if is_float(t.dtype)]
    if op.name in ("QUANTIZE", "DEQUANTIZE") and inputs and outputs and len(floats) < len(inputs) + len(outputs):
        return _edge(view, op, inputs[0], outputs[0])
    weights = [t for t in inputs if t.is_constant and t.dtype in _QUANTIZED and len(t.scales)]
    if weights:
        return view.offender(
            "hybrid_op",
            op,
            weights[0],
            f"{weights[0].dtype} weights but {floats[0].dtype} activations: dynamic-range quantization, which happens "
            "when the converter got no representative_dataset; TFLM has no hybrid kernels",
            INT8_CONVERSION,
        )
    if view.quantized:
        around = view.edges_around(op)
        cause = (
            f"{op.name} computes in {floats[0].dtype}: TFLite has no integer kernel for it (or its tensors were not "
        )
        cause += f"calibrated), so the converter kept it in float{around}"
        fix = way_out(op.name, view.revision)
    elif view.weights_quantized:
        cause = f"{op.name} computes in {floats[0].dtype}: only the weights of this model were quantized"
        fix = INT8_CONVERSION
    else:
        half = floats[0].dtype == "float16" or (op.name == "DEQUANTIZE" and inputs and inputs[0].dtype == "float16")
        how = "float16 quantization keeps the arithmetic in float" if half else "the model was never quantized"
        cause, fix = f"{op.name} computes in {floats[0].dtype}: {how}", INT8_CONVERSION
    return view.offender("float_op", op, floats[0], cause, fix)


def _edge(view: GraphView, op: Operator, source: Tensor, target: Tensor) -> Offender:
    """A QUANTIZE or DEQUANTIZE between integers and floats."""
    down = op.name == "QUANTIZE"
    float_side = source if is_float(source.dtype) else target
    place = f"{op.name} from {source.dtype} to {target.dtype}"
    if source.is_constant:
        cause = f"{place}: constants are stored as {source.dtype} but the model computes with floats"
        fix = INT8_CONVERSION
    elif float_side.index in (view.graph.inputs if down else view.graph.outputs):
        side = "input" if down else "output"
        cause = f"{place} at the model's {side}: the converter's default is a float {side}"
        fix = f"set converter.inference_{side}_type = tf.int8 (or tf.uint8)"
    else:
        near = [view.producer[float_side.index]] if down and float_side.index in view.producer else []
        near = near or view.consumers.get(float_side.index, [])
        names = ", ".join(f"{n.name} (operator {n.index})" for n in near[:3]) or "nothing"
        cause = f"{place}: {'comes out of' if down else 'leads into'} {names}, which computes in float"
        fix = "replace that operator; this edge then goes with it"
    return view.offender("float_edge", op, float_side, cause, fix)


def _unsupported(view: GraphView, op: Operator) -> Offender | None:
    revision, tensor = view.revision, view.first_output(op)
    label, table = LABEL[revision], SUPPORTED[revision]
    types = f"{_listed([t.dtype for t in view.inputs(op)])} to {_listed([t.dtype for t in view.outputs(op)])}"
    cause = ""
    if op.name in STATEFUL:
        cause = f"{op.name} works on a resource variable: the model was converted without being frozen"
    elif op.name not in table:
        cause = f"{label} has no kernel for {op.name}"
    elif not table[op.name]:
        cause = f"{label} has {op.name} for float only, here it goes from {types}"
    elif not runs(op.name, view.input_types(op), [t.dtype for t in view.outputs(op)], revision):
        cause = f"{label} has {op.name}, but not from {types}"
    elif revision == "registry" and op.old_code != op.name:
        cause = f"the operator code is stored in the field of 2020-07 only: {label} reads {op.old_code} instead"
    if cause:
        return view.offender("unsupported_op", op, tensor, cause, way_out(op.name, revision, types))
    for position in CONSTANT_INPUTS.get(op.name, ()):
        if position < len(op.inputs) and op.inputs[position] >= 0:
            given = view.graph.tensors[op.inputs[position]]
            if not given.is_constant and given.elements:
                return view.offender(
                    "unsupported_op",
                    op,
                    given,
                    f"input {position} of {op.name} is computed while the model runs; {label} needs it as a constant",
                    "convert with a static batch of 1 and fixed shapes, so that the converter folds it",
                )
    return None


def _listed(types: list[str]) -> str:
    """int8, int8 and int32 as `2 x int8, int32`."""
    counted: dict[str, int] = {}
    for dtype in types:
        counted[dtype] = counted.get(dtype, 0) + 1
    return ", ".join(f"{n} x {dtype}" if n > 1 else dtype for dtype, n in counted.items()) or "nothing"
