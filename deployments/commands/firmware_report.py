"""`f2f firmware report`: where flash and RAM of a built image go."""

import json
from pathlib import Path

import click

from tasks.errors import PipelineError


@click.command("report")
@click.argument("folder", metavar="IMAGE", type=click.Path(path_type=Path))
@click.option("--top", type=click.IntRange(1, 1000), default=20, show_default=True, help="Contributors to list.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Draw the memory bars into this file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
def command(folder: Path, top: int, svg: Path | None, as_json: bool) -> None:
    """Show what takes flash and RAM in IMAGE, a folder that `f2f firmware build` made: sections, crates, kernels.

    \b
    Example:   f2f firmware report firmware-mps2-an386 --top 10

    Exit codes: 0 shown, 1 no image there.
    """
    from tasks.size_plot import memory_bars
    from tasks.size_report import SizeReport

    try:
        size = SizeReport.model_validate_json((folder / "size.json").read_text())
        facts = json.loads((folder / "build.json").read_text())
    except (OSError, ValueError) as error:
        raise PipelineError(
            f"{folder} is no image: {error}", next_step="`f2f firmware build MODEL` makes one and says where"
        ) from error
    if svg:
        svg.write_text(memory_bars(size))
    if as_json:
        click.echo(json.dumps({**facts, "size": size.model_dump()}, indent=1))
        return
    click.echo(f"{facts['board']}, TFLM {facts['engine']}, arena {facts['arena_bytes']:,} B")
    click.echo(
        f"flash {size.flash_used:,} B of {size.flash_budget:,} B, RAM {size.ram_used:,} B of {size.ram_budget:,} B\n"
    )
    click.echo(f"{'section':<32} {'memory':<8} {'bytes':>12}")
    for section in size.sections:
        click.echo(f"{section.name:<32} {section.memory:<8} {section.size:>12,}")
    click.echo(f"\n{'contributor':<44} {'group':<16} {'flash':>12} {'RAM':>12}")
    for one in size.contributors[:top]:
        click.echo(f"{one.name[:44]:<44} {one.group:<16} {one.flash:>12,} {one.ram:>12,}")
    if len(size.contributors) > top:
        click.echo(f"and {len(size.contributors) - top} more (--top, --json)")
