"""A .tflite as plain, checked records: shapes, types, quantization and operators, every index in range.

No weights are read, and time and memory go in proportion to the file. Field slots are those of schema.fbs
(`Offset(n)` in `ai_edge_litert.schema_py_generated`, which a test compares with); names come from that module.
"""

import math
import struct
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from tasks.checked_flatbuffer import NotAModel, Reader, Table

MAX_NESTING = 32  # subgraphs that call subgraphs
MAX_RANK = 16  # TFLM's kernels go to 6
MAX_TENSOR_BYTES = 2**31 - 1  # sizes are int32 on the device


@dataclass(frozen=True)
class Tensor:
    """One tensor. `scales` float32 and `zero_points` int64 have one element, one per channel, or none.

    `nbytes` follows from shape and type; `data_bytes` is what the file holds for it (0: an activation).
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    buffer: int
    data_bytes: int
    nbytes: int
    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    quantized_dimension: int
    is_variable: bool
    is_sparse: bool
    is_external: bool  # its data lies outside the flatbuffer proper

    @property
    def is_constant(self) -> bool:
        return self.data_bytes > 0

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @cached_property
    def largest_scale(self) -> float:
        """The largest of the scales; 0 where there is none."""
        return float(self.scales.max()) if len(self.scales) else 0.0


@dataclass(frozen=True)
class Operator:
    """One operator. `inputs` may hold -1 for an input left out; `calls` are the subgraphs that control flow enters."""

    index: int
    name: str  # of the builtin operator, or CUSTOM
    custom_code: str
    old_code: str  # what a reader from before 2020-07 takes the operator for
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    calls: tuple[int, ...]
    transposes_first: bool  # BATCH_MATMUL with adj_x


@dataclass(frozen=True)
class Subgraph:
    """Tensors and the operators in execution order."""

    index: int
    name: str
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[Operator, ...]


@dataclass(frozen=True)
class ModelFile:
    """A whole file; subgraph 0 is the model."""

    size_bytes: int
    subgraphs: tuple[Subgraph, ...]


@cache
def _names(kind: type) -> dict[int, str]:
    return {value: name for name, value in vars(kind).items() if isinstance(value, int)}


def builtin_name(code: int) -> str:
    """ADD for 0; BUILTIN_250 for a code that this schema does not know."""
    return _names(schema.BuiltinOperator).get(code, f"BUILTIN_{code}")


def dtype_name(code: int) -> str:
    """float32 for 0, int8 for 9; type_77 for a code that this schema does not know."""
    return _names(schema.TensorType).get(code, f"TYPE_{code}").lower()


def bits(dtype: str) -> int:
    """Bits of one element; 8 for types without a fixed size (string, resource, variant, unknown)."""
    known = {"bool": 8, "int2": 2, "complex64": 64, "complex128": 128, "float8_e4m3fn": 8, "float8_e5m2": 8}
    if dtype in known:
        return known[dtype]
    width = dtype.lstrip("abcdefghijklmnopqrstuvwxyz")
    return int(width) if width.isdigit() else 8


def read_model(data: bytes) -> ModelFile:
    """The checked contents of a .tflite. Raises `NotAModel` for anything else, whatever is wrong with it."""
    if not data:
        raise NotAModel("the file is empty")
    if len(data) < 32 or data[4:8] != b"TFL3":
        raise NotAModel(f"no TFL3 identifier in the first bytes ({data[:8].hex(' ')}): not a TensorFlow Lite model")
    try:
        return _model(Reader(data))
    except NotAModel:
        raise
    except (ArithmeticError, LookupError, ValueError, struct.error, MemoryError) as error:  # a hole in the checks
        raise NotAModel(f"damaged flatbuffer: {type(error).__name__}: {error}") from error


def _model(reader: Reader) -> ModelFile:
    root = reader.table(reader.number("I", 0))
    version = reader.scalar(root, 4, "I")
    if version != 3:
        raise NotAModel(f"schema version {version}, only 3 is known")
    codes = [_operator_code(reader, table) for table in reader.tables(root, 6)]
    graphs = reader.tables(root, 8)
    buffers = [_buffer(reader, table) for table in reader.tables(root, 12)]
    if not graphs:
        raise NotAModel("the model has no subgraph, so nothing to run")
    subgraphs = tuple(_subgraph(reader, table, i, codes, buffers, len(graphs)) for i, table in enumerate(graphs))
    _refuse_recursion(subgraphs)
    return ModelFile(len(reader.data), subgraphs)


def _operator_code(reader: Reader, table: Table) -> tuple[str, str, str]:
    old, new = reader.scalar(table, 4, "b"), reader.scalar(table, 10, "i")
    return builtin_name(max(old, new)), reader.string(table, 6), builtin_name(old)


def _buffer(reader: Reader, table: Table) -> tuple[int, bool]:
    """(bytes, whether they lie outside the flatbuffer). Offsets 0 and 1 mean inside."""
    _, count = reader.vector(table, 4, 1)
    offset, size = reader.scalar(table, 6, "Q"), reader.scalar(table, 8, "Q")
    if offset > 1:
        if offset + size > len(reader.data):
            raise NotAModel(f"a buffer claims {size:,} bytes at byte {offset:,} of a file of {len(reader.data):,}")
        return size, True
    return count, False


def _tensor(reader: Reader, table: Table, index: int, buffers: list[tuple[int, bool]]) -> Tensor:
    shape, name = reader.ints(table, 4), reader.string(table, 10)
    dtype, buffer = dtype_name(reader.scalar(table, 6, "b")), reader.scalar(table, 8, "I")
    what = f"tensor {index} {name!r}"
    if len(shape) > MAX_RANK or any(n < 0 for n in shape):
        raise NotAModel(f"{what} has the impossible shape {list(shape[:MAX_RANK])}")
    nbytes = (math.prod(shape) * bits(dtype) + 7) // 8
    if nbytes > MAX_TENSOR_BYTES:
        raise NotAModel(f"{what} of shape {list(shape)} takes {nbytes:,} bytes, more than any device can address")
    if buffer >= max(len(buffers), 1):
        raise NotAModel(f"{what} refers to buffer {buffer} of {len(buffers)}")
    data_bytes, external = buffers[buffer] if buffers else (0, False)
    sparse = reader.target(table, 16) is not None
    if 0 < data_bytes < nbytes and not sparse and dtype != "string":
        raise NotAModel(f"{what} of shape {list(shape)} needs {nbytes:,} bytes, its buffer holds {data_bytes:,}")
    at = reader.target(table, 12)
    quantization = None if at is None else reader.table(at)
    return Tensor(
        index=index,
        name=name,
        dtype=dtype,
        shape=shape,
        shape_signature=reader.ints(table, 18),
        buffer=buffer,
        data_bytes=data_bytes,
        nbytes=nbytes,
        scales=reader.floats(quantization, 8) if quantization else np.empty(0, np.float32),
        zero_points=reader.longs(quantization, 10) if quantization else np.empty(0, np.int64),
        quantized_dimension=reader.scalar(quantization, 16, "i") if quantization else 0,
        is_variable=bool(reader.scalar(table, 14, "b")),
        is_sparse=sparse,
        is_external=external or bool(reader.scalar(table, 24, "I")),
    )


def _operator(reader: Reader, table: Table, index: int, codes: list[tuple[str, str, str]]) -> Operator:
    code = reader.scalar(table, 4, "I")
    if code >= len(codes):
        raise NotAModel(f"operator {index} refers to operator code {code} of {len(codes)}")
    name, custom, old = codes[code]
    at, slots = reader.target(table, 12), {"IF": (4, 6), "WHILE": (4, 6), "CALL_ONCE": (4,)}.get(name, ())
    options = reader.table(at) if at is not None and (slots or name == "BATCH_MATMUL") else None
    calls = tuple(reader.scalar(options, slot, "i") for slot in slots) if options else (0,) * len(slots)
    adj_x = bool(reader.scalar(options, 4, "b")) if options and name == "BATCH_MATMUL" else False
    return Operator(index, name, custom, old, reader.ints(table, 6), reader.ints(table, 8), calls, adj_x)


def _subgraph(
    reader: Reader,
    table: Table,
    index: int,
    codes: list[tuple[str, str, str]],
    buffers: list[tuple[int, bool]],
    graphs: int,
) -> Subgraph:
    tensors = tuple(_tensor(reader, t, i, buffers) for i, t in enumerate(reader.tables(table, 4)))
    inputs, outputs = reader.ints(table, 6), reader.ints(table, 8)
    operators = tuple(_operator(reader, t, i, codes) for i, t in enumerate(reader.tables(table, 10)))
    for what, indices, lowest in (
        (f"subgraph {index}", inputs + outputs, 0),
        *((f"an input of operator {op.index} {op.name}", op.inputs, -1) for op in operators),
        *((f"an output of operator {op.index} {op.name}", op.outputs, 0) for op in operators),
    ):
        wrong = [i for i in indices if not lowest <= i < len(tensors)]
        if wrong:
            raise NotAModel(f"{what} refers to tensor {wrong[0]} of {len(tensors)} in subgraph {index}")
    for op in operators:
        if not all(0 <= called < graphs for called in op.calls):
            raise NotAModel(f"operator {op.index} {op.name} calls subgraph {max(op.calls)} of {graphs}")
    return Subgraph(index, reader.string(table, 12), tensors, inputs, outputs, operators)


def _refuse_recursion(subgraphs: tuple[Subgraph, ...]) -> None:
    """Raises `NotAModel` where a subgraph calls itself, directly or through others: it would never end."""
    open_calls = {graph.index: {i for op in graph.operators for i in op.calls} for graph in subgraphs}
    for _ in range(MAX_NESTING):
        open_calls = {i: calls & open_calls.keys() for i, calls in open_calls.items() if calls}
    if open_calls:
        raise NotAModel(f"subgraph {min(open_calls)} calls itself, or {MAX_NESTING} others in a row")
