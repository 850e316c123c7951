"""The `f2f` command. Each subcommand is a module in `deployments/commands/`, imported only when it is called."""

import sys

import click

from deployments.lazy_group import Commands, LazyGroup
from tasks.errors import PipelineError

COMMANDS: Commands = {
    "up": ("deployments.commands.up", "Start the local stack: S3 and Prefect servers, worker, reports."),
    "down": ("deployments.commands.down", "Stop the local stack; data stays."),
    "status": ("deployments.commands.status", "Show what runs and where."),
    "worker": ("deployments.commands.worker", "Run flows here, beside the local stack or on a second machine."),
    "data": ("deployments.commands.data", "Check frames and labels before a model learns from them."),
    "import": ("deployments.commands.import_frames", "Upload labelled images as frames and index them."),
    "check-frames": ("deployments.commands.check_frames", "Say of every file of a folder whether it is accepted."),
    "demo": ("deployments.commands.demo", "The main job on composed demo frames, from nothing to the verdict."),
    "demo-frames": ("deployments.commands.demo_frames", "Compose labelled demo frames from photographs in packages."),
    "device": ("deployments.commands.device", "Devices that may upload frames and nothing more."),
    "ingest": ("deployments.commands.ingest", "Index the frames that landed in the bucket since the last look."),
    "watch": ("deployments.commands.watch", "One look: index what landed, start a retrain if enough is new."),
    "retrain": ("deployments.commands.retrain", "Data set, validation, training, INT8, verdict, verified firmware."),
    "sweep": ("deployments.commands.sweep", "Compare widths and input sizes: accuracy against size, memory and MACs."),
    "audit": ("deployments.commands.audit", "Say whether a .tflite is fit for TensorFlow Lite Micro, and why not."),
    "evaluate": ("deployments.commands.evaluate", "Judge a .tflite or .keras model on a folder of labelled images."),
    "firmware": ("deployments.commands.firmware", "Build, run and measure firmware of any audited .tflite."),
    "promote": ("deployments.commands.promote", "Release a passed candidate, if it holds up against the channel."),
    "rollback": ("deployments.commands.rollback", "Point a channel at an earlier release, with a reason."),
    "releases": ("deployments.commands.releases", "List releases and what each channel holds."),
    "verify": ("deployments.commands.verify", "Check a release: signature, every byte, lineage, channel revision."),
    "lineage": ("deployments.commands.lineage", "The frames behind a release, or the releases a frame is in."),
    "forget": ("deployments.commands.forget", "Take frames out of all later data sets; with --erase, for good."),
    "alerts": ("deployments.commands.alerts", "Who is told when something goes wrong: webhook, Slack, mail."),
    "export": ("deployments.commands.export", "Bring the newest passed model with report and manifest to a folder."),
}


class _Commands(LazyGroup):
    lazy = COMMANDS


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="frames2firmware")
def cli() -> None:
    """frames2firmware: camera frames in, verified microcontroller firmware out."""


def main() -> None:
    """Entry point of `f2f`: errors a person can act on are printed in two lines, exit code 1; Ctrl-C exits 130."""
    try:
        cli(standalone_mode=False)
    except PipelineError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: what was finished is stored, run the same command again to go on", err=True)
        sys.exit(130)
