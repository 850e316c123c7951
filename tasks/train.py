"""Training: first the head on a frozen backbone, then the top layers (or all) at a lower rate.

    f2f retrain train.weights=imagenet

On 2 cores about 300 frames/s in the head phase and 180 frames/s with all layers unfrozen (alpha 0.5, 160 x 120).
A killed training goes on from its last finished epoch: the same parameters find the same work folder.
"""

import logging
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from tasks import augment, initial_weights, model, train_state, training_data
from tasks.batches import FrameSet
from tasks.code_version import code_version
from tasks.initial_weights import load_initial_weights, resolve_weights
from tasks.lineage import DatasetVersion, EpochFigures, Label, TrainedModel
from tasks.model import build_model, feature_model, freeze_backbone, head_model, set_batch_norm_momentum
from tasks.parameters import TrainParameters
from tasks.progress import Progress, silent
from tasks.store import Store
from tasks.train_state import (
    KeepState,
    ReportProgress,
    TrainState,
    assign,
    claimed,
    fit_variables,
    load_state,
    save_weights,
)
from tasks.training_data import (
    cache_features,
    eval_batches,
    feature_batches,
    feature_eval_batches,
    refuse_untrainable,
    steps_per_epoch,
    train_batches,
)

log = logging.getLogger("f2f.train")
START = "start.weights.h5"  # what fine-tuning starts from, and the result where no epoch of it is better


@dataclass(frozen=True)
class TrainResult:
    """A trained model on disk: a .keras file, not compiled, that takes raw 0..255 frames (batch, height, width, 1)."""

    model_path: Path
    curves: tuple[EpochFigures, ...]
    val_accuracy: float  # of the epoch whose weights the model has
    total_weights: int
    trained_weights: int
    seconds: float


def train_model(
    store: Store,
    version: DatasetVersion,
    parameters: TrainParameters,
    *,
    train: FrameSet,
    val: FrameSet,
    progress: Progress = silent,
) -> TrainedModel:
    """The model of this data set and these parameters: found in the bucket, or trained and stored there.

    Raises `WeightsUnusable`, `TrainingImpossible`, `StateUnreadable` and what the store raises.
    """
    source, weights_file = resolve_weights(store, parameters.weights)
    identity: dict[str, Any] = {
        "dataset": version.digest,
        "parameters": parameters,
        "initial_weights": source,
        "code_version": code_version(
            [augment, initial_weights, model, train_state, training_data, sys.modules[__name__]]
        ),
    }
    digest = TrainedModel.digest_for(**identity)
    work_dir = store.where.data_dir / "training" / digest
    found = store.find_record(f"models/{digest}/model.json", TrainedModel)
    if found is None:
        result = run_training(
            parameters,
            train,
            val,
            class_weights=version.class_weights,
            weights_file=weights_file,
            work_dir=work_dir,
            progress=progress,
        )
        found = TrainedModel(
            **identity,
            model=store.put_blob(result.model_path.read_bytes()),
            curves=result.curves,
            val_accuracy=result.val_accuracy,
            total_weights=result.total_weights,
            trained_weights=result.trained_weights,
            seconds=result.seconds,
        )
        store.put_record(found.key, found)
    else:
        log.info("model %s was trained before", digest[:12])
    shutil.rmtree(work_dir, ignore_errors=True)
    return found


def run_training(
    parameters: TrainParameters,
    train: FrameSet,
    val: FrameSet,
    *,
    class_weights: Mapping[Label, float],
    weights_file: Path | None,
    work_dir: Path,
    progress: Progress = silent,
) -> TrainResult:
    """Trains on `train`, decides by val_loss on `val`; the model has the weights of the best epoch of both phases.

    `weights_file` is what `parameters.weights` resolved to (None for imagenet and none). `work_dir` belongs to this
    training alone: a later call with the same arguments goes on after the last epoch that finished there. With the
    same seed, frames and machine the figures are the same, interrupted or not. With `weights="none"` a frozen backbone
    would be noise: the head phase is left out and all layers train. `progress` counts frames of the most epochs.
    """
    refuse_untrainable(parameters, train, val)
    with claimed(work_dir):
        keras.utils.set_random_seed(parameters.seed)
        first: Literal["head", "fine_tune"] = (
            "fine_tune" if parameters.weights == "none" or parameters.head_epochs == 0 else "head"
        )
        state, values = load_state(work_dir) or (TrainState(phase=first), [])
        if values:
            log.info("going on after epoch %d of phase %s", state.epoch, state.phase)
        network = build_model(parameters)
        run = _Run(parameters, train, val, class_weights, work_dir, progress, time.monotonic() - state.seconds)
        if state.phase == "head" or not values:
            load_initial_weights(network, parameters, weights_file)
        if state.phase == "head":
            state = _train_head(run, network, state, values)
            trained, values = _count(network.trainable_weights), []
            state = TrainState(phase="fine_tune", curves=state.curves, seconds=state.seconds)
        if parameters.fine_tune_epochs:
            if not values:
                save_weights(network, work_dir / START)
            state = _fine_tune(run, network, state, values)
            trained = _count(network.trainable_weights)
        else:
            save_weights(network, work_dir / START)
        best = state.best
        assert best is not None  # refuse_untrainable asked for an epoch
        final = build_model(parameters)  # not compiled: an optimizer has no business in the file
        final.load_weights(work_dir / (state.best_file or START))
        final.save(work_dir / "model.keras")
    log.info("best: %s epoch %d, val_accuracy %.4f", best.phase, best.epoch, best.val_accuracy)
    return TrainResult(
        model_path=work_dir / "model.keras",
        curves=state.curves,
        val_accuracy=best.val_accuracy,
        total_weights=_count(network.weights),
        trained_weights=trained,
        seconds=round(time.monotonic() - run.started, 3),
    )


@dataclass(frozen=True)
class _Run:
    """What both phases need."""

    parameters: TrainParameters
    train: FrameSet
    val: FrameSet
    class_weights: Mapping[Label, float]
    work_dir: Path
    progress: Progress
    started: float

    @property
    def steps(self) -> int:
        return steps_per_epoch(len(self.train), self.parameters.batch_size)


def _train_head(run: _Run, network: keras.Model, state: TrainState, values: list[np.ndarray]) -> TrainState:
    """Phase 1: Adam on the head, backbone frozen with its statistics; on cached features where that is the same."""
    parameters = run.parameters
    freeze_backbone(network, 0)
    optimizer = keras.optimizers.Adam(parameters.head_learning_rate)
    todo = range(state.epoch * run.steps, parameters.head_epochs * run.steps)
    if parameters.augment and not parameters.head_feature_variants:
        fitted = network
        batches = train_batches(run.train, parameters, run.class_weights, batches=todo)
        validation = eval_batches(run.val, parameters)
    else:
        fitted, backbone = head_model(network), feature_model(network)
        variants = [
            cache_features(
                backbone,
                run.train,
                parameters,
                run.work_dir / f"features-train-{variant}.npy",
                variant=variant if parameters.augment else None,
                progress=run.progress,
            )
            for variant in range(parameters.head_feature_variants if parameters.augment else 1)
        ]
        seen = cache_features(
            backbone, run.val, parameters, run.work_dir / "features-val.npy", variant=None, progress=run.progress
        )
        batches = feature_batches(variants, run.train.labels, parameters, run.class_weights, batches=todo)
        validation = feature_eval_batches(seen, run.val.labels, parameters)
    state = _fit(run, fitted, state, values, optimizer, batches, validation, epochs=parameters.head_epochs)
    fitted.load_weights(run.work_dir / state.best_file)
    return state


def _fine_tune(run: _Run, network: keras.Model, state: TrainState, values: list[np.ndarray]) -> TrainState:
    """Phase 2: the top layers at a lower rate; their batch normalisation adapts, that of frozen layers does not."""
    parameters = run.parameters
    freeze_backbone(network, -1 if parameters.weights == "none" else parameters.fine_tune_layers)
    set_batch_norm_momentum(network, run.steps)
    rate: float | keras.optimizers.schedules.LearningRateSchedule = parameters.fine_tune_learning_rate
    if parameters.schedule == "cosine":
        warm_up = round(parameters.warmup_epochs * run.steps)
        rate = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warm_up else parameters.fine_tune_learning_rate,
            decay_steps=max(parameters.fine_tune_epochs * run.steps - warm_up, 1),
            warmup_target=parameters.fine_tune_learning_rate if warm_up else None,
            warmup_steps=warm_up,
        )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=parameters.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    # Order and augmentation go on where the head phase left off.
    first, last = parameters.head_epochs + state.epoch, parameters.head_epochs + parameters.fine_tune_epochs
    todo = range(first * run.steps, last * run.steps)
    batches = train_batches(run.train, parameters, run.class_weights, batches=todo)
    validation = eval_batches(run.val, parameters)
    return _fit(run, network, state, values, optimizer, batches, validation, epochs=parameters.fine_tune_epochs)


def _fit(
    run: _Run,
    fitted: keras.Model,
    state: TrainState,
    values: list[np.ndarray],
    optimizer: keras.optimizers.Optimizer,
    batches: object,
    validation: object,
    *,
    epochs: int,
) -> TrainState:
    """Keras' `fit` of one phase, from `state` on."""
    parameters, phase = run.parameters, state.phase
    # XLA on a CPU was measured at a tenth of the speed; Keras would choose it by itself.
    fitted.compile(
        optimizer=optimizer,
        loss=keras.losses.BinaryCrossentropy(),
        metrics=[keras.metrics.BinaryAccuracy("accuracy")],
        jit_compile=False,
    )
    optimizer.build(fitted.trainable_variables)
    if values:
        assign(fit_variables(fitted), values, run.work_dir)
    callbacks: list[keras.callbacks.Callback] = [
        keras.callbacks.ModelCheckpoint(
            run.work_dir / (phase + "-{epoch:03d}.weights.h5"),  # train_state.best_name
            monitor="val_loss",
            save_best_only=True,
            save_weights_only=True,
            initial_value_threshold=state.best.val_loss if state.best else None,
        ),
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=parameters.patience),
    ]
    if phase == "head" or parameters.schedule == "plateau":
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor="val_loss", factor=0.5, patience=max(parameters.patience // 2, 1), min_lr=1e-6
            )
        )
    keeper = KeepState(run.work_dir, state, list(callbacks), run.started)
    if not state.ended and state.epoch < epochs:
        before = state.epoch + (parameters.head_epochs if phase == "fine_tune" else 0)
        per_epoch = run.steps * parameters.batch_size
        total = (parameters.head_epochs + parameters.fine_tune_epochs) * per_epoch
        shown = ReportProgress(run.progress, done=before * per_epoch, total=total, per_step=parameters.batch_size)
        fitted.fit(
            batches,
            steps_per_epoch=run.steps,
            initial_epoch=state.epoch,
            epochs=epochs,
            validation_data=validation,
            callbacks=[*callbacks, shown, keeper],
            shuffle=False,  # the batches come shuffled
            verbose=0,
        )
    return keeper.state


def _count(variables: list[keras.Variable]) -> int:
    return sum(int(np.prod(variable.shape)) for variable in variables)
