"""New frames in the bucket -> frame index."""

from datetime import UTC, datetime

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.events import tell_ingest
from flows.parameters import IngestParameters
from flows.stages import check_store, shown, stage
from tasks import ingest as inbox
from tasks.ingest import IngestSummary
from tasks.store import open_store


@stage
def index_frames(parameters: IngestParameters) -> IngestSummary:
    """Inbox -> frame index. Tells of it where there was something new."""
    store, started = open_store(), datetime.now(UTC)
    summary = inbox.ingest(store, parameters.splits, full=parameters.full, progress=shown("ingest"))
    tell_ingest(store, summary, started)
    return summary


@flow(name="ingest", log_prints=False, persist_result=False)
def ingest(parameters: IngestParameters = IngestParameters()) -> IngestSummary:  # noqa: B008 - frozen
    """Look at what landed in the inbox, pack the frames that are new, refuse the bad ones, publish the index.

    Costs what is new; two at once do no harm. Ends completed also where objects were refused: they are counted in the
    artifact and kept in quarantine/.
    """
    check_store()
    summary = index_frames(parameters)
    create_markdown_artifact(
        as_markdown(summary),
        key="ingest",
        description=f"{summary.indexed} new frames, {sum(summary.refused.values())} refused",
    )
    return summary


def as_markdown(summary: IngestSummary) -> str:
    """The summary for the run's page."""
    figures = {
        "Frames indexed": summary.indexed,
        "... without a label yet": summary.unlabelled,
        "Duplicates": summary.duplicates,
        "... that gave a frame its label": summary.relabelled,
        "Refused": sum(summary.refused.values()),
        "Objects listed": summary.listed,
        "Index revision": summary.index_revision,
        "Seconds": f"{summary.seconds:.1f}",
    }
    text = "| | |\n|---|---:|\n" + "".join(f"| {name} | {figure} |\n" for name, figure in figures.items())
    if summary.refused:
        text += "\n| refused | objects |\n|---|---:|\n"
        text += "".join(f"| `{reason}` | {count} |\n" for reason, count in summary.refused.items())
        text += "\n" + "".join(f"- `{item.key}`: {item.message}\n" for item in summary.refused_examples)
    return text
