"""Which operator of an INT8 file is which of the FP32 file that the same converter made of the same graph. No guessing.

An operator is found by the name of the tensor that it writes; where the converter gave that another name, by its place,
as the only operator of its kind that reads these inputs. QUANTIZE, which only INT8 files have, leaves real values as
they are. What cannot be found is left out.
"""

from collections import Counter
from dataclasses import dataclass

from tasks.tflite_file import Operator, Subgraph, Tensor

QUANTIZED = ("int8", "uint8", "int16")


@dataclass(frozen=True)
class Pair:
    """An operator of the INT8 file and what computes the same in FP32. Tensors without `fp32_` are the INT8 file's.

    `reference` is the FP32 operator, None for QUANTIZE. `inputs` are its activations, `fp32_inputs` the same in FP32.
    """

    operator: int
    name: str  # CONV_2D
    reference: int | None
    inputs: tuple[int, ...]
    output: int
    fp32_inputs: tuple[int, ...]
    fp32_output: int


@dataclass(frozen=True)
class Matched:
    """Pairs in execution order, and the operators of the INT8 file that have none."""

    pairs: tuple[Pair, ...]
    left_out: tuple[int, ...]


def match(fp32: Subgraph, int8: Subgraph) -> Matched:
    """Pairs of two main subgraphs.

    Both sides of a pair are operators of one kind, with one output of the same shape, and with inputs that are matched
    themselves and come in the same order. Nothing matches where the models' own inputs differ in number or shape.
    """
    search = _Search(fp32, int8)
    found = [pair for op in int8.operators if (pair := search.pair(op))]
    paired = {pair.operator for pair in found}
    return Matched(tuple(found), tuple(op.index for op in int8.operators if op.index not in paired))


def activations(graph: Subgraph, op: Operator) -> tuple[int, ...]:
    """The inputs of `op` that are computed and not stored in the file."""
    return tuple(i for i in op.inputs if i >= 0 and not graph.tensors[i].is_constant)


class _Search:
    """`known`: INT8 tensors with their FP32 tensors, more of them with every operator in execution order."""

    def __init__(self, fp32: Subgraph, int8: Subgraph) -> None:
        self.fp32, self.int8 = fp32, int8
        self.by_name, self.names = _by_output_name(fp32), _by_output_name(int8)
        shapes = [[graph.tensors[i].shape for i in graph.inputs] for graph in (fp32, int8)]
        self.known = dict(zip(int8.inputs, fp32.inputs, strict=True)) if shapes[0] == shapes[1] else {}
        self.taken: set[int] = set()  # FP32 operators that have been found

    def pair(self, op: Operator) -> Pair | None:
        inputs = activations(self.int8, op)
        if len(op.outputs) != 1 or not all(_is_quantized(self.int8.tensors[i]) for i in (*inputs, *op.outputs)):
            return None
        sources = tuple(self.known.get(i, -1) for i in inputs)
        if op.name == "QUANTIZE":
            reference, wanted, output = None, sources, sources[0] if sources else -1  # -1: of a stored tensor
        else:
            found = self._by_name(op) or self._by_place(op, sources)
            if found is None:
                return None
            reference, wanted, output = found.index, activations(self.fp32, found), found.outputs[0]
            self.taken.add(found.index)
        if output < 0 or self.fp32.tensors[output].shape != self.int8.tensors[op.outputs[0]].shape:
            return None
        self.known[op.outputs[0]] = output
        if sources != wanted:
            return None
        return Pair(op.index, op.name, reference, inputs, op.outputs[0], sources, output)

    def _by_name(self, op: Operator) -> Operator | None:
        name = self.int8.tensors[op.outputs[0]].name
        found = self.by_name.get(name) if self.names.get(name) is op else None
        return found if found and found.name == op.name else None

    def _by_place(self, op: Operator, sources: tuple[int, ...]) -> Operator | None:
        found = [
            other
            for other in self.fp32.operators
            if other.name == op.name
            and len(other.outputs) == 1
            and activations(self.fp32, other) == sources
            and other.index not in self.taken
            and not self._has_namesake(other)
        ]
        return found[0] if len(found) == 1 else None

    def _has_namesake(self, other: Operator) -> bool:
        """Whether an FP32 operator is found by its name, by another one. (QUANTIZE at the end takes the name of the
        model's output from the operator that computes it.)"""
        namesake = self.names.get(self.fp32.tensors[other.outputs[0]].name)
        return namesake is not None and namesake.name == other.name


def _by_output_name(graph: Subgraph) -> dict[str, Operator]:
    """Operators with one output by its name, where no other writes a tensor of that name."""
    times = Counter(graph.tensors[i].name for op in graph.operators for i in op.outputs)
    single = {graph.tensors[op.outputs[0]].name: op for op in graph.operators if len(op.outputs) == 1}
    return {name: op for name, op in single.items() if times[name] == 1}


def _is_quantized(tensor: Tensor) -> bool:
    """Whether its integers are real values by one scale and one zero point."""
    return tensor.dtype in QUANTIZED and len(tensor.scales) == 1 == len(tensor.zero_points)
