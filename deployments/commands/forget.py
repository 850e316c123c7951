"""`f2f forget`: frames are taken out of the index and of all later data sets, and erased where that is asked for."""

import json
import sys
from typing import TYPE_CHECKING

import click

from tasks.errors import PipelineError

if TYPE_CHECKING:
    from tasks.forget import Affected, Selection

SHOWN = 10  # sessions and devices that are named


@click.command()
@click.option("--frame", metavar="SHA", help="SHA-256 of a frame's file, or of its pixels.")
@click.option("--device", metavar="NAME", help="All that came from a device.")
@click.option("--session", metavar="ID", help="All that came in a session.")
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the index and in the record of the erasure.")
@click.option("--erase", "erasing", is_flag=True, help="Also delete every copy of the pictures.")
@click.option("--dry-run", is_flag=True, help="Show what it is about and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask; without a terminal nothing is done without it.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found and done as one JSON object on stdout.")
def command(
    frame: str | None,
    device: str | None,
    session: str | None,
    reason: str,
    erasing: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Keep a frame, or all frames of a device or of a session, out of the index and of every later data set.

    A picture counts with all objects that hold it, also those of other devices, and one that lands again is refused
    (reason `forgotten`). A session is closed: whatever lands in it later is refused as well. A device is not: what it
    sends later is taken; `f2f device remove NAME` ends its right to send. Data sets and models that exist stay as they
    are; the releases with such a frame are listed before anything is done.

    --erase also deletes the objects with all their versions, takes the pixels out of packed shards and of the golden
    frames of firmware images, and the pictures out of report pages and their copies in releases. Digests, keys, labels,
    scores and figures of the frame stay in index, manifests and records. What releases consist of changes by that: a
    record signed with the key that signs releases says what and how, and they verify with a note. Old data sets load
    without the erased frames.

    Ingests, trainings and retrains that are under way are not disturbed: a training that has the pixels open goes on
    with them; should it need a shard again that is gone, it stops, and its next start leaves the frame out. What such a
    run still writes (a page, golden frames, a packed shard), what landed again, and copies in the caches of other
    machines stay until the same command is run again (on the other machine: until it next opens a data set).

    \b
    Examples:
      f2f forget --frame $(sha256sum hall-0017.jpg | cut -c-64) --reason "asked by the person in it"
      f2f forget --session 2026-03-01-hall --dry-run
      f2f forget --device porch --erase --yes --json

    Exit codes: 0 done (or nothing was left to do), 3 not confirmed, 1 failed: run the same command again.
    """
    from tasks.forget import Selection, look
    from tasks.store import open_store

    chosen = [Selection("frame", frame.lower())] if frame else []
    chosen += [Selection("device", device)] if device else []
    chosen += [Selection("session", session)] if session else []
    if len(chosen) != 1:
        raise click.UsageError("give one of --frame SHA, --device NAME, --session ID")
    (selection,) = chosen
    store = open_store()
    if erasing:
        from tasks.erase import erase, erasing_key

        erasing_key(store)  # refused before anything is done
    affected = look(store, selection)
    _show(selection, affected)
    if not dry_run and not (yes or _confirmed(erasing)):
        click.echo("nothing was changed", err=True)
        sys.exit(3)
    answer: dict[str, object] = {"by": selection.by, "name": selection.name, **affected.model_dump(mode="json")}
    answer |= {"done": not dry_run, "erased": None}
    if not dry_run:
        from deployments.progress_bar import progress_bar
        from tasks.forget import forget

        forgotten = forget(store, selection, reason)
        if erasing:
            with progress_bar("erasing") as progress:
                erased = erase(store, forgotten.pixels, forgotten.keys, reason, progress=progress)
            answer["erased"] = erased.model_dump(mode="json")
            click.echo(
                f"erased: {_many(erased.objects, 'object')}; packed anew: {_many(erased.shards, 'shard')}; taken out "
                f"of {_many(erased.pages, 'report page')} and {_many(erased.golden, 'file')} of golden frames",
                err=True,
            )
        click.echo(f"{selection} is in no later data set", err=True)
    if as_json:
        click.echo(json.dumps(answer, indent=1))


def _show(selection: "Selection", affected: "Affected") -> None:
    """What it is about, for a person."""
    before = f" ({affected.already:,} of them forgotten before)" if affected.already else ""
    frames, objects = _many(affected.frames, "frame"), _many(affected.objects, "object")
    click.echo(f"{selection}: {frames}{before}, {objects}", err=True)
    for what, counts in (("device", affected.devices), ("session", affected.sessions), ("split", affected.splits)):
        named = [f"{name} {count:,}" for name, count in counts.items()]
        more = f" and {len(named) - SHOWN:,} more" if len(named) > SHOWN else ""
        if named:
            click.echo(f"  {what}: {', '.join(named[:SHOWN])}{more}", err=True)
    if not affected.releases:
        click.echo("  in no release", err=True)
    for held in affected.releases:
        now = f", now in channel {', '.join(held.channels)}" if held.channels else ""
        click.echo(f"  in release {held.release}{now}", err=True)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _confirmed(erasing: bool) -> bool:
    """Asks the person at the terminal."""
    if not sys.stdin.isatty():
        raise PipelineError(
            "not confirmed, and there is no terminal to ask at: nothing was changed",
            next_step="look at what is listed above, then give --yes",
        )
    what = "Forget and erase: there is no way back" if erasing else "Forget"
    return click.confirm(f"{what}. Go on?", err=True)
