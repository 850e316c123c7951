"""`f2f firmware` as a user calls it: real builds of the example model, refusals by name, nothing half-written.

What is inside the images is tested in tests/firmware, fetching of sources in test_firmware_sources.py.
"""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from deployments.cli import cli
from tasks.boards import BOARDS
from tasks.errors import PipelineError
from tests.firmware.example_model import PATH


def f2f(*words: str | Path) -> Result:
    """Runs `f2f firmware ...`; errors for people come out as they are."""
    return CliRunner().invoke(cli, ["firmware", *map(str, words)], catch_exceptions=False)


@pytest.fixture
def built(arm_tools: None, tmp_path: Path) -> Path:
    """A folder with an image of the example model."""
    folder = tmp_path / "image"
    result = f2f("build", PATH, "--out", folder, "--json")
    assert result.exit_code == 0, result.output
    return folder


def contents(folder: Path) -> dict[str, str]:
    """File -> SHA-256."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_build_leaves_everything_that_an_image_needs(built: Path) -> None:
    assert sorted(contents(built)) == sorted(
        [
            "build.json",
            "build.log",
            "contract.json",
            "firmware.bin",
            "firmware.elf",
            "firmware.map",
            "model.tflite",
            "size.json",
        ]
    )
    facts = json.loads((built / "build.json").read_text())
    assert facts["arena"]["reserved"] == facts["arena"]["target"]["smallest"] == facts["arena_bytes"]
    assert facts["toolchain"]["rustc"].startswith("1.")
    assert (built / "model.tflite").read_bytes() == PATH.read_bytes()
    assert not [path for path in built.parent.iterdir() if path.name.startswith(".")]


def test_an_image_that_is_refused_leaves_the_previous_one_as_it_was(built: Path, tmp_path: Path) -> None:
    before = contents(built)
    result = f2f("build", PATH, "--out", built, "--max-flash", "1000")
    assert result.exit_code == 3
    assert "flash budget of 1,000 B" in result.stderr
    assert "nothing was written" in result.stderr
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(PATH.read_bytes()[:1000])
    with pytest.raises(PipelineError):
        f2f("build", damaged, "--out", built)
    assert contents(built) == before


def test_a_folder_with_something_else_is_not_touched(arm_tools: None, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(PipelineError, match="holds something else"):
        f2f("build", PATH, "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_report_says_where_the_bytes_go(built: Path, tmp_path: Path) -> None:
    shown = f2f("report", built, "--top", "5", "--svg", tmp_path / "bars.svg")
    assert shown.exit_code == 0
    assert ".tensor_arena" in shown.output
    assert "TFLM kernel" in shown.output or "tflm" in shown.output
    assert (tmp_path / "bars.svg").read_text().startswith("<svg")
    size = json.loads(f2f("report", built, "--json").stdout)["size"]
    assert sum(c["flash"] for c in size["contributors"]) == size["flash_used"]
    with pytest.raises(PipelineError, match="is no image"):
        f2f("report", tmp_path)


def test_run_gives_bytes_and_figures_of_every_frame_of_a_folder(arm_tools: None, tmp_path: Path) -> None:
    for number in range(3):
        Image.new("L", (160, 120), 80 * number).save(tmp_path / f"{number}.png")
    (tmp_path / "note.jpg").write_text("no picture")
    result = f2f("run", PATH, "--frames", tmp_path, "--board", "mps2-an500", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert [frame["file"] for frame in found["frames"]] == ["0.png", "1.png", "2.png"]
    assert all(frame["same"] and len(frame["output"]) == 1 for frame in found["frames"])
    assert found["mismatches"] == 0
    assert found["instructions"] == max(frame["instructions"] for frame in found["frames"]) > 100_000
    assert found["arena_bytes"] == found["arena"]["target"]["smallest"]
    assert found["flash_bytes"] > len(PATH.read_bytes())
    assert [refused["file"] for refused in found["refused"]] == ["note.jpg"]


def test_run_over_the_limit_of_instructions_says_how_long_it_takes(arm_tools: None) -> None:
    result = f2f("run", PATH, "--max-instructions", "1000", "--count", "5")
    assert result.exit_code == 3
    assert "more than the 1,000" in result.output
    assert "MHz" in result.output


def test_boards_lists_all_of_them() -> None:
    shown = f2f("boards")
    assert all(name in shown.output for name in BOARDS)
    assert [board["name"] for board in json.loads(f2f("boards", "--json").stdout)] == list(BOARDS)


def test_a_board_without_its_toolchain_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PipelineError) as error:
        f2f("build", PATH, "--board", "xiao-esp32s3")
    assert "rustup" in str(error.value)
    with pytest.raises(PipelineError, match="nothing emulates"):
        f2f("run", PATH, "--board", "xiao-esp32s3")


def test_a_typo_names_what_may_have_been_meant() -> None:
    result = CliRunner().invoke(cli, ["firmware", "biuld"])
    assert result.exit_code == 2
    assert "Did you mean 'build'?" in result.output
    assert f2f("--help").exit_code == 0


def test_an_arena_that_is_no_multiple_of_sixteen_is_wrong_usage() -> None:
    result = CliRunner().invoke(cli, ["firmware", "build", str(PATH), "--arena", "1000"])
    assert result.exit_code == 2
    assert "multiple of 16" in result.output


def test_without_the_tool_chain_the_demo_goes_on_without_firmware_and_a_retrain_says_how(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from deployments.commands.demo import _firmware
    from tasks.firmware import check_firmware
    from tasks.parameters import FirmwareParameters
    from tasks.toolchain import MissingTool

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CARGO_HOME", str(tmp_path))
    assert _firmware().boards == ()
    assert "WARNING: no firmware in this demo" in capsys.readouterr().err
    with pytest.raises(MissingTool) as error:
        check_firmware(FirmwareParameters())
    assert "firmware.boards=[]" in error.value.next_step
    check_firmware(FirmwareParameters(boards=()))
