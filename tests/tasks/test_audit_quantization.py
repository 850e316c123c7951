"""The audit's rules on numbers: degenerate scales, bad quantization parameters, scales that do not go together.

Models are built by hand, each breaks one rule. Which scales really stop TFLM is tried in test_audit_tflm.py.
"""

import pytest

from tasks.flatbuffer import audit
from tests.tasks.hand_built_models import SHAPE, Op, T, build, clean_conv, options
from tests.tasks.test_audit import one


@pytest.mark.parametrize("scale", [0.0, -0.1, float("nan"), float("inf"), 1e-8, 1e9])
def test_a_degenerate_activation_scale_is_refused(scale: float) -> None:
    result = audit(clean_conv(y=T((1, 4, 4, 3), scale=scale, name="y")))
    one(result, "degenerate_scale")
    assert (result.offenders[0].op, result.offenders[0].tensor) == ("CONV_2D", "y")


@pytest.mark.parametrize("scale", [0.0, float("nan"), -1.0])
def test_one_degenerate_channel_of_the_weights_is_refused(scale: float) -> None:
    scales = [0.01, scale, 0.03]
    assert one(audit(clean_conv(w=T((3, 1, 1, 2), scale=scales, zero_point=[0] * 3, data=1))), "degenerate_scale")


def test_a_dead_channel_with_a_tiny_weight_scale_is_harmless() -> None:
    assert audit(clean_conv(w=T((3, 1, 1, 2), scale=[0.01, 1e-12, 0.03], zero_point=[0] * 3, data=1))).clean


def test_an_addition_into_a_far_finer_scale_is_refused_as_it_aborts() -> None:
    tensors = [T(SHAPE, scale=1.0), T(SHAPE, scale=1.0), T(SHAPE, scale=1e-6, name="y")]
    result = audit(build(tensors, [Op("ADD", (0, 1), (2,), options("AddOptions"))], (0, 1), (2,)))
    assert "aborts" in one(result, "degenerate_scale")


def test_a_comparison_of_scales_above_one_is_refused_as_it_aborts() -> None:
    tensors = [T(SHAPE, scale=1.5), T(SHAPE, scale=0.5), T(SHAPE, "bool", None)]
    assert "aborts" in one(audit(build(tensors, [Op("LESS", (0, 1), (2,))], (0, 1), (2,))), "degenerate_scale")


WEIGHTS = {"shape": (3, 1, 1, 2), "data": 1}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"x": T(SHAPE, zero_point=200)}, "outside int8"),
        ({"x": T(SHAPE, scale=[0.1, 0.2], zero_point=[0, 0], dimension=3)}, "first one only"),
        ({"w": T(**WEIGHTS, scale=[0.1] * 3, zero_point=[0, 1, 0])}, "zero point other than 0"),
        ({"w": T(**WEIGHTS, scale=[0.1] * 2, zero_point=[0] * 2, dimension=3)}, "along dimension 3, CONV_2D needs 0"),
        ({"w": T(**WEIGHTS, scale=[0.1] * 2, zero_point=[0] * 2)}, "2 scales along dimension 0"),
        ({"w": T(**WEIGHTS, scale=[0.1] * 3, zero_point=[0] * 3, dimension=9)}, "along dimension 9"),
        ({"w": T(**WEIGHTS, scale=[0.1] * 3, zero_point=[0] * 2)}, "2 zero points for 3 scales"),
        ({"y": T((1, 4, 4, 3), scale=None)}, "without a scale"),
        ({"y": T((1, 4, 4, 3), scale=0.1, zero_point=[])}, "without a zero point"),
    ],
)
def test_bad_quantization_parameters_are_refused(changes: dict[str, T], word: str) -> None:
    assert word in one(audit(clean_conv(**changes)), "bad_quantization")


def test_a_bias_scale_that_is_not_input_times_weights_is_refused_as_the_kernel_does() -> None:
    def dense(bias_scale: float) -> bytes:
        tensors = [T((1, 2)), T((4, 2), scale=0.1, data=1), T((4,), "int32", bias_scale, data=1), T((1, 4))]
        return build(tensors, [Op("FULLY_CONNECTED", (0, 1, 2), (3,), options("FullyConnectedOptions"))], (0,), (3,))

    assert audit(dense(0.005)).clean
    assert "bias scale" in one(audit(dense(0.5)), "bad_quantization")


def test_a_concatenation_of_different_scales_is_refused() -> None:
    tensors = [T(SHAPE), T(SHAPE, scale=0.07, name="odd"), T((1, 4, 4, 4))]
    result = audit(build(tensors, [Op("CONCATENATION", (0, 1), (2,), options("ConcatenationOptions"))], (0, 1), (2,)))
    assert "does not rescale" in one(result, "bad_quantization")
    assert result.offenders[0].tensor == "odd"


def test_a_softmax_with_another_output_scale_is_refused() -> None:
    tensors = [T((1, 4)), T((1, 4), scale=0.01, zero_point=-128)]
    assert "SOFTMAX needs" in one(
        audit(build(tensors, [Op("SOFTMAX", (0,), (1,), options("SoftmaxOptions", beta=1.0))], (0,), (1,))),
        "bad_quantization",
    )
