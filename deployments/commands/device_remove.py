"""`f2f device remove`: a device's token ends."""

import click


@click.command("remove")
@click.argument("name")
def command(name: str) -> None:
    """End NAME's token at once. Its frames stay; upload URLs that it already holds go on until they expire.

    Afterwards the name is free: `f2f device add NAME` gives it a new token.

    Exit codes: 0 removed, 1 there is no such device or the bucket does not answer.
    """
    from tasks.devices import remove
    from tasks.store import open_store

    remove(open_store(), name)
    click.echo(f"{name} gets no more upload URLs; those that it holds end when they expire, in 7 days at the latest")
