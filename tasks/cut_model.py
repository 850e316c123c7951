"""A model that ends after one of its operators: what a layer computed, on interpreters that show only a model's output.

The firmware keeps no intermediate tensors (TFLM lets them share the arena), so the device is asked for them one by one:
the model is cut after operator i, and the output of the cut model is the output of that operator.
"""

from collections.abc import Iterable
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tasks.errors import PipelineError
from tasks.tflite_file import ModelFile, Subgraph, read_model

# What interpreters give out as plain bytes. Not float: on a device whose result is compared bit by bit there is none.
COMPARABLE = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "bool")
ALIGNMENT = 16  # bytes; `force_align: 16` of Buffer.data in schema.fbs, which the generated Python code leaves out


class CutImpossible(PipelineError):
    """There is no model that ends after this operator."""


class NoSuchOperator(CutImpossible):
    """The model has fewer operators."""


class OutputNotComparable(CutImpossible):
    """The operator's output is of a type that is not compared bit by bit."""


def cut_after(model: bytes, operator: int) -> bytes:
    """The .tflite that ends after `operator` (its index in subgraph 0), whose first output is the model's only output.

    All inputs stay. Later operators go, and earlier ones that nothing left reads from: TFLM of 2020 refuses tensors
    that are written and never read, and any that no operator mentions. Tensors and weights that are left keep their
    order. Metadata and signatures, which speak of the whole model, go as well. Weights lie at multiples of
    `ALIGNMENT` bytes. Cutting after the last operator of a model with one output gives the whole model again.

    Raises `NotAModel`, `NoSuchOperator`, `OutputNotComparable`, and `CutImpossible` for an operator without output and
    for data outside the flatbuffer that cannot be taken along.
    """
    contents = read_model(model)
    graph = contents.subgraphs[0]
    output = _output(graph, operator)
    kept = _needed(graph, operator, output)
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    _refuse_outside_data(contents, whole)
    main = whole.subgraphs[0]
    main.operators, main.outputs = [main.operators[i] for i in kept], [output]
    prune_tensors(main)
    if not any(graph.operators[i].calls for i in kept):  # else every subgraph stays, so that their numbers hold
        whole.subgraphs = [main]
    prune_buffers(whole, model)
    whole.metadata = whole.metadataBuffer = whole.signatureDefs = None
    for subgraph in whole.subgraphs:  # their numbers point into the metadata
        subgraph.debugMetadataIndex = -1
        for kept_operator in subgraph.operators or []:
            kept_operator.debugMetadataIndex = -1
    builder = flatbuffers.Builder(len(model))
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _output(graph: Subgraph, operator: int) -> int:
    """The tensor that the cut model gives out, refused where it cannot."""
    if not 0 <= operator < len(graph.operators):
        raise NoSuchOperator(
            f"there is no operator {operator} to cut after: the model has {len(graph.operators)}, counted from 0",
            next_step=f"give a number from 0 to {len(graph.operators) - 1}" if graph.operators else "",
        )
    name, outputs = graph.operators[operator].name, graph.operators[operator].outputs
    if not outputs:
        raise CutImpossible(
            f"operator {operator} {name} has no output to end a model with",
            next_step="cut after an operator that reads what this one wrote",
        )
    tensor = graph.tensors[outputs[0]]
    if tensor.dtype not in COMPARABLE:
        raise OutputNotComparable(
            f"the output of operator {operator} {name}, tensor {tensor.index} {tensor.name!r}, is {tensor.dtype}; "
            f"compared bit by bit are {', '.join(COMPARABLE)}",
            next_step="`f2f audit` says why the model is not all integers",
        )
    return tensor.index


def _needed(graph: Subgraph, operator: int, output: int) -> list[int]:
    """Operators up to this one that the output depends on, in order.

    One without output works through a variable (ASSIGN_VARIABLE, CALL_ONCE) and always stays.
    """
    read, kept = {output}, []
    for op in reversed(graph.operators[: operator + 1]):
        if not op.outputs or not read.isdisjoint(op.outputs):
            kept.append(op.index)
            read.update(op.inputs)
    return kept[::-1]


def _refuse_outside_data(contents: ModelFile, whole: Any) -> None:
    """Other files cannot be taken along. (Weights behind the flatbuffer can, see `prune_buffers`.)"""
    tensors = [tensor for graph in contents.subgraphs for tensor in graph.tensors]
    operators = [operator for graph in whole.subgraphs for operator in graph.operators or []]
    if any(t.is_external and not t.is_constant for t in tensors) or any(o.largeCustomOptionsOffset for o in operators):
        raise CutImpossible(
            "parts of the model lie outside of its flatbuffer (external buffers, or options of a custom operator)",
            next_step="convert it into one file; TensorFlow Lite Micro cannot read it either",
        )


def prune_tensors(graph: Any) -> None:
    """Leaves the tensors that inputs, outputs and operators mention, in their order, and renumbers them."""
    mentioned = {*_numbers(graph.inputs), *_numbers(graph.outputs)}
    fields = ("inputs", "outputs", "intermediates")
    for operator in graph.operators:
        for field in fields:
            mentioned.update(_numbers(getattr(operator, field)))
    mentioned.discard(-1)  # an input left out
    order = sorted(mentioned)
    number = {old: new for new, old in enumerate(order)} | {-1: -1}

    def renumbered(numbers: Any) -> Any:
        return None if numbers is None else np.array([number[i] for i in _numbers(numbers)], np.int32)

    graph.tensors = [graph.tensors[i] for i in order]
    graph.inputs, graph.outputs = renumbered(graph.inputs), renumbered(graph.outputs)
    for operator in graph.operators:
        for field in fields:
            setattr(operator, field, renumbered(getattr(operator, field)))


def prune_buffers(whole: Any, model: bytes) -> None:
    """Leaves the buffers that tensors mention, in their order, with their data inside the flatbuffer and aligned.

    Buffer 0 is the empty one by convention and stays.
    """
    tensors = [tensor for graph in whole.subgraphs for tensor in graph.tensors]
    order = sorted({0} | {tensor.buffer for tensor in tensors})
    number = {old: new for new, old in enumerate(order)}
    for tensor in tensors:
        tensor.buffer = number[tensor.buffer]
    buffers = []
    for old in order:
        data, offset, size = whole.buffers[old].data, whole.buffers[old].offset, whole.buffers[old].size
        if offset > 1:  # the data of a file above 2 GB, or of one written as if it were, lies behind the flatbuffer
            data = np.frombuffer(model, np.uint8, size, offset)
        buffers.append(_AlignedBuffer(data))
    whole.buffers = buffers


class _AlignedBuffer(schema.BufferT):
    """A buffer that is written with its data at a multiple of `ALIGNMENT` bytes."""

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 (the generated code calls it by this name)
        at = 0
        if self.data is not None and len(self.data):
            data = bytes(self.data)
            builder.StartVector(1, len(data), ALIGNMENT)
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            at = builder.EndVector()
        schema.BufferStart(builder)
        if at:
            schema.BufferAddData(builder, at)
        return int(schema.BufferEnd(builder))


def _numbers(values: Iterable[int] | None) -> list[int]:
    return [] if values is None else [int(value) for value in values]
