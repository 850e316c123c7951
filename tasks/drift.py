"""Whether new frames still look like the data set: per device, with a known rate of false alarms."""

import hashlib
import math
from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.checked_frames import CheckedFrames
from tasks.findings import CheckResult, Finding, worst_first
from tasks.progress import Progress, silent

CHECK = "drift"
MIN_SESSIONS = 8  # on each side
_MOST_SESSIONS = 400  # on each side: all pairs of them are compared
_GRID = (6, 8)  # rows, columns of the layout
_ENOUGH = 20  # permutations that reach the observed distance, after which no more are drawn
_ASPECTS = ("light and focus", "layout")


class _Statistics(NamedTuple):
    """What is compared. `plain`: (n, 5), in units that a person reads; `light`, `layout`: the two spaces of a test."""

    plain: NDArray[np.float64]
    light: NDArray[np.float64]
    layout: NDArray[np.float64]


class _Tested(NamedTuple):
    """One device in one aspect."""

    device: str
    aspect: str
    p_value: float
    distance: float  # 0..1: 0 the same distribution, 1 nothing in common
    note: str


def drift(
    reference: CheckedFrames,
    new: CheckedFrames,
    *,
    false_alarm_rate: float = 0.01,
    min_sessions: int = MIN_SESSIONS,
    progress: Progress = silent,
) -> CheckResult:
    """Whether each device's new frames differ from the same device's frames in `reference`.

    Two tests a device, on light and focus (brightness, contrast, black and white share, sharpness) and on layout
    (6 x 8 cells of gray relative to the frame's own mean and contrast: a moved camera, another scene). Each is a
    permutation test of the energy distance (Szekely and Rizzo, 2013) on one frame a session, since frames of a session
    are near-copies: sessions are what may be exchanged. Holm's correction over all tests of all devices: where
    nothing changed, the chance that any device is named is at most `false_alarm_rate`. A device that is new is compared
    with all others. A session on both sides counts as new. Another mix of people and empty rooms is a drift, too.
    Devices with fewer than `min_sessions` sessions on a side, or too few for the rate, are named in `observed`.
    A finding's file is the device. Score: distance of the two distributions, 0..1.
    """
    if not 0 < false_alarm_rate < 1:
        raise ValueError(f"a false-alarm rate is between 0 and 1, not {false_alarm_rate:g}")
    if not len(new) or not len(reference):
        reason = "no new frames" if len(reference) else "no frames to compare with"
        return CheckResult(check=CHECK, severity="warning", skipped=reason, looked_at=len(new))
    old_statistics, new_statistics = _statistics(reference, progress), _statistics(new, progress)
    old_devices, old_sessions = (np.array(reference.column(name)) for name in ("device", "session"))
    new_devices = np.array(new.column("device"))
    fresh = ~np.isin(old_sessions, new.column("session"))
    devices = sorted(set(new_devices.tolist()))
    sides: dict[str, tuple[NDArray[np.intp], NDArray[np.intp]]] = {}
    few: list[str] = []
    for device in devices:
        known = fresh & (old_devices == device)
        of_old = _one_a_session(reference, np.flatnonzero(known if (old_devices == device).any() else fresh))
        of_new = _one_a_session(new, np.flatnonzero(new_devices == device))
        # Counted before any pixel is compared: leaving a device out must not depend on what it looks like.
        possible = math.comb(len(of_old) + len(of_new), len(of_new))
        if min(len(of_old), len(of_new)) < min_sessions or possible * false_alarm_rate < 2 * len(_ASPECTS) * len(
            devices
        ):
            few.append(f"{device} ({len(of_new)} new, {len(of_old)} known)")
        else:
            sides[device] = of_old, of_new
    if not sides:
        reason = f"too few sessions to tell: {_listed(few)}; at least {min_sessions} are needed on each side"
        return CheckResult(check=CHECK, severity="warning", skipped=reason, looked_at=len(new))
    tests = len(_ASPECTS) * len(sides)
    # Enough that the smallest possible p-value is a third of the strictest level.
    rounds = math.ceil(3 * tests / false_alarm_rate)
    tested = []
    for done, (device, (of_old, of_new)) in enumerate(sides.items(), 1):
        is_known = bool((old_devices == device).any())
        tested += _test(device, is_known, old_statistics, of_old, new_statistics, of_new, rounds)
        progress(done, len(sides), "devices")
    findings = _findings(_rejected(tested, false_alarm_rate))
    observed = (
        f"{len(findings):,} of {len(sides):,} devices differ; where nothing changed, the chance of naming any is "
        f"{false_alarm_rate:.1%}"
    )
    if few:
        observed += f"; too few sessions to tell: {_listed(few)}"
    advice = (
        "look at new frames of these devices: clean or refocus the lens, put the camera back; where the change is "
        "meant, label frames of the new kind before the model is trusted on them"
    )
    return CheckResult(
        check=CHECK,
        severity="warning",
        findings=findings,
        observed=observed,
        advice=advice if findings else "",
        looked_at=len(new),
    )


def _listed(names: list[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def _statistics(frames: CheckedFrames, progress: Progress) -> _Statistics:
    """Of every frame."""
    thumbnails, figures = frames.look(progress)
    plain = np.stack(figures, axis=1).astype(np.float64)
    light = plain.copy()
    light[:, 4] = np.log1p(plain[:, 4])  # sharpness spans three powers of ten
    rows, columns = _GRID
    height, width = thumbnails.shape[1] // rows, thumbnails.shape[2] // columns
    cells = thumbnails.reshape(len(frames), rows, height, columns, width).mean((2, 4)).reshape(len(frames), -1)
    layout = (cells - cells.mean(1, keepdims=True)) / (cells.std(1, keepdims=True) + 4)
    return _Statistics(plain, light, layout)


def _one_a_session(frames: CheckedFrames, among: NDArray[np.intp]) -> NDArray[np.intp]:
    """The frame with the smallest SHA-256 of each session, at most `_MOST_SESSIONS`: as good as drawn by lot, and the
    same in any order of the table."""
    sessions, digests, keys = frames.column("session"), frames.column("pixels_sha256"), frames.column("key")
    first: dict[str, tuple[str, str, int]] = {}
    for number in among.tolist():
        mine = digests[number], keys[number], number
        first[sessions[number]] = min(first.get(sessions[number], mine), mine)
    drawn = sorted(first, key=lambda session: hashlib.sha256(session.encode()).hexdigest())[:_MOST_SESSIONS]
    return np.array([first[session][2] for session in drawn], np.intp)


def _test(
    device: str,
    is_known: bool,
    old: _Statistics,
    of_old: NDArray[np.intp],
    new: _Statistics,
    of_new: NDArray[np.intp],
    rounds: int,
) -> list[_Tested]:
    """Both aspects of a device."""
    # By device, so that a device's figures do not depend on which others there are.
    seed = int.from_bytes(hashlib.sha256(device.encode()).digest()[:8])
    found = []
    for aspect, before, after in zip(_ASPECTS, (old.light, old.layout), (new.light, new.layout), strict=True):
        p_value, distance = permutation_test(before[of_old], after[of_new], rounds, seed)
        note = (
            _moved_most(old.plain[of_old], new.plain[of_new])
            if aspect == _ASPECTS[0]
            else _changed_cell(before[of_old], after[of_new])
        )
        counts = f"{len(of_new)} new sessions, {len(of_old)} {'known' if is_known else 'of all devices'}"
        note = f"{note} ({counts})" if is_known else f"new device: {note} ({counts})"
        found.append(_Tested(device, aspect, p_value, distance, note))
    return found


def permutation_test(
    before: NDArray[np.float64], after: NDArray[np.float64], rounds: int, seed: int
) -> tuple[float, float]:
    """P-value of the energy distance between two samples, (n, d) and (m, d), of exchangeable rows, and the distance as
    a share (0..1) of the largest possible. Columns are brought to one scale over both samples together. Ends early
    once `_ENOUGH` permutations have reached the observed distance (Besag and Clifford, 1991: still an exact test)."""
    rows = np.concatenate([before, after])
    spread = rows.std(0)
    rows = rows[:, spread > 1e-9] / spread[spread > 1e-9]
    if not rows.shape[1]:
        return 1.0, 0.0
    squares = (rows**2).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * rows @ rows.T, 0))
    np.fill_diagonal(distances, 0)
    total, n, m = len(rows), len(before), len(after)
    sums = distances.sum(1)
    whole = float(sums.sum())

    def statistic(picked: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of (k, total) indicators of the second sample."""
        inside = np.einsum("ij,ij->i", picked @ distances, picked)
        across = picked @ sums - inside
        outside = whole - inside - 2 * across
        found: NDArray[np.float64] = 2 * across / (n * m) - inside / m**2 - outside / n**2
        return found

    observed_pick = np.concatenate([np.zeros(n), np.ones(m)])[None]
    observed = float(statistic(observed_pick)[0])
    across = float((observed_pick @ sums)[0] - (observed_pick @ distances @ observed_pick.T)[0, 0])
    dice = np.random.default_rng(seed)
    p_value, reached, drawn = 1 / (rounds + 1), 0, 0
    while drawn < rounds and reached < _ENOUGH:
        count = min(100 if not drawn else 400, rounds - drawn)
        picked = np.zeros((count, total))
        chosen = dice.random((count, total)).argpartition(m - 1, axis=1)[:, :m]
        np.put_along_axis(picked, chosen, 1.0, axis=1)
        as_far = np.cumsum(statistic(picked) >= observed - 1e-9) + reached
        if as_far[-1] >= _ENOUGH:
            p_value = _ENOUGH / (drawn + int(np.searchsorted(as_far, _ENOUGH)) + 1)
        else:
            p_value = (int(as_far[-1]) + 1) / (rounds + 1)
        reached, drawn = int(as_far[-1]), drawn + count
    return p_value, float(np.clip(observed / max(2 * across / (n * m), 1e-9), 0, 1))


def _rejected(tested: list[_Tested], rate: float) -> list[_Tested]:
    """Holm's step-down procedure: those whose p-value holds against the family's rate."""
    found = []
    for position, one in enumerate(sorted(tested, key=lambda one: (one.p_value, one.device, one.aspect))):
        if one.p_value > rate / (len(tested) - position):
            break
        found.append(one)
    return found


def _findings(rejected: list[_Tested]) -> tuple[Finding, ...]:
    """One a device."""
    counts = Counter(one.device for one in rejected)
    found = []
    for device in counts:
        mine = sorted((one for one in rejected if one.device == device), key=lambda one: -one.distance)
        note = "; ".join(f"{one.aspect}: {one.note}" for one in mine)
        found.append(Finding(file=device, score=mine[0].distance, note=note))
    return worst_first(found)


def _moved_most(before: NDArray[np.float64], after: NDArray[np.float64]) -> str:
    """The two statistics that moved most against their spread, as medians before and after."""
    forms = (
        ("brightness", "{:.0f} to {:.0f} gray levels"),
        ("contrast", "{:.0f} to {:.0f} gray levels"),
        ("black", "{:.1%} to {:.1%} of the picture"),
        ("white", "{:.1%} to {:.1%} of the picture"),
        ("sharpness", "{:.0f} to {:.0f}"),
    )
    old, new = (np.concatenate([table[:, :4], np.log1p(table[:, 4:])], axis=1) for table in (before, after))
    effect = np.abs(new.mean(0) - old.mean(0)) / (np.concatenate([old, new]).std(0) + 1e-9)
    parts = []
    for number in np.argsort(-effect, kind="stable")[:2]:
        name, form = forms[number]
        middle = np.mean if name in ("black", "white") else np.median
        parts.append(f"{name} {form.format(middle(before[:, number]), middle(after[:, number]))}")
    return ", ".join(parts)


def _changed_cell(before: NDArray[np.float64], after: NDArray[np.float64]) -> str:
    """Where in the picture the layout differs most."""
    effect = (after.mean(0) - before.mean(0)) / (np.concatenate([before, after]).std(0) + 1e-9)
    most = int(np.abs(effect).argmax())
    row, column = divmod(most, _GRID[1])
    where = f"{('top', 'middle', 'bottom')[row * 3 // _GRID[0]]} {('left', 'centre', 'right')[column * 3 // _GRID[1]]}"
    way = "brighter" if effect[most] > 0 else "darker"
    return f"{where} is {way} against the rest of the picture by {abs(effect[most]):.1f} standard deviations"
