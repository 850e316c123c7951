"""A channel back to an earlier release."""

from prefect import flow

from flows.events import tell_channel
from flows.parameters import RollbackParameters
from flows.promote import show_line
from flows.stages import check_store, stage
from tasks import promotion
from tasks.release_records import Channel
from tasks.store import open_store


@flow(name="rollback", log_prints=False, persist_result=False)
def rollback(parameters: RollbackParameters) -> Channel:
    """Point a channel at an earlier release, by a new signed revision that says why.

    The release that it leaves is not promoted again; only a newer one is.
    """
    check_store()
    return move_back(parameters)


@stage
def move_back(parameters: RollbackParameters) -> Channel:
    """Channel -> its next revision."""
    store = open_store()
    number = parameters.release or promotion.release_before(store, parameters.channel)
    moved = promotion.rollback(store, number, parameters.reason, parameters.channel)
    tell_channel(parameters.channel)
    show_line(parameters.channel)
    return moved
