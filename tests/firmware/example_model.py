"""The small INT8 model that the firmware's tests run where no trained one is at hand: `firmware/model/example`.

Every kind of layer of the real one, in 4 KB: a strided convolution with ReLU6, a depthwise and a pointwise convolution
around which the input is added, an average pool over the whole map, a 1x1 head and a sigmoid. It detects nothing;
weights are random. It is made of integers alone, so that the bytes are the same on every machine. Operator versions,
and zero points within ±127 in front of ADD, are those that the TFLM of July 2020 runs too.

    python -m tests.firmware.example_model   # writes the file again, in less than a second
"""

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from tests.tasks.hand_built_models import Op, T, build, options, repacked

PATH = Path(__file__).parents[2] / "firmware/model/example/model.tflite"
INPUT_SHAPE = (1, 24, 32, 1)  # int8, scale 1, zero point -128: raw gray levels 0..255
OUTPUT_SCALE, OUTPUT_ZERO_POINT = 1 / 256, -128
CHANNELS = 8
_SAME, _VALID = schema.Padding.SAME, schema.Padding.VALID
_NONE, _RELU6 = schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU6
_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "ADD": 2, "AVERAGE_POOL_2D": 2, "LOGISTIC": 2}
_ALIGNMENT = 16  # of constant data, as the converter aligns it; SIMD kernels read it in blocks


def example_model() -> bytes:
    """The file, always the same bytes."""
    draw = np.random.RandomState(20_200_714)  # its numbers are frozen, unlike those of default_rng
    # Scales are powers of two, or ratios of them to 6: exact enough in float32 on every machine.
    first = T((1, 12, 16, CHANNELS), scale=6 / 254, zero_point=-127, name="first")
    spread = T((1, 12, 16, CHANNELS), scale=6 / 255, zero_point=-128, name="spread")
    branch = T((1, 12, 16, CHANNELS), scale=1 / 32, zero_point=3, name="branch")
    joined = T((1, 12, 16, CHANNELS), scale=1 / 16, zero_point=-64, name="joined")
    pooled = T((1, 1, 1, CHANNELS), scale=1 / 16, zero_point=-64, name="pooled")
    logit = T((1, 1, 1, 1), scale=1 / 16, zero_point=-5, name="logit")
    score = T((1, 1, 1, 1), scale=OUTPUT_SCALE, zero_point=OUTPUT_ZERO_POINT, name="score")
    frame = T(INPUT_SHAPE, scale=1.0, zero_point=-128, name="frame")
    tensors = [
        frame,
        *_weights(draw, "first", (CHANNELS, 3, 3, 1), frame, scale=2**-13, middle=128, bias=3.0),
        first,
        *_weights(draw, "spread", (1, 3, 3, CHANNELS), first, scale=2**-8, middle=127, bias=3.0),
        spread,
        *_weights(draw, "branch", (CHANNELS, 1, 1, CHANNELS), spread, scale=2**-8, middle=128, bias=0.0),
        branch,
        joined,
        pooled,
        *_weights(draw, "head", (1, 1, 1, CHANNELS), pooled, scale=2**-5, middle=48, bias=-4.0),
        logit,
        score,
    ]
    index = {tensor.name: i for i, tensor in enumerate(tensors)}
    small = {"dilationHFactor": 1, "dilationWFactor": 1, "padding": _SAME}
    stride_2 = options("Conv2DOptions", strideH=2, strideW=2, fusedActivationFunction=_RELU6, **small)
    stride_1 = options("Conv2DOptions", strideH=1, strideW=1, fusedActivationFunction=_NONE, **small)
    depthwise = options(
        "DepthwiseConv2DOptions", strideH=1, strideW=1, depthMultiplier=1, fusedActivationFunction=_RELU6, **small
    )
    pool = options("Pool2DOptions", padding=_VALID, strideH=12, strideW=16, filterHeight=12, filterWidth=16)
    steps: list[tuple[str, str, str, Any]] = [
        ("CONV_2D", "frame first/weights first/bias", "first", stride_2),
        ("DEPTHWISE_CONV_2D", "first spread/weights spread/bias", "spread", depthwise),
        ("CONV_2D", "spread branch/weights branch/bias", "branch", stride_1),
        ("ADD", "first branch", "joined", options("AddOptions")),
        ("AVERAGE_POOL_2D", "joined", "pooled", pool),
        ("CONV_2D", "pooled head/weights head/bias", "logit", stride_1),
        ("LOGISTIC", "logit", "score", None),
    ]
    operators = [Op(name, [index[i] for i in ins.split()], [index[out]], opts) for name, ins, out, opts in steps]
    return _as_converted(build(tensors, operators, [index["frame"]], [index["score"]]))


def _weights(
    draw: np.random.RandomState, name: str, shape: tuple[int, ...], source: T, *, scale: float, middle: int, bias: float
) -> list[T]:
    """Filter and bias of a convolution, one scale per output channel.

    A source that is `middle` levels above its zero point everywhere gives `bias`.
    """
    axis = 3 if name == "spread" else 0
    channels = shape[axis]
    values = draw.randint(-127, 128, shape)
    scales = [scale * (1 + channel / 16) for channel in range(channels)]
    sums: NDArray[Any] = values.sum(axis=tuple(i for i in range(4) if i != axis))
    assert isinstance(source.scale, float)
    products = [float(np.float32(source.scale)) * each for each in scales]
    offsets = [round(bias / product) - middle * int(total) for product, total in zip(products, sums, strict=True)]
    zeros = [0] * channels
    return [
        T(shape, scale=scales, zero_point=zeros, data=values, dimension=axis, name=f"{name}/weights"),
        T((channels,), "int32", scale=products, zero_point=zeros, data=offsets, name=f"{name}/bias"),
    ]


class _AlignedBuffer(schema.BufferT):
    """A buffer whose data start at a multiple of 16, which the generated Python code forgets (force_align)."""

    def Pack(self, builder: Any) -> int:
        if self.data is None or not len(self.data):
            return int(super().Pack(builder))
        content = bytes(self.data)
        builder.StartVector(1, len(content), _ALIGNMENT)
        for byte in reversed(content):
            builder.PrependByte(byte)
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


def _as_converted(data: bytes) -> bytes:
    """With one operator code a kind, at the version that the converter writes, and aligned constants."""
    model: Any = schema.ModelT.InitFromPackedBuf(data)
    names = {value: key for key, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    kinds = [code.builtinCode for code in model.operatorCodes]
    firsts = sorted(set(kinds), key=kinds.index)
    for operator in model.subgraphs[0].operators:
        operator.opcodeIndex = firsts.index(kinds[operator.opcodeIndex])
    model.operatorCodes = [model.operatorCodes[kinds.index(kind)] for kind in firsts]
    for code in model.operatorCodes:
        code.version = _VERSIONS[names[code.builtinCode]]
    for buffer in model.buffers:
        buffer.__class__ = _AlignedBuffer
    model.description = "frames2firmware example: random weights, detects nothing"
    return repacked(model)


def main() -> None:
    """Writes the file."""
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_bytes(example_model())
    print(f"{PATH}: {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
