"""`f2f alerts add`: one more target of alerts."""

import sys
from typing import TYPE_CHECKING

import click

from deployments.commands.alerts_server import reach_server

if TYPE_CHECKING:
    from deployments.alert_targets import Target


@click.group("add")
def command() -> None:
    """Tell one more target, from now on.

    \b
    Exit codes: 0 added, 1 refused (a bad address, a name that is taken, no Prefect server).
    """


@command.command("webhook")
@click.argument("url")
@click.option("--name", default="webhook", show_default=True, help="What the target is called.")
def webhook(url: str, name: str) -> None:
    """JSON by POST to URL ("-": read from standard input).

    \b
    {"alert", "subject", "text", "event", "id", "occurred", "resource", "payload"}

    `payload` has what the event carries in fields, e.g. `payload.loss.bound`; what comes twice has the same `id`. The
    Prefect server sends it, waits five seconds for an answer, and does not try again; `f2f alerts list` shows what came
    of the newest one.
    """
    reach_server()
    from deployments.alert_targets import add_webhook

    _tell_it(add_webhook(name, _secret(url)))


@command.command("slack")
@click.argument("url")
@click.option("--name", default="slack", show_default=True, help="What the target is called.")
def slack(url: str, name: str) -> None:
    """Messages to a Slack channel by its incoming webhook URL ("-": read from standard input)."""
    reach_server()
    from deployments.alert_targets import add_slack

    _tell_it(add_slack(name, _secret(url)))


@command.command("email")
@click.option("--smtp", required=True, metavar="HOST[:PORT]", help="The server that takes the mail.")
@click.option("--from", "sender", required=True, help="Sender's address.")
@click.option("--to", required=True, multiple=True, help="Receiver's address; may be given several times.")
@click.option("--user", default="", help="Account on the server; the password is asked for.")
@click.option("--password", envvar="F2F_SMTP_PASSWORD", hidden=True, default="")
@click.option(
    "--mode",
    type=click.Choice(["starttls", "ssl", "insecure"]),
    default="starttls",
    show_default=True,
    help="How the connection is encrypted.",
)
@click.option("--name", default="email", show_default=True, help="What the target is called.")
def email(smtp: str, sender: str, to: tuple[str, ...], user: str, password: str, mode: str, name: str) -> None:
    """Mail by SMTP. The password of --user is asked for, or taken from F2F_SMTP_PASSWORD.

    \b
    Example:
      f2f alerts add email --smtp mail.example.com:587 --user cam --from cam@example.com --to ops@example.com
    """
    if user and not password:
        password = click.prompt("password", hide_input=True, err=True)
    reach_server()
    from deployments.alert_targets import add_email

    _tell_it(add_email(name, smtp=smtp, mode=mode, sender=sender, to=list(to), user=user, password=password))


def _secret(argument: str) -> str:
    return sys.stdin.readline().strip() if argument == "-" else argument


def _tell_it(target: "Target") -> None:
    from deployments.alerts import reconcile

    reconcile()
    click.echo(
        f"added {target.name}: {target.kind} at {target.host}; `f2f alerts test {target.name}` tries it", err=True
    )
