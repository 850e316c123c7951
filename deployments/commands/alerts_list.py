"""`f2f alerts list`: who is told."""

import json

import click

from deployments.commands.alerts_server import reach_server


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list on stdout, one object a target.")
def command(as_json: bool) -> None:
    """Show the targets: name, kind, host, and what came of the newest alert. Never an address or a password."""
    reach_server()
    from deployments.alert_targets import targets, with_last

    found = [with_last(target) for target in targets()]
    if as_json:
        rows = [{"name": t.name, "kind": t.kind, "host": t.host, "last": t.last or None} for t in found]
        click.echo(json.dumps(rows, indent=1))
        return
    if not found:
        click.echo("nobody is told: f2f alerts add webhook URL", err=True)
    for target in found:
        click.echo(f"{target.name}  {target.kind}  {target.host}  {target.last or 'no alert yet'}")
