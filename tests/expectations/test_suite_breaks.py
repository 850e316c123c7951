"""Every expectation of the suite, each with a data set that breaks it: refused under that name and no other.

Runs the real checkpoint over small manifests with real shards in a real S3 server. Does not touch how a data set is
built (tests/tasks) nor what happens when validation itself breaks (test_checkpoint.py).
"""

import json

import numpy as np
import pytest

from expectations.suite import SUITE
from tasks.lineage import CLASSES, SPLITS, Frame, ValidationOutcome
from tests.expectations.conftest import LIMITS, Made, sha256

PIXELS_ONCE = "no two frames have the same pixels"
PIXELS_ONE_SPLIT = "the same pixels are never in two splits"
SHAPE = "every packed frame is 120 x 160 uint8"
HASH = "every packed frame has the pixels that the manifest names"
FILLED = {
    "sha256": "every frame has a SHA-256 of its file",
    "pixels_sha256": "every frame has a SHA-256 of its pixels",
    "key": "every frame has a key in the bucket",
    "device": "every frame has a device",
    "session": "every frame has a session",
    "label": "every frame has a label",
    "label_source": "every frame has a source of its label",
    "split": "every frame has a split",
    "split_source": "every frame has a source of its split",
    "brightness": "every frame has a mean gray level",
    "contrast": "every frame has a contrast",
    "shard": "every frame has a shard",
    "row": "every frame has a row in its shard",
}


def broken(outcome: ValidationOutcome) -> dict[str, str]:
    """What failed: name -> what was found."""
    assert outcome.success == all(found.success for found in outcome.expectations)
    return {found.name: found.error or found.observed for found in outcome.expectations if not found.success}


def examples(outcome: ValidationOutcome, name: str) -> tuple[str, ...]:
    (found,) = (found for found in outcome.expectations if found.name == name)
    return found.examples


def test_a_sound_data_set_meets_every_expectation_of_the_file(made: Made) -> None:
    outcome = made.judge()
    assert broken(outcome) == {}
    assert outcome.success
    written = json.loads(SUITE.read_text())["expectations"]
    assert [found.expectation for found in outcome.expectations] == [entry["type"] for entry in written]


def test_the_suite_asks_for_the_columns_classes_and_splits_of_the_records() -> None:
    asked = {entry["description"]: entry["kwargs"] for entry in json.loads(SUITE.read_text())["expectations"]}
    assert set(asked["the manifest has every column of a frame"]["column_set"]) == set(Frame.model_fields) - {"digest"}
    assert set(FILLED) == set(Frame.model_fields) - {"digest", "captured_at"}  # a capture time may be unknown
    assert asked["every label is no_person or person"]["value_set"] == list(CLASSES)
    assert asked["every split is train, val or test"]["value_set"] == list(SPLITS)


def test_a_manifest_without_a_column_is_refused(made: Made) -> None:
    outcome = made.judge(change=lambda table: table.drop_columns(["captured_at"]))
    assert broken(outcome) == {"the manifest has every column of a frame": "lacks captured_at"}


def test_a_manifest_with_fewer_frames_than_the_data_set_counts_is_refused(made: Made) -> None:
    outcome = made.judge(version=made.version(extra=1))
    assert broken(outcome) == {"the manifest holds the 57 frames that the data set counts": "56"}


@pytest.mark.parametrize("column", FILLED)
def test_a_gap_in_a_column_is_refused(made: Made, column: str) -> None:
    made.rows[5][column] = None
    outcome = made.judge()
    # A frame without a place has no pixels, and one without a hash has not the pixels that it names.
    follows = {"shard": {SHAPE, HASH}, "row": {SHAPE, HASH}, "pixels_sha256": {HASH}}
    assert set(broken(outcome)) == {FILLED[column]} | follows.get(column, set())
    if column != "key":
        assert examples(outcome, FILLED[column]) == (made.rows[5]["key"],)


def test_an_unknown_label_is_refused(made: Made) -> None:
    made.rows[5]["label"] = "cat"
    outcome = made.judge()
    assert broken(outcome) == {"every label is no_person or person": "1 of 56 frames: cat (1)"}
    assert examples(outcome, "every label is no_person or person") == (made.rows[5]["key"],)


def test_an_unknown_split_is_refused(made: Made) -> None:
    for row in made.rows[:4]:  # a whole session, so that none crosses
        row["split"] = "holdout"
    assert broken(made.judge()) == {"every split is train, val or test": "4 of 56 frames: holdout (4)"}


def test_the_same_pixels_twice_are_refused(made: Made) -> None:
    first, second = made.rows[:2]
    second.update({name: first[name] for name in ("pixels_sha256", "shard", "row")})
    outcome = made.judge()
    assert set(broken(outcome)) == {PIXELS_ONCE}
    assert examples(outcome, PIXELS_ONCE) == (first["key"], second["key"])


def test_the_same_pixels_in_two_splits_are_refused(made: Made) -> None:
    first, last = made.rows[0], made.rows[-1]
    last.update({name: first[name] for name in ("pixels_sha256", "shard", "row")})
    outcome = made.judge()
    assert set(broken(outcome)) == {PIXELS_ONE_SPLIT, PIXELS_ONCE}  # the first cannot break without the second
    assert set(examples(outcome, PIXELS_ONE_SPLIT)) == {first["key"], last["key"]}
    assert "test 1, train 1" in broken(outcome)[PIXELS_ONE_SPLIT]


def test_a_session_in_two_splits_is_refused_with_frames_of_both_sides(made: Made) -> None:
    stray, home = made.of("test")[0], made.of("train")[0]
    stray["session"] = home["session"]
    outcome = made.judge()
    name = "a session is never in two splits"
    assert broken(outcome) == {name: f"{home['session']} (test 1, train 4)"}
    assert stray["key"] in examples(outcome, name)[:2]
    assert home["key"] in examples(outcome, name)[:2]


@pytest.mark.parametrize(("split", "least"), [("train", 24), ("val", 8), ("test", 8)])
def test_too_few_frames_in_a_split_are_refused(made: Made, split: str, least: int) -> None:
    gone = made.of(split)[least - 2 :]  # an even number stays: the classes remain balanced
    made.rows = [row for row in made.rows if row not in gone]
    assert broken(made.judge()) == {f"split {split} has at least {least} frames": str(least - 2)}


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_with_one_class_is_refused(made: Made, split: str) -> None:
    for row in made.of(split):
        row["label"] = "person"
    outcome = made.judge(LIMITS.model_copy(update={"max_class_share": 1.0}))
    assert broken(outcome) == {f"split {split} has frames of both classes": "lacks no_person"}


def test_a_class_that_is_only_a_category_of_its_column_is_not_there(made: Made) -> None:
    for row in made.of("val"):
        row["label"] = "person"
    outcome = made.judge(
        LIMITS.model_copy(update={"max_class_share": 1.0}),
        change=lambda table: table.set_column(
            table.schema.get_field_index("label"), "label", table["label"].dictionary_encode()
        ),
    )
    assert broken(outcome) == {"split val has frames of both classes": "lacks no_person"}


@pytest.mark.parametrize("split", SPLITS)
def test_a_lopsided_split_is_refused(made: Made, split: str) -> None:
    rows = made.of(split)
    for row in rows[: len(rows) // 2]:
        row["label"] = "person"
    name = f"one class has at most 60.0% of split {split}"
    assert broken(made.judge()).keys() == {name}
    assert broken(made.judge())[name].startswith("75.0% person (person ")


@pytest.mark.parametrize(
    ("column", "value", "name"),
    [
        ("brightness", 0.8, "every mean gray level is 1 to 253"),
        ("brightness", 254.0, "every mean gray level is 1 to 253"),
        ("contrast", 0.4, "every contrast (standard deviation of gray levels) is at least 0.5"),
    ],
)
def test_a_black_white_or_flat_frame_is_refused(made: Made, column: str, value: float, name: str) -> None:
    made.rows[7][column] = value
    outcome = made.judge()
    assert broken(outcome) == {name: f"1 of 56 frames: {value:g} (1)"}
    assert examples(outcome, name) == (made.rows[7]["key"],)


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (np.full((1, 60, 80), 9, np.uint8), "1 frame: 60 x 80 uint8"),
        (np.full((1, 120, 160), 9, np.float32), "1 frame: 120 x 160 float32"),
        (np.full((1, 120, 160, 3), 9, np.uint8), "1 frame: 120 x 160 x 3 uint8"),
    ],
)
def test_packed_pixels_of_another_shape_or_type_are_refused(made: Made, pixels: np.ndarray, found: str) -> None:
    made.rows[3].update(shard=made.shard(pixels), row=0, pixels_sha256=sha256(pixels[0].tobytes()))
    outcome = made.judge()
    assert broken(outcome) == {SHAPE: found}
    assert examples(outcome, SHAPE) == (made.rows[3]["key"],)


def test_a_row_past_the_end_of_its_shard_is_refused(made: Made) -> None:
    made.rows[3]["row"] = 56
    assert broken(made.judge()) == dict.fromkeys((SHAPE, HASH), "1 frame: row 56 of a shard of 56")


def test_a_negative_row_is_no_way_to_count_from_the_end(made: Made) -> None:
    made.rows[-1]["row"] = -1
    assert broken(made.judge()) == dict.fromkeys((SHAPE, HASH), "1 frame: row -1 of a shard of 56")


def test_a_shard_that_is_not_in_the_bucket_is_refused(made: Made) -> None:
    made.rows[3]["shard"] = "ab" * 32
    assert broken(made.judge()) == dict.fromkeys((SHAPE, HASH), "1 frame: shard abababababab is not in the bucket")


@pytest.mark.parametrize("data", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_a_shard_that_is_no_array_is_refused(made: Made, data: bytes) -> None:
    made.rows[3]["shard"] = made.store.put_blob(data)
    outcome = broken(made.judge())
    assert outcome.keys() == {SHAPE, HASH}
    assert "is not a .npy" in outcome[SHAPE]


def test_a_shard_whose_bytes_were_replaced_is_refused(made: Made) -> None:
    digest = "cd" * 32
    made.store.put(f"blobs/{digest}", b"something else")
    made.rows[3]["shard"] = digest
    assert "holds bytes with SHA-256" in broken(made.judge())[SHAPE]


def test_pixels_that_differ_from_their_hash_are_refused(made: Made) -> None:
    made.rows[3]["row"], made.rows[4]["row"] = made.rows[4]["row"], made.rows[3]["row"]
    outcome = made.judge()
    assert broken(outcome).keys() == {HASH}
    assert examples(outcome, HASH) == (made.rows[3]["key"], made.rows[4]["key"])


def test_an_empty_manifest_is_refused(made: Made) -> None:
    outcome = made.judge(change=lambda table: table.slice(0, 0))
    assert {f"split {split} has frames of both classes" for split in SPLITS} <= broken(outcome).keys()
    assert {f"one class has at most 60.0% of split {split}" for split in SPLITS} <= broken(outcome).keys()
    assert not outcome.success
