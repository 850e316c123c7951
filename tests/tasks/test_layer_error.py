"""The error of each layer: on hand-built models with their FP32 twins, and on a small MobileNetV2 really converted.

Interpreters run for real, in their processes. Not touched: which operator is matched with which (test_layer_match),
the stored report (test_evaluate), and the page (test_report_layers).
"""

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.flatbuffer import audit
from tasks.interpreters import WorkerAborted
from tasks.layer_error import (
    SNR_LIMIT,
    LayersNotComparable,
    layer_choice,
    layer_errors,
    layer_sentence,
    snr_db,
    worst_layers,
)
from tasks.layer_names import layer_names
from tasks.lineage import LayerError, Report
from tasks.tflite_file import read_model
from tests.tasks.brightness_models import brightness_model
from tests.tasks.clipped_model import clip_activations, clippable
from tests.tasks.float_twin import float_twin
from tests.tasks.hand_built_models import Op, T, build, changed
from tests.tasks.records import dataset_version, int8_model, report, trained_model
from tests.tasks.residual_model import INPUT, OPERATORS, residual_model

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 120, 160), np.uint8)


def worst(layers: tuple[LayerError, ...], n: int) -> list[int]:
    """Operators of the worst layers, worst first, as `worst_layers` has them."""
    dataset = dataset_version()
    found = report(int8_model(trained_model(dataset))).model_copy(update={"layers": layers})
    return [layer.operator for layer in worst_layers(found, n)]


def writers(model: bytes, tensors: list[int]) -> set[int]:
    return {op.index for op in read_model(model).subgraphs[0].operators if op.outputs[0] in tensors}


@pytest.fixture(scope="module")
def model() -> bytes:
    return residual_model()


@pytest.fixture(scope="module")
def twin(model: bytes) -> bytes:
    return float_twin(model)


# ---- figures


def test_a_sound_model_loses_little_in_every_layer(model: bytes, twin: bytes) -> None:
    layers, left_out = layer_errors(twin, model, FRAMES)
    assert left_out == 0
    assert tuple(layer.op for layer in layers) == OPERATORS
    assert [layer.operator for layer in layers] == list(range(len(OPERATORS)))
    by_op = {layer.op: layer for layer in layers}
    for op in ("CONCATENATION", "RESHAPE"):  # move values and compute none
        assert by_op[op].own_snr_db == SNR_LIMIT
        assert by_op[op].snr_db < 60
    for layer in layers:
        assert layer.op in ("CONCATENATION", "RESHAPE") or 35 < layer.own_snr_db < 60
        assert layer.saturated < 0.01
    assert layers[0].drop_db is None  # its input is the frame itself
    assert layers[0].snr_db == pytest.approx(layers[0].own_snr_db, abs=0.01)
    assert layers[3].drop_db == pytest.approx(min(layers[0].snr_db, layers[2].snr_db) - layers[3].snr_db)


def test_the_ratio_is_that_of_both_models_tensors(model: bytes, twin: bytes) -> None:
    layers, _ = layer_errors(twin, model, FRAMES[:1])
    exact, found = _tensors(twin, FRAMES[0], float), _tensors(model, FRAMES[0], lambda level: level ^ 0x80)
    graph = read_model(model).subgraphs[0]
    for layer in layers:
        tensor = graph.tensors[graph.operators[layer.operator].outputs[0]]
        real = (found[tensor.index].astype(float) - int(tensor.zero_points[0])) * float(tensor.scales[0])
        signal, noise = (exact[tensor.index] ** 2).sum(), ((real - exact[tensor.index]) ** 2).sum()
        assert layer.snr_db == pytest.approx(10 * np.log10(signal / noise), abs=0.01)


def _tensors(model: bytes, frame: np.ndarray, value: Callable[[np.ndarray], Any]) -> dict[int, np.ndarray]:
    from tasks.kernels import open_litert
    from tasks.resize import resized

    _, interpreter = open_litert(model, reference=True, keep=True)
    into = interpreter.get_input_details()[0]
    levels = resized(frame[None], *into["shape"][1:3])[..., None]
    fed = np.asarray(value(levels) if value is not float else levels)
    interpreter.set_tensor(into["index"], fed.view(into["dtype"]) if into["dtype"] == np.int8 else fed.astype("f4"))
    interpreter.invoke()
    graph = read_model(model).subgraphs[0]
    return {op.outputs[0]: interpreter.get_tensor(op.outputs[0]) for op in graph.operators}


@pytest.mark.parametrize(
    ("signal", "noise", "expected"),
    [
        (100.0, 1.0, 20.0),
        (1.0, 0.0, SNR_LIMIT),
        (0.0, 0.0, SNR_LIMIT),
        (0.0, 1.0, -SNR_LIMIT),
        (1e300, 1e-300, SNR_LIMIT),
        (1e-300, 1e300, -SNR_LIMIT),
        (5e-324, 1.8e308, -SNR_LIMIT),
    ],
)
def test_a_ratio_is_always_a_number_within_its_limits(signal: float, noise: float, expected: float) -> None:
    assert snr_db(signal, noise) == pytest.approx(expected)


def test_layers_without_any_signal_leave_valid_json(twin: bytes) -> None:
    silent = build([T(INPUT, "int8", 1.0, -128, name="frame"), T(INPUT, "int8", 1.0, -128, name="y")],
                   [Op("RELU", (0,), (1,))], (0,), (1,))  # fmt: skip
    layers, _ = layer_errors(float_twin(silent), silent, np.zeros((2, 120, 160), np.uint8))
    assert (layers[0].snr_db, layers[0].own_snr_db, layers[0].drop_db) == (SNR_LIMIT, SNR_LIMIT, None)
    json.loads(layers[0].model_dump_json(), parse_constant=lambda constant: pytest.fail(constant))
    assert worst(layers, 3) == []  # nothing is lost


def relu6(scale: float) -> bytes:
    tensors = [T(INPUT, "int8", 1.0, -128, name="frame"), T(INPUT, "int8", scale, -128, name="y")]
    return build(tensors, [Op("RELU6", (0,), (1,))], (0,), (1,))


def test_an_activation_that_its_function_clamps_is_not_saturated() -> None:
    twin = float_twin(relu6(6 / 255))  # nearly all gray levels are above 6
    assert layer_errors(twin, relu6(6 / 255), FRAMES)[0][0].saturated == 0
    assert layer_errors(twin, relu6(6.005 / 255), FRAMES)[0][0].saturated == 0
    assert layer_errors(twin, relu6(5.995 / 255), FRAMES)[0][0].saturated == 0  # rounding alone holds 6
    above = float((FRAMES.reshape(4, 12, 10, 16, 10).mean((2, 4)) > 4).mean())  # as the model's input has them, nearly
    assert layer_errors(twin, relu6(3 / 255), FRAMES)[0][0].saturated == pytest.approx(above, abs=0.02)


# ---- blame


def test_the_layers_whose_ranges_are_clipped_are_the_worst_and_those_behind_them_are_not(
    model: bytes, twin: bytes
) -> None:
    possible = clippable(model)
    assert len(possible) == 3
    for size in (1, 2):
        for tensors in combinations(possible, size):
            clipped = clip_activations(model, tensors)
            layers, _ = layer_errors(twin, clipped, FRAMES)
            guilty = writers(model, list(tensors))
            assert set(worst(layers, size)) == guilty
            for layer in layers:
                if layer.operator in guilty:
                    assert layer.own_snr_db < 10
                    assert layer.saturated > 0.2
                else:
                    assert layer.own_snr_db > 35
                    assert layer.saturated < 0.01
            assert layers[-2].snr_db < 10  # all behind them carry the damage


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, np.ndarray]:
    """FP32 and INT8 .tflite of a small MobileNetV2, and its frames, uint8 (n, 120, 160)."""
    import keras

    from tasks.batches import resized
    from tasks.model import build_model
    from tasks.parameters import TrainParameters
    from tasks.quantize import convert, convert_fp32
    from tests.tasks.generated_frames import adapt_statistics, frame_set

    frames = frame_set(tmp_path_factory.mktemp("frames"), 32).gather()
    pixels = resized(frames, 48, 64)
    keras.utils.set_random_seed(0)
    network = build_model(TrainParameters(alpha=0.35, width=64, height=48, weights="none"))
    adapt_statistics(network, pixels[..., None].astype(np.float32))
    return convert_fp32(network), convert(network, pixels), frames


def test_the_clipped_layers_of_a_converted_mobilenet_are_the_worst(converted: tuple[bytes, bytes, np.ndarray]) -> None:
    fp32, int8, frames = converted
    sound, left_out = layer_errors(fp32, int8, frames[:4])
    assert left_out == 0
    assert len(sound) == sum(audit(int8).ops.values())
    assert max(layer.saturated for layer in sound) < 0.001  # these frames calibrated it, ReLU6 or not
    possible = clippable(int8)
    neighbours = possible[10:12]
    for tensors in (_spread(possible, 2), neighbours, [possible[0], possible[-1]]):
        clipped = clip_activations(int8, tensors)
        layers, _ = layer_errors(fp32, clipped, frames[:4])
        guilty = writers(int8, tensors)
        assert set(worst(layers, 2)) == guilty
        innocent = [layer for layer in layers if layer.operator not in guilty]
        before = {layer.operator: layer for layer in sound}
        for layer in innocent:
            assert layer.own_snr_db > before[layer.operator].own_snr_db - 6
        assert min(layer.snr_db for layer in innocent) < 15


def _spread(possible: list[int], count: int) -> list[int]:
    return [possible[len(possible) * (2 * i + 1) // (2 * count)] for i in range(count)]


def test_layers_are_called_as_in_the_keras_model(converted: tuple[bytes, bytes, np.ndarray]) -> None:
    names = layer_names(read_model(converted[1]).subgraphs[0])
    assert names[:5] == ("rescaling/mul", "rescaling/add", "Conv1", "expanded_conv_depthwise", "expanded_conv_project")
    assert {"block_1_expand", "block_2_add", "block_16_project", "Conv_1", "head", "output"} <= set(names)
    assert len(set(names)) == len(names)


def test_the_clipped_layers_of_the_real_backbone_are_the_worst(shared: Path) -> None:
    """Without conversion: the fixture's INT8 model against its own real values."""
    int8 = (shared / "fixtures" / "tflite" / "clean_mobilenetv2_035.tflite").read_bytes()
    tensors = _spread(clippable(int8), 2)
    layers, _ = layer_errors(float_twin(int8), clip_activations(int8, tensors), FRAMES[:2])
    assert set(worst(layers, 2)) == writers(int8, tensors)


# ---- what fails


def test_kernels_that_abort_are_an_error_and_take_nothing_with_them() -> None:
    with pytest.raises(WorkerAborted, match=r"layers of candidate 7: TFLite ended its process with SIGABRT"):
        layer_errors(
            brightness_model(dtype="float32", sum_scale=1.0),
            brightness_model(sum_scale=1e-12),
            FRAMES,
            name="candidate 7",
        )


def test_fp32_activations_that_are_no_numbers_are_an_error_that_names_the_layer(model: bytes, twin: bytes) -> None:
    def spoil(whole: Any) -> None:
        weights = whole.subgraphs[0].tensors[whole.subgraphs[0].operators[2].inputs[1]]
        buffer = whole.buffers[weights.buffer]
        data = np.frombuffer(bytes(buffer.data), "<f4").copy()
        data[0] = np.nan
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)

    with pytest.raises(LayersNotComparable, match=r"layer conv_2d_2 \(CONV_2D\)"):
        layer_errors(changed(twin, spoil), model, FRAMES)


# ---- frames, ranking, words


def test_frames_are_balanced_and_depend_on_seed_and_hashes_only() -> None:
    labels = np.array([0] * 30 + [1] * 10, np.uint8)
    hashes = [f"{(i * 7919) % 40:064x}" for i in range(40)]
    chosen = layer_choice(labels, hashes, 16, seed=0)
    assert labels[chosen].sum() == 8
    assert len(set(chosen.tolist())) == 16
    assert not np.array_equal(chosen, layer_choice(labels, hashes, 16, seed=1))
    order = np.random.default_rng(1).permutation(40)
    again = layer_choice(labels[order], [hashes[i] for i in order], 16, seed=0)
    assert {hashes[i] for i in chosen} == {hashes[order[i]] for i in again}
    assert labels[layer_choice(labels, hashes, 24)].sum() == 10  # all there are of one class
    assert len(layer_choice(labels, hashes, 256)) == 40
    assert len(layer_choice(labels[:30], hashes[:30], 16)) == 16  # one class only


def layer(operator: int, own: float, **changes: Any) -> LayerError:
    fields = {"snr_db": own - 1, "drop_db": None, "saturated": 0.0} | changes
    return LayerError(operator=operator, op="CONV_2D", name=f"block_{operator}", own_snr_db=own, **fields)


def test_worst_comes_first_and_an_exact_layer_never() -> None:
    layers = (layer(0, 40.0), layer(1, SNR_LIMIT), layer(2, 7.0), layer(3, 40.0))
    assert worst(layers, 2) == [2, 0]
    assert worst(layers, 10) == [2, 0, 3]


def test_a_report_from_before_there_were_layers_still_loads_and_has_no_worst() -> None:
    new = report(int8_model(trained_model(dataset_version())))
    stored = new.model_dump(mode="json")
    del stored["layers"], stored["layers_left_out"], stored["parameters"]["layer_frames"]
    identity = {name: stored[name] for name in Report.IDENTITY}
    stored["digest"] = Report.digest_for(**identity)
    old = Report.model_validate(stored)
    assert old.layers == ()
    assert worst_layers(old) == ()


def test_a_sentence_says_what_is_lost_where_and_how() -> None:
    bad = layer(23, 6.02, saturated=0.41, snr_db=5.0, drop_db=15.5)
    assert layer_sentence(bad) == (
        "block_23 (CONV_2D, operator 23) by itself makes an error of 50 % of its signal (6.0 dB); "
        "41 % of its values lie outside its INT8 range; in the running model 20.5 dB before it become 5.0 dB"
    )
    assert layer_sentence(layer(0, 40.0)).endswith("(40.0 dB); in the running model its output has 39.0 dB")
    assert "error of 1,000 % of its signal" in layer_sentence(layer(0, -20.0))
