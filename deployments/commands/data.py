"""`f2f data`: what somebody should look at before a model learns from it."""

import click

from deployments.lazy_group import Commands, LazyGroup

COMMANDS: Commands = {
    "check": ("deployments.commands.data_check", "Look for what is wrong with a folder's or a data set's frames."),
    "review": ("deployments.commands.data_review", "Export what was found, edit it, and import the decisions."),
}


class _Commands(LazyGroup):
    lazy = COMMANDS


@click.group("data", cls=_Commands)
def command() -> None:
    """Frames and labels: what is wrong with them, and setting it right."""
