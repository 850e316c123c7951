"""Fixtures of the firmware's tests: the example model and its images."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.boards import find_board
from tasks.cargo_build import Engine
from tasks.firmware_image import Image, Wanted, build_image
from tests.firmware.example_model import PATH

EMULATED = ("mps2-an386", "mps2-an500", "mps3-an547")


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


def children(name: str) -> list[str]:
    """Command lines of this process's children that have `name` in their first word."""
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if name in words[0] and int(parent) == os.getpid():
            lines.append(" ".join(words))
    return lines
