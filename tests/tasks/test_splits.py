"""How sessions are dealt to splits: shares, strata, stability. Pure functions on random data; no bucket, no index
(that a session keeps its split over many ingests is in test_ingest.py)."""

import random
from collections import Counter, defaultdict

import pytest

from tasks.lineage import SPLITS
from tasks.parameters import SplitParameters
from tasks.splits import SharesInvalid, deal, shares_of

DEFAULT = SplitParameters()


def random_sessions(rng: random.Random, count: int) -> dict[str, Counter]:
    """Sessions of 1 to 30 frames over up to four devices; one in ten spans two strata."""
    strata = [(label, f"cam{i}") for label in ("person", "no_person") for i in range(rng.randint(1, 4))]
    return {
        f"session-{i}-{rng.random()}": Counter(
            {rng.choice(strata): rng.randint(1, 30) for _ in range(2 if rng.random() < 0.1 else 1)}
        )
        for i in range(count)
    }


def frames_per_split(sessions: dict, dealt: dict, label: str | None = None) -> Counter:
    counts: Counter = Counter()
    for session, strata in sessions.items():
        counts[dealt[session]] += sum(n for stratum, n in strata.items() if label in (None, stratum[0]))
    return counts


@pytest.mark.parametrize("seed", range(25))
def test_every_session_is_dealt_once_and_shares_hold_per_label(seed: int) -> None:
    rng = random.Random(seed)
    sessions = random_sessions(rng, rng.randint(150, 400))
    dealt = deal(sessions, {}, DEFAULT)
    assert dealt.keys() == sessions.keys()
    for label in ("person", "no_person"):
        counts = frames_per_split(sessions, dealt, label)
        total = sum(counts.values())
        for split, share in shares_of(DEFAULT).items():
            assert abs(counts[split] / total - share) < 0.02, (label, counts)


@pytest.mark.parametrize("seed", range(25))
def test_the_deal_does_not_depend_on_the_order_of_arrival(seed: int) -> None:
    rng = random.Random(seed)
    sessions = random_sessions(rng, 60)
    shuffled = list(sessions.items())
    rng.shuffle(shuffled)
    assert deal(sessions, {}, DEFAULT) == deal(dict(shuffled), {}, DEFAULT)


@pytest.mark.parametrize("seed", range(10))
def test_sessions_that_come_in_small_lots_keep_the_shares(seed: int) -> None:
    rng = random.Random(seed)
    sessions = random_sessions(rng, 300)
    have: dict = defaultdict(Counter)
    dealt: dict = {}
    names = list(sessions)
    while names:
        lot = {name: sessions[name] for name in (names.pop() for _ in range(min(len(names), rng.randint(1, 9))))}
        for session, split in deal(lot, have, DEFAULT).items():
            dealt[session] = split
            for stratum, n in sessions[session].items():
                have[stratum][split] += n
    counts = frames_per_split(sessions, dealt)
    for split, share in shares_of(DEFAULT).items():
        assert abs(counts[split] / sum(counts.values()) - share) < 0.03, counts


def test_one_session_of_199_frames_does_not_wreck_test() -> None:
    sessions = {f"s{i}": Counter({("no_person", "grocery"): 20}) for i in range(40)}
    sessions["big"] = Counter({("no_person", "grocery"): 199})
    dealt = deal(sessions, {}, DEFAULT)
    assert dealt["big"] == "train"
    counts = frames_per_split(sessions, dealt)
    assert 0.12 < counts["test"] / 999 < 0.18
    assert 0.12 < counts["val"] / 999 < 0.18


def test_three_sessions_reach_all_three_splits_and_the_biggest_is_for_training() -> None:
    sessions = {name: Counter({("person", "cam"): n}) for name, n in (("a", 30), ("b", 10), ("c", 12))}
    dealt = deal(sessions, {}, DEFAULT)
    assert set(dealt.values()) == set(SPLITS)
    assert dealt["a"] == "train"


def test_devices_of_one_session_each_do_not_all_land_in_train() -> None:
    sessions = {f"s{i}": Counter({("person", f"cam{i}"): 10}) for i in range(40)}
    counts = Counter(deal(sessions, {}, DEFAULT).values())
    assert 26 <= counts["train"] <= 30
    assert counts["val"] >= 5
    assert counts["test"] >= 5


def test_frames_that_were_imported_with_a_split_count() -> None:
    have = {("person", "cam"): Counter(train=700)}
    sessions = {f"s{i}": Counter({("person", "cam"): 10}) for i in range(30)}
    counts = Counter(deal(sessions, have, DEFAULT).values())
    assert counts == {"val": 15, "test": 15}


def test_a_split_with_share_0_gets_nothing() -> None:
    sessions = {f"s{i}": Counter({("person", "cam"): 1 + i % 7}) for i in range(50)}
    dealt = deal(sessions, {}, SplitParameters(train=0.8, val=0.2, test=0.0))
    assert set(dealt.values()) == {"train", "val"}


def test_shares_that_do_not_sum_to_1_are_refused_by_name() -> None:
    with pytest.raises(SharesInvalid, match=r"train=0\.7, val=0\.2, test=0\.2 sum to 1\.1"):
        deal({}, {}, SplitParameters(train=0.7, val=0.2, test=0.2))
