"""FP32 to full INT8: a calibration set drawn from train, TensorFlow's converter, and the audit of what came out."""

import logging
import sys
from collections.abc import Iterator
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tasks import (
    checked_flatbuffer,
    flatbuffer,
    memory_plan,
    offender_advice,
    offenders,
    tensor_offenders,
    tflite_file,
    tflm_support,
)
from tasks.batches import FrameSet, resized
from tasks.code_version import code_version
from tasks.errors import PipelineError
from tasks.initial_weights import load_source
from tasks.lineage import CLASSES, Int8Model, TrainedModel
from tasks.parameters import QuantizeParameters
from tasks.progress import Progress, silent
from tasks.store import Store

log = logging.getLogger("f2f.quantize")


class ConversionFailed(PipelineError):
    """No calibration set, or a model that TensorFlow's converter refuses."""


# What decides which offenders a record lists: a change there makes another record.
_JUDGES = [
    checked_flatbuffer,
    flatbuffer,
    memory_plan,
    offender_advice,
    offenders,
    tensor_offenders,
    tflite_file,
    tflm_support,
]


def quantize(
    store: Store, trained: TrainedModel, train: FrameSet, parameters: QuantizeParameters, *, progress: Progress = silent
) -> Int8Model:
    """The INT8 version of `trained`: found in the bucket, or converted, audited and stored there.

    `train` holds the train frames of the model's data set; the frames that calibrated are named in the record. A
    model with offenders is stored as well, `clean` False: saying no is the gate's part. Takes about half a minute at
    alpha 0.5. Raises `ConversionFailed`.
    """
    version = code_version([sys.modules[__name__], *_JUDGES])
    digest = Int8Model.digest_for(model=trained.digest, parameters=parameters, code_version=version)
    found = store.find_record(f"models/{trained.digest}/int8-{digest}.json", Int8Model)
    if found is not None:
        log.info("INT8 model %s was converted before", digest[:12])
        return found
    model = load_source(store.blob_path(trained.model))
    chosen = calibration_choice(train, parameters.calibration_frames, parameters.seed)
    pixels = resized(train.gather(chosen), trained.parameters.height, trained.parameters.width)
    int8 = convert(model, pixels, parameters.io_type, progress=progress)
    fp32 = convert_fp32(model)
    audit = flatbuffer.audit(int8, tflm=parameters.tflm)
    record = Int8Model(
        model=trained.digest,
        parameters=parameters,
        code_version=version,
        tflite=store.put_blob(int8),
        size_bytes=len(int8),
        fp32_tflite=store.put_blob(fp32),
        fp32_size_bytes=len(fp32),
        input=audit.facts.inputs[0],
        output=audit.facts.outputs[0],
        ops=audit.ops,
        macs=audit.facts.macs,
        activation_peak_bytes=audit.facts.activation_peak_bytes,
        calibration=tuple(train.pixels_sha256[index] for index in chosen),
        clean=audit.clean,
        offenders=audit.offenders,
    )
    store.put_record(record.key, record)
    log.info(
        "INT8: %d bytes, %.0f %% of FP32's, %s",
        len(int8),
        100 * len(int8) / len(fp32),
        "clean" if audit.clean else f"{len(audit.offenders)} offenders",
    )
    return record


def calibration_choice(frames: FrameSet, count: int, seed: int) -> NDArray[np.int64]:
    """Indices of at most `count` frames, both classes equally often and alternating, all devices in turn.

    The choice depends on the frames' hashes, not on their order: the same set gives the same choice. Raises
    `ConversionFailed` where a class is missing.
    """
    draws = [list(_in_turn(frames, class_id, seed)) for class_id in range(len(CLASSES))]
    for name, draw in zip(CLASSES, draws, strict=True):
        if not draw:
            raise ConversionFailed(
                f"none of the {len(frames)} train frames is labelled {name}: a calibration set needs both classes",
                next_step="import frames of both classes (`f2f import`)",
            )
    each = min(count // len(CLASSES), *map(len, draws))
    return np.array([index for pair in zip(*draws, strict=False) for index in pair][: each * len(CLASSES)], np.int64)


def _in_turn(frames: FrameSet, class_id: int, seed: int) -> Iterator[int]:
    """Frames of one class: one of each device, then the next of each, each device's in seeded order."""
    random = np.random.default_rng((seed, class_id))
    queues: dict[str, list[int]] = {}
    here: list[int] = np.flatnonzero(frames.labels == class_id).tolist()
    for index in sorted(here, key=lambda index: frames.pixels_sha256[index]):
        queues.setdefault(frames.devices[index], []).append(index)
    shuffled = [list(random.permutation(queues[device])) for device in sorted(queues)]
    while any(shuffled):
        for queue in shuffled:
            if queue:
                yield int(queue.pop())


def convert(
    model: keras.Model,
    calibration_pixels: NDArray[np.uint8],
    io_type: Literal["int8", "uint8"] = "int8",
    *,
    progress: Progress = silent,
) -> bytes:
    """`model` as a full-integer .tflite with a static batch of 1.

    `calibration_pixels`: uint8 (n, height, width), raw gray levels. Input scale is 1.0 and its zero point -128 (int8)
    or 0 (uint8), whatever the frames hold: the device turns a camera byte into an int8 with `x ^ 0x80`. The converter
    does not enforce INT8; `tasks.flatbuffer.audit` does. Raises `ConversionFailed`.
    """
    pixels = calibration_pixels.copy()
    pixels[0, 0, :2] = 0, 255  # two pixels of one frame pin the input's range to all that a camera can deliver

    def calibration() -> Iterator[list[NDArray[np.float32]]]:
        for number, frame in enumerate(pixels):
            progress(number + 1, len(pixels), "calibration frames")
            yield [frame[None, :, :, None].astype(np.float32)]

    converter = _converter(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = calibration
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = getattr(tf, io_type)
    return _converted(converter, model.name)


def convert_fp32(model: keras.Model) -> bytes:
    """`model` as a float .tflite with a static batch of 1: what the INT8 file's size is compared with."""
    return _converted(_converter(model), model.name)


def _converter(model: keras.Model) -> tf.lite.TFLiteConverter:
    """From frozen constants: with variables left in, `from_concrete_functions` writes READ_VARIABLE operators.

    A batch of None would leave SHAPE, STRIDED_SLICE and PACK in the graph.
    """
    shape = (1, *model.input_shape[1:])
    static = keras.models.clone_model(model, input_tensors=keras.Input(batch_shape=shape, name="frame"))
    static.set_weights(model.get_weights())
    function = tf.function(lambda frame: static(frame, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="frame"))
    return tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(concrete)], static)


def _converted(converter: tf.lite.TFLiteConverter, name: str) -> bytes:
    try:
        data: bytes = converter.convert()
    except Exception as error:  # ConverterError, and RuntimeError or ValueError out of the calibrator
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConversionFailed(
            f"TensorFlow's converter refused {name}: {lines[0]}",
            next_step="use operators that TensorFlow Lite has in INT8 (`f2f audit` lists what a file holds)",
        ) from error
    return data
