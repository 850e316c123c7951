"""`f2f audit` as a user runs it: exit codes, JSON, the text, and that it starts quickly.

Not covered: which offenders there are (tests/tasks/test_audit.py).
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from deployments.commands.audit import command
from tests.tasks.hand_built_models import SHAPE, Op, T, build, clean_conv, one_operator


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments])


def written(folder: Path, data: bytes) -> Path:
    path = folder / "model.tflite"
    path.write_bytes(data)
    return path


def test_a_clean_model_exits_0_and_says_what_it_takes(tmp_path: Path) -> None:
    path = written(tmp_path, clean_conv())
    result = run(path)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == f"{path}: clean (TFLM upstream)"
    assert "80 B at least" in result.stdout  # 32 in, 48 out
    assert "int8 1 x 4 x 4 x 2, scale 0.05, zero point 0" in result.stdout
    assert "CONV_2D 1" in result.stdout


def test_json_holds_the_verdict_the_figures_and_nothing_else(tmp_path: Path) -> None:
    path = written(tmp_path, clean_conv())
    result = run(path, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "file": str(path),
        "clean": True,
        "tflm": "upstream",
        "size_bytes": path.stat().st_size,
        "weights_bytes": 18,
        "activation_peak_bytes": 80,
        "macs": 96,
        "inputs": [
            {"name": "x", "shape": [1, 4, 4, 2], "dtype": "int8", "scale": pytest.approx(0.05), "zero_point": 0}
        ],
        "outputs": [
            {"name": "y", "shape": [1, 4, 4, 3], "dtype": "int8", "scale": pytest.approx(0.05), "zero_point": 0}
        ],
        "ops": {"CONV_2D": 1},
        "offenders": [],
    }


def test_an_offender_exits_1_and_is_told_with_place_cause_and_fix(tmp_path: Path) -> None:
    path = written(tmp_path, one_operator("EXP", "int8"))
    text = run(path)
    assert text.exit_code == 1
    for part in ("rejected, 1 offender ", "unsupported_op x 1: EXP 1", "operator 0 EXP, t1", "for float only", "fix"):
        assert part in text.stdout
    shown = json.loads(run(path, "--json").stdout)
    assert shown["clean"] is False
    (offender,) = shown["offenders"]
    assert {k: offender[k] for k in ("kind", "op", "tensor", "index")} == {
        "kind": "unsupported_op",
        "op": "EXP",
        "tensor": "t1",
        "index": 0,
    }
    assert offender["cause"]
    assert offender["fix"]


def test_many_like_offenders_are_shortened_in_the_text_and_complete_in_json(tmp_path: Path) -> None:
    count = 40
    tensors = [T(SHAPE) for _ in range(count + 1)]
    path = written(tmp_path, build(tensors, [Op("EXP", (i,), (i + 1,)) for i in range(count)], (0,), (count,)))
    text = run(path).stdout
    assert "unsupported_op x 40: EXP 40" in text
    assert "... and 36 more" in text
    assert len(text.splitlines()) < 30
    assert len(json.loads(run(path, "--json").stdout)["offenders"]) == count


def test_the_revision_is_a_choice(tmp_path: Path) -> None:
    path = written(tmp_path, one_operator("MEAN", "int8"))
    assert run(path).exit_code == 0
    old = run(path, "--tflm", "registry")
    assert old.exit_code == 1
    assert "AveragePooling2D" in old.stdout


@pytest.mark.parametrize("content", [None, b"", b"not a model", clean_conv()[:60], b"\0\0\0\xffTFL3" + b"\xff" * 500])
def test_what_is_no_model_exits_2_and_says_why(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.tflite"
    if content is not None:
        path.write_bytes(content)
    text = run(path)
    assert text.exit_code == 2
    assert "not a model" in text.stderr
    assert "next:" in text.stderr
    assert not text.stdout
    shown = json.loads(run(path, "--json").stdout)
    assert run(path, "--json").exit_code == 2
    assert shown == {"file": str(path), "clean": False, "error": shown["error"], "ops": {}, "offenders": []}
    assert shown["error"]


def test_a_scale_that_is_no_number_is_null_in_json(tmp_path: Path) -> None:
    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON")

    path = written(tmp_path, clean_conv(x=T(SHAPE, scale=float("nan"))))
    shown = json.loads(run(path, "--json").stdout, parse_constant=refuse)
    assert shown["inputs"][0]["scale"] is None
    assert [o["kind"] for o in shown["offenders"]] == ["degenerate_scale"]
    assert "nan" in run(path).stdout


def test_it_starts_without_tensorflow_and_prefect(tmp_path: Path) -> None:
    path = written(tmp_path, clean_conv())
    script = (
        "import sys; from deployments.cli import cli\n"
        f"try: cli(['audit', {str(path)!r}], standalone_mode=False)\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'tensorflow', 'keras', 'prefect', 'pandas', 'great_expectations', 'boto3'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "clean" in done.stdout
