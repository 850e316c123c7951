"""`f2f data review`: what the checks found, as a list that a person edits, and its decisions back into the index."""

import sys
from pathlib import Path

import click

from deployments.assignments import parse
from tasks.parameters import DataCheckParameters


@click.group("review")
def command() -> None:
    """Export what the checks found, edit it in a spreadsheet, and import the decisions.

    The column `action` is yours to fill: `person` or `no_person` (the frame gets that label), `drop` (it is forgotten:
    in no later data set), `keep` or nothing (it stays as it is). Data sets and models that exist do not change.
    """


@command.command("export")
@click.argument("dataset", metavar="DATASET")
@click.argument("file", metavar="FILE.csv", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("assignments", nargs=-1, metavar="[NAME=VALUE ...]")
@click.option("--force", is_flag=True, help="Overwrite FILE.csv.")
def export(dataset: str, file: Path, assignments: tuple[str, ...], force: bool) -> None:
    """Check a stored data set (digits of its digest, or `latest`) and write a row for each finding about a frame.

    \b
    Example:
      f2f data review export latest review.csv
    """
    if file.exists() and not force:
        raise click.UsageError(f"{file} is there already, perhaps edited: --force overwrites it")
    limits = parse(DataCheckParameters, assignments)
    from deployments.commands.data_check import subject_of
    from deployments.commands.import_frames import phases
    from tasks.data_checks import run_checks
    from tasks.review_list import review_list

    with phases() as progress, subject_of(dataset, "camera", None, (), progress) as subject:
        results = run_checks(subject.frames, limits, repeats=subject.repeats, progress=progress)
        text = review_list(results, subject.frames)
    file.write_text(text)
    click.echo(
        f"{file}: {text.count(chr(10)) - 1:,} rows; fill the column action, then `f2f data review apply`", err=True
    )


@command.command("apply")
@click.argument("file", metavar="FILE.csv", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--reason", default="data review", show_default=True, help="Kept in the index with what is dropped.")
@click.option("--dry-run", is_flag=True, help="Say what would be done and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON on stdout.")
def apply_list(file: Path, reason: str, dry_run: bool, as_json: bool) -> None:
    """Set the labels and forget the frames that an edited list says. All of it is checked before anything changes.

    \b
    Example:
      f2f data review apply review.csv --dry-run

    Exit codes: 0 done, 1 refused (nothing was changed), 2 wrong usage.
    """
    from deployments.commands.import_frames import phases
    from tasks.review_list import ReviewRefused, apply, read_decisions
    from tasks.store import open_store

    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ReviewRefused(
            f"{file} is not UTF-8 text: {error.reason} at byte {error.start}", next_step="save it as CSV in UTF-8"
        ) from error
    decisions = read_decisions(text)
    told = f"{len(decisions.labels):,} labels, {len(decisions.drops):,} frames to forget, {decisions.kept:,} rows left"
    if dry_run:
        click.echo(f"would set {told}", err=True)
        sys.exit(0)
    with phases() as progress:
        done = apply(open_store(), decisions, reason, progress)
    click.echo(
        f"{done.relabelled:,} frames relabelled, {done.forgotten:,} forgotten, {done.kept:,} rows left", err=True
    )
    if as_json:
        click.echo(done.model_dump_json(indent=1))
