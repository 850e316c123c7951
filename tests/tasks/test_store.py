"""The bucket against a real S3 server. Does not touch Prefect or TensorFlow."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.settings import Settings
from tasks.store import BucketMissing, ObjectMissing, Store


def test_a_missing_bucket_is_named(where: Settings) -> None:
    with pytest.raises(BucketMissing, match=where.bucket):
        Store(where).probe()


def test_sixteen_racing_creators_have_one_winner(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        wins = list(pool.map(lambda n: store.create("race", str(n).encode()), range(16)))
    assert sum(wins) == 1
    assert store.get("race") == str(wins.index(True)).encode()


def test_a_good_store_passes_the_probe_and_keeps_nothing_of_it(store: Store) -> None:
    store.probe()
    assert list(store.list("")) == []


def test_a_missing_object_is_named(store: Store) -> None:
    with pytest.raises(ObjectMissing, match="nothing/here"):
        store.get("nothing/here")
