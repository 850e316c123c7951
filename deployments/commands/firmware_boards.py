"""`f2f firmware boards`: what firmware can be built for."""

import json
from dataclasses import asdict

import click

from tasks.boards import BOARDS


@click.command("boards")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array on stdout and nothing else.")
def command(as_json: bool) -> None:
    """List the boards: processor, memories, clock, limits, and whether an emulator proves their images."""
    if as_json:
        click.echo(json.dumps([asdict(board) for board in BOARDS.values()], indent=1))
        return
    for board in BOARDS.values():
        proof = f"proven in QEMU ({board.machine})" if board.emulated else "not emulated: built only"
        click.echo(f"{board.name}: {board.title}; {proof}")
        click.echo(
            f"    flash {board.flash_bytes:,} B, RAM {board.ram_bytes:,} B, {board.clock_hz / 1e6:.0f} MHz, "
            f"at most {board.max_instructions:,} instructions an inference"
        )
        if board.notes:
            click.echo(f"    {board.notes}")
