"""Where device and host part: the first operator whose output differs, found with models that end after each operator.

The device keeps no intermediate tensors, so it is asked for them one at a time: firmware is built for the model cut
after an operator, and runs the one frame that showed the difference.
"""

import numpy as np
from numpy.typing import NDArray

from tasks.boards import Board
from tasks.cargo_build import Engine, build
from tasks.contract import checked, make_contract
from tasks.cut_model import cut_after
from tasks.emulator import run_frames
from tasks.errors import PipelineError
from tasks.first_difference import layer_difference
from tasks.interpreters import run_job
from tasks.kernels import Job
from tasks.parameters import HysteresisParameters
from tasks.progress import silent


def host_layer(model: bytes, operator: int, frame: NDArray[np.uint8]) -> bytes:
    """Output bytes of `operator` by TFLM on this machine, for one frame uint8 (1, 120, 160)."""
    job = Job("tflm", cut_after(model, operator), "auto", reference=False, any_output=True)
    outputs = run_job(job, frame, None, 1, f"the model cut after operator {operator}", str, silent, 120.0)
    return np.ascontiguousarray(outputs.values).tobytes()


def device_layer(model: bytes, operator: int, frame: NDArray[np.uint8], board: Board, engine: Engine) -> bytes:
    """The same by the emulated firmware of the cut model."""
    cut = cut_after(model, operator)
    contract = make_contract(cut, checked(cut, engine.revision), board.arena_limit, None, HysteresisParameters())
    built = build(board, contract, cut, engine)
    return run_frames(board, built.elf, frame).outputs.tobytes()


def first_differing_layer(
    host_model: bytes, device_model: bytes, frame: NDArray[np.uint8], board: Board, engine: Engine
) -> str:
    """The first operator that differs on `frame` uint8 (1, 120, 160), in a sentence. About 7 builds, some seconds each.

    The two models are the same one, but for tests that put a fault in. Where the cut models do not show the difference,
    or one cannot be built, the sentence says so: this explains a failure, it must not hide it.
    """
    try:
        found = layer_difference(
            host_model,
            lambda operator: host_layer(host_model, operator, frame),
            lambda operator: device_layer(device_model, operator, frame, board, engine),
        )
    except PipelineError as error:
        return f"unknown ({error.message})"
    return found.sentence if found else "unknown (no cut model differs: a fault of the arena's layout is likely)"
