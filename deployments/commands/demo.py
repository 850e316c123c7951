"""`f2f demo`: the main job on composed frames, from nothing to the verdict."""

import sys

import click

from deployments.commands.demo_frames import DEFAULT_COUNT
from tasks.parameters import FirmwareParameters
from tasks.settings import settings
from tasks.toolchain import MissingTool


@click.command()
@click.option("--count", default=DEFAULT_COUNT, show_default=True, help="Frames to compose.")
@click.pass_context
def command(ctx: click.Context, count: int) -> None:
    """Start the local stack, compose demo frames, import them, retrain, judge, build and prove the firmware.

    It proves the pipeline, not the accuracy: the frames are composed from photographs that Python packages ship. A
    second run finds everything done and only says so. Without the firmware's tool chain it ends with the verdict.

    Exit codes as of `f2f retrain`: 0 passed, 3 rejected, 1 failed.
    """
    from deployments.commands import demo_frames, import_frames, up
    from deployments.commands.retrain import run_retrain
    from flows.parameters import RetrainParameters
    from tasks.parameters import DatasetParameters, TrainParameters
    from tasks.store import open_store

    folder = settings().data_dir / "demo-frames"
    ctx.invoke(up.command)
    settings.cache_clear()  # `up` has just written where things are
    open_store.cache_clear()
    click.echo(f"\n== frames: {folder}", err=True)
    ctx.invoke(demo_frames.command, folder=folder, count=count)
    click.echo("\n== import", err=True)
    ctx.invoke(import_frames.command, folder=folder, device="demo", manifest=folder / "manifest.csv")
    click.echo("\n== retrain", err=True)
    parameters = RetrainParameters(
        firmware=_firmware(),
        dataset=DatasetParameters(devices=demo_frames.DEVICES),
        train=TrainParameters(
            alpha=0.35,
            width=96,
            height=72,
            weights="none",  # Keras' own are on a server that a machine with package registries alone does not reach
            # From scratch a rate that falls to zero leaves fewer answers near the threshold than a plateau does, and
            # those are the ones that quantization changes: a loss of 0.17 points instead of 0.60 in one run of each.
            schedule="cosine",
            warmup_epochs=1,
            fine_tune_epochs=25,
            fine_tune_learning_rate=2e-3,
            weight_decay=1e-3,
            patience=25,
        ),
    )
    sys.exit(run_retrain(parameters))


def _firmware() -> FirmwareParameters:
    """All emulated boards; none, and a line that says why, where their firmware cannot be built here."""
    from tasks.firmware import check_firmware

    try:
        check_firmware(FirmwareParameters())
    except MissingTool as missing:
        click.echo(f"WARNING: no firmware in this demo: {missing}", err=True)
        return FirmwareParameters(boards=())
    return FirmwareParameters()
