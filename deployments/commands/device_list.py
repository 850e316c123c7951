"""`f2f device list`: who may upload."""

import click


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list on stdout; tokens are not in it.")
def command(as_json: bool) -> None:
    """List the devices that may upload, with the time when each was added.

    Exit codes: 0 listed, 1 the bucket does not answer.
    """
    import json

    from tasks.devices import devices
    from tasks.store import open_store

    found = devices(open_store())
    if as_json:
        click.echo(json.dumps([one.model_dump(mode="json", include={"name", "added_at"}) for one in found], indent=1))
        return
    for one in found:
        click.echo(f"{one.name:<32} added {one.added_at:%Y-%m-%d %H:%M:%S} UTC")
    if not found:
        click.echo("no device may upload yet: `f2f device add NAME`", err=True)
