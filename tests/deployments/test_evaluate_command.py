"""`f2f evaluate` as a user calls it: figures, exit codes, and what it says of input that it cannot use. No bucket."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.frames import as_png
from tasks.settings import PROJECT
from tests.tasks.brightness_models import brightness_model


def f2f(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    code = "from deployments.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "evaluate", *arguments], cwd=PROJECT, capture_output=True, text=True, check=False
    )


def striped(level: int) -> bytes:
    """A frame with a mean of `level` and enough contrast to be accepted, as PNG."""
    frame = np.full((120, 160), level - 8, np.uint8)
    frame[::2] += 16
    return as_png(frame)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright persons and dark rooms, one of each wrong, two files that are no frames."""
    root = tmp_path_factory.mktemp("frames")
    for name, levels in (("person/cam/day", (200, 190, 180, 60)), ("no_person", (50, 60, 70, 80, 90, 210))):
        (root / name).mkdir(parents=True)
        for level in levels:
            (root / name / f"{level}.png").write_bytes(striped(level))
    (root / "person" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (root / "no_person" / "empty.png").write_bytes(b"")
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "brightness.tflite"
    path.write_bytes(brightness_model())
    return path


def test_json_is_all_of_stdout_and_holds_the_figures(model: Path, folder: Path) -> None:
    answer = f2f(model, folder, "--json")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["samples"] == 10
    assert found["confusion"] == [[5, 1], [1, 3]]
    assert found["accuracy"] == 0.8
    assert found["recall"] == 0.75
    assert found["precision"] == 0.75
    assert found["auc"] == pytest.approx((3 * 5 + 1.5) / 24)  # person 60 beats 50, ties with 60
    assert {image["file"]: image["reason"] for image in found["refused"]} == {
        "no_person/empty.png": "empty_file",
        "person/broken.jpg": "truncated",
    }
    assert "TFLM" in found["kernels"]
    assert found["compared"].startswith("10 frames byte for byte")


def test_without_json_the_figures_and_the_refused_files_are_shown(model: Path, folder: Path) -> None:
    answer = f2f(model, folder, "--threshold", "0.0001", "--workers", "1")
    assert answer.returncode == 0, answer.stderr
    assert "accuracy   " in answer.stdout
    assert "left out: 2 files" in answer.stdout
    assert "person/broken.jpg: truncated" in answer.stdout


def test_a_float_tflite_is_evaluated_on_the_range_asked_for(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "float.tflite"
    path.write_bytes(brightness_model(dtype="float32"))
    raw = json.loads(f2f(path, folder, "--json").stdout)
    assert raw["confusion"] == [[5, 1], [1, 3]]
    assert "TFLite's builtin kernels" in raw["kernels"]
    squeezed = json.loads(f2f(path, folder, "--json", "--input-range", "0,1").stdout)
    assert squeezed["confusion"] == [[6, 0], [4, 0]]  # every picture is dark to a model of raw pixels


def test_one_class_has_no_auc_and_is_no_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "person").mkdir()
    (tmp_path / "person" / "a.png").write_bytes(striped(200))
    answer = f2f(model, tmp_path, "--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["auc"] is None


def test_a_manifest_may_give_the_labels(model: Path, tmp_path: Path) -> None:
    for level in (200, 60):
        (tmp_path / f"{level}.png").write_bytes(striped(level))
    (tmp_path / "labels.csv").write_text("file,label\n200.png,person\n60.png,no_person\n")
    answer = f2f(model, tmp_path, "--json", "--manifest", tmp_path / "labels.csv")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["confusion"] == [[1, 0], [0, 1]]


def test_what_cannot_be_evaluated_is_one_error_and_exit_code_1(model: Path, folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    (empty / "person").mkdir(parents=True)
    text = tmp_path / "text.tflite"
    text.write_text("not a model")
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(model.read_bytes()[:900])
    zipped = tmp_path / "model.keras"
    zipped.write_bytes(b"PK\x03\x04 and then nothing")
    aborting = tmp_path / "aborting.tflite"
    aborting.write_bytes(brightness_model(sum_scale=1e-12))
    vague = tmp_path / "vague.tflite"
    vague.write_bytes(brightness_model(input_scale=0.05, input_zero_point=0))
    for arguments, says in (
        ((tmp_path / "none.tflite", folder), "No such file"),
        ((model, tmp_path / "none"), "does not exist"),
        ((model, empty), "no images"),
        ((model, tmp_path), "no labelled folders"),
        ((text, folder), "no TFL3 mark"),
        ((cut, folder), "no valid .tflite"),
        ((zipped, folder), "Keras cannot load it"),
        ((aborting, folder), "SIGABRT"),
        ((vague, folder), "--input-range"),
    ):
        answer = f2f(*arguments, "--json")
        assert answer.returncode == 1, (arguments, answer)
        assert answer.stdout == ""
        assert says in answer.stderr
        assert "Traceback" not in answer.stderr


def test_a_typo_in_an_option_is_wrong_usage(model: Path, folder: Path) -> None:
    answer = f2f(model, folder, "--input-range", "1,0")
    assert answer.returncode == 2
    assert "first number must be smaller" in answer.stderr
    assert f2f(model, folder, "--threshold", "50").returncode == 2


def test_the_shipped_person_detector_is_near_its_known_accuracy(shared: Path) -> None:
    """TFLM's own detector has 0.851 (AUC 0.948) on frames of the same collections; runs on TFLM only."""
    answer = f2f(shared / "peers" / "tflm_person_detect.tflite", shared / "data" / "landing-2", "--json")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["samples"] > 1700
    assert abs(found["accuracy"] - 0.851) < 0.04
    assert abs(found["auc"] - 0.948) < 0.02
    assert found["compared"].startswith("nothing; TFLite's reference kernels refused")
