"""`f2f alerts test`: does the receiver answer?"""

import sys

import click

from deployments.commands.alerts_server import reach_server
from tasks.errors import PipelineError


@click.command("test")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Send a test alert to the target NAME, or to every one, and say what each answered.

    It is sent from this machine. Real alerts are sent by the Prefect server: where that is another machine, it has to
    reach the receiver too; `f2f alerts list` shows what came of the newest one.

    Exit codes: 0 every one answered well, 1 at least one did not.
    """
    reach_server()
    from deployments.alert_targets import NotDelivered, find, send_test, targets

    chosen = [find(name)] if name else targets()
    if not chosen:
        raise PipelineError("there is no alert target to test", next_step="f2f alerts add webhook URL")
    failed = 0
    for target in chosen:
        try:
            said = send_test(
                target, "Test alert of frames2firmware", "Nothing is wrong: somebody ran `f2f alerts test`."
            )
            click.echo(f"{target.name}: {said}", err=True)
        except NotDelivered as error:
            failed += 1
            click.echo(f"error: {error}", err=True)
    sys.exit(1 if failed else 0)
