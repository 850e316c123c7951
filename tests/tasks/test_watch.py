"""When a retrain is due, which devices are silent, and that a data set of claimed rows stays what it was. The policy is
tried on index rows made here, the claimed rows on a real S3 server. Claims themselves are in test_claims.py, the flow
in tests/flows/test_watch_flow.py; how frames are forgotten is in test_forget.py."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tasks import frame_index
from tasks.claims import Claim
from tasks.dataset import build_dataset, load_manifest
from tasks.frame_index import FrameIndex, Head, IndexShorter
from tasks.ingest import ingest
from tasks.parameters import DatasetParameters, SplitParameters, ValidationParameters, WatchPolicy
from tasks.store import Store
from tasks.watch import Decision, decide, silent_devices
from tests.tasks import landing

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
NO_LEAST = ValidationParameters(min_frames_train=2, min_frames_val=2, min_frames_test=2)
Rows = list[dict[str, Any]]


def frames(label: str | None, numbers: range, device: str = "cam", split: str = "") -> Rows:
    """Frame rows; without `split` 80 % train, 10 % val, 10 % test."""
    dealt = {0: "val", 1: "test"}
    return [
        {
            "kind": "frame",
            "key": f"frames/2026-11-20/{device}/s{number}/{number}.raw",
            "pixels_sha256": f"{label}-{number}",
            "label": label,
            "device": device,
            "split": split or dealt.get(number % 10, "train"),
        }
        for number in numbers
    ]


def labels(label: str | None, of: Rows) -> Rows:
    """Rows that give those frames another label."""
    return [{"kind": "label", "key": row["key"], "pixels_sha256": row["pixels_sha256"], "label": label} for row in of]


def index(rows: Rows, revision: int = 7) -> FrameIndex:
    return FrameIndex(Head(revision=revision), None, frame_index.table_of(rows))


def both(count: int, start: int = 0, **more: Any) -> Rows:
    return [row for c in ("person", "no_person") for row in frames(c, range(start, start + count), **more)]


def claim(rows: int, days: float = 4, revision: int = 7) -> Claim:
    return Claim(
        number=1,
        index_revision=revision,
        rows=rows,
        labelled={},
        new={},
        why="first",
        reason="",
        parameters={},
        claimed_at=NOW - timedelta(days=days),
    )


def decided(
    rows: Rows,
    last: Claim | None = None,
    *,
    revision: int = 7,
    devices: tuple[str, ...] = (),
    validation: ValidationParameters = NO_LEAST,
    **policy: Any,
) -> Decision:
    chosen = WatchPolicy.model_validate(policy)
    return decide(index(rows, revision), last, chosen, DatasetParameters(devices=devices), validation, NOW)


# -- when it is due ----------------------------------------------------------------------------------------------------


def test_the_first_retrain_waits_for_enough_frames_of_each_class() -> None:
    found = decided(frames("person", range(199)) + frames("no_person", range(300)))
    assert found.why is None
    assert "199 of 200 new person frames, 300 of 200 new no_person frames" in found.sentence
    found = decided(frames("person", range(200)) + frames("no_person", range(300)))
    assert (found.why, found.new) == ("first", {"no_person": 300, "person": 200})


def test_an_empty_index_is_below_every_threshold() -> None:
    assert decided([]).sentence == (
        "waits for the first retrain; 0 of 200 new person frames, 0 of 200 new no_person frames; "
        "split train has 0 of 2 frames that the validation asks for; "
        "split val has 0 of 2 frames that the validation asks for; "
        "split test has 0 of 2 frames that the validation asks for"
    )


def test_only_what_came_after_the_claim_is_new() -> None:
    old = both(1000)
    rows = old + frames("person", range(1000, 1087)) + frames("no_person", range(1000, 1005))
    found = decided(rows, claim(len(old)))
    assert found.why is None
    assert (found.new, found.labelled) == ({"no_person": 5, "person": 87}, {"no_person": 1005, "person": 1087})
    assert found.sentence == (
        "waits; 87 of 200 new person frames, 5 of 200 new no_person frames; 4.6 % new of 10 % (92 of 200 frames); "
        "newest retrain 4 days old of 30"
    )


def test_enough_new_frames_of_each_class_start_a_retrain_and_one_less_of_either_does_not() -> None:
    old = both(10_000)
    last = claim(len(old))
    assert decided(old + both(200, 10_000), last).why == "per_class"
    for short in ("person", "no_person"):
        rows = [row for row in both(200, 10_000) if row["pixels_sha256"] != f"{short}-10000"]
        assert decided(old + rows, last).why is None


def test_a_fraction_of_the_frames_that_the_newest_retrain_had_starts_one_also_where_all_are_of_one_class() -> None:
    old = both(500)
    assert decided(old + frames("person", range(500, 599)), claim(len(old))).why is None
    found = decided(old + frames("person", range(500, 600)), claim(len(old)))
    assert (found.why, found.sentence) == ("fraction", "10 % new of 10 % (100 of 100 frames)")


def test_a_fraction_of_few_frames_is_no_reason() -> None:
    old = both(15)
    assert decided(old + both(10, 15), claim(len(old))).why is None, "20 new ones are 67 %, and fewer than 50"
    assert decided(old + both(25, 15), claim(len(old))).why == "fraction"
    assert decided(old + frames("person", range(15, 18)), claim(len(old)), min_new_frames=1).why == "fraction", (
        "3 of 30"
    )


def test_an_old_retrain_is_renewed_by_one_new_frame_and_not_without() -> None:
    old = both(500)
    one = old + frames("person", range(500, 501))
    assert decided(old, claim(len(old), days=31)).why is None
    assert decided(one, claim(len(old), days=29.9)).why is None
    assert decided(one, claim(len(old), days=30.1)).why == "age"
    assert decided(one, claim(len(old), days=3000), max_age_days=0).why is None


def test_a_frame_that_was_there_counts_when_it_gets_a_label_or_another_one() -> None:
    unlabelled = frames(None, range(300))
    wrong = frames("person", range(5000, 5005))
    old = both(1000) + unlabelled + wrong
    rows = old + labels("person", unlabelled[:200]) + labels("no_person", wrong) + labels("no_person", wrong)
    found = decided(rows, claim(len(old)))
    assert found.new == {"person": 200, "no_person": 5}
    assert decided(old, claim(len(old))).new == {"person": 0, "no_person": 0}


def test_a_label_that_was_given_again_or_taken_away_is_nothing_new() -> None:
    old = both(100)
    rows = old + labels("person", old[:50]) + labels(None, old[50:60])
    found = decided(rows, claim(len(old)))
    assert found.new == {"person": 0, "no_person": 0}
    assert found.labelled == {"person": 90, "no_person": 100}


def test_forgotten_frames_do_not_count_wherever_their_tombstone_is() -> None:
    old = both(100)
    new = both(50, 100)
    gone = [{"kind": "forgotten", "key": "-", "pixels_sha256": row["pixels_sha256"]} for row in old[:10] + new[:10]]
    found = decided(old + new + gone, claim(len(old)))
    assert (found.new, found.labelled) == ({"person": 40, "no_person": 50}, {"person": 130, "no_person": 150})


def test_unlabelled_frames_duplicates_and_refused_objects_do_not_count() -> None:
    old = both(100)
    others = [{**row, "kind": kind} for kind in ("duplicate", "refused") for row in both(500, 100)]
    assert decided(old + frames(None, range(500)) + others, claim(len(old))).new == {"person": 0, "no_person": 0}


def test_frames_of_devices_that_the_retrain_does_not_use_do_not_count() -> None:
    old = both(100)
    rows = old + both(500, 100, device="other") + both(7, 600)
    assert decided(rows, claim(len(old)), devices=("cam",)).new == {"person": 7, "no_person": 7}


def test_an_index_that_was_made_anew_is_all_new() -> None:
    rows = both(300)
    assert decided(rows, claim(len(rows)), revision=7).new == {"person": 0, "no_person": 0}
    assert decided(rows, claim(len(rows), revision=9), revision=8).new == {"person": 300, "no_person": 300}
    assert decided(rows, claim(len(rows) + 1), revision=99).new == {"person": 300, "no_person": 300}


def test_no_retrain_is_started_that_the_validation_is_sure_to_refuse() -> None:
    few = both(300)  # 480 of 600 in train
    found = decided(few, validation=ValidationParameters(min_frames_val=2, min_frames_test=2))
    assert found.why is None
    assert "split train has 480 of 1,000 frames" in found.sentence
    assert "split val" not in found.sentence
    assert decided(both(700), validation=ValidationParameters(min_frames_test=100)).why == "first"
    old = both(100)
    assert decided(few, claim(len(old)), validation=ValidationParameters()).why is None


# -- silent devices ----------------------------------------------------------------------------------------------------


def arrivals(*rows: tuple[str, float, str, str | None]) -> FrameIndex:
    """(device, hours ago, kind, label) as index rows."""
    made = [
        {
            "kind": kind,
            "key": f"frames/2026-11-20/{device}/s/{at}",
            "device": device,
            "label": label,
            "indexed_at": NOW - timedelta(hours=hours),
        }
        for at, (device, hours, kind, label) in enumerate(rows)
    ]
    return index(made)


def silent(found: FrameIndex, registered: Sequence[str] = (), hours: float = 24) -> list[tuple[str, float]]:
    return [(one.device, one.hours) for one in silent_devices(found, registered, hours, NOW)]


def test_a_device_is_silent_when_its_newest_object_is_old_whatever_became_of_it() -> None:
    rows = [("hall", 300.0, "frame", None), ("hall", 25.0, "frame", None), ("yard", 90.0, "frame", None)]
    assert silent(arrivals(*rows)) == [("yard", 90.0), ("hall", 25.0)]
    for kind in ("duplicate", "refused", "frame"):
        assert silent(arrivals(*rows, ("hall", 23.9, kind, None), ("yard", 1.0, kind, "person"))) == []
    assert silent(arrivals(*rows, ("hall", 1.0, "label", "person"))) == [("yard", 90.0), ("hall", 25.0)]
    assert silent(arrivals(*rows), hours=0) == []
    assert silent(index([])) == []


def test_an_imported_folder_is_no_device_that_could_fall_silent() -> None:
    rows = arrivals(("seed", 900.0, "frame", "person"), ("seed", 900.0, "refused", None), ("hall", 30.0, "frame", None))
    assert silent(rows) == [("hall", 30.0)]


def test_where_devices_are_registered_only_they_count_and_only_if_they_ever_sent_something() -> None:
    rows = arrivals(("gone", 900.0, "frame", None), ("hall", 30.0, "frame", "person"), ("yard", 1.0, "frame", None))
    assert silent(rows, registered=["hall", "yard", "never-sent"]) == [("hall", 30.0)]


# -- the claimed rows --------------------------------------------------------------------------------------------------


def pixels(store: Store, rows: int = 0) -> list[tuple[str, str]]:
    """(pixels, label) of the data set of the first `rows` rows."""
    version = build_dataset(store, DatasetParameters(balance="none"), index_rows=rows)
    manifest = load_manifest(store, version)
    return list(zip(manifest["pixels_sha256"].to_pylist(), manifest["label"].to_pylist(), strict=True))


@pytest.fixture
def claimed(store: Store) -> tuple[Store, int]:
    """A bucket with 80 frames in its index, then another 80 and a new label for one of the first."""
    landing.put_many(store, range(80))
    ingest(store, SplitParameters())
    rows = frame_index.load(store).rows
    landing.put_many(store, range(1000, 1080))
    ingest(store, SplitParameters())
    first = rows.filter(pc.equal(rows["label"], "person"))["key"][0].as_py()
    frame_index.set_labels(store, {first: "no_person"})
    return store, rows.num_rows


def test_a_data_set_of_the_claimed_rows_stays_the_same_while_frames_and_labels_come(
    claimed: tuple[Store, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, rows = claimed
    every = DatasetParameters(balance="none")
    before = build_dataset(store, every, index_rows=rows)
    landing.put_many(store, range(2000, 2080))
    ingest(store, SplitParameters())
    monkeypatch.setattr(frame_index, "MERGE_FROM", 2)
    monkeypatch.setattr(frame_index, "_worth_merging", lambda segments: segments)
    frame_index.compact(store)
    assert len(frame_index.load(store).head.segments) == 1
    assert build_dataset(store, every, index_rows=rows) == before
    assert sum(sum(counts.values()) for counts in before.counts.values()) == 80
    assert build_dataset(store, every).digest != before.digest


def test_the_number_of_rows_is_no_part_of_a_data_sets_name(claimed: tuple[Store, int]) -> None:
    store, _ = claimed
    every = frame_index.load(store).rows.num_rows
    assert build_dataset(store, DatasetParameters(), index_rows=every) == build_dataset(store, DatasetParameters())


def test_labels_that_came_after_the_claim_are_not_in_its_data_set(claimed: tuple[Store, int]) -> None:
    store, rows = claimed
    first, every = dict(pixels(store, rows)), dict(pixels(store))
    assert len(first) == 80
    assert [(first[name], every[name]) for name in first if first[name] != every[name]] == [("person", "no_person")]


def test_a_frame_forgotten_after_the_claim_is_not_in_its_data_set(claimed: tuple[Store, int]) -> None:
    store, rows = claimed
    gone = frame_index.load(store).rows["pixels_sha256"][3].as_py()
    tombstone = frame_index.table_of([{"kind": "forgotten", "key": "-", "pixels_sha256": gone}])
    before = pixels(store, rows)
    frame_index.publish(store, lambda index: tombstone)
    assert pixels(store, rows) == [frame for frame in before if frame[0] != gone]
    found = frame_index.load(store).first(rows).rows
    assert found.num_rows == rows + 1
    assert found.slice(rows).select(["kind", "pixels_sha256"]).to_pylist() == [
        {"kind": "forgotten", "pixels_sha256": gone}
    ]
    assert pc.all(pc.is_in(found.slice(0, rows)["kind"], value_set=pa.array(["frame"]))).as_py()


def test_rows_that_the_index_does_not_have_are_refused(claimed: tuple[Store, int]) -> None:
    store, _ = claimed
    every = frame_index.load(store).rows.num_rows
    with pytest.raises(IndexShorter, match="was made anew"):
        build_dataset(store, DatasetParameters(), index_rows=every + 1)
