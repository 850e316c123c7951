"""Augmentation and the batches that training reads.

Covers tasks/augment.py and tasks/training_data.py on generated frames. It does not train (test_train.py), and how fast
frames come is measured in benchmarks/training.py.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tasks.augment import _turned_and_zoomed, geometry, geometry_layers, with_camera_effects
from tasks.batches import FrameSet, resized
from tasks.model import build_model, feature_model
from tasks.parameters import TrainParameters
from tasks.progress import silent
from tasks.training_data import (
    cache_features,
    epoch_order,
    eval_batches,
    feature_batches,
    feature_eval_batches,
    steps_per_epoch,
    train_batches,
)
from tests.tasks.generated_frames import adapt_statistics, frame_set

PARAMETERS = TrainParameters(alpha=0.35, width=64, height=48, weights="none", batch_size=8)
PLAIN = PARAMETERS.model_copy(update={"augment": False})


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> FrameSet:
    return frame_set(tmp_path_factory.mktemp("frames"), 20)


def pictures(frames: FrameSet) -> np.ndarray:
    return frames.gather()[..., None]


def moved(pixels: np.ndarray, *, seed: int = 0, step: int = 0) -> np.ndarray:
    return geometry(geometry_layers(), tf.constant(pixels), seed=seed, step=tf.constant(step, tf.int64)).numpy()


@pytest.fixture(scope="module")
def backbone(frames: FrameSet) -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = resized(frames.gather(), 48, 64)[..., None].astype(np.float32)
    return feature_model(adapt_statistics(build_model(PLAIN), inputs))


def taken(data: tf.data.Dataset, count: int) -> list[tuple[np.ndarray, ...]]:
    return [tuple(part.numpy() for part in batch) for batch in data.take(count)]


def test_geometry_follows_from_seed_and_step_alone(frames: FrameSet) -> None:
    pixels = pictures(frames)
    first = moved(pixels, seed=1, step=5)
    moved(pixels, seed=1, step=6)  # what ran in between must not matter
    np.testing.assert_array_equal(moved(pixels, seed=1, step=5), first)
    assert not np.array_equal(moved(pixels, seed=1, step=6), first)
    assert not np.array_equal(moved(pixels, seed=2, step=5), first)
    assert first.shape == pixels.shape
    assert first.dtype == np.uint8


def test_frames_of_one_batch_are_moved_differently(frames: FrameSet) -> None:
    same = np.repeat(pictures(frames)[1:2], 8, axis=0)
    assert len({frame.tobytes() for frame in moved(same)}) == 8


def test_one_resampling_moves_frames_where_keras_layers_in_turn_would() -> None:
    y, x = np.mgrid[:120, :160]  # smooth, so that a second resampling costs little
    pixels = (127 + 60 * np.sin(x / 17) + 60 * np.cos(y / 13)).astype(np.float32)[None, ..., None].repeat(6, axis=0)
    _, rotation, zoom, *_ = geometry_layers()
    turned, zoomed = rotation.get_random_transformation(pixels), zoom.get_random_transformation(pixels)
    in_turn = zoom.transform_images(rotation.transform_images(tf.constant(pixels), turned), zoomed).numpy()
    transform = _turned_and_zoomed(turned["rotation_matrix"], zoomed["height_zoom"], pixels.shape)
    at_once = keras.ops.image.affine_transform(pixels, transform, "bilinear", fill_mode="reflect").numpy()
    middle = np.s_[:, 30:90, 40:120]  # at the edges the first layer's reflection is resampled
    assert np.abs(in_turn - pixels)[middle].mean() > 5
    assert np.abs(in_turn - at_once)[middle].mean() < 1


def test_brightness_reaches_white_and_black_and_is_not_cut_off_below() -> None:
    # The article's value_range=(0.0, 0.6) would leave nothing above 153.
    ramp = np.tile(np.linspace(0, 255, 160).astype(np.uint8)[None, None, :, None], (64, 120, 1, 1))
    seen = moved(ramp)
    assert np.mean(seen.max(axis=(1, 2, 3)) > 200) > 0.9
    assert (seen == 255).any()
    assert (seen == 0).any()
    means = seen.mean(axis=(1, 2, 3))
    assert means.max() - means.min() > 40  # brightness does vary


def test_camera_effects_touch_the_asked_share_and_nothing_else() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (400, 48, 64, 1)).astype(np.uint8)
    changed = [
        (with_camera_effects(pixels, share, seed=0, step=1) != pixels).any(axis=(1, 2, 3)).mean()
        for share in (0.0, 0.3, 1.0)
    ]
    assert changed[0] == 0
    assert 0.2 < changed[1] < 0.36
    assert changed[2] > 0.85  # the effects themselves are drawn as well


def test_camera_effects_are_the_same_in_every_thread_and_after_any_history(frames: FrameSet) -> None:
    pixels = pictures(frames)
    wanted = [with_camera_effects(pixels, 1.0, seed=3, step=step) for step in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda step: with_camera_effects(pixels, 1.0, seed=3, step=step), reversed(range(8))))
    for one, other in zip(wanted, reversed(found), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(wanted[0], wanted[1])


def test_camera_effects_both_blur_and_sharpen(frames: FrameSet) -> None:
    pixels = pictures(frames)[1::2]
    detail = np.abs(np.diff(pixels[..., 0].astype(int), axis=2)).mean(axis=(1, 2))
    ratios = np.concatenate(
        [
            np.abs(np.diff(with_camera_effects(pixels, 1.0, seed=0, step=step)[..., 0].astype(int), axis=2)).mean(
                axis=(1, 2)
            )
            / detail
            for step in range(10)
        ]
    )
    assert ratios.min() < 0.6
    assert ratios.max() > 1.2


def test_an_epoch_shows_every_frame_once_and_the_next_in_another_order(frames: FrameSet) -> None:
    orders = [epoch_order(20, 0, epoch) for epoch in range(2)]
    assert [sorted(order) for order in orders] == [list(range(20))] * 2
    assert not np.array_equal(*orders)
    assert steps_per_epoch(20, 8) == 2  # the four left over are others in the next epoch
    assert steps_per_epoch(3, 8) == 1
    whole = PLAIN.model_copy(update={"batch_size": 20})
    (batch,) = taken(train_batches(frames, whole, {}, batches=range(1)), 1)
    np.testing.assert_array_equal(batch[1][:, 0], frames.labels[orders[0]])


def test_a_stream_that_starts_later_gives_the_same_batches(frames: FrameSet) -> None:
    whole = taken(train_batches(frames, PARAMETERS, {}, batches=range(6)), 9)
    rest = taken(train_batches(frames, PARAMETERS, {}, batches=range(3, 6)), 9)
    for one, other in zip(whole[3:], rest, strict=True):
        for part, again in zip(one, other, strict=True):
            np.testing.assert_array_equal(part, again)
    assert not np.array_equal(whole[0][0], whole[2][0])


def test_batches_are_raw_gray_levels_at_model_size_with_their_class_weight(frames: FrameSet) -> None:
    ((pixels, labels, weights),) = taken(
        train_batches(frames, PARAMETERS, {"person": 2.0, "no_person": 0.5}, batches=range(1)), 1
    )
    assert pixels.shape == (8, 48, 64, 1)
    assert pixels.dtype == np.float32
    assert pixels.max() > 100
    assert pixels.min() >= 0
    assert pixels.max() <= 255
    assert labels.shape == (8, 1)
    np.testing.assert_array_equal(weights, np.where(labels[:, 0] == 1, 2.0, 0.5))


def test_validation_reads_all_frames_in_order_as_they_are(frames: FrameSet) -> None:
    full = PARAMETERS.model_copy(update={"width": 160, "height": 120})
    batches = taken(eval_batches(frames, full), 10)
    assert [len(batch[0]) for batch in batches] == [8, 8, 4]
    np.testing.assert_array_equal(np.concatenate([b[0] for b in batches]), pictures(frames))
    np.testing.assert_array_equal(np.concatenate([b[1] for b in batches])[:, 0], frames.labels)


def test_cached_features_are_the_backbones_and_are_computed_once(
    frames: FrameSet, backbone: keras.Model, tmp_path: Path
) -> None:
    path = tmp_path / "features.npy"
    features = cache_features(backbone, frames, PLAIN, path, variant=None, progress=silent)
    small = np.concatenate([batch[0] for batch in taken(eval_batches(frames, PLAIN), 10)])
    np.testing.assert_allclose(features, backbone.predict_on_batch(small)[:, 0, 0], rtol=1e-3, atol=1e-3)
    assert features.std() > 0.1
    again = cache_features(None, frames, PLAIN, path, variant=None, progress=silent)  # no backbone is needed any more
    np.testing.assert_array_equal(features, again)
    assert not list(tmp_path.glob("*.part"))

    ((values, labels, _),) = taken(feature_batches([features], frames.labels, PLAIN, {}, batches=range(1, 2)), 9)
    here = epoch_order(20, 0, 0)[8:16]
    np.testing.assert_array_equal(values[:, 0, 0], features[here])
    np.testing.assert_array_equal(labels[:, 0], frames.labels[here])
    ((values, labels),) = taken(feature_eval_batches(features, frames.labels, PLAIN), 2)
    np.testing.assert_array_equal(values[:, 0, 0], features)


def test_feature_variants_are_different_augmentations_used_in_turn(
    frames: FrameSet, backbone: keras.Model, tmp_path: Path
) -> None:
    variants = [
        cache_features(backbone, frames, PARAMETERS, tmp_path / f"{number}.npy", variant=number, progress=silent)
        for number in range(2)
    ]
    assert not np.array_equal(*variants)
    batches = taken(feature_batches(variants, frames.labels, PARAMETERS, {}, batches=range(4)), 9)  # two steps an epoch
    np.testing.assert_array_equal(batches[0][0][:, 0, 0], variants[0][epoch_order(20, 0, 0)[:8]])
    np.testing.assert_array_equal(batches[2][0][:, 0, 0], variants[1][epoch_order(20, 0, 1)[:8]])
