"""`f2f ingest`: the inbox into the frame index, in the foreground."""

import click


@click.command()
@click.option("--full", is_flag=True, help="List every day of the inbox, for stragglers in old days.")
@click.option("--train", default=0.70, show_default=True, help="Share of frames for training.")
@click.option("--val", default=0.15, show_default=True, help="Share of frames for validation.")
@click.option("--test", "test_share", default=0.15, show_default=True, help="Share of frames for the verdict.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout; progress goes to stderr.")
def command(full: bool, train: float, val: float, test_share: float, as_json: bool) -> None:
    """Index the frames that landed in the bucket since the last look.

    Lists the days from the last look minus two, decodes what is new, packs it, and publishes it in the frame index.
    Costs what is new: a second run only lists. A bad object goes to quarantine/ with its reason and stops nobody.
    A new session gets its split here, by the three shares, and keeps it.

    \b
    Examples:
      f2f ingest
      f2f ingest --full --json

    Exit codes: 0 done (also where objects were refused), 1 failed.
    """
    from pydantic import ValidationError

    from deployments.progress_bar import progress_bar
    from tasks.errors import PipelineError
    from tasks.ingest import ingest
    from tasks.parameters import SplitParameters
    from tasks.store import open_store

    try:
        splits = SplitParameters(train=train, val=val, test=test_share)
    except ValidationError as error:
        first = error.errors()[0]
        raise PipelineError(
            f"--{first['loc'][0]} {first['input']:g}: {first['msg'].lower()}",
            next_step="the shares are fractions that sum to 1, e.g. --train 0.7 --val 0.15 --test 0.15",
        ) from error
    with progress_bar("ingest") as progress:
        summary = ingest(open_store(), splits, full=full, progress=progress)
    if as_json:
        click.echo(summary.model_dump_json(indent=1))
        return
    refused = sum(summary.refused.values())
    click.echo(
        f"{summary.listed:,} objects looked at, {summary.new:,} new: {summary.indexed:,} frames indexed "
        f"({summary.unlabelled:,} without a label yet), {summary.duplicates:,} duplicates, {refused:,} refused; "
        f"index revision {summary.index_revision}, {summary.seconds:.1f} s"
    )
    for item in summary.refused_examples:
        click.echo(f"  refused {item.reason}: {item.key}: {item.message}")
    if refused > len(summary.refused_examples):
        click.echo(f"  ... and {refused - len(summary.refused_examples):,} more; each is recorded below quarantine/")
