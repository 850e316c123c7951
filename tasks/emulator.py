"""The firmware in QEMU: frames in, output bytes and instruction counts out, by semihosting.

`-icount shift=0` makes an emulated instruction take one nanosecond of emulated time, so that the timer that the
firmware reads counts instructions, the same in every run whatever else this machine does.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.boards import Board
from tasks.errors import PipelineError
from tasks.progress import Progress, silent
from tasks.toolchain import find_qemu

SILENCE_LIMIT = 120.0  # seconds without a line; a frame with portable kernels takes about four


class EmulationFailed(PipelineError):
    """The firmware did not end well, or not at all; the message carries its last words."""


class EmulatorHung(EmulationFailed):
    """No line from the firmware for too long."""


class TargetRefused(EmulationFailed):
    """The firmware itself said no, in its own words (`words`)."""

    words = ""


@dataclass(frozen=True)
class EmulatedRun:
    """What the firmware did with all frames. `instructions` counts inferences, `feed_instructions` what fills the input
    from the camera's bytes; both are exact to the timer's tick (40 or 32 instructions)."""

    outputs: NDArray[np.uint8]  # (n, bytes of the output), as they lie in memory
    instructions: tuple[int, ...]
    feed_instructions: tuple[int, ...]
    person: tuple[bool, ...]
    arena_bytes: int  # reserved
    arena_used: int  # TFLM's own figure
    stack_bytes: int
    revision: str
    kernels: str
    sources_sha256: str
    transcript: str


@dataclass(frozen=True)
class MeasuredArena:
    """The smallest arena that works, TFLM's own figure, and how many trials it took."""

    arena_bytes: int
    arena_used: int
    trials: int
    transcript: str


def run_frames(
    board: Board,
    elf: bytes,
    frames: NDArray[np.uint8],
    *,
    arena: int | None = None,
    progress: Progress = silent,
    silence_limit: float = SILENCE_LIMIT,
) -> EmulatedRun:
    """Runs uint8 (n, 120, 160) camera frames. `arena`: give the firmware only so many bytes of its arena.

    Raises `TargetRefused` where the firmware says no, `EmulatorHung`, `EmulationFailed`, `MissingTool`.
    """

    def show(event: dict[str, Any]) -> None:
        if event["event"] == "frame":
            progress(event["index"] + 1, len(frames), "frames")

    line = "run" if arena is None else f"run arena={arena}"
    events, transcript, outputs = _emulate(board, elf, line, frames, show, silence_limit)
    start, done = _event(events, "start", transcript), _event(events, "done", transcript)
    answers = [event for event in events if event["event"] == "frame"]
    if done["frames"] != len(frames) or len(answers) != len(frames) or len(outputs) % len(frames):
        raise EmulationFailed(
            f"{board.name}: {len(frames)} frames went in, {len(answers)} answers and {len(outputs)} bytes came out",
            next_step=f"the whole transcript: {transcript[-500:]}",
        )
    nanoseconds = 1_000_000_000 / start["ticks_per_second"]
    return EmulatedRun(
        outputs=np.frombuffer(outputs, np.uint8).reshape(len(frames), -1),
        instructions=tuple(round(event["ticks"] * nanoseconds) for event in answers),
        feed_instructions=tuple(round(event["feed_ticks"] * nanoseconds) for event in answers),
        person=tuple(bool(event["person"]) for event in answers),
        arena_bytes=start["arena_bytes"],
        arena_used=done["arena_used"],
        stack_bytes=done["stack_bytes"],
        revision=start["revision"],
        kernels=start["kernels"],
        sources_sha256=start["sources"],
        transcript=transcript,
    )


def measure_arena(board: Board, elf: bytes, lower_bound: int, *, silence_limit: float = SILENCE_LIMIT) -> MeasuredArena:
    """Asks a firmware with an ample arena for the smallest one that works, to 16 bytes.

    `lower_bound`: bytes below which none can work (the liveness bound). Raises as `run_frames`.
    """
    line = f"measure from={lower_bound}"
    events, transcript, _ = _emulate(board, elf, line, np.empty((0, 0), np.uint8), lambda event: None, silence_limit)
    found = _event(events, "measured", transcript)
    return MeasuredArena(found["arena_bytes"], found["arena_used"], found["trials"], transcript)


def qemu_line(board: Board, elf: Path, arguments: str) -> list[str]:
    """The command that emulates a board; `arguments` is what the firmware finds on its command line."""
    words = ",".join(f"arg={word}" for word in ["firmware", *arguments.split()])
    return [
        str(find_qemu().path),
        *("-M", board.machine),
        *("-nographic", "-monitor", "none", "-serial", "none", "-nic", "none"),
        *("-icount", "shift=0"),
        *("-semihosting-config", f"enable=on,target=native,{words}"),
        *("-kernel", str(elf)),
    ]


def _emulate(
    board: Board,
    elf: bytes,
    arguments: str,
    frames: NDArray[np.uint8],
    show: Callable[[dict[str, Any]], None],
    silence_limit: float,
) -> tuple[list[dict[str, Any]], str, bytes]:
    """Runs the emulator in a folder of its own; returns the firmware's events, all it printed, and `outputs.bin`."""
    if not board.emulated:
        raise EmulationFailed(f"no emulator runs {board.name}", next_step="flash it: see firmware/boards")
    with tempfile.TemporaryDirectory(prefix="f2f-emulator-") as name:
        folder = Path(name)
        (folder / "firmware.elf").write_bytes(elf)
        (folder / "frames.bin").write_bytes(np.ascontiguousarray(frames).tobytes())
        process = subprocess.Popen(
            qemu_line(board, folder / "firmware.elf", arguments),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        events: list[dict[str, Any]] = []
        try:
            transcript = _read(process, board, events, show, silence_limit)
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout
            process.stdout.close()
        _refuse_failure(board, process.returncode, events, transcript)
        outputs = folder / "outputs.bin"
        return events, transcript, outputs.read_bytes() if outputs.exists() else b""


def _read(
    process: "subprocess.Popen[bytes]",
    board: Board,
    events: list[dict[str, Any]],
    show: Callable[[dict[str, Any]], None],
    silence_limit: float,
) -> str:
    """Reads lines until the emulator ends. Raises `EmulatorHung` after `silence_limit` seconds without one."""
    assert process.stdout
    os.set_blocking(process.stdout.fileno(), False)
    text, rest, last = "", b"", time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(timeout=max(last + silence_limit - time.monotonic(), 0.0)):
                raise EmulatorHung(
                    f"{board.name}: no line from the emulated firmware for {silence_limit:.0f} s; its last words: "
                    f"{_last_words(text + rest.decode(errors='replace'))}",
                    next_step="the firmware hangs, or this machine is far too busy; `f2f firmware run` repeats it",
                )
            data = process.stdout.read(1 << 16)
            if data == b"":
                return text + rest.decode(errors="replace")
            last = time.monotonic()
            *lines, rest = (rest + (data or b"")).split(b"\n")
            for line in lines:
                text += line.decode(errors="replace") + "\n"
                with contextlib.suppress(json.JSONDecodeError, KeyError, TypeError):
                    event = json.loads(line)
                    show(event)
                    events.append(event)


def _refuse_failure(board: Board, code: int, events: list[dict[str, Any]], transcript: str) -> None:
    for event in events:
        if event["event"] == "error":
            refused = TargetRefused(
                f"{board.name}: the firmware says: {event['message']}",
                next_step="the whole transcript is in the record; `f2f firmware run` repeats it",
            )
            refused.words = event["message"]
            raise refused
        if event["event"] == "fault":
            raise EmulationFailed(
                f"{board.name}: the processor faulted at 0x{event['pc']:08x}, called from 0x{event['lr']:08x}",
                next_step="`arm-none-eabi-addr2line -e firmware.elf ADDRESS` names the line",
            )
    if code != 0:
        raise EmulationFailed(
            f"{board.name}: the emulator ended with exit code {code}; its last words: {_last_words(transcript)}",
            next_step="exit codes below 0 are signals; -9: most likely out of memory",
        )


def _event(events: list[dict[str, Any]], kind: str, transcript: str) -> dict[str, Any]:
    for event in events:
        if event["event"] == kind:
            return event
    raise EmulationFailed(
        f"the emulated firmware ended without saying {kind!r}; its last words: {_last_words(transcript)}",
        next_step="it was built by another version of this project: build it again",
    )


def _last_words(text: str) -> str:
    return " | ".join(line.strip() for line in text.splitlines()[-3:] if line.strip()) or "(nothing)"
