"""Promotion and rollback: a passed candidate becomes a signed release, and the channel moves to it; or back."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from tasks import channels
from tasks.candidates import candidates, newest_passed
from tasks.compare import compare
from tasks.errors import PipelineError
from tasks.lineage import Candidate
from tasks.parameters import PromoteParameters
from tasks.progress import Progress, silent
from tasks.release_records import Channel, Comparison, Release
from tasks.releases import load_release, publish, release_of
from tasks.signing import load_signing_key
from tasks.store import Store

ATTEMPTS = 100  # lost races in a row; in each of them somebody else moved the channel


class NotPromotable(PipelineError):
    """A candidate that cannot become a release."""


class RollbackRefused(PipelineError):
    """A rollback to where the channel cannot go."""


class ChannelContended(PipelineError):
    """Too many lost races in a row."""


class Promotion(BaseModel):
    """What came of a candidate.

    released    it is a release, and the channel moved to it
    would       a dry run: it would be released
    kept        the channel keeps what it has: the comparison did not pass
    already     it is in the channel
    superseded  it is a release, but the channel holds, or held, a newer one
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    outcome: Literal["released", "would", "kept", "already", "superseded"]
    candidate: str
    channel: str
    release: Release | None
    held: Channel | None  # what the channel holds now
    comparison: Comparison | None
    sentence: str


def promote(
    store: Store, candidate: Candidate, parameters: PromoteParameters, *, progress: Progress = silent
) -> Promotion:
    """Compares `candidate` with what the channel holds and, unless this is a dry run, publishes it.

    May be killed at any time and run any number of times, by several processes at once: a candidate has one release,
    and the channel never moves to an older release than it had. Raises `NotPromotable`, `ChannelContended`,
    `tasks.signing.KeyMissing`, `tasks.interpreters.InterpreterError`.
    """
    if not candidate.passed or candidate.report is None:
        raise NotPromotable(
            f"candidate {candidate.digest[:12]} did not pass: it is never released",
            next_step=f"its report {candidate.html} says which rule is broken",
        )
    key = None if parameters.dry_run else load_signing_key(store.where)
    for _ in range(ATTEMPTS):
        held, etag = channels.read(store, parameters.channel)
        release = load_release(store, held.release) if held else None
        if release and held and release.candidate == candidate.digest:
            return _came_of(candidate, parameters, "already", release, held, None)
        comparison = compare(store, candidate, release, parameters.compare, progress)
        if not comparison.passed:
            return _came_of(candidate, parameters, "kept", None, held, comparison)
        if key is None:
            before = release_of(store, candidate)
            if before and held and before.number <= held.highest:
                return _came_of(candidate, parameters, "superseded", before, held, comparison)
            return _came_of(candidate, parameters, "would", None, held, comparison)
        made = publish(store, candidate, comparison, previous=release.number if release else None, key=key)
        if held and made.number <= held.highest:
            return _came_of(candidate, parameters, "superseded", made, held, comparison)
        reason = "; ".join(rule.reason for rule in comparison.rules)
        moved = channels.move(store, parameters.channel, held, etag, made, "promotion", reason, key)
        if moved:
            return _came_of(candidate, parameters, "released", made, moved, comparison)
    raise _contended(parameters.channel)


def rollback(store: Store, number: int, reason: str, channel: str = "stable") -> Channel:
    """Moves `channel` to release `number`, any up to the newest that it ever held, by a new, signed revision.

    What it leaves is not promoted again, only a newer release is; a second rollback may go there. Raises
    `RollbackRefused`, `NoSuchRelease`, `ChannelContended`, `tasks.signing.KeyMissing`.
    """
    if not reason.strip():
        raise RollbackRefused("a rollback without a reason", next_step='say why: f2f rollback 3 --reason "..."')
    key = load_signing_key(store.where)
    for _ in range(ATTEMPTS):
        held, etag = channels.read(store, channel)
        if held is None:
            raise RollbackRefused(
                f"channel {channel} holds nothing to roll back from", next_step="`f2f releases` shows every channel"
            )
        target = load_release(store, number)
        if number == held.release or number > held.highest:
            why = f"channel {channel} holds it" if number == held.release else "it was never in the channel"
            raise RollbackRefused(
                f"release {number} is not an earlier one of channel {channel}: {why}",
                next_step=f"any other release up to {held.highest} will do; `f2f promote --publish` is for a newer one",
            )
        moved = channels.move(store, channel, held, etag, target, "rollback", reason.strip(), key)
        if moved:
            return moved
    raise _contended(channel)


def release_before(store: Store, channel: str) -> int:
    """The release that `channel` held before the one that it holds. Raises `RollbackRefused` where there is none."""
    revisions = channels.history(store, channel)
    earlier = [revision.release for revision in revisions if revision.release != revisions[-1].release]
    if not earlier:
        raise RollbackRefused(
            f"channel {channel} never held another release", next_step="`f2f releases` lists what was ever published"
        )
    return earlier[-1]


def find(store: Store, digest: str = "") -> Candidate:
    """The candidate whose digest begins with `digest`; without one the newest that passed. Raises `NotPromotable`."""
    if digest:
        found = [candidate for candidate in candidates(store) if candidate.digest.startswith(digest)]
        if len(found) != 1:
            raise NotPromotable(
                f"{len(found)} candidates begin with {digest!r}" if found else f"there is no candidate {digest!r}",
                next_step="the start page of the reports lists them; give more digits",
            )
        return found[0]
    newest = newest_passed(store)
    if newest is None:
        raise NotPromotable("no candidate has passed its gate yet", next_step="run `f2f retrain`")
    return newest


def _came_of(
    candidate: Candidate,
    parameters: PromoteParameters,
    outcome: Literal["released", "would", "kept", "already", "superseded"],
    release: Release | None,
    held: Channel | None,
    comparison: Comparison | None,
) -> Promotion:
    name, short = parameters.channel, candidate.digest[:12]
    now = f"release {held.release}" if held else "nothing"
    broken = "; ".join(rule.reason for rule in comparison.rules if not rule.passed) if comparison else ""
    sentence = {
        "released": f"candidate {short} is release {release.number if release else 0}, now in channel {name}",
        "would": f"dry run: candidate {short} would be released to channel {name}, which holds {now}",
        "kept": f"channel {name} keeps {now}: {broken}",
        "already": f"candidate {short} is {now}, which channel {name} holds already",
        "superseded": f"candidate {short} is release {release.number if release else 0}, but channel {name} has had "
        f"release {held.highest if held else 0}: only a newer one is promoted",
    }[outcome]
    return Promotion(
        outcome=outcome,
        candidate=candidate.digest,
        channel=name,
        release=release,
        held=held,
        comparison=comparison,
        sentence=sentence,
    )


def _contended(channel: str) -> ChannelContended:
    return ChannelContended(
        f"channel {channel} was moved by others {ATTEMPTS} times in a row",
        next_step="run the same command again: nothing is half-published",
    )
