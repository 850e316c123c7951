"""Fixtures of the firmware's tests: the tool chain, skipped by name where it is not, and the example model's images."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.boards import find_board
from tasks.cargo_build import Engine, check_tools
from tasks.firmware_image import Image, Wanted, build_image
from tasks.toolchain import MissingTool, find_qemu
from tests.firmware.example_model import PATH

EMULATED = ("mps2-an386", "mps2-an500", "mps3-an547")


@pytest.fixture(scope="session")
def arm_tools() -> None:
    """Rust, Arm's GCC and QEMU; tests that need them are skipped where one is missing, with its name."""
    try:
        for board in EMULATED:
            check_tools(find_board(board))
        find_qemu()
    except MissingTool as missing:
        pytest.skip(f"needs the firmware tool chain: {missing.message} (`make firmware-tools` installs it)")


@pytest.fixture(scope="session")
def example() -> bytes:
    """The small model that lies with the firmware."""
    return PATH.read_bytes()


@pytest.fixture(scope="session")
def image_of(arm_tools: None, example: bytes) -> Callable[[str], Image]:
    """The example model's image of a board, built once; its arena was measured by the emulated board."""
    made: dict[str, Image] = {}

    def of(board: str) -> Image:
        if board not in made:
            made[board] = build_image(example, Wanted(find_board(board), Engine()))
        return made[board]

    return of


def processes(name: str) -> list[str]:
    """Command lines of the running processes that have `name` in their first word."""
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if name in words[0]:
            lines.append(" ".join(words))
    return lines
