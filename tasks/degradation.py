"""How much accuracy the INT8 model may have lost, at most: a one-sided 95 % bound on the paired difference FP32 - INT8.

Both models see the same frames, so only frames on which one is right and the other wrong say anything: `lost` (FP32
right, INT8 wrong) and `gained`. The difference is (lost - gained) / frames. The sampling unit is the session.

The bound is the one of Gaffke (2005, Mathematical Methods of Statistics 14) and Learned-Miller & Thomas (2019,
arXiv:1905.06208): give the observations and one more observation, the worst that is possible (a session whose every
frame is lost), random weights from Dirichlet(1, ..., 1); the bound is the 95 % quantile of the weighted mean. That is
the Bayesian bootstrap (Rubin 1981, Annals of Statistics 9) plus the worst case. The plain bootstrap says 0 where
nothing flipped and is too small where few flipped; with the worst case added, n observations without a flip give
1 - 0.05^(1/n) (about 3/n, the "rule of three"), and frames that were only lost give Clopper-Pearson's limit exactly.
Beyond these cases coverage is a conjecture of the authors; tests/tasks/test_degradation.py computes it for single
frames and simulates it for sessions of unequal size.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.lineage import Degradation

ALPHA = 0.05  # one-sided
_GRID = 4001


def degradation(
    fp32_right: ArrayLike, int8_right: ArrayLike, sessions: ArrayLike, *, rounds: int = 10_000, seed: int = 0
) -> Degradation:
    """Paired difference of accuracy with its one-sided 95 % upper bound, as fractions.

    `fp32_right`, `int8_right`: bool (n,), whether each model is right on a frame; `sessions`: (n,) ids. Method `exact`
    (no random numbers) where every session is one frame, else `session_bootstrap` with `rounds` seeded draws.
    Raises `ValueError` for no frames or unequal lengths.
    """
    fp32, int8, ids = np.asarray(fp32_right, bool), np.asarray(int8_right, bool), np.asarray(sessions)
    if not len(fp32) or not fp32.shape == int8.shape == ids.shape == (len(fp32),):
        raise ValueError(f"need equally many, at least one: {fp32.shape}, {int8.shape}, {ids.shape}")
    difference = fp32.astype(np.int64) - int8.astype(np.int64)
    _, inverse, sizes = np.unique(ids, return_inverse=True, return_counts=True)
    lost, gained, frames = int((difference > 0).sum()), int((difference < 0).sum()), len(difference)
    single = len(sizes) == frames
    if single:
        bound = exact_bound(lost, gained, frames)
    else:
        net = np.bincount(inverse, weights=difference).astype(np.int64)
        bound = session_bound(net, sizes, rounds=rounds, seed=seed)
    return Degradation(
        point=(lost - gained) / frames,
        bound=bound,
        method="exact" if single else "session_bootstrap",
        frames=frames,
        sessions=len(sizes),
        lost=lost,
        gained=gained,
    )


def sessions_needed(limit: float) -> int | None:
    """Fewest sessions whose bound without a single flip is at most `limit`: 299 for 0.01, 598 for 0.005.

    From 1 - 0.05^(1/n) <= limit. None where no number of sessions can reach it (a limit of 0 or less).
    """
    if limit <= 0:
        return None
    if limit >= 1:
        return 1
    needed = math.ceil(math.log(ALPHA) / math.log1p(-limit))
    return needed if exact_bound(0, 0, needed) <= limit else needed + 1


def session_bound(net: ArrayLike, sizes: ArrayLike, *, rounds: int, seed: int) -> float:
    """The bound for sessions of several frames. `net`: lost - gained (S,), `sizes`: frames (S,), one row a session.

    Ratio of weighted sums, so that long sessions count as long; the worst session has the mean size and loses all.
    It is too small only where losses come by whole sessions and mostly in the longest ones (84 % coverage in such a
    simulation, the plain bootstrap 75 %).
    Where no session lost or gained on balance it is 1 - 0.05^(1/S), however many frames the S sessions have.
    """
    rows, counts = np.unique(np.column_stack([np.asarray(net), np.asarray(sizes)]), axis=0, return_counts=True)
    if not rows[:, 0].any():
        return exact_bound(0, 0, int(counts.sum()))  # the limit of the draws below for sessions of equal size
    worst = float(np.sum(rows[:, 1] * counts) / counts.sum())
    generator = np.random.default_rng(seed)
    # Dirichlet weights are exponentials over their sum, and sessions with equal figures may share one Gamma(count).
    estimates = []
    for start in range(0, rounds, 1000):
        many = min(1000, rounds - start)
        weights = generator.standard_gamma(counts.astype(np.float64), size=(many, len(counts)))
        extra = generator.standard_exponential(many) * worst
        estimates.append((weights @ rows[:, 0] + extra) / (weights @ rows[:, 1] + extra))
    return float(np.quantile(np.concatenate(estimates), 1 - ALPHA, method="higher"))


def exact_bound(lost: int, gained: int, frames: int) -> float:
    """The bound for independent frames, computed and not drawn.

    The weights of lost, unchanged and gained frames are Dirichlet(lost + 1, unchanged, gained). The weight of the
    gained, x, is Beta(gained, frames - gained + 1); given x, P(weight of the lost > t + x) is a binomial tail. The
    bound is the t at which that, averaged over x, is 5 %.
    """
    if lost == 0 and gained == 0:
        return float(1 - ALPHA ** (1 / frames))
    if lost == frames:
        return 1.0
    if gained:
        x, share = _beta_grid(gained, frames - gained + 1)
    else:
        x, share = np.zeros(1), np.ones(1)
    low, high = -1.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        y = np.clip((middle + x) / (1 - x), 0.0, 1.0)
        above = float(share @ _binomial_cdf(lost, frames - gained, y))
        low, high = (middle, high) if above > ALPHA else (low, middle)
    return high


def _beta_grid(a: int, b: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points and probabilities (sum 1) of Beta(a, b), within nine standard deviations of its mean."""
    mean = a / (a + b)
    deviation = math.sqrt(mean * (1 - mean) / (a + b + 1))
    edges = np.linspace(max(0.0, mean - 9 * deviation), min(1.0, mean + 9 * deviation + 20 / (a + b)), _GRID)
    points = (edges[1:] + edges[:-1]) / 2
    logs = (a - 1) * np.log(points) + (b - 1) * np.log1p(-points)
    density = np.exp(logs - logs.max())
    return points, density / density.sum()


def _binomial_cdf(k: int, n: int, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(X <= k) for X ~ Binomial(n, p), for every p in 0..1; 1 where p is 0, and 0 where p is 1 and k < n."""
    if k >= n:  # nothing is unchanged: all weight that is not gained is lost
        return np.where(p >= 1, 0.0, 1.0)
    inside = np.clip(p, 1e-300, 1 - 1e-16)
    odds = np.log(inside) - np.log1p(-inside)
    terms = np.empty((k + 1, len(p)))
    logs = n * np.log1p(-inside)
    for i in range(k + 1):
        terms[i] = logs
        logs = logs + math.log((n - i) / (i + 1)) + odds
    return np.where(p >= 1, 0.0, np.minimum(np.exp(terms).sum(axis=0), 1.0))
