"""The evaluation from records and blobs in a real bucket to the stored report, with real interpreters.

The INT8 model is made by hand (brightness_models.py) and the Keras model computes the same, so that every score is
known beforehand. Conversion is not touched.
"""

import io
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from tasks.batches import FrameSet
from tasks.evaluate import ModelsDoNotBelongTogether, NothingToEvaluate, UncleanModel, evaluate, slices
from tasks.layer_error import LayersNotComparable
from tasks.lineage import DatasetVersion, Int8Model, Report, TrainedModel
from tasks.parameters import EvaluateParameters
from tasks.store import Store
from tests.tasks.brightness_models import SLOPE, brightness_model
from tests.tasks.float_twin import float_twin
from tests.tasks.records import NOTHING, OFFENDER, dataset_version, int8_model, trained_model
from tests.tasks.residual_model import residual_model


@pytest.fixture(scope="session")
def brightness_keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Keras model that computes what `brightness_model()` does."""
    import keras

    model = keras.Sequential(
        [
            keras.Input((120, 160, 1)),
            keras.layers.AveragePooling2D((120, 160)),
            keras.layers.Conv2D(1, 1, activation="sigmoid"),
            keras.layers.Flatten(),
        ]
    )
    model.layers[1].set_weights([np.full((1, 1, 1, 1), SLOPE, np.float32), np.array([-128 * SLOPE], np.float32)])
    path = tmp_path_factory.mktemp("keras") / "brightness.keras"
    model.save(path)
    return path


def frame_set(folder: Path, pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> FrameSet:
    """Frames in two shards, devices in turn `dark` (no_person only), `bright` (person only) and `both`."""
    half = len(pixels) // 2
    shards = (folder / ("a" * 64), folder / ("b" * 64))
    for path, part in zip(shards, (pixels[:half], pixels[half:]), strict=True):
        with path.open("wb") as file:
            np.save(file, part)
    rows = np.concatenate([np.arange(half), np.arange(len(pixels) - half)]).astype(np.int32)
    return FrameSet(
        shards,
        (np.arange(len(pixels)) >= half).astype(np.int32),
        rows,
        labels,
        [f"{i:064x}" for i in range(len(pixels))],
        [f"frames/{i}.png" for i in range(len(pixels))],
        ["both" if i % 3 == 0 else ("dark", "bright")[int(labels[i])] for i in range(len(pixels))],
        [f"s{i // 2}" for i in range(len(pixels))],
    )


def flat(level: float) -> NDArray[np.uint8]:
    """A frame whose mean gray level is `level`, in steps of a quarter."""
    frame = np.full((120, 160), int(level), np.uint8)
    frame[: round(120 * (level % 1))] += 1
    return frame


@pytest.fixture
def test_frames(tmp_path: Path) -> FrameSet:
    """40 frames: 127.75 is just no_person to FP32, and rounds to 128, person, in INT8: two flips."""
    levels = [60, 200] * 18 + [127.75, 127.75, 128, 127]
    labels = [0, 1] * 18 + [0, 1, 1, 0]
    return frame_set(tmp_path, np.stack([flat(level) for level in levels]), np.array(labels, np.uint8))


def records(store: Store, keras_file: Path) -> tuple[Int8Model, TrainedModel, DatasetVersion]:
    dataset = dataset_version()
    trained = trained_model(dataset, store.put_blob(keras_file.read_bytes()))
    int8 = int8_model(trained, store.put_blob(brightness_model()))
    fp32 = store.put_blob(brightness_model(dtype="float32"))
    return int8.model_copy(update={"fp32_tflite": fp32}), trained, dataset


def test_the_report_holds_both_models_on_the_same_frames_and_is_found_again(
    store: Store, brightness_keras: Path, test_frames: FrameSet
) -> None:
    int8, trained, dataset = records(store, brightness_keras)
    seen: list[tuple[int, int]] = []
    parameters = EvaluateParameters(workers=2)
    report = evaluate(
        store, int8, trained, dataset, test_frames, parameters, lambda done, total, _: seen.append((done, total))
    )
    # FP32 misses the person at 127.75; INT8 gets that one right and takes the no_person at 127.75 for a person.
    assert report.fp32.confusion == ((20, 0), (1, 19))
    assert report.quantized.confusion == ((19, 1), (0, 20))
    loss = report.degradation
    assert (loss.lost, loss.gained, loss.frames, loss.sessions) == (1, 1, 40, 20)
    assert loss.method == "session_bootstrap"
    assert 0 == loss.point < loss.bound
    assert "40 frames" not in report.kernels
    assert "32 frames compared byte for byte with TFLite's reference kernels" in report.kernels
    assert seen[-1] == (96, 96)  # both models, and 16 frames for the layers
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)

    assert store.get_record(report.key, Report) == report
    rows = pq.read_table(io.BytesIO(store.get_blob(report.scores))).to_pylist()
    assert [row["key"] for row in rows] == list(test_frames.keys)
    assert [row["label"] for row in rows] == [("no_person", "person")[label] for label in test_frames.labels]
    assert rows[36]["fp32_score"] == pytest.approx(1 / (1 + np.exp(SLOPE / 4)), abs=1e-6)
    assert rows[36]["int8_score"] == 0.5
    assert (rows[39]["shard"], rows[39]["row"], rows[39]["session"]) == ("b" * 64, 19, "s19")

    found = {part.name: part for part in report.slices}
    assert list(found) == ["both", "bright", "dark"]
    assert found["dark"].int8.auc is None
    assert found["dark"].int8.recall is None
    assert found["both"].int8.auc is not None
    assert sum(part.samples for part in report.slices) == 40

    assert [(layer.operator, layer.op, layer.name) for layer in report.layers] == [
        (0, "AVERAGE_POOL_2D", "pooled"),
        (1, "CONV_2D", "logits"),
        (2, "LOGISTIC", "output"),
    ]
    assert report.layers_left_out == 0
    assert all(20 < layer.own_snr_db <= 120 for layer in report.layers)

    started = time.monotonic()
    again = evaluate(store, int8, trained, dataset, test_frames, parameters)
    assert again == report  # with the seconds of the first run: nothing was computed
    assert time.monotonic() - started < report.seconds


def test_without_layer_frames_there_are_no_layers_and_the_fp32_file_is_not_read(
    store: Store, brightness_keras: Path, test_frames: FrameSet
) -> None:
    int8, trained, dataset = records(store, brightness_keras)
    int8 = int8.model_copy(update={"fp32_tflite": NOTHING})  # no such blob
    report = evaluate(store, int8, trained, dataset, test_frames, EvaluateParameters(layer_frames=0))
    assert (report.layers, report.layers_left_out) == ((), 0)


def test_layers_that_cannot_be_compared_fail_the_evaluation_and_leave_no_report(
    store: Store, brightness_keras: Path, test_frames: FrameSet
) -> None:
    int8, trained, dataset = records(store, brightness_keras)
    int8 = int8.model_copy(update={"fp32_tflite": store.put_blob(float_twin(residual_model()))})
    with pytest.raises(LayersNotComparable, match=f"INT8 model {int8.digest[:12]}: none of its 3 operators"):
        evaluate(store, int8, trained, dataset, test_frames, EvaluateParameters())
    assert list(store.list("models/reports/")) == []


def test_an_unclean_model_is_not_run(store: Store, test_frames: FrameSet) -> None:
    dataset = dataset_version()
    trained = trained_model(dataset)
    unclean = int8_model(trained, store.put_blob(brightness_model(sum_scale=1e-12)), offenders=(OFFENDER,))
    with pytest.raises(UncleanModel, match="float_op"):
        evaluate(store, unclean, trained, dataset, test_frames, EvaluateParameters())


def test_records_of_different_lines_are_refused(store: Store, test_frames: FrameSet) -> None:
    dataset = dataset_version()
    trained = trained_model(dataset)
    other = TrainedModel.model_validate({**trained.model_dump(), "digest": "", "code_version": "another"})
    with pytest.raises(ModelsDoNotBelongTogether):
        evaluate(store, int8_model(trained), other, dataset, test_frames, EvaluateParameters())


def test_an_empty_split_is_refused(store: Store, test_frames: FrameSet) -> None:
    dataset = dataset_version()
    trained = trained_model(dataset)
    nothing = test_frames.take(np.array([], np.int64))
    with pytest.raises(NothingToEvaluate):
        evaluate(store, int8_model(trained), trained, dataset, nothing, EvaluateParameters())


def test_slices_are_by_device_and_in_name_order() -> None:
    labels = np.array([0, 1, 0, 1], np.uint8)
    scores = np.array([0.1, 0.9, 0.8, 0.2])
    found = slices(labels, scores, 1 - scores, ["b", "b", "a", "a"], ["s", "s", "s", "t"], 0.5)
    assert [(part.name, part.samples, part.sessions) for part in found] == [("a", 2, 2), ("b", 2, 1)]
    assert (found[0].fp32.accuracy, found[0].int8.accuracy) == (0.0, 1.0)
    assert (found[1].fp32.auc, found[1].int8.auc) == (1.0, 0.0)
