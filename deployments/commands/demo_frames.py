"""`f2f demo-frames`: labelled frames for a machine that has none."""

import json
from pathlib import Path

import click

from tasks.demo_scenes import DEVICES

DEFAULT_COUNT = 6000
__all__ = ["DEFAULT_COUNT", "DEVICES", "command"]


@click.command(epilog="Exit codes: 0 done, 1 the folder cannot be used or a package is missing, 2 wrong usage.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--count",
    type=click.IntRange(20, 100_000),
    default=DEFAULT_COUNT,
    show_default=True,
    help="Frames, half of them person.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 999),
    default=0,
    show_default=True,
    help="Another seed composes other frames of the same photographs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(folder: Path, count: int, seed: int, as_json: bool) -> None:
    """Compose labelled demo frames into FOLDER from photographs that installed packages ship.

    FOLDER gets person/, no_person/ and manifest.csv. Equal arguments give equal files; a second run writes nothing,
    an interrupted one goes on. 6,000 frames give 912 sessions to test on; the gate's default limits need 299 at least.

    They prove the pipeline, not the accuracy: 100 small frontal faces pasted into photographs are not people in
    front of a camera. Use your own frames for that.

    \b
    Example:
      f2f demo-frames demo/
      f2f import demo/ --device demo --manifest demo/manifest.csv
    """
    from deployments.progress_bar import progress_bar
    from tasks.demo_folder import write_frames

    with progress_bar("composing") as show:
        result = write_frames(folder, count=count, seed=seed, progress=show)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "folder": str(folder),
                    "frames": result.frames,
                    "written": result.written,
                    "kept": result.kept,
                    "manifest": str(folder / "manifest.csv"),
                }
            )
        )
        return
    if result.written:
        click.echo(f"{result.frames} demo frames in {folder} ({result.written} written, {result.kept} already there)")
    else:
        click.echo(f"{result.frames} demo frames in {folder}, all there already")
    click.echo(f"next: f2f import {folder} --device demo --manifest {folder / 'manifest.csv'}")
