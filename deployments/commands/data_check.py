"""`f2f data check`: the checks of a folder or of a stored data set, for people and for scripts."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from deployments.assignments import described, parse
from tasks.errors import PipelineError
from tasks.parameters import DataCheckParameters

if TYPE_CHECKING:
    from tasks.checked_frames import CheckedFrames
    from tasks.findings import CheckResult
    from tasks.progress import Progress
    from tasks.store import Store

SHOWN = 3  # findings of a check that are named on the terminal


class NoSuchData(PipelineError):
    """Neither a folder nor a stored data set."""


class Subject(NamedTuple):
    """What is checked. `repeats`: pixels_sha256 -> objects in the bucket beyond the frame that had the same pixels."""

    name: str
    frames: "CheckedFrames"
    repeats: dict[str, int]


@click.command()
@click.argument("what", metavar="DIR|DATASET")
@click.argument("assignments", nargs=-1, metavar="[NAME=VALUE ...]")
@click.option("--device", metavar="NAME", default="camera", help="Camera of a folder's images that name none.")
@click.option("--manifest", metavar="FILE", type=click.Path(path_type=Path), help="CSV that names images and labels.")
@click.option("--only", metavar="COLUMN=VALUE", multiple=True, help="Only rows of the manifest with this value.")
@click.option("--reference", metavar="DIR|DATASET", help="Frames to compare with: has anything drifted?")
@click.option(
    "--embed",
    metavar="MODEL.keras",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A trained network of frames, whose features find more wrong labels.",
)
@click.option("--report", metavar="FILE", type=click.Path(path_type=Path), help="Also write a page with pictures.")
@click.option("--parameters", "list_parameters", is_flag=True, help="List every limit with default and bounds.")
@click.option("--json", "as_json", is_flag=True, help="One finding a line: check, severity, file, other, score, note.")
def command(
    what: str,
    assignments: tuple[str, ...],
    device: str,
    manifest: Path | None,
    only: tuple[str, ...],
    reference: str | None,
    embed: Path | None,
    report: Path | None,
    list_parameters: bool,
    as_json: bool,
) -> None:
    """Find what an experienced engineer would find in a day of looking at the pictures.

    DIR is a folder of labelled images, as for `f2f import`; nothing is uploaded. DATASET is a stored data set: the
    first digits of its digest, or `latest`.

    Blocking: copies of a picture in two splits, sessions in two splits, the same pixels with two labels, a class that
    fills a split. Warnings: copies in different sessions, near copies with two labels, probably wrong labels, labels
    that brightness or the device alone give away, frozen sensors, dead pixels, bad exposure, blur, odd sizes, files
    that are no pictures; with --reference, devices whose frames have drifted.

    \b
    Examples:
      f2f data check photos/
      f2f data check data/ --manifest data/manifest.csv --only batch=seed --report checks.html
      f2f data check new-frames/ --reference latest
      f2f data check latest --json | jq -r 'select(.severity == "blocking") | .file'

    Exit codes: 0 nothing blocks, 3 something does, 1 the check could not be done, 2 wrong usage.
    """
    if list_parameters:
        click.echo(described(DataCheckParameters))
        return
    limits = parse(DataCheckParameters, assignments)
    from deployments.commands.import_frames import phases
    from tasks.data_checks import run_checks
    from tasks.embedding import keras_embedding

    with contextlib.ExitStack() as opened:
        progress = opened.enter_context(phases())
        subject = opened.enter_context(subject_of(what, device, manifest, only, progress))
        compared = opened.enter_context(subject_of(reference, device, None, (), progress)) if reference else None
        if not len(subject.frames):
            raise NoSuchData(
                f"{subject.name} holds no frame", next_step="`f2f check-frames DIR` says why files are none"
            )
        results = run_checks(
            subject.frames,
            limits,
            repeats=subject.repeats,
            embed=keras_embedding(embed) if embed else None,
            reference=compared.frames if compared else None,
            progress=progress,
        )
        if report:
            from tasks.check_page import check_page

            report.write_text(check_page(subject.name, results, subject.frames))
    if as_json:
        _print_json(results)
    else:
        _print(subject.name, results)
    if report:
        click.echo(f"pictures: {report}", err=True)
    sys.exit(3 if any(result.blocks for result in results) else 0)


@contextlib.contextmanager
def subject_of(
    what: str, device: str, manifest: Path | None, only: tuple[str, ...], progress: "Progress"
) -> Iterator[Subject]:
    """The frames of a folder or a stored data set, while the block lasts. Raises `NoSuchData`."""
    from tasks.checked_frames import of_dataset, of_folder
    from tasks.image_manifest import from_manifest, only_options
    from tasks.labelled_folder import labelled_folder

    folder = Path(what)
    if folder.is_dir():
        if only and not manifest:
            raise click.UsageError("--only chooses rows of a manifest: give it with --manifest")
        found = (
            from_manifest(folder, manifest, device, only_options(only)) if manifest else labelled_folder(folder, device)
        )
        with of_folder(found, progress) as frames:
            yield Subject(what, frames, {})
        return
    from tasks.dataset import find_dataset
    from tasks.store import open_store

    store = open_store()
    version = find_dataset(store, what)
    if version is None:
        raise NoSuchData(
            f"{what!r} is no folder, and no data set's digest begins like that",
            next_step="give a folder of labelled images, `latest`, or the first digits of a data set's digest",
        )
    yield Subject(f"data set {version.digest[:12]}", of_dataset(store, version), _repeats(store))


def _repeats(store: "Store") -> dict[str, int]:
    """How many objects beyond the frame itself had the same pixels: ingest keeps one frame of them."""
    import pyarrow.compute as pc

    from tasks import frame_index

    rows = frame_index.load(store, ["kind", "pixels_sha256"]).rows
    counts = pc.value_counts(rows.filter(pc.equal(rows["kind"], "duplicate"))["pixels_sha256"].combine_chunks())
    return {one["values"]: one["counts"] for one in counts.to_pylist() if one["values"]}


def _print_json(results: "tuple[CheckResult, ...]") -> None:
    for result in results:
        for finding in result.findings:
            line = {"check": result.check, "severity": result.severity, **finding.model_dump()}
            click.echo(json.dumps(line, ensure_ascii=False))


def _print(name: str, results: "tuple[CheckResult, ...]") -> None:
    width = max(len(result.check) for result in results)
    for result in sorted(results, key=lambda one: (not one.blocks, not one.findings)):
        mark = "✗" if result.blocks else "!" if result.findings else "-" if result.skipped else "✓"
        click.echo(f"{mark} {result.check:<{width}}  {result.skipped or result.observed}")
        for finding in result.findings[:SHOWN]:
            other = f" = {finding.other}" if finding.other else ""
            click.echo(f"    {finding.file}{other}: {finding.note}")
        if len(result.findings) > SHOWN:
            click.echo(f"    and {len(result.findings) - SHOWN:,} more")
        if result.findings:
            click.echo(f"    next: {result.advice}")
    blocking = sum(result.blocks for result in results)
    click.echo(f"{name}: {f'{blocking} blocking' if blocking else 'nothing blocks'}", err=True)
