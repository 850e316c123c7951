"""Small .tflite files made by hand, without TensorFlow: average pool over the picture, 1x1 convolution, sigmoid.

Such a model calls a picture person when it is bright: score = sigmoid(SLOPE * (mean gray - 128)), rounded to 1/256.
"""

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as s

SLOPE = 1 / 16
_DTYPES = {"int8": s.TensorType.INT8, "uint8": s.TensorType.UINT8, "float32": s.TensorType.FLOAT32}


def brightness_model(
    *,
    dtype: str = "int8",
    height: int = 120,
    width: int = 160,
    channels: int = 1,
    input_scale: float = 1.0,
    input_zero_point: int = -128,
    filter_scale: float = SLOPE / 127,
    sum_scale: float | None = None,
    scores: int = 1,
    last_op: int = s.BuiltinOperator.LOGISTIC,
    middle: float = 128,
) -> bytes:
    """The flatbuffer. `dtype`: int8 or float32. `middle`: the mean gray level that scores one half. With `sum_scale`
    the logits are added to themselves; a scale near 0 makes interpreters abort (TFLITE_CHECK on a multiplier above 1).
    """
    model = s.ModelT()
    model.version, model.description = 3, "brightness"
    model.buffers = [s.BufferT()]
    graph = s.SubGraphT()
    graph.tensors, model.subgraphs = [], [graph]
    quantised = dtype != "float32"
    softmax = s.SoftmaxOptionsT()
    softmax.beta = 1.0
    is_softmax = last_op == s.BuiltinOperator.SOFTMAX
    last_options = (s.BuiltinOptions.SoftmaxOptions, softmax) if is_softmax else (s.BuiltinOptions.NONE, None)

    def tensor(name: str, shape: list[int], kind: str, scale: float, zero: int, data: Any = None) -> int:
        made = s.TensorT()
        made.name, made.shape, made.type = name, shape, s.TensorType.INT32 if kind == "int32" else _DTYPES[kind]
        if quantised:
            made.quantization = s.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [zero]
        if data is not None:
            buffer = s.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    signs = np.array([1.0] if scores == 1 else [-1.0, 1.0])
    slope = SLOPE / input_scale / channels  # a weight per channel; the gray level is in all of them
    weights = np.repeat(signs[:, None, None, None], channels, axis=3)
    if quantised:
        weights = np.round(weights * slope / filter_scale * input_scale).clip(-127, 127).astype(np.int8)
        step = input_scale * filter_scale
        bias = np.round(-signs * SLOPE * middle / step).clip(-(2**31), 2**31 - 1).astype(np.int32)
    else:
        weights, bias = (weights * SLOPE / channels).astype(np.float32), (-signs * SLOPE * middle).astype(np.float32)
    picture = tensor("picture", [1, height, width, channels], dtype, input_scale, input_zero_point)
    pooled = tensor("pooled", [1, 1, 1, channels], dtype, input_scale, input_zero_point)
    filters = tensor("filter", [scores, 1, 1, channels], dtype, filter_scale, 0, weights)
    biases = tensor("bias", [scores], "int32" if quantised else dtype, input_scale * filter_scale, 0, bias)
    logits = tensor("logits", [1, 1, 1, scores], dtype, 16 / 255, 0)
    summed = logits if sum_scale is None else tensor("summed", [1, 1, 1, scores], dtype, sum_scale, 0)
    score = tensor("score", [1, 1, 1, scores], dtype, 1 / 256, -128)
    pool, convolution = s.Pool2DOptionsT(), s.Conv2DOptionsT()
    pool.filterHeight, pool.filterWidth, pool.strideH, pool.strideW = height, width, 1, 1
    pool.padding, convolution.padding = s.Padding.VALID, s.Padding.VALID
    convolution.strideH = convolution.strideW = convolution.dilationHFactor = convolution.dilationWFactor = 1
    model.operatorCodes, graph.operators = [], []
    for code, inputs, outputs, kind, options in (
        (s.BuiltinOperator.AVERAGE_POOL_2D, [picture], [pooled], s.BuiltinOptions.Pool2DOptions, pool),
        (s.BuiltinOperator.CONV_2D, [pooled, filters, biases], [logits], s.BuiltinOptions.Conv2DOptions, convolution),
        (s.BuiltinOperator.ADD, [logits, logits], [summed], s.BuiltinOptions.AddOptions, s.AddOptionsT()),
        (last_op, [summed], [score], *last_options),
    ):
        if code == s.BuiltinOperator.ADD and sum_scale is None:
            continue
        operator, operator_code = s.OperatorT(), s.OperatorCodeT()
        operator_code.builtinCode, operator_code.deprecatedBuiltinCode, operator_code.version = code, min(code, 127), 2
        model.operatorCodes.append(operator_code)
        operator.opcodeIndex, operator.inputs, operator.outputs = len(model.operatorCodes) - 1, inputs, outputs
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        graph.operators.append(operator)
    graph.inputs, graph.outputs = [picture], [score]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
