"""`f2f status`: what runs and where."""

import json
import sys

import click

from deployments.stack import PartStatus, as_json, status


@click.command()
@click.option("--json", "as_json_", is_flag=True, help="Print a JSON list on stdout, one object a part.")
def command(as_json_: bool) -> None:
    """Show each part of the stack: running, stopped or unhealthy, its address, process, memory and log.

    A part is running when its process is there and answers. Parts of your own (F2F_ENDPOINT_URL, PREFECT_API_URL) show
    no process.

    Exit codes: 0 all parts run, 1 at least one does not.
    """
    parts = status()
    click.echo(json.dumps(as_json(parts), indent=1) if as_json_ else _table(parts))
    sys.exit(0 if all(part.state == "running" for part in parts) else 1)


def _table(parts: list[PartStatus]) -> str:
    rows = [("part", "state", "process", "memory", "address", "log")]
    for part in parts:
        process = str(part.pid or "") if part.managed else "yours"
        memory = f"{part.memory_bytes / 1e6:.0f} MB" if part.memory_bytes else ""
        rows.append((part.name, part.state, process, memory, part.address, part.log or ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)
