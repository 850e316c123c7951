"""Firmware images for tests of what people are shown. The figures are those of a real build of MLPerf Tiny's visual
wake words model for mps2-an386 with the registry's TFLM; its smallest contributors are one line here.
"""

from collections.abc import Sequence
from typing import Any

from tasks.arena import ArenaFigures
from tasks.boards import find_board
from tasks.firmware_records import ArenaReport, EngineFacts, FirmwareImage, GoldenOutcome, Timing
from tasks.lineage import Rule, digest_of
from tasks.parameters import BoardLimits, HysteresisParameters
from tasks.size_report import Contributor, Group, Region, Section, SizeReport

ARENA, STACK = 141_280, 23_940
LAYER = "operator 12 CONV_2D (output 'model/conv_3/Relu', int8): 3 of 9,216 bytes differ, by 1 step at most"
SAID = (
    "TFLM did not get ready with an arena of 141264 B: Arena size is too small for activation buffers. Needed 64512 "
    "but only 64496 was available."
)
KINDS = {"black": 1, "white": 1, "noise": 1, "gradient": 1, "checkerboard": 1, "hardest": 14}
FILES = (
    "firmware.elf", "firmware.bin", "firmware.map", "contract.json", "model.tflite", "size.json", "build.log",
    "transcript.txt", "golden-frames.npy", "golden-outputs.npy", "golden-names.json",
)  # fmt: skip
# name, group, bytes of flash, bytes of RAM
_CONTRIBUTORS: tuple[tuple[str, Group, int, int], ...] = (
    ("model weights", "weights", 333_296, 0),
    ("tensor arena", "arena", 0, 141_312),
    ("stack", "stack", 0, STACK),
    ("TFLM core flatbuffer_conversions", "tflm core", 8_372, 0),
    ("crate core", "rust", 7_620, 0),
    ("merged strings", "strings", 6_845, 0),
    ("crate qemu_mps", "rust", 6_406, 400),
    ("crate tflm", "rust", 5_928, 0),
    ("TFLM kernel conv", "tflm kernels", 4_080, 32),
    ("TFLM kernel depthwise_conv", "tflm kernels", 3_864, 32),
    ("TFLM core micro_allocator", "tflm core", 3_876, 0),
    ("TFLM kernel softmax", "tflm kernels", 3_828, 32),
    ("Rust literals", "rust", 3_844, 0),
    ("TFLM kernel fully_connected", "tflm kernels", 2_676, 32),
    ("TFLM kernel pooling", "tflm kernels", 2_260, 32),
    ("newlib impure", "c library", 1_072, 1_072),
    ("crate detector", "rust", 1_596, 0),
    ("vector table", "vectors", 1_024, 0),
    ("libgcc arm_muldivdf3", "compiler runtime", 1_060, 0),
    ("the other 43", "other", 12_337, 352),
)
_SECTIONS = (
    (".vector_table", 1_024, "FLASH", "flash"),
    (".text", 62_920, "FLASH", "flash"),
    (".rodata", 11_464, "FLASH", "flash"),
    (".model", 333_296, "FLASH", "flash"),
    (".data", 1_280, "RAM", "both"),
    (".bss", 648, "RAM", "ram"),
    (".tensor_arena", 141_312, "RAM", "ram"),
)


def example_image(
    board: str = "mps2-an386",
    *,
    int8: str = digest_of("int8"),
    different: Sequence[str] = (),
    layer: str = LAYER,
    limits: BoardLimits = BoardLimits(),  # noqa: B008 - frozen
    emulated: bool = True,
) -> FirmwareImage:
    """An image that passed, unless frames are `different` or `limits` are too tight. `emulated` False: never run."""
    found = find_board(board)
    flash, ram = limits.flash_bytes or found.flash_bytes, limits.ram_bytes or found.ram_bytes
    size = _size(flash, ram)
    timing, outcome = _timing(found.clock_hz, limits.max_instructions), _outcome(tuple(different), layer)
    rules = [
        *([_bit_exact(outcome), _instructions(timing)] if emulated else []),
        _budget("flash", size.flash_used, flash),
        _budget("ram", size.ram_used, ram),
    ]
    run: dict[str, Any] = {
        "contains": EngineFacts(revision="registry", kernels="reference", sources_sha256=digest_of("sources")),
        "timing": timing,
        "outcome": outcome,
    }
    return FirmwareImage(
        int8=int8,
        board=board,
        engine="registry tfmicro 0.1.0",
        toolchain={
            "rustc": "1.95.0 (59807616e 2026-04-14)",
            "arm-none-eabi-gcc": "12.2.1 20221205 (15:12.2.rel1-1)",
            "qemu-system-arm": "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)",
        },
        golden=digest_of("golden"),
        threshold=0.5,
        hysteresis=HysteresisParameters(),
        limits=limits,
        code_version=digest_of("code"),
        files={name: digest_of((board, name)) for name in FILES},
        size=size,
        arena=ArenaReport(
            lower_bound=55_296,
            host=ArenaFigures(used=103_680, smallest=103_696),
            target=ArenaFigures(used=141_264, smallest=ARENA) if emulated else None,
            reserved=ARENA,
            one_step_less=SAID if emulated else "",
        ),
        stack_bytes=STACK,
        rules=tuple(rules),
        passed=all(rule.passed for rule in rules),
        seconds=75.1,
        **(run if emulated else dict.fromkeys(run)),
    )


def _size(flash_budget: int, ram_budget: int) -> SizeReport:
    contributors = [Contributor(name=n, group=g, flash=f, ram=r) for n, g, f, r in _CONTRIBUTORS]
    flash, ram = sum(one.flash for one in contributors), sum(one.ram for one in contributors)
    return SizeReport(
        sections=tuple(
            Section.model_validate(
                {"name": name, "address": 0, "load_address": 0, "size": size, "memory": memory, "kind": kind}
            )
            for name, size, memory, kind in _SECTIONS
        ),
        regions=(
            Region(name="FLASH", kind="flash", used=flash, size=4 << 20),
            Region(name="RAM", kind="ram", used=ram, size=4 << 20),
        ),
        contributors=tuple(contributors),
        flash_used=flash,
        flash_budget=flash_budget,
        ram_used=ram,
        ram_budget=ram_budget,
    )


def _timing(clock_hz: int, limit: int) -> Timing:
    most = 234_419_920
    return Timing(
        least=234_307_240,
        median=234_355_160,
        most=most,
        feed=726_640,
        limit=limit or 5_000_000_000,
        clock_hz=clock_hz,
        seconds=most / clock_hz,
    )


def _outcome(different: tuple[str, ...], layer: str) -> GoldenOutcome:
    frames = sum(KINDS.values())
    return GoldenOutcome(
        frames=frames,
        kinds=KINDS,
        host="TFLM (tflite-micro 0.dev20261023182759)",
        reference="TFLite's reference kernels (ai-edge-litert 2.3.0)",
        compared_with_host=frames,
        compared_with_reference=frames,
        mismatches=different,
        first_layer=layer if different else "",
    )


def _bit_exact(outcome: GoldenOutcome) -> Rule:
    wrong = len(outcome.mismatches)
    said = (
        f"frame {outcome.mismatches[0]}: other bytes than TFLM on the host; the first differing layer is "
        f"{outcome.first_layer}"
        if wrong
        else f"{outcome.frames} golden frames, the same bytes as TFLM on the host"
    )
    return Rule(name="bit_exact", passed=not wrong, figure=wrong, limit=0, reason=said)


def _instructions(timing: Timing) -> Rule:
    said = f"{timing.most:,} instructions an inference, of {timing.limit:,}"
    return Rule(
        name="instructions", passed=timing.most <= timing.limit, figure=timing.most, limit=timing.limit, reason=said
    )


def _budget(name: str, used: int, budget: int) -> Rule:
    said = f"{used:,} B of {budget:,} B {name}"
    if used > budget:
        said = f"the image takes {said}; the biggest contributors are model weights (333,296 B), tensor arena"
    return Rule(name=name, passed=used <= budget, figure=used, limit=budget, reason=said)
