"""What the layer analysis adds up on each frame, in a worker process (see kernels.py). Neither pydantic nor TensorFlow.

Four models run: the FP32 and the INT8 one as they are, and both *unchained*, so that every operator reads inputs of its
own. Given the FP32 model's activations, an unchained operator shows what it does to inputs that nothing before it has
damaged. What it adds by itself is what INT8 and FP32 then answer differently, or what its output's scale and zero point
alone make of FP32's values, whichever is more: where an input's range is clipped the answer hardly needs its own.
"""

import copy
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from tasks.cut_model import prune_buffers, prune_tensors
from tasks.kernels import Job, Run, input_table, open_litert, tflite_tensors
from tasks.kernels import Tensor as KernelTensor
from tasks.layer_match import activations, match
from tasks.tflite_file import Tensor, read_model

# Over the values of an operator's output: FP32's squares, the squares of INT8's error, those of the error that the
# operator makes by itself, and how many of FP32's values lie outside of what the INT8 tensor can hold.
SUMS = ("signal", "noise", "own_noise", "outside")


class LayerSums:
    """Both models, ready to run. Raises `tasks.kernels.Refused` where an interpreter does not take one."""

    def __init__(self, fp32: bytes, int8: bytes, fp32_table: NDArray[Any], int8_table: NDArray[Any]) -> None:
        """The tables (256,) give each gray level's input value."""
        self.tables = fp32_table, int8_table
        graph, whole = read_model(int8).subgraphs[0], read_model(fp32).subgraphs[0]
        self.tensors, self.pairs = graph.tensors, match(whole, graph).pairs
        self.fp32, self.int8 = (_open(model, reference=model is int8) for model in (fp32, int8))
        references = [pair.reference for pair in self.pairs if pair.reference is not None]
        self.fp32_alone = _open(unchained(fp32, references), reference=False)
        self.int8_alone = _open(unchained(int8, [pair.operator for pair in self.pairs]), reference=True)

    def run(self, levels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Sums (k, operators x SUMS) of frames (k, height, width, channels), 0..255, each of its own."""
        return np.stack([self._sums(frame[None]).reshape(-1) for frame in levels])

    def _sums(self, levels: NDArray[np.uint8]) -> NDArray[np.float64]:
        for interpreter, table in zip((self.fp32, self.int8), self.tables, strict=True):
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], table[levels])
            interpreter.invoke()
        exact = {i: self.fp32.get_tensor(i) for pair in self.pairs for i in (*pair.fp32_inputs, pair.fp32_output)}
        sums = np.empty((len(self.pairs), len(SUMS)))
        for row, pair, (own, wanted) in zip(sums, self.pairs, self._alone(exact), strict=True):
            tensor, values = self.tensors[pair.output], exact[pair.fp32_output]
            found = _real(self.int8.get_tensor(pair.output), tensor)
            own_noise = _energy(own - wanted)
            if not any(_same_format(tensor, self.tensors[i]) for i in pair.inputs):  # else it is an input's format
                own_noise = max(own_noise, _energy(_real(_quantized(values, tensor), tensor) - values))
            row[:] = _energy(values), _energy(found - values), own_noise, _outside(values, tensor)
        return sums

    def _alone(self, exact: dict[int, NDArray[np.float32]]) -> Iterator[tuple[NDArray[np.float32], ...]]:
        """What each operator answers in INT8 and in FP32 to the FP32 model's activations, as INT8 tensors hold them."""
        feeds = [
            [
                _quantized(exact[theirs], self.tensors[ours])
                for ours, theirs in zip(p.inputs, p.fp32_inputs, strict=True)
            ]
            for p in self.pairs
        ]
        reals = [
            [_real(values, self.tensors[i]) for values, i in zip(feed, pair.inputs, strict=True)]
            for feed, pair in zip(feeds, self.pairs, strict=True)
        ]
        answers = _answers(self.int8_alone, feeds)
        with_kernel = [p.reference is not None for p in self.pairs]
        wanted = _answers(self.fp32_alone, [real for real, has in zip(reals, with_kernel, strict=True) if has])
        for pair, answer, real, has in zip(self.pairs, answers, reals, with_kernel, strict=True):
            yield _real(answer, self.tensors[pair.output]), next(wanted) if has else real[0]  # QUANTIZE changes nothing


def open_layers(job: Job, int8_table: NDArray[Any]) -> tuple[Run, KernelTensor, str]:
    """A job's two models, their sums as an output (1, operators x SUMS), and the name of the kernels."""
    assert isinstance(job.model, bytes)
    fp32_table, _ = input_table(tflite_tensors(job.fp32)[0], job.input_range)
    layers = LayerSums(job.fp32, job.model, fp32_table, int8_table)
    kernels = f"TFLite's reference kernels (ai-edge-litert {version('ai-edge-litert')})"
    return layers.run, KernelTensor((1, len(layers.pairs) * len(SUMS)), "float64"), kernels


def unchained(model: bytes, operators: Sequence[int]) -> bytes:
    """The .tflite of these operators (indices of subgraph 0) where none reads what another writes.

    Its inputs are the activations that the operators read, one after the other (a tensor that is read twice is there
    twice); its outputs are theirs, in order.
    """
    graph = read_model(model).subgraphs[0]
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    main = whole.subgraphs[0]
    main.operators = [main.operators[i] for i in operators]
    main.inputs, main.outputs = [], []
    for number, op in zip(operators, main.operators, strict=True):
        read = set(activations(graph, graph.operators[number]))
        op.inputs = np.array(op.inputs)
        for position, tensor in enumerate(op.inputs):
            if tensor in read:
                own = copy.copy(main.tensors[tensor])
                own.name = f"{number}/{position}"
                op.inputs[position] = len(main.tensors)
                main.inputs.append(len(main.tensors))
                main.tensors.append(own)
        main.outputs.extend(op.outputs)
    whole.subgraphs = [main]
    prune_tensors(main)
    prune_buffers(whole, model)
    whole.metadata = whole.metadataBuffer = whole.signatureDefs = None
    builder = flatbuffers.Builder(len(model))
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _open(model: bytes, *, reference: bool) -> Any:
    return open_litert(model, reference=reference, keep=True)[1]


def _answers(interpreter: Any, feeds: Sequence[Sequence[NDArray[Any]]]) -> Iterator[NDArray[Any]]:
    """What an unchained model answers, operator by operator."""
    values = [value for feed in feeds for value in feed]
    for detail, value in zip(interpreter.get_input_details(), values, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return iter([interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()])


def _real(values: NDArray[Any], tensor: Tensor) -> NDArray[np.float32]:
    return (values.astype(np.float32) - np.float32(tensor.zero_points[0])) * tensor.scales[0]


def _quantized(values: NDArray[np.float32], tensor: Tensor) -> NDArray[Any]:
    limits = np.iinfo(tensor.dtype)
    steps = np.rint(values / tensor.scales[0]) + np.float32(tensor.zero_points[0])
    return np.clip(steps, limits.min, limits.max).astype(tensor.dtype)


def _same_format(one: Tensor, other: Tensor) -> bool:
    """Whether both hold the same real values."""
    return (one.dtype, one.scales[0], one.zero_points[0]) == (other.dtype, other.scales[0], other.zero_points[0])


def _energy(values: NDArray[np.float32]) -> float:
    return float(np.square(values, dtype=np.float64).sum())


def _outside(values: NDArray[np.float32], tensor: Tensor) -> int:
    """Values beyond the first or last step by more than half of one: they lose more than rounding takes.

    An activation that its function has clamped (ReLU6's 6) is not among them where the tensor can hold it.
    """
    limits = np.iinfo(tensor.dtype)
    steps = values / tensor.scales[0] + np.float32(tensor.zero_points[0])
    return int(((steps < limits.min - 0.5) | (steps > limits.max + 0.5)).sum())
