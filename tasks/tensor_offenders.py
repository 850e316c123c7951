"""The audit's rules on tensors: degenerate scales, bad quantization, shapes and storage that a device cannot take."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tasks.lineage import Offender
from tasks.tflite_file import Operator, Subgraph, Tensor
from tasks.tflm_support import FIXED_OUTPUT, KEEPS_SCALE, Revision, signature

# A whole int8 range of 3e-5: no signal is that small, and kernels that divide by it abort the process. The case in
# practice is batch normalization whose statistics never adapted, which gives scales near 1e-8.
SMALLEST_SCALE = {"int8": 1e-7, "uint8": 1e-7, "int16": 1e-7 / 256}
LARGEST_SCALE = 1e6
_RANGE = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "int4": (-8, 7),
    "int32": (-(2**31), 2**31 - 1),
}
_CONVOLUTIONS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0}  # -> dimension of the output channels
_ARITHMETIC = frozenset(
    (
        *("ADD", "SUB", "MUL", "DIV", "ADD_N", "CUMSUM", "SQUARED_DIFFERENCE", "BATCH_MATMUL", "FULLY_CONNECTED"),
        *("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "LOGISTIC", "SOFTMAX", "LOG_SOFTMAX", "TANH", "ELU"),
        *("RELU", "RELU6", "HARD_SWISH", "LEAKY_RELU", "PRELU", "L2_NORMALIZATION", "MEAN", "SUM", "SVDF"),
        *("QUANTIZE", "RSQRT"),
    )
)
_COMPARISONS = frozenset({"EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"})
_CALIBRATE = (
    "let batch normalization adapt (train, or lower its momentum), then calibrate with 100 or more real frames that "
    "reach the model as the device sends them"
)
_RECONVERT = "convert the model again from its source; a converter does not write this"


def is_float(dtype: str) -> bool:
    """Whether the type is a floating-point (or complex) one of any width."""
    return dtype.startswith(("float", "bfloat", "complex"))


@dataclass(frozen=True)
class GraphView:
    """A subgraph with who writes and who reads each tensor."""

    graph: Subgraph
    revision: Revision
    producer: dict[int, Operator]
    consumers: dict[int, list[Operator]]
    float_operators: frozenset[int]  # those with a float among their tensors
    quantized: bool  # some activation is quantized
    weights_quantized: bool

    @classmethod
    def of(cls, graph: Subgraph, revision: Revision) -> "GraphView":
        """The view of one subgraph."""
        producer: dict[int, Operator] = {}
        consumers: dict[int, list[Operator]] = {}
        for op in graph.operators:
            for i in op.outputs:
                producer.setdefault(i, op)
            for i in set(op.inputs) - {-1}:
                consumers.setdefault(i, []).append(op)
        scaled = [t for t in graph.tensors if len(t.scales) and t.dtype in ("int8", "uint8", "int16", "int4")]
        activations = any(not t.is_constant for t in scaled)
        floats = {t.index for t in graph.tensors if is_float(t.dtype)}
        mixed = frozenset(op.index for op in graph.operators if not floats.isdisjoint((*op.inputs, *op.outputs)))
        return cls(graph, revision, producer, consumers, mixed, activations, bool(scaled))

    def inputs(self, op: Operator) -> list[Tensor]:
        """The input tensors that are there."""
        return [self.graph.tensors[i] for i in op.inputs if i >= 0]

    def input_types(self, op: Operator) -> list[str | None]:
        """Types of all inputs; None for one left out."""
        return [self.graph.tensors[i].dtype if i >= 0 else None for i in op.inputs]

    def outputs(self, op: Operator) -> list[Tensor]:
        """The output tensors."""
        return [self.graph.tensors[i] for i in op.outputs]

    def first_output(self, op: Operator) -> Tensor | None:
        """Its first output, which is how people find an operator in a viewer."""
        return self.graph.tensors[op.outputs[0]] if op.outputs else None

    def edges_around(self, op: Operator) -> str:
        """` between DEQUANTIZE (operator 3) and QUANTIZE (operator 5)`, as far as there are such neighbours."""
        before = (self.producer[i] for i in op.inputs[:64] if i in self.producer)
        after = (reader for i in op.outputs[:4] for reader in self.consumers.get(i, [])[:64])
        left = next((f"DEQUANTIZE (operator {o.index})" for o in before if o.name == "DEQUANTIZE"), "")
        right = next((f"QUANTIZE (operator {o.index})" for o in after if o.name == "QUANTIZE"), "")
        if left and right:
            return f" between {left} and {right}"
        return f" after {left}" if left else f" before {right}" if right else ""

    def offender(
        self, kind: str, op: Operator | None, tensor: Tensor | None, cause: str, fix: str, *, name: str = ""
    ) -> Offender:
        """The record; `index` is the operator's, or the tensor's where no operator is named."""
        inside = f" (in subgraph {self.graph.index} {self.graph.name!r})" if self.graph.index else ""
        index = op.index if op else tensor.index if tensor else 0
        label = "" if tensor is None else tensor.name or f"tensor {tensor.index}"
        return Offender(
            kind=kind, op=name or (op.name if op else ""), tensor=label, index=index, cause=cause + inside, fix=fix
        )

    def owner(self, tensor: Tensor) -> Operator | None:
        """The operator that writes the tensor, else the first that reads it."""
        return self.producer.get(tensor.index) or next(iter(self.consumers.get(tensor.index, [])), None)


def tensor_offenders(view: GraphView, named: set[int]) -> Iterator[Offender]:
    """Offenders among the tensors of a subgraph, and between those of one operator unless it is `named` already."""
    used = set(view.producer) | set(view.consumers) | {*view.graph.inputs, *view.graph.outputs}
    suspects: set[int] = set()
    for tensor in view.graph.tensors:
        for offender in (*_storage(view, tensor, tensor.index in used), *_numbers(view, tensor)):
            suspects.add(tensor.index)
            yield offender
    written = {t.index for t in view.graph.tensors if t.is_constant or t.is_variable or not t.elements}
    written |= set(view.graph.inputs)
    for op in view.graph.operators:
        for tensor in view.inputs(op):
            if tensor.index not in written:
                cause = f"{op.name} reads a tensor that nothing has written before"
                yield view.offender("bad_graph", op, tensor, cause, _RECONVERT)
        for tensor in view.outputs(op):
            if tensor.is_constant:
                yield view.offender("bad_graph", op, tensor, f"{op.name} writes into a constant", _RECONVERT)
        written |= set(op.outputs)
        if op.index not in named and suspects.isdisjoint((*op.inputs, *op.outputs)):
            yield from _between(view, op)
    for index in set(view.graph.outputs) - written:
        tensor = view.graph.tensors[index]
        yield view.offender("bad_graph", None, tensor, "no operator writes this output of the model", _RECONVERT)


def _storage(view: GraphView, tensor: Tensor, used: bool) -> Iterator[Offender]:
    if is_float(tensor.dtype) and not used:
        cause = f"a {tensor.dtype} tensor that no operator uses: left over from an incomplete conversion"
        yield view.offender("float_tensor", None, tensor, cause, "convert the model again; it only takes up flash")
    if not used:
        return
    op = view.owner(tensor)
    if tensor.is_sparse:
        cause = "the tensor is stored sparse: TFLM reads its data as if it were dense"
        yield view.offender("unsupported_tensor", op, tensor, cause, "leave out Optimize.EXPERIMENTAL_SPARSITY")
    if tensor.is_external:
        cause = "the tensor's data lies outside the flatbuffer, where TFLM does not look"
        fix = "export a model below 2 GiB, with its buffers inside"
        yield view.offender("unsupported_tensor", op, tensor, cause, fix)
    if tensor.dtype in ("string", "resource", "variant"):
        cause = f"a tensor of type {tensor.dtype} has no fixed size on a device"
        yield view.offender("unsupported_tensor", op, tensor, cause, "take that step out of the model")
    unknown = [
        axis for axis, n in enumerate(tensor.shape_signature) if n < 0 and (axis > 0 or tensor.shape[0:1] != (1,))
    ]
    source = view.producer.get(tensor.index)
    if unknown and not any(_unknown(t) for t in (view.inputs(source) if source else [])):
        cause = f"shape {list(tensor.shape_signature)} is open at dimension {unknown[0]}: TFLM allocates once, at "
        cause += f"{list(tensor.shape)}"
        fix = "rebuild the model with a static shape (batch_shape=(1, height, width, channels)) before converting"
        yield view.offender("dynamic_shape", op, tensor, cause, fix)


def _unknown(tensor: Tensor) -> bool:
    return any(n < 0 for n in tensor.shape_signature[1:])


def _numbers(view: GraphView, tensor: Tensor) -> Iterator[Offender]:
    """Scale and zero point of one tensor."""
    op, dtype, scales = view.owner(tensor), tensor.dtype, tensor.scales
    if is_float(dtype) or op is None:
        return
    if not len(scales):
        needs = [o for o in (view.producer.get(tensor.index), *view.consumers.get(tensor.index, [])) if o]
        needs = [o for o in needs if o.name in _ARITHMETIC and o.index not in view.float_operators]
        if needs and dtype in ("int8", "uint8", "int16", "int4"):
            cause = f"{dtype} tensor without a scale: {needs[0].name} cannot compute with it"
            yield view.offender("bad_quantization", needs[0], tensor, cause, _RECONVERT)
        return
    with np.errstate(all="ignore"):
        low, high = float(np.min(scales)), float(np.max(scales))
    smallest = 0.0 if tensor.is_constant else SMALLEST_SCALE.get(dtype, 0.0)
    if not (math.isfinite(low) and math.isfinite(high)) or low <= 0 or low < smallest or high > LARGEST_SCALE:
        bad = low if not math.isfinite(low) or low <= 0 or low < smallest else high
        what = "a constant" if tensor.is_constant else "an activation"
        cause = f"scale {bad:.3g} of {what} is degenerate: kernels divide by it, overflow or abort"
        yield view.offender("degenerate_scale", op, tensor, cause, _CALIBRATE)
        return
    if problem := _bad_parameters(view, op, tensor):
        yield view.offender("bad_quantization", op, tensor, problem, _RECONVERT)


def _bad_parameters(view: GraphView, op: Operator, tensor: Tensor) -> str:
    scales, points = tensor.scales, tensor.zero_points
    lowest, highest = _RANGE.get(tensor.dtype, (0, 0))
    if not len(points):
        return "a scale without a zero point: TFLM takes the tensor for one that is not quantized"
    if tensor.dtype in _RANGE and (int(points.min()) < lowest or int(points.max()) > highest):
        return f"zero point {int(points.min())}..{int(points.max())} is outside {tensor.dtype} ({lowest}..{highest})"
    if len(points) not in (1, len(scales)):
        return f"{len(points)} zero points for {len(scales)} scales"
    if tensor.dtype == "int16" and points.any() and op.name != "SOFTMAX":
        return "int16 with a zero point other than 0, which TFLM's kernels refuse"
    if len(scales) == 1:
        return ""
    axis = tensor.quantized_dimension
    if tensor.dtype == "int32" and tensor.shape == (len(scales),):
        return ""  # a bias; old converters gave it its weights' dimension, kernels do not read it
    if not 0 <= axis < len(tensor.shape) or tensor.shape[axis] != len(scales):
        return f"{len(scales)} scales along dimension {axis} of shape {list(tensor.shape)}"
    readers = [reader.name for reader in view.consumers.get(tensor.index, [])]
    full = "FULLY_CONNECTED" in readers and view.revision == "upstream"
    if not tensor.is_constant or not (full or any(name in _CONVOLUTIONS for name in readers)):
        return f"{len(scales)} scales where TFLM reads the first one only" if op.name != "CUSTOM" else ""
    if points.any():
        return "per-channel weights with a zero point other than 0, which TFLM ignores"
    wrong = [n for n in readers if _CONVOLUTIONS.get(n, 0 if full else axis) != axis]
    return f"per-channel along dimension {axis}, {wrong[0]} needs {_CONVOLUTIONS.get(wrong[0], 0)}" if wrong else ""


def _between(view: GraphView, op: Operator) -> Iterator[Offender]:
    """Scales of one operator's tensors that do not go together."""
    inputs, outputs = view.inputs(op), view.outputs(op)
    small = [t for t in (*inputs, *outputs) if t.dtype in ("int8", "uint8", "int16")]
    if not outputs or not small or any(not len(t.scales) for t in small):
        return
    out = outputs[0]
    if op.name in _COMPARISONS and inputs[0].dtype in ("int8", "uint8"):
        for tensor in (t for t in inputs if float(t.scales[0]) >= 1):
            cause = f"{op.name} of tensors with a scale of 1 or more aborts in TFLM"
            yield view.offender("degenerate_scale", op, tensor, cause, "compare after a layer with a smaller range")
        return
    if out.dtype not in ("int8", "uint8", "int16"):
        return
    largest = max((float(t.scales[0]) for t in small if t is not out), default=0.0)
    bits = 15 if out.dtype == "int16" else 20
    if op.name in ("ADD", "SUB", "ADD_N", "CUMSUM") and 2 * largest >= 2**bits * float(out.scales[0]):
        cause = f"output scale {float(out.scales[0]):.3g} is over 2^{bits - 1} times finer than the input's "
        cause += f"{largest:.3g}: {op.name} aborts in TFLM"
        yield view.offender("degenerate_scale", op, out, cause, _CALIBRATE)
    if op.name in (*_CONVOLUTIONS, "FULLY_CONNECTED", "MUL") and len(small) > 2:
        product = small[0].largest_scale * small[1].largest_scale / float(out.scales[0])
        if product >= 2**30:
            cause = f"scales of inputs and output multiply to {product:.3g}, more than a 32-bit rescaling can hold"
            yield view.offender("degenerate_scale", op, out, cause, _CALIBRATE)
    if op.name == "HARD_SWISH" and float(inputs[0].scales[0]) >= 128 * float(out.scales[0]):
        cause = (
            f"output scale {float(out.scales[0]):.3g} is over 128 times finer than the input's: HARD_SWISH refuses it"
        )
        yield view.offender("degenerate_scale", op, out, cause, _CALIBRATE)
    bias = inputs[2] if op.name == "FULLY_CONNECTED" and len(inputs) > 2 else None
    if bias and len(bias.scales) == len(inputs[1].scales) == 1:
        product = float(inputs[0].scales[0]) * float(inputs[1].scales[0])
        if abs(product - float(bias.scales[0])) / float(out.scales[0]) > 0.02:
            cause = f"bias scale {float(bias.scales[0]):.3g} is not input times weights ({product:.3g})"
            yield view.offender("bad_quantization", op, bias, cause, _RECONVERT)
    yield from _fixed_scales(view, op, out)


def _fixed_scales(view: GraphView, op: Operator, out: Tensor) -> Iterator[Offender]:
    """Kernels that insist on a scale, and kernels that move numbers without rescaling them."""
    scale, point = _first(out)
    types = signature(view.input_types(op), [t.dtype for t in view.outputs(op)])
    wanted = FIXED_OUTPUT[view.revision].get((op.name, types))
    if wanted and (point != wanted[1] or (wanted[0] and not math.isclose(scale, wanted[0], rel_tol=1e-6))):
        cause = f"output scale {scale:.6g} and zero point {point}: TFLM's {op.name} needs "
        cause += f"{f'{wanted[0]:.6g} and ' if wanted[0] else 'zero point '}{wanted[1]}"
        yield view.offender("bad_quantization", op, out, cause, _RECONVERT)
    everything = tuple(range(len(op.inputs)))
    kept = KEEPS_SCALE.get(op.name, everything if op.name in ("CONCATENATION", "PACK", "ADD_N") else ())
    tensors = [view.graph.tensors[op.inputs[i]] for i in kept if i < len(op.inputs) and op.inputs[i] >= 0]
    other, like = ("first input", _first(tensors[0])) if op.name == "ADD_N" else ("output", (scale, point))
    for tensor in (t for t in tensors if len(t.scales) and len(t.zero_points)):
        own = _first(tensor)
        if not math.isclose(own[0], like[0], rel_tol=1e-5) or own[1] != like[1]:
            cause = f"{op.name} does not rescale, but {tensor.name} has scale {own[0]:.6g} and zero point {own[1]}, "
            cause += f"the {other} {like[0]:.6g} and {like[1]}"
            yield view.offender("bad_quantization", op, tensor, cause, _RECONVERT)


def _first(tensor: Tensor) -> tuple[float, int]:
    return (
        float(tensor.scales[0]) if len(tensor.scales) else 0.0,
        int(tensor.zero_points[0]) if len(tensor.zero_points) else 0,
    )
