"""`f2f releases`: what was published, and what each channel holds."""

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print releases and channels as JSON.")
def command(as_json: bool) -> None:
    """List every release with its accuracy and boards, and every channel with the release that it holds."""
    from tasks.channels import names, read
    from tasks.releases import releases
    from tasks.store import open_store

    store = open_store()
    known = releases(store)
    held = [channel for name in names(store) if (channel := read(store, name)[0])]
    if as_json:
        rows = [release.model_dump(mode="json", exclude={"artefacts", "comparison"}) for release in known]
        click.echo(json.dumps({"releases": rows, "channels": [c.model_dump(mode="json") for c in held]}, indent=1))
        return
    if not known:
        click.echo("no release yet; publish one: f2f promote --publish")
    for release in known:
        marks = [f"<- {channel.name}" for channel in held if channel.release == release.number]
        boards = ", ".join(release.boards) or "no firmware"
        click.echo(
            f"{release.number:>5}  {release.created_at:%Y-%m-%d %H:%M}  accuracy {release.accuracy:.4f} on "
            f"{release.test_frames:,} frames  candidate {release.candidate[:12]}  {boards}  {' '.join(marks)}".rstrip()
        )
    for channel in held:
        click.echo(
            f"channel {channel.name}: release {channel.release}, revision {channel.revision} of "
            f"{channel.moved_at:%Y-%m-%d %H:%M}, {channel.kind}: {channel.reason}"
        )
