"""A small INT8 network built by hand: a residual, two branches side by side, a head; its kernels on two interpreters.

0 CONV_2D -> 1 DEPTHWISE_CONV_2D -> 2 CONV_2D -> 3 ADD (of 0 and 2)
3 -> 4 CONV_2D and 3 -> 5 CONV_2D -> 6 CONCATENATION (of 4 and 5)
6 -> 7 AVERAGE_POOL_2D -> 8 RESHAPE -> 9 FULLY_CONNECTED -> 10 LOGISTIC
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from tflite_micro.python.tflite_micro import runtime

from tests.tasks.hand_built_models import Op, T, build, const, options, repacked

NAMES = "CONV_2D DEPTHWISE_CONV_2D CONV_2D ADD CONV_2D CONV_2D CONCATENATION AVERAGE_POOL_2D RESHAPE FULLY_CONNECTED"
OPERATORS = (*NAMES.split(), "LOGISTIC")
FEEDS = ((), (0,), (1,), (0, 2), (3,), (3,), (4, 5), (6,), (7,), (8,), (9,))  # whose outputs each operator reads
WEIGHTED = (0, 1, 2, 4, 5, 9)
INPUT = (1, 12, 16, 1)


def residual_model(seed: int = 0) -> bytes:
    """Random weights, scales such that activations spread over their int8 range without hitting its ends much."""
    rng = np.random.default_rng(seed)
    tensors = [T(INPUT, "int8", 1.0, -128, name="frame")]
    ops: list[Op] = []

    scales = {0: 1.0}  # of activations, by tensor

    def add(shape: tuple[int, ...], scale: float, name: str, zero_point: int = 0) -> int:
        scales[len(tensors)] = scale
        tensors.append(T(shape, "int8", scale, zero_point, name=name))
        return len(tensors) - 1

    def weighted(op: str, source: int, shape: tuple[int, ...], kernel: tuple[int, ...], fields: Any) -> int:
        """An operator with weights; its output's scale from the variance of a sum of random products."""
        taps = int(np.prod(kernel)) // shape[-1]
        dimension = 3 if op == "DEPTHWISE_CONV_2D" else 0
        level = 147 if source == 0 else 45  # root mean square of a source's steps: the frame has no middle
        scale_in = scales[source]
        is_head = op == "FULLY_CONNECTED"  # logits of a few units, or LOGISTIC would answer 0 and 1 only
        step = 0.04 / (scale_in * taps**0.5 * 73) if is_head else 0.01
        channels = 1 if is_head else shape[-1]
        data, zeros = rng.integers(-127, 128, kernel).astype(np.int8), [0] * channels
        name = f"{op.lower()}_{len(ops)}"
        tensors.append(T(kernel, "int8", [step] * channels, zeros, data, f"{name}/weights", dimension))
        bias = rng.integers(-500, 500, shape[-1]).astype(np.int32)
        tensors.append(T((shape[-1],), "int32", [step * scale_in] * channels, zeros, bias, f"{name}/bias"))
        out = add(shape, scale_in * step * taps**0.5 * 73 * level / 45, name)
        ops.append(Op(op, (source, out - 2, out - 1), (out,), fields))
        return out

    same = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    conv, depthwise = options("Conv2DOptions", **same), options("DepthwiseConv2DOptions", **same, depthMultiplier=1)
    first = weighted(
        "CONV_2D", 0, (1, 6, 8, 8), (8, 3, 3, 1), options("Conv2DOptions", **{**same, "strideH": 2, "strideW": 2})
    )
    middle = weighted("DEPTHWISE_CONV_2D", first, (1, 6, 8, 8), (1, 3, 3, 8), depthwise)
    last = weighted("CONV_2D", middle, (1, 6, 8, 8), (8, 1, 1, 8), conv)
    total = add((1, 6, 8, 8), float(np.hypot(scales[first], scales[last])), "residual")
    ops.append(Op("ADD", (first, last), (total,), options("AddOptions")))
    left = weighted("CONV_2D", total, (1, 6, 8, 4), (4, 1, 1, 8), conv)
    right = weighted("CONV_2D", total, (1, 6, 8, 4), (4, 1, 1, 8), conv)
    both = add((1, 6, 8, 8), scales[left], "both")
    ops.append(Op("CONCATENATION", (left, right), (both,), options("ConcatenationOptions", axis=3)))
    pooled = add((1, 1, 1, 8), scales[left], "pooled")
    pool = options("Pool2DOptions", padding=1, strideH=1, strideW=1, filterHeight=6, filterWidth=8)
    ops.append(Op("AVERAGE_POOL_2D", (both,), (pooled,), pool))
    tensors.append(const(1, 8))
    flat = add((1, 8), scales[left], "flat")
    ops.append(Op("RESHAPE", (pooled, flat - 1), (flat,), options("ReshapeOptions", newShape=[1, 8])))
    logits = weighted("FULLY_CONNECTED", flat, (1, 4), (4, 8), options("FullyConnectedOptions"))
    scores = add((1, 4), 1 / 256, "scores", -128)
    ops.append(Op("LOGISTIC", (logits,), (scores,)))
    return build(tensors, ops, (0,), (scores,))


def inputs(shape: tuple[int, ...], count: int = 3) -> NDArray[np.int8]:
    """Random input values, int8 (count, *shape)."""
    return np.random.default_rng(7).integers(-128, 128, (count, *shape)).astype(np.int8)


def with_changed_weight(model: bytes, operator: int, byte: int | None = None) -> bytes:
    """The model with one byte of this operator's weights, by default the one in the middle, moved by 128."""
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    graph = whole.subgraphs[0]
    buffer = whole.buffers[graph.tensors[graph.operators[operator].inputs[1]].buffer]
    buffer.data = np.array(buffer.data)
    buffer.data[len(buffer.data) // 2 if byte is None else byte] ^= 0x80
    return repacked(whole)


def on_tflm(model: bytes, values: NDArray[Any]) -> NDArray[Any]:
    """The model's only output on TFLM's interpreter."""
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=8 << 20)
    interpreter.set_input(values, 0)
    interpreter.invoke()
    return np.array(interpreter.get_output(0))


def on_reference(model: bytes, values: NDArray[Any]) -> NDArray[Any]:
    """The model's only output on TFLite's reference kernels."""
    interpreter = _reference(model, values)
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def every_tensor(model: bytes, values: NDArray[Any]) -> list[NDArray[Any]]:
    """What each operator of the whole model writes first, on TFLite's reference kernels."""
    interpreter = _reference(model, values)
    graph = schema.Model.GetRootAs(model, 0).Subgraphs(0)
    return [np.array(interpreter.get_tensor(graph.Operators(i).Outputs(0))) for i in range(graph.OperatorsLength())]


def _reference(model: bytes, values: NDArray[Any]) -> Any:
    interpreter = Interpreter(
        model_content=model,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return interpreter
