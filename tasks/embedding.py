"""Frames as the inner features of a trained network: a .keras file cut before its head."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.errors import PipelineError
from tasks.frames import HEIGHT, WIDTH

if TYPE_CHECKING:
    import keras

# uint8 (k, 120, 160) -> float32 (k, d)
Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

_BOTTLENECK = "block_16_project_BN"  # MobileNetV2's last linear layer: what follows is as wide as a head and may be new
_BATCH = 64


class EmbeddingUnusable(PipelineError):
    """A model that no features of frames can be taken from."""


def keras_embedding(source: bytes | Path) -> Embed:
    """The features of a .keras model of frames (raw gray levels in, 120 x 160 x 1), averaged over the picture.

    Taken from MobileNetV2's last bottleneck (`block_16_project_BN`) where there is one, else from the last layer with
    a map of more than one cell. A head that was never trained does no harm. Raises `EmbeddingUnusable`.
    """
    import keras
    import tensorflow as tf

    from tasks.initial_weights import WeightsUnusable, load_source

    try:
        if isinstance(source, bytes):
            with tempfile.TemporaryDirectory(prefix="f2f-embedding-") as folder:
                path = Path(folder) / "model"
                path.write_bytes(source)
                model = load_source(path)
        else:
            model = load_source(source)
    except WeightsUnusable as error:
        raise EmbeddingUnusable(error.message, next_step="hand in a model that Keras 3 saved") from error
    features = _last_map(model)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    network = tf.function(keras.Model(model.inputs, pooled), reduce_retracing=True)

    def embed(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = [
            network(tf.constant(pixels[start : start + _BATCH, ..., None].astype(np.float32)), training=False).numpy()
            for start in range(0, len(pixels), _BATCH)
        ]
        return np.concatenate(parts) if parts else np.empty((0, features.shape[-1]), np.float32)

    return embed


def _last_map(model: "keras.Model") -> "keras.KerasTensor":
    """The symbolic tensor (None, h, w, channels) that features are taken from."""
    if tuple(model.input_shape) != (None, HEIGHT, WIDTH, 1):
        raise EmbeddingUnusable(
            f"the model takes {model.input_shape}, frames are (None, {HEIGHT}, {WIDTH}, 1)",
            next_step="hand in a model of this pipeline, or one with the same input",
        )
    for layer in model.layers:
        if layer.name == _BOTTLENECK:
            return layer.output
    for layer in reversed(model.layers):
        shape = tuple(getattr(layer.output, "shape", ()))
        if len(shape) == 4 and shape[1] * shape[2] > 1 and layer.weights:
            return layer.output
    raise EmbeddingUnusable("the model has no convolutional layer", next_step="hand in a convolutional model")
