"""Claims: which frames got their retrain, so that one set of frames gets one, however many watchers look at once.

A log without gaps: `claims/<number>.json`, each created once by conditional write. Whoever loses the race for a number
reads the winner's claim and decides again. A claim names its frames by a number of index rows: the index is
append-only, so those are the same frames for ever. Its digest is the idempotency key under which its retrain is
started, as often as it takes until there is a run. When that run has ended, `claims/<number>-outcome.json` closes the
claim, so that nothing starts it again, not even a Prefect server that has lost its database.
"""

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from tasks.lineage import Label
from tasks.record import Record
from tasks.store import Store

FOLDER = "claims/"
_KEY = re.compile(r"claims/(\d{6})(-outcome)?\.json")
_JSON = "application/json"

Why = Literal["first", "per_class", "fraction", "age"]  # the rule of the policy that fired


class Claim(Record):
    """One set of frames, and the retrain that it gets."""

    # The time is in it: in another bucket, or after this one was emptied, claim 1 is another claim.
    IDENTITY = ("number", "index_revision", "rows", "parameters", "claimed_at")
    number: int = Field(ge=1, lt=10**6)
    index_revision: int = Field(ge=1)
    rows: int = Field(ge=1)  # of the index, from its first: the frames and labels that it covers
    labelled: dict[Label, int]  # labelled frames among them
    new: dict[Label, int]  # of those, the ones that the claim before did not have
    why: Why
    reason: str  # the same as a sentence with figures
    parameters: dict[str, JsonValue]  # of the flow `retrain`: what a later look starts must be what was claimed
    claimed_at: AwareDatetime

    @property
    def key(self) -> str:
        return f"{FOLDER}{self.number:06d}.json"

    @property
    def outcome_key(self) -> str:
        return f"{FOLDER}{self.number:06d}-outcome.json"


class Outcome(BaseModel):
    """How the retrain of a claim ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    claim: str  # its digest
    state: Literal["completed", "failed", "crashed", "cancelled"]
    name: str  # Passed or Rejected where it completed
    message: str
    flow_run: str
    resumes: int = Field(ge=0)
    closed_at: AwareDatetime


class Entry(NamedTuple):
    """A claim, and how it ended; without an outcome it is open."""

    claim: Claim
    outcome: Outcome | None

    @property
    def open(self) -> bool:
        return self.outcome is None


def newest(store: Store) -> Entry | None:
    """The claim with the greatest number; None where there is none yet."""
    keys = {item.key for item in store.list(FOLDER)}
    claims = [key for key in keys if (match := _KEY.fullmatch(key)) and not match[2]]
    if not claims:
        return None
    claim = store.get_record(max(claims), Claim)
    closed = claim.outcome_key in keys
    return Entry(claim, store.get_record(claim.outcome_key, Outcome) if closed else None)


def make(store: Store, decide: Callable[[Entry | None], Claim | None]) -> Claim | None:
    """Writes the claim that `decide` gives for the newest one; None where it gives none.

    `decide` is called again on the newer claim after each lost race: it must look at the index again as well.
    """
    while True:
        claim = decide(newest(store))
        if claim is None:
            return None
        if store.create(claim.key, claim.model_dump_json(indent=1).encode(), content_type=_JSON):
            return claim
        # Where an answer was lost and the write repeated, the store says no to the one who won: then it is there.
        if store.get_record(claim.key, Claim) == claim:
            return claim


def close(store: Store, claim: Claim, outcome: Outcome) -> Outcome:
    """Stores how the claim ended, once; returns what is stored, which may be another watcher's."""
    data = outcome.model_dump_json(indent=1).encode()
    if store.create(claim.outcome_key, data, content_type=_JSON):
        return outcome
    return store.get_record(claim.outcome_key, Outcome)
