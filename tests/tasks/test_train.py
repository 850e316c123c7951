"""Training: phases, resuming, determinism, and the record that it leaves.

Covers tasks/train.py and tasks/train_state.py with real Keras on generated frames (64 x 48, alpha 0.35, one to three
epochs) and the test S3 server. It says nothing about accuracy on real frames, and augmentation has test_augment.py.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tasks.batches import FrameSet
from tasks.initial_weights import WeightsUnusable, load_source
from tasks.lineage import DatasetVersion, EpochFigures, TrainedModel
from tasks.parameters import DatasetParameters, TrainParameters
from tasks.settings import PROJECT
from tasks.store import Store
from tasks.train import TrainResult, run_training, train_model
from tasks.train_state import AlreadyTraining, StateUnreadable, TrainingDiverged, claimed, load_state
from tasks.training_data import TrainingImpossible, eval_batches
from tests.tasks.generated_frames import frame_set

SMALL = TrainParameters(
    alpha=0.35,
    width=64,
    height=48,
    weights="initial.keras",
    batch_size=16,
    head_epochs=2,
    fine_tune_epochs=2,
    fine_tune_layers=12,
    fine_tune_learning_rate=1e-3,
    patience=3,
)


class Killed(BaseException):
    """Ends a training where a signal would, without the price of another process."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("train")


@pytest.fixture(scope="module")
def train(folder: Path) -> FrameSet:
    return frame_set(folder, 96, seed=1)


@pytest.fixture(scope="module")
def val(folder: Path) -> FrameSet:
    return frame_set(folder, 32, seed=2)


@pytest.fixture(scope="module")
def initial(folder: Path, train: FrameSet, val: FrameSet) -> Path:
    """Weights to start from: one epoch on the same frames, from nothing."""
    parameters = changed(SMALL, weights="none", fine_tune_epochs=1, augment=False)
    result = run_training(parameters, train, val, class_weights={}, weights_file=None, work_dir=folder / "initial")
    assert [figures.phase for figures in result.curves] == ["fine_tune"]  # a frozen random backbone teaches nothing
    assert result.trained_weights == result.total_weights - moving_statistics(result)  # whatever fine_tune_layers says
    return result.model_path


@pytest.fixture(scope="module")
def uninterrupted(folder: Path, train: FrameSet, val: FrameSet, initial: Path) -> TrainResult:
    return run_training(SMALL, train, val, class_weights={}, weights_file=initial, work_dir=folder / "whole")


def changed(parameters: TrainParameters, **values: object) -> TrainParameters:
    return TrainParameters(**{**parameters.model_dump(), **values})


def moving_statistics(result: TrainResult) -> int:
    model = load_source(result.model_path)
    return sum(int(np.prod(weight.shape)) for weight in model.weights if "moving" in weight.path)


def learned(curves: tuple[EpochFigures, ...]) -> list[dict[str, object]]:
    """Curves without their times."""
    return [figures.model_dump(exclude={"seconds"}) for figures in curves]


def stop_after(count: int):  # type: ignore[no-untyped-def]
    """A progress receiver that ends the training at the first batch after `count` frames."""

    def progress(done: int, total: int, unit: str) -> None:
        if unit == "frames" and done > count:
            raise Killed

    return progress


def test_the_head_trains_first_then_the_top_layers(uninterrupted: TrainResult) -> None:
    assert [(f.phase, f.epoch) for f in uninterrupted.curves] == [
        ("head", 1),
        ("head", 2),
        ("fine_tune", 1),
        ("fine_tune", 2),
    ]
    assert [f.learning_rate for f in uninterrupted.curves] == pytest.approx([1e-3] * 4)
    assert 0 < uninterrupted.trained_weights < uninterrupted.total_weights
    assert uninterrupted.curves[-1].loss < uninterrupted.curves[0].loss


def test_the_model_has_the_weights_of_the_best_epoch(uninterrupted: TrainResult, val: FrameSet) -> None:
    best = min(uninterrupted.curves, key=lambda figures: figures.val_loss)
    model = load_source(uninterrupted.model_path)
    model.compile(loss="binary_crossentropy", metrics=["accuracy"])
    loss, accuracy = model.evaluate(eval_batches(val, SMALL), verbose=0)
    assert loss == pytest.approx(best.val_loss, rel=1e-3)
    assert accuracy == pytest.approx(best.val_accuracy)
    assert uninterrupted.val_accuracy == best.val_accuracy


def test_a_training_stopped_in_the_head_phase_goes_on_to_the_same_curves(
    tmp_path: Path, train: FrameSet, val: FrameSet, initial: Path, uninterrupted: TrainResult
) -> None:
    arguments = {"class_weights": {}, "weights_file": initial, "work_dir": tmp_path / "work"}
    with pytest.raises(Killed):
        run_training(SMALL, train, val, **arguments, progress=stop_after(96 + 32))  # inside the second epoch
    first: list[tuple[int, int, str]] = []
    result = run_training(SMALL, train, val, **arguments, progress=lambda *seen: first.append(seen))
    assert learned(result.curves) == learned(uninterrupted.curves)
    assert first[0] == (96 + 16, 4 * 96, "frames")  # the first epoch was not done again
    assert first[-1] == (4 * 96, 4 * 96, "frames")


def test_a_killed_process_leaves_a_state_from_which_fine_tuning_goes_on_to_the_same_curves(
    tmp_path: Path, train: FrameSet, val: FrameSet, initial: Path
) -> None:
    parameters = changed(
        SMALL, head_feature_variants=1, head_epochs=1, schedule="cosine", warmup_epochs=0.5, weight_decay=0.01
    )
    whole = run_training(parameters, train, val, class_weights={}, weights_file=initial, work_dir=tmp_path / "whole")
    rates = [figures.learning_rate for figures in whole.curves if figures.phase == "fine_tune"]
    assert 0 < rates[0] < 1e-3
    assert rates[1] == pytest.approx(0, abs=1e-9)

    work_dir = tmp_path / "killed"
    program = f"""
import sys
from pathlib import Path
from tasks.parameters import TrainParameters
from tasks.train import run_training
from tests.tasks.generated_frames import frame_set
folder = Path({str(tmp_path)!r})
run_training(
    TrainParameters.model_validate_json(sys.argv[1]), frame_set(folder, 96, seed=1), frame_set(folder, 32, seed=2),
    class_weights={{}}, weights_file=Path({str(initial)!r}), work_dir=Path({str(work_dir)!r}),
)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, parameters.model_dump_json()], cwd=PROJECT, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and process.poll() is None:
            found = load_state(work_dir)
            if found and found[0].phase == "fine_tune":
                break
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL  # it had not come to its end by itself
    found = load_state(work_dir)
    assert found is not None
    assert found[0].epoch == 1
    resumed = run_training(parameters, train, val, class_weights={}, weights_file=initial, work_dir=work_dir)
    assert learned(resumed.curves) == learned(whole.curves)


def test_a_head_on_cached_features_leaves_the_backbone_alone_and_resumes(
    tmp_path: Path, train: FrameSet, val: FrameSet, initial: Path
) -> None:
    cached = changed(SMALL, augment=False, fine_tune_epochs=0, dropout=0.0)
    by_features = run_training(cached, train, val, class_weights={}, weights_file=initial, work_dir=tmp_path / "a")
    # An augmentation that changes nothing cannot be asked for, so one variant stands against a resumed run of the same.
    with pytest.raises(Killed):
        run_training(
            cached,
            train,
            val,
            class_weights={},
            weights_file=initial,
            work_dir=tmp_path / "b",
            progress=stop_after(112),
        )
    resumed = run_training(cached, train, val, class_weights={}, weights_file=initial, work_dir=tmp_path / "b")
    assert learned(resumed.curves) == learned(by_features.curves)
    assert [figures.phase for figures in by_features.curves] == ["head", "head"]
    model, start = load_source(by_features.model_path), load_source(initial)
    np.testing.assert_array_equal(model.get_layer("Conv1").get_weights()[0], start.get_layer("Conv1").get_weights()[0])
    assert not np.array_equal(model.get_layer("head").get_weights()[0], start.get_layer("head").get_weights()[0])


def test_fine_tuning_that_only_harms_leaves_the_heads_result(
    tmp_path: Path, train: FrameSet, val: FrameSet, initial: Path
) -> None:
    parameters = changed(
        SMALL, head_feature_variants=1, fine_tune_epochs=1, fine_tune_learning_rate=1.0, fine_tune_layers=3
    )
    result = run_training(parameters, train, val, class_weights={}, weights_file=initial, work_dir=tmp_path)
    head = [figures for figures in result.curves if figures.phase == "head"]
    assert result.curves[-1].val_loss > min(figures.val_loss for figures in head)  # the harm was real
    model, start = load_source(result.model_path), load_source(initial)
    np.testing.assert_array_equal(
        model.get_layer("Conv_1").get_weights()[0], start.get_layer("Conv_1").get_weights()[0]
    )


def test_losses_that_are_no_numbers_end_the_training_by_name(
    tmp_path: Path, train: FrameSet, val: FrameSet, initial: Path
) -> None:
    parameters = changed(SMALL, augment=False)
    arguments = {"class_weights": {"person": np.inf}, "weights_file": initial, "work_dir": tmp_path}
    with pytest.raises(TrainingDiverged, match=r"head epoch 1(.|\n)*lower"):
        run_training(parameters, train, val, **arguments)
    assert load_state(tmp_path) is None  # nothing to resume from


def test_frames_or_parameters_that_cannot_train_are_refused(
    tmp_path: Path, train: FrameSet, val: FrameSet, initial: Path
) -> None:
    arguments = {"class_weights": {}, "weights_file": initial, "work_dir": tmp_path}
    persons = train.take(np.flatnonzero(train.labels == 1))
    with pytest.raises(TrainingImpossible, match="split train has 48 frames and of them none labelled no_person"):
        run_training(SMALL, persons, val, **arguments)
    with pytest.raises(TrainingImpossible, match="split val has 0 frames"):
        run_training(SMALL, train, val.take(np.array([], int)), **arguments)
    with pytest.raises(TrainingImpossible, match="no epoch"):
        run_training(changed(SMALL, head_epochs=0, fine_tune_epochs=0), train, val, **arguments)
    with pytest.raises(TrainingImpossible, match="weights none"):
        run_training(changed(SMALL, weights="none", fine_tune_epochs=0), train, val, **arguments)


def test_a_work_folder_serves_one_process_at_a_time(
    tmp_path: Path, train: FrameSet, val: FrameSet, initial: Path
) -> None:
    arguments = {"class_weights": {}, "weights_file": initial, "work_dir": tmp_path}
    with claimed(tmp_path), pytest.raises(AlreadyTraining, match="another process"):
        run_training(SMALL, train, val, **arguments)


def test_a_state_that_cannot_be_read_is_refused_with_the_folder_to_delete(
    tmp_path: Path, train: FrameSet, val: FrameSet, initial: Path
) -> None:
    (tmp_path / "state.npz").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(StateUnreadable, match=f"delete {tmp_path}"):
        run_training(SMALL, train, val, class_weights={}, weights_file=initial, work_dir=tmp_path)


def dataset() -> DatasetVersion:
    return DatasetVersion(
        rows="a" * 64,
        parameters=DatasetParameters(),
        parent=None,
        index_revision=1,
        manifest="b" * 64,
        shards=("c" * 64,),
        counts={"train": {"person": 48, "no_person": 48}},
        sessions={"train": 24},
        devices={"cam-a": {"person": 24, "no_person": 24}},
        left_out={},
        class_weights={"person": 1.0, "no_person": 1.0},
    )


def test_a_model_is_trained_once_and_found_the_second_time(
    store: Store, train: FrameSet, val: FrameSet, initial: Path
) -> None:
    parameters = changed(SMALL, weights=str(initial), fine_tune_epochs=0, head_feature_variants=1)

    def no_work(done: int, total: int, unit: str) -> None:
        raise AssertionError("trained again")

    record = train_model(store, dataset(), parameters, train=train, val=val)
    again = train_model(store, dataset(), parameters, train=train, val=val, progress=no_work)
    assert again == record
    assert store.get_record(record.key, TrainedModel) == record
    assert record.dataset == dataset().digest
    assert record.initial_weights == load_digest(initial)
    assert [figures.phase for figures in record.curves] == ["head", "head"]
    model = load_source(store.blob_path(record.model))
    assert model.input_shape == (None, 48, 64, 1)
    assert not list((store.where.data_dir / "training").glob("*"))  # nothing is left behind
    assert isinstance(json.loads(store.get(record.key))["val_accuracy"], float)


def test_another_parameter_is_another_model(store: Store, train: FrameSet, val: FrameSet) -> None:
    digests = {
        TrainedModel.digest_for(dataset="d", parameters=p, initial_weights="none", code_version="c")
        for p in (SMALL, changed(SMALL, seed=1), changed(SMALL, schedule="cosine"))
    }
    assert len(digests) == 3
    with pytest.raises(WeightsUnusable, match="no initial weights"):
        train_model(store, dataset(), changed(SMALL, weights="weights/none.keras"), train=train, val=val)


def load_digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()
