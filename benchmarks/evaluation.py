"""INT8 evaluation on all cores against the plain loop: one TFLM interpreter in one process, same model, same frames.

    python benchmarks/evaluation.py [MODEL.tflite] [--frames 400] [--rounds 3]

Without a model: MobileNetV2 alpha 0.35 at 120x160 with random weights, converted here (half a minute). Both sides are
timed in turn, `rounds` times, in this order: plain, workers; the median is given. Start-up of the workers counts, their
comparison with the reference kernels as well. Both sides must give the same bytes, else the benchmark fails. CPU
seconds are given beside: on a machine that others use they tell what wall-clock time cannot.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tasks.interpreters import int8_outputs


def plain_loop(model: bytes, frames: NDArray[np.uint8]) -> NDArray[np.int8]:
    """What one writes first."""
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(model, arena_size=32 << 20)
    scores = []
    for frame in frames:
        interpreter.set_input((frame ^ 0x80).view(np.int8)[None, :, :, None], 0)
        interpreter.invoke()
        scores.append(np.array(interpreter.get_output(0)).reshape(-1))
    return np.stack(scores)


def random_mobilenet() -> bytes:
    """An INT8 MobileNetV2 whose batch norms have seen the frames: without, activation scales are degenerate."""
    import keras

    from tasks.model import build_model
    from tasks.parameters import TrainParameters
    from tasks.quantize import convert

    frames = np.random.default_rng(1).integers(0, 256, (64, 120, 160), np.uint8)
    keras.utils.set_random_seed(0)
    model = build_model(TrainParameters(alpha=0.35, weights="none"))
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    for _ in range(12):
        model(frames[..., None].astype(np.float32), training=True)
    return convert(model, frames)


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    model = arguments.model.read_bytes() if arguments.model else random_mobilenet()
    frames = np.random.default_rng(0).integers(0, 256, (arguments.frames, 120, 160), np.uint8)
    cores = len(os.sched_getaffinity(0))
    plain, workers, plain_cpu, workers_cpu = [], [], [], []
    for _ in range(arguments.rounds):
        started, cpu = time.perf_counter(), cpu_seconds()
        expected = plain_loop(model, frames)
        plain.append(time.perf_counter() - started)
        plain_cpu.append(cpu_seconds() - cpu)
        started, cpu = time.perf_counter(), cpu_seconds()
        outputs = int8_outputs(model, frames)
        workers.append(time.perf_counter() - started)
        workers_cpu.append(cpu_seconds() - cpu)
        if not np.array_equal(outputs.values, expected):
            raise SystemExit("workers and plain loop gave different bytes")
    print(f"{len(frames)} frames, {len(model):,} B, {cores} cores, load {os.getloadavg()[0]:.1f}")
    for name, wall, busy in (("plain loop", plain, plain_cpu), ("workers", workers, workers_cpu)):
        seconds = statistics.median(wall)
        each = 1000 * seconds / len(frames)
        print(f"{name:12}{seconds:8.2f} s {each:8.1f} ms a frame {statistics.median(busy):8.2f} CPU s")
    print(f"speed-up    {statistics.median(plain) / statistics.median(workers):8.2f}")


if __name__ == "__main__":
    main()
