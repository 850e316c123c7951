"""The audit on what TensorFlow's converter really writes, right settings and wrong ones, for one small network.

Not covered: accuracy of any of these models; they are not trained.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.flatbuffer import Audit, audit
from tests.tasks.tflm_judge import judged


def convert(activation: Callable[[Any], Any] | str, *, full: bool = True, **settings: Any) -> bytes:
    """A .tflite of conv, activation, average pool, 1x1 conv, sigmoid; `full` with a calibration set and INT8 only."""
    import tensorflow as tf

    tf.keras.utils.set_random_seed(0)
    frame = tf.keras.Input(batch_shape=(1, 24, 32, 1))
    x = tf.keras.layers.Rescaling(1 / 127.5, offset=-1)(frame)
    x = tf.keras.layers.Conv2D(16, 3, strides=2, padding="same")(x)
    x = tf.keras.layers.Activation(activation)(x) if isinstance(activation, str) else activation(x)
    x = tf.keras.layers.DepthwiseConv2D(3, padding="same")(x)
    x = tf.keras.layers.AveragePooling2D((12, 16))(x)
    x = tf.keras.layers.Conv2D(1, 1, activation="sigmoid")(x)
    converter = tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(frame, x))
    if full:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = calibration
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    for name, value in settings.items():
        target = converter.target_spec if name.startswith("supported") else converter
        setattr(target, name, value)
    data: bytes = converter.convert()
    return data


def calibration() -> Iterator[list[np.ndarray]]:
    rng = np.random.default_rng(0)
    for _ in range(8):
        yield [rng.uniform(0, 255, (1, 24, 32, 1)).astype(np.float32)]


def kinds(result: Audit) -> set[str]:
    return {o.kind for o in result.offenders}


@pytest.fixture(scope="module")
def tf() -> Any:
    return pytest.importorskip("tensorflow")


@pytest.mark.parametrize("tflm", ["upstream", "registry"])
def test_a_full_integer_conversion_is_clean(tf: Any, tflm: str, tmp_path: Path) -> None:
    data = convert("relu6")
    result = audit(data, tflm=tflm)
    assert result.clean, result.offenders
    assert result.facts.inputs[0].dtype == "int8"
    assert judged({"model": data}, tmp_path) == {"model": 0}


def test_uint8_input_and_output_are_clean_upstream_only(tf: Any, tmp_path: Path) -> None:
    data = convert("relu6", inference_input_type=tf.uint8, inference_output_type=tf.uint8)
    assert audit(data).clean
    assert judged({"model": data}, tmp_path) == {"model": 0}
    old = audit(data, tflm="registry")
    assert [(o.kind, o.op) for o in old.offenders] == [("unsupported_op", "QUANTIZE")] * 2
    assert "int8 input" in old.offenders[0].fix


def test_a_float_model_a_half_float_model_and_a_dynamic_range_model_are_told_apart(tf: Any) -> None:
    plain = audit(convert("relu6", full=False))
    half = audit(convert("relu6", full=False, optimizations=[tf.lite.Optimize.DEFAULT], supported_types=[tf.float16]))
    assert {"float_io", "float_op"} == kinds(plain) == kinds(half)
    assert any("never quantized" in o.cause for o in plain.offenders)
    assert any("float16" in o.cause for o in half.offenders)


def test_default_input_and_output_types_leave_float_edges(tf: Any) -> None:
    result = audit(convert("relu6", inference_input_type=tf.float32, inference_output_type=tf.float32))
    assert [(o.kind, o.op) for o in result.offenders] == [
        ("float_io", ""),
        ("float_io", ""),
        ("float_edge", "QUANTIZE"),
        ("float_edge", "DEQUANTIZE"),
    ]


@pytest.mark.parametrize(("name", "op"), [("sin", "SIN"), ("elu", "ELU")])
def test_an_operator_that_the_converter_left_in_float_is_named(tf: Any, name: str, op: str) -> None:
    result = audit(convert("elu" if name == "elu" else tf.keras.layers.Lambda(tf.sin)))
    assert ("float_op", op) in {(o.kind, o.op) for o in result.offenders}
    assert {o.op for o in result.offenders if o.kind == "float_edge"} == {"DEQUANTIZE", "QUANTIZE"}


def test_gelu_and_softplus_convert_to_int8_and_are_refused_as_the_interpreter_does(tf: Any, tmp_path: Path) -> None:
    models = {"gelu": convert("gelu"), "softplus": convert("softplus"), "hard_swish": convert("hard_silu")}
    verdicts = judged(models, tmp_path)
    for name, data in models.items():
        result = audit(data)
        assert result.clean == (verdicts[name] == 0), (name, result.offenders)
        assert kinds(result) <= {"unsupported_op"}
    assert {o.op for o in audit(models["gelu"]).offenders} == {"GELU"}
    assert {o.op for o in audit(models["softplus"]).offenders} == {"EXP", "LOG"}


def test_a_flex_operator_is_named(tf: Any) -> None:
    everything = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    data = convert(tf.keras.layers.Lambda(tf.math.erf), full=False, supported_ops=everything)
    custom = [o for o in audit(data).offenders if o.kind == "custom_op"]
    assert [o.op for o in custom] == ["FlexErf"]
    assert "SELECT_TF_OPS" in custom[0].fix
