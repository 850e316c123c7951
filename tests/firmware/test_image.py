"""Real images of the example model on emulated boards: bytes of the host, smallest arena, limits, named differences.

Built with the registry's TFLM. Upstream's and CMSIS-NN are measured in benchmarks/, trained models in tests/flows.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.boards import BOARDS, Board, find_board, linker_script
from tasks.cargo_build import BuildFailed, Engine, build
from tasks.contract import Contract, checked, make_contract
from tasks.elf_sections import elf_size_report
from tasks.emulator import EmulationFailed, EmulatorHung, TargetRefused, run_frames
from tasks.firmware_image import Image, Wanted, build_image, prove
from tasks.golden import synthetic_golden
from tasks.parameters import BoardLimits, HysteresisParameters
from tasks.settings import PROJECT
from tasks.toolchain import FIRMWARE
from tests.firmware.conftest import EMULATED, children

GOLDEN = synthetic_golden(8)
ImageOf = Callable[[str], Image]


@pytest.mark.parametrize("board", EMULATED)
def test_every_board_gives_the_bytes_of_the_host(image_of: ImageOf, board: str) -> None:
    image, proof = prove(image_of(board), GOLDEN)
    assert proof.outcome.mismatches == ()
    assert proof.outcome.compared_with_reference == len(GOLDEN)
    assert len(np.unique(proof.run.outputs)) > 3, "the frames must not all look alike to the model"
    assert all(rule.passed for rule in (*proof.rules, *image.rules))
    assert (proof.run.revision, proof.run.kernels) == ("registry", "reference")


@pytest.mark.parametrize("board", EMULATED)
def test_sixteen_bytes_of_arena_less_fail_in_tflms_own_words(image_of: ImageOf, board: str) -> None:
    image = image_of(board)
    assert image.arena.target is not None
    assert image.arena.lower_bound < image.arena.reserved == image.arena.target.smallest == image.contract.arena_bytes
    with pytest.raises(TargetRefused, match=f"arena of {image.arena.reserved - 16} B: Arena size is too small"):
        run_frames(image.wanted.board, image.built.elf, GOLDEN.pixels[:1], arena=image.arena.reserved - 16)
    # What the firmware reserves is what was measured, and the linker rounds it up to a cache line, no more.
    (section,) = (section for section in image.size.sections if section.name == ".tensor_arena")
    assert section.size == -(-image.arena.reserved // 64) * 64


def test_instructions_are_the_same_in_every_run(image_of: ImageOf) -> None:
    image = image_of("mps2-an386")
    runs = [run_frames(image.wanted.board, image.built.elf, GOLDEN.pixels[:3]) for _ in range(2)]
    assert runs[0].instructions == runs[1].instructions
    assert min(runs[0].instructions) > 100_000


@pytest.mark.slow
def test_a_clean_build_of_another_checkout_gives_identical_bytes(
    image_of: ImageOf, example: bytes, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = image_of("mps2-an386")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(FIRMWARE, elsewhere / "firmware", ignore=shutil.ignore_patterns("target"))
    monkeypatch.setattr("tasks.cargo_build.FIRMWARE", elsewhere / "firmware")
    again = build(image.wanted.board, image.contract, example, Engine(), target_dir=elsewhere / "builds")
    assert again.binaries == image.built.binaries
    assert again.elf == image.built.elf


def test_no_path_of_this_machine_is_in_an_image_not_even_for_debugging(image_of: ImageOf) -> None:
    built = image_of("mps2-an386").built
    for path in (str(Path.home()), tempfile.gettempdir() + "/", str(PROJECT)):
        assert path.encode() not in built.elf


def test_a_difference_names_the_frames_and_the_first_layer_that_differs(arm_tools: None, example: bytes) -> None:
    """The device gets the model with one weight of its second layer changed; the host keeps the true one."""
    faulty = bytearray(example)
    operator, at = 2, _weights_at(example, 2)  # the pointwise convolution
    faulty[at] ^= 0x40
    image = build_image(bytes(faulty), Wanted(find_board("mps2-an386"), Engine()))
    _, proof = prove(image, GOLDEN, host_model=example)
    (bit_exact,) = (rule for rule in proof.rules if rule.name == "bit_exact")
    assert not bit_exact.passed
    assert bit_exact.figure == len(proof.outcome.mismatches) > 0
    assert set(proof.outcome.mismatches) <= set(GOLDEN.names)
    assert proof.outcome.first_layer.startswith(f"operator {operator} CONV_2D")
    assert proof.outcome.mismatches[0] in bit_exact.reason
    assert "operator 2 CONV_2D" in bit_exact.reason


def test_a_budget_exceeded_names_the_biggest_contributors(image_of: ImageOf) -> None:
    image = image_of("mps2-an386")
    limits = BoardLimits(flash_bytes=10_000, ram_bytes=1_000, max_instructions=1_000)
    image = replace(image, wanted=replace(image.wanted, limits=limits))
    image, proof = prove(image, GOLDEN)
    reasons = {rule.name: rule.reason for rule in (*proof.rules, *image.rules) if not rule.passed}
    assert set(reasons) == {"flash", "ram", "instructions"}
    assert "flash budget of 10,000 B" in reasons["flash"]
    assert "biggest contributors are" in reasons["flash"]
    assert "tensor arena" in reasons["ram"]
    assert "more than the 1,000" in reasons["instructions"]


def test_the_stack_was_measured_and_counts(image_of: ImageOf) -> None:
    image, proof = prove(image_of("mps2-an386"), GOLDEN)
    assert 1_000 < proof.run.stack_bytes < 64_000
    assert image.size.ram_used == image_of("mps2-an386").size.ram_used + proof.run.stack_bytes


def test_sizes_by_section_headers_are_those_of_the_map(image_of: ImageOf) -> None:
    for board in EMULATED:
        image = image_of(board)
        by_header = elf_size_report(image.built.elf, image.wanted.board)
        sizes = {section.name: section.size for section in image.size.sections}
        assert {s.name: s.size for s in by_header.sections} == sizes
        assert by_header.ram_used == sum(s.size for s in image.size.sections if s.kind != "flash")
    with pytest.raises(ValueError, match="ELF"):
        elf_size_report(b"MZ" + bytes(100), image.wanted.board)


@pytest.mark.parametrize("board", [board for board in BOARDS.values() if board.emulated], ids=lambda board: board.name)
def test_a_boards_memories_are_those_of_its_linker_script(board: Board) -> None:
    script = linker_script(board)
    units = {"K": 1 << 10, "M": 1 << 20}
    for memory in board.memories:
        line = next(line for line in script.splitlines() if line.strip().startswith(f"{memory.name} "))
        origin, length = line.split("ORIGIN =")[1].split(",")[0], line.split("LENGTH =")[1].strip()
        assert (int(origin, 16), int(length[:-1]) * units[length[-1]]) == (memory.start, memory.size)


def test_a_contract_that_does_not_fit_the_model_does_not_compile(arm_tools: None, example: bytes) -> None:
    board = find_board("mps2-an386")
    contract = make_contract(example, checked(example, "registry"), 65_536, 0.5, HysteresisParameters())
    shape = contract.input.model_copy(update={"scale": 0.5})
    with pytest.raises(BuildFailed, match=r"refused while the firmware compiles.*input"):
        build(board, contract.model_copy(update={"input": shape}), example, Engine())
    fewer = contract.model_copy(update={"operators": contract.operators[1:]})
    with pytest.raises(BuildFailed, match="operator that the contract does not list"):
        build(board, fewer, example, Engine())
    with pytest.raises(BuildFailed, match="another model than the contract's"):
        build(board, contract, example + b"\0", Engine())
    absent = contract.model_copy(update={"operators": ("ADD", "CUMSUM")})
    with pytest.raises(BuildFailed, match="CUMSUM"):
        build(board, absent, example, Engine())


def test_a_truncated_model_does_not_compile(arm_tools: None, example: bytes) -> None:
    """Also where nobody audited it: the firmware checks the bytes itself."""
    contract = make_contract(example, checked(example, "registry"), 65_536, 0.5, HysteresisParameters())
    cut = example[: len(example) // 2]
    with pytest.raises(BuildFailed, match="refused while the firmware compiles"):
        build(find_board("mps2-an386"), _of(contract, cut), cut, Engine())


def test_a_failed_build_leaves_the_next_one_as_it_would_be(image_of: ImageOf, example: bytes) -> None:
    image = image_of("mps2-an386")
    again = build(image.wanted.board, image.contract, example, Engine())
    assert again.elf == image.built.elf


def test_an_emulator_that_says_nothing_is_ended(image_of: ImageOf) -> None:
    image = image_of("mps2-an386")
    with pytest.raises(EmulatorHung, match="last words"):
        run_frames(image.wanted.board, image.built.elf, GOLDEN.pixels, silence_limit=0.0)
    assert not children("qemu-system-arm")


def test_an_image_that_is_none_is_a_named_failure(arm_tools: None) -> None:
    with pytest.raises(EmulationFailed, match="mps2-an386: the emulator ended with exit code"):
        run_frames(find_board("mps2-an386"), b"no ELF at all", GOLDEN.pixels)


def test_frames_that_end_too_early_are_refused_by_the_firmware(image_of: ImageOf) -> None:
    image = image_of("mps2-an386")
    with pytest.raises(TargetRefused, match="the frames end"):
        run_frames(image.wanted.board, image.built.elf, GOLDEN.pixels[:1, :60, :])


def _of(contract: Contract, model: bytes) -> Contract:
    file = contract.model.model_copy(update={"sha256": hashlib.sha256(model).hexdigest(), "bytes": len(model)})
    return contract.model_copy(update={"model": file})


def _weights_at(model: bytes, operator: int) -> int:
    """Byte of the first weight of an operator."""
    from ai_edge_litert import schema_py_generated as schema

    root = schema.Model.GetRootAs(model, 0)
    graph = root.Subgraphs(0)
    weights = root.Buffers(graph.Tensors(graph.Operators(operator).Inputs(1)).Buffer()).DataAsNumpy().tobytes()
    assert model.count(weights) == 1
    return model.index(weights)
