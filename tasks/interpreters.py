"""Scores from interpreters in worker processes: every core works, and no model can take this process down.

INT8 is judged by the TFLM interpreter, the code that runs on the device; on a sample of frames its outputs are compared
byte for byte with TFLite's reference kernels. Plain subprocesses and not multiprocessing: its spawn method imports the
caller's main module again in every worker, which under Prefect takes seconds, and its pool waits forever for a
worker that aborted.
"""

import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import PipelineError
from tasks.kernels import InputRange, Job, Opened
from tasks.progress import Progress, silent
from tasks.settings import PROJECT

# Frames [start, stop) as uint8 (stop - start, 120, 160): called with small ranges, in order, in this process.
Frames = Callable[[int, int], NDArray[np.uint8]]
CHUNK = {"tflm": 8, "tflite": 8, "keras": 64, "layers": 4}
REFERENCE_SAMPLE = 32
TIME_LIMIT = 600.0  # seconds without an answer; a chunk takes well under one with any model for a microcontroller
_ENTRY = "from tasks.kernels import main; main()"  # not -m: its records would be pickled as `__main__`'s


class InterpreterError(PipelineError):
    """A model that could not be run to its end."""


class ModelUnreadable(InterpreterError):
    """The bytes are no model."""


class ModelUnsupported(InterpreterError):
    """A model, but not one that these kernels can run, or not of one image in and one score out."""


class WorkerAborted(InterpreterError):
    """The interpreter took its process down."""


class WorkerHung(InterpreterError):
    """No answer within the time limit."""


class KernelsDisagree(InterpreterError):
    """TFLM and TFLite's reference kernels gave different bytes: the figures would hold for neither."""


@dataclass(frozen=True)
class Outputs:
    """Raw outputs of all frames, (n, 1) or (n, 2) in the model's own type, and how they were made."""

    values: NDArray[Any]
    opened: Opened
    compared: int  # frames whose output is the same, byte for byte, on TFLite's reference kernels


def int8_outputs(
    model: bytes,
    frames: Frames | NDArray[np.uint8],
    count: int | None = None,
    *,
    workers: int = 0,
    input_range: InputRange = (0.0, 255.0),
    reference_required: bool = True,
    reference_sample: int = REFERENCE_SAMPLE,
    name: str = "INT8 model",
    frame_name: Callable[[int], str] = str,
    progress: Progress = silent,
    time_limit: float = TIME_LIMIT,
) -> Outputs:
    """Outputs of an int8 or uint8 .tflite as the device computes them.

    `frames`: uint8 (n, 120, 160), or a function that gives ranges of them (then `count` says how many), so that a set
    larger than memory will do. `workers` 0: one a core. The sample is `reference_sample` frames spread over the set;
    without `reference_required` a model that the reference kernels refuse is run all the same (`compared` is 0 and
    `opened.reference` says why). Raises an `InterpreterError` that names the model, and the frame where there is one.
    """
    job = Job("tflm", model, input_range, reference=True)
    return run_job(
        job, frames, count, workers, name, frame_name, progress, time_limit, reference_required, reference_sample
    )


def float_outputs(
    model: bytes,
    frames: Frames | NDArray[np.uint8],
    count: int | None = None,
    *,
    workers: int = 0,
    input_range: InputRange = (0.0, 255.0),
    name: str = "float model",
    progress: Progress = silent,
    time_limit: float = TIME_LIMIT,
) -> Outputs:
    """Outputs of a float .tflite by TFLite's builtin kernels. See `int8_outputs`."""
    job = Job("tflite", model, input_range, reference=False)
    return run_job(job, frames, count, workers, name, str, progress, time_limit)


def keras_outputs(
    model: Path,
    frames: Frames | NDArray[np.uint8],
    count: int | None = None,
    *,
    input_range: InputRange = (0.0, 255.0),
    name: str = "FP32 model",
    progress: Progress = silent,
    time_limit: float = TIME_LIMIT,
) -> Outputs:
    """Outputs of a .keras file (whatever its name), in one process, whose memory TensorFlow then gives back."""
    with tempfile.TemporaryDirectory(prefix="f2f-keras-") as folder:
        link = Path(folder) / "model.keras"  # Keras refuses other names
        link.symlink_to(model.resolve())
        return run_job(Job("keras", str(link), input_range, False), frames, count, 1, name, str, progress, time_limit)


def run_job(
    job: Job,
    frames: Frames | NDArray[np.uint8],
    count: int | None,
    workers: int,
    name: str,
    frame_name: Callable[[int], str],
    progress: Progress,
    time_limit: float,
    reference_required: bool = False,
    reference_sample: int = REFERENCE_SAMPLE,
) -> Outputs:
    """What the three functions above share: deals chunks out to the workers and puts the answers in order."""
    if isinstance(frames, np.ndarray):
        pixels, count = frames, len(frames)
        frames = lambda start, stop: pixels[start:stop]  # noqa: E731
    if not count:
        raise PipelineError(f"no frames to run {name} on", next_step="give it at least one")
    size = CHUNK[job.engine]
    number = max(1, min(workers or len(os.sched_getaffinity(0)), math.ceil(count / size)))
    sample = set(np.unique(np.linspace(0, count - 1, min(count, reference_sample)).round().astype(int)).tolist())
    with _Workers(job, number, name, time_limit) as pool:
        opened = pool.open()
        refused = opened.reference.removeprefix("refused: ") if opened.reference.startswith("refused") else ""
        if refused and reference_required:
            raise ModelUnsupported(
                f"{name}: TFLite's reference kernels refuse it, so nothing can be compared: {refused}",
                next_step="convert it again with the pinned TensorFlow; `f2f audit` shows what is inside",
            )
        values: NDArray[Any] = np.empty((count, int(np.prod(opened.output.shape))), opened.output.dtype)
        done, chunks = 0, iter(range(0, count, size))

        def feed(worker: _Worker) -> None:
            start = next(chunks, None)
            if start is not None:
                stop = min(start + size, count)
                worker.send((start, frames(start, stop), [i - start for i in range(start, stop) if i in sample]))

        for worker in pool.workers:
            feed(worker)
        while done < count:
            worker, (start, rows, different) = pool.next_answer()
            if different:
                raise KernelsDisagree(
                    f"{name}: TFLM and TFLite's reference kernels differ on frame {frame_name(start + different[0])}"
                    f"{f' and {len(different) - 1} more' if len(different) > 1 else ''}",
                    next_step="keep the model and the frame: one of the two kernels has a fault worth reporting",
                )
            feed(worker)
            values[start : start + len(rows)] = rows
            done += len(rows)
            progress(done, count, "frames")
    compared = len(sample) if opened.reference and not refused else 0
    return Outputs(values, opened, compared)


class _Worker:
    """One process, the connection to it, and the file that holds its stderr."""

    def __init__(self, threads: int) -> None:
        self.connection, theirs = Pipe()
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
        with theirs:
            self.process = subprocess.Popen(
                # -P: no `tasks` folder that happens to lie where the user stands is imported instead of ours.
                [sys.executable, "-P", "-c", _ENTRY, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self.stderr,
                stderr=self.stderr,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)},
            )
        self.since: float | None = None

    def send(self, message: object) -> None:
        self.since = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its end is noticed when it is read from
            self.connection.send(message)

    def last_words(self) -> str:
        """The last lines of its stderr."""
        self.stderr.seek(max(self.stderr.seek(0, os.SEEK_END) - 4096, 0))
        lines = [line.strip() for line in self.stderr.read().decode(errors="replace").splitlines() if line.strip()]
        return " | ".join(lines[-3:]) or "(nothing)"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.connection.close()
        self.stderr.close()


class _Workers:
    """The processes of one job. Leaving the block ends them all, however it is left."""

    def __init__(self, job: Job, number: int, name: str, time_limit: float) -> None:
        self.job, self.number, self.name, self.time_limit = job, number, name, time_limit
        self.workers: list[_Worker] = []

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for worker in self.workers:
            worker.end()

    def open(self) -> Opened:
        """Starts all processes; returns when every one has its interpreter."""
        for _ in range(self.number):
            self.workers.append(_Worker(0 if self.job.engine == "keras" else 1))
            self.workers[-1].send(self.job)
        answers = [self.next_answer()[1][0] for _ in self.workers]
        assert isinstance(answers[0], Opened)
        return answers[0]

    def next_answer(self) -> tuple[_Worker, tuple[Any, ...]]:
        """The next message of any busy worker. Raises what it says, or what its silence or its end means."""
        busy = {w.connection: w for w in self.workers if w.since is not None}
        oldest = min(w.since for w in busy.values() if w.since is not None)
        ready = wait(list(busy), timeout=max(oldest + self.time_limit - time.monotonic(), 0.0))
        if not ready:
            raise WorkerHung(
                f"{self.name}: no answer from {_what(self.job)} for {self.time_limit:.0f} s",
                next_step="the model hangs, or the machine is far too busy; try one frame with `f2f evaluate`",
            )
        connection = ready[0]
        assert isinstance(connection, Connection)
        worker = busy[connection]
        try:
            message = connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._aborted(worker) from None
        worker.since = None
        if message[0] == "refused":
            raise self._refused(message[1], message[2])
        return worker, message[1:]

    def _aborted(self, worker: _Worker) -> InterpreterError:
        code = worker.process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return WorkerAborted(
            f"{self.name}: {_what(self.job)} ended its process with {how}; its last words: {worker.last_words()}",
            next_step="SIGKILL: most likely out of memory"
            if code == -signal.SIGKILL
            else "the model is degenerate (scales near 0, a hostile file): `f2f audit` says where",
        )

    def _refused(self, kind: str, reason: str) -> InterpreterError:
        if kind == "unreadable":
            return ModelUnreadable(f"{self.name}: {reason}", next_step="give a whole .tflite or .keras file")
        if kind == "input":
            return ModelUnsupported(f"{self.name}: {reason}", next_step="say so, e.g. `--input-range 0,1`")
        if kind == "shape":
            return ModelUnsupported(
                f"{self.name}: {reason}", next_step="only a classifier of one image can be evaluated"
            )
        next_step = "`f2f audit` lists what the device cannot run, with a way out" if kind == "unsupported" else ""
        return ModelUnsupported(f"{self.name}: {_what(self.job)} cannot run it: {reason}", next_step=next_step)


def _what(job: Job) -> str:
    return {"tflm": "TFLM", "tflite": "TFLite", "keras": "Keras", "layers": "TFLite"}[job.engine]
