"""A worker process of the evaluation: one model, one interpreter, frames in, raw outputs out (see interpreters.py).

Interpreters abort or hang on some models, so they live here
and never in the process that has something to lose. Neither Prefect nor pydantic is imported; TensorFlow only for a
`.keras` file. C code explains itself on stderr, which the parent keeps in a file.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.batches import resized

Engine = Literal["tflm", "tflite", "keras", "layers"]
InputRange = tuple[float, float] | Literal["auto"]
MAX_ARENA = 1 << 30
ONE_TO_ONE = "gray levels to input levels one to one"


class Refused(Exception):
    """Why a model cannot be run: `kind` (unreadable, unsupported, arena, shape, input, reference) and a sentence."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind, self.reason = kind, reason


@dataclass(frozen=True)
class Tensor:
    """A model's input or output. `scale` is 0 where it is not quantised."""

    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True)
class Job:
    """What a worker shall run. `model`: the .tflite's bytes, or the path of the .keras file."""

    engine: Engine
    model: bytes | str
    input_range: InputRange  # real values of gray levels 0 and 255, or by the input's quantisation
    reference: bool  # open TFLite's reference kernels as well, to compare with
    any_output: bool = False  # take outputs that are no score: those of a layer
    fp32: bytes = b""  # the float .tflite that engine `layers` compares the model with


@dataclass(frozen=True)
class Opened:
    """What a worker runs."""

    input: Tensor
    output: Tensor
    feeding: str  # how gray levels become input values
    kernels: str
    arena_size: int  # bytes that were given to TFLM; 0 for other engines
    reference: str  # its name; "" where it was not asked for; "refused: ..." where it cannot open the model


def input_table(tensor: Tensor, input_range: InputRange) -> tuple[NDArray[Any], str]:
    """The input value of each of the 256 gray levels, and that in words.

    Quantised: round(real / scale) + zero point, halves away from zero as TFLite's QUANTIZE does; for scale 1 and zero
    point -128 that is `x ^ 0x80`. With "auto", a quantised input that spans 0..255 gets raw pixels, one that spans
    about 0..1 or -1..1 gets its 256 levels one to one (what a camera driver does: `x ^ 0x80`), floats get raw pixels.
    """
    levels = np.arange(256, dtype=np.float64)
    if not tensor.scale:
        low, high = (0.0, 255.0) if input_range == "auto" else input_range
        return (low + levels * ((high - low) / 255)).astype(tensor.dtype), f"gray 0..255 as {low:g}..{high:g}"
    limits = np.iinfo(tensor.dtype)
    if input_range == "auto":
        bottom, top = ((q - tensor.zero_point) * tensor.scale for q in (int(limits.min), int(limits.max)))
        if abs(bottom) < 2 and 128 <= top <= 260:
            input_range = (0.0, 255.0)
        elif limits.max - limits.min == 255 and 0.9 < top < 1.1 and (abs(bottom) < 0.1 or -1.1 < bottom < -0.9):
            return (np.arange(256) + int(limits.min)).astype(tensor.dtype), ONE_TO_ONE
        else:
            raise Refused(
                "input", f"its input spans {bottom:g}..{top:g}: it does not show how gray 0..255 maps to that"
            )
    low, high = input_range
    steps = (low + levels * ((high - low) / 255)) / tensor.scale
    rounded = np.sign(steps) * np.floor(np.abs(steps) + 0.5) + tensor.zero_point
    return np.clip(rounded, limits.min, limits.max).astype(tensor.dtype), f"gray 0..255 as {low:g}..{high:g}"


Run = Callable[[NDArray[Any]], NDArray[Any]]  # input values (k, height, width, channels) -> outputs (k, m)


def open_tflm(model: bytes, tensor: Tensor) -> tuple[Run, int]:
    """TFLM's interpreter, and the arena size that it was given.

    A large arena costs nothing (pages that are never touched are never there) while one far too small can crash, so
    it starts large and grows. Raises `Refused` with TFLM's own words where a larger arena would not help.
    """
    from tflite_micro.python.tflite_micro import runtime

    size, said = 32 << 20, ""
    while size <= MAX_ARENA:
        before = _stderr_size()
        try:
            interpreter = runtime.Interpreter.from_bytes(model, arena_size=size)
        except (RuntimeError, ValueError) as error:
            # The exception is the same for a small arena and an op that is not there; stderr tells them apart.
            said = "; ".join(_stderr_since(before)) or str(error)
            if not ("Failed to allocate" in said or "Failed to resize" in said or "rena size is too small" in said):
                raise Refused("unsupported", said) from error
            size *= 4
            continue
        break
    else:
        raise Refused("arena", f"even an arena of {MAX_ARENA:,} B is too small: {said}")

    def run(batch: NDArray[Any]) -> NDArray[Any]:
        rows = []
        for frame in batch:
            interpreter.set_input(frame.reshape(tensor.shape), 0)
            interpreter.invoke()
            rows.append(np.array(interpreter.get_output(0)).reshape(-1))
        return np.stack(rows)

    return run, size


def open_litert(model: bytes, *, reference: bool, keep: bool = False) -> tuple[Run, Any]:
    """TFLite's interpreter without XNNPACK (which rounds differently from the device), and the interpreter itself.

    `keep`: every tensor can be read after a run, not just the output.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_REF if reference else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = Interpreter(
            model_content=model,
            num_threads=1,
            experimental_op_resolver_type=kind,
            experimental_preserve_all_tensors=keep,
        )
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        what = "unreadable" if "valid Flatbuffer" in str(error) else "reference" if reference else "unsupported"
        raise Refused(what, " ".join(str(error).split())[:200]) from error
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]

    def run(batch: NDArray[Any]) -> NDArray[Any]:
        rows = []
        for frame in batch:
            interpreter.set_tensor(into["index"], frame.reshape(into["shape"]))
            interpreter.invoke()
            rows.append(interpreter.get_tensor(out).reshape(-1))
        return np.stack(rows)

    return run, interpreter


def open_keras(path: str) -> tuple[Run, Tensor, Tensor]:
    """A .keras file with its input and output."""
    import keras

    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # zip, JSON, HDF5 and Keras each raise their own
        raise Refused("unreadable", f"Keras cannot load it: {' '.join(str(error).split())[:400]}") from error
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise Refused(
            "shape", f"it has {len(model.inputs)} inputs and {len(model.outputs)} outputs, one each is needed"
        )
    shapes = [
        tuple(1 if i == 0 else int(n or 0) for i, n in enumerate(t.shape)) for t in (*model.inputs, *model.outputs)
    ]

    def run(batch: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(model.predict_on_batch(batch), np.float32).reshape(len(batch), -1)

    return run, Tensor(shapes[0], "float32"), Tensor(shapes[1], "float32")


def tflite_tensors(model: bytes) -> tuple[Tensor, Tensor]:
    """Input and output of a .tflite, from the flatbuffer alone. Raises `Refused`."""
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name.lower() for name, code in vars(schema.TensorType).items() if not name.startswith("_")}
    try:
        if model[4:8] != b"TFL3":
            raise ValueError("no TFL3 mark")
        graph = schema.Model.GetRootAs(model).Subgraphs(0)
        if graph.InputsLength() != 1 or graph.OutputsLength() != 1:
            has = f"it has {graph.InputsLength()} inputs and {graph.OutputsLength()} outputs"
            raise Refused("shape", f"{has}, one each is needed")
        found = []
        for index in (graph.Inputs(0), graph.Outputs(0)):
            tensor = graph.Tensors(index)
            shape = tuple(int(tensor.Shape(i)) for i in range(tensor.ShapeLength()))
            quantised = tensor.Quantization()
            scale = float(quantised.Scale(0)) if quantised and quantised.ScaleLength() else 0.0
            zero_point = int(quantised.ZeroPoint(0)) if quantised and quantised.ZeroPointLength() else 0
            found.append(Tensor(shape, names[tensor.Type()], scale, zero_point))
    except Refused:
        raise
    except Exception as error:  # a hostile flatbuffer raises struct.error, TypeError, IndexError, ...
        raise Refused("unreadable", f"it is no valid .tflite: {error}") from error
    return found[0], found[1]


class Worker:
    """A job's interpreters, ready to run. Raises `Refused`."""

    def __init__(self, job: Job) -> None:
        self.reference: Run | None = None
        arena, compared = 0, ""
        if job.engine == "keras":
            self.run, self.input, output = open_keras(str(job.model))
            kernels = f"Keras {version('keras')} on TensorFlow {version('tensorflow')}, float32"
        else:
            assert isinstance(job.model, bytes)
            self.input, output = tflite_tensors(job.model)
        _check_shapes(self.input, output, job.any_output)
        table, feeding = input_table(self.input, job.input_range)
        self.table = table
        if job.engine == "tflite":
            self.run, _ = open_litert(job.model, reference=False)  # type: ignore[arg-type]
            kernels = f"TFLite's builtin kernels (ai-edge-litert {version('ai-edge-litert')}), no delegate"
        elif job.engine == "layers":
            from tasks.layer_sums import open_layers

            _say("opening TFLite's reference kernels")
            self.run, output, kernels = open_layers(job, table)
            self.table = np.arange(256, dtype=np.uint8)  # gray levels: its two models have inputs of their own
        elif job.engine == "tflm":
            if job.reference:
                _say("opening TFLite's reference kernels")
                try:
                    self.reference, _ = open_litert(job.model, reference=True)  # type: ignore[arg-type]
                    compared = f"TFLite's reference kernels (ai-edge-litert {version('ai-edge-litert')})"
                except Refused as refused:
                    if refused.kind == "unreadable":  # TFLM checks nothing: it would read beyond the file
                        raise
                    compared = f"refused: {refused.reason}"
            _say("opening TFLM")
            self.run, arena = open_tflm(job.model, self.input)  # type: ignore[arg-type]
            kernels = f"TFLM (tflite-micro {version('tflite-micro')})"
        self.opened = Opened(self.input, output, feeding, kernels, arena, compared)

    def outputs(self, frames: NDArray[np.uint8], compare: list[int]) -> tuple[NDArray[Any], list[int]]:
        """Raw outputs (k, m) of uint8 frames (k, 120, 160), and which of those in `compare` the reference computes
        differently."""
        _, height, width, channels = self.input.shape
        values = self.table[resized(frames, height, width)][..., None]
        values = np.ascontiguousarray(np.repeat(values, channels, axis=-1))
        outputs = self.run(values)
        if not compare or self.reference is None:
            return outputs, []
        other = self.reference(values[compare])
        return outputs, [i for i, row in zip(compare, other, strict=True) if not np.array_equal(row, outputs[i])]


def _check_shapes(input_: Tensor, output: Tensor, any_output: bool) -> None:
    if len(input_.shape) != 4 or input_.shape[0] != 1 or input_.shape[3] not in (1, 3) or min(input_.shape) < 1:
        raise Refused("shape", f"its input is {input_.shape}; (1, height, width, 1 or 3) is needed")
    if max(input_.shape) > 4096:
        raise Refused("shape", f"its input {input_.shape} is larger than 4096 pixels a side")
    scores = int(np.prod(output.shape))
    if scores not in (1, 2) and not any_output:
        raise Refused(
            "shape", f"its output {output.shape} holds {scores} values; one score (person), or two are needed"
        )
    for name, tensor in (("input", input_), ("output", output)):
        if tensor.dtype not in ("int8", "uint8", "float32") and not (any_output and tensor is output):
            raise Refused("shape", f"its {name} is {tensor.dtype}; int8, uint8 or float32 is needed")
        if tensor.dtype in ("int8", "uint8") and not (np.isfinite(tensor.scale) and tensor.scale > 1e-6):
            raise Refused("shape", f"its {name} is {tensor.dtype} with the scale {tensor.scale:g}")


def _say(what: str) -> None:
    """A line for the parent in case that it is the last one: asserts in C are silent."""
    print(what, file=sys.stderr, flush=True)


def _stderr_size() -> int:
    return os.fstat(2).st_size


def _stderr_since(position: int) -> list[str]:
    """Lines that C code wrote to stderr (a file, see interpreters.py) since `position`."""
    data = os.pread(2, max(_stderr_size() - position, 0), position)
    return [line.strip() for line in data.decode(errors="replace").splitlines() if line.strip()]


def serve(connection: Connection) -> None:
    """Answers until the parent closes: first a `Job`, then (start, frames, compare) tuples."""
    try:
        worker = Worker(connection.recv())
        connection.send(("opened", worker.opened))
        _say("running the model")
        while True:
            start, frames, compare = connection.recv()
            connection.send(("outputs", start, *worker.outputs(frames, compare)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Refused as refused:
        connection.send(("refused", refused.kind, refused.reason))
    except Exception as error:
        connection.send(("refused", "failed", f"{type(error).__name__}: {error}"))


def main() -> None:
    """Process entry, with the arguments CONNECTION_FD PARENT_PID.

    Ctrl-C is the parent's business, and the parent's end is this process's end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: also a worker that hangs leaves no orphan
    if os.getppid() != int(sys.argv[2]):
        return
    serve(Connection(int(sys.argv[1])))
