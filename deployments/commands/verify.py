"""`f2f verify`: is a release what was published?"""

import sys

import click


@click.command()
@click.argument("release", type=click.IntRange(min=1), required=False)
@click.option("--channel", default="stable", show_default=True, help="Channel to verify when no RELEASE is given.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def command(release: int | None, channel: str, as_json: bool) -> None:
    """Check the release that a channel holds (or release number RELEASE): signature, every byte, lineage, revision.

    Reads every object of the release from the bucket again; the local cache is not believed. Signatures count when they
    are by a key in the file of trusted keys (F2F_TRUSTED_KEYS_FILE, or the one that `f2f up` made), which is on this
    machine and not in the bucket. The newest revision of a channel that was ever seen here is remembered, so an older
    one that somebody puts back is refused. Where `f2f forget --erase` took a picture out of a report or of the golden
    frames, a signed record names that change and it is printed; any other change is refused.

    \b
    Examples:
      f2f verify
      f2f verify 7
      f2f verify --channel beta --json

    Exit codes: 0 it is what was published, 3 it is not (every finding names its object), 1 it could not be checked.
    """
    from deployments.progress_bar import progress_bar
    from tasks.store import open_store
    from tasks.verify import verify_channel, verify_release

    store = open_store()
    with progress_bar("verifying") as progress:
        found = (
            verify_release(store, release, progress=progress)
            if release
            else verify_channel(store, channel, progress=progress)
        )
    if as_json:
        click.echo(found.model_dump_json(indent=1))
    what = f"release {found.release}"
    if found.channel:
        what = f"channel {found.channel}" + (f", revision {found.revision}: {what}" if found.release else "")
    for finding in found.findings:
        click.echo(f"REFUSED {finding.kind}: {finding.object}: {finding.message}", err=True)
    for note in found.erased:
        click.echo(f"ERASED {note}", err=True)
    if found.passed:
        click.echo(
            f"{what} is what was published: signature, {found.artefacts} objects ({found.bytes:,} B), lineage"
            f"{' and revision' if found.channel else ''} hold{', but for what was erased' if found.erased else ''}",
            err=True,
        )
        return
    click.echo(f"{what} is NOT what was published: do not flash it", err=True)
    sys.exit(3)
