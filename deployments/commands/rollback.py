"""`f2f rollback`: a channel back to an earlier release."""

import click


@click.command()
@click.argument("release", type=click.IntRange(min=1), required=False)
@click.option("--reason", required=True, help="Why; it is stored and shown with the revision.")
@click.option("--channel", default="stable", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the channel's new revision as JSON.")
def command(release: int | None, reason: str, channel: str, as_json: bool) -> None:
    """Point a channel at release RELEASE (without it: at the one that it held before).

    It is a new, signed revision of the channel, which names the release and the reason. What it leaves is not promoted
    again by itself, only a newer release is; a second rollback may go there.

    \b
    Examples:
      f2f rollback --reason "hall cameras see ghosts since Monday"
      f2f rollback 3 --reason "last one before the new lenses"

    Exit codes: 0 the channel moved, 1 it did not.
    """
    from deployments.assignments import parse
    from deployments.stack import apply_stack_environment
    from flows.parameters import RollbackParameters

    parameters = parse(RollbackParameters, (), {"reason": reason, "release": release or 0, "channel": channel})
    apply_stack_environment()
    from flows.rollback import rollback

    moved = rollback(parameters)
    if as_json:
        click.echo(moved.model_dump_json(indent=1))
    click.echo(f"channel {moved.name}: release {moved.release}, revision {moved.revision} ({moved.reason})", err=True)
