"""The frame index against a real S3 server: append, races, compaction, labels, damage. Rows are made here; how
objects become rows is in test_ingest.py."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow.compute as pc
import pytest

from tasks import frame_index
from tasks.frame_index import HEAD, IndexDamaged, LabelsRefused, compact, load, publish, set_labels, table_of
from tasks.settings import Settings
from tasks.store import DigestMismatch, Store


def pixels_of(number: int) -> str:
    return f"{number:064x}"


def frame(number: int, label: str | None = "person") -> dict[str, object]:
    return {
        "kind": "frame",
        "key": f"frames/2026-11-20/cam/s{number // 4}/{number}.raw",
        "pixels_sha256": pixels_of(number),
        "label": label,
        "label_source": "metadata" if label else None,
        "session": f"s{number // 4}",
        "split": "train",
    }


def append(store: Store, *numbers: int, label: str | None = "person") -> None:
    publish(store, lambda index: table_of([frame(n, label) for n in numbers]))


def labels(store: Store) -> dict[str, str | None]:
    frames = load(store).frames
    return dict(zip(frames["pixels_sha256"].to_pylist(), frames["label"].to_pylist(), strict=True))


def test_an_empty_bucket_has_an_empty_index(store: Store) -> None:
    index = load(store)
    assert (index.head.revision, index.frames.num_rows, index.etag) == (0, 0, None)


def test_appended_rows_come_back_in_order_and_the_revision_grows(store: Store) -> None:
    append(store, 1, 2)
    append(store, 0)
    index = load(store)
    assert index.head.revision == 2
    assert index.frames["pixels_sha256"].to_pylist() == [pixels_of(1), pixels_of(2), pixels_of(0)]


def test_nothing_new_writes_nothing(store: Store) -> None:
    append(store, 1)
    before = store.get_object(HEAD).etag
    publish(store, lambda index: table_of([]))
    assert store.get_object(HEAD).etag == before


def test_the_watermark_never_moves_back(store: Store) -> None:
    from datetime import date

    publish(store, lambda index: table_of([]), watermark=date(2026, 11, 20))
    publish(store, lambda index: table_of([]), watermark=date(2026, 11, 2))
    assert load(store).head.watermark == date(2026, 11, 20)


def test_racing_writers_lose_nothing_and_see_what_the_others_wrote(store: Store) -> None:
    start = threading.Barrier(8)

    def write(writer: int) -> None:
        start.wait()
        for number in range(5):
            wanted = {number, 100 + writer * 10 + number}  # the first is wanted by all, the second by one

            def rows_for(index: frame_index.FrameIndex, wanted: set[int] = wanted) -> object:
                there = set(index.rows["pixels_sha256"].to_pylist())
                return table_of([frame(n) for n in sorted(wanted) if pixels_of(n) not in there])

            publish(store, rows_for)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    found = load(store).frames["pixels_sha256"].to_pylist()
    assert sorted(found) == sorted(
        {pixels_of(n) for n in [*range(5), *(100 + w * 10 + n for w in range(8) for n in range(5))]}
    )


def test_many_small_segments_become_one_with_the_same_rows(store: Store) -> None:
    for number in range(20):
        append(store, number)
    before = load(store)
    head = compact(store)
    after = load(store)
    assert len(before.head.segments) == 20
    assert len(head.segments) == 1
    assert after.rows.equals(before.rows)
    assert after.head.revision == before.head.revision + 1
    assert compact(store) == head


def test_a_large_old_segment_is_left_alone_by_compaction(store: Store) -> None:
    append(store, *range(5000))
    for number in range(5000, 5016):
        append(store, number)
    assert [segment.rows for segment in compact(store).segments] == [5000, 16]


def test_compaction_beside_writers_loses_nothing(store: Store, where: Settings) -> None:
    for number in range(16):
        append(store, number)
    done = threading.Event()

    def compact_again_and_again() -> int:
        other, rounds = Store(where), 0
        while not done.is_set():
            compact(other)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(5) as threads:
        compactor = threads.submit(compact_again_and_again)
        list(threads.map(lambda w: [append(store, 100 + w * 20 + n) for n in range(20)], range(4)))
        done.set()
        assert compactor.result() > 1
    found = load(store)
    assert sorted(found.frames["pixels_sha256"].to_pylist()) == [pixels_of(n) for n in [*range(16), *range(100, 180)]]
    assert len(found.head.segments) < 96


def test_a_later_label_wins_and_moves_no_frame(store: Store) -> None:
    append(store, 1, 2, 3, label=None)
    before = load(store).frames.drop_columns(["label", "label_source"])
    assert set_labels(store, {pixels_of(1): "person", str(frame(2)["key"]): "no_person"}) == 2
    assert set_labels(store, {pixels_of(1): "no_person"}) == 1
    frames = load(store).frames
    assert labels(store) == {pixels_of(1): "no_person", pixels_of(2): "no_person", pixels_of(3): None}
    assert frames["label_source"].to_pylist() == ["index", "index", None]
    assert frames.drop_columns(["label", "label_source"]).equals(before)


def test_a_label_can_be_taken_away_and_given_again(store: Store) -> None:
    append(store, 1)
    set_labels(store, {pixels_of(1): None})
    assert labels(store) == {pixels_of(1): None}
    set_labels(store, {pixels_of(1): "no_person"})
    assert labels(store) == {pixels_of(1): "no_person"}


def test_a_label_survives_compaction(store: Store) -> None:
    for number in range(20):
        append(store, number)
    set_labels(store, {pixels_of(3): "no_person"})
    set_labels(store, {pixels_of(3): "person", pixels_of(4): "no_person"})
    before = labels(store)
    compact(store)
    assert labels(store) == before
    assert (before[pixels_of(3)], before[pixels_of(4)]) == ("person", "no_person")


def test_the_label_that_is_there_already_writes_nothing(store: Store) -> None:
    append(store, 1)
    revision = load(store).head.revision
    assert set_labels(store, {pixels_of(1): "person"}) == 0
    assert load(store).head.revision == revision


def test_labels_for_unknown_frames_change_nothing(store: Store) -> None:
    append(store, 1)
    with pytest.raises(LabelsRefused, match=r"1 of 2 names are no frame of the index, e\.g\. frames/no/such"):
        set_labels(store, {pixels_of(1): "no_person", "frames/no/such": "person"})
    assert labels(store) == {pixels_of(1): "person"}


def test_a_label_that_is_none_is_refused_with_those_that_are(store: Store) -> None:
    append(store, 1)
    with pytest.raises(LabelsRefused, match=r"no such label: cat\n.*no_person and person"):
        set_labels(store, {pixels_of(1): "cat"})  # type: ignore[dict-item]


def test_a_damaged_head_says_what_to_do(store: Store) -> None:
    store.put(HEAD, b"not json")
    with pytest.raises(IndexDamaged, match="restore an earlier version"):
        load(store)


def test_a_missing_or_changed_segment_is_said_by_name(store: Store, where: Settings) -> None:
    append(store, 1)
    segment = json.loads(store.get(HEAD))["segments"][0]
    elsewhere = Store(where.model_copy(update={"data_dir": where.data_dir / "elsewhere"}))
    store.put(segment["key"], b"something else")
    with pytest.raises(DigestMismatch, match=segment["key"]):
        load(elsewhere)
    store.delete(segment["key"])
    with pytest.raises(IndexDamaged, match=segment["key"]):
        load(elsewhere)


def test_only_the_columns_asked_for_are_read(store: Store) -> None:
    append(store, 1)
    assert load(store, ["kind", "key"]).rows.column_names == ["kind", "key"]
    assert pc.unique(load(store).rows["kind"]).to_pylist() == ["frame"]
