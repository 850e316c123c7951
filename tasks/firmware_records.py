"""The records of a firmware image: what is inside, how it was proven, and what it takes."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tasks.arena import ArenaFigures
from tasks.lineage import Record, Rule, Sha256
from tasks.parameters import BoardLimits, HysteresisParameters
from tasks.size_report import SizeReport


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EngineFacts(_Part):
    """Which TFLM is inside an image, as the image itself says."""

    revision: str  # registry (July 2020, crate tfmicro 0.1.0) or upstream
    kernels: str  # reference, cmsis-nn or esp-nn
    sources_sha256: Sha256  # over every compiled source, by name and content


class ArenaReport(_Part):
    """Tensor arena in bytes: what the model needs at least, and what host and target take."""

    lower_bound: int  # liveness of activations, from the flatbuffer
    host: ArenaFigures
    target: ArenaFigures | None  # None for a board that nothing emulates
    reserved: int  # by the firmware
    one_step_less: str  # what the target says with 16 bytes less; "" where it was not tried


class Timing(_Part):
    """Instructions of an inference by the emulator's deterministic clock, exact to a timer tick (32 to 40)."""

    least: int
    median: int
    most: int
    feed: int  # median, from camera bytes to the network's input
    limit: int
    clock_hz: int
    seconds: float  # estimated, of `most`: one instruction a cycle


class GoldenOutcome(_Part):
    """Golden frames on the target, compared byte for byte."""

    frames: int
    kinds: dict[str, int]  # kind -> frames
    host: str  # which TFLM on this machine
    reference: str  # which reference kernels, or why there are none
    compared_with_host: int
    compared_with_reference: int
    mismatches: tuple[str, ...]  # names of frames whose output differs
    first_layer: str  # the first operator that differs, in a sentence; "" without a mismatch


class FirmwareImage(Record):
    """One image. Its files are `firmware/<digest>/<name>`, named with their SHA-256 in `files`."""

    IDENTITY = (
        "int8",
        "board",
        "engine",
        "toolchain",
        "golden",
        "threshold",
        "hysteresis",
        "limits",
        "code_version",
    )
    int8: str  # digest of the Int8Model
    board: str
    engine: str  # identity of the source trees that were given
    toolchain: dict[str, str]
    golden: Sha256  # of the golden frames' pixels, in order
    threshold: Annotated[float, Field(gt=0, lt=1)]
    hysteresis: HysteresisParameters
    limits: BoardLimits
    code_version: str
    contains: EngineFacts | None  # None for a board that nothing emulates: nobody asked the image
    files: dict[str, Sha256]
    size: SizeReport
    arena: ArenaReport
    timing: Timing | None
    outcome: GoldenOutcome | None
    stack_bytes: int
    rules: tuple[Rule, ...]
    passed: bool
    seconds: float

    @property
    def folder(self) -> str:
        return f"firmware/{self.digest}/"

    @property
    def key(self) -> str:
        return f"{self.folder}image.json"
