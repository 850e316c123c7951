"""Which frames belong together: manifest, folder, time, look. Pure; no files, no bucket."""

import hashlib
import io
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from PIL import Image

from tasks.camera_sessions import (
    RADIUS,
    Candidate,
    across_splits,
    choose,
    counted,
    look_of,
    near_duplicates,
    safe_name,
    time_in_name,
)
from tests.tasks.pictures import pixels_of, scene

START = datetime(2026, 1, 31, 14, 25, tzinfo=UTC)


def one(number: int, **facts: object) -> Candidate:
    """A candidate with a hash of its own."""
    return Candidate(hashlib.sha256(b"%d" % number).hexdigest(), "cam", **facts)  # type: ignore[arg-type]


def next_frame(seed: int, dice: np.random.Generator, shake: int = 2) -> np.ndarray:
    """What the same camera sees next: up to `shake` pixels aside, at most 2, another exposure, noise, JPEG."""
    pixels = pixels_of(scene(seed))
    down, right = dice.integers(-shake, shake + 1, 2)
    moved = np.roll(np.pad(pixels, 2, mode="edge"), (down, right), (0, 1))[2:122, 2:162]
    lit = moved * dice.uniform(0.92, 1.08) + dice.uniform(-6, 6) + dice.normal(0, 3, (120, 160))
    buffer = io.BytesIO()
    Image.fromarray(lit.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=80)
    return np.asarray(Image.open(buffer))


def test_the_manifests_session_is_taken_as_given() -> None:
    chosen = choose([one(1, given="s1", folder="kitchen", captured_at=START)])
    assert chosen == [("s1", "manifest")]


def test_the_sub_folder_comes_before_time_and_carries_the_device() -> None:
    chosen = choose([one(1, folder="kitchen", captured_at=START), one(2, folder="kitchen", captured_at=START)])
    assert chosen == [("cam.kitchen", "folder")] * 2


def test_a_gap_of_more_than_five_minutes_starts_a_session() -> None:
    minutes = [12, 0, 5, 10, 15.1, 20.2]
    chosen = choose([one(n, captured_at=START + timedelta(minutes=m)) for n, m in enumerate(minutes)])
    assert [session for session, _ in chosen] == ["cam.20260131T142500Z"] * 5 + ["cam.20260131T144512Z"]


def test_time_is_looked_at_per_device() -> None:
    other = Candidate("f" * 64, "other", captured_at=START)
    assert [session for session, _ in choose([one(1, captured_at=START), other])] == [
        "cam.20260131T142500Z",
        "other.20260131T142500Z",
    ]


def test_frames_that_look_alike_are_one_session_whatever_their_label() -> None:
    dice = np.random.default_rng(0)
    frames = [pixels_of(scene(seed)) for seed in range(6)] + [next_frame(seed, dice, 0) for seed in (2, 2, 4)]
    chosen = choose([one(n, look=look_of(pixels)) for n, pixels in enumerate(frames)])
    sessions = [session for session, _ in chosen]
    assert sessions[6] == sessions[7] == sessions[2]
    assert sessions[8] == sessions[4]
    assert len(set(sessions)) == 6
    assert {method for _, method in chosen} == {"near-duplicate"}


def test_most_neighbours_of_a_still_camera_are_recognised_and_strangers_are_not() -> None:
    dice = np.random.default_rng(1)
    looks = [look_of(pixels_of(scene(seed))) for seed in range(200)]
    again = [look_of(next_frame(seed, dice)) for seed in range(200)]
    found = sum(len(near_duplicates([a, b])) == 1 for a, b in zip(looks, again, strict=True))
    assert found >= 140  # these scenes are busier than photographs, on which it is nine of ten
    assert len(near_duplicates(looks)) == 200


def test_ids_stay_the_same_whatever_the_order() -> None:
    candidates = [one(n, look=look_of(pixels_of(scene(n % 5)))) for n in range(20)]
    candidates += [one(100 + n, captured_at=START + timedelta(minutes=4 * n)) for n in range(9)]
    forwards, backwards = choose(candidates), choose(candidates[::-1])
    assert forwards == backwards[::-1]


def test_new_frames_join_the_session_of_those_that_are_stored() -> None:
    old, new = one(9, look=look_of(pixels_of(scene(1)))), one(1, look=look_of(pixels_of(scene(1))))
    before = choose([old])[0].session
    assert choose([new])[0].session != before
    assert {session for session, _ in choose([new, old], {old.sha256: before})} == {before}


def test_an_earlier_frame_does_not_rename_a_stored_session() -> None:
    old, new = one(1, captured_at=START), one(2, captured_at=START - timedelta(minutes=3))
    before = choose([old])[0].session
    assert {session for session, _ in choose([new, old], {old.sha256: before})} == {before}


def test_a_derived_session_never_crosses_an_imported_split() -> None:
    look = look_of(pixels_of(scene(1)))
    candidates = [
        one(1, split="train", folder="x"),
        one(2, split="test", folder="x"),
        one(3, split="train", captured_at=START),
        one(4, split="test", captured_at=START),
        one(5, split="train", look=look),
        one(6, split="test", look=look),
    ]
    assert len({session for session, _ in choose(candidates)}) == 6
    assert across_splits(candidates) == 1


def test_the_choice_is_counted_by_method() -> None:
    chosen = choose([one(1, given="a"), one(2, given="a"), one(3, folder="b"), one(4, captured_at=START)])
    assert counted(chosen) == (("manifest", 2, 1), ("folder", 1, 1), ("time", 1, 1))


@pytest.mark.parametrize("text", ["küche/1", "a b", "..", "", "x" * 65, "s:1", "\udce9"])
def test_a_name_that_a_key_cannot_carry_is_mapped_stably(text: str) -> None:
    name = safe_name(text)
    assert name == safe_name(text)
    assert 1 <= len(name) <= 64
    assert name.strip(".")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert safe_name(text + "x") != name


def test_a_good_name_stays_as_it_is() -> None:
    for name in ("s0000316dad", "cam-1.kitchen_2", "A" * 64):
        assert safe_name(name) == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IMG_20260131_142530.jpg", "2026-01-31T14:25:30+00:00"),
        ("x/PXL_20260131_142530123.jpg", "2026-01-31T14:25:30+00:00"),
        ("2026-01-31T14-25-30.png", "2026-01-31T14:25:30+00:00"),
        ("Screenshot 2026-01-31 at 14.25.30.png", "2026-01-31T14:25:30+00:00"),
        ("20260131142530.pgm", "2026-01-31T14:25:30+00:00"),
        ("IMG-20260131-WA0001.jpg", None),
        ("2026-02-31_14-25-30.jpg", None),
        ("1769869530123.jpg", None),
        ("202601311425301234567.jpg", None),
        ("20260131_142530/plain.jpg", None),
    ],
)
def test_capture_time_is_read_from_common_file_names_only(name: str, expected: str | None) -> None:
    found = time_in_name(name)
    assert (found.isoformat() if found else None) == expected


def test_the_search_finds_exactly_what_comparing_all_pairs_finds() -> None:
    dice = np.random.default_rng(3)
    bits = dice.integers(0, 2, (60, 128), dtype=np.uint8)
    rows = [bits[n % 60].copy() for n in range(600)]
    for row in rows:
        row[dice.integers(0, 128, dice.integers(0, 12))] ^= 1
    looks = [np.packbits(row).tobytes() for row in rows]
    words = np.frombuffer(b"".join(looks), np.uint64).reshape(-1, 2)
    near = np.bitwise_count(words[:, None] ^ words[None]).sum(axis=2) <= RADIUS
    expected = set()
    left = set(range(len(looks)))
    while left:
        group, border = set(), {min(left)}
        while border:
            group |= border
            border = {int(j) for i in border for j in np.flatnonzero(near[i])} - group
        expected.add(frozenset(group))
        left -= group
    assert {frozenset(group) for group in near_duplicates(looks)} == expected


def test_no_frames_make_no_groups() -> None:
    assert near_duplicates([]) == []
    assert choose([]) == []


def test_twenty_thousand_frames_take_seconds() -> None:
    dice = np.random.default_rng(0)
    strangers = [dice.bytes(16) for _ in range(10_000)]
    base = np.unpackbits(np.frombuffer(strangers[0], np.uint8))
    still = []
    for _ in range(10_000):
        bits = base.copy()
        bits[dice.integers(0, 128, 5)] ^= 1
        still.append(np.packbits(bits).tobytes())
    started = time.process_time()
    groups = near_duplicates(strangers + still)
    assert time.process_time() - started < 20
    assert max(map(len, groups)) == 10_001
