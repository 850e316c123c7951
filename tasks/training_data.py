"""Frames on their way into training: tf.data over memory-mapped shards, every batch a function of its number.

Batch `b` belongs to epoch `b // steps`; which frames it holds and how they are augmented follows from the seed and `b`
alone. A resumed training therefore starts the stream at any batch and gets the same frames.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from tasks.augment import geometry, geometry_layers, with_camera_effects
from tasks.batches import FrameSet, resized
from tasks.errors import PipelineError
from tasks.lineage import CLASSES, Label
from tasks.parameters import TrainParameters
from tasks.progress import Progress

PREFETCHED = 4  # batches: enough to ride out a slow one, little enough not to count as memory


class TrainingImpossible(PipelineError):
    """Frames or parameters from which no classifier can come."""


def refuse_untrainable(parameters: TrainParameters, train: FrameSet, val: FrameSet) -> None:
    """Raises `TrainingImpossible` where a class is missing in a split, or where there is no epoch to train."""
    for name, frames in (("train", train), ("val", val)):
        there = [label for position, label in enumerate(CLASSES) if (frames.labels == position).any()]
        if len(there) < len(CLASSES):
            raise TrainingImpossible(
                f"split {name} has {len(frames)} frames and of them none labelled "
                + " or ".join(label for label in CLASSES if label not in there),
                next_step="import frames of both classes (`f2f import`), from several sessions each",
            )
    epochs = parameters.fine_tune_epochs + (parameters.head_epochs if parameters.weights != "none" else 0)
    if not epochs:
        raise TrainingImpossible(
            "no epoch to train: with weights none the head phase is left out and fine_tune_epochs is 0"
            if parameters.weights == "none"
            else "no epoch to train: head_epochs and fine_tune_epochs are 0",
            next_step="raise fine_tune_epochs",
        )


def steps_per_epoch(frames: int, batch_size: int) -> int:
    """Full batches in an epoch; the few frames left over come first in another epoch's order. At least 1."""
    return max(frames // batch_size, 1)


@lru_cache(maxsize=4)
def epoch_order(frames: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which epoch `epoch` (from 0) shows the frames: a permutation of 0..frames - 1."""
    return np.random.default_rng((seed, epoch)).permutation(frames)


def train_batches(
    frames: FrameSet, parameters: TrainParameters, class_weights: Mapping[Label, float], *, batches: range
) -> tf.data.Dataset:
    """Shuffled batches with these numbers: (pixels, labels, weights).

    Pixels are float32 (n, height, width, 1), 0..255, augmented where `parameters.augment`; labels float32 (n, 1);
    weights float32 (n,), the class weight of each frame. Made in a background thread, `PREFETCHED` batches ahead.
    """
    steps = steps_per_epoch(len(frames), parameters.batch_size)
    weight = np.array([class_weights.get(name, 1.0) for name in CLASSES], np.float32)

    def load(batch: np.int64) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        chosen = _chosen(len(frames), parameters, steps, int(batch))
        labels = frames.labels[chosen]
        return _pixels(frames, chosen, parameters), labels[:, None].astype(np.float32), weight[labels]

    def read(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        pixels, labels, weights = tf.numpy_function(load, [batch], (tf.uint8, tf.float32, tf.float32))
        return batch, _shaped(pixels, parameters), tf.ensure_shape(labels, (None, 1)), tf.ensure_shape(weights, (None,))

    data = tf.data.Dataset.range(batches.start, batches.stop).map(read)
    if parameters.augment:
        augment = _augmenter(parameters)
        data = data.map(lambda batch, pixels, *rest: (batch, augment(batch, pixels), *rest))
    return _ahead(data.map(lambda _batch, pixels, *rest: (tf.cast(pixels, tf.float32), *rest)))


def eval_batches(frames: FrameSet, parameters: TrainParameters) -> tf.data.Dataset:
    """All frames once, in order, as they are: (float32 (n, height, width, 1), float32 (n, 1))."""

    def load(start: np.int64) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        chosen = np.arange(int(start), min(int(start) + parameters.batch_size, len(frames)))
        return _pixels(frames, chosen, parameters), frames.labels[chosen][:, None].astype(np.float32)

    def read(start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, labels = tf.numpy_function(load, [start], (tf.uint8, tf.float32))
        return tf.cast(_shaped(pixels, parameters), tf.float32), tf.ensure_shape(labels, (None, 1))

    return _ahead(tf.data.Dataset.range(0, len(frames), parameters.batch_size).map(read))


def cache_features(
    backbone: keras.Model,
    frames: FrameSet,
    parameters: TrainParameters,
    path: Path,
    *,
    variant: int | None,
    progress: Progress,
) -> NDArray[np.float32]:
    """Backbone features of all frames, in frame order: float32 (n, channels), memory-mapped from `path` (.npy).

    `variant` numbers the augmentation that the frames go through first; None: frames as they are. A file that is
    there is complete (it appears by rename) and is used as it is: a resumed training does not compute it again.
    """
    if not path.exists():
        part = path.with_suffix(".part")
        features = open_memmap(part, "w+", np.float32, (len(frames), backbone.output_shape[-1]))
        data: tf.data.Dataset = eval_batches(frames, parameters).map(lambda pixels, _labels: pixels)
        if variant is not None:
            augment, offset = _augmenter(parameters), tf.constant(variant * len(frames), tf.int64)
            data = data.enumerate().map(
                lambda batch, pixels: tf.cast(augment(batch + offset, tf.cast(pixels, tf.uint8)), tf.float32)
            )
        done = 0
        for pixels in _ahead(data):
            values = backbone.predict_on_batch(pixels)
            features[done : done + len(values)] = values.reshape(len(values), -1)
            done += len(values)
            progress(done, len(frames), "frames through the backbone")
        features.flush()
        del features
        part.replace(path)
    return np.load(path, mmap_mode="r")


def feature_batches(
    variants: list[NDArray[np.float32]],
    labels: NDArray[np.uint8],
    parameters: TrainParameters,
    class_weights: Mapping[Label, float],
    *,
    batches: range,
) -> tf.data.Dataset:
    """Shuffled batches of cached features: (float32 (n, 1, 1, channels), labels, weights).

    Epoch `e` reads `variants[e % len(variants)]`; otherwise as `train_batches`.
    """
    steps, channels = steps_per_epoch(len(labels), parameters.batch_size), variants[0].shape[1]
    weight = np.array([class_weights.get(name, 1.0) for name in CLASSES], np.float32)

    def load(batch: np.int64) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        chosen = _chosen(len(labels), parameters, steps, int(batch))
        features = variants[int(batch) // steps % len(variants)][chosen]
        return features[:, None, None], labels[chosen][:, None].astype(np.float32), weight[labels[chosen]]

    def read(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        features, truth, weights = tf.numpy_function(load, [batch], (tf.float32, tf.float32, tf.float32))
        return (
            tf.ensure_shape(features, (None, 1, 1, channels)),
            tf.ensure_shape(truth, (None, 1)),
            tf.ensure_shape(weights, (None,)),
        )

    return _ahead(tf.data.Dataset.range(batches.start, batches.stop).map(read))


def feature_eval_batches(
    features: NDArray[np.float32], labels: NDArray[np.uint8], parameters: TrainParameters
) -> tf.data.Dataset:
    """All cached features once, in order: (float32 (n, 1, 1, channels), float32 (n, 1))."""
    size, channels = max(parameters.batch_size, 256), features.shape[1]

    def load(start: np.int64) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        here = slice(start, start + size)
        return np.asarray(features[here])[:, None, None], labels[here][:, None].astype(np.float32)

    def read(start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        values, truth = tf.numpy_function(load, [start], (tf.float32, tf.float32))
        return tf.ensure_shape(values, (None, 1, 1, channels)), tf.ensure_shape(truth, (None, 1))

    return _ahead(tf.data.Dataset.range(0, len(labels), size).map(read))


def _ahead(data: tf.data.Dataset) -> tf.data.Dataset:
    """Made by one background thread, a few batches ahead; TensorFlow's own tuning is left out.

    It would put every step into threads of its own, for a pipeline that is several times faster than a trainer on
    the same cores, and threads that still wait for each other when an iterator is given up half way were once seen to
    wait for ever.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.map_parallelization = False
    return data.prefetch(PREFETCHED).with_options(options)


def _augmenter(parameters: TrainParameters):  # type: ignore[no-untyped-def]
    """(batch number, uint8 pixels) -> uint8 pixels, as a graph function."""
    layers, share, seed = geometry_layers(), parameters.camera_effects_share, parameters.seed

    def augment(batch: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
        moved = geometry(layers, pixels, seed=seed, step=batch)
        if share == 0:
            return moved
        seen = tf.numpy_function(
            lambda values, step: with_camera_effects(values, share, seed=seed, step=int(step)), [moved, batch], tf.uint8
        )
        return _shaped(seen, parameters)

    return augment


def _chosen(frames: int, parameters: TrainParameters, steps: int, batch: int) -> NDArray[np.int64]:
    epoch, step = divmod(batch, steps)
    start = step * parameters.batch_size
    return epoch_order(frames, parameters.seed, epoch)[start : start + parameters.batch_size]


def _pixels(frames: FrameSet, chosen: NDArray[np.int64], parameters: TrainParameters) -> NDArray[np.uint8]:
    return resized(frames.gather(chosen), parameters.height, parameters.width)[..., None]


def _shaped(pixels: tf.Tensor, parameters: TrainParameters) -> tf.Tensor:
    return tf.ensure_shape(pixels, (None, parameters.height, parameters.width, 1))
