"""Small .tflite files built by hand, one operator or a few: what no converter would write is tested with these."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

CODES = {
    name.lower(): code
    for name, code in vars(schema.TensorType).items()
    if not name.startswith("_") and isinstance(code, int)
}
_NUMPY = {"int4": np.int8, "float16": np.float16}


@dataclass
class T:
    """A tensor: constant where `data` is given. `scale` None leaves the quantization out."""

    shape: Sequence[int]
    dtype: str = "int8"
    scale: float | Sequence[float] | None = 0.05
    zero_point: int | Sequence[int] = 0
    data: Any = None
    name: str = ""
    dimension: int = 0
    signature: Sequence[int] | None = None


@dataclass
class Op:
    """An operator by builtin name (or a custom code), tensor indices in and out, options as a generated object."""

    name: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: Any = None
    custom_code: str = ""


def build(
    tensors: Sequence[T],
    ops: Sequence[Op],
    inputs: Sequence[int],
    outputs: Sequence[int],
    *,
    more_subgraphs: int = 0,
    new_codes_only: bool = False,
) -> bytes:
    """A .tflite with these tensors and operators; `more_subgraphs` empty ones follow the model."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
    graph.tensors = [_tensor(model, i, tensor) for i, tensor in enumerate(tensors)]
    graph.operators = [_operator(model, op, new_codes_only) for op in ops]
    graph.inputs, graph.outputs, graph.name = list(inputs), list(outputs), "main"
    model.subgraphs = [graph] + [_empty(f"extra_{i}") for i in range(more_subgraphs)]
    return repacked(model)


def repacked(model: Any) -> bytes:
    """The file of a generated `ModelT`."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def changed(model: bytes, change: Callable[[Any], None]) -> bytes:
    """The model after `change(ModelT)`."""
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    change(whole)
    return repacked(whole)


def renamed(model: bytes, **names: str) -> bytes:
    """The model with tensors of other names: `renamed(model, residual="sum")`."""

    def change(whole: Any) -> None:
        for tensor in whole.subgraphs[0].tensors:
            tensor.name = names.get(tensor.name.decode(), tensor.name)

    return changed(model, change)


def _empty(name: str) -> Any:
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators, graph.name = [], [], [], [], name
    return graph


def _tensor(model: Any, index: int, tensor: T) -> Any:
    packed = schema.TensorT()
    packed.shape, packed.type = list(tensor.shape), CODES[tensor.dtype]
    packed.name = tensor.name or f"t{index}"
    packed.shapeSignature = list(tensor.signature) if tensor.signature is not None else None
    packed.buffer = 0
    if tensor.data is not None:
        buffer = schema.BufferT()
        kind = _NUMPY.get(tensor.dtype) or np.dtype(tensor.dtype)
        values = np.broadcast_to(np.asarray(tensor.data, kind), tensor.shape).tobytes()
        buffer.data = np.frombuffer(values[: (len(values) + 1) // 2] if tensor.dtype == "int4" else values, np.uint8)
        packed.buffer = len(model.buffers)
        model.buffers.append(buffer)
    if tensor.scale is not None:
        quantization = schema.QuantizationParametersT()
        quantization.scale = np.atleast_1d(np.asarray(tensor.scale, np.float32))
        quantization.zeroPoint = np.atleast_1d(np.asarray(tensor.zero_point, np.int64))
        quantization.quantizedDimension = tensor.dimension
        packed.quantization = quantization
    return packed


def _operator(model: Any, op: Op, new_codes_only: bool) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, op.name)
    code.deprecatedBuiltinCode = 0 if new_codes_only else min(code.builtinCode, 127)
    code.customCode, code.version = op.custom_code or None, 1
    model.operatorCodes.append(code)
    packed = schema.OperatorT()
    packed.opcodeIndex, packed.inputs, packed.outputs = len(model.operatorCodes) - 1, list(op.inputs), list(op.outputs)
    if op.options is not None:
        packed.builtinOptions = op.options
        packed.builtinOptionsType = getattr(schema.BuiltinOptions, type(op.options).__name__.removesuffix("T"))
    return packed


def options(kind: str, **fields: Any) -> Any:
    """`options("Conv2DOptions", strideH=1)`: the generated object with these fields set."""
    made = getattr(schema, kind + "T")()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


CONV = options("Conv2DOptions", strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1)
DEPTHWISE = options(
    "DepthwiseConv2DOptions", strideH=1, strideW=1, depthMultiplier=1, dilationHFactor=1, dilationWFactor=1
)
SHAPE = (1, 4, 4, 2)


def const(*values: int, dtype: str = "int32") -> T:
    """A constant vector without quantization, as shapes, axes and paddings are."""
    return T((len(values),), dtype, None, data=values)


def scalar(value: int) -> T:
    """A constant int32 without dimensions."""
    return T((), "int32", None, data=value)


def clean_conv(**changes: T) -> bytes:
    """A convolution that every revision runs; `changes` replaces tensors by name: x, w, b or y."""
    tensors = {
        "x": T(SHAPE, name="x"),
        "w": T((3, 1, 1, 2), scale=[0.01, 0.02, 0.03], zero_point=[0, 0, 0], data=1, name="w"),
        "b": T((3,), "int32", scale=[0.0005, 0.001, 0.0015], zero_point=[0, 0, 0], data=1, name="b"),
        "y": T((1, 4, 4, 3), name="y"),
    } | changes
    return build(list(tensors.values()), [Op("CONV_2D", (0, 1, 2), (3,), CONV)], (0,), (3,))


def one_operator(op: str, dtype: str) -> bytes:
    """A model of `op` alone (see `OPERATORS`) with its data tensors of `dtype`, scales as its kernel wants them."""
    tensors, opts, inputs, outputs = OPERATORS[op](dtype)
    fixed = {
        ("SOFTMAX", "int8"): (1 / 256, -128),
        ("LOGISTIC", "int8"): (1 / 256, -128),
        ("LOG_SOFTMAX", "int8"): (1 / 16, 127),
        ("L2_NORMALIZATION", "int8"): (1 / 128, 0),
    } | {(name, "int16"): (1 / 32768, 0) for name in ("SOFTMAX", "LOGISTIC", "TANH")}
    if (op, dtype) in fixed:
        tensors[-1].scale, tensors[-1].zero_point = fixed[op, dtype]
        tensors[0].scale = 1 / 4096 if dtype == "int16" else tensors[0].scale
    for tensor in tensors:
        if tensor.dtype in ("int32", "int64", "bool", "uint32") and tensor.data is None:
            tensor.scale = None
    live = [i for i in inputs if tensors[i].data is None]
    return build(tensors, [Op(op, inputs, outputs, opts)], live, outputs)


def _op(
    *inputs: Sequence[int] | T, out: Any = SHAPE, kind: str | None = None, to: str = "", outputs: int = 1, **fields: Any
) -> Any:
    """Inputs as shapes (of the type asked for) or constants; `outputs` tensors of shape `out`, of type `to`."""

    def make(t: str) -> Any:
        tensors = [copy.deepcopy(given) if isinstance(given, T) else T(given, t) for given in inputs]
        tensors += [T(out, to or t) for _ in range(outputs)]
        return tensors, kind and options(kind, **fields), range(len(inputs)), range(len(inputs), len(tensors))

    return make


def _weights(shape: Sequence[int], opts: Any, y: Sequence[int] = SHAPE, x: Sequence[int] = SHAPE) -> Any:
    def make(t: str) -> Any:
        bias = T((2,), "int64" if t == "int16" else "int32", 0.0025, data=1)
        return [T(x, t), T(shape, "int8" if t == "int16" else t, data=1), bias, T(y, t)], opts, (0, 1, 2), (3,)

    return make


def _zeros(t: str) -> Any:
    return [T(SHAPE, t), _PADDING, T((), t, data=0), T((1, 6, 6, 2), t)], None, (0, 1, 2), (3,)


def _prelu(t: str) -> Any:
    return [T(SHAPE, t), T((1, 1, 2), "int8" if t == "int16" else t, data=1), T(SHAPE, t)], None, (0, 1), (2,)


def _transpose_conv(t: str) -> Any:
    weights = T((2, 1, 1, 2), "int8" if t == "int16" else t, data=1)
    opts = options("TransposeConvOptions", strideH=1, strideW=1)
    return [const(1, 4, 4, 2), weights, T(SHAPE, t), T(SHAPE, t)], opts, (0, 1, 2), (3,)


def _lookup(t: str) -> Any:
    return [T((2,), "int32", None), T((4, 8), t, data=1), T((2, 8), t)], None, (0, 1), (2,)


_PADDING = T((4, 2), "int32", None, data=[[0, 0], [1, 1], [1, 1], [0, 0]])
_SQUARE = T((2, 2), "int32", None, data=0)
_POOL = {"kind": "Pool2DOptions", "strideH": 1, "strideW": 1, "filterHeight": 2, "filterWidth": 2}
_BOOLS = T(SHAPE, "bool", None)
OPERATORS: dict[str, Any] = {
    **{
        name: _op(SHAPE)
        for name in ("ABS", "CEIL", "COS", "EXP", "FLOOR", "LOG", "LOGICAL_NOT", "NEG", "ROUND", "GELU")
    },
    **{
        name: _op(SHAPE) for name in ("SIN", "SQRT", "SQUARE", "ELU", "HARD_SWISH", "LOGISTIC", "TANH", "RELU", "RELU6")
    },
    **{name: _op(SHAPE) for name in ("ZEROS_LIKE", "L2_NORMALIZATION", "LOG_SOFTMAX", "RSQRT")},
    "LEAKY_RELU": _op(SHAPE, kind="LeakyReluOptions", alpha=0.1),
    "SOFTMAX": _op(SHAPE, kind="SoftmaxOptions", beta=1.0),
    "QUANTIZE": _op(SHAPE, to="int8"),
    "DEQUANTIZE": _op(SHAPE, to="int32"),
    "CAST": _op(SHAPE, kind="CastOptions", to="int16"),
    **{name: _op(SHAPE, SHAPE, kind=f"{name.title()}Options") for name in ("ADD", "SUB", "MUL", "DIV")},
    **{
        name: _op(SHAPE, SHAPE)
        for name in ("MAXIMUM", "MINIMUM", "FLOOR_DIV", "FLOOR_MOD", "SQUARED_DIFFERENCE", "POW")
    },
    **{name: _op(SHAPE, SHAPE) for name in ("ADD_N", "LOGICAL_AND", "LOGICAL_OR")},
    **{name: _op(SHAPE, SHAPE, to="bool") for name in ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS")},
    "LESS_EQUAL": _op(SHAPE, SHAPE, to="bool"),
    "BATCH_MATMUL": _op((1, 4, 4), (1, 4, 4), out=(1, 4, 4), kind="BatchMatMulOptions"),
    "PACK": _op((4,), (4,), out=(2, 4), kind="PackOptions", valuesCount=2),
    "CONCATENATION": _op(SHAPE, SHAPE, out=(1, 4, 4, 4), kind="ConcatenationOptions", axis=3),
    "PRELU": _prelu,
    "CONV_2D": _weights((2, 1, 1, 2), CONV),
    "DEPTHWISE_CONV_2D": _weights((1, 1, 1, 2), DEPTHWISE),
    "FULLY_CONNECTED": _weights((2, 4), options("FullyConnectedOptions"), (1, 2), (1, 4)),
    "TRANSPOSE_CONV": _transpose_conv,
    **{name: _op(SHAPE, **_POOL) for name in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D")},
    **{name: _op(SHAPE, const(1, 2), out=(1, 2), kind="ReducerOptions") for name in ("MEAN", "SUM", "REDUCE_MAX")},
    **{name: _op(SHAPE, const(1, 2), out=(1, 2), kind="ReducerOptions") for name in ("REDUCE_MIN", "REDUCE_ALL")},
    **{name: _op(SHAPE, const(1, 2), out=(1, 2), kind="ReducerOptions") for name in ("REDUCE_ANY", "REDUCE_PROD")},
    "ARG_MAX": _op(SHAPE, scalar(3), out=(1, 4, 4), kind="ArgMaxOptions", to="int32"),
    "ARG_MIN": _op(SHAPE, scalar(3), out=(1, 4, 4), kind="ArgMinOptions", to="int32"),
    "CUMSUM": _op(SHAPE, scalar(1), kind="CumsumOptions"),
    "RESHAPE": _op(SHAPE, const(1, 32), out=(1, 32), kind="ReshapeOptions"),
    "SQUEEZE": _op(SHAPE, out=(4, 4, 2), kind="SqueezeOptions", squeezeDims=[0]),
    "EXPAND_DIMS": _op(SHAPE, scalar(0), out=(1, 1, 4, 4, 2)),
    "TRANSPOSE": _op(SHAPE, const(0, 3, 1, 2), out=(1, 2, 4, 4)),
    "PAD": _op(SHAPE, _PADDING, out=(1, 6, 6, 2)),
    "PADV2": _zeros,
    "MIRROR_PAD": _op(SHAPE, _PADDING, out=(1, 6, 6, 2), kind="MirrorPadOptions"),
    "RESIZE_BILINEAR": _op(SHAPE, const(8, 8), out=(1, 8, 8, 2), kind="ResizeBilinearOptions"),
    "RESIZE_NEAREST_NEIGHBOR": _op(SHAPE, const(8, 8), out=(1, 8, 8, 2), kind="ResizeNearestNeighborOptions"),
    "REVERSE_V2": _op(SHAPE, const(1)),
    "SLICE": _op(SHAPE, const(0, 0, 0, 0), const(1, 2, 2, 2), out=(1, 2, 2, 2)),
    "STRIDED_SLICE": _op(
        *(SHAPE, const(0, 0, 0, 0), const(1, 2, 2, 2), const(1, 1, 1, 1)), out=(1, 2, 2, 2), kind="StridedSliceOptions"
    ),
    "GATHER": _op((4, 2), const(0, 1), out=(2, 2), kind="GatherOptions"),
    "GATHER_ND": _op((4, 2), T((1, 1), "int32", None, data=1), out=(1, 2)),
    "BROADCAST_TO": _op((1, 1, 1, 2), const(1, 4, 4, 2)),
    "SPACE_TO_DEPTH": _op(SHAPE, out=(1, 2, 2, 8), kind="SpaceToDepthOptions", blockSize=2),
    "DEPTH_TO_SPACE": _op((1, 2, 2, 8), kind="DepthToSpaceOptions", blockSize=2),
    "SPACE_TO_BATCH_ND": _op(SHAPE, const(2, 2), _SQUARE, out=(4, 2, 2, 2)),
    "BATCH_TO_SPACE_ND": _op((4, 2, 2, 2), const(2, 2), _SQUARE),
    "SHAPE": _op(SHAPE, out=(4,), kind="ShapeOptions", to="int32", outType=2),
    "SELECT_V2": _op(_BOOLS, SHAPE, SHAPE),
    "SPLIT": _op(scalar(3), SHAPE, out=(1, 4, 4, 1), kind="SplitOptions", numSplits=2, outputs=2),
    "SPLIT_V": _op(SHAPE, const(1, 1), scalar(3), out=(1, 4, 4, 1), kind="SplitVOptions", numSplits=2, outputs=2),
    "UNPACK": _op(SHAPE, out=(1, 4, 4), kind="UnpackOptions", num=2, axis=3, outputs=2),
    "FILL": _op(const(1, 4), (), out=(1, 4)),
    "DYNAMIC_UPDATE_SLICE": _op((4, 4), (2, 2), const(0, 0), out=(4, 4)),
    "EMBEDDING_LOOKUP": _lookup,
    "BROADCAST_ARGS": _op((2,), (2,), out=(2,)),
}
