"""Finished runs in the bucket, newest first: what `f2f export` and later stages start from."""

from collections.abc import Iterator

from tasks.lineage import Candidate
from tasks.store import Store

FOLDER = "models/candidates/"


def candidates(store: Store) -> Iterator[Candidate]:
    """All finished runs, the newest decision first."""
    for item in sorted(store.list(FOLDER), key=lambda found: found.key, reverse=True):
        yield store.get_record(item.key, Candidate)


def find_candidate(store: Store, digest: str) -> Candidate | None:
    """The stored candidate with this digest (its time of decision is the first one)."""
    for item in store.list(FOLDER):
        if item.key.endswith(f"-{digest[:16]}.json"):
            return store.get_record(item.key, Candidate)
    return None


def newest_passed(store: Store) -> Candidate | None:
    """The candidate that passed its gate last."""
    return next((candidate for candidate in candidates(store) if candidate.passed), None)
