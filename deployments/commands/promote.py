"""`f2f promote`: a passed candidate becomes a release."""

import sys

import click

from deployments.assignments import described, parse
from flows.parameters import PromoteRunParameters


@click.command()
@click.argument("assignments", nargs=-1, metavar="[NAME=VALUE ...]")
@click.option("--publish", is_flag=True, help="Really publish; without it this is a dry run.")
@click.option("--parameters", "list_parameters", is_flag=True, help="List every parameter with default and bounds.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON on stdout; logs go to stderr.")
def command(assignments: tuple[str, ...], publish: bool, list_parameters: bool, as_json: bool) -> None:
    """Compare a candidate that passed its gate with the model in the channel, and release it.

    Both models see the candidate's test frames, on the device's own kernels. The candidate must be better, or behind by
    no more than compare.max_behind_bound at 95 % confidence; every device with enough frames must reach its floor; and
    no board that has an image now may lose it. The release is signed; the key comes from F2F_SIGNING_KEY, from
    F2F_SIGNING_KEY_FILE, or is the one that `f2f up` made.

    \b
    Examples:
      f2f promote                               what would happen to the newest passed candidate
      f2f promote --publish
      f2f promote candidate=3fa9 channel=beta --publish

    Exit codes: 0 released, already there, or would be released; 3 the channel keeps what it has; 1 failed.
    """
    if list_parameters:
        click.echo(described(PromoteRunParameters))
        return
    defaults = {"promote.dry_run": not publish}
    parameters = parse(PromoteRunParameters, assignments, defaults)
    from deployments.stack import apply_stack_environment

    apply_stack_environment()
    from flows.promote import promote

    found = promote(parameters)
    if as_json:
        click.echo(found.model_dump_json(indent=1))
    click.echo(found.sentence, err=True)
    for rule in found.comparison.rules if found.comparison else ():
        click.echo(f"  {'ok    ' if rule.passed else 'BROKEN'} {rule.name}: {rule.reason}", err=True)
    if found.outcome == "would":
        click.echo("publish it: f2f promote --publish", err=True)
    sys.exit(3 if found.outcome in ("kept", "superseded") else 0)
