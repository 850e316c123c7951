"""Two implementations of one model give different bytes: which operator is the first that computes something else?

Found by bisection over models cut after operator i (cut_model.py), on one frame on which the outputs differ: about 8
runs of each side for the 67 operators of a MobileNetV2 instead of 67.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tasks.cut_model import COMPARABLE, OutputNotComparable
from tasks.errors import PipelineError
from tasks.tflite_file import Subgraph, Tensor, read_model

# The output bytes of the model cut after operator i, on a frame that the function knows.
CutOutput = Callable[[int], bytes]


class OutputsDoNotCompare(PipelineError):
    """A side gave a number of bytes that is not the size of the operator's output."""


@dataclass(frozen=True)
class LayerDifference:
    """The operator that computes something else from the same inputs.

    `largest_step`: largest difference of two elements, in steps of the tensor's integer type.
    """

    operator: int
    name: str  # CONV_2D
    tensor: str  # the name of its output
    dtype: str
    bytes: int
    bytes_different: int
    largest_step: int

    @property
    def sentence(self) -> str:
        """For a report or an error message."""
        return (
            f"operator {self.operator} {self.name} (output {self.tensor!r}, {self.dtype}): {self.bytes_different:,} of "
            f"{self.bytes:,} bytes differ, by {self.largest_step:,} step{'s' * (self.largest_step != 1)} at most"
        )


def first_difference(
    operators: int, agrees: Callable[[int], bool], feeds: Sequence[Sequence[int]] | None = None
) -> int | None:
    """An operator that differs while everything that it reads agrees; None where the last operator agrees.

    `agrees(i)`: whether both sides give the same bytes after operator i; called at most once for each i, about
    log2(operators) times. `feeds[i]`: the operators (all below i) whose outputs operator i reads; None: a chain.

    A later operator may hide a difference (an activation that saturates) or lie in another branch, so agreement in the
    middle does not prove that everything before agrees. Bisection still ends at neighbours of which the first agrees
    and the second differs; from there the operators that feed it are asked, and theirs, until all of them agree. With
    several faults, or one that is hidden in between, that is a true one but not always the one with the lowest number.
    Raises `ValueError` where `feeds` does not fit.
    """
    sources = [[i - 1] if i else [] for i in range(operators)] if feeds is None else feeds
    if len(sources) != operators or any(not 0 <= j < i for i, known in enumerate(sources) for j in known):
        raise ValueError("feeds must name, for each operator, operators before it")
    same = cache(agrees)
    if not operators or same(operators - 1):
        return None
    low, high = -1, operators - 1  # low agrees (-1 is the frame itself), high differs
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if same(middle) else (low, middle)
    while True:
        different = [source for source in sorted(sources[high], reverse=True) if not same(source)]
        if not different:
            return high
        high = different[0]  # always smaller, so this ends


def layer_difference(model: bytes, reference: CutOutput, device: CutOutput) -> LayerDifference | None:
    """Where `device` leaves `reference`, for the model that both cut; None where their last outputs are the same.

    Either is called at most once for each operator. A fault that depends on where tensors lie in the arena can vanish
    in a shorter model: it is then blamed on an operator close to the end. An operator with several outputs is judged
    by its first. Raises `OutputsDoNotCompare`, `OutputNotComparable`, `NotAModel`, and what the two functions raise.
    """
    graph = read_model(model).subgraphs[0]

    @cache
    def both(operator: int) -> tuple[bytes, bytes]:
        given = reference(operator), device(operator)
        expected = _output(graph, operator).nbytes
        for side, values in zip(("reference", "device"), given, strict=True):
            if len(values) != expected:
                raise OutputsDoNotCompare(
                    f"the {side} gave {len(values):,} bytes after operator {operator} "
                    f"{graph.operators[operator].name}, whose output has {expected:,}",
                    next_step="both sides must run the same model, cut after that operator",
                )
        return given

    found = first_difference(len(graph.operators), lambda i: both(i)[0] == both(i)[1], _feeds(graph))
    return None if found is None else _described(graph, found, *both(found))


def _feeds(graph: Subgraph) -> list[list[int]]:
    """The operators whose outputs each one reads."""
    writer = {tensor: op.index for op in graph.operators for tensor in op.outputs}
    # A file may say that a tensor is written later than it is read (a variable, or nonsense): no feed then.
    return [sorted({writer[i] for i in op.inputs if writer.get(i, op.index) < op.index}) for op in graph.operators]


def _output(graph: Subgraph, operator: int) -> Tensor:
    outputs = graph.operators[operator].outputs
    tensor = graph.tensors[outputs[0]] if outputs else None
    if tensor is None or tensor.dtype not in COMPARABLE:
        raise OutputNotComparable(
            f"operator {operator} {graph.operators[operator].name} gives no integers that could be compared",
            next_step="`f2f audit` says why the model is not all integers",
        )
    return tensor


def _described(graph: Subgraph, operator: int, reference: bytes, device: bytes) -> LayerDifference:
    tensor = _output(graph, operator)
    steps = np.abs(_integers(reference, tensor.dtype) - _integers(device, tensor.dtype))
    different = np.frombuffer(reference, np.uint8) != np.frombuffer(device, np.uint8)
    return LayerDifference(
        operator,
        graph.operators[operator].name,
        tensor.name,
        tensor.dtype,
        len(reference),
        int(different.sum()),
        int(steps.max()),
    )


def _integers(values: bytes, dtype: str) -> NDArray[np.object_]:
    """Elements as Python's integers: differences of 64 bits do not overflow."""
    kind = np.dtype("uint8" if dtype == "bool" else dtype).newbyteorder("<")
    return np.frombuffer(values, kind).astype(object)
