"""What is inside a .tflite, and whether a microcontroller can run it: ops, types, memory, offenders.

No TensorFlow and no Prefect: the file is read by `tflite_file`, judged by the rules in `offenders` and by the tables
in `tflm_support`. `TFLITE_BUILTINS_INT8` does not enforce INT8 (`tf.sin` converts without an error into
DEQUANTIZE, float SIN, QUANTIZE), so this audit is the gate.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tasks.checked_flatbuffer import NotAModel
from tasks.lineage import Offender, TensorFacts
from tasks.memory_plan import activation_peak, live_bytes, macs
from tasks.offenders import find_offenders
from tasks.tflite_file import ModelFile, Tensor, read_model
from tasks.tflm_support import Revision

__all__ = ["Audit", "ModelFacts", "NotAModel", "OpFacts", "Tensor", "audit", "audit_file", "inspect", "read_file"]
MAX_FILE_BYTES = 2**31 - 1  # a flatbuffer's offsets end there


@dataclass(frozen=True)
class OpFacts:
    """One operator of the main subgraph in execution order.

    `inputs` and `outputs` index `ModelFacts.tensors` (-1: an input left out). `live_bytes` is the activation memory
    while it runs, `weights_bytes` the constants that it reads.
    """

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int
    weights_bytes: int
    live_bytes: int


@dataclass(frozen=True)
class ModelFacts:
    """Figures of a .tflite. `activation_peak_bytes` is a lower bound of the tensor arena, by liveness."""

    size_bytes: int
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    ops: dict[str, int]  # operator name -> how many, most frequent first, all subgraphs
    macs: int
    weights_bytes: int
    activation_peak_bytes: int
    operators: tuple[OpFacts, ...]
    tensors: tuple[Tensor, ...]


@dataclass(frozen=True)
class Audit:
    """The verdict on a .tflite: `clean` where there is no offender."""

    clean: bool
    ops: dict[str, int]
    offenders: tuple[Offender, ...]
    facts: ModelFacts


def inspect(data: bytes) -> ModelFacts:
    """Figures of a .tflite of any kind, float or not. Raises `NotAModel`."""
    return _facts(read_model(data))


def audit(data: bytes, *, tflm: Revision = "upstream") -> Audit:
    """Whether this is a full-integer model that TFLM of that revision can run, and if not, every reason.

    Raises `NotAModel` where the bytes are no TensorFlow Lite model, whatever they are.
    """
    model = read_model(data)
    facts, found = _facts(model), find_offenders(model, tflm)
    return Audit(not found, facts.ops, found, facts)


def audit_file(path: Path, *, tflm: Revision = "upstream") -> Audit:
    """`audit` of a file. Raises `NotAModel` also where there is none."""
    return audit(read_file(path), tflm=tflm)


def read_file(path: Path) -> bytes:
    """The bytes of a .tflite; what cannot be one is refused by its first bytes and not read. Raises `NotAModel`."""
    try:
        if not path.is_file():
            raise NotAModel(f"{path} is a folder or device" if path.exists() else f"no file {path}")
        with path.open("rb") as file:
            head = file.read(64)
            if head[4:8] != b"TFL3":
                return head  # `read_model` refuses it with the reason
            if path.stat().st_size > MAX_FILE_BYTES:
                raise NotAModel(f"{path} has {path.stat().st_size:,} bytes; a flatbuffer ends at 2 GiB")
            return head + file.read()
    except (OSError, ValueError) as error:
        raise NotAModel(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _facts(model: ModelFile) -> ModelFacts:
    main = model.subgraphs[0]
    operators = tuple(
        OpFacts(
            index=op.index,
            name=op.custom_code or op.name,
            inputs=op.inputs,
            outputs=op.outputs,
            macs=macs(main, op),
            weights_bytes=sum(main.tensors[i].data_bytes for i in set(op.inputs) if i >= 0),
            live_bytes=live,
        )
        for op, live in zip(main.operators, live_bytes(main), strict=False)
    )
    counted = Counter(op.custom_code or op.name for graph in model.subgraphs for op in graph.operators)
    buffers = {t.buffer: t.data_bytes for graph in model.subgraphs for t in graph.tensors}
    return ModelFacts(
        size_bytes=model.size_bytes,
        inputs=tuple(_tensor_facts(main.tensors[i]) for i in main.inputs),
        outputs=tuple(_tensor_facts(main.tensors[i]) for i in main.outputs),
        ops=dict(counted.most_common()),
        macs=sum(macs(graph, op) for graph in model.subgraphs for op in graph.operators),
        weights_bytes=sum(buffers.values()),
        activation_peak_bytes=activation_peak(model),
        operators=operators,
        tensors=main.tensors,
    )


def _tensor_facts(tensor: Tensor) -> TensorFacts:
    return TensorFacts(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        scale=float(tensor.scales[0]) if len(tensor.scales) else 0.0,
        zero_point=int(tensor.zero_points[0]) if len(tensor.zero_points) else 0,
    )
