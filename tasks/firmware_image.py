"""From an audited INT8 model to a proven image of one board: build, measure, build again, run, compare.

Nothing here knows of a bucket or a data set; `tasks/firmware.py` is the pipeline's stage, `f2f firmware` the command.
"""

import io
import json
import statistics
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tasks.arena import STEP, ArenaFigures, host_arena
from tasks.boards import Board
from tasks.cargo_build import Built, Engine, build
from tasks.contract import Contract, checked, make_contract
from tasks.elf_sections import elf_size_report
from tasks.emulator import EmulatedRun, EmulationFailed, TargetRefused, measure_arena, run_frames
from tasks.errors import PipelineError
from tasks.firmware_difference import first_differing_layer
from tasks.firmware_records import ArenaReport, EngineFacts, GoldenOutcome, Timing
from tasks.flatbuffer import Audit
from tasks.golden import GoldenFrames
from tasks.interpreters import Outputs, int8_outputs
from tasks.lineage import Rule
from tasks.parameters import BoardLimits, HysteresisParameters
from tasks.progress import Progress, silent
from tasks.size_report import SizeReport, over_budget, size_report

ESP_NN_SCRATCH = 64 << 10  # bytes; where nothing measures the target, what ESP-NN's kernels may want beyond TFLM's own


class ImageUnproven(PipelineError):
    """The image did not do what was measured before."""


@dataclass(frozen=True)
class Wanted:
    """What an image shall be. `threshold` None: the model is no detector."""

    board: Board
    engine: Engine
    threshold: float | None = 0.5
    hysteresis: HysteresisParameters = field(default_factory=HysteresisParameters)
    limits: BoardLimits = field(default_factory=BoardLimits)
    arena_bytes: int = 0  # 0: measured

    @property
    def limited_board(self) -> Board:
        """The board with the tighter limits."""
        return replace(
            self.board,
            flash_budget=self.limits.flash_bytes or self.board.flash_budget,
            ram_budget=self.limits.ram_bytes or self.board.ram_budget,
            max_instructions=self.limits.max_instructions or self.board.max_instructions,
        )


@dataclass(frozen=True)
class Image:
    """A built image and how large it is."""

    wanted: Wanted
    model: bytes
    contract: Contract
    built: Built
    arena: ArenaReport
    size: SizeReport

    @property
    def rules(self) -> list[Rule]:
        """Flash and RAM against their budgets."""
        found, broken = [], over_budget(self.size)
        for name, memory, used, budget in (
            ("flash", "flash", self.size.flash_used, self.size.flash_budget),
            ("ram", "RAM", self.size.ram_used, self.size.ram_budget),
        ):
            reasons = [reason for reason in broken if f"of the {memory} budget" in reason] if used > budget else []
            reason = "; ".join(reasons) or f"{used:,} B of {budget:,} B {memory}"
            found.append(Rule(name=name, passed=used <= budget, figure=used, limit=budget, reason=reason))
        return found


@dataclass(frozen=True)
class Proof:
    """What the image did with the golden frames."""

    run: EmulatedRun
    outcome: GoldenOutcome
    timing: Timing
    rules: list[Rule]


def build_image(model: bytes, wanted: Wanted, *, progress: Progress = silent) -> Image:
    """Builds the firmware with the smallest arena that works on the target.

    The arena is measured in the emulator by a first build with ample memory, then reserved exactly. Raises `NotAModel`,
    `NotDeployable`, `MissingTool`, `BuildFailed`, `EmulationFailed`.
    """
    board, engine = wanted.limited_board, wanted.engine
    steps = 4 if board.emulated and not wanted.arena_bytes else 2
    audited = checked(model, engine.revision)
    bound = audited.facts.activation_peak_bytes
    host = host_arena(model, bound)
    progress(1, steps, "steps")
    target, reserved = None, wanted.arena_bytes
    if board.emulated and not reserved:
        measuring = build(board, _contract(model, audited, wanted, board.arena_limit), model, engine)
        progress(2, steps, "steps")
        measured = measure_arena(board, measuring.elf, bound)
        target, reserved = ArenaFigures(used=measured.arena_used, smallest=measured.arena_bytes), measured.arena_bytes
        progress(3, steps, "steps")
    reserved = reserved or -(-(host.smallest + ESP_NN_SCRATCH) // 64) * 64
    contract = _contract(model, audited, wanted, reserved)
    built = build(board, contract, model, engine)
    progress(steps, steps, "steps")
    arena = ArenaReport(lower_bound=bound, host=host, target=target, reserved=reserved, one_step_less="")
    # Espressif's linker writes another kind of map; its sections are all that is known of a xiao image.
    size = size_report(built.map, board) if board.emulated else elf_size_report(built.elf, board)
    return Image(wanted, model, contract, built, arena, size)


def prove(
    image: Image, golden: GoldenFrames, *, host_model: bytes | None = None, progress: Progress = silent
) -> tuple[Image, Proof]:
    """Runs the golden frames on the emulated board and compares every output byte with the host's.

    Returns the image with what the run showed (stack, and what 16 bytes less do) and the proof. A difference is a
    broken rule that names the frame and the first differing layer, not an error. Raises `EmulationFailed`,
    `InterpreterError`. `host_model`: what the host runs instead, where a test puts a fault into the image's model.
    """
    board, model = image.wanted.limited_board, host_model or image.model
    host = _on_host(model, golden)
    run = run_frames(board, image.built.elf, golden.pixels, progress=progress)
    expected = np.ascontiguousarray(host.values).view(np.uint8).reshape(len(golden), -1)
    different = [i for i in range(len(golden)) if not np.array_equal(run.outputs[i], expected[i])]
    layer = ""
    if different:
        frame = golden.pixels[different[0] : different[0] + 1]
        layer = first_differing_layer(model, image.model, frame, board, image.wanted.engine)
    outcome = GoldenOutcome(
        frames=len(golden),
        kinds=dict(Counter(golden.kinds)),
        host=host.opened.kernels,
        reference=host.opened.reference,
        compared_with_host=len(golden),
        compared_with_reference=host.compared,
        mismatches=tuple(golden.names[i] for i in different),
        first_layer=layer,
    )
    timing = Timing(
        least=min(run.instructions),
        median=round(statistics.median(run.instructions)),
        most=max(run.instructions),
        feed=round(statistics.median(run.feed_instructions)),
        limit=board.max_instructions,
        clock_hz=board.clock_hz,
        seconds=board.seconds(max(run.instructions)),
    )
    proven = _with_arena_floor(image, golden.pixels[:1], run)
    return proven, Proof(run, outcome, timing, [_bit_exact(outcome), _in_time(timing, board)])


def facts_of(run: EmulatedRun) -> EngineFacts:
    """Which TFLM the image says that it has inside."""
    return EngineFacts(revision=run.revision, kernels=run.kernels, sources_sha256=run.sources_sha256)


def _contract(model: bytes, audited: Audit, wanted: Wanted, arena_bytes: int) -> Contract:
    return make_contract(model, audited, arena_bytes, wanted.threshold, wanted.hysteresis)


def _on_host(model: bytes, golden: GoldenFrames) -> Outputs:
    """TFLM on this machine, and TFLite's reference kernels on every frame; the two must agree."""
    return int8_outputs(
        model,
        golden.pixels,
        input_range="auto",
        reference_required=False,
        reference_sample=len(golden),
        frame_name=lambda index: golden.names[index],
    )


def _with_arena_floor(image: Image, frame: NDArray[np.uint8], run: EmulatedRun) -> Image:
    """The image with its stack counted, and with what the target says to 16 bytes of arena less."""
    board, arena = image.wanted.limited_board, image.arena
    said = ""
    if arena.target:
        try:
            run_frames(board, image.built.elf, frame, arena=arena.reserved - STEP)
        except TargetRefused as refused:
            said = refused.words
        except EmulationFailed as error:
            raise ImageUnproven(f"{STEP} B of arena less give no clear error: {error.message}") from error
        else:
            raise ImageUnproven(
                f"{board.name}: the firmware also runs with {STEP} B of arena less than the {arena.reserved:,} B that "
                "were measured as the smallest",
                next_step="a fault of this project: keep the model and report it",
            )
        if run.arena_bytes != arena.reserved:
            raise ImageUnproven(
                f"the image reserves {run.arena_bytes:,} B of arena, not the measured {arena.reserved:,} B"
            )
    size = size_report(image.built.map, board, stack_bytes=run.stack_bytes)
    return replace(image, arena=arena.model_copy(update={"one_step_less": said}), size=size)


def _bit_exact(outcome: GoldenOutcome) -> Rule:
    wrong = len(outcome.mismatches)
    reason = (
        f"frame {outcome.mismatches[0]}{f' and {wrong - 1} more' if wrong > 1 else ''}: other bytes than TFLM on the "
        f"host; the first differing layer is {outcome.first_layer}"
        if wrong
        else f"{outcome.frames} golden frames, the same bytes as TFLM on the host and, for "
        f"{outcome.compared_with_reference}, TFLite's reference kernels"
    )
    return Rule(name="bit_exact", passed=not wrong, figure=wrong, limit=0, reason=reason)


def _in_time(timing: Timing, board: Board) -> Rule:
    took = f"{timing.most:,} instructions an inference, about {timing.seconds:.2f} s at {board.clock_hz / 1e6:.0f} MHz"
    allowed = f"{timing.limit:,} ({board.seconds(timing.limit):.2f} s)"
    passed = timing.most <= timing.limit
    reason = f"{took}, of {allowed}" if passed else f"{took}: more than the {allowed} allowed"
    return Rule(name="instructions", passed=passed, figure=timing.most, limit=timing.limit, reason=reason)


def image_files(image: Image) -> dict[str, bytes]:
    """Name -> content of what is kept of an image without a proof."""
    return {
        "firmware.elf": image.built.elf,
        **image.built.binaries,
        "firmware.map": image.built.map.encode(),
        "contract.json": image.contract.text().encode(),
        "model.tflite": image.model,
        "size.json": image.size.model_dump_json(indent=1).encode(),
        "build.log": image.built.log.encode(),
    }


def proof_files(proof: Proof, golden: GoldenFrames) -> dict[str, bytes]:
    """Name -> content of what is kept of a proof."""
    frames, outputs = io.BytesIO(), io.BytesIO()
    np.save(frames, golden.pixels)
    np.save(outputs, proof.run.outputs)
    names = [{"name": n, "kind": k} for n, k in zip(golden.names, golden.kinds, strict=True)]
    return {
        "transcript.txt": proof.run.transcript.encode(),
        "golden-frames.npy": frames.getvalue(),
        "golden-outputs.npy": outputs.getvalue(),
        "golden-names.json": json.dumps(names, indent=1).encode(),
    }
