"""FP32 and INT8 on the same frames: figures of both, the loss between them with its bound, slices, and every score.

FP32 is the Keras model in a process of its own; INT8 runs on TFLM's kernels in one process a core (interpreters.py).
On a few of the frames every operator of the INT8 model is compared with FP32 (layer_error.py).
"""

import io
import logging
import sys
import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks import (
    batches,
    cut_model,
    degradation,
    interpreters,
    kernels,
    layer_error,
    layer_match,
    layer_names,
    layer_sums,
    metrics,
    resize,
    scores,
    tflite_file,
)
from tasks.batches import FrameSet
from tasks.code_version import code_version
from tasks.errors import PipelineError
from tasks.interpreters import Outputs, int8_outputs, keras_outputs
from tasks.layer_error import layer_choice, layer_errors
from tasks.lineage import CLASSES, DatasetVersion, Int8Model, LayerError, Report, Slice, TrainedModel
from tasks.metrics import model_metrics
from tasks.parameters import EvaluateParameters
from tasks.progress import Progress, silent
from tasks.store import Store

logger = logging.getLogger("f2f.evaluate")


class NothingToEvaluate(PipelineError):
    """No frames in the split."""


class ModelsDoNotBelongTogether(PipelineError):
    """The FP32 model, the INT8 model and the data set are not of one line."""


class UncleanModel(PipelineError):
    """The audit refused this model: it is rejected without being run (`tasks.gate.judge_unclean`)."""


def evaluate(
    store: Store,
    int8: Int8Model,
    trained: TrainedModel,
    version: DatasetVersion,
    test: FrameSet,
    parameters: EvaluateParameters,
    progress: Progress = silent,
) -> Report:
    """The report on `int8`, stored at its key; found there by digest where these inputs were evaluated before.

    Progress counts inferences: every frame once with each model, and `layer_frames` again. Raises `UncleanModel`,
    `NothingToEvaluate`, `ModelsDoNotBelongTogether`, `tasks.layer_error.LayersNotComparable`, and
    `tasks.interpreters.InterpreterError`.
    """
    _check(int8, trained, version, test)
    identity = {"int8": int8.digest, "dataset": version.digest, "parameters": parameters, "code_version": _code()}
    known = store.find_record(f"models/reports/{Report.digest_for(**identity)}/report.json", Report)
    if known and store.exists(f"blobs/{known.scores}"):
        logger.info("evaluation %s is already there", known.digest[:12])
        return known
    started = time.monotonic()
    frames = _chosen(test, parameters)
    fp32, quantized = _run(store, int8, trained, frames, parameters, progress)
    layers, left_out = _layers(store, int8, frames, parameters, progress)
    fp32_scores, int8_scores = _own_scores(fp32, "FP32"), _own_scores(quantized, "INT8")
    threshold, labels = parameters.threshold, frames.labels
    truth = labels.astype(bool)
    report = Report(
        int8=int8.digest,
        dataset=version.digest,
        parameters=parameters,
        code_version=_code(),
        fp32=model_metrics(labels, fp32_scores, threshold),
        quantized=model_metrics(labels, int8_scores, threshold),
        degradation=degradation.degradation(
            (fp32_scores >= threshold) == truth,
            (int8_scores >= threshold) == truth,
            frames.sessions,
            rounds=parameters.bootstrap_rounds,
            seed=parameters.seed,
        ),
        slices=slices(labels, fp32_scores, int8_scores, frames.devices, frames.sessions, threshold),
        scores=store.put_blob(_parquet(frames, fp32_scores, int8_scores)),
        kernels=f"{quantized.opened.kernels}; {quantized.compared} frames compared byte for byte with "
        f"{quantized.opened.reference}",
        seconds=time.monotonic() - started,
        layers=layers,
        layers_left_out=left_out,
    )
    store.put_record(report.key, report)
    logger.info(
        "%d frames: accuracy FP32 %.4f, INT8 %.4f; loss %.2f points, bound %.2f",
        len(frames),
        report.fp32.accuracy,
        report.quantized.accuracy,
        100 * report.degradation.point,
        100 * report.degradation.bound,
    )
    return report


def slices(
    labels: NDArray[np.uint8],
    fp32_scores: NDArray[np.float64],
    int8_scores: NDArray[np.float64],
    devices: Sequence[str],
    sessions: Sequence[str],
    threshold: float,
) -> tuple[Slice, ...]:
    """The figures of both models on the frames of each device, in name order. All arguments are (n,)."""
    names, ids = np.asarray(devices), np.asarray(sessions)
    found = []
    for name in np.unique(names):
        here = np.flatnonzero(names == name)
        found.append(
            Slice(
                name=str(name),
                samples=len(here),
                sessions=len(np.unique(ids[here])),
                fp32=model_metrics(labels[here], fp32_scores[here], threshold),
                int8=model_metrics(labels[here], int8_scores[here], threshold),
            )
        )
    return tuple(found)


def _code() -> str:
    layers = [cut_model, layer_error, layer_match, layer_names, layer_sums, tflite_file]
    scoring = [batches, degradation, interpreters, kernels, metrics, resize, scores]
    return code_version([*layers, *scoring, sys.modules[__name__]])


def _check(int8: Int8Model, trained: TrainedModel, version: DatasetVersion, test: FrameSet) -> None:
    if not int8.clean or int8.offenders:
        kinds = ", ".join(sorted({o.kind for o in int8.offenders}))
        raise UncleanModel(
            f"INT8 model {int8.digest[:12]} is not fit for the device ({kinds}) and is not run",
            next_step="`f2f audit` names every op and tensor with the way out",
        )
    if int8.model != trained.digest or trained.dataset != version.digest:
        raise ModelsDoNotBelongTogether(
            f"INT8 model {int8.digest[:12]} comes from model {int8.model[:12]} and that from data set "
            f"{trained.dataset[:12]}; given are {trained.digest[:12]} and {version.digest[:12]}",
            next_step="give the records of one run",
        )
    if not len(test):
        raise NothingToEvaluate(
            f"data set {version.digest[:12]} has no frames to evaluate on",
            next_step="import more sessions, or raise the share of the test split",
        )


def _chosen(test: FrameSet, parameters: EvaluateParameters) -> FrameSet:
    """All frames, or `max_frames` of them, drawn with the seed and in their own order."""
    if not parameters.max_frames or parameters.max_frames >= len(test):
        return test
    generator = np.random.default_rng(parameters.seed)
    return test.take(np.sort(generator.choice(len(test), parameters.max_frames, replace=False)))


def _run(
    store: Store,
    int8: Int8Model,
    trained: TrainedModel,
    frames: FrameSet,
    parameters: EvaluateParameters,
    progress: Progress,
) -> tuple[Outputs, Outputs]:
    """Outputs of both models on all frames, which are read a few at a time."""
    count = len(frames)
    steps = _inferences(count, parameters)

    def pixels(start: int, stop: int) -> NDArray[np.uint8]:
        return frames.gather(np.arange(start, stop))

    fp32 = keras_outputs(
        store.blob_path(trained.model),
        pixels,
        count,
        name=f"FP32 model {trained.digest[:12]}",
        progress=lambda done, total, unit: progress(done, steps, "inferences"),
    )
    quantized = int8_outputs(
        store.get_blob(int8.tflite),
        pixels,
        count,
        workers=parameters.workers,
        name=f"INT8 model {int8.digest[:12]}",
        frame_name=lambda index: frames.keys[index],
        progress=lambda done, total, unit: progress(count + done, steps, "inferences"),
    )
    return fp32, quantized


def _inferences(count: int, parameters: EvaluateParameters) -> int:
    """Steps of the progress for `count` frames."""
    return 2 * count + min(count, parameters.layer_frames)


def _layers(
    store: Store, int8: Int8Model, frames: FrameSet, parameters: EvaluateParameters, progress: Progress
) -> tuple[tuple[LayerError, ...], int]:
    """The error of each operator on `layer_frames` of the frames; nothing where that is 0."""
    if not parameters.layer_frames:
        return (), 0
    chosen = layer_choice(frames.labels, frames.pixels_sha256, parameters.layer_frames, parameters.seed)
    before, steps = 2 * len(frames), _inferences(len(frames), parameters)
    return layer_errors(
        store.get_blob(int8.fp32_tflite),
        store.get_blob(int8.tflite),
        frames.gather(chosen),
        workers=parameters.workers,
        name=f"INT8 model {int8.digest[:12]}",
        frame_name=lambda index: frames.keys[chosen[index]],
        progress=lambda done, total, unit: progress(before + done, steps, "inferences"),
    )


def _own_scores(outputs: Outputs, name: str) -> NDArray[np.float64]:
    """Scores of a model of this pipeline, which ends in one sigmoid: anything else is a fault and not interpreted."""
    values, how = scores.scores(outputs)
    if how != scores.PLAIN:
        raise PipelineError(
            f"the {name} model's output is no score ({how})", next_step="end the model with one sigmoid unit"
        )
    return values


def _parquet(frames: FrameSet, fp32_scores: NDArray[np.float64], int8_scores: NDArray[np.float64]) -> bytes:
    """One row a frame. The shard is its file's name, the blob's SHA-256."""
    table = pa.table(
        {
            "pixels_sha256": pa.array(list(frames.pixels_sha256), pa.string()),
            "key": pa.array(list(frames.keys), pa.string()),
            "device": pa.array(list(frames.devices), pa.string()),
            "session": pa.array(list(frames.sessions), pa.string()),
            "label": pa.array([CLASSES[label] for label in frames.labels], pa.string()),
            "fp32_score": pa.array(fp32_scores, pa.float64()),
            "int8_score": pa.array(int8_scores, pa.float64()),
            "shard": pa.array([frames.shards[number].name for number in frames.shard], pa.string()),
            "row": pa.array(frames.row, pa.int32()),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
