"""What `f2f firmware build` and `run` have in common: options, and the image that they ask for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tasks.boards import BOARDS
from tasks.firmware_image import Wanted


def image_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """MODEL, --board, --threshold and the limits; the command gets them as `model` and `wanted` after `wanted_from`."""
    options = (
        click.argument("model", type=click.Path(path_type=Path)),
        click.option(
            "--board",
            type=click.Choice(list(BOARDS)),
            default="mps2-an386",
            show_default=True,
            help="Which board (`f2f firmware boards` lists them).",
        ),
        click.option(
            "--threshold",
            type=click.FloatRange(0, 1, min_open=True, max_open=True),
            default=0.5,
            show_default=True,
            help="Score from which a frame speaks for a person.",
        ),
        click.option("--no-decision", is_flag=True, help="The model is no detector: outputs only, no threshold."),
        click.option(
            "--arena", type=click.IntRange(min=16), help="Reserve so many bytes instead of the measured ones."
        ),
        click.option("--max-flash", type=click.IntRange(min=1), help="Bytes of flash that the image may take."),
        click.option("--max-ram", type=click.IntRange(min=1), help="Bytes of RAM that the image may take."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def wanted_from(
    board: str,
    threshold: float,
    no_decision: bool,
    arena: int | None,
    max_flash: int | None,
    max_ram: int | None,
    max_instructions: int | None = None,
) -> Wanted:
    """The image that the options ask for, with the engine that the environment names."""
    from tasks.boards import find_board
    from tasks.cargo_build import Engine
    from tasks.firmware_image import Wanted
    from tasks.parameters import BoardLimits

    if arena is not None and arena % 16:
        raise click.BadParameter(f"{arena} is no multiple of 16: TFLM aligns to 16 bytes", param_hint="--arena")
    limits = BoardLimits(flash_bytes=max_flash or 0, ram_bytes=max_ram or 0, max_instructions=max_instructions or 0)
    return Wanted(
        find_board(board),
        Engine.from_environment(),
        None if no_decision else threshold,
        limits=limits,
        arena_bytes=arena or 0,
    )
