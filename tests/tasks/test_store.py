"""The bucket against a real S3 server, and against one with the faults that stores have: conditions ignored, wrong
credentials, nobody there, uploads that break off, blobs that were replaced. Does not touch Prefect or TensorFlow.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.settings import Settings
from tasks.store import (
    AccessRefused,
    BucketMissing,
    ConditionsIgnored,
    DigestMismatch,
    ObjectMissing,
    Store,
    StoreUnreachable,
)
from tests.conftest import ACCESS_KEY, free_port
from tests.tasks.s3_front import front


def test_a_missing_bucket_is_named(where: Settings) -> None:
    with pytest.raises(BucketMissing, match=where.bucket):
        Store(where).probe()


def test_sixteen_racing_creators_have_one_winner(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        wins = list(pool.map(lambda n: store.create("race", str(n).encode()), range(16)))
    assert sum(wins) == 1
    assert store.get("race") == str(wins.index(True)).encode()


def test_two_hundred_contended_swaps_lose_nothing(store: Store) -> None:
    store.put("counter", b"0")

    def add_one(_: int) -> int:
        for attempt in range(1, 500):
            now = store.get_object("counter")
            if store.swap("counter", str(int(now.data) + 1).encode(), now.etag):
                return attempt
        raise AssertionError("500 attempts and no swap went through")

    with ThreadPoolExecutor(8) as pool:
        attempts = list(pool.map(add_one, range(200)))
    assert store.get("counter") == b"200"
    assert sum(attempts) > 200, "there was no contention: this proved nothing"


def test_a_swap_of_what_is_not_there_creates_only_without_an_etag(store: Store) -> None:
    assert not store.swap("new", b"1", '"d41d8cd98f00b204e9800998ecf8427e"')
    assert not store.exists("new")
    assert store.swap("new", b"1", None)
    assert not store.swap("new", b"2", None)
    assert store.get("new") == b"1"


def test_a_good_store_passes_the_probe_and_keeps_nothing_of_it(store: Store) -> None:
    store.probe()
    assert list(store.list("")) == []


@pytest.mark.parametrize(
    ("ignored", "named"),
    [
        ({"if-none-match"}, "If-None-Match"),
        ({"if-match"}, "If-Match"),
        ({"if-none-match", "if-match"}, "If-None-Match and If-Match"),
    ],
)
def test_a_store_that_ignores_conditions_is_refused_and_left_clean(store: Store, ignored: set[str], named: str) -> None:
    with front(store, ignored=frozenset(ignored)) as where, pytest.raises(ConditionsIgnored) as refused:
        Store(where).probe()
    assert f"ignores {named}:" in refused.value.message
    assert "versitygw" in refused.value.next_step
    assert list(store.list("")) == []


def test_the_same_front_without_a_fault_passes(store: Store) -> None:
    with front(store) as where:
        Store(where).probe()


@pytest.mark.parametrize(("key", "secret"), [(ACCESS_KEY, "wrong"), ("nobody", "wrong")])
def test_wrong_credentials_are_refused_access(store: Store, tmp_path: Path, key: str, secret: str) -> None:
    file = tmp_path / "credentials"
    file.write_text(f"[test]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
    wrong = Store(store.where.model_copy(update={"credentials_file": file}))
    for attempt in (wrong.probe, lambda: wrong.get("x"), lambda: wrong.put("x", b"1"), lambda: list(wrong.list(""))):
        with pytest.raises(AccessRefused, match="refused access"):
            attempt()


def test_missing_credentials_are_said_to_be_missing(store: Store) -> None:
    bare = store.where.model_copy(update={"profile": None, "credentials_file": None})
    with pytest.raises(AccessRefused, match="no S3 credentials"):
        Store(bare).probe()


def test_a_missing_profile_is_named(store: Store) -> None:
    with pytest.raises(AccessRefused, match="'typo'"):
        Store(store.where.model_copy(update={"profile": "typo"}))


def test_an_endpoint_where_nobody_listens_is_unreachable(store: Store) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(StoreUnreachable, match=nobody):
        Store(store.where.model_copy(update={"endpoint_url": nobody})).probe()


def test_a_missing_object_is_named(store: Store) -> None:
    with pytest.raises(ObjectMissing, match="nothing/here"):
        store.get("nothing/here")
    with pytest.raises(ObjectMissing, match="nothing/here"), store.stream("nothing/here"):
        pass
    assert store.head("nothing/here") is None


def test_keys_below_a_prefix_stay_among_themselves(store: Store) -> None:
    team = Store(store.where.model_copy(update={"prefix": "/team/a/"}))
    store.put("frames/1", b"outside")
    team.put("frames/2", b"inside")
    team.put("frames/day/3", b"inside")
    assert [item.key for item in team.list("frames/")] == ["frames/2", "frames/day/3"]
    assert [item.key for item in team.list("", start_after="frames/2")] == ["frames/day/3"]
    assert list(team.list_folders("frames/")) == ["frames/day/"]
    assert not team.exists("frames/1")
    assert store.get("team/a/frames/2") == b"inside"
    team.probe()


def test_a_listing_is_complete_beyond_one_page(store: Store) -> None:
    keys = [f"many/{number:04d}" for number in range(1005)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: store.put(key, b""), keys))
    assert [item.key for item in store.list("many/")] == keys


def test_metadata_come_back_with_the_object(store: Store) -> None:
    store.put("frame", b"pixels", content_type="image/png", metadata={"label": "person"})
    found = store.get_object("frame")
    assert (found.data, found.metadata["label"]) == (b"pixels", "person")


def test_a_stream_gives_the_object_in_chunks(store: Store) -> None:
    data = bytes(range(256)) * 10_000
    store.put("big", data, content_type="text/plain")
    with store.stream("big", chunk_bytes=100_000) as found:
        chunks = list(found.chunks)
    assert (found.size, found.content_type) == (len(data), "text/plain")
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) <= 100_000


def test_an_upload_that_breaks_off_leaves_nothing(store: Store) -> None:
    data = b"x" * 3_000_000
    with front(store, cut_after=1_000_000) as where, pytest.raises(StoreUnreachable):
        Store(where).put("half", data)
    assert not store.exists("half")
    store.put("half", data)
    assert store.head("half").size == len(data)  # type: ignore[union-attr]


def test_a_blob_is_named_by_its_bytes_and_comes_from_the_cache(store: Store) -> None:
    digest = store.put_blob(b"weights")
    assert digest == hashlib.sha256(b"weights").hexdigest()
    assert store.put_blob(b"weights") == digest
    assert [item.key for item in store.list("blobs/")] == [f"blobs/{digest}"]
    store.delete(f"blobs/{digest}")
    assert store.get_blob(digest) == b"weights", "the cached copy needs no bucket"


def test_a_replaced_blob_is_noticed_and_not_cached(store: Store, tmp_path: Path) -> None:
    digest = store.put_blob(b"weights")
    store.put(f"blobs/{digest}", b"others")
    elsewhere = Store(store.where.model_copy(update={"data_dir": tmp_path / "elsewhere"}))
    for _ in range(2):
        with pytest.raises(DigestMismatch, match=digest[:12]):
            elsewhere.get_blob(digest)
    store.put(f"blobs/{digest}", b"weights")
    assert elsewhere.get_blob(digest) == b"weights"
