"""Forgetting and erasing against a real S3 server: what is left out, what is gone, what still loads and verifies.

Touches neither the command (tests/deployments/test_forget_command.py) nor training; ingest itself is in test_ingest.py.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tasks import frame_index, ingest
from tasks.dataset import open_split
from tasks.erase import Erased, ErasureRefused, erase, erasing_key
from tasks.erased_blobs import Shards
from tasks.forget import Forgotten, Selection, forget, look
from tasks.frame_lineage import NoSuchFrame
from tasks.ingest import IngestSummary
from tasks.lineage import Report
from tasks.parameters import ComparisonParameters, SplitParameters
from tasks.picture_copies import without_pictures
from tasks.release_records import Erasure
from tasks.releases import load_release
from tasks.settings import PROJECT, Settings
from tasks.signing import KeyMissing, load_signing_key, make_keys, sign, signing_key_file
from tasks.store import DigestMismatch, Store
from tasks.thumbnails import load_scores, thumbnails
from tasks.verify import verify_channel, verify_release
from tests.tasks.erasable import (
    SEEDS,
    TEST,
    assert_intact,
    copies,
    dataset_of,
    device,
    landed,
    released,
    session,
    sha,
)
from tests.tasks.landing import DAY, pixels, png, put, put_many, raw
from tests.tasks.page_checks import checked_page

SPLITS = SplitParameters()
SHOWN = 33  # a test frame: in a shard, in the report and its copy, among the golden frames


@pytest.fixture(scope="module")
def template(s3_endpoint: str, s3_credentials: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A bucket with a release of 48 frames, made once."""
    made = Store(
        Settings(
            _env_file=None,  # type: ignore[call-arg]
            endpoint_url=s3_endpoint,
            bucket=f"t-{uuid.uuid4().hex[:12]}",
            profile="test",
            credentials_file=s3_credentials,
            data_dir=tmp_path_factory.mktemp("template") / "f2f",
        )
    )
    made.create_bucket()
    landed(made)
    released(made)
    return made


@pytest.fixture
def full(template: Store, store: Store) -> Store:
    """The test's own copy of it, keys and cache included."""
    return _copied(template, store)


def _copied(template: Store, store: Store) -> Store:
    def one(key: str) -> None:
        found = template.get_object(key)
        store.put(key, found.data, metadata=found.metadata)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(one, [item.key for item in template.list("")]))
    shutil.copytree(template.where.data_dir, store.where.data_dir, dirs_exist_ok=True)
    return store


def out(store: Store, *seeds: int, reason: str = "asked for") -> Forgotten:
    found = Forgotten([], [])
    for seed in seeds:
        one = forget(store, Selection("frame", sha(seed)), reason)
        found = Forgotten(found.pixels + one.pixels, found.keys + one.keys)
    return found


def erased(store: Store, *seeds: int) -> Erased:
    found = out(store, *seeds)
    return erase(store, found.pixels, found.keys, "asked for")


def in_index(store: Store) -> set[str]:
    return set(frame_index.load(store).frames["pixels_sha256"].to_pylist())


def taken(store: Store) -> IngestSummary:
    return ingest.ingest(store, SPLITS, full=True)


# -- forgetting --------------------------------------------------------------------------------------------------------


def test_a_forgotten_frame_is_in_no_later_data_set_and_all_others_are(full: Store) -> None:
    before = dataset_of(full)
    out(full, SHOWN)
    after = dataset_of(full)
    assert after.digest != before.digest
    assert sum(sum(split.values()) for split in after.counts.values()) == len(SEEDS) - 1
    assert_intact(full, after, {SHOWN})
    assert_intact(full, before, set())  # what was made before stays as it is


def test_it_stays_out_after_compaction(store: Store) -> None:
    put_many(store, range(8))
    taken(store)
    out(store, 3)
    for seed in range(100, 120):
        put(store, seed)
        ingest.ingest(store, SPLITS)
    assert len(frame_index.load(store).head.segments) < 20
    assert sha(3) not in in_index(store)
    assert len(in_index(store)) == 7 + 20


@pytest.mark.parametrize("data", [raw(3), png(3)], ids=["the same bytes", "other bytes with the same pixels"])
def test_the_same_picture_that_lands_again_is_refused(store: Store, data: bytes) -> None:
    put_many(store, range(8))
    taken(store)
    out(store, 3)
    put(store, 3, "person", data=data, device="other", session="new", name="again.raw")
    summary = taken(store)
    assert summary.refused == {"forgotten": 1}
    assert (summary.indexed, summary.shards) == (0, 0)
    assert "f2f forget" in json.loads(store.get(f"quarantine/{hashlib.sha256(data).hexdigest()}.json"))["message"]
    assert len(in_index(store)) == 7
    assert taken(store).new == 0  # it is looked at once


def test_the_same_bytes_are_refused_where_they_decode_to_other_pixels_by_now(store: Store) -> None:
    key = put(store, 3, data=png(3))
    put(store, 4)
    taken(store)
    found = frame_index.load(store).rows.to_pylist()
    changed = [{**row, "pixels_sha256": "0" * 64} if row["key"] == key else row for row in found]
    store.delete(frame_index.HEAD)  # an index of a decoder that saw this file differently
    frame_index.publish(store, lambda index: frame_index.table_of(changed))
    forget(store, Selection("frame", "0" * 64), "")
    put(store, 3, device="other", data=png(3), name="again.raw")
    assert taken(store).refused == {"forgotten": 1}


def test_rows_are_only_appended_and_a_second_time_adds_nothing(store: Store) -> None:
    put_many(store, range(8))
    taken(store)
    before = frame_index.load(store)
    out(store, 3)
    after = frame_index.load(store)
    assert after.rows.slice(0, before.rows.num_rows).equals(before.rows)
    assert after.rows.num_rows == before.rows.num_rows + 1
    assert after.rows["reason"].to_pylist()[-1] == "asked for"
    out(store, 3, reason="another")
    assert frame_index.load(store).etag == after.etag


def test_it_is_out_of_earlier_states_of_the_index_as_well(store: Store) -> None:
    put_many(store, range(8))
    taken(store)
    rows = frame_index.load(store).rows.num_rows
    put(store, 50)
    taken(store)
    out(store, 3)
    assert set(frame_index.load(store).first(rows).frames["pixels_sha256"].to_pylist()) == {
        sha(seed) for seed in range(8) if seed != 3
    }


def test_a_forgotten_frame_takes_no_label(store: Store) -> None:
    put_many(store, range(8))
    taken(store)
    out(store, 3)
    with pytest.raises(frame_index.LabelsRefused):
        frame_index.set_labels(store, {sha(3): "person"})


def test_a_session_is_closed_and_a_device_is_not(store: Store) -> None:
    put_many(store, range(8), device="cam")
    put_many(store, range(8, 16), device="hall")
    taken(store)
    forget(store, Selection("session", "s0"), "")
    forget(store, Selection("device", "hall"), "")
    assert in_index(store) == {sha(seed) for seed in range(4, 8)}
    put(store, 70, device="cam", session="s0")
    put(store, 71, device="hall", session="s9")
    summary = taken(store)
    assert (summary.refused, summary.indexed, summary.shards) == ({"forgotten": 1}, 1, 1)
    assert in_index(store) == {*(sha(seed) for seed in range(4, 8)), sha(71)}
    assert copies(store, 70) == [f"frames/{DAY}/cam/s0/000070.raw"]  # it was not packed


def test_a_session_stays_in_its_split_when_all_its_frames_were_forgotten(store: Store) -> None:
    for seed in range(8):
        put(store, seed, session=f"test{seed}", split="test")
    put_many(store, range(8, 40))
    taken(store)
    out(store, *range(8))
    for seed in range(8):
        put(store, 60 + seed, session=f"test{seed}")
    taken(store)
    found = {row["pixels_sha256"]: row["split"] for row in frame_index.load(store).frames.to_pylist()}
    assert {found[sha(60 + seed)] for seed in range(8)} == {"test"}


def test_a_picture_goes_with_all_objects_that_hold_it(store: Store) -> None:
    put_many(store, range(8), device="cam")
    taken(store)
    put(store, 3, None, data=png(3), device="hall", name="copy.png")  # a duplicate
    put(store, 2, "no_person" if 2 // 4 % 2 else "person", device="hall", name="other.raw")  # refused: another label
    put(store, 99, device="hall", session="mine", split="nowhere")  # refused before it was decoded
    assert taken(store).refused == {"label_conflict": 1, "bad_metadata": 1}
    affected = look(store, Selection("device", "hall"))
    assert (affected.frames, affected.objects) == (2, 5)
    assert affected.devices == {"cam": 2, "hall": 3}
    found = forget(store, Selection("device", "hall"), "")
    assert set(found.pixels) == {sha(2), sha(3)}
    assert len(found.keys) == 5
    assert in_index(store) == {sha(seed) for seed in range(8) if seed not in (2, 3)}
    put(store, 99, device="hall", name="right.raw")  # the same file, with metadata that are allowed
    assert taken(store).refused == {"forgotten": 1}


def test_what_it_is_about_is_shown_with_the_releases(full: Store) -> None:
    one = look(full, Selection("frame", sha(SHOWN)))
    assert (one.frames, one.already, one.objects) == (1, 0, 1)
    assert (one.devices, one.sessions, one.splits) == ({device(SHOWN): 1}, {session(SHOWN): 1}, {"test": 1})
    assert [(held.release, held.channels) for held in one.releases] == [(1, ("stable",))]
    many = look(full, Selection("device", "hall"))
    assert many.frames == 24
    assert [held.release for held in many.releases] == [1]
    out(full, SHOWN)
    assert look(full, Selection("frame", sha(SHOWN))).already == 1
    put_many(full, range(200, 208), device="new", day=DAY)
    taken(full)
    assert look(full, Selection("device", "new")).releases == ()


def test_what_the_index_does_not_know_is_refused(store: Store) -> None:
    put_many(store, range(8))
    taken(store)
    for selection in (Selection("frame", sha(999)), Selection("device", "nobody"), Selection("session", "never")):
        with pytest.raises(NoSuchFrame, match=f"knows no {selection.by}"):
            look(store, selection)
        with pytest.raises(NoSuchFrame):
            forget(store, selection, "")


def test_a_frame_forgotten_while_an_ingest_was_looking_is_refused_by_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_many(store, range(8))
    taken(store)
    put(store, 3, data=png(3), name="again.png")
    put(store, 80, session="s1")
    publish = ingest._publish

    def after_forgetting(*arguments: object, **named: object) -> object:
        forget(store, Selection("session", "s1"), "")
        out(store, 3)
        return publish(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ingest, "_publish", after_forgetting)
    assert taken(store).refused == {"forgotten": 2}
    monkeypatch.undo()
    assert not {sha(3), sha(80)} & in_index(store)
    make_keys(store.where)
    assert copies(store, 80)  # its pixels were packed already
    found = forget(store, Selection("session", "s1"), "")
    erase(store, found.pixels, found.keys, "")
    assert copies(store, 80) == []


# -- erasing -----------------------------------------------------------------------------------------------------------


def test_no_copy_of_an_erased_frame_is_left_and_every_other_frame_loads(full: Store) -> None:
    version = dataset_of(full)
    put(full, SHOWN, None, data=png(SHOWN), device="hall", name="copy.png")
    taken(full)
    kinds = {key.partition("/")[0] for key in copies(full, SHOWN)}
    assert {"blobs", "firmware", "frames", "models"} < kinds  # and files of the cache, by their names
    others = {seed: copies(full, seed) for seed in TEST if seed != SHOWN}
    done = erased(full, SHOWN)
    assert (done.objects, done.shards, done.pages, done.golden, len(done.records)) == (2, 1, 2, 1, 1)
    assert copies(full, SHOWN) == []
    assert_intact(full, version, {SHOWN})
    for seed, before in others.items():
        assert len(copies(full, seed)) == len(before)  # nothing else was taken


def test_a_second_erasing_finds_nothing_to_do(full: Store) -> None:
    erased(full, SHOWN)
    before = {(item.key, item.etag) for item in full.list("")}
    assert erased(full, SHOWN) == Erased(objects=0, shards=0, pages=0, golden=0, records=())
    assert {(item.key, item.etag) for item in full.list("")} == before


def test_frames_are_erased_from_a_shard_again_and_again(full: Store) -> None:
    version = dataset_of(full)
    for count, seed in enumerate((33, 36, 40, 25), 1):
        erased(full, seed)
        assert copies(full, seed) == []
        assert_intact(full, version, set((33, 36, 40, 25)[:count]))
        assert verify_channel(full, "stable").passed


def test_a_whole_device_is_erased(full: Store) -> None:
    version = dataset_of(full)
    found = forget(full, Selection("device", "hall"), "")
    erase(full, found.pixels, found.keys, "")
    gone = {seed for seed in SEEDS if device(seed) == "hall"}
    for seed in (*gone, *[35, 41]):
        assert bool(copies(full, seed)) == (seed not in gone)
    assert_intact(full, version, gone)
    assert verify_channel(full, "stable").passed


def test_pages_stay_whole_and_scores_and_pictures_leave_the_frame_out(full: Store) -> None:
    (page,) = [item.key for item in full.list("models/reports/") if item.key.endswith(".html")]
    before = full.get(page).decode()
    erased(full, SHOWN)
    after = full.get(page).decode()
    checked_page(after)
    assert before.count("<img") - after.count("<img") == 2  # among the mistakes, and where the models disagree
    assert after.count("Picture erased") == 2
    (report,) = [item.key for item in full.list("models/reports/") if item.key.endswith("report.json")]
    scores = load_scores(full, full.get_record(report, Report))
    assert sorted(scores.pixels_sha256) == sorted(sha(seed) for seed in TEST if seed != SHOWN)
    assert len(thumbnails(full, scores, range(len(scores)))) == len(TEST) - 1


def test_scores_that_were_loaded_before_show_no_erased_frame(full: Store) -> None:
    (report,) = [item.key for item in full.list("models/reports/") if item.key.endswith("report.json")]
    scores = load_scores(full, full.get_record(report, Report))
    erased(full, SHOWN)
    assert {one.pixels_sha256 for one in thumbnails(full, scores, range(len(scores)))} == {
        sha(seed) for seed in TEST if seed != SHOWN
    }


def test_pages_of_before_pictures_were_marked_lose_the_picture_by_the_frames_key() -> None:
    def picture(key: str) -> str:
        return (
            f'<figure><img src="data:image/jpeg;base64,AAAA" alt="Frame {key}" width="160" height="120">\n'
            f"<figcaption>{key}</figcaption></figure>"
        )

    hostile, other = "frames/2026-01-01/a&amp;b/&#39;s&#34;&lt;i&gt;/1.jpg", "frames/2026-01-01/a/s/2.jpg"
    page = f"<!DOCTYPE html>{picture(hostile)}{picture(other)}"
    cut = without_pictures(page.encode(), set(), {"frames/2026-01-01/a&b/'s\"<i>/1.jpg"}).decode()
    assert cut.count("<img") == 1
    assert picture(other) in cut
    assert f"<figcaption>{hostile}</figcaption></figure>" in cut
    assert without_pictures(page.encode(), {sha(1)}, {"frames/2026-01-01/a/s/3.jpg"}) == page.encode()


def test_copies_that_nothing_names_are_found(full: Store) -> None:
    """A shard and a page of processes that lost a race, and a row of a shard that only its other rows name."""
    lost = full.put_blob(_npy(35, SHOWN))
    page = full.put_blob(full.get(next(i.key for i in full.list("models/reports/") if i.key.endswith(".html"))) + b"\n")
    put(full, 300, session="s300")
    packed = ingest._pack

    def with_a_copy(store: Store, block: list[ingest.Landed], index: object) -> object:
        found, _ = packed(store, block, index)  # type: ignore[arg-type]
        shard = store.put_blob(_npy(300, SHOWN))  # another process took the second one's row
        return [ingest.replace(one, shard=shard, row=0) for one in found], 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "_pack", with_a_copy)
        taken(full)
    done = erased(full, SHOWN)
    assert done.shards == 3
    assert done.pages == 3
    assert copies(full, SHOWN) == []
    assert not any(full.exists(f"blobs/{name}") for name in (lost, page))
    assert len(copies(full, 300)) >= 2
    assert erased(full, SHOWN).shards == 0


def test_a_copy_of_a_frame_that_came_back_goes_with_the_next_erasing_of_any_frame(full: Store) -> None:
    erased(full, SHOWN)
    full.put_blob(_npy(SHOWN, 34))  # by a run that was under way
    erased(full, 36)
    assert copies(full, SHOWN) == []


def test_every_version_goes_where_the_bucket_keeps_them(template: Store, store: Store) -> None:
    store.client.put_bucket_versioning(Bucket=store.where.bucket, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(2):  # everything has an earlier version
        _copied(template, store)
    version = dataset_of(store)
    assert len(copies(store, SHOWN)) > len(set(copies(store, SHOWN)))
    erased(store, SHOWN)
    assert copies(store, SHOWN) == []
    assert len(copies(store, 34)) > len(set(copies(store, 34)))
    assert_intact(store, version, {SHOWN})
    assert verify_channel(store, "stable").passed


def test_the_cache_of_another_machine_gives_no_erased_frame_back(full: Store, tmp_path: Path) -> None:
    version = dataset_of(full)
    other = Store(full.where.model_copy(update={"data_dir": tmp_path / "other"}))
    assert_intact(other, version, set())
    assert any("other" in str(path) for path in (tmp_path / "other").rglob("*"))
    erased(full, SHOWN)
    assert_intact(other, version, {SHOWN})
    assert copies(other, SHOWN) == []


def test_a_reader_that_looked_before_an_erasing_finds_the_new_shard(full: Store, tmp_path: Path) -> None:
    version = dataset_of(full)
    other = Store(full.where.model_copy(update={"data_dir": tmp_path / "other"}))
    shards = Shards(other)
    erased(full, SHOWN)
    rows = {row["pixels_sha256"]: row for row in frame_index.load(full).rows.to_pylist() if row["kind"] == "frame"}
    for seed in (SHOWN, 34):
        place = rows[sha(seed)]
        found = np.load(shards.path(place["shard"]))[place["row"]]
        assert np.array_equal(found, np.zeros_like(found) if seed == SHOWN else pixels(seed))
        assert shards.there([place["shard"]], np.array([place["row"]])).tolist() == [seed != SHOWN]
    assert place["shard"] in version.shards


def test_a_file_that_a_killed_process_left_in_the_cache_is_tidied_up(full: Store) -> None:
    cached = full._cache_path("ab" * 32)
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(_npy(SHOWN))  # written, and its process killed before it was in the bucket
    part = cached.with_name("ab.1.part")
    part.write_bytes(_npy(SHOWN)[:-1])
    os.utime(part, (1, 1))
    kept = full._cache_path("cd" * 32)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(b"a model on its way into the bucket")
    erased(full, SHOWN)
    assert [path.exists() for path in (cached, part, kept)] == [False, False, True]


def test_a_data_set_made_after_an_erasing_is_valid_and_compared(full: Store) -> None:
    """The checkpoint reads every frame's pixels, a comparison those of the test split: both from the new shard."""
    from expectations.checkpoint import validate
    from tasks.candidates import candidates
    from tasks.compare import compare
    from tasks.dataset import load_manifest
    from tasks.parameters import ValidationParameters

    erased(full, SHOWN)
    version = dataset_of(full)
    few = ValidationParameters(min_frames_train=2, min_frames_val=2, min_frames_test=2)
    outcome = validate(full, version, load_manifest(full, version), few)
    wrong = [found for found in outcome.expectations if "shard" in found.observed or "pixels" in found.observed]
    assert not [found for found in outcome.expectations if found.error], outcome.expectations
    assert not [found for found in wrong if not found.success], wrong
    held = load_release(full, 1).model_copy(update={"int8": "another model"})
    found = compare(full, next(candidates(full)), held, ComparisonParameters(workers=1, bootstrap_rounds=100))
    assert found.frames == len(TEST) - 1


def test_nothing_is_erased_without_a_key_that_is_trusted(full: Store, tmp_path: Path) -> None:
    before = {(item.key, item.etag) for item in full.list("")}
    key = signing_key_file(full.where)
    elsewhere = full.where.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    make_keys(elsewhere)
    shutil.copy(signing_key_file(elsewhere), key)
    with pytest.raises(ErasureRefused, match="not trusted here"):
        erasing_key(full)
    key.unlink()
    with pytest.raises(KeyMissing):
        erase(full, [sha(SHOWN)], [], "")
    assert {(item.key, item.etag) for item in full.list("")} == before


def test_a_damaged_shard_is_not_packed_anew(full: Store) -> None:
    rows = {row["pixels_sha256"]: row["shard"] for row in frame_index.load(full).rows.to_pylist()}
    full.put(f"blobs/{rows[sha(SHOWN)]}", _npy(SHOWN))
    with pytest.raises(DigestMismatch, match="cannot be packed anew"):
        erased(full, SHOWN)


# -- what a release still is -------------------------------------------------------------------------------------------


def test_a_release_verifies_with_a_note_of_what_was_erased(full: Store) -> None:
    assert verify_channel(full, "stable").erased == ()
    erased(full, SHOWN)
    found = verify_channel(full, "stable")
    assert found.passed, found.findings
    assert sorted(note.partition(" ")[0] for note in found.erased) == [
        "firmware/mps2-an386/golden-frames.npy",
        "report.html",
    ]
    assert all("1 frame was erased" in note and "asked for" in note for note in found.erased)


def test_every_other_change_is_still_refused(full: Store) -> None:
    erased(full, SHOWN)
    release = load_release(full, 1)
    for name, artefact in release.artefacts.items():
        key = artefact.key
        if name == "report.html":  # the copy without the picture
            (erasure,) = [full.get_record(item.key, Erasure) for item in full.list("erasures/")]
            key = f"blobs/{erasure.replaced[key][1]}"
        before = full.get(key)
        full.put(key, before[:-1] + bytes([before[-1] ^ 1]))
        found = verify_release(full, 1)
        assert [finding.object for finding in found.findings] == [artefact.key], name
        full.delete(key)
        assert [finding.kind for finding in verify_release(full, 1).findings] == ["missing" if key else ""], name
        full.put(key, before)
    assert verify_release(full, 1).passed


def test_a_blob_that_was_erased_must_be_gone(full: Store) -> None:
    key = load_release(full, 1).artefacts["report.html"].key
    erased(full, SHOWN)
    full.put(key, b"<!DOCTYPE html>another page")
    assert [(f.kind, f.object) for f in verify_release(full, 1).findings] == [("bytes", key)]


def test_an_erasure_counts_only_as_it_was_signed_by_a_trusted_key(full: Store, tmp_path: Path) -> None:
    erased(full, SHOWN)
    (item,) = full.list("erasures/")
    good = full.get_record(item.key, Erasure)
    golden = load_release(full, 1).artefacts["firmware/mps2-an386/golden-frames.npy"]
    elsewhere = full.where.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    make_keys(elsewhere)
    other = good.model_copy(update={"signature": sign(good, load_signing_key(elsewhere))})
    changed = _again(good, replaced={**good.replaced, golden.key: (golden.sha256, "1" * 64)})
    wrongs = {
        "is not signed": good.model_copy(update={"signature": None}),
        "not trusted here": other,
        "is not what key": changed.model_copy(update={"signature": good.signature}),
    }
    for message, wrong in wrongs.items():
        full.put(item.key, wrong.model_dump_json().encode())
        findings = verify_release(full, 1).findings
        assert {finding.kind for finding in findings} == {"bytes", "missing"}
        assert all(message in finding.message for finding in findings), findings
    # Signed, and it names another change of the golden frames than there was.
    full.put(item.key, _signed(full, changed).model_dump_json().encode())
    assert [finding.object for finding in verify_release(full, 1).findings] == [golden.key]
    full.delete(item.key)
    assert {finding.kind for finding in verify_release(full, 1).findings} == {"bytes", "missing"}
    full.put_record(item.key, good)
    assert verify_release(full, 1).passed


def test_no_erasure_excuses_what_is_flashed(full: Store) -> None:
    artefact = load_release(full, 1).artefacts["firmware/mps2-an386/firmware.elf"]
    full.put(artefact.key, b"another program")
    after = hashlib.sha256(b"another program").hexdigest()
    found = erase(full, [], [], "")  # nothing
    assert found.records == ()
    made = Erasure.model_validate(
        {"pixels": (), "replaced": {artefact.key: (artefact.sha256, after)}, "reason": "", "at": "2026-03-01T00:00:00Z"}
    )
    full.put_record(made.key, _signed(full, made))
    assert [finding.object for finding in verify_release(full, 1).findings] == [artefact.key]


# -- more than one at once, and killed ---------------------------------------------------------------------------------


def test_two_at_once_erase_frames_of_the_same_files(full: Store) -> None:
    version = dataset_of(full)
    found = {seed: out(full, seed) for seed in (33, 36, 40)}

    def one(seed: int) -> Erased:
        return erase(Store(full.where), found[seed].pixels, found[seed].keys, "")

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(one, found))
    for seed in found:
        assert copies(full, seed) == []
    assert_intact(full, version, set(found))
    assert verify_channel(full, "stable").passed, verify_channel(full, "stable").findings


KILLED = """
import os, signal, sys
from pathlib import Path
from tasks.erase import erase
from tasks.forget import Selection, forget
from tasks.settings import settings
from tasks.store import open_store

left = int(sys.argv[1])
store = open_store()

def count(model, **named):
    global left
    if model.name in ("PutObject", "DeleteObject"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

store.client.meta.events.register("before-call.s3", count)
found = forget(store, Selection("frame", sys.argv[2]), "asked for")
erase(store, found.pixels, found.keys, "asked for")
"""


@pytest.fixture
def killed(template: Store, this_bucket: Store) -> Store:
    return _copied(template, this_bucket)


def test_killed_at_any_moment_it_leaves_nothing_broken_and_the_next_one_finishes(killed: Store) -> None:
    version = dataset_of(killed)
    for writes in (1, 2, 3, 4, 6, 8, 12, 100):
        command = [sys.executable, "-c", KILLED, str(writes), sha(SHOWN)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        found = verify_channel(killed, "stable")
        assert found.passed, (writes, found.findings)
        assert_intact(killed, version, {SHOWN} if _is_out(killed, version) else set())
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert writes > 4
    assert copies(killed, SHOWN) == []
    assert_intact(killed, version, {SHOWN})


def _is_out(store: Store, version: object) -> bool:
    return sha(SHOWN) not in open_split(store, version, "test").pixels_sha256  # type: ignore[arg-type]


def _npy(*seeds: int) -> bytes:
    return ingest._npy([pixels(seed) for seed in seeds])


def _again(erasure: Erasure, **changes: object) -> Erasure:
    return Erasure.model_validate({**erasure.model_dump(exclude={"digest", "signature"}), **changes})


def _signed(store: Store, erasure: Erasure) -> Erasure:
    return erasure.model_copy(update={"signature": sign(erasure, load_signing_key(store.where))})
