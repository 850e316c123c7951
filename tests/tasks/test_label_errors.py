"""Doubtful labels: found on generated frames, by plain descriptors and by a network's features.

Does not touch how many are found in photographs: benchmarks/label_errors.py measures that.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.checked_frames import CheckedFrames
from tasks.embedding import EmbeddingUnusable, keras_embedding
from tasks.label_errors import label_errors
from tasks.session_folds import session_folds
from tests.tasks.checkable import checkable, scenes

COUNT = 400
WRONG = tuple(range(3, 400, 40))  # ten frames, of person only
CLASSES = ("no_person", "person")


def _pixels() -> NDArray[np.uint8]:
    """Every second frame, a person, has a bright disc."""
    pixels = scenes(COUNT, seed=1)
    dice = np.random.default_rng(1)
    for frame in pixels[1::2]:
        cv2.circle(frame, (int(dice.integers(60, 100)), int(dice.integers(45, 75))), 30, 235, -1)
    return pixels


def _labels(wrong: tuple[int, ...] = WRONG) -> list[str]:
    return [CLASSES[(number + (number in wrong)) % 2] for number in range(COUNT)]


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return _pixels()


def _disc(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Features that tell the classes apart without a doubt: how much of the picture is bright."""
    bright = (pixels == 235).mean((1, 2), dtype=np.float32)
    return np.stack([bright, 1 - bright], axis=1)


def test_wrong_labels_are_found_by_plain_descriptors(pixels: NDArray[np.uint8]) -> None:
    result = label_errors(checkable(pixels, label=_labels()))
    assert not result.skipped
    assert result.severity == "warning"
    assert len({int(finding.file[:4]) for finding in result.findings} & set(WRONG)) >= 6
    assert len(result.findings) <= 12
    assert [finding.score for finding in result.findings] == sorted(
        (finding.score for finding in result.findings), reverse=True
    )
    wrong = next(finding for finding in result.findings if int(finding.file[:4]) in WRONG)
    assert wrong.note.startswith("labelled no_person, looks like person (")


def test_with_features_that_tell_the_classes_apart_only_wrong_labels_are_named(
    pixels: NDArray[np.uint8],
) -> None:
    result = label_errors(checkable(pixels, label=_labels()), embed=_disc)
    named = {int(finding.file[:4]) for finding in result.findings}
    assert len(named) >= 6
    assert named <= set(WRONG)


def test_right_labels_are_left_alone(pixels: NDArray[np.uint8]) -> None:
    assert label_errors(checkable(pixels, label=_labels(())), embed=_disc).findings == ()


def test_the_order_of_the_table_does_not_matter(pixels: NDArray[np.uint8]) -> None:
    frames = checkable(pixels, label=_labels())
    order = np.random.default_rng(0).permutation(COUNT)
    shuffled = CheckedFrames(frames.rows.take(order), lambda indices: pixels[order[indices]])
    assert label_errors(frames) == label_errors(shuffled)


def test_copies_of_a_frame_with_the_same_wrong_label_do_not_vouch_for_each_other() -> None:
    """Twelve shots of one scene are all labelled wrong. Only where their session is held out together does it show."""
    pixels = scenes(COUNT, seed=1)
    features = np.random.default_rng(0).normal(0, 1, (COUNT, 40)).astype(np.float32)
    features[1::2, 0] += 6
    session, label = [f"s{number}" for number in range(COUNT)], _labels(())
    burst = range(1, 25, 2)
    for number in burst:
        session[number], label[number] = "burst", "no_person"
        features[number, 1:] = features[1, 1:]
    place = {frame.tobytes(): row for frame, row in zip(pixels, features, strict=True)}

    def embed(block: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.stack([place[frame.tobytes()] for frame in block])

    def found(sessions: list[str]) -> int:
        result = label_errors(checkable(pixels, label=label, session=sessions), embed=embed)
        return len({int(finding.file[:4]) for finding in result.findings} & set(burst))

    assert found(session) >= 8
    assert found([f"s{number}" for number in range(COUNT)]) < 5


def test_too_few_frames_or_sessions_are_said_and_not_judged(pixels: NDArray[np.uint8]) -> None:
    few = label_errors(checkable(pixels[:60]))
    assert few.skipped == (
        "30 frames of 30 sessions are labelled no_person: at least 50 frames of 20 sessions are needed"
    )
    one_session = label_errors(checkable(pixels, session=["s"] * COUNT))
    assert "of 1 sessions" in one_session.skipped
    assert label_errors(checkable(pixels, label=[None] * COUNT)).skipped


def test_labels_that_pictures_do_not_tell_are_not_called_errors(pixels: NDArray[np.uint8]) -> None:
    dice = np.random.default_rng(0)
    result = label_errors(checkable(pixels, label=[CLASSES[one] for one in dice.integers(0, 2, COUNT)]))
    assert result.findings == ()
    assert "75% is needed" in result.skipped


def test_a_fold_holds_whole_sessions_and_a_fair_part_of_each_class() -> None:
    dice = np.random.default_rng(0)
    sessions = [f"s{one}" for one in dice.integers(0, 120, 1000)]
    labels = [CLASSES[hash_ % 2] for hash_ in (int(session[1:]) for session in sessions)]
    fold = session_folds(sessions, labels, 5)
    assert len({(session, int(one)) for session, one in zip(sessions, fold, strict=True)}) == len(set(sessions))
    for label in CLASSES:
        counts = np.bincount(fold[np.array(labels) == label], minlength=5)
        assert counts.min() > 0.9 * counts.max()
    order = dice.permutation(1000)
    again = session_folds([sessions[one] for one in order], [labels[one] for one in order], 5)
    assert (again == fold[order]).all()


def test_a_networks_features_are_those_before_its_head(pixels: NDArray[np.uint8], tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((120, 160, 1))
    inner = keras.layers.Conv2D(6, 9, strides=8, activation="relu", name="inner")(inputs)
    outputs = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(inner))
    model = keras.Model(inputs, outputs)
    path = tmp_path / "model.keras"
    model.save(path)
    expected = keras.ops.mean(keras.Model(inputs, inner)(pixels[:150, ..., None].astype(np.float32)), (1, 2))
    for source in (path, path.read_bytes()):
        features = keras_embedding(source)(pixels[:150])
        assert features.dtype == np.float32
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-3)


def test_what_is_no_model_of_frames_is_refused(tmp_path: Path) -> None:
    import keras

    with pytest.raises(EmbeddingUnusable, match=r"not a \.keras file"):
        keras_embedding(b"nothing")
    inputs = keras.Input((8, 8, 3))
    path = tmp_path / "other.keras"
    keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs)).save(path)
    with pytest.raises(EmbeddingUnusable, match="frames are"):
        keras_embedding(path)
