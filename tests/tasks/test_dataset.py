"""Data set versions from the frame index: selection, balance, identity, manifest, reading a split back.

The real S3 server and real ingest for what is stored; `select` alone, on made-up rows, for what is chosen. Whether a
data set is any good is for the validation (tests/expectations/).
"""

import io
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import frame_index
from tasks.dataset import COLUMNS, LATEST, DatasetRefused, build_dataset, load_manifest, open_split, select
from tasks.ingest import ingest
from tasks.lineage import CLASSES, SPLITS, DatasetVersion, Frame
from tasks.parameters import DatasetParameters, SplitParameters
from tasks.settings import Settings
from tasks.store import Store
from tests.tasks import landing

DEFAULT = DatasetParameters()


def rows(count: int, *, persons: float = 0.5, per_session: int = 3, seed: int = 0, devices: int = 2) -> pa.Table:
    """Made-up labelled frames: sessions of one class, dealt 60/20/20."""
    rng = np.random.default_rng(seed)
    found = []
    for at in range(count):
        session = at // per_session
        found.append(
            {
                "kind": "frame",
                "key": f"frames/2026-11-20/cam/s{session}/{at}.raw",
                "pixels_sha256": bytes(rng.integers(0, 256, 32, np.uint8)).hex(),
                "label": "person" if session % 20 < 20 * persons else "no_person",
                "device": f"cam{session % devices}",
                "session": f"s{session}",
                "split": ("train", "train", "train", "val", "test")[(session // 20 + session) % 5],
            }
        )
    return frame_index.table_of(found).select(COLUMNS)


def groups(frames: pa.Table) -> Counter:
    return Counter(zip(frames["split"].to_pylist(), frames["label"].to_pylist(), strict=True))


@pytest.fixture
def filled(store: Store) -> Store:
    """A bucket with 240 indexed frames of two devices."""
    landing.put_many(store, range(160), device="a")
    landing.put_many(store, range(160, 240), device="b")
    ingest(store, SplitParameters())
    return store


def test_a_version_holds_every_labelled_frame_and_its_figures_add_up(filled: Store) -> None:
    landing.put(filled, 999, None, session="later")
    ingest(filled, SplitParameters())
    version = build_dataset(filled, DatasetParameters(balance="none"))
    assert version.left_out == {"unlabelled": 1}
    assert sum(sum(labels.values()) for labels in version.counts.values()) == 240
    assert {name: sum(labels.values()) for name, labels in version.devices.items()} == {"a": 160, "b": 80}
    assert sum(version.sessions.values()) == 60
    assert version.class_weights == {"no_person": 1.0, "person": 1.0}
    assert version.index_revision == 2
    assert filled.get_record(version.key, DatasetVersion) == version


def test_the_manifest_has_the_columns_of_a_frame_and_lies_in_both_places(filled: Store) -> None:
    version = build_dataset(filled, DEFAULT)
    manifest = load_manifest(filled, version)
    assert manifest.column_names == [name for name in Frame.model_fields if name != "digest"]
    assert manifest["pixels_sha256"].to_pylist() == sorted(manifest["pixels_sha256"].to_pylist())
    assert set(version.shards) == set(manifest["shard"].to_pylist())
    stored = pq.read_table(io.BytesIO(filled.get(f"datasets/{version.digest}/manifest.parquet")))
    assert stored.equals(manifest)
    frame = Frame(**manifest.to_pylist()[0])  # each row is a record
    assert frame.pixels_sha256 == manifest["pixels_sha256"][0].as_py()


def test_each_split_gives_back_the_pixels_that_were_uploaded(filled: Store, where: Settings) -> None:
    version = build_dataset(filled, DEFAULT)
    empty_cache = Store(where.model_copy(update={"data_dir": where.data_dir / "another-machine"}))
    seen: set[str] = set()
    for split in SPLITS:
        frames = open_split(empty_cache, version, split)
        assert len(frames) == sum(version.counts[split].values())
        assert list(frames.pixels_sha256) == sorted(frames.pixels_sha256)
        assert int(frames.labels.sum()) == version.counts[split]["person"]
        pixels = frames.gather()
        for key, label, found in zip(frames.keys, frames.labels, pixels, strict=True):
            seed = int(key.rsplit("/", 1)[1].removesuffix(".raw"))
            np.testing.assert_array_equal(found, landing.pixels(seed))
            assert label == seed // 4 % 2
        assert not seen & set(frames.pixels_sha256)
        seen |= set(frames.pixels_sha256)


def test_the_same_frames_and_parameters_are_found_again_and_nothing_is_written(filled: Store) -> None:
    first = build_dataset(filled, DEFAULT)
    before = {
        info.key: (info.etag, info.modified) for prefix in ("datasets/", "blobs/") for info in filled.list(prefix)
    }
    assert build_dataset(filled, DEFAULT) == first
    after = {info.key: (info.etag, info.modified) for prefix in ("datasets/", "blobs/") for info in filled.list(prefix)}
    assert after == before


def test_other_frames_labels_or_parameters_make_another_version_with_the_one_before_as_parent(filled: Store) -> None:
    one = build_dataset(filled, DEFAULT)
    two = build_dataset(filled, DatasetParameters(balance="weights"))
    key = load_manifest(filled, one)["key"][0].as_py()
    frame_index.set_labels(filled, {key: None})
    three = build_dataset(filled, DEFAULT)
    landing.put_many(filled, range(1000, 1016))
    ingest(filled, SplitParameters())
    four = build_dataset(filled, DEFAULT)
    assert [one.parent, two.parent, three.parent, four.parent] == [None, one.digest, two.digest, three.digest]
    assert len({version.digest for version in (one, two, three, four)}) == 4


def test_a_build_that_was_killed_before_it_moved_the_pointer_heals(filled: Store) -> None:
    version = build_dataset(filled, DEFAULT)
    filled.delete(LATEST)
    build_dataset(filled, DEFAULT)
    assert build_dataset(filled, DatasetParameters(seed=1)).parent == version.digest


def test_a_frame_that_was_relabelled_counts_for_its_new_class(filled: Store) -> None:
    none = DatasetParameters(balance="none")
    before = build_dataset(filled, none)
    row = load_manifest(filled, before).to_pylist()[0]
    other = CLASSES[1 - CLASSES.index(row["label"])]
    frame_index.set_labels(filled, {row["key"]: other})
    after = build_dataset(filled, none)
    assert after.counts[row["split"]][other] == before.counts[row["split"]][other] + 1
    assert load_manifest(filled, after).to_pylist()[0]["label_source"] == "index"


@pytest.mark.parametrize("persons", [0.2, 0.5, 0.8])
def test_undersampling_balances_every_split_and_says_what_it_left_out(persons: float) -> None:
    frames = rows(900, persons=persons)
    kept, left_out = select(frames, DEFAULT)
    counts, before = groups(kept), groups(frames)
    for split in SPLITS:
        assert counts[split, "person"] == counts[split, "no_person"] == min(before[split, c] for c in CLASSES)
    assert sum(left_out.values()) == 900 - kept.num_rows
    assert set(left_out) <= {"larger_class"}


def test_a_new_frame_changes_little_of_what_undersampling_keeps() -> None:
    frames = rows(900, persons=0.7)
    before = set(select(frames.slice(0, 890), DEFAULT)[0]["pixels_sha256"].to_pylist())
    after = set(select(frames, DEFAULT)[0]["pixels_sha256"].to_pylist())
    assert len(before - after) <= 10


def test_weights_make_both_classes_count_the_same(filled: Store) -> None:
    frames = frame_index.load(filled).frames.to_pylist()
    persons = [row["key"] for row in frames if row["label"] == "person" and row["split"] == "train"]
    frame_index.set_labels(filled, dict.fromkeys(persons[: len(persons) // 2], "no_person"))
    version = build_dataset(filled, DatasetParameters(balance="weights"))
    train, weights = version.counts["train"], version.class_weights
    assert train["person"] < train["no_person"]
    assert train["person"] * weights["person"] == pytest.approx(train["no_person"] * weights["no_person"])


@pytest.mark.parametrize("balance", ["none", "undersample", "weights"])
@pytest.mark.parametrize("seed", range(4))
def test_max_frames_takes_whole_sessions_of_both_classes_in_all_splits(balance: str, seed: int) -> None:
    frames = rows(1200, persons=0.35, seed=seed)
    parameters = DatasetParameters(max_frames=300, seed=seed, balance=balance)  # type: ignore[arg-type]
    kept, left_out = select(frames, parameters)
    assert 230 <= kept.num_rows <= 300
    assert left_out["over_max_frames"] >= 900 - 600
    counts = groups(kept)
    assert all(counts[split, label] for split in SPLITS for label in CLASSES)
    share = sum(counts["train", label] for label in CLASSES) / kept.num_rows
    assert share == pytest.approx(0.6, abs=0.05)
    if balance != "undersample":  # which drops single frames afterwards
        sizes = Counter(frames["session"].to_pylist())
        assert all(n == sizes[session] for session, n in Counter(kept["session"].to_pylist()).items())


def test_another_seed_takes_other_sessions_and_the_same_seed_the_same() -> None:
    frames = rows(1200)
    one, again, other = (
        set(select(frames, DatasetParameters(max_frames=300, seed=seed))[0]["session"].to_pylist())
        for seed in (0, 0, 1)
    )
    assert one == again
    assert one != other


def test_max_frames_that_holds_no_whole_session_is_refused() -> None:
    with pytest.raises(DatasetRefused, match=r"max_frames=20 leaves no room .*no_person of test.*\n.*raise max_frames"):
        select(rows(600, per_session=6), DatasetParameters(max_frames=20))


def test_a_filter_by_device_keeps_only_that_device() -> None:
    frames = rows(900, devices=3, per_session=1)
    kept, left_out = select(frames, DatasetParameters(devices=("cam1",), balance="none"))
    assert set(kept["device"].to_pylist()) == {"cam1"}
    assert left_out == {"other_device": 900 - kept.num_rows}


def test_an_unknown_device_is_refused_with_those_that_are_there() -> None:
    with pytest.raises(DatasetRefused, match=r"no labelled frames of device 'cam7'\n.*cam0, cam1"):
        select(rows(300), DatasetParameters(devices=("cam7", "cam1")))


def test_an_empty_index_says_how_to_import(store: Store) -> None:
    with pytest.raises(DatasetRefused, match=r"no labelled frames: the index is empty\n.*f2f import"):
        build_dataset(store, DEFAULT)


def test_frames_without_labels_are_no_data_set(store: Store) -> None:
    for seed in range(3):
        landing.put(store, seed, None)
    ingest(store, SplitParameters())
    with pytest.raises(DatasetRefused, match="none of the 3 frames in the index has a label"):
        build_dataset(store, DEFAULT)


def test_a_single_class_is_refused_by_name() -> None:
    with pytest.raises(DatasetRefused, match="all 60 labelled frames are person, none is no_person"):
        select(rows(60, persons=1.0), DEFAULT)


def test_a_split_without_frames_is_refused_by_name(store: Store) -> None:
    landing.put_many(store, range(8))  # two sessions cannot fill three splits
    ingest(store, SplitParameters())
    with pytest.raises(DatasetRefused, match=r"split \w+ has no .*there are 2 of them"):
        build_dataset(store, DEFAULT)


def test_progress_reaches_the_end(filled: Store) -> None:
    seen: list[tuple[int, int, str]] = []
    build_dataset(filled, DEFAULT, progress=lambda *at: seen.append(at))
    assert seen[-1][0] == seen[-1][1]
