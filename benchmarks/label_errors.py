"""Planted label errors in real photographs: how many are among the first proposed, against plain cleanlab and kNN.

    python benchmarks/label_errors.py [--frames 10000] [--flipped 200] [--seed 0] [--weights MODEL.keras]

On ../shared/data, batch seed. Each way is run in a process of its own for its memory. `plain cleanlab` is its manual's
recipe: logistic regression, scikit-learn's cross_val_predict over shuffled frames, find_label_issues. `kNN`
ranks by how many of the 20 nearest neighbours have the other label. Then the shortcut probe, and drift of the two
landings against the seed. The photographs' own label errors (about 1 % of person) count as false proposals.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tasks.checked_frames import CheckedFrames, of_folder
from tasks.drift import drift
from tasks.embedding import keras_embedding
from tasks.frame_descriptors import descriptors
from tasks.image_manifest import from_manifest
from tasks.label_errors import label_errors
from tasks.settings import PROJECT
from tasks.shortcut_probe import device_tells_label, shortcut_probe

SHARED = PROJECT.parent / "shared"
CUTS = (100, 200, 300, 400, 600)


def saved(folder: Path) -> CheckedFrames:
    """All frames, from what `decode_all` wrote."""
    pixels = np.load(folder / "pixels.npy", mmap_mode="r").view(np.ndarray)
    return CheckedFrames(pq.read_table(folder / "rows.parquet"), lambda indices: pixels[indices])


def decode_all(folder: Path) -> None:
    """Rows and pixels of the whole manifest."""
    with of_folder(from_manifest(SHARED / "data", SHARED / "data" / "manifest.csv", None)) as frames:
        pq.write_table(frames.rows, folder / "rows.parquet")
        pixels = np.lib.format.open_memmap(folder / "pixels.npy", "w+", np.uint8, (len(frames), 120, 160))
        for numbers in frames.blocks():
            pixels[numbers] = frames.gather(numbers)


def part(frames: CheckedFrames, numbers: NDArray[np.intp]) -> CheckedFrames:
    """Some of the frames."""
    return CheckedFrames(frames.rows.take(pa.array(numbers)), lambda indices: frames.gather(numbers[indices]))


def batch(frames: CheckedFrames, name: str) -> NDArray[np.intp]:
    """Numbers of a batch's frames."""
    return np.flatnonzero([key.startswith(f"{name}/") for key in frames.column("key")])


def planted(frames: CheckedFrames, count: int, flipped: int, dice_seed: int) -> tuple[CheckedFrames, set[str]]:
    """`count` frames of the seed, `flipped` of them with the other label, and the keys of those."""
    dice = np.random.default_rng(dice_seed)
    seed = batch(frames, "seed")
    chosen = part(frames, np.sort(dice.choice(seed, min(count, len(seed)), replace=False)))
    wrong = set(dice.choice(len(chosen), flipped, replace=False).tolist())
    other = {"person": "no_person", "no_person": "person"}
    labels = [other[one] if number in wrong else one for number, one in enumerate(chosen.column("label"))]
    column = chosen.rows.schema.get_field_index("label")
    rows = chosen.rows.set_column(column, "label", pa.array(labels))
    keys = chosen.column("key")
    return CheckedFrames(rows, chosen.gather), {keys[number] for number in wrong}


def features_of(frames: CheckedFrames, weights: Path | None) -> NDArray[np.float32]:
    """Plain descriptors, or a network's features."""
    if weights is None:
        return descriptors(frames)
    embed = keras_embedding(weights)
    return np.concatenate([embed(frames.gather(numbers)) for numbers in frames.blocks()])


def ours(frames: CheckedFrames, weights: Path | None) -> list[str]:
    """`label_errors`."""
    result = label_errors(frames, embed=keras_embedding(weights) if weights else None)
    print(f"    {result.observed or result.skipped}")
    return [finding.file for finding in result.findings]


def plain_cleanlab(frames: CheckedFrames, weights: Path | None) -> list[str]:
    """cleanlab's own recipe."""
    from cleanlab.filter import find_label_issues
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = np.array([int(one == "person") for one in frames.column("label")])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=400))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    predicted = cross_val_predict(classifier, features_of(frames, weights), labels, cv=folds, method="predict_proba")
    ranked = find_label_issues(labels, predicted, return_indices_ranked_by="self_confidence", n_jobs=1)
    keys = frames.column("key")
    return [keys[number] for number in ranked]


def neighbours(frames: CheckedFrames, weights: Path | None) -> list[str]:
    """Disagreement with the nearest."""
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import StandardScaler

    features = features_of(frames, weights)
    if weights is not None:
        features = StandardScaler().fit_transform(features)
    labels = np.array([int(one == "person") for one in frames.column("label")])
    near = NearestNeighbors(n_neighbors=21).fit(features).kneighbors(return_distance=False)[:, :20]
    other = (labels[near] != labels[:, None]).mean(1)
    keys = frames.column("key")
    return [keys[number] for number in np.argsort(-other, kind="stable") if other[number] > 0.5]


def measured(work: Callable[[], object]) -> None:
    """Runs `work` in a process of its own and prints its time and memory."""

    def run() -> None:
        started = time.monotonic()
        work()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        mapped = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssFile"))
        print(
            f"    {time.monotonic() - started:.1f} s, {memory:,.0f} MB at most, mapped pixels and libraries included "
            f"({int(mapped.split()[1]) / 1024:,.0f} MB at the end)",
            flush=True,
        )

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"a run ended with {process.exitcode}")


def compare(
    folder: Path, name: str, way: Callable, weights: Path | None, count: int, flipped: int, dice_seed: int
) -> None:
    """One way of proposing."""

    def work() -> None:
        frames, wrong = planted(saved(folder), count, flipped, dice_seed)
        proposed = way(frames, weights)
        hits = np.cumsum([key in wrong for key in proposed])
        told = []
        for cut in CUTS:
            found = int(hits[min(cut, len(hits)) - 1]) if len(hits) else 0
            told.append(
                f"{cut}: {found} ({found / max(min(cut, len(hits)), 1):.0%} right, {found / len(wrong):.0%} found)"
            )
        print(f"    {len(proposed):,} proposed; flipped labels among the first {'; '.join(told)}")

    print(f"  {name}", flush=True)
    measured(work)


def others(folder: Path, weights: Path | None, rows: int) -> None:
    """What probe and drift say, and all checks together on `rows` frames."""

    def told() -> None:
        frames = saved(folder)
        seed = part(frames, batch(frames, "seed"))
        for result in (shortcut_probe(seed), device_tells_label(seed)):
            print(f"    {result.check}: {result.observed or result.skipped}; {len(result.findings)} findings")
        for name in ("landing-1", "landing-2"):
            result = drift(seed, part(frames, batch(frames, name)))
            print(f"    drift of {name}: {result.observed or result.skipped}")
            for finding in result.findings:
                print(f"      {finding.file} ({finding.score:.2f}): {finding.note}")

    def together() -> None:
        frames = saved(folder)
        used = time.process_time()
        many = part(frames, np.arange(rows) % len(frames))
        for name, check in (
            ("label_errors", lambda: label_errors(many, embed=keras_embedding(weights) if weights else None)),
            ("shortcut_probe", lambda: shortcut_probe(many)),
            ("drift", lambda: drift(many, part(frames, batch(frames, "landing-1")))),
        ):
            started = time.monotonic()
            check()
            print(f"    {name}: {time.monotonic() - started:.1f} s")
        print(f"    {time.process_time() - used:.1f} s of processor time, all threads")

    if weights:
        print("Probe and drift on the seed", flush=True)
        measured(told)
    print(f"Together on {rows:,} frames, {'features of a network' if weights else 'plain descriptors'}", flush=True)
    measured(together)


def main() -> None:
    """Prints the comparison, then what the other checks say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--flipped", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="which frames are taken and flipped")
    parser.add_argument("--together", type=int, default=20_000, help="frames that all checks together are timed on")
    parser.add_argument("--weights", type=Path, default=SHARED / "weights" / "mobilenetv2_050_gray_120x160.keras")
    parser.add_argument("--skip-plain", action="store_true", help="leave plain descriptors out")
    chosen = parser.parse_args()
    if not (SHARED / "data").is_dir():
        sys.exit("needs real photographs: ../shared/data is not here")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        decode_all(folder)
        for weights in (chosen.weights, *(() if chosen.skip_plain else (None,))):
            print(f"{'Features of ' + weights.name if weights else 'Plain descriptors'}", flush=True)
            for title, way in (("label_errors", ours), ("plain cleanlab", plain_cleanlab), ("kNN", neighbours)):
                compare(folder, title, way, weights, chosen.frames, chosen.flipped, chosen.seed)
        for weights in (chosen.weights, None):
            others(folder, weights, chosen.together)


if __name__ == "__main__":
    main()
