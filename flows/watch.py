"""What landed -> frame index -> exactly one retrain, when there is enough that is new.

Started by a schedule, by the event that frames have landed, by hand; any number at once do no harm (tasks/claims.py).
"""

import logging
from datetime import UTC, datetime

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client

from flows import claim_run
from flows.events import send_unsent, tell_silent
from flows.ingest import as_markdown as ingest_markdown
from flows.ingest import index_frames
from flows.parameters import IngestParameters, WatchParameters
from flows.stages import check_store, stage
from tasks import claims, frame_index
from tasks.claims import Claim, Entry
from tasks.devices import FOLDER as DEVICES
from tasks.store import open_store
from tasks.watch import COLUMNS, ClaimRun, Decision, SilentDevice, WatchSummary, decide, silent_devices

logger = logging.getLogger("f2f.watch")


@flow(name="watch", log_prints=False, persist_result=False)
def watch(parameters: WatchParameters = WatchParameters()) -> WatchSummary:  # noqa: B008 - frozen
    """Index what landed, and start a retrain when the policy says so: exactly one for one set of frames.

    While a retrain is under way nothing new is started; one that crashed is resumed. Below the threshold the run's page
    says what is missing. Ends completed in each of these cases.
    """
    check_store()
    ingested = index_frames(IngestParameters(splits=parameters.splits))
    runs = [run] if (run := follow_newest(parameters.policy.max_resumes)) else []
    decision = None
    if not runs or runs[-1].action == "closed":
        decision = claim_frames(parameters)
        # Whether this look made a claim or another one did just now: both start its retrain, and there is one.
        if run := follow_newest(parameters.policy.max_resumes):
            runs.append(run)
    silent = find_silent(parameters.policy.device_silent_hours)
    tell_silent(silent, parameters.policy.device_silent_hours)
    send_unsent()
    summary = WatchSummary(ingest=ingested, decision=decision, runs=tuple(runs), silent=silent)
    show(summary)
    return summary


@stage
def follow_newest(max_resumes: int) -> ClaimRun | None:
    """The newest claim's retrain, one step on: started, resumed, closed, or left alone. None where no claim is open."""
    store = open_store()
    entry = claims.newest(store)
    if entry is None or not entry.open:
        return None
    with get_client(sync_client=True) as client:
        return claim_run.follow(store, client, entry.claim, max_resumes=max_resumes)


@stage
def claim_frames(parameters: WatchParameters) -> Decision | None:
    """Frame index and newest claim -> decision; where a retrain is due, the claim is written here.

    None where the newest claim is open: another look made it just now.
    """
    store = open_store()
    found: Decision | None = None

    def next_claim(newest: Entry | None) -> Claim | None:
        nonlocal found
        found = None
        if newest and newest.open:
            return None
        index = frame_index.load(store, COLUMNS)
        last = newest.claim if newest else None
        retrain, now = parameters.retrain, datetime.now(UTC)
        found = decide(index, last, parameters.policy, retrain.dataset, retrain.validation, now)
        if found.why is None:
            return None
        rows = index.rows.num_rows
        return Claim(
            number=last.number + 1 if last else 1,
            index_revision=index.head.revision,
            rows=rows,
            labelled=found.labelled,
            new=found.new,
            why=found.why,
            reason=found.sentence,
            parameters=retrain.model_copy(update={"index_rows": rows}).model_dump(mode="json"),
            claimed_at=now,
        )

    claims.make(store, next_claim)
    return found


@stage
def find_silent(hours: float) -> tuple[SilentDevice, ...]:
    """Frame index -> devices that have gone silent."""
    store = open_store()
    registered = [item.key.removeprefix(DEVICES).removesuffix(".json") for item in store.list(DEVICES)]
    return silent_devices(frame_index.load(store, COLUMNS), registered, hours, datetime.now(UTC))


def show(summary: WatchSummary) -> None:
    """Log lines, and an artifact on the run's page."""
    lines = sentences(summary)
    for line in lines:
        logger.info(line)
    create_markdown_artifact(as_markdown(summary), key="watch", description=lines[0])


def sentences(summary: WatchSummary) -> list[str]:
    """What a look found and did: retrains first, then what landed, then who is silent."""
    landed = summary.ingest
    lines = [run.sentence for run in summary.runs]
    if summary.decision and not summary.decision.why:
        lines.append(f"retrain {summary.decision.sentence}")
    lines.append(
        f"{landed.indexed:,} frames indexed ({landed.unlabelled:,} without a label yet), "
        f"{landed.duplicates:,} duplicates, {sum(landed.refused.values()):,} refused"
    )
    lines += [
        f"device {one.device} is silent: nothing since {one.last_seen:%Y-%m-%d %H:%M} UTC, {one.hours:,.0f} hours"
        for one in summary.silent
    ]
    return lines


def as_markdown(summary: WatchSummary) -> str:
    """The summary for the run's page."""
    text = "".join(f"- {line}\n" for line in sentences(summary))
    for run in summary.runs:
        where = f"[{run.flow_run}]({run.url})" if run.url else f"`{run.flow_run}`"
        text += f"\nRetrain of claim {run.claim}: {where}, {run.state}\n"
    if summary.decision:
        text += "\n| | labelled frames | new |\n|---|---:|---:|\n"
        new = summary.decision.new
        text += "".join(f"| {name} | {n:,} | {new[name]:,} |\n" for name, n in summary.decision.labelled.items())
    return text + "\n" + ingest_markdown(summary.ingest)
