"""From a release to its frames and from a frame to its releases, against a real S3 server.

Does not touch time: benchmarks/lineage.py measures a million frames.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from tasks.frame_digests import WIDTH, contains
from tasks.frame_lineage import COLUMNS, NoSuchFrame, frames_of, releases_with
from tasks.record import digest_of
from tasks.releases import load_release
from tasks.store import Store
from tests.tasks.published import published


def test_every_frame_behind_a_release_is_listed(store: Store) -> None:
    published(store, rows=500)
    frames = pa.Table.from_batches(frames_of(store, load_release(store, 1)))
    assert frames.column_names == list(COLUMNS)
    assert set(frames["pixels_sha256"].to_pylist()) == {digest_of(("pixels", i)) for i in range(500)}


def test_a_frame_leads_to_every_release_that_it_is_in_and_to_no_other(store: Store) -> None:
    published(store, "one", rows=300)
    published(store, "two", rows=900)
    old, new, none = (digest_of(("pixels", i)) for i in (7, 700, 5000))
    assert [release.number for release in releases_with(store, old)] == [1, 2]
    assert [release.number for release in releases_with(store, new)] == [2]
    assert releases_with(store, none) == []
    by_object = hashlib.sha256(f"object of {new}".encode()).hexdigest()
    assert [release.number for release in releases_with(store, by_object)] == [2]


@pytest.mark.parametrize("wrong", ["", "abc", "g" * 64, digest_of("x").upper()])
def test_what_is_no_digest_is_refused(store: Store, wrong: str) -> None:
    with pytest.raises(NoSuchFrame, match="no SHA-256"):
        releases_with(store, wrong)


@pytest.mark.parametrize("count", [0, 1, 2, 17, 1000, 20_000])
def test_every_digest_is_found_and_a_near_miss_is_not(count: int) -> None:
    digests = sorted(hashlib.sha256(str(i).encode()).digest() for i in range(count))
    data = b"".join(one[:WIDTH] for one in digests)
    for one in digests[:: max(1, count // 200)]:
        assert contains(lambda a, b: data[a:b], len(data), one.hex())
        miss = (int.from_bytes(one[:WIDTH], "big") + 1).to_bytes(WIDTH, "big") + one[WIDTH:]
        assert not contains(lambda a, b: data[a:b], len(data), miss.hex())
    for edge in ("00" * 32, "ff" * 32):
        assert not contains(lambda a, b: data[a:b], len(data), edge)


def test_digests_that_are_not_spread_evenly_are_found_all_the_same() -> None:
    digests = sorted((n**3).to_bytes(WIDTH, "big") for n in range(4000))
    data = b"".join(digests)
    rng = np.random.default_rng(1)
    for one in (digests[int(i)] for i in rng.integers(0, 4000, 200)):
        assert contains(lambda a, b: data[a:b], len(data), one.hex() + "00" * (32 - WIDTH))


def test_a_million_digests_take_one_small_read() -> None:
    data = np.sort(np.frombuffer(np.random.default_rng(3).bytes(1_000_000 * WIDTH), f"S{WIDTH}")).tobytes()
    reads: list[int] = []

    def read(start: int, stop: int) -> bytes:
        reads.append(stop - start)
        return data[start:stop]

    for place in range(0, 1_000_000, 5003):
        wanted = data[place * WIDTH : (place + 1) * WIDTH]
        reads.clear()
        assert contains(read, len(data), wanted.hex() + "00" * (32 - WIDTH))
        assert len(reads) <= 2
        assert sum(reads) < 512 * 1024
