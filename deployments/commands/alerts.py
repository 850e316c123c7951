"""`f2f alerts`: who is told when something goes wrong."""

import click

from deployments.lazy_group import Commands, LazyGroup

COMMANDS: Commands = {
    "add": ("deployments.commands.alerts_add", "Tell a webhook, a Slack channel or somebody by mail."),
    "list": ("deployments.commands.alerts_list", "Show who is told, and what came of the newest alert."),
    "test": ("deployments.commands.alerts_test", "Send a test alert and say what the receiver answered."),
    "remove": ("deployments.commands.alerts_remove", "Tell a target no more."),
}


class _Commands(LazyGroup):
    lazy = COMMANDS


@click.group("alerts", cls=_Commands)
def command() -> None:
    """Who is told when quantization degrades a model, a data set is refused, a run crashes or a device falls silent.

    The alerts are Prefect automations, made by `f2f up` from deployments/automations/; the Prefect UI shows them and
    can switch each off. Targets are Prefect blocks: their addresses and passwords lie encrypted on the Prefect server
    and nowhere else, and only a host is ever shown. What a receiver answers never fails a run.

    \b
    Examples:
      f2f alerts add webhook https://ops.example.com/hooks/tinyml
      f2f alerts add slack -              (the address is read from standard input, out of the shell's history)
      f2f alerts test
    """
