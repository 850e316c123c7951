"""Conversion to full INT8: calibration set, operators, input and output, the record.

Covers tasks/quantize.py on small models with TensorFlow's real converter, the real audit (tasks/flatbuffer.py, tested
on its own) and the test S3 server. Scores come from LiteRT and are compared loosely: bits are evaluate's subject.
"""

from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tasks import flatbuffer
from tasks.batches import FrameSet, resized
from tasks.lineage import Int8Model, TrainedModel
from tasks.model import build_model
from tasks.parameters import QuantizeParameters, TrainParameters
from tasks.quantize import ConversionFailed, calibration_choice, convert, convert_fp32, quantize
from tasks.store import Store
from tests.tasks.generated_frames import adapt_statistics, frame_set

SMALL = TrainParameters(alpha=0.35, width=64, height=48, weights="none")
OPERATORS = {
    "CONV_2D": 36,
    "DEPTHWISE_CONV_2D": 17,
    "ADD": 11,
    "MUL": 1,
    "AVERAGE_POOL_2D": 1,
    "LOGISTIC": 1,
    "RESHAPE": 1,
}


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> FrameSet:
    return frame_set(tmp_path_factory.mktemp("frames"), 120)


@pytest.fixture(scope="module")
def pixels(frames: FrameSet) -> np.ndarray:
    return resized(frames.gather(), 48, 64)


@pytest.fixture(scope="module")
def model(pixels: np.ndarray) -> keras.Model:
    """Random weights whose batch norms have seen frames, as after training: activations have sensible ranges."""
    keras.utils.set_random_seed(0)
    return adapt_statistics(build_model(SMALL), pixels[:32, ..., None].astype(np.float32))


def few_layers(activation: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    frame = keras.Input((48, 64, 1), name="frame")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(frame)
    x = keras.layers.Conv2D(8, 3, strides=4, activation=activation)(x)
    x = keras.layers.AveragePooling2D(x.shape[1:3])(x)
    x = keras.layers.Conv2D(1, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=4))(x)
    x = keras.layers.Reshape((1,))(x)
    return keras.Model(frame, keras.layers.Activation("sigmoid")(x))


@pytest.fixture(scope="module")
def int8(model: keras.Model, pixels: np.ndarray) -> bytes:
    return convert(model, pixels[:16])


def scores(data: bytes, pixels: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = out["quantization"]
    found = []
    for frame in pixels:
        # What the device does with a camera byte: x ^ 0x80 for int8, nothing for uint8.
        value = (frame ^ 0x80).view(np.int8) if into["dtype"] == np.int8 else frame
        interpreter.set_tensor(into["index"], value.astype(into["dtype"])[None, ..., None])
        interpreter.invoke()
        raw = interpreter.get_tensor(out["index"]).reshape(-1)[0]
        found.append((float(raw) - zero) * scale if scale else float(raw))
    return np.array(found)


def test_only_the_operators_with_device_kernels_are_left(int8: bytes) -> None:
    audit = flatbuffer.audit(int8)
    assert audit.ops == OPERATORS
    assert audit.offenders == ()


def test_a_camera_byte_becomes_a_model_byte_by_flipping_its_top_bit(int8: bytes, model: keras.Model) -> None:
    narrow = np.full((4, 48, 64), 90, np.uint8)  # calibration frames that come nowhere near 0 and 255
    for data in (int8, convert(model, narrow)):
        facts = flatbuffer.audit(data).facts.inputs[0]
        assert (facts.dtype, facts.scale, facts.zero_point) == ("int8", 1.0, -128)
        assert facts.shape == (1, 48, 64, 1)


def test_the_score_is_an_int8_in_steps_of_a_256th(int8: bytes) -> None:
    facts = flatbuffer.audit(int8).facts.outputs[0]
    assert (facts.dtype, facts.scale, facts.zero_point, facts.shape) == ("int8", 1 / 256, -128, (1, 1))


def test_uint8_frames_go_in_as_they_are_where_asked_for(model: keras.Model, pixels: np.ndarray, int8: bytes) -> None:
    data = convert(model, pixels[:16], "uint8")
    audit = flatbuffer.audit(data)
    assert audit.clean
    assert (audit.facts.inputs[0].dtype, audit.facts.inputs[0].zero_point) == ("uint8", 0)
    assert audit.facts.outputs[0].dtype == "uint8"
    np.testing.assert_allclose(scores(data, pixels[:8]), scores(int8, pixels[:8]), atol=1e-6)


def test_int8_scores_follow_the_float_models(pixels: np.ndarray) -> None:
    # Few layers on purpose: 52 untrained ones amplify rounding, which trained ones do not.
    shallow = few_layers("relu")
    wanted = shallow.predict(pixels[..., None].astype(np.float32), verbose=0)[:, 0]
    found = scores(convert(shallow, pixels[:32]), pixels)
    assert wanted.std() > 0.02  # there is something to follow
    assert np.abs(found - wanted).max() < 0.02


def test_the_same_model_and_frames_convert_to_the_same_bytes(
    model: keras.Model, int8: bytes, pixels: np.ndarray
) -> None:
    assert convert(model, pixels[:16]) == int8


def test_the_file_is_well_under_half_of_the_float_one(model: keras.Model, int8: bytes) -> None:
    fp32 = convert_fp32(model)
    assert len(int8) <= 0.45 * len(fp32)
    assert flatbuffer.inspect(fp32).inputs[0].dtype == "float32"


def test_progress_counts_the_calibration_frames(pixels: np.ndarray) -> None:
    seen: list[tuple[int, int, str]] = []
    convert(few_layers("relu"), pixels[:5], progress=lambda *what: seen.append(what))
    assert seen[-1] == (5, 5, "calibration frames")


def test_calibration_frames_are_balanced_over_classes_and_devices(tmp_path: Path) -> None:
    frames = frame_set(tmp_path, 120, devices=("a", "a", "a", "a", "b"))
    chosen = calibration_choice(frames, 20, seed=0)
    assert len(set(chosen)) == 20
    assert frames.labels[chosen].tolist() == [0, 1] * 10
    assert sorted(frames.devices[i] for i in chosen) == ["a"] * 10 + ["b"] * 10


def test_the_choice_depends_on_seed_and_frames_but_not_on_their_order(frames: FrameSet) -> None:
    shuffled = frames.take(np.random.default_rng(0).permutation(len(frames)))
    names = [frames.pixels_sha256[i] for i in calibration_choice(frames, 16, seed=0)]
    assert [shuffled.pixels_sha256[i] for i in calibration_choice(shuffled, 16, seed=0)] == names
    assert [frames.pixels_sha256[i] for i in calibration_choice(frames, 16, seed=1)] != names


def test_a_small_or_lopsided_set_gives_what_it_has_and_stays_balanced(frames: FrameSet) -> None:
    few = frames.take(np.array([0, 2, 4, 6, 8, 1, 3]))  # five without a person, two with
    assert few.labels[calibration_choice(few, 256, seed=0)].tolist() == [0, 1, 0, 1]
    with pytest.raises(ConversionFailed, match="none of the 60 train frames is labelled no_person"):
        calibration_choice(frames.take(np.flatnonzero(frames.labels == 1)), 16, seed=0)


def trained(store: Store, model: keras.Model, folder: Path) -> TrainedModel:
    model.save(folder / "model.keras")
    return TrainedModel(
        dataset="d" * 64,
        parameters=SMALL,
        initial_weights="none",
        code_version="c" * 64,
        model=store.put_blob((folder / "model.keras").read_bytes()),
        curves=(),
        val_accuracy=0.5,
        total_weights=model.count_params(),
        trained_weights=model.count_params(),
        seconds=1.0,
    )


def test_a_model_is_converted_once_and_found_the_second_time(
    store: Store, model: keras.Model, frames: FrameSet, tmp_path: Path
) -> None:
    parent, parameters = trained(store, model, tmp_path), QuantizeParameters(calibration_frames=16)

    def no_work(done: int, total: int, unit: str) -> None:
        raise AssertionError("converted again")

    record = quantize(store, parent, frames, parameters)
    assert quantize(store, parent, frames, parameters, progress=no_work) == record
    assert store.get_record(record.key, Int8Model) == record
    assert record.clean
    assert record.ops == OPERATORS
    assert record.size_bytes == len(store.get_blob(record.tflite))
    assert record.fp32_size_bytes == len(store.get_blob(record.fp32_tflite))
    assert record.activation_peak_bytes > 48 * 64
    assert record.macs > 0
    position = {name: index for index, name in enumerate(frames.pixels_sha256)}
    assert frames.labels[[position[name] for name in record.calibration]].tolist() == [0, 1] * 8


def test_a_model_with_a_float_operator_inside_is_recorded_as_unfit_not_raised(
    store: Store, frames: FrameSet, tmp_path: Path
) -> None:
    odd = few_layers("elu")  # has no INT8 kernel
    record = quantize(store, trained(store, odd, tmp_path), frames, QuantizeParameters(calibration_frames=16))
    assert not record.clean
    assert "ELU" in {offender.op for offender in record.offenders}


def test_a_model_whose_statistics_never_adapted_is_recorded_as_unfit_not_raised(
    store: Store, frames: FrameSet, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(0)
    fresh = trained(store, build_model(SMALL), tmp_path)
    record = quantize(store, fresh, frames, QuantizeParameters(calibration_frames=16))
    assert not record.clean
    assert {offender.kind for offender in record.offenders} == {"degenerate_scale"}
