"""A passed candidate -> signed release -> channel."""

from prefect import flow
from prefect.artifacts import create_image_artifact, create_markdown_artifact

from flows.events import tell_channel
from flows.parameters import PromoteRunParameters
from flows.stages import check_store, shown, stage
from tasks import promotion
from tasks.lineage import Candidate
from tasks.parameters import PromoteParameters
from tasks.promotion import Promotion
from tasks.release_line import as_markdown, in_the_field, store_picture
from tasks.report import public_url
from tasks.report_figures import percent
from tasks.signing import load_signing_key
from tasks.store import open_store


@flow(name="promote", log_prints=False, persist_result=False)
def promote(parameters: PromoteRunParameters = PromoteRunParameters()) -> Promotion:  # noqa: B008 - frozen
    """Compare a candidate that passed its gate with the model in the channel, and release it if it holds up.

    A dry run unless told otherwise: it says what would happen and publishes nothing.
    """
    check_store()
    return promote_candidate(find_candidate(parameters.candidate), parameters.promote)


@stage
def find_candidate(digest: str) -> Candidate:
    """The candidate that was asked for, or the newest that passed."""
    return promotion.find(open_store(), digest)


@stage
def check_promotion(parameters: PromoteParameters) -> None:
    """Refuses a run that could not sign what it makes, before hours go into it."""
    if not parameters.dry_run:
        load_signing_key(open_store().where)


@stage
def promote_candidate(candidate: Candidate, parameters: PromoteParameters) -> Promotion:
    """Candidate -> release and channel, with artifacts that show both."""
    found = promotion.promote(open_store(), candidate, parameters, progress=shown("channel's model"))
    tell_channel(parameters.channel)  # whatever came of this one: an earlier run may have died before it told
    create_markdown_artifact(_as_markdown(found), key="promotion", description=found.sentence)
    show_line(parameters.channel)
    return found


def show_line(channel: str) -> None:
    """The channel's line as artifacts with versions: the picture of accuracy over releases, and the table."""
    store = open_store()
    key = store_picture(store, channel)
    if key is None:
        return
    now = in_the_field(store, channel)
    create_markdown_artifact(as_markdown(store, channel), key=f"channel-{channel}", description=now)
    if url := public_url(store, key):
        create_image_artifact(url, key=f"accuracy-{channel}", description=f"{now}; accuracy over releases")


def _as_markdown(found: Promotion) -> str:
    head, _, why = found.sentence.partition(": ")
    text = f"# {head[0].upper()}{head[1:]}\n" + (f"\n{why[0].upper()}{why[1:]}.\n" if why else "")
    if found.comparison is None:
        return text
    text += "\n| | rule | found |\n|---|---|---|\n"
    for rule in found.comparison.rules:
        text += f"| {'ok' if rule.passed else '**broken**'} | {rule.name.replace('_', ' ')} | {rule.reason} |\n"
    text += "\n| device | test frames | candidate | in the channel | floor |\n|---|---:|---:|---:|---:|\n"
    for one in found.comparison.slices:
        channel = "" if one.channel is None else percent(one.channel)
        floor = "" if one.floor is None else percent(one.floor)
        text += f"| {one.name} | {one.frames:,} | {percent(one.candidate)} | {channel} | {floor} |\n"
    return text
