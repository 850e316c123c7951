"""`f2f alerts remove`: one target less."""

import click

from deployments.commands.alerts_server import reach_server


@click.command("remove")
@click.argument("name")
def command(name: str) -> None:
    """Tell the target NAME no more, and delete its address from the Prefect server.

    Exit codes: 0 removed, 1 there is none of that name.
    """
    reach_server()
    from deployments.alert_targets import find, remove, targets
    from deployments.alerts import reconcile

    target = find(name)
    reconcile(to=[one for one in targets() if one.name != name])  # first: no automation may name a block that is gone
    remove(target)
    click.echo(f"removed {name}", err=True)
