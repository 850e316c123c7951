"""Where training starts: ImageNet weights turned gray, the weights of a .keras file, or none."""

import hashlib
import logging
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import keras
import numpy as np

from tasks.errors import PipelineError
from tasks.model import OFFSET, SCALE, backbone_layers
from tasks.parameters import TrainParameters
from tasks.store import ObjectMissing, Store

log = logging.getLogger("f2f.train")
ALTERNATIVES = (
    "set `weights` to the path of a .keras file, to s3://bucket/key or a key in the bucket, "
    "or to `none` to train from random weights"
)


class WeightsUnusable(PipelineError):
    """Initial weights that cannot be found, fetched, read, or that belong to another architecture."""


def resolve_weights(store: Store, weights: str) -> tuple[str, Path | None]:
    """What `TrainParameters.weights` means: (identity for the record, local file or None).

    `imagenet` and `none` stand for themselves. Anything else is a local path, an s3:// address or a key in the bucket;
    its bytes become a blob of the bucket (so that any worker can start from them again) and the identity is their
    SHA-256. Raises `WeightsUnusable` where there is no such file or object.
    """
    if weights in ("imagenet", "none"):
        return weights, None
    bucket, _, key = weights.removeprefix("s3://").partition("/")
    try:
        if weights.startswith("s3://") and bucket and key:
            data = Store(store.where.model_copy(update={"bucket": bucket, "prefix": ""})).get(key)
        elif Path(weights).expanduser().is_file():
            data = Path(weights).expanduser().read_bytes()
        elif weights and not weights.startswith("s3://"):
            data = store.get(weights)
        else:
            raise ObjectMissing(f"{weights!r} names no object")
    except (ObjectMissing, OSError) as error:
        raise WeightsUnusable(
            f"no initial weights {weights!r}: neither a readable file, nor an object in the bucket",
            next_step=f"{ALTERNATIVES}, or to `imagenet`",
        ) from error
    return hashlib.sha256(data).hexdigest(), store.blob_path(store.put_blob(data))


def load_initial_weights(model: keras.Model, parameters: TrainParameters, weights_file: Path | None) -> None:
    """Puts the weights that `parameters.weights` asks for into `model`; `weights_file` is what it resolved to."""
    if weights_file is not None:
        kept = transfer(model, load_source(weights_file), name=parameters.weights)
        log.info("initial weights from %s; random: %s", parameters.weights, ", ".join(kept) or "nothing")
    elif parameters.weights == "imagenet":
        kept = transfer(model, imagenet_backbone(parameters.alpha), name="imagenet")
        log.info("ImageNet weights, first kernel summed over the colour channels; random: %s", ", ".join(kept))
    elif parameters.weights != "none":
        raise WeightsUnusable(f"weights {parameters.weights!r} were not resolved to a file", next_step=ALTERNATIVES)


def imagenet_backbone(alpha: float) -> keras.Model:
    """Keras' own MobileNetV2 (3 channels, -1..1), from its cache or the network. Raises `WeightsUnusable`."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # Keras sets none, and a network that swallows packets would hang the run
    try:
        return keras.applications.MobileNetV2((224, 224, 3), alpha=alpha, include_top=False, weights="imagenet")
    except Exception as error:  # Keras raises a bare Exception for a failed fetch, h5py OSError for half a file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsUnusable(
            f"ImageNet weights for alpha {alpha:g} could not be fetched: {reason}", next_step=ALTERNATIVES
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def load_source(path: Path) -> keras.Model:
    """A .keras file, whatever its name (blobs have no suffix). Raises `WeightsUnusable`."""
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / "weights.keras"
        named.symlink_to(path.resolve())
        try:
            return keras.models.load_model(named, compile=False)  # safe mode: code inside the file is not run
        except Exception as error:  # zip, h5, JSON and Keras' own errors, by what is wrong with the file
            raise WeightsUnusable(
                f"{path.name} is not a .keras file that can be read: {str(error).splitlines()[0]}",
                next_step="save the model with `model.save('name.keras')` in Keras 3, without custom objects",
            ) from error


def transfer(model: keras.Model, source: keras.Model, *, name: str) -> tuple[str, ...]:
    """Copies weights layer by layer, by layer name; returns the layers of `model` that keep theirs (head at most).

    The source may nest its layers, may have another head, or none, and may take colour: its first kernel is then
    summed over the channels, which is what a gray frame repeated in all of them would have met. Raises
    `WeightsUnusable` where the backbone differs (another alpha) or was trained on another input range.
    """
    found = {layer.name: layer for layer in _leaves(source)}
    _check_range(found.values(), name)
    _check_backbone(model, found, name)
    kept = []
    for layer in model.layers:
        if not layer.weights:
            continue
        values = _as_gray(layer, found[layer.name].get_weights()) if layer.name in found else []
        if [v.shape for v in values] == [tuple(w.shape) for w in layer.weights]:
            layer.set_weights(values)
        else:
            kept.append(layer.name)
    return tuple(kept)


def _check_backbone(model: keras.Model, found: dict[str, keras.layers.Layer], name: str) -> None:
    weighted = [layer for layer in backbone_layers(model) if layer.weights]
    missing = [layer.name for layer in weighted if layer.name not in found]
    if missing:
        raise WeightsUnusable(
            f"{name} has no layer {missing[0]!r} ({len(missing)} of MobileNetV2's {len(weighted)} are missing): "
            "it holds another architecture, or other layer names",
            next_step="use a MobileNetV2 with Keras' own layer names, such as a model that this pipeline trained",
        )
    for layer in weighted:
        values = _as_gray(layer, found[layer.name].get_weights())
        shapes, wanted = [v.shape for v in values], [tuple(w.shape) for w in layer.weights]
        if shapes != wanted:
            raise WeightsUnusable(
                f"{name} does not fit: layer {layer.name!r} has {shapes[0]} there and {wanted[0]} in the model to "
                "train, so it was made with another alpha",
                next_step="set `alpha` to the one that the weights were made with (0.35, 0.5, 0.75 or 1.0)",
            )


def _check_range(layers: Iterable[keras.layers.Layer], name: str) -> None:
    for layer in layers:
        if isinstance(layer, keras.layers.Rescaling) and not np.allclose((layer.scale, layer.offset), (SCALE, OFFSET)):
            raise WeightsUnusable(
                f"{name} was trained on another input range: its Rescaling is {layer.scale} x + {layer.offset}, "
                "this pipeline's is x / 127.5 - 1",
                next_step="use weights for inputs of -1..1, as MobileNetV2's own are",
            )


def _as_gray(layer: keras.layers.Layer, values: list[np.ndarray]) -> list[np.ndarray]:
    colour = layer.name == "Conv1" and values and values[0].ndim == 4 and values[0].shape[2] == 3
    return [values[0].sum(axis=2, keepdims=True), *values[1:]] if colour else values


def _leaves(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    for inner in getattr(layer, "layers", ()):
        yield from _leaves(inner)
    if not hasattr(layer, "layers"):
        yield layer
