"""Claims against a real S3 server: the log, races between processes and threads, lost answers, outcomes. Whether a
retrain is due is in test_watch.py; what is started for a claim is in tests/flows/test_watch_flow.py."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest

from tasks import claims
from tasks.claims import Claim, Entry, Outcome
from tasks.settings import Settings
from tasks.store import RecordDamaged, Store

WATCHERS = 8


def claim(number: int = 1, rows: int = 400, **changes: Any) -> Claim:
    return Claim.model_validate(
        {
            "number": number,
            "index_revision": 3,
            "rows": rows,
            "labelled": {"no_person": 200, "person": 200},
            "new": {"no_person": 200, "person": 200},
            "why": "first",
            "reason": "first retrain: 200 of 200 new person frames, 200 of 200 new no_person frames",
            "parameters": {"index_rows": rows, "train": {"alpha": 0.35}},
            "claimed_at": datetime.now(UTC),
            **changes,
        }
    )


def outcome(of: Claim, **changes: Any) -> Outcome:
    return Outcome.model_validate(
        {
            "claim": of.digest,
            "state": "completed",
            "name": "Passed",
            "message": "every rule of the gate holds",
            "flow_run": "0f4e",
            "resumes": 0,
            "closed_at": datetime.now(UTC),
            **changes,
        }
    )


def made(store: Store, wanted: Claim) -> Claim:
    found = claims.make(store, lambda newest: wanted)
    assert found == wanted
    return wanted


def unless_there_is_one(rows: int, seen: list[int] | None = None) -> Any:
    """A watcher that has seen `rows` rows and wants the first claim; `seen`: numbers of the claims that it met."""

    def decide(newest: Entry | None) -> Claim | None:
        if newest:
            if seen is not None:
                seen.append(newest.claim.number)
            return None
        return claim(rows=rows)

    return decide


def watch_in_a_process(where: Settings, rows: int, barrier: Barrier, answers: Any) -> None:
    """What each process of the race does. The barrier is between reading the log and writing: all of them race."""
    store = Store(where)
    store.exists("warm-up")
    decide = unless_there_is_one(rows)
    first = True

    def together(newest: Entry | None) -> Claim | None:
        nonlocal first
        if first:
            first = False
            barrier.wait(60)
        return decide(newest)

    found = claims.make(store, together)
    answers.put(found.rows if found else None)


def test_of_eight_processes_that_saw_different_frames_one_claims_and_the_others_see_its_claim(
    store: Store, where: Settings
) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(WATCHERS), context.Queue()
    processes = [
        context.Process(target=watch_in_a_process, args=(where, 400 + i, barrier, answers)) for i in range(WATCHERS)
    ]
    for process in processes:
        process.start()
    found = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(30)
    winners = [rows for rows in found if rows is not None]
    assert len(winners) == 1
    newest = claims.newest(store)
    assert newest
    assert (newest.claim.number, newest.claim.rows) == (1, winners[0])
    assert [item.key for item in store.list(claims.FOLDER)] == ["claims/000001.json"]


def test_numbers_have_no_gaps_however_many_claim_at_once(store: Store) -> None:
    """Watchers that do not care what is claimed already: each gets a number of its own."""
    barrier = threading.Barrier(WATCHERS)

    def watcher(rows: int) -> int:
        tries = 0

        def decide(newest: Entry | None) -> Claim:
            nonlocal tries
            tries += 1
            if tries == 1:
                barrier.wait(30)
            return claim(newest.claim.number + 1 if newest else 1, rows)

        found = claims.make(store, decide)
        assert found
        assert found.rows == rows
        return found.number

    with ThreadPoolExecutor(WATCHERS) as threads:
        numbers = list(threads.map(watcher, range(1, WATCHERS + 1)))
    assert sorted(numbers) == list(range(1, WATCHERS + 1))
    assert [item.key for item in store.list(claims.FOLDER)] == [f"claims/{n:06d}.json" for n in sorted(numbers)]


def test_who_loses_decides_again_on_the_winners_claim(store: Store) -> None:
    seen: list[int] = []
    decide = unless_there_is_one(401, seen)

    def late(newest: Entry | None) -> Claim | None:
        mine = decide(newest)
        if newest is None:
            made(store, claim(rows=400))  # somebody else, between this one's reading and writing
        return mine

    assert claims.make(store, late) is None
    assert seen == [1]


def test_a_write_that_was_repeated_after_a_lost_answer_still_counts_as_won(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = store.create

    def answer_is_lost(*args: Any, **kwargs: Any) -> bool:
        create(*args, **kwargs)
        return create(*args, **kwargs)  # as the client repeats a request whose answer did not come

    monkeypatch.setattr(store, "create", answer_is_lost)
    tries = iter([mine := claim()])  # a second try would find none
    assert claims.make(store, lambda newest: next(tries)) == mine


def test_the_newest_claim_is_open_until_it_has_an_outcome(store: Store) -> None:
    assert claims.newest(store) is None
    first = made(store, claim())
    assert claims.newest(store) == Entry(first, None)
    claims.close(store, first, outcome(first))
    newest = claims.newest(store)
    assert newest
    assert not newest.open
    second = made(store, claim(2, 800))
    newest = claims.newest(store)
    assert newest
    assert (newest.claim, newest.open) == (second, True)


def test_an_outcome_is_written_once_and_the_second_to_close_gets_the_first_ones(store: Store) -> None:
    mine = made(store, claim())
    passed = outcome(mine)
    assert claims.close(store, mine, passed) == passed
    assert claims.close(store, mine, outcome(mine, state="failed", name="Failed")) == passed
    assert claims.newest(store) == Entry(mine, passed)


def test_the_same_frames_claimed_in_another_bucket_or_later_have_another_digest() -> None:
    one = claim()
    assert one.digest == Claim.model_validate_json(one.model_dump_json()).digest
    later = claim(claimed_at=datetime(2027, 1, 1, tzinfo=UTC))
    assert one.digest != later.digest
    assert (
        one.digest
        != one.model_copy(update={"digest": ""})
        .model_validate({**one.model_dump(exclude={"digest"}), "rows": 401})
        .digest
    )


def test_a_claim_that_was_changed_by_hand_is_refused(store: Store) -> None:
    mine = made(store, claim())
    store.put(mine.key, mine.model_dump_json().replace('"rows":400', '"rows":4000').encode())
    with pytest.raises(RecordDamaged, match="was changed after it was written"):
        claims.newest(store)


def test_other_objects_below_claims_are_no_claims(store: Store) -> None:
    mine = made(store, claim())
    for key in ("claims/9.json", "claims/000009-outcome.json", "claims/000009.json.part", "claims/notes/000009.json"):
        store.put(key, b"{}")
    assert claims.newest(store) == Entry(mine, None)
