"""The fault that tests make on purpose (clipped_model.py): what it changes, and what stays as it must.

That the layer analysis finds it is in test_layer_error.
"""

from itertools import combinations

import numpy as np
import pytest

from tasks.flatbuffer import audit
from tasks.layer_error import layer_errors
from tasks.tflite_file import read_model
from tests.tasks.clipped_model import clip_activations, clippable
from tests.tasks.float_twin import float_twin
from tests.tasks.hand_built_models import CONV, Op, T, build
from tests.tasks.residual_model import INPUT, inputs, on_reference, on_tflm, residual_model


@pytest.fixture(scope="module")
def model() -> bytes:
    return residual_model()


def test_a_clipped_model_is_clean_and_gives_the_same_bytes_on_both_kernels(model: bytes) -> None:
    for tensors in combinations(clippable(model), 2):
        clipped = clip_activations(model, tensors)
        assert audit(clipped).clean
        for values in inputs(INPUT, 2):
            np.testing.assert_array_equal(on_tflm(clipped, values), on_reference(clipped, values))


def test_clipping_changes_scales_and_what_hangs_on_them_but_no_real_value(model: bytes) -> None:
    chosen = clippable(model)[1]
    before, after = (read_model(data).subgraphs[0].tensors for data in (model, clip_activations(model, [chosen], 8)))
    twins = [float_twin(data) for data in (model, clip_activations(model, [chosen], 8))]
    assert twins[0] == twins[1]  # biases as well
    touched = [i for i, tensor in enumerate(before) if not np.array_equal(tensor.scales, after[i].scales)]
    assert len(touched) == 2  # the activation, and the bias of the convolution that reads it
    assert after[chosen].scales[0] == before[chosen].scales[0] / 8
    assert after[chosen].zero_points[0] == before[chosen].zero_points[0]


def test_only_what_convolutions_write_and_convolutions_or_add_read_can_be_clipped(model: bytes) -> None:
    graph = read_model(model).subgraphs[0]
    assert clippable(model) == [graph.operators[i].outputs[0] for i in (0, 1, 2)]  # 4 and 5 go into a CONCATENATION
    with pytest.raises(ValueError, match="not among those that can be clipped"):
        clip_activations(model, [0])
    with pytest.raises(ValueError, match="4 tensors to clip; the model has 3"):
        clip_activations(model, 4)


def test_a_bias_that_two_convolutions_share_stays_right_for_both() -> None:
    tensors = [
        T(INPUT, "int8", 1.0, -128, name="frame"),
        T((1, 1, 1, 1), scale=0.01, data=100, name="w"),
        T((1,), "int32", 0.01, data=300, name="b"),
        *(T(INPUT, scale=1.0, zero_point=-128, name=name) for name in "xyz"),
    ]
    ops = [Op("CONV_2D", (i, 1, 2), (i + 3 if i == 0 else i + 1,), CONV) for i in (0, 3, 4)]
    model = build(tensors, ops, (0,), (5,))
    clipped = clip_activations(model, [3])
    graph = read_model(clipped).subgraphs[0]
    biases = [graph.tensors[op.inputs[2]] for op in graph.operators]
    assert [round(float(bias.scales[0]), 4) for bias in biases] == [0.01, 0.0025, 0.01]
    frames = np.random.default_rng(0).integers(0, 256, (2, 120, 160), np.uint8)
    layers, _ = layer_errors(float_twin(model), clipped, frames)
    assert [layer.own_snr_db < 20 for layer in layers] == [True, False, False]
