"""What a training needs to go on after its process was killed: one file a finished epoch, replaced in one step."""

import contextlib
import fcntl
import json
import logging
import math
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from pydantic import BaseModel, ConfigDict

from tasks.errors import PipelineError
from tasks.lineage import EpochFigures
from tasks.progress import Progress

log = logging.getLogger("f2f.train")

# What Keras' callbacks know after an epoch and forget with their process.
REMEMBERED = {
    "EarlyStopping": ("best", "best_epoch", "wait"),
    "ReduceLROnPlateau": ("best", "cooldown_counter", "wait"),
    "ModelCheckpoint": ("best",),
}
FILE = "state.npz"


class StateUnreadable(PipelineError):
    """A state file that is not one, or belongs to another network."""


class AlreadyTraining(PipelineError):
    """Another process is at the same training."""


class TrainingDiverged(PipelineError):
    """Losses that are no numbers any more."""


class TrainState(BaseModel):
    """How far a training has come. Weights and optimizer lie beside it in the same file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    phase: Literal["head", "fine_tune"]
    epoch: int = 0  # epochs finished in this phase
    ended: bool = False  # the phase needs no further epoch
    best_file: str = ""  # weights of the best epoch of this phase; "": none has beaten what it started from
    curves: tuple[EpochFigures, ...] = ()
    callbacks: dict[str, dict[str, Any]] = {}
    seconds: float = 0.0  # of all processes that worked on it

    @property
    def best(self) -> EpochFigures | None:
        """The epoch with the smallest val_loss so far, the earliest where several are equal."""
        return min(self.curves, key=lambda figures: figures.val_loss, default=None)


def save_state(folder: Path, state: TrainState, variables: list[keras.Variable]) -> None:
    """Writes the state and `variables` as one file. A kill at any moment leaves the old file or the new one."""
    arrays = {f"v{number}": keras.ops.convert_to_numpy(variable) for number, variable in enumerate(variables)}
    part = folder / f"{FILE}.part"
    with part.open("wb") as file:
        np.savez(file, state=np.array(state.model_dump_json()), **arrays)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / FILE)


def load_state(folder: Path) -> tuple[TrainState, list[np.ndarray]] | None:
    """State and variables as saved; None where no epoch has finished yet. Raises `StateUnreadable`."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            state = TrainState.model_validate(json.loads(str(file["state"])))
            return state, [file[f"v{number}"] for number in range(len(file.files) - 1)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:  # pydantic's is a ValueError
        raise StateUnreadable(f"{path} cannot be read: {error}", next_step=f"delete {folder} to start over") from error


def assign(variables: list[keras.Variable], values: list[np.ndarray], folder: Path) -> None:
    """Puts saved values back. Raises `StateUnreadable` where they do not fit."""
    if [tuple(variable.shape) for variable in variables] != [value.shape for value in values]:
        raise StateUnreadable(
            f"the state in {folder} belongs to another network", next_step=f"delete {folder} to start over"
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Holds a work folder for this process; the kernel lets go when the process ends, however it ends.

    Raises `AlreadyTraining` where another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyTraining(
                f"this very training is running in another process (it holds {folder})",
                next_step="wait for it: the same run then finds its result in the bucket",
            ) from error
        yield


def save_weights(network: keras.Model, path: Path) -> None:
    """`network.save_weights`, in one step: a file that is there is complete."""
    part = path.with_name(f"part-{path.name}")
    network.save_weights(part)
    part.replace(path)


class KeepState(keras.callbacks.Callback):
    """Records every epoch and saves what a later process needs. Comes last, after the callbacks it remembers.

    `state` is where the phase starts: new, or as an earlier process left it. `others` are the fit's other callbacks.
    Raises `TrainingDiverged` after an epoch whose losses are not numbers.
    """

    def __init__(self, folder: Path, state: TrainState, others: list[keras.callbacks.Callback], started: float) -> None:
        super().__init__()
        self.folder, self.state, self.others = folder, state, others
        self._started = started  # on the monotonic clock, moved back by what earlier processes took

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._delete_all_but_best()  # an epoch that was cut short may have left its own
        for callback in self.others:  # Keras has just reset them
            for name, value in self.state.callbacks.get(type(callback).__name__, {}).items():
                setattr(callback, name, value)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch_started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        now = time.monotonic()
        rate = logs.get("learning_rate", keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        figures = EpochFigures(
            phase=self.state.phase,
            epoch=epoch + 1,
            **{name: float(logs[name]) for name in ("loss", "accuracy", "val_loss", "val_accuracy")},
            learning_rate=float(rate),
            seconds=round(now - self._epoch_started, 3),
        )
        log.info("%s epoch %d: %s", self.state.phase, epoch + 1, _in_words(figures))
        if not math.isfinite(figures.loss) or not math.isfinite(figures.val_loss):
            raise TrainingDiverged(
                f"{self.state.phase} epoch {epoch + 1} ended with loss {figures.loss} and val_loss {figures.val_loss} "
                f"at a learning rate of {figures.learning_rate:.2g}",
                next_step="lower head_learning_rate or fine_tune_learning_rate, or raise warmup_epochs",
            )
        best = self._best_file(epoch)
        self.state = self.state.model_copy(
            update={
                "epoch": epoch + 1,
                "ended": bool(self.model.stop_training),
                "best_file": best or self.state.best_file,
                "curves": (*self.state.curves, figures),
                "callbacks": {type(callback).__name__: _memory(callback) for callback in self.others},
                "seconds": round(now - self._started, 3),
            }
        )
        save_state(self.folder, self.state, fit_variables(self.model))
        self._delete_all_but_best()

    def _delete_all_but_best(self) -> None:
        for path in self.folder.glob(f"{self.state.phase}-*.weights.h5"):
            if path.name != self.state.best_file:
                path.unlink()

    def _best_file(self, epoch: int) -> str:
        name = best_name(self.state.phase, epoch)
        return name if (self.folder / name).exists() else ""


class ReportProgress(keras.callbacks.Callback):
    """Tells `progress` after every batch how many frames of the most that this training may take are done."""

    def __init__(self, progress: Progress, *, done: int, total: int, per_step: int) -> None:
        super().__init__()
        self._progress, self._done, self._total, self._per_step = progress, done, total, per_step

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._done += self._per_step
        self._progress(self._done, self._total, "frames")


def best_name(phase: str, epoch: int) -> str:
    """File of the weights after epoch `epoch` (from 0) of `phase`, as ModelCheckpoint formats its path."""
    return f"{phase}-{epoch + 1:03d}.weights.h5"


def fit_variables(model: keras.Model) -> list[keras.Variable]:
    """All that an epoch changes: weights, moving statistics, random states of layers, optimizer (rate, moments)."""
    return [*model.weights, *_seeds(model), *model.optimizer.variables]


def _seeds(model: keras.Model) -> list[keras.Variable]:
    return [layer.seed_generator.state for layer in model.layers if getattr(layer, "seed_generator", None)]


def _memory(callback: keras.callbacks.Callback) -> dict[str, float | int | None]:
    values = {name: getattr(callback, name) for name in REMEMBERED.get(type(callback).__name__, ())}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}


def _in_words(figures: EpochFigures) -> str:
    return (
        f"loss {figures.loss:.4f} accuracy {figures.accuracy:.4f} val_loss {figures.val_loss:.4f} "
        f"val_accuracy {figures.val_accuracy:.4f} rate {figures.learning_rate:.2g} ({figures.seconds:.0f} s)"
    )
