"""The boards that firmware is built for: processor, memories, clock, budgets, and the emulator's machine."""

from dataclasses import dataclass, field

from tasks.errors import PipelineError
from tasks.toolchain import FIRMWARE


class UnknownBoard(PipelineError):
    """A board that this project has no firmware for."""


@dataclass(frozen=True)
class Memory:
    """A region of the linker script. `kind`: flash holds what never changes, ram the rest."""

    name: str
    kind: str
    start: int
    size: int  # bytes


@dataclass(frozen=True)
class Board:
    """A board. Sizes in bytes.

    `flash_budget`, `ram_budget` and `max_instructions` are what an image may take; all three can be set tighter by a
    parameter. `clock_hz` is the processor's clock on the real board; the estimated time of an inference is one
    instruction a cycle at that clock, which real cores miss or beat by a factor of two.
    """

    name: str
    title: str
    package: str  # folder below firmware/boards
    feature: str  # of that package; "" where it has none
    target: str  # Rust's target triple
    cpu: str  # Rust's -C target-cpu
    clock_hz: int
    memories: tuple[Memory, ...]
    machine: str = ""  # QEMU's name; "" where no emulator has it
    ticks_per_second: int = 0  # of the timer that the firmware reads; with -icount shift=0 an instruction takes 1 ns
    arena_limit: int = 0  # largest arena that leaves room for stack and statics
    max_instructions: int = 5_000_000_000
    notes: str = ""
    flash_budget: int = field(default=0)
    ram_budget: int = field(default=0)

    def size(self, kind: str) -> int:
        """All memory of a kind."""
        return sum(memory.size for memory in self.memories if memory.kind == kind)

    @property
    def flash_bytes(self) -> int:
        """What an image may take of the flash."""
        return self.flash_budget or self.size("flash")

    @property
    def ram_bytes(self) -> int:
        """What an image may take of the RAM, stack included."""
        return self.ram_budget or self.size("ram")

    @property
    def emulated(self) -> bool:
        """Whether QEMU runs it."""
        return bool(self.machine)

    def seconds(self, instructions: int) -> float:
        """Estimated time of so many instructions: one a cycle."""
        return instructions / self.clock_hz


_MPS2 = (Memory("FLASH", "flash", 0x0000_0000, 4 << 20), Memory("RAM", "ram", 0x2000_0000, 4 << 20))
_ARENA_LIMIT = (4 << 20) - (128 << 10)

BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        Board(
            name="mps2-an386",
            title="Arm MPS2 with AN386: Cortex-M4F",
            package="qemu-mps",
            feature="an386",
            target="thumbv7em-none-eabihf",
            cpu="cortex-m4",
            clock_hz=25_000_000,
            memories=_MPS2,
            machine="mps2-an386",
            ticks_per_second=25_000_000,
            arena_limit=_ARENA_LIMIT,
        ),
        Board(
            name="mps2-an500",
            title="Arm MPS2 with AN500: Cortex-M7",
            package="qemu-mps",
            feature="an500",
            target="thumbv7em-none-eabihf",
            cpu="cortex-m7",
            clock_hz=25_000_000,
            memories=_MPS2,
            machine="mps2-an500",
            ticks_per_second=25_000_000,
            arena_limit=_ARENA_LIMIT,
        ),
        Board(
            name="mps3-an547",
            title="Arm MPS3 with AN547 (Corstone SSE-300): Cortex-M55",
            package="qemu-mps",
            feature="an547",
            target="thumbv8m.main-none-eabihf",
            cpu="cortex-m55",
            clock_hz=32_000_000,
            memories=(
                Memory("FLASH", "flash", 0x1000_0000, 512 << 10),
                Memory("QSPI", "flash", 0x3800_0000, 8 << 20),
                Memory("RAM", "ram", 0x3100_0000, 4 << 20),
            ),
            machine="mps3-an547",
            ticks_per_second=32_000_000,
            arena_limit=_ARENA_LIMIT,
        ),
        Board(
            name="xiao-esp32s3",
            title="Seeed XIAO ESP32-S3 Sense: Xtensa LX7, OV2640 camera",
            package="xiao-esp32s3",
            feature="",
            target="xtensa-esp32s3-none-elf",
            cpu="esp32s3",
            clock_hz=240_000_000,
            # Flash is seen through two windows, data and code; the partition is smaller than either. RAM code shares
            # the SRAM with data. The PSRAM follows the last mapped flash page at run time, so no section lies there.
            memories=(
                Memory("DROM", "flash", 0x3C00_0000, 8_323_072),
                Memory("IROM", "flash", 0x4200_0000, 8_323_072),
                Memory("SRAM", "ram", 0x3FC8_8000, 341_760),
                Memory("IRAM", "ram", 0x4037_8000, 341_760),
                Memory("BOOT", "ram", 0x3FCD_B700, 73_744),
            ),
            flash_budget=8_323_072,
            ram_budget=341_760 + 73_744 + (8 << 20),
            notes="needs Espressif's toolchain (espup); nothing emulates it here",
        ),
    )
}


def find_board(name: str) -> Board:
    """The board of this name. Raises `UnknownBoard` with the names that there are."""
    if name in BOARDS:
        return BOARDS[name]
    raise UnknownBoard(f"no board {name!r}", next_step=f"choose one of {', '.join(BOARDS)}")


def linker_script(board: Board) -> str:
    """The text of the board's memory layout, for the record and for a test that compares it with `memories`."""
    folder = FIRMWARE / "boards" / board.package
    name = f"memory-{board.feature}.x" if board.feature else "memory.x"
    return (folder / name).read_text()
