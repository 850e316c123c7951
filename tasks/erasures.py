"""Signed records of what was erased: with them a release verifies whose report or golden frames showed an erased frame.

Only `tasks/verify.py` believes them, only with a signature by a trusted key, and only for the two kinds of artefacts
that hold pictures: what is flashed is never excused.
"""

import fnmatch
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from tasks.release_records import Artefact, Erasure
from tasks.releases import sha256_of
from tasks.signing import SignatureRefused, check
from tasks.store import ObjectMissing, Store

FOLDER = "erasures/"
WITH_PICTURES = ("report.html", "firmware/*/golden-frames.npy")  # names of artefacts


class State(NamedTuple):
    """What an object is, or became: its key, its SHA-256, and the erasures that led there."""

    key: str
    sha256: str
    by: tuple[Erasure, ...]


@dataclass(frozen=True)
class Erasures:
    """All erasures in the bucket. `refused`: key of a record -> why it does not count."""

    signed: tuple[Erasure, ...]
    refused: Mapping[str, str]

    @property
    def pixels(self) -> frozenset[str]:
        """pixels_sha256 of all erased frames."""
        return frozenset(one for erasure in self.signed for one in erasure.pixels)

    def states(self, key: str, sha256: str) -> Iterator[State]:
        """What became of an object, in the order of its erasures; the object itself is not among it."""
        seen = {(key, sha256)}
        open_ = [State(key, sha256, ())]
        while open_:
            here = open_.pop(0)
            for erasure in self.signed:
                before, after = erasure.replaced.get(here.key, ("", ""))
                place = moved_to(here.key, before, after)
                if before == here.sha256 and (place, after) not in seen:
                    seen.add((place, after))
                    open_.append(State(place, after, (*here.by, erasure)))
                    yield open_[-1]

    def excuse(self, store: Store, name: str, artefact: Artefact, found: str | None) -> str | None:
        """Why artefact `name` of a release is not what was published, where an erasure says so; None where none does.

        `found`: SHA-256 of what lies under the artefact's key, None where nothing does. A blob must be gone, and what
        it became is read and compared; anything else must have changed exactly as the erasure says.
        """
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in WITH_PICTURES):
            return None
        for state in self.states(artefact.key, artefact.sha256):
            here = found if state.key == artefact.key else _sha256_if_there(store, state.key) if found is None else None
            if here == state.sha256:
                return "; ".join(_said(erasure) for erasure in state.by)
        return None


def load_erasures(store: Store, trusted: Mapping[str, Ed25519PublicKey]) -> Erasures:
    """All erasures that carry a signature by a trusted key; the others are named with the reason."""
    keys = [item.key for item in store.list(FOLDER)]
    refused: dict[str, str] = {}

    def one(key: str) -> Erasure | None:
        written = store.get(key)
        try:
            check(written, Erasure, trusted, what=key)
            return Erasure.model_validate_json(written)
        except SignatureRefused as error:
            refused[key] = error.message
        except ValidationError as error:
            refused[key] = f"{key} cannot be read: {error.errors()[0]['msg']}"
        return None

    with ThreadPoolExecutor(8) as threads:
        found = [erasure for erasure in threads.map(one, keys) if erasure]
    return Erasures(tuple(sorted(found, key=lambda erasure: (erasure.at, erasure.digest))), refused)


def moved_to(key: str, before: str, after: str) -> str:
    """Where an object is after its content changed: a blob is named by it, everything else keeps its key."""
    return f"blobs/{after}" if key == f"blobs/{before}" else key


def _sha256_if_there(store: Store, key: str) -> str | None:
    try:
        return sha256_of(store, key)
    except ObjectMissing:
        return None


def _said(erasure: Erasure) -> str:
    count = len(erasure.pixels)
    frames = f"{count:,} frame{'s were' if count != 1 else ' was'}"
    reason = f": {erasure.reason}" if erasure.reason else ""
    return f"{frames} erased on {erasure.at:%Y-%m-%d} (signed by key {_key_of(erasure)}){reason}"


def _key_of(erasure: Erasure) -> str:
    return erasure.signature.key if erasure.signature else "none"
