"""The pipeline's last stage: an INT8 model that passed its gate becomes a verified image of a board, stored by digest.

`firmware/<digest>/image.json` is the record; beside it lie ELF, binary, map, contract, golden frames with their
outputs, and the emulator's transcript. An image whose proof fails is stored too, as evidence, with `passed` False.
"""

import hashlib
import logging
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tasks import (
    arena,
    boards,
    cargo_build,
    contract,
    cut_model,
    elf_sections,
    emulator,
    firmware_difference,
    firmware_image,
    firmware_records,
    first_difference,
    golden,
    interpreters,
    kernels,
    resize,
    size_report,
)
from tasks.batches import FrameSet
from tasks.boards import find_board
from tasks.cargo_build import Engine, check_tools
from tasks.code_version import code_version
from tasks.errors import PipelineError
from tasks.firmware_image import Wanted, build_image, facts_of, image_files, proof_files, prove
from tasks.firmware_records import FirmwareImage
from tasks.golden import GoldenFrames, choose_golden
from tasks.lineage import Int8Model, Report
from tasks.parameters import BoardLimits, FirmwareParameters
from tasks.progress import Progress, silent
from tasks.store import Store
from tasks.thumbnails import load_scores
from tasks.toolchain import FIRMWARE, MissingTool, find_qemu, toolchain_versions

logger = logging.getLogger("f2f.firmware")

# What decides what an image is and how it is judged; the Rust and C++ sources are digested beside them.
_JUDGES = [
    arena,
    boards,
    cargo_build,
    contract,
    cut_model,
    elf_sections,
    emulator,
    firmware_difference,
    firmware_image,
    firmware_records,
    first_difference,
    golden,
    interpreters,
    kernels,
    resize,
    size_report,
]


class NotEmulated(PipelineError):
    """A board that no emulator runs, where a verified image was asked for."""


class Unproven(PipelineError):
    """A model passed its gate, and an image of it does not do on the device what was measured here."""


def check_firmware(parameters: FirmwareParameters) -> None:
    """Refuses, before anything is trained, what could not be built and verified at the end.

    Raises `UnknownBoard`, `NotEmulated`, `MissingTool`.
    """
    for board in map(find_board, (*parameters.boards, *parameters.limits)):
        if not board.emulated:
            emulated = ", ".join(name for name, other in boards.BOARDS.items() if other.emulated)
            raise NotEmulated(
                f"{board.name}: nothing emulates this board, so its image cannot be verified by a flow",
                next_step=f"choose of {emulated}, and build it with `f2f firmware build --board {board.name}`",
            )
        try:
            check_tools(board)
            find_qemu()
        except MissingTool as missing:
            raise MissingTool(
                f"firmware for {board.name} cannot be built and verified here: {missing.message}",
                next_step=f"{missing.next_step}; or leave the firmware out: firmware.boards=[]",
            ) from missing


def build_firmware(
    store: Store,
    int8: Int8Model,
    report: Report,
    test: FrameSet,
    board_name: str,
    parameters: FirmwareParameters,
    *,
    progress: Progress = silent,
) -> FirmwareImage:
    """The image of one board, found in the bucket or built, run on golden frames of the test split, and stored.

    `report` is the model's evaluation on `test`: it says which frames are the hardest. Takes 10 to 90 s a board with
    warm caches. Raises `PipelineError`s of every step; a broken budget or a difference is in the record's `rules`.
    """
    board, engine = find_board(board_name), Engine.from_environment()
    count = parameters.golden_frames if board_name == parameters.boards[0] else parameters.golden_frames_others
    threshold = report.parameters.threshold
    chosen = choose_golden(test, load_scores(store, report), threshold, count, parameters.seed)
    wanted = Wanted(board, engine, threshold, parameters.hysteresis, parameters.limits.get(board.name, BoardLimits()))
    identity = _identity(int8, wanted, chosen)
    known = store.find_record(f"firmware/{FirmwareImage.digest_for(**identity)}/image.json", FirmwareImage)
    if known and all(store.exists(known.folder + name) for name in known.files):
        logger.info("image %s of %s is already there", known.digest[:12], board.name)
        return known
    started, model = time.monotonic(), store.get_blob(int8.tflite)
    logger.info("%s: building with TFLM %s; the first build of a board takes a while", board.name, engine.name)
    image = build_image(model, wanted)
    logger.info(
        "%s: arena %s B (bound %s B), flash %s B; running %d golden frames",
        board.name,
        f"{image.arena.reserved:,}",
        f"{image.arena.lower_bound:,}",
        f"{image.size.flash_used:,}",
        len(chosen),
    )
    image, proof = prove(image, chosen, progress=progress)
    files = {**image_files(image), **proof_files(proof, chosen)}
    rules = (*proof.rules, *image.rules)
    record = FirmwareImage.model_validate(
        {
            **identity,
            "contains": facts_of(proof.run),
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
            "size": image.size,
            "arena": image.arena,
            "timing": proof.timing,
            "outcome": proof.outcome,
            "stack_bytes": proof.run.stack_bytes,
            "rules": rules,
            "passed": all(rule.passed for rule in rules),
            "seconds": round(time.monotonic() - started, 1),
        }
    )
    for name, data in files.items():
        store.put(record.folder + name, data)
    store.put_record(record.key, record)  # last: a record never names a file that is not there
    return record


def _identity(int8: Int8Model, wanted: Wanted, chosen: GoldenFrames) -> dict[str, object]:
    """Everything that an image and its proof depend on."""
    return {
        "int8": int8.digest,
        "board": wanted.board.name,
        "engine": engine_identity(wanted.engine),
        "toolchain": toolchain_versions(),
        "golden": hashlib.sha256(chosen.pixels.tobytes()).hexdigest(),
        "threshold": wanted.threshold,
        "hysteresis": wanted.hysteresis,
        "limits": wanted.limits,
        "code_version": firmware_code_version(),
    }


def engine_identity(engine: Engine) -> str:
    """Which source trees go into an image, by content where they are the user's."""
    if not engine.tflm_dir:
        return "registry tfmicro 0.1.0"
    parts = [("upstream", engine.tflm_dir), ("cmsis-nn", engine.cmsis_nn_dir)]
    return " ".join(f"{name} {_tree_digest(folder)[:16]}" for name, folder in parts if folder)


@cache
def _tree_digest(folder: Path) -> str:
    """SHA-256 over all C and C++ sources of a tree, by name and content."""
    if not folder.is_dir():
        raise PipelineError(f"{folder}, named by TFLM_DIR or CMSIS_NN_DIR, is no folder", next_step="unset or fix it")
    return _digest(
        folder, sorted(p for p in folder.rglob("*") if p.suffix in (".c", ".cc", ".h", ".S") and p.is_file())
    )


@cache
def firmware_code_version() -> str:
    """SHA-256 over what makes and judges images: Python modules, and all sources in firmware/."""
    sources = (".rs", ".toml", ".lock", ".x", ".cc", ".h", ".c", ".json")
    skipped = ("target", "tests", "example", "examples", "xiao-esp32s3")
    files = sorted(
        path
        for path in FIRMWARE.rglob("*")
        if path.suffix in sources and path.is_file() and not set(path.relative_to(FIRMWARE).parts) & set(skipped)
    )
    python = code_version([*_JUDGES, sys.modules[__name__]])
    return hashlib.sha256(f"{python}{_digest(FIRMWARE, files)}".encode()).hexdigest()


def _digest(folder: Path, files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
