"""What the safe Rust wrapper costs over bare TFLM: instructions an inference, and RAM, on the emulated Cortex-M4F.

The peer is benchmarks/bare_tflm: MicroInterpreter and MicroMutableOpResolver called from C++, linked against the same
compiled library, with the same arena, run in the same emulator on the same input bytes. The library's log is the
shim's, so the peer has its error text and way out as well; `ram_shim` counts them to the wrapper, whose cost they are.

    python benchmarks/firmware_wrapper.py MODEL.tflite [--json]      # one minute; needs `make firmware-tools`
"""

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from tasks.boards import find_board
from tasks.cargo_build import Engine, build_environment
from tasks.elf_sections import elf_size_report
from tasks.emulator import qemu_line, run_frames
from tasks.firmware_image import Image, Wanted, build_image
from tasks.settings import settings
from tasks.toolchain import FIRMWARE, find_cargo

BARE = Path(__file__).resolve().parent / "bare_tflm"
BOARD = find_board("mps2-an386")
FLAGS = """
-O2 -std=c++11 -mthumb -mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16 -fno-rtti -fno-exceptions
-fno-threadsafe-statics -fno-short-enums -ffunction-sections -fdata-sections -fno-use-cxa-atexit -w -DNDEBUG
-DTF_LITE_STATIC_MEMORY -DTF_LITE_MCU_DEBUG_LOG -DGEMMLOWP_ALLOW_SLOW_SCALAR_FALLBACK
"""  # those of firmware/tflm-sys/build.rs


def main() -> None:
    """Prints both rows and their difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = options.model.read_bytes()
    image = build_image(model, Wanted(BOARD, Engine(), None))
    shape = image.contract.input.shape
    # Input bytes as the bare program makes them, as frames of the camera's size: the geometry must be the camera's.
    if shape[1:] != (120, 160, 1):
        raise SystemExit("the comparison feeds 160x120 gray frames: give a model with that input")
    count = shape[1] * shape[2]
    frames = np.stack([((np.arange(count) * 7 + f * 31) & 0xFF).astype(np.uint8) for f in range(3)])
    frames = (frames ^ 0x80).reshape(3, 120, 160)
    wrapped = run_frames(BOARD, image.built.elf, frames)
    bare_instructions, bare_ram = _bare(model, image)
    ram = {s.name: s.size for s in image.size.sections if s.kind != "flash"}
    figures = {
        "instructions_wrapped": list(wrapped.instructions),
        "instructions_bare": bare_instructions,
        "instructions_ratio": sum(wrapped.instructions) / sum(bare_instructions),
        "ram_wrapped": sum(size for name, size in ram.items() if name != ".tensor_arena"),
        "ram_bare": bare_ram,
    }
    figures["ram_shim"] = _shim_ram(image.built.elf)
    figures["ram_difference"] = figures["ram_wrapped"] - figures["ram_bare"] + figures["ram_shim"]
    if options.json:
        print(json.dumps(figures, indent=1))
        return
    for name, value in figures.items():
        print(f"{name:<24} {value}")


def _bare(model: bytes, image: Image) -> tuple[list[int], int]:
    """Instructions of three inferences, and bytes of statics without the arena, of the bare program."""
    folder = settings().firmware_builds / f"{BOARD.name}-registry"
    outs = sorted(
        folder.glob(f"{BOARD.target}/release/build/tflm-sys-*/out/libtflm.a"), key=lambda p: p.stat().st_mtime
    )
    answer = subprocess.run(
        [find_cargo().path, "metadata", "--format-version=1", "--offline", "--locked"],
        cwd=FIRMWARE / "tflm-sys",
        env=build_environment(BOARD, Engine(), image.contract, folder, folder, folder / "x.map"),
        capture_output=True,
        check=True,
    )
    packages = json.loads(answer.stdout)["packages"]
    crate = Path(next(p["manifest_path"] for p in packages if p["name"] == "tfmicro"))
    tree = crate.with_name("submodules") / "tensorflow"
    downloads = tree / "tensorflow/lite/micro/tools/make/downloads"
    includes = [tree, downloads, downloads / "gemmlowp", downloads / "flatbuffers/include", downloads / "ruy"]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "model.tflite").write_bytes(model)
        (work / "model.S").write_text(
            '.section .model,"a"\n.balign 16\n.global model_start\nmodel_start:\n.incbin "model.tflite"\n'
        )
        (work / "ops.inc").write_text(
            "".join(
                f"resolver.AddBuiltin(tflite::BuiltinOperator_{op}, tflite::ops::micro::Register_{op}(), 0);\n"
                for op in image.contract.operators
            )
        )
        line = ["arm-none-eabi-g++", *FLAGS.split(), f"-I{work}", *(f"-I{path}" for path in includes)]
        line += [f"-DOPS={len(image.contract.operators)}", f"-DARENA_BYTES={image.arena.reserved}"]
        line += [
            "-nostartfiles",
            "-Wl,--gc-sections,--no-enum-size-warning",
            f"-T{BARE / 'an386.ld'}",
            str(BARE / "main.cc"),
            "model.S",
        ]
        line += [str(outs[-1]), str(outs[-1].with_name("libtflm_nn.a")), "-lm", "-lc", "-lgcc", "-o", "bare.elf"]
        subprocess.run(line, cwd=work, check=True)
        said = subprocess.run(
            qemu_line(BOARD, work / "bare.elf", "bare"),
            cwd=work,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        ticks = [int(found) for found in re.findall(r"ticks (\d+)", said.stdout + said.stderr)]
        assert len(ticks) == 3, said.stdout + said.stderr
        size = elf_size_report((work / "bare.elf").read_bytes(), BOARD)
        ram = sum(s.size for s in size.sections if s.kind != "flash" and s.name != ".tensor_arena")
    return [tick * 1_000_000_000 // BOARD.ticks_per_second for tick in ticks], ram


def _shim_ram(elf: bytes) -> int:
    """Bytes of the shim's own variables."""
    with tempfile.NamedTemporaryFile(suffix=".elf") as file:
        Path(file.name).write_bytes(elf)
        listed = subprocess.run(
            ["arm-none-eabi-nm", "-S", file.name], capture_output=True, text=True, check=True
        ).stdout
    own = re.findall(r"^\w+ (\w+) b _ZN12_GLOBAL__N_1\d+(?:said|way_out|has_way_out)E$", listed, re.MULTILINE)
    assert len(own) == 3, own
    return sum(int(size, 16) for size in own)


if __name__ == "__main__":
    main()
