"""Ingest against a real S3 server: what becomes a frame, what is refused, splits that stay, races, kills.

Not here: what decodes (test_frames.py), the deal itself (test_splits.py), the index's own promises
(test_frame_index.py). Speed is in benchmarks/ingest.py.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks import frame_index, frame_rows, inbox
from tasks import ingest as ingesting
from tasks.ingest import IngestSummary, ingest
from tasks.parameters import SplitParameters
from tasks.settings import PROJECT, Settings
from tasks.splits import SharesInvalid
from tasks.store import BucketMissing, Store
from tests.tasks import landing

DEFAULT = SplitParameters()


def frames_of(store: Store) -> pa.Table:
    return frame_index.load(store).frames


def by_key(store: Store) -> dict[str, dict[str, object]]:
    return {row["key"]: row for row in frames_of(store).to_pylist()}


def quarantine(store: Store) -> dict[str, dict[str, str]]:
    records = [json.loads(store.get(info.key)) for info in store.list("quarantine/")]
    return {record["key"]: record for record in records}


def assert_packed(store: Store, seeds: dict[str, int]) -> None:
    """Exactly these keys are frames, once each, and each one's shard and row hold its pixels."""
    rows = frames_of(store).to_pylist()
    assert Counter(row["key"] for row in rows) == Counter(seeds.keys())
    for row in rows:
        shard = np.load(store.blob_path(row["shard"]), mmap_mode="r")
        assert shard.dtype == np.uint8
        assert shard.shape[0] <= ingesting.SHARD_FRAMES
        np.testing.assert_array_equal(shard[row["row"]], landing.pixels(seeds[row["key"]]))


def test_a_labelled_frame_is_indexed_with_everything_that_is_known(store: Store) -> None:
    key = landing.put(store, 1, "person", session="walk", captured_at="2026-11-19T23:59:58+02:00")
    summary = ingest(store, DEFAULT)
    assert (summary.listed, summary.new, summary.indexed, summary.shards) == (1, 1, 1, 1)
    (row,) = frames_of(store).to_pylist()
    assert (row["key"], row["device"], row["session"]) == (key, "cam", "walk")
    assert (row["label"], row["label_source"], row["split_source"]) == ("person", "metadata", "assigned")
    assert row["captured_at"] == datetime(2026, 11, 19, 21, 59, 58, tzinfo=UTC)
    assert row["brightness"] == pytest.approx(landing.pixels(1).mean(), abs=0.01)
    assert_packed(store, {key: 1})


def test_a_second_ingest_finds_nothing_new(store: Store) -> None:
    landing.put_many(store, range(40))
    first = ingest(store, DEFAULT)
    again = ingest(store, DEFAULT)
    assert (first.indexed, first.index_revision) == (40, 1)
    assert (again.listed, again.new, again.shards, again.index_revision) == (40, 0, 0, 1)


def test_worker_processes_find_the_same_as_threads(store: Store) -> None:
    keys = landing.put_many(store, range(150))
    landing.put(store, 0, name="bad.jpg", data=b"no picture")
    items = [inbox.NewObject(info.key, info.size) for info in store.list("frames/")]
    threads, processes = list(inbox.land(store, items, processes=0)), list(inbox.land(store, items, processes=2))
    assert threads == processes
    assert [landed.key for landed in processes if not landed.reason] == sorted(keys)
    assert all(
        np.array_equal(a.pixels, b.pixels) for a, b in zip(threads, processes, strict=True) if a.pixels is not None
    )


def test_bad_objects_go_to_quarantine_by_name_and_stop_nobody(store: Store) -> None:
    good = landing.put(store, 1)
    reasons = {
        landing.put(store, 0, name="a.jpg", data=b""): "empty_file",
        landing.put(store, 0, name="b.jpg", data=b"<html>"): "not_an_image",
        landing.put(store, 0, name="c.raw", data=b"x" * 100): "wrong_raw_size",
        landing.put(store, 0, name="d.raw", data=bytes(19200)): "all_black",
        landing.put(store, 2, "cat"): "bad_metadata",
        landing.put(store, 3, split="holdout"): "bad_metadata",
        landing.put(store, 4, captured_at="yesterday"): "bad_metadata",
        landing.put(store, 5, captured_at="0001-01-01T00:00:00+14:00"): "bad_metadata",
    }
    for key in ("frames/loose.raw", "frames/20261120/cam/s/a.raw", "frames/2026-11-20/cam/a.raw"):
        store.put(key, landing.raw(len(key)))
        reasons[key] = "bad_key"
    summary = ingest(store, DEFAULT)
    assert summary.refused == dict(Counter(reasons.values()))
    assert {item.key: item.reason for item in summary.refused_examples} == reasons
    assert {key: record["reason"] for key, record in quarantine(store).items()} == reasons
    assert_packed(store, {good: 1})
    again = ingest(store, DEFAULT, full=True)
    assert (again.new, again.refused) == (0, {})
    assert all(store.exists(key) for key in reasons)


def test_an_object_that_is_far_too_large_is_refused_without_reading_it(store: Store) -> None:
    landed = inbox.read(store, inbox.NewObject("frames/2026-11-20/cam/s/huge.png", 10**12))
    assert landed.reason == "too_many_bytes"


def test_an_object_that_vanished_while_ingest_was_looking_leaves_no_trace(store: Store) -> None:
    assert inbox.read(store, inbox.NewObject("frames/2026-11-20/cam/s/gone.raw", 19200)).gone
    rows, tally = frame_rows.decide(frame_index.load(store), [inbox.Landed("frames/x", gone=True)], DEFAULT)
    assert (rows, tally.elsewhere) == ([], 1)


def test_the_same_pixels_are_one_frame_however_they_arrive(store: Store) -> None:
    first = landing.put(store, 1, device="a")
    landing.put(store, 1, device="b")  # the same file
    landing.put(store, 1, device="c", data=landing.png(1), name="1.png")  # the same pixels
    landing.put(store, 1, None, device="d")  # without a label
    summary = ingest(store, DEFAULT)
    assert (summary.indexed, summary.duplicates, summary.refused) == (1, 3, {})
    landing.put(store, 1, device="e")
    assert ingest(store, DEFAULT).duplicates == 1
    assert_packed(store, {first: 1})


def test_the_same_pixels_under_another_label_are_refused_and_the_first_stays(store: Store) -> None:
    first = landing.put(store, 1, "person", device="a")
    second = landing.put(store, 1, "no_person", device="b")
    assert ingest(store, DEFAULT).refused == {"label_conflict": 1}
    third = landing.put(store, 1, "no_person", device="c", data=landing.png(1), name="1.png")
    assert ingest(store, DEFAULT).refused == {"label_conflict": 1}
    assert by_key(store)[first]["label"] == "person"
    assert quarantine(store).keys() == {second, third}
    assert "there as person" in quarantine(store)[third]["message"]


def test_a_frame_without_a_label_gets_it_from_a_labelled_duplicate(store: Store) -> None:
    first = landing.put(store, 1, None, session="a", device="camera")
    summary = ingest(store, DEFAULT)
    assert (summary.indexed, summary.unlabelled) == (1, 1)
    before = by_key(store)[first]
    landing.put(store, 1, "no_person", session="b", device="desk")
    summary = ingest(store, DEFAULT)
    assert (summary.indexed, summary.duplicates, summary.relabelled) == (0, 1, 1)
    assert by_key(store)[first] == before | {"label": "no_person", "label_source": "metadata"}


def test_a_label_given_in_the_index_decides_what_a_conflict_is(store: Store) -> None:
    first = landing.put(store, 1, "person")
    ingest(store, DEFAULT)
    frame_index.set_labels(store, {first: "no_person"})
    landing.put(store, 1, "no_person", device="b")
    landing.put(store, 1, "person", device="c")
    summary = ingest(store, DEFAULT)
    assert (summary.duplicates, summary.refused) == (1, {"label_conflict": 1})


def test_a_session_never_crosses_splits_and_never_moves(store: Store) -> None:
    rng = np.random.default_rng(5)
    first_split: dict[str, str] = {}
    for round_number in range(4):
        for seed in range(round_number * 60, round_number * 60 + 60):
            session = f"s{rng.integers(40)}"  # spans rounds, devices and labels
            landing.put(store, seed, ("person", "no_person")[seed % 2], session=session, device=f"cam{seed % 3}")
        ingest(store, DEFAULT)
        for row in frames_of(store).to_pylist():
            assert row["split"] == first_split.setdefault(row["session"], row["split"])
    assert set(first_split.values()) == {"train", "val", "test"}


def test_an_imported_split_is_kept_and_serves_the_later_frames_of_its_session(store: Store) -> None:
    kept = landing.put(store, 1, session="a", split="test")
    beside = landing.put(store, 2, session="a", device="other")
    ingest(store, DEFAULT)
    later = landing.put(store, 3, session="a")
    crossing = landing.put(store, 4, session="a", split="train")  # validation refuses that, not ingest
    ingest(store, DEFAULT)
    found = {key: (row["split"], row["split_source"]) for key, row in by_key(store).items()}
    assert found == {
        kept: ("test", "imported"),
        beside: ("test", "assigned"),
        later: ("test", "assigned"),
        crossing: ("train", "imported"),
    }


def test_only_days_since_the_watermark_minus_two_are_listed_unless_all_are_asked_for(store: Store) -> None:
    landing.put(store, 1, day="2026-11-01")
    landing.put(store, 2, day="2026-11-20")
    assert ingest(store, DEFAULT).indexed == 2
    landing.put(store, 3, day="2026-11-18")
    assert ingest(store, DEFAULT).indexed == 1
    landing.put(store, 4, day="2026-11-17")
    assert (ingest(store, DEFAULT).indexed, ingest(store, DEFAULT).listed) == (0, 2)
    assert ingest(store, DEFAULT, full=True).indexed == 1


def test_a_device_with_a_clock_years_ahead_does_not_hide_what_lands_today(store: Store) -> None:
    today = datetime.now(UTC).date()
    landing.put(store, 1, day="2099-01-01")
    landing.put(store, 2, day=str(today - timedelta(days=1)))
    ingest(store, DEFAULT)
    landing.put(store, 3, day=str(today))
    landing.put(store, 4, day="2099-01-01", session="s9")
    assert ingest(store, DEFAULT).indexed == 2


def test_an_empty_inbox_is_no_error(store: Store) -> None:
    summary = ingest(store, DEFAULT)
    assert (summary.listed, summary.indexed, summary.index_revision) == (0, 0, 0)


def test_wrong_shares_and_a_missing_bucket_are_clear_errors(store: Store, where: Settings) -> None:
    with pytest.raises(SharesInvalid):
        ingest(store, SplitParameters(train=0.5, val=0.1, test=0.1))
    with pytest.raises(BucketMissing):
        ingest(Store(where.model_copy(update={"bucket": "not-there"})), DEFAULT)


def test_progress_reaches_the_end(store: Store) -> None:
    landing.put_many(store, range(40))
    seen: list[tuple[int, int, str]] = []
    ingest(store, DEFAULT, progress=lambda done, total, unit: seen.append((done, total, unit)))
    assert seen[-1] == (40, 40, "frames")


def test_ten_ingests_at_once_lose_nothing_and_double_nothing(store: Store, where: Settings) -> None:
    keys = landing.put_many(store, range(60))

    def land_and_ingest(number: int) -> IngestSummary:
        own = Store(where)
        keys.extend(landing.put_many(own, range(1000 + number * 8, 1008 + number * 8)))
        return ingest(own, DEFAULT)

    with ThreadPoolExecutor(10) as threads:
        summaries = list(threads.map(land_and_ingest, range(10)))
    summaries.append(ingest(store, DEFAULT))
    assert sum(summary.indexed for summary in summaries) == len(keys) == 140
    assert sum(summary.elsewhere for summary in summaries) > 0, "they did not overlap: the test shows nothing"
    assert_packed(store, {key: int(Path(key).stem) for key in keys})
    sessions: dict[str, set[str]] = {}
    for row in frames_of(store).to_pylist():
        sessions.setdefault(row["session"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in sessions.values())


SLOW_INGEST = """
from tasks import inbox, ingest
from tasks.parameters import SplitParameters
from tasks.settings import settings
from tasks.store import Store
inbox.PROCESSES_FROM, inbox.BATCH, ingest.SHARD_FRAMES, ingest.PUBLISH_FRAMES = {processes_from}, 8, 15, 30
if __name__ == "__main__":
    ingest.ingest(Store(settings()), SplitParameters())
"""


def start_ingest(where: Settings, tmp_path: Path, processes_from: int) -> "subprocess.Popen[bytes]":
    script = tmp_path / "slow_ingest.py"
    script.write_text(SLOW_INGEST.format(processes_from=processes_from))
    names = ("endpoint_url", "bucket", "profile", "credentials_file", "data_dir")
    settings = {f"F2F_{name.upper()}": str(getattr(where, name)) for name in names}
    return subprocess.Popen(
        [sys.executable, script],
        env={**os.environ, **settings, "PYTHONPATH": str(PROJECT)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def running() -> dict[int, int]:
    """Process -> its parent, of all that have not ended (a zombie has)."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = file.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if state != "Z":
            found[int(file.parent.name)] = int(parent)
    return found


def children_of(process: int) -> set[int]:
    return {child for child, parent in running().items() if parent == process}


def assert_they_end(processes: set[int]) -> None:
    limit = time.monotonic() + 20
    while processes & running().keys():
        assert time.monotonic() < limit, "processes outlived the ingest that started them"
        time.sleep(0.1)


@pytest.mark.parametrize("processes_from", [1, 10_000], ids=["processes", "threads"])
def test_a_killed_ingest_leaves_nothing_half_published_and_the_next_one_goes_on(
    store: Store, where: Settings, tmp_path: Path, processes_from: int
) -> None:
    seeds = {key: int(Path(key).stem) for key in landing.put_many(store, range(300))}
    process = start_ingest(where, tmp_path, processes_from)
    try:
        limit = time.monotonic() + 60
        while frame_index.load(store, ["kind"]).head.revision < 2:
            assert time.monotonic() < limit
            assert process.poll() is None, "it ended before it could be killed"
        workers = children_of(process.pid)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    half = frames_of(store)
    assert 0 < half.num_rows < 300
    assert_packed(store, {key: seeds[key] for key in half["key"].to_pylist()})
    summary = ingest(store, DEFAULT)
    assert summary.new == summary.indexed == 300 - half.num_rows
    assert_packed(store, seeds)
    if processes_from == 1:
        assert workers
        assert_they_end(workers)


def test_ctrl_c_ends_the_workers_too_and_they_say_nothing(store: Store, where: Settings, tmp_path: Path) -> None:
    landing.put_many(store, range(300))
    process = start_ingest(where, tmp_path, processes_from=1)
    limit = time.monotonic() + 60
    while not (workers := children_of(process.pid)):  # they are still importing then
        assert time.monotonic() < limit
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert errors.count(b"Traceback") == errors.count(b"KeyboardInterrupt") == 1  # the script's own
    assert_they_end(workers)


def test_every_fixture_is_judged_and_the_good_ones_are_indexed(store: Store, shared: Path) -> None:
    files = sorted((shared / "fixtures" / "frames").iterdir())
    for file in files:
        landing.put(store, 0, name=file.name, data=file.read_bytes())
    summary = ingest(store, DEFAULT)
    bad = {file.name for file in files if file.name.startswith("bad_")}
    assert {item.key.rsplit("/", 1)[1] for item in summary.refused_examples} == bad
    assert summary.indexed + summary.duplicates == len(files) - len(bad)
