"""The bound of the accuracy loss: its exact cases, its coverage (computed and simulated), its speed. No model runs."""

import math
import time

import numpy as np
import pytest
from scipy import stats

from tasks.degradation import degradation, exact_bound, session_bound, sessions_needed


def loss_of(lost: int, gained: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Correctness of both models with so many flips."""
    fp32, int8 = np.ones(frames, bool), np.ones(frames, bool)
    int8[:lost] = False
    fp32[lost : lost + gained] = False
    return fp32, int8


@pytest.mark.parametrize(("frames", "limit"), [(299, 0.01), (598, 0.005)])
def test_without_a_flip_299_frames_bound_one_point_and_598_half_a_point(frames: int, limit: float) -> None:
    right = np.ones(frames, bool)
    found = degradation(right, right, np.arange(frames))
    assert found.method == "exact"
    assert found.point == 0
    assert found.bound == pytest.approx(1 - 0.05 ** (1 / frames))
    assert found.bound <= limit < exact_bound(0, 0, frames - 1)
    assert sessions_needed(limit) == frames


def test_no_number_of_frames_bounds_the_loss_at_zero() -> None:
    assert sessions_needed(0.0) is None
    assert sessions_needed(-0.1) is None
    assert sessions_needed(1.0) == 1


@pytest.mark.parametrize("frames", [1, 2, 20, 299, 2000])
def test_frames_only_lost_have_clopper_and_pearsons_bound(frames: int) -> None:
    for lost in {0, frames // 3, frames - 1}:
        assert exact_bound(lost, 0, frames) == pytest.approx(stats.beta.ppf(0.95, lost + 1, frames - lost), abs=1e-8)
    assert exact_bound(frames, 0, frames) == 1.0


@pytest.mark.parametrize(
    ("lost", "gained", "frames"), [(1, 1, 300), (0, 5, 300), (10, 12, 2000), (80, 40, 500), (3, 297, 300), (5, 5, 10)]
)
def test_the_computed_bound_is_the_quantile_of_the_random_weights(lost: int, gained: int, frames: int) -> None:
    generator = np.random.default_rng(0)
    unchanged = frames - lost - gained
    weights = generator.standard_gamma(np.array([lost + 1, unchanged, gained], float), (400_000, 3))
    drawn = np.sort((weights[:, 0] - weights[:, 2]) / weights.sum(axis=1))
    below, above = drawn[int(0.9485 * len(drawn))], drawn[int(0.9515 * len(drawn))]  # four standard errors
    assert below <= exact_bound(lost, gained, frames) <= above


@pytest.mark.parametrize("frames", [5, 12, 25])
def test_the_exact_bound_covers_the_true_loss_wherever_it_is(frames: int) -> None:
    """Every outcome of an experiment with its probability: no simulation, so no error of one."""
    outcomes = [(b, c, frames - b - c) for b in range(frames + 1) for c in range(frames - b + 1)]
    bounds = np.array([exact_bound(b, c, frames) for b, c, _ in outcomes])
    ways = np.array([math.lgamma(frames + 1) - sum(math.lgamma(k + 1) for k in o) for o in outcomes])
    table = np.array(outcomes)
    for lost in (0.001, 0.01, 0.03, 0.05, 0.08, 0.15, 0.3, 0.5, 0.78, 0.9):
        for gained in (1e-12, 0.001, 0.01, 0.03, 0.08, 0.15, 0.3, 0.49):
            if lost + gained >= 1:
                continue
            chances = np.exp(ways + table @ np.log([lost, gained, 1 - lost - gained]))
            assert chances.sum() == pytest.approx(1)
            covered = chances[bounds >= lost - gained - 1e-9].sum()
            assert covered >= 0.95 - 1e-9, (frames, lost, gained)


def test_more_gained_frames_lower_the_bound_and_more_lost_ones_raise_it() -> None:
    by_gained = [exact_bound(10, gained, 1000) for gained in range(0, 60, 5)]
    by_lost = [exact_bound(lost, 10, 1000) for lost in range(0, 60, 5)]
    assert by_gained == sorted(by_gained, reverse=True)
    assert by_lost == sorted(by_lost)


def test_a_session_counts_once_however_many_frames_it_has() -> None:
    right = np.ones(2990, bool)
    found = degradation(right, right, np.repeat(np.arange(299), 10))
    assert (found.method, found.frames, found.sessions) == ("session_bootstrap", 2990, 299)
    assert found.bound == pytest.approx(1 - 0.05 ** (1 / 299))  # of sessions: with 2990 frames it would be a tenth


def test_frames_that_flip_together_are_less_certain_than_frames_that_flip_alone() -> None:
    fp32, int8 = loss_of(lost=20, gained=0, frames=2000)
    together = degradation(fp32, int8, np.repeat(np.arange(200), 10))  # two whole sessions lost
    apart = degradation(fp32, int8, np.tile(np.arange(200), 10))  # one frame in each of twenty sessions
    assert together.point == apart.point == 0.01
    assert together.bound > apart.bound > 0.01
    assert (together.lost, together.gained) == (20, 0)


def test_the_session_bound_becomes_the_exact_one_where_sessions_are_equal() -> None:
    net = np.array([1] * 6 + [-1] * 4 + [0] * 590)
    drawn = session_bound(net, np.ones(600), rounds=200_000, seed=0)
    assert drawn == pytest.approx(exact_bound(6, 4, 600), rel=0.01)


def test_the_same_seed_gives_the_same_bound() -> None:
    net, sizes = np.array([3, 0, -1, 2] * 50), np.array([5, 9, 2, 7] * 50)
    assert session_bound(net, sizes, rounds=1000, seed=4) == session_bound(net, sizes, rounds=1000, seed=4)
    assert session_bound(net, sizes, rounds=1000, seed=4) != session_bound(net, sizes, rounds=1000, seed=5)


@pytest.mark.parametrize(
    ("sessions", "share_lost", "share_gained", "sticky"),
    [
        (60, 0.005, 0.0, 0.0),  # few sessions, hardly a flip: where the plain bootstrap fails
        (60, 0.03, 0.01, 0.9),  # flips come by whole sessions
        (300, 0.01, 0.01, 0.5),
        (300, 0.03, 0.0, 0.0),
    ],
)
def test_the_session_bound_covers_the_true_loss(
    sessions: int, share_lost: float, share_gained: float, sticky: float
) -> None:
    """600 simulated experiments with sessions of 1 to 40 frames; `sticky`: chance that a frame does as its session."""
    generator = np.random.default_rng(11)
    truth, covered, rounds = share_lost - share_gained, 0, 600
    kinds, chances = np.array([1, -1, 0]), [share_lost, share_gained, 1 - share_lost - share_gained]
    for number in range(rounds):
        sizes = np.minimum(generator.geometric(0.15, sessions), 40)
        ids = np.repeat(np.arange(sessions), sizes)
        of_session = generator.choice(kinds, sessions, p=chances)[ids]
        flips = np.where(generator.random(len(ids)) < sticky, of_session, generator.choice(kinds, len(ids), p=chances))
        net = np.bincount(ids, weights=flips)
        covered += session_bound(net, sizes, rounds=2000, seed=number) >= truth
    error = math.sqrt(0.95 * 0.05 / rounds)
    assert covered / rounds >= 0.95 - 2 * error


def test_ten_thousand_rounds_on_two_thousand_sessions_take_a_second_or_two() -> None:
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, 40, 2000)
    net = generator.integers(-1, 2, 2000) * (generator.random(2000) < 0.1)
    started = time.process_time()
    session_bound(net, sizes, rounds=10_000, seed=0)
    assert time.process_time() - started < 4  # the limit leaves room for a busy machine


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="equally many"):
        degradation([True], [True, False], ["a", "b"])
    with pytest.raises(ValueError, match="at least one"):
        degradation([], [], [])
