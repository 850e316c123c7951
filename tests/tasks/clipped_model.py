"""The fault of a bad calibration, made on purpose: activation ranges of a converted INT8 model clipped to a part."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tasks.tflite_file import read_model
from tests.tasks.hand_built_models import repacked

WRITERS = ("CONV_2D", "DEPTHWISE_CONV_2D")
READERS = (*WRITERS, "ADD")


def clippable(tflite: bytes) -> list[int]:
    """Tensors that `clip_activations` can clip, in execution order: what a convolution writes and only convolutions
    and ADD read. Operators such as RESHAPE or AVERAGE_POOL_2D want one scale for what they read and write."""
    graph = read_model(tflite).subgraphs[0]
    readers: dict[int, set[str]] = {}
    for op in graph.operators:
        for tensor in op.inputs:
            readers.setdefault(tensor, set()).add(op.name)
    return [
        op.outputs[0]
        for op in graph.operators
        if op.name in WRITERS
        and op.outputs[0] not in graph.outputs
        and graph.tensors[op.outputs[0]].dtype == "int8"
        and readers.get(op.outputs[0], {"nobody"}) <= set(READERS)
    ]


def clip_activations(tflite: bytes, tensors: Sequence[int] | int, divisor: float = 4) -> bytes:
    """The INT8 model whose chosen activation tensors hold only a part of their range, as if calibration had seen too
    little: their scale is divided by `divisor`, their zero point stays.

    `tensors` are indices out of `clippable(tflite)`, or how many of those, spread evenly over the network. Everything
    else fits the new scales, so that the model stays clean to the audit and gives the same bytes on every kernel:
    a convolution's bias has the scale of its input times that of its weights, so biases of convolutions that read a
    clipped tensor are rescaled, values and all. The answers, of course, are other ones than before. To the layer
    analysis (tasks/layer_error.py) exactly the writers of these tensors are the worst layers.

    Raises `ValueError` for a tensor that cannot be clipped, more than there are, and biases that leave int32.
    """
    possible = clippable(tflite)
    chosen = spread(possible, tensors) if isinstance(tensors, int) else list(tensors)
    if unknown := sorted(set(chosen) - set(possible)):
        raise ValueError(f"tensors {unknown} are not among those that can be clipped: {possible}")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tflite, 0))
    graph = model.subgraphs[0]
    for index in chosen:
        quantization = graph.tensors[index].quantization
        quantization.scale = (np.asarray(quantization.scale) / divisor).astype(np.float32)
    for op in read_model(tflite).subgraphs[0].operators:
        if op.name in WRITERS and op.inputs[0] in chosen and len(op.inputs) > 2 and op.inputs[2] >= 0:
            graph.operators[op.index].inputs = np.array(
                [*op.inputs[:2], _rescaled_bias(model, op.inputs[2], divisor)], np.int32
            )
    return repacked(model)


def spread(possible: list[int], count: int) -> list[int]:
    """`count` of these, evenly over the list."""
    if not 0 < count <= len(possible):
        raise ValueError(f"{count} tensors to clip; the model has {len(possible)} that can be")
    return [possible[i] for i in ((np.arange(count) + 0.5) * len(possible) / count).astype(int)]


def _rescaled_bias(model: Any, index: int, divisor: float) -> int:
    """A bias with its scale divided and its values multiplied; the tensor's number. One that others read as well
    stays, and the new one is added."""
    graph = model.subgraphs[0]
    old = graph.tensors[index]
    values = np.frombuffer(bytes(model.buffers[old.buffer].data), "<i4") * divisor
    if np.abs(values).max() > np.iinfo(np.int32).max:
        raise ValueError(f"bias {old.name!r} does not fit into int32 with its scale divided by {divisor:g}")
    shared = sum(index in op.inputs for op in graph.operators) + sum(t.buffer == old.buffer for t in graph.tensors) > 2
    tensor, buffer = (schema.TensorT(), schema.BufferT()) if shared else (old, model.buffers[old.buffer])
    quantization = schema.QuantizationParametersT()
    quantization.scale = (np.asarray(old.quantization.scale) / divisor).astype(np.float32)
    quantization.zeroPoint = np.array(old.quantization.zeroPoint)
    quantization.quantizedDimension = old.quantization.quantizedDimension
    tensor.quantization = quantization
    buffer.data = np.frombuffer(np.rint(values).astype("<i4").tobytes(), np.uint8)
    if not shared:
        return index
    tensor.name, tensor.type, tensor.shape = old.name + b"/rescaled", old.type, old.shape
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
