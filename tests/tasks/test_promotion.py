"""Promotion and rollback against a real S3 server and the device's kernels: what is released, what a channel holds.

Covers the comparison, numbering and races of processes. Does not touch flows (tests/flows) or verification.
"""

import itertools
import multiprocessing

import pytest

from tasks import channels
from tasks.channels import HistoryDiffers
from tasks.compare import _floors
from tasks.lineage import Candidate
from tasks.parameters import ComparisonParameters, GateLimits, PromoteParameters
from tasks.promotion import NotPromotable, RollbackRefused, find, promote, release_before, rollback
from tasks.release_records import SliceComparison
from tasks.releases import NoSuchRelease, load_release, releases
from tasks.settings import Settings
from tasks.signing import KeyMissing, make_keys
from tasks.store import ObjectMissing, RecordDamaged, Store
from tests.tasks.brightness_models import brightness_model
from tests.tasks.published import ANY, held, published, stored_candidate

REAL = PromoteParameters(dry_run=False)


@pytest.fixture
def keyed(store: Store) -> Store:
    make_keys(store.where)
    return store


def test_the_first_candidate_that_passed_is_released(keyed: Store) -> None:
    candidate = stored_candidate(keyed)
    found = promote(keyed, candidate, REAL)
    assert found.outcome == "released"
    assert found.release
    assert (found.release.number, found.release.candidate, found.release.previous) == (1, candidate.digest, None)
    assert (held(keyed).revision, held(keyed).release, held(keyed).kind) == (1, 1, "promotion")
    assert held(keyed).release_digest == load_release(keyed, 1).digest
    assert {"report.html", "model_int8.tflite", "manifest.parquet", "firmware/mps2-an386/firmware.elf"} <= set(
        found.release.artefacts
    )
    assert [revision.revision for revision in channels.history(keyed, "stable")] == [1]


def test_a_dry_run_publishes_nothing_and_needs_no_key(store: Store) -> None:
    found = promote(store, stored_candidate(store), PromoteParameters())
    assert found.outcome == "would"
    assert not releases(store)
    assert channels.current(store) is None
    with pytest.raises(KeyMissing):
        promote(store, stored_candidate(store), REAL)
    assert not releases(store)


def test_a_candidate_is_released_once_however_often_it_is_promoted(keyed: Store) -> None:
    candidate = stored_candidate(keyed)
    promote(keyed, candidate, REAL)
    again = promote(keyed, candidate, REAL)
    assert again.outcome == "already"
    assert len(releases(keyed)) == held(keyed).revision == 1


def test_a_candidate_that_is_behind_leaves_the_channel_as_it_is(keyed: Store) -> None:
    published(keyed, "good")  # right on every frame
    worse = promote(keyed, stored_candidate(keyed, "worse", mistakes=0.05), REAL)
    assert worse.outcome == "kept"
    assert worse.comparison
    assert worse.comparison.channel_accuracy == 1.0
    assert worse.comparison.lost > worse.comparison.gained
    assert [rule.name for rule in worse.comparison.rules if not rule.passed] == ["not_behind"]
    assert "points behind release 1" in worse.sentence
    assert len(releases(keyed)) == held(keyed).release == 1


def test_a_little_behind_is_fine_where_the_bound_says_so_and_too_few_frames_say_so(keyed: Store) -> None:
    published(keyed, "good")
    little = promote(keyed, stored_candidate(keyed, "little", mistakes=0.002), REAL)
    assert little.comparison
    assert little.comparison.point is not None
    assert little.comparison.point > 0
    assert little.outcome == "released", little.sentence
    few = promote(keyed, stored_candidate(keyed, "few", mistakes=0.002, frames=100, limits=_few()), REAL)
    assert few.outcome == "kept"
    assert "too few sessions to tell" in few.sentence


def test_a_better_candidate_replaces_a_bad_one_on_the_same_frames(keyed: Store) -> None:
    blind = brightness_model(middle=250)  # calls everything no_person
    published(keyed, "blind", model=blind)
    better = promote(keyed, stored_candidate(keyed, "better", mistakes=0.03), REAL)
    assert better.outcome == "released"
    assert better.comparison
    assert better.comparison.channel_accuracy == pytest.approx(0.5, abs=0.01)  # it was run, not looked up
    assert better.comparison.channel_release == 1
    assert held(keyed).release == 2


def test_a_device_below_its_floor_keeps_the_candidate_out(keyed: Store) -> None:
    candidate = stored_candidate(keyed, mistakes=0.03)
    strict = PromoteParameters(dry_run=False, compare=ComparisonParameters(slice_floors={"hall": 0.999}))
    found = promote(keyed, candidate, strict)
    assert found.outcome == "kept"
    assert "hall" in found.sentence
    unknown = PromoteParameters(dry_run=False, compare=ComparisonParameters(slice_floors={"hal": 0.5}))
    assert "device hal has a floor" in promote(keyed, candidate, unknown).sentence  # a typo does not open the gate
    assert not releases(keyed)
    assert promote(keyed, candidate, REAL).outcome == "released"


def test_floors_speak_of_one_device_and_of_several() -> None:
    def said(*accuracies: float) -> str:
        slices = (
            SliceComparison(name=f"cam-{i}", frames=1, candidate=found, channel=None, floor=0.8)
            for i, found in enumerate(accuracies)
        )
        return _floors(tuple(slices), ComparisonParameters())[0].reason

    assert said(0.9) == "the only device with enough frames, cam-0, reaches its floor"
    assert said(0.9, 0.85).startswith("all 2 devices with enough frames reach their floor; nearest is cam-1")
    assert said(0.5) == "1 of 1 device below its floor: cam-0 0.5000 (floor 0.8, 1 frame)"
    assert said(0.5, 0.9).startswith("1 of 2 devices below their floor: cam-0")


def test_no_board_in_the_field_loses_its_image(keyed: Store) -> None:
    published(keyed, "two", boards=("mps2-an386", "mps2-an500"))
    found = promote(keyed, stored_candidate(keyed, "one", boards=("mps2-an500",)), REAL)
    assert found.outcome == "kept"
    assert "mps2-an386" in found.sentence


def test_images_are_compared_anew_for_the_same_model_with_others(keyed: Store) -> None:
    """The same model, the same report: only the boards differ, and an earlier answer is none about these."""
    both = ("mps2-an386", "mps2-an500")
    published(keyed, "first", boards=both)
    whole = stored_candidate(keyed, "second", boards=both)
    assert promote(keyed, whole, PromoteParameters()).outcome == "would"
    found = promote(keyed, stored_candidate(keyed, "second", boards=both[1:]), REAL)
    assert found.outcome == "kept"
    assert "mps2-an386" in found.sentence
    assert promote(keyed, whole, REAL).outcome == "released"


def test_the_same_answers_are_neither_better_nor_worse(keyed: Store) -> None:
    published(keyed, "one", mistakes=0)
    found = promote(keyed, stored_candidate(keyed, "one", limits=_few()), REAL)
    assert found.comparison
    assert found.comparison.point == 0
    assert found.comparison.rules[0].reason.startswith("as accurate as release 1 (")


def test_a_rejected_candidate_is_never_released(keyed: Store) -> None:
    rejected = stored_candidate(keyed).model_copy(update={"passed": False})
    with pytest.raises(NotPromotable, match="did not pass"):
        promote(keyed, rejected, REAL)


def test_a_missing_object_is_named_before_anything_is_published(keyed: Store) -> None:
    candidate = stored_candidate(keyed)
    image = next(key for name, key in candidate.records.items() if name.startswith("firmware-"))
    keyed.delete(image.replace("image.json", "firmware.elf"))
    with pytest.raises(ObjectMissing, match=r"firmware\.elf"):
        promote(keyed, candidate, REAL)
    assert not releases(keyed)


def test_ten_processes_that_publish_at_once_give_ten_numbers_and_one_final_state(keyed: Store) -> None:
    # One model under ten limits: ten candidates, whose comparison with each other takes no time.
    ten = [stored_candidate(keyed, limits=ANY.model_copy(update={"min_test_frames": 1 + n})) for n in range(10)]
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(10)
    processes = [context.Process(target=_publish, args=(keyed.where, candidate, start)) for candidate in ten]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    made = releases(keyed)
    assert [release.number for release in made] == list(range(1, 11))
    assert {release.candidate for release in made} == {candidate.digest for candidate in ten}
    assert held(keyed).release == held(keyed).highest == 10
    kept = list(channels.history(keyed, "stable"))
    assert [revision.revision for revision in kept] == list(range(1, held(keyed).revision + 1))
    assert kept[-1] == held(keyed)
    assert all(a.digest == b.previous for a, b in itertools.pairwise(kept))
    moves = [revision.release for revision in kept]
    assert moves == sorted(moves)  # never to an older one


def test_one_candidate_that_ten_processes_publish_at_once_is_one_release(keyed: Store) -> None:
    candidate = stored_candidate(keyed)
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(10)
    processes = [context.Process(target=_publish, args=(keyed.where, candidate, start)) for _ in range(10)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert len(releases(keyed)) == held(keyed).release == held(keyed).revision == 1


def test_a_rollback_is_a_new_signed_revision_with_its_reason(keyed: Store) -> None:
    published(keyed, "one")
    published(keyed, "two")
    moved = rollback(keyed, 1, "ghosts in the hall")
    assert held(keyed) == moved
    assert (moved.revision, moved.release, moved.kind, moved.reason) == (3, 1, "rollback", "ghosts in the hall")
    assert moved.signature
    assert release_before(keyed, "stable") == 2


def test_what_was_rolled_back_is_not_promoted_again_but_a_newer_one_is(keyed: Store) -> None:
    published(keyed, "one")
    two = stored_candidate(keyed, "two")
    promote(keyed, two, REAL)
    rollback(keyed, 1, "ghosts in the hall")
    again = promote(keyed, two, REAL)
    assert again.outcome == "superseded"
    assert held(keyed).release == 1
    assert published(keyed, "three").outcome == "released"
    assert held(keyed).release == held(keyed).highest == 3
    assert rollback(keyed, 2, "it was the lens after all").release == 2


def test_a_dry_run_says_that_what_was_rolled_back_is_not_promoted_again(keyed: Store) -> None:
    published(keyed, "one")
    two = stored_candidate(keyed, "two")
    promote(keyed, two, REAL)
    rollback(keyed, 1, "ghosts in the hall")
    assert promote(keyed, two, PromoteParameters()).outcome == "superseded"
    assert promote(keyed, stored_candidate(keyed, "three"), PromoteParameters()).outcome == "would"


def test_a_channel_that_was_put_back_is_not_moved_on_from_there(keyed: Store) -> None:
    published(keyed, "one")
    earlier = keyed.get("channels/stable.json")
    published(keyed, "two")
    keyed.put("channels/stable.json", earlier)
    with pytest.raises(HistoryDiffers, match="an earlier state was put back"):
        published(keyed, "three")
    assert keyed.get("channels/stable.json") == earlier
    keyed.delete("channels/stable.json")
    with pytest.raises(HistoryDiffers, match="is not there, but a copy of revision 1"):
        published(keyed, "four")


def test_a_damaged_release_is_named(keyed: Store) -> None:
    published(keyed, "one")
    keyed.put("releases/1.json", b'{"number": 1}')
    with pytest.raises(RecordDamaged, match=r"releases/1.json in bucket .* is no Release"):
        releases(keyed)


def test_the_release_before_is_right_where_a_mover_died_before_its_copy(keyed: Store) -> None:
    published(keyed, "one")
    published(keyed, "two")
    keyed.delete("channels/stable/000002.json")
    assert release_before(keyed, "stable") == 1


@pytest.mark.parametrize(
    ("number", "reason", "message"),
    [(2, "why not", "holds it"), (3, "why not", "there is no release 3"), (1, "  ", "without a reason")],
)
def test_impossible_rollbacks_are_refused_by_name(keyed: Store, number: int, reason: str, message: str) -> None:
    published(keyed, "one")
    published(keyed, "two")
    with pytest.raises((RollbackRefused, NoSuchRelease), match=message):
        rollback(keyed, number, reason)
    assert held(keyed).revision == 2


def test_an_empty_channel_cannot_be_rolled_back(keyed: Store) -> None:
    with pytest.raises(RollbackRefused, match="holds nothing"):
        rollback(keyed, 1, "why not")


def test_channels_are_independent(keyed: Store) -> None:
    candidate = stored_candidate(keyed)
    promote(keyed, candidate, PromoteParameters(dry_run=False, channel="beta"))
    assert channels.current(keyed) is None
    promote(keyed, candidate, REAL)
    assert held(keyed).release == held(keyed, "beta").release == 1
    assert channels.names(keyed) == ["beta", "stable"]


def test_a_candidate_is_found_by_its_first_digits(keyed: Store) -> None:
    with pytest.raises(NotPromotable, match="no candidate has passed"):
        find(keyed)
    candidate = stored_candidate(keyed)
    assert find(keyed) == find(keyed, candidate.digest[:8]) == candidate
    with pytest.raises(NotPromotable, match="there is no candidate"):
        find(keyed, "0000")


def _few() -> GateLimits:
    return ANY.model_copy(update={"min_test_frames": 10})


def _publish(where: Settings, candidate: Candidate, start: object) -> None:
    store = Store(where)
    start.wait()  # type: ignore[attr-defined]
    promote(store, candidate, REAL)
