"""Which difference hash and radius tell frames of one scene from strangers: the figures behind `RADIUS`.

    python benchmarks/near_duplicates.py [--frames 12791]

On real photographs (../shared/data, batch seed). `found` is the share of 1,500 simulated next frames of a still camera
(2 pixels of shake, exposure, noise, JPEG) within the radius of their original; `largest` is the largest group, which
grows without bound once strangers are joined. The search is timed against comparing all pairs.
"""

import argparse
import csv
import io
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tasks.camera_sessions import RADIUS, look_of, near_duplicates
from tasks.frames import decode
from tasks.settings import PROJECT

Pixels = NDArray[np.uint8]


def horizontal(pixels: Pixels) -> bytes:
    """The usual 64 bits."""
    cells = np.asarray(Image.fromarray(pixels).resize((9, 8), Image.Resampling.BOX)).astype(np.int16)
    return np.packbits((cells[:, 1:] > cells[:, :-1]).ravel()).tobytes()


def next_frame(pixels: Pixels, dice: np.random.Generator) -> Pixels:
    """What the same still camera sees next."""
    down, right = dice.integers(-2, 3, 2)
    moved = np.roll(np.pad(pixels, 2, mode="edge"), (down, right), (0, 1))[2:122, 2:162]
    lit = moved * dice.uniform(0.92, 1.08) + dice.uniform(-6, 6) + dice.normal(0, 3, (120, 160))
    sink = io.BytesIO()
    Image.fromarray(lit.clip(0, 255).astype(np.uint8)).save(sink, "JPEG", quality=80)
    return np.asarray(Image.open(sink))


def words_of(looks: list[bytes]) -> NDArray[np.uint64]:
    """(n, bits / 64)."""
    return np.frombuffer(b"".join(looks), np.uint64).reshape(len(looks), -1)


def all_pairs(words: NDArray[np.uint64], radius: int) -> list[int]:
    """Group sizes by comparing every pair."""
    parent = np.arange(len(words))

    def root(of: int) -> int:
        while parent[of] != of:
            parent[of] = parent[parent[of]]
            of = int(parent[of])
        return of

    for at in range(len(words)):
        near = np.flatnonzero(np.bitwise_count(words[at] ^ words[at + 1 :]).sum(axis=1) <= radius)
        for other in near.tolist():
            a, b = root(at), root(at + 1 + other)
            parent[max(a, b)] = min(a, b)
    sizes = np.bincount([root(at) for at in range(len(words))])
    return sorted(sizes[sizes > 0].tolist())


def main() -> None:
    """Prints a table by hash and radius, then the search's time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=12_791)
    count = parser.parse_args().frames
    data = PROJECT.parent / "shared" / "data"
    if not data.is_dir():
        sys.exit("needs real photographs: ../shared/data is not here")
    with (data / "manifest.csv").open() as file:
        names = [row["file"] for row in csv.DictReader(file) if row["batch"] == "seed"][:count]
    frames = [decode((data / name).read_bytes()).pixels for name in names]
    dice = np.random.default_rng(0)
    chosen = dice.permutation(len(frames))[:1500]
    later = [next_frame(frames[at], dice) for at in chosen]
    print(f"{'hash':<24}{'radius':>7}{'found':>8}{'groups':>9}{'in groups':>11}{'largest':>9}")
    for name, look, radii in (
        ("64 bits, horizontal", horizontal, (2, 4, 6, 8)),
        ("128 bits, both ways", look_of, (8, 12, 14, 16, 20)),
    ):
        words = words_of([look(pixels) for pixels in frames])
        distance = np.bitwise_count(words[chosen] ^ words_of([look(pixels) for pixels in later])).sum(axis=1)
        for radius in radii:
            sizes = all_pairs(words, radius)
            joined = sum(size for size in sizes if size > 1)
            found = (distance <= radius).mean()
            print(f"{name:<24}{radius:>7}{found:>8.3f}{len(sizes):>9,}{joined:>11,}{sizes[-1]:>9,}")
    looks = [look_of(pixels) for pixels in frames]
    started = time.process_time()
    groups = near_duplicates(looks)
    searched = time.process_time() - started
    started = time.process_time()
    sizes = all_pairs(words_of(looks), RADIUS)
    print(f"search {searched:.2f} s, all pairs {time.process_time() - started:.2f} s", end="; ")
    print("the same groups" if sorted(map(len, groups)) == sizes else "DIFFERENT groups")


if __name__ == "__main__":
    main()
