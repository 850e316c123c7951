"""Copies planted among real frames: how many are found, what is found besides, against cleanvision on the same frames.

    python benchmarks/duplicates.py [--frames 10000] [--each 200] [--sheet weakest.png]
    uv run --with cleanvision python benchmarks/duplicates.py

The frames are those of ../shared/data, dealt to splits by session. Of 1,600 of them a copy is added, 200 of each kind
(below, `KINDS`), each in the original's split and in a session of its own; those called leaks are in another split.
`besides` counts pairs of untouched frames in different sessions; the weakest 40 are drawn side by side, so that one can
see which of them are one photograph. cleanvision (Apache-2.0) is left out by name where it is not installed.
"""

import argparse
import hashlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tasks.alike_pairs import SAME, Alike, alike_pairs
from tasks.checked_frames import SCHEMA, CheckedFrames, of_folder
from tasks.image_manifest import from_manifest
from tasks.near_duplicates import (
    exact_duplicates,
    label_conflicts,
    near_duplicates_across_splits,
    near_duplicates_in_split,
    session_leakage,
)
from tasks.settings import PROJECT

Pixels = NDArray[np.uint8]
Pair = tuple[int, int]


def recompressed(pixels: Pixels, dice: np.random.Generator) -> Pixels:
    """As JPEG of quality 30 to 95."""
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(dice.integers(30, 96))])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def mirrored(pixels: Pixels, dice: np.random.Generator) -> Pixels:
    """Left and right exchanged."""
    return np.ascontiguousarray(pixels[:, ::-1])


def cropped(pixels: Pixels, dice: np.random.Generator) -> Pixels:
    """Up to 6 % less at each side, at the old size, recompressed."""
    top, bottom = dice.integers(0, 8, 2)
    left, right = dice.integers(0, 10, 2)
    left += int(top + bottom + left + right == 0)
    return recompressed(cv2.resize(pixels[top : 120 - bottom, left : 160 - right], (160, 120)).astype(np.uint8), dice)


def relit(pixels: Pixels, dice: np.random.Generator) -> Pixels:
    """Contrast 0.7 to 1.3 times, up to 30 gray levels lighter or darker, a little noise."""
    lit = (pixels - 128.0) * dice.uniform(0.7, 1.3) + 128 + dice.uniform(-30, 30) + dice.normal(0, 2, pixels.shape)
    return lit.clip(0, 255).astype(np.uint8)


def mixed(pixels: Pixels, dice: np.random.Generator) -> Pixels:
    """Mirrored, cropped, other light, recompressed."""
    return cropped(relit(mirrored(pixels, dice), dice), dice)


def untouched(pixels: Pixels, dice: np.random.Generator) -> Pixels:
    """The same pixels."""
    return pixels.copy()


# name: (change, in another split, the least that is to be found)
KINDS: dict[str, tuple[Callable[[Pixels, np.random.Generator], Pixels], bool, float]] = {
    "exact": (untouched, False, 0.99),
    "recompressed": (recompressed, False, 0.95),
    "mirrored": (mirrored, False, 0.95),
    "cropped": (cropped, False, 0.95),
    "brightness": (relit, False, 0.95),
    "mirrored, cropped and relit": (mixed, False, 0.0),
    "leak, exact": (untouched, True, 0.99),
    "leak, recompressed": (recompressed, True, 0.99),
}


def planted(count: int, each: int) -> tuple[CheckedFrames, dict[str, set[Pair]]]:
    """`count` real frames and the copies after them, with the pairs of each kind."""
    data = PROJECT.parent / "shared" / "data"
    if not data.is_dir():
        sys.exit("needs real photographs: ../shared/data is not here")
    dice = np.random.default_rng(0)
    with of_folder(from_manifest(data, data / "manifest.csv", None, {})) as frames:
        numbers = np.sort(dice.choice(len(frames), min(count, len(frames)), replace=False))
        pixels, rows = frames.gather(numbers), frames.rows.take(numbers).to_pylist()
    for row in rows:
        row["split"] = ("train", "train", "train", "val", "test")[
            int(hashlib.sha256(row["session"].encode()).hexdigest(), 16) % 5
        ]
    chosen = dice.permutation(len(rows))[: each * len(KINDS)].reshape(len(KINDS), each)
    copies, pairs = [], {}
    for (kind, (change, leaks, _)), originals in zip(KINDS.items(), chosen, strict=True):
        pairs[kind] = set()
        for original in originals.tolist():
            copy = change(pixels[original], dice)
            number = len(rows)
            split = rows[original]["split"]
            split = ("test" if split == "train" else "train") if leaks else split
            digest = hashlib.sha256(copy.tobytes()).hexdigest()
            name = f"{'a' if number % 2 else 'z'}-copy-{number}"  # half of them sort before their original
            rows.append(rows[original] | {"key": name, "session": name, "split": split, "pixels_sha256": digest})
            if not leaks and kind == "exact":
                rows[-1]["pixels_sha256"] = rows[original]["pixels_sha256"]
            if leaks and change is untouched:
                rows[-1]["pixels_sha256"] = rows[original]["pixels_sha256"]
            copies.append(copy)
            pairs[kind].add((original, number))
    stack = np.concatenate([pixels, np.stack(copies)])
    return CheckedFrames(pa.Table.from_pylist(rows, SCHEMA), lambda indices: stack[indices]), pairs


def sheet(frames: CheckedFrames, pairs: list[Alike], path: Path) -> None:
    """Two pictures a pair, four pairs a row."""
    tiles = []
    for one in pairs:
        first, second = frames.gather(np.array(one[:2]))
        tile = np.hstack([first, second[:, ::-1] if "mirrored" in one.how else second]).copy()
        text = f"{one.similarity:.2f} {one.how}"
        for colour, width in ((255, 2), (0, 1)):
            cv2.putText(tile, text, (2, 10), cv2.FONT_HERSHEY_SIMPLEX, 0.35, colour, width)
        tiles.append(tile)
    tiles += [np.zeros((120, 320), np.uint8)] * (-len(tiles) % 4)
    cv2.imwrite(str(path), np.vstack([np.hstack(tiles[at : at + 4]) for at in range(0, len(tiles), 4)]))


def by_cleanvision(frames: CheckedFrames) -> tuple[set[Pair], float] | None:
    """All pairs inside its sets of exact and near duplicates, and the seconds it took."""
    try:
        from cleanvision import Imagelab
    except ImportError:
        return None
    with tempfile.TemporaryDirectory(prefix="f2f-") as folder:
        for number in range(len(frames)):  # PNG keeps the pixels
            cv2.imwrite(f"{folder}/{number}.png", frames.gather(np.array([number]))[0])
        started = time.monotonic()
        lab = Imagelab(data_path=folder, verbose=False)
        lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}}, n_jobs=2, verbose=False)
        seconds = time.monotonic() - started
        sets = [one for kind in ("exact_duplicates", "near_duplicates") for one in lab.info[kind]["sets"]]
    groups = [sorted(int(Path(name).stem) for name in one) for one in sets]
    return {(a, b) for one in groups for a in one for b in one if a < b}, seconds


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=200, help="copies of each kind")
    parser.add_argument("--sheet", type=Path, default=Path(tempfile.gettempdir()) / "weakest.png")
    options = parser.parse_args()
    frames, pairs = planted(options.frames, options.each)
    count = len(frames) - options.each * len(KINDS)
    started = time.monotonic()
    found = alike_pairs(frames)
    searched = time.monotonic() - started
    across, possible = near_duplicates_across_splits(frames, found)
    results = [exact_duplicates(frames, found), across, possible, near_duplicates_in_split(frames, found)]
    results += [*label_conflicts(frames, found), session_leakage(frames)]
    checked = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    ours = {one[:2] for one in found}
    keys, session = frames.column("key"), frames.column("session")
    blocked = {frozenset((one.file, one.other)) for one in across.findings}
    theirs = by_cleanvision(frames)
    print(f"{count:,} frames and {len(frames) - count:,} copies of them\n")
    print("| kind | found | wanted | blocking | cleanvision |\n|---|--:|--:|--:|--:|")
    missed = []
    for kind, (_, leaks, least) in KINDS.items():
        part = len(pairs[kind] & ours) / options.each
        blocks = sum(frozenset((keys[a], keys[b])) in blocked for a, b in pairs[kind]) / options.each
        peer = f"{len(pairs[kind] & theirs[0]) / options.each:.1%}" if theirs else "not installed"
        print(f"| {kind} | {part:.1%} | {least:.0%} | {f'{blocks:.1%}' if leaks else ''} | {peer} |")
        missed += [kind] if (blocks if leaks else part) < least else []

    def besides(of: set[Pair]) -> set[Pair]:
        return {(a, b) for a, b in of if b < count and session[a] != session[b]}

    strangers = besides(ours)
    weakest = [one for one in reversed(found) if one[:2] in strangers][:40]
    blocking = sum(frozenset((keys[a], keys[b])) in blocked for a, b in strangers)
    print(f"\nbesides, in different sessions: {len(strangers)} pairs, {blocking} of them blocking", end="")
    print(f"; cleanvision {len(besides(theirs[0]))} pairs" if theirs else "; cleanvision is not installed")
    if weakest:
        sheet(frames, weakest, options.sheet)
        print(f"the weakest {len(weakest)}, from {weakest[0].similarity:.2f} on: {options.sheet}")
    print(
        f"{searched:.1f} s for the pairs, {checked:.1f} s with all checks, {peak:,.0f} MB at most, all pixels included",
        end="",
    )
    print(f"; cleanvision {theirs[1]:.1f} s, from PNG files" if theirs else "")
    same = sum(one.how == SAME for one in found)
    print(f"{len(found):,} pairs, {same:,} with the same pixels")
    for one in results:
        print(f"  {one.check} ({one.severity}): {one.observed}")
    if missed:
        sys.exit(f"below what is wanted: {', '.join(missed)}")


if __name__ == "__main__":
    main()
