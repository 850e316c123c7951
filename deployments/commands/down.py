"""`f2f down`: stops the local stack."""

import click

from deployments.stack import down


@click.command()
def command() -> None:
    """Stop what `f2f up` started: worker (its flow runs end as crashed), upload gate, event bridge, report, Prefect and
    S3 server. Data stay.

    An interrupted run loses nothing that was finished: started again, it goes on from there.

    Exit codes: 0 nothing of it runs any more (also when nothing did), 1 a process could not be ended.
    """
    stopped = down(say=lambda text: click.echo(text, err=True))
    click.echo(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running", err=True)
