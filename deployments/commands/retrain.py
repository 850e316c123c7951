"""`f2f retrain`: the retrain flow in the foreground."""

import sys

import click

from deployments.assignments import described, parse
from flows.parameters import RetrainParameters


@click.command()
@click.argument("assignments", nargs=-1, metavar="[NAME=VALUE ...]")
@click.option("--parameters", "list_parameters", is_flag=True, help="List every parameter with default and bounds.")
@click.option("--json", "as_json", is_flag=True, help="Print the candidate as JSON on stdout; logs go to stderr.")
def command(assignments: tuple[str, ...], list_parameters: bool, as_json: bool) -> None:
    """From the frame index to a verdict, in the foreground, with progress.

    The same flow that the schedule and the Prefect UI start. Finished stages are found again, so after an interruption
    the same command goes on where it stopped.

    \b
    Examples:
      f2f retrain
      f2f retrain alpha=0.35 head_epochs=3 limits.min_accuracy=0.95
      f2f retrain weights=pretrained.keras fine_tune_layers=-1

    Exit codes: 0 passed, 3 rejected by the gate, 1 failed.
    """
    if list_parameters:
        click.echo(described(RetrainParameters))
        return
    parameters = parse(RetrainParameters, assignments)
    sys.exit(run_retrain(parameters, as_json=as_json))


def run_retrain(parameters: RetrainParameters, *, as_json: bool = False) -> int:
    """Runs the flow here and says how it ended; returns the exit code."""
    from deployments.stack import apply_stack_environment

    apply_stack_environment()
    from flows.retrain import retrain
    from tasks.lineage import Candidate
    from tasks.settings import settings

    state = retrain(parameters, return_state=True)
    candidate = state.result()  # raises what the flow failed with
    assert isinstance(candidate, Candidate)
    if as_json:
        click.echo(candidate.model_dump_json(indent=1))
    base = settings().public_base_url
    where = f"{base.rstrip('/')}/{candidate.html}" if base else f"{settings().bucket}/{candidate.html}"
    click.echo(f"{'PASSED' if candidate.passed else 'REJECTED'}: {state.message}", err=True)
    click.echo(f"report: {where}", err=True)
    return 0 if candidate.passed else 3
