"""Is pasting a clue in the demo frames? What classifiers reach that see only statistics of a frame.

    python benchmarks/demo_clues.py [COUNT]

Prints accuracy and AUC on the test split for three classifiers trained on the train split. They see histograms of gray
levels, gradient and Laplacian, the radial power spectrum, moments, and contrast and gradient of 16 tiles in order of
size; nothing that says what is where. 0.5 is chance. What a network reaches on the frames themselves is in the report
of `f2f demo`.
"""

import itertools
import sys
import time

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tasks.demo_frames import compose


def statistics(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Everything about a frame but what it shows: (87,)."""
    frame = pixels.astype(np.float64)
    down, across = np.gradient(frame)
    slope = np.hypot(down, across)
    second = np.abs(np.gradient(down, axis=0) + np.gradient(across, axis=1))
    power = np.abs(np.fft.fft2(frame - frame.mean())) ** 2
    frequency = np.hypot(np.fft.fftfreq(frame.shape[0])[:, None], np.fft.fftfreq(frame.shape[1])[None])
    bands = np.linspace(0.003, 0.45, 12)
    centred = (frame - frame.mean()) / frame.std()
    tiles = [part.reshape(4, 30, 4, 40) for part in (frame, slope)]
    return np.concatenate(
        [
            np.histogram(frame, 16, (0, 256))[0] / frame.size,
            np.histogram(slope, 12, (0, 60))[0] / frame.size,
            np.histogram(second, 12, (0, 40))[0] / frame.size,
            [np.log1p(power[(frequency >= a) & (frequency < b)].mean()) for a, b in itertools.pairwise(bands)],
            [frame.mean(), frame.std(), (centred**3).mean(), (centred**4).mean()],
            np.sort(tiles[0].std((1, 3)).ravel()),
            np.sort(tiles[1].mean((1, 3)).ravel()),
        ]
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 6000
    started = time.monotonic()
    frames = list(compose(count, 0))
    print(f"composed {count} frames, {count / (time.monotonic() - started):.0f} frames/s")
    seen = np.array([statistics(frame.pixels) for frame in frames])
    person = np.array([frame.label == "person" for frame in frames])
    split = np.array([frame.split for frame in frames])
    train, test = split == "train", split == "test"
    for name, classifier in (
        ("logistic regression", make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))),
        ("random forest", RandomForestClassifier(300, min_samples_leaf=3, n_jobs=-1, random_state=0)),
        ("gradient boosting", HistGradientBoostingClassifier(max_iter=150, random_state=0)),
    ):
        classifier.fit(seen[train], person[train])
        score = classifier.predict_proba(seen[test])[:, 1]
        accuracy = float(((score >= 0.5) == person[test]).mean())
        area = float(roc_auc_score(person[test], score))
        print(f"{name:20} accuracy {accuracy:.3f}  AUC {area:.3f}  on {test.sum()} test frames")


if __name__ == "__main__":
    main()
