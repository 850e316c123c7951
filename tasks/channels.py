"""Channels: the pointer that says which release devices get, moved by compare-and-swap, every revision kept.

`channels/<name>.json` is the truth. `channels/<name>/<revision>.json` is a copy of each revision: whoever moves the
channel on first makes sure that the revision before has its copy, so a process that dies in between leaves no gap for
long.
"""

from datetime import UTC, datetime
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tasks.errors import PipelineError
from tasks.release_records import Channel, Release, channel_key
from tasks.signing import sign
from tasks.store import ObjectMissing, Store

JSON = "application/json"


class HistoryDiffers(PipelineError):
    """A revision of the channel and its copy are not the same."""


def current(store: Store, name: str = "stable") -> Channel | None:
    """What is in the channel; None where nothing was ever published."""
    return read(store, name)[0]


def read(store: Store, name: str) -> tuple[Channel | None, str | None]:
    """The channel with the etag that `move` needs."""
    try:
        found = store.get_object(channel_key(name))
    except ObjectMissing:
        return None, None
    return Channel.model_validate_json(found.data), found.etag


def names(store: Store) -> list[str]:
    """The names of all channels."""
    keys = (item.key.removeprefix("channels/").removesuffix(".json") for item in store.list("channels/"))
    return [key for key in keys if "/" not in key]


def move(
    store: Store,
    name: str,
    held: Channel | None,
    etag: str | None,
    to: Release,
    kind: Literal["promotion", "rollback"],
    reason: str,
    key: Ed25519PrivateKey,
) -> Channel | None:
    """The next revision of the channel, signed; None where somebody else moved it since `held` was read.

    Raises `HistoryDiffers`.
    """
    if held:
        _keep(store, held)
    channel = Channel(
        name=name,
        revision=held.revision + 1 if held else 1,
        release=to.number,
        release_digest=to.digest,
        kind=kind,
        reason=reason,
        highest=max(to.number, held.highest if held else 1),
        previous=held.digest if held else None,
        moved_at=datetime.now(UTC).replace(microsecond=0),
    )
    if store.exists(channel.history_key) and current(store, name) == held:  # no race: nobody moved it
        raise HistoryDiffers(
            f"{channel.key} is {f'at revision {held.revision}' if held else 'not there'}, but a copy of revision "
            f"{channel.revision} is in {channel.history_key}: an earlier state was put back",
            next_step="run `f2f verify`, then restore the channel object from its newest copy that verifies",
        )
    channel = channel.model_copy(update={"signature": sign(channel, key)})
    # Where an answer was lost and the write repeated, the store says no to the one who won: then what is there is ours.
    if not store.swap(channel.key, _json(channel), etag) and current(store, name) != channel:
        return None
    _keep(store, channel)
    return channel


def history(store: Store, name: str) -> list[Channel]:
    """Every revision, oldest first; also the current one where whoever moved it ended before it wrote the copy."""
    kept = [store.get_record(item.key, Channel) for item in store.list(f"channels/{name}/")]
    held = current(store, name)
    return [*kept, held] if held and held not in kept else kept


def _keep(store: Store, channel: Channel) -> None:
    if not store.create(channel.history_key, _json(channel), content_type=JSON):
        kept = store.get_record(channel.history_key, Channel)
        if kept != channel:
            raise HistoryDiffers(
                f"{channel.key} is at revision {channel.revision}, but its copy {channel.history_key} says otherwise",
                next_step="somebody wrote there by hand: run `f2f verify`, then restore the one that verifies",
            )


def _json(channel: Channel) -> bytes:
    return channel.model_dump_json(indent=1).encode()
