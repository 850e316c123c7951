"""The tensor arena: what it must hold at least, what TFLM says it takes, and the smallest one that works.

The liveness bound comes from the flatbuffer alone (`tasks/memory_plan.py`); the firmware measures the target's figures
itself (`tasks/emulator.py`). Here are the host's figures, for the same model on this machine's TFLM: 64-bit pointers
make them larger. TFLM runs in a process of its own, since a model can take it down.
"""

import re
import subprocess
import sys
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

from tasks.errors import PipelineError
from tasks.settings import PROJECT

STEP = 16  # bytes; TFLM aligns what it allocates to 16
_ENTRY = "from tasks.arena import main; main()"
_AMPLE = 1 << 28


class ArenaUnmeasured(PipelineError):
    """TFLM on this machine gave no figures for a model."""


class ArenaFigures(BaseModel):
    """Bytes of tensor arena, on one machine. `used` is TFLM's own figure, `smallest` what was found by bisection."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    used: int
    smallest: int


def bisect(works: Callable[[int], bool], fails_below: int, ample: int) -> int:
    """The smallest multiple of 16 that works, given that `ample` does and that nothing below `fails_below` can.

    Raises `ArenaUnmeasured` where even `ample` does not work.
    """
    if not works(ample):
        raise ArenaUnmeasured(f"even {ample:,} B of tensor arena are too few", next_step="`f2f audit` the model")
    low, high = (fails_below + STEP - 1) // STEP - 1, ample // STEP
    while high - low > 1:
        middle = (low + high) // 2
        if works(middle * STEP):
            high = middle
        else:
            low = middle
    return high * STEP


def host_arena(model: bytes, lower_bound: int, *, time_limit: float = 120.0) -> ArenaFigures:
    """TFLM's figures on this machine, for an audited model. Raises `ArenaUnmeasured` with TFLM's last words."""
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-c", _ENTRY, str(lower_bound)],
            input=model,
            capture_output=True,
            cwd=PROJECT,
            env={"PYTHONPATH": str(PROJECT), "PATH": ""},
            timeout=time_limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ArenaUnmeasured(f"TFLM on this machine gave no arena within {time_limit:.0f} s") from error
    said = answer.stderr.decode(errors="replace")
    used = re.search(r"Arena allocation total (\d+) bytes", said)
    smallest = re.search(rb"smallest (\d+)", answer.stdout)
    if answer.returncode or not used or not smallest:
        last = " | ".join(line.strip() for line in said.splitlines()[-3:]) or f"exit code {answer.returncode}"
        raise ArenaUnmeasured(f"TFLM on this machine gave no arena figures: {last}", next_step="`f2f audit` the model")
    return ArenaFigures(used=int(used[1]), smallest=int(smallest[1]))


def main() -> None:
    """Process entry: model on stdin, lower bound as argument; the smallest arena on stdout, TFLM's report on stderr."""
    from tflite_micro.python.tflite_micro import runtime

    model, lower_bound = sys.stdin.buffer.read(), int(sys.argv[1])

    def works(size: int) -> bool:
        try:
            runtime.Interpreter.from_bytes(model, arena_size=size)
        except RuntimeError:
            return False
        return True

    smallest = bisect(works, lower_bound, _AMPLE)
    runtime.Interpreter.from_bytes(model, arena_size=_AMPLE).print_allocations()
    print("smallest", smallest)
