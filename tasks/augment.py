"""What training frames go through: geometry and light as Keras layers, the camera's own faults with Albumentations.

The scene moves first (flip, rotation, zoom, brightness, contrast), then the camera looks at it (focus, motion,
sharpness, sensor noise, JPEG). Everything is a function of a seed and a step number, never of what ran before: a
resumed training sees the frames that an uninterrupted one would have seen.
"""

import threading

import albumentations
import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

# Frames are small: threads inside OpenCV cost more than they bring, and the cores belong to the trainer.
cv2.setNumThreads(1)

_per_thread = threading.local()


class _StepSeeds(keras.random.SeedGenerator):
    """Draws for Keras' random layers that depend on (seed, step) alone; Keras' own generator counts its calls."""

    def __init__(self, seed: int, step: tf.Tensor) -> None:  # without super(): no variable, nothing to restore
        self._first = tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64)])
        self._drawn = 0

    def next(self, ordered: bool = True) -> tf.Tensor:
        self._drawn += 1
        return tf.cast(tf.random.experimental.stateless_fold_in(self._first, self._drawn), tf.int32)


def geometry_layers() -> list[keras.layers.Layer]:
    """Flip, rotation (0.08 of a turn, 29 degrees), zoom (20 %), brightness (51 levels), contrast (30 %), on 0..255."""
    return [
        keras.layers.RandomFlip("horizontal"),
        keras.layers.RandomRotation(0.08),
        keras.layers.RandomZoom(0.2),
        keras.layers.RandomBrightness(0.2, value_range=(0, 255)),
        keras.layers.RandomContrast(0.3, value_range=(0, 255)),
    ]


def geometry(layers: list[keras.layers.Layer], pixels: tf.Tensor, *, seed: int, step: tf.Tensor) -> tf.Tensor:
    """One batch through `geometry_layers()`: uint8 (n, height, width, 1) in and out, each frame by its own draw."""
    images, seeds = tf.cast(pixels, tf.float32), _StepSeeds(seed, step)
    flip, rotation, zoom, *light = layers
    images = flip.transform_images(images, flip.get_random_transformation(images, seed=seeds))
    turned = rotation.get_random_transformation(images, seed=seeds)["rotation_matrix"]
    zoomed = zoom.get_random_transformation(images, seed=seeds)["height_zoom"]
    images = keras.ops.image.affine_transform(
        images, _turned_and_zoomed(turned, zoomed, images.shape), "bilinear", fill_mode="reflect"
    )
    for layer in light:
        images = layer.transform_images(images, layer.get_random_transformation(images, seed=seeds))
    return tf.cast(tf.round(tf.clip_by_value(images, 0.0, 255.0)), tf.uint8)  # a camera delivers 8 bits


def _turned_and_zoomed(turned: tf.Tensor, zoomed: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """Rotation (n, 8) and zoom (n, 1), both about the middle c, as one transform (n, 8).

    p -> c + R z (p - c) has the linear part z R, and the offset c - z R c = z t + (1 - z) c with R's own offset
    t = c - R c. One resampling instead of the layers' two takes 0.2 ms less a frame and blurs less.
    """
    x, y = (shape[2] - 1) / 2, (shape[1] - 1) / 2
    return zoomed * turned + (1 - zoomed) * tf.constant([[0.0, 0.0, x, 0.0, 0.0, y, 0.0, 0.0]])


def camera_effects() -> albumentations.Compose:
    """Lens, sensor and codec faults for uint8 frames (height, width, 1).

    Blur and sharpening come equally often: in collected data the sharpness of a picture often tells where it came
    from, and with it the label.
    """
    return albumentations.Compose(
        [
            albumentations.OneOf(
                [
                    albumentations.OneOf(
                        [
                            albumentations.MotionBlur(blur_limit=(3, 7), p=1),
                            albumentations.Defocus(radius=(1, 3), alias_blur=(0.1, 0.3), p=1),
                            albumentations.GaussianBlur(blur_limit=(3, 5), p=1),
                        ],
                        p=0.5,
                    ),
                    albumentations.Sharpen(alpha=(0.2, 0.6), lightness=(0.9, 1.1), p=0.5),
                ],
                p=0.8,
            ),
            albumentations.RandomGamma(gamma_limit=(70, 140), p=0.3),
            albumentations.GaussNoise(std_range=(0.01, 0.06), p=0.5),
            albumentations.ImageCompression(quality_range=(25, 85), p=0.4),
        ]
    )


def with_camera_effects(pixels: NDArray[np.uint8], share: float, *, seed: int, step: int) -> NDArray[np.uint8]:
    """One batch, uint8 (n, height, width, 1), of which each frame gets camera effects with probability `share`.

    The same batch, seed and step give the same bytes in every thread and process.
    """
    random = np.random.default_rng((seed, step, 1))
    chosen = np.flatnonzero(random.random(len(pixels)) < share)
    if not len(chosen):
        return pixels
    if not hasattr(_per_thread, "effects"):  # a Compose keeps its random state inside: one for each thread
        _per_thread.effects = camera_effects()
    _per_thread.effects.set_random_seed(int(random.integers(2**31)))
    seen = pixels.copy()
    for index in chosen:
        seen[index] = _per_thread.effects(image=pixels[index])["image"].reshape(pixels.shape[1:])
    return seen
