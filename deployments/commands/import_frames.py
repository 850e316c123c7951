"""`f2f import`: labelled images on disk become frames in the bucket, and the frames are indexed."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tasks.labelled_folder import LabelledFolder
    from tasks.progress import Progress
    from tasks.upload import UploadSummary

_METHODS = {
    "manifest": "given by the manifest",
    "folder": "the sub-folder below the label",
    "time": "capture time, a gap of more than 5 minutes starts a new one",
    "near-duplicate": "frames that look alike",
}
_NAMED = 20  # refused files that are named on the terminal


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--device", metavar="NAME", help="Camera the images are from; with a manifest, for rows without a device."
)
@click.option("--manifest", metavar="FILE", type=click.Path(path_type=Path), help="CSV that names images and labels.")
@click.option("--only", metavar="COLUMN=VALUE", multiple=True, help="Only rows of the manifest with this value.")
@click.option("--no-ingest", is_flag=True, help="Upload only; `f2f ingest` indexes later.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout; progress goes to stderr.")
def command(
    folder: Path, device: str | None, manifest: Path | None, only: tuple[str, ...], no_ingest: bool, as_json: bool
) -> None:
    """Upload the labelled images below DIR as frames and index them.

    \b
    DIR is one of
      person/ and no_person/ (not_person/ is taken as no_person)
      train/, val/ and test/ with those two in each: the split is kept
      anything, with --manifest: a CSV whose first line names the columns file and label,
        optionally device, session, split, captured_at; names are relative to DIR, or to
        the manifest's folder where that is above DIR

    Frames of one session never cross splits. The session is, for each image: the manifest's; else the first
    sub-folder below the label; else capture time (EXIF or file name; a gap of more than 5 minutes starts a new one);
    else a group of images that look alike. The choice is printed.

    Runs in parallel and goes on where it was interrupted: a second run uploads nothing. A file that is in the bucket
    already is not looked at again, whatever its label is now. A refused file is recorded in quarantine/ and stops
    nobody; `f2f check-frames DIR` tells beforehand.

    \b
    Examples:
      f2f import photos/ --device hallway-cam
      f2f import dataset/ --device esp32-cam-1
      f2f import data/ --manifest data/manifest.csv --only batch=seed

    Exit codes: 0 done (also where files were refused), 1 something could not be stored or no file was accepted,
    2 wrong usage.
    """
    from tasks.errors import PipelineError
    from tasks.image_manifest import from_manifest, only_options
    from tasks.labelled_folder import FolderRefused, labelled_folder
    from tasks.store import open_store
    from tasks.upload import upload

    if device is not None and not re.fullmatch(r"(?!\.+$)[A-Za-z0-9._-]{1,64}", device):
        raise click.BadParameter(f"{device!r}: 1 to 64 of A-Z a-z 0-9 . _ -", param_hint="--device")
    if manifest:
        found = from_manifest(folder, manifest, device, only_options(only))
    else:
        if only:
            raise click.UsageError("--only chooses rows of a manifest: give it with --manifest")
        if not device:
            raise click.UsageError("--device is missing: the name of the camera that the images are from")
        found = labelled_folder(folder, device)
    if not found.files:
        for row in found.refused_rows[:_NAMED]:
            click.echo(f"  line {row.row}: {row.name}: {row.reason}: {row.message}", err=True)
        raise FolderRefused(f"none of the manifest's {len(found.refused_rows):,} rows can be used")
    store = open_store()
    store.probe()
    _say(f"{found.layout}: {len(found.files):,} files", *found.notes)
    with phases() as progress:
        uploaded = upload(store, found.files, progress)
    _report(found, uploaded, to_stderr=as_json)
    kept = uploaded.uploaded + uploaded.already_there
    result: dict[str, object] = {
        "folder": {
            "layout": found.layout,
            "notes": found.notes,
            "refused_rows": [
                {"line": row.row, "file": row.name, "reason": row.reason, "message": row.message}
                for row in found.refused_rows
            ],
        },
        "upload": uploaded.model_dump(mode="json"),
        "ingest": None,
    }
    if kept and not no_ingest:
        from tasks.ingest import ingest
        from tasks.parameters import SplitParameters

        with phases() as progress:
            indexed = ingest(store, SplitParameters(), progress=progress)
        result["ingest"] = indexed.model_dump(mode="json")
        if not as_json:
            click.echo(
                f"index: {indexed.indexed:,} new frames, {indexed.duplicates:,} duplicates, "
                f"{sum(indexed.refused.values()):,} refused; revision {indexed.index_revision}"
            )
    if as_json:
        click.echo(json.dumps(result, indent=1))
    if uploaded.failed:
        raise PipelineError(
            f"{len(uploaded.failed):,} frames could not be stored, first {uploaded.failed[0].file}: "
            f"{uploaded.failed[0].error}",
            next_step="run the same command again: only what is missing is uploaded",
        )
    if not kept:
        raise PipelineError(
            f"none of the {uploaded.files:,} files was accepted", next_step="`f2f check-frames` says why for each file"
        )


@contextlib.contextmanager
def phases() -> "Iterator[Progress]":
    """A progress bar for each unit that is reported, one after the other."""
    from deployments.progress_bar import progress_bar

    with contextlib.ExitStack() as bars:
        current: list[object] = []

        def show(done: int, total: int, unit: str) -> None:
            if not current or current[0] != unit:
                bars.close()
                current[:] = [unit, bars.enter_context(progress_bar(unit))]
            current[1](done, total, unit.split()[0])  # type: ignore[operator]

        yield show


def _say(*lines: str) -> None:
    for line in lines:
        click.echo(line, err=True)


def _report(found: "LabelledFolder", uploaded: "UploadSummary", *, to_stderr: bool) -> None:
    """What happened, for people."""

    def say(line: str) -> None:
        click.echo(line, err=to_stderr)

    for choice in uploaded.sessions:
        say(f"sessions: {choice.sessions:,} of {choice.frames:,} frames, {_METHODS[choice.method]}")
    for note in uploaded.notes:
        say(f"note: {note}")
    for row in found.refused_rows[:_NAMED]:
        say(f"refused line {row.row}: {row.name}: {row.reason}: {row.message}")
    for file in uploaded.refused_files[:_NAMED]:
        say(f"refused {file.file}: {file.reason}: {file.message}")
    for failure in uploaded.failed[:_NAMED]:
        say(f"not stored {failure.file}: {failure.error}")
    hidden = [
        max(len(found.refused_rows) - _NAMED, 0),
        max(len(uploaded.refused_files) - _NAMED, 0),
        max(len(uploaded.failed) - _NAMED, 0),
    ]
    if any(hidden):
        say(f"... and {hidden[0]:,} more lines, {hidden[1]:,} more files, {hidden[2]:,} more failures (--json has all)")
    rate = f" ({uploaded.uploaded / uploaded.seconds:.0f} frames/s)" if uploaded.uploaded else ""
    say(
        f"{uploaded.uploaded:,} frames uploaded in {uploaded.seconds:.1f} s{rate}, "
        f"{uploaded.already_there:,} were there already, {uploaded.copies:,} copies of another file"
    )
    for what, counts in (("label", uploaded.labels), ("split", uploaded.splits), ("refused", uploaded.refused)):
        if counts:
            say(f"{what}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))
