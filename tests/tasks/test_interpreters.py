"""Worker processes: device-true outputs, the comparison with reference kernels, and what happens to models that fail.

Models are made by hand (brightness_models.py); Keras is covered by test_evaluate.py. Does not touch a bucket.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.schema_py_generated import BuiltinOperator
from numpy.typing import NDArray

from tasks.interpreters import (
    KernelsDisagree,
    ModelUnreadable,
    ModelUnsupported,
    WorkerAborted,
    WorkerHung,
    float_outputs,
    int8_outputs,
)
from tasks.kernels import Refused, Tensor, input_table
from tasks.scores import scores
from tasks.settings import PROJECT
from tests.tasks.brightness_models import SLOPE, brightness_model

LEVELS = np.array([0, 60, 100, 120, 127, 128, 129, 140, 160, 200, 255], np.uint8)


def flat_frames(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.broadcast_to(levels[:, None, None], (len(levels), 120, 160)).copy()


def expected(levels: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-SLOPE * (levels.astype(float) - 128))))


# -- gray levels to input values -------------------------------------------------------------------------------------


def test_with_scale_one_a_camera_byte_becomes_a_model_byte_by_flipping_its_top_bit() -> None:
    table, _ = input_table(Tensor((1, 120, 160, 1), "int8", 1.0, -128), (0.0, 255.0))
    assert np.array_equal(table.view(np.uint8), np.arange(256, dtype=np.uint8) ^ 0x80)
    unsigned, _ = input_table(Tensor((1, 120, 160, 1), "uint8", 1.0, 0), (0.0, 255.0))
    assert np.array_equal(unsigned, np.arange(256))


def test_other_scales_are_quantised_with_halves_away_from_zero_and_saturate() -> None:
    table, _ = input_table(Tensor((1, 8, 8, 1), "int8", 2.0, -10), (0.0, 255.0))
    assert table[0] == -10
    assert table[1] == -9  # 0.5 rounds up
    assert table[3] == -8  # 1.5 rounds to 2
    assert table[255] == 118
    saturated, _ = input_table(Tensor((1, 8, 8, 1), "int8", 0.5, -128), (0.0, 255.0))
    assert saturated[255] == 127


@pytest.mark.parametrize(("scale", "zero_point"), [(1 / 255, -128), (2 / 255, -1), (1.0, -128)])
def test_auto_feeds_the_usual_int8_inputs_as_a_camera_driver_does(scale: float, zero_point: int) -> None:
    table, _ = input_table(Tensor((1, 96, 96, 1), "int8", scale, zero_point), "auto")
    assert np.array_equal(table, np.arange(256) - 128)


def test_auto_feeds_an_input_calibrated_below_255_by_its_scale() -> None:
    table, _ = input_table(Tensor((1, 96, 96, 1), "int8", 0.8, -128), "auto")  # spans 0..204
    assert table[100] == 125 - 128
    assert table[255] == 127


def test_auto_refuses_an_input_whose_range_says_nothing() -> None:
    with pytest.raises(Refused, match=r"spans -6.4..6.35"):
        input_table(Tensor((1, 96, 96, 1), "int8", 0.05, 0), "auto")


def test_float_inputs_get_raw_pixels_or_the_range_asked_for() -> None:
    assert input_table(Tensor((1, 8, 8, 1), "float32"), "auto")[0][255] == 255
    assert input_table(Tensor((1, 8, 8, 1), "float32"), (-1.0, 1.0))[0][[0, 255]].tolist() == [-1, 1]


# -- outputs ---------------------------------------------------------------------------------------------------------


def test_the_outputs_are_the_models_and_in_the_order_of_the_frames() -> None:
    levels = np.random.default_rng(3).integers(0, 256, 75).astype(np.uint8)
    seen: list[tuple[int, int]] = []
    asked: list[int] = []
    frames = flat_frames(levels)

    def some(start: int, stop: int) -> NDArray[np.uint8]:
        asked.append(stop - start)
        return frames[start:stop]

    outputs = int8_outputs(
        brightness_model(), some, len(levels), workers=3, progress=lambda done, total, _: seen.append((done, total))
    )
    values, how = scores(outputs)
    assert how == "the output"
    assert np.abs(values - expected(levels)).max() < 1 / 128
    assert outputs.values.dtype == np.int8
    assert outputs.compared == 32
    assert "tflite-micro" in outputs.opened.kernels
    assert max(asked) <= 8  # never the whole set in memory
    assert seen[-1] == (75, 75)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_rgb_input_of_another_size_gets_the_gray_thrice() -> None:
    values, _ = scores(int8_outputs(brightness_model(height=96, width=96, channels=3), flat_frames(LEVELS)))
    assert np.abs(values - expected(LEVELS)).max() < 0.03  # a third of a weight rounds more coarsely


def test_two_outputs_are_no_person_and_person() -> None:
    values, how = scores(int8_outputs(brightness_model(scores=2), flat_frames(LEVELS)))
    assert how == "second of two probabilities"
    assert np.abs(values - expected(LEVELS)).max() < 1 / 128


def test_a_float_tflite_runs_on_tflites_own_kernels() -> None:
    outputs = float_outputs(brightness_model(dtype="float32"), flat_frames(LEVELS))
    assert np.abs(scores(outputs)[0] - expected(LEVELS)).max() < 1e-5
    assert "TFLite" in outputs.opened.kernels
    assert outputs.compared == 0


def test_real_int8_mobilenet_agrees_with_the_reference_kernels(shared: Path) -> None:
    model = (shared / "fixtures" / "tflite" / "clean_mobilenetv2_035.tflite").read_bytes()
    frames = np.random.default_rng(0).integers(0, 256, (6, 120, 160), np.uint8)
    outputs = int8_outputs(model, frames)
    assert outputs.compared == 6
    assert outputs.opened.input == Tensor((1, 120, 160, 1), "int8", 1.0, -128)


def test_kernels_that_disagree_are_an_error_that_names_the_frame() -> None:
    # TFLM and TFLite treat a TANH whose output has not the scale that TANH must have differently.
    model = brightness_model(last_op=BuiltinOperator.TANH)
    with pytest.raises(KernelsDisagree, match=r"candidate 7: .* differ on frame frames/\d+\.png"):
        int8_outputs(model, flat_frames(LEVELS), name="candidate 7", frame_name=lambda i: f"frames/{i}.png")


# -- models that fail ------------------------------------------------------------------------------------------------


def test_a_model_that_aborts_its_process_is_an_error_that_names_it_and_its_last_words() -> None:
    with pytest.raises(WorkerAborted, match=r"candidate 7: TFLM ended its process with SIGABRT.*reference kernels"):
        int8_outputs(brightness_model(sum_scale=1e-12), flat_frames(LEVELS), name="candidate 7")


def test_an_op_that_tflm_lacks_is_told_from_an_arena_that_is_too_small() -> None:
    with pytest.raises(ModelUnsupported, match="Didn't find op for builtin opcode 'GELU'"):
        int8_outputs(
            brightness_model(last_op=BuiltinOperator.GELU), flat_frames(LEVELS), reference_required=False, workers=1
        )


def test_int8_ops_that_tflm_has_in_float_only_are_unsupported(shared: Path) -> None:
    model = (shared / "fixtures" / "tflite" / "int8_but_unsupported_on_device.tflite").read_bytes()
    with pytest.raises(ModelUnsupported, match="EXP"):
        int8_outputs(model, flat_frames(LEVELS), workers=1)


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x1c\0\0\0TFL3", brightness_model()[:900]])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(ModelUnreadable):
        int8_outputs(data, flat_frames(LEVELS), workers=1)


def test_a_model_that_takes_too_long_is_ended() -> None:
    before = time.monotonic()
    with pytest.raises(WorkerHung, match="no answer"):
        int8_outputs(brightness_model(), flat_frames(LEVELS), workers=1, time_limit=0.02)
    assert time.monotonic() - before < 10


SLOW_RUN = """
import numpy as np
from tasks.interpreters import int8_outputs
from tests.tasks.brightness_models import brightness_model
frames = np.zeros((8, 120, 160), np.uint8)
int8_outputs(brightness_model(), lambda start, stop: frames[: stop - start], 10**7,
             workers=2, progress=lambda done, total, unit: print(done, flush=True))
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_parent(end: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", SLOW_RUN],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline()  # both workers are at work
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        assert len(children) == 2
        if end == signal.SIGINT:
            os.killpg(parent.pid, end)  # as the terminal does: the workers get it, too
        else:
            parent.send_signal(end)
        parent.wait(20)
        limit = time.monotonic() + 10
        while (alive := [pid for pid in children if _runs(pid)]) and time.monotonic() < limit:
            time.sleep(0.05)
        assert not alive
    finally:
        parent.kill()
        parent.wait()
        if parent.stdout:
            parent.stdout.close()


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_workers_import_neither_tensorflow_nor_prefect_nor_pydantic() -> None:
    code = (
        "import sys\nfrom tasks.kernels import Job, Worker\n"
        "from tests.tasks.brightness_models import brightness_model\n"
        "Worker(Job('tflm', brightness_model(), (0.0, 255.0), True))\n"
        "float32 = brightness_model(dtype='float32')\n"
        "Worker(Job('layers', brightness_model(), (0.0, 255.0), False, any_output=True, fp32=float32))\n"
        "print([name for name in ('tensorflow', 'prefect', 'pydantic', 'pandas') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
