"""One model on a folder of labelled images: what `f2f evaluate` does, without a bucket."""

import hashlib
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from tasks.errors import PipelineError
from tasks.frames import HEIGHT, WIDTH, FrameRefused, decode, read_file
from tasks.image_manifest import from_manifest
from tasks.interpreters import InterpreterError, Outputs, float_outputs, int8_outputs, keras_outputs
from tasks.kernels import InputRange, Refused, tflite_tensors
from tasks.labelled_folder import LabelledFolder, labelled_folder, shown
from tasks.lineage import CLASSES, ModelMetrics
from tasks.metrics import model_metrics
from tasks.progress import Progress, silent
from tasks.scores import scores


class FolderUnusable(PipelineError):
    """No labelled image in the folder that could be decoded."""


class RefusedImage(BaseModel):
    """A file that was left out."""

    model_config = ConfigDict(frozen=True)
    file: str
    reason: str


class FolderResult(ModelMetrics):
    """The figures, and how they came about."""

    threshold: float
    model: str
    sha256: str
    size_bytes: int
    kernels: str
    compared: str  # what the kernels' outputs were compared with
    input: str
    output: str
    score: str  # how it comes from the model's output
    refused: tuple[RefusedImage, ...]
    notes: tuple[str, ...]  # what was found in the folder and not used
    seconds: float


def evaluate_folder(
    model: Path,
    folder: Path,
    *,
    manifest: Path | None = None,
    threshold: float = 0.5,
    workers: int = 0,
    input_range: InputRange = "auto",
    progress: Progress = silent,
) -> FolderResult:
    """Figures of a .tflite or .keras file on the images in `person/` and `no_person/`, or those that `manifest` names.

    Images are decoded as frames are (160 x 120 gray), then stretched to the model's input; three channels get the gray
    thrice. An int8 or uint8 .tflite runs on TFLM, a float one on TFLite's builtin kernels, a .keras file in Keras.
    Images that are refused are listed and left out. Raises `FolderUnusable`,
    what tasks.labelled_folder and tasks.image_manifest raise, and `tasks.interpreters.InterpreterError`.
    """
    started = time.monotonic()
    data = _model_bytes(model)
    found = from_manifest(folder, manifest, "-") if manifest else labelled_folder(folder, "-")
    with tempfile.TemporaryFile(prefix="f2f-frames-") as packed:
        labels, refused = _decoded(found, packed, progress)
        if not len(labels):
            first = f"; {refused[0].file}: {refused[0].reason}" if refused else ""
            raise FolderUnusable(
                f"no accepted image among {len(found.files)} files of {shown(folder)}{first}",
                next_step="`f2f check-frames` says why for each",
            )
        pixels = np.memmap(packed, np.uint8, "r", shape=(len(labels), HEIGHT, WIDTH))
        outputs, compared = _outputs(model, data, pixels, workers, input_range, progress)
    values, how = scores(outputs)
    figures = model_metrics(labels, values, threshold)
    opened = outputs.opened
    return FolderResult(
        **figures.model_dump(),
        threshold=threshold,
        model=model.name,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        kernels=opened.kernels,
        compared=compared,
        input=f"{opened.input.dtype} {'x'.join(map(str, opened.input.shape))}, {opened.feeding}",
        output=f"{opened.output.dtype} {'x'.join(map(str, opened.output.shape))}",
        score=how,
        refused=tuple(refused),
        notes=found.notes,
        seconds=time.monotonic() - started,
    )


def _model_bytes(model: Path) -> bytes:
    try:
        return model.read_bytes()
    except OSError as error:
        raise PipelineError(
            f"cannot read the model {model}: {error.strerror}", next_step="give a .tflite or .keras file"
        ) from error


def _decoded(
    found: LabelledFolder, packed: BinaryIO, progress: Progress
) -> tuple[NDArray[np.uint8], list[RefusedImage]]:
    """Writes the pixels of all accepted files to `packed`, one frame after the other; returns their labels."""
    labels: list[int] = []
    refused = [RefusedImage(file=row.name, reason=row.reason) for row in found.refused_rows]
    for number, file in enumerate(found.files, 1):
        if file.label is None:
            refused.append(RefusedImage(file=file.name, reason="no_label"))
            continue
        try:
            packed.write(decode(read_file(file.path), file.path.name).pixels.tobytes())
            labels.append(CLASSES.index(file.label))
        except FrameRefused as error:
            refused.append(RefusedImage(file=file.name, reason=error.reason))
        progress(number, len(found.files), "images read")
    packed.flush()
    return np.array(labels, np.uint8), refused


def _outputs(
    model: Path,
    data: bytes,
    pixels: NDArray[np.uint8],
    workers: int,
    input_range: InputRange,
    progress: Progress,
) -> tuple[Outputs, str]:
    """Runs the model on the engine that fits what the file is, whatever its name says."""
    name = str(model)
    if data[:2] == b"PK":
        return keras_outputs(model, pixels, input_range=input_range, name=name, progress=progress), "nothing"
    try:
        quantised = tflite_tensors(data)[0].dtype != "float32"
    except Refused as refused:
        raise InterpreterError(
            f"{name}: {refused.reason}", next_step="give a .tflite or .keras file of one image in, one score out"
        ) from refused
    if not quantised:
        made = float_outputs(data, pixels, workers=workers, input_range=input_range, name=name, progress=progress)
        return made, "nothing"
    made = int8_outputs(
        data,
        pixels,
        workers=workers,
        input_range=input_range,
        reference_required=False,
        name=name,
        progress=progress,
    )
    if made.compared:
        return made, f"{made.compared} frames byte for byte with {made.opened.reference}"
    return made, f"nothing; TFLite's reference kernels {made.opened.reference}"
