"""A channel's releases as people see them: a picture of accuracy over releases, and a table."""

from datetime import datetime

from tasks import channels
from tasks.lineage import Report
from tasks.release_plot import accuracy_over_releases
from tasks.release_records import Channel, Release
from tasks.releases import releases
from tasks.report_figures import percent
from tasks.store import Store


def line_of(store: Store, channel: str) -> tuple[list[Release], list[Channel]]:
    """The releases that were ever in `channel`, by number, and its revisions, oldest first."""
    history = channels.history(store, channel)
    was_in = {revision.release for revision in history}
    return [release for release in releases(store) if release.number in was_in], history


def store_picture(store: Store, channel: str) -> str | None:
    """Draws the line's picture and stores it, one a revision; returns its key. None where nothing is in the channel."""
    line, history = line_of(store, channel)
    if not line:
        return None
    fp32 = [
        Report.model_validate_json(store.get_blob(release.artefacts["records/report.json"].sha256)).fp32.accuracy
        for release in line
    ]
    svg = accuracy_over_releases(line, fp32, history)
    key = f"models/lines/{channel}/accuracy-{history[-1].revision:06d}.svg"
    store.put(key, svg.encode(), content_type="image/svg+xml")
    return key


def in_the_field(store: Store, channel: str) -> str:
    """Which release devices get from `channel`, in a few words."""
    held = channels.current(store, channel)
    return f"release {held.release} in the field (revision {held.revision})" if held else "nothing in the field"


def as_markdown(store: Store, channel: str, newest: int = 20) -> str:
    """The newest releases of the line as a table, and the channel's last revisions with their reasons."""
    line, history = line_of(store, channel)
    held = history[-1] if history else None
    text = f"# Channel {channel}: " + (f"release {held.release}, revision {held.revision}\n\n" if held else "empty\n\n")
    text += "| release | INT8 accuracy | test frames | boards | published |\n|---:|---:|---:|---|---|\n"
    for release in line[: -newest - 1 : -1]:
        mark = f"**{release.number}**" if held and release.number == held.release else str(release.number)
        text += f"| {mark} | {percent(release.accuracy)} | {release.test_frames:,} | {', '.join(release.boards)} "
        text += f"| {_moment(release.created_at)} |\n"
    text += "\n| revision | release | | why | when |\n|---:|---:|---|---|---|\n"
    for revision in history[: -newest - 1 : -1]:
        why = revision.reason.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
        text += f"| {revision.revision} | {revision.release} | {revision.kind} | {why} "
        text += f"| {_moment(revision.moved_at)} |\n"
    return text


def _moment(when: datetime) -> str:
    """Date and time that a narrow table does not break into three lines."""
    return f"{when:%Y-%m-%d %H:%M}".replace("-", "\N{NON-BREAKING HYPHEN}").replace(" ", "\N{NO-BREAK SPACE}")
