"""`f2f lineage`: the frames behind a release, and the releases that a frame is in."""

import errno
import json
import os
import sys
from typing import TYPE_CHECKING

import click

from tasks.errors import PipelineError

if TYPE_CHECKING:
    from tasks.store import Store


@click.command()
@click.argument("release", type=click.IntRange(min=1), required=False)
@click.option("--frame", metavar="SHA", help="SHA-256 of a frame's file, or of its pixels: list the releases it is in.")
@click.option("--json", "as_json", is_flag=True, help="JSON: one object; of a release's frames one line each.")
def command(release: int | None, frame: str | None, as_json: bool) -> None:
    """List every frame behind release RELEASE as CSV, or with --frame every release that a frame is in.

    \b
    Examples:
      f2f lineage 3 > frames.csv
      f2f lineage --frame $(sha256sum hall-0017.jpg | cut -c-64)

    Exit codes: 0 found, 3 the frame is known but in no release, 1 failed.
    """
    if (release is None) == (frame is None):
        raise click.UsageError("give either a release number or --frame SHA")
    from tasks.store import open_store

    store = open_store()
    if release is not None:
        _frames(store, release, as_json)
        return
    from tasks.frame_lineage import NoSuchFrame, pixels_of, releases_with

    assert frame is not None
    digest = frame.lower()
    found = releases_with(store, digest)
    if not found:  # a duplicate's bytes are in no data set, its pixels may be
        pixels = pixels_of(store, digest)
        if pixels is None:
            raise NoSuchFrame(
                f"no frame {digest[:16]} in the index or in any release",
                next_step="give the SHA-256 of the uploaded file or of its pixels; `f2f ingest` indexes what landed",
            )
        found = releases_with(store, pixels) if pixels != digest else []
    rows = [{"release": r.number, "dataset": r.dataset, "created_at": r.created_at.isoformat()} for r in found]
    if as_json:
        click.echo(json.dumps({"frame": digest, "releases": rows}, indent=1))
    else:
        for row in rows:
            click.echo(f"release {row['release']}  {row['created_at']}  data set {str(row['dataset'])[:12]}")
        if not rows:
            click.echo("known, and in no release", err=True)
    sys.exit(0 if rows else 3)


def _frames(store: "Store", number: int, as_json: bool) -> None:
    import pyarrow as pa
    from pyarrow import csv

    from tasks.frame_lineage import COLUMNS, frames_of
    from tasks.releases import load_release

    release = load_release(store, number)
    count = 0
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    options = csv.WriteOptions(quoting_style="needed", include_header=not as_json)
    try:
        with csv.CSVWriter(sys.stdout.buffer, schema, write_options=options) as lines:
            for batch in frames_of(store, release):
                count += batch.num_rows
                if as_json:
                    sys.stdout.writelines(json.dumps(row) + "\n" for row in batch.to_pylist())
                else:
                    lines.write_batch(batch.cast(schema))
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its end
        if error.errno != errno.EPIPE:  # a full disk: what was written is not all of it
            raise PipelineError(
                f"the frames of release {number} could not be written: {error.strerror or error}",
                next_step="make room, or write somewhere else, and run the same command again",
            ) from error
        # `| head` has seen enough.
        return
    click.echo(f"release {number}: {count:,} frames, data set {release.dataset[:12]}", err=True)
