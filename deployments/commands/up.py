"""`f2f up`: the local stack."""

import click

from deployments.prefect_server import api_url, has_alert_target
from deployments.stack import up
from deployments.stack_settings import user_prefect_url


@click.command()
@click.option(
    "--no-prefect",
    is_flag=True,
    help="Only S3 and report server and upload gate; `f2f retrain` works without the rest.",
)
def command(no_prefect: bool) -> None:
    """Start what does not run yet: S3 server, Prefect server, worker with all deployments, report server, upload gate
    (devices ask it for upload URLs), event bridge (tells Prefect what landed).

    Everything listens on 127.0.0.1 and keeps its data in one folder (F2F_DATA_DIR, default .f2f), with random
    credentials that only you can read. Run it again at any time, after a crash or a reboot too: what is healthy is left
    alone. The first start installs the S3 server, which takes minutes where it has to be compiled.

    With your own S3 (F2F_ENDPOINT_URL) or Prefect server (PREFECT_API_URL) that part is only checked, not started.

    \b
    Examples:
      f2f up
      F2F_PREFECT_PORT=4300 f2f up     (or in .env, see .env.example)

    Exit codes: 0 everything runs, 1 something does not (it says what and why).
    """
    where = up(prefect=not no_prefect, say=_say)
    api = user_prefect_url() or api_url(where.prefect_port)
    flows = api.removesuffix("/api")
    if not no_prefect and has_alert_target(api) is False:
        _say("alerts: nobody is told when something goes wrong: f2f alerts add webhook URL (or slack, email)")
    _say(f"ready. {'' if no_prefect else f'Flows: {flows}  '}Reports: {where.public_base_url}")


def _say(text: str) -> None:
    click.echo(text, err=True)
