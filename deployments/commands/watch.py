"""`f2f watch`: one look of the watch flow, in the foreground."""

import click

from deployments.assignments import described, parse
from flows.parameters import WatchParameters


@click.command()
@click.argument("assignments", nargs=-1, metavar="[NAME=VALUE ...]")
@click.option("--parameters", "list_parameters", is_flag=True, help="List every parameter with default and bounds.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout; logs go to stderr.")
def command(assignments: tuple[str, ...], list_parameters: bool, as_json: bool) -> None:
    """Index what landed, and start a retrain if there is enough that is new. One look, now.

    The same flow that runs every 15 minutes and when frames land; another look beside it does no harm. A retrain is
    started at policy.min_new_per_class new labelled frames of each class, at policy.min_new_fraction of the frames that
    the newest one had, or at policy.max_age_days; one that crashed is resumed. The retrain itself is run by a worker:
    this needs the Prefect server with the deployments (`f2f up`).

    \b
    Examples:
      f2f watch
      f2f watch min_new_per_class=50 retrain.train.alpha=0.35
      f2f watch --json

    Exit codes: 0 looked (whether a retrain was due or not), 1 failed.
    """
    if list_parameters:
        click.echo(described(WatchParameters))
        return
    parameters = parse(WatchParameters, assignments)
    from deployments.stack import apply_stack_environment

    apply_stack_environment()
    _check_server()
    from flows.watch import sentences, watch

    summary = watch(parameters)
    if as_json:
        click.echo(summary.model_dump_json(indent=1))
    for line in sentences(summary):
        click.echo(line, err=True)
    for run in summary.runs:
        click.echo(f"run {run.flow_run} of claim {run.claim}: {run.state}  {run.url or ''}".rstrip(), err=True)


def _check_server() -> None:
    """A look without a lasting server would start a retrain that nobody ever runs."""
    from prefect.settings import PREFECT_API_URL

    from tasks.errors import PipelineError

    url = PREFECT_API_URL.value()
    if not url:
        raise PipelineError(
            "no Prefect server: the stack does not run, and PREFECT_API_URL is not set",
            next_step="run `f2f up`, or set PREFECT_API_URL to a server of your own",
        )
    import httpx
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            error = client.api_healthcheck()
    except httpx.HTTPError as away:
        error = away
    if error:
        raise PipelineError(
            f"the Prefect server at {url} does not answer: {str(error) or type(error).__name__}",
            next_step="run `f2f up`, or start the server that PREFECT_API_URL names",
        )
