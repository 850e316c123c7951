"""The same model and frames on every board and engine: instructions an inference, arena, flash, differing frames.

Engines: TFLM of the crate registry (reference kernels), upstream's reference kernels, upstream with CMSIS-NN; the last
two where TFLM_DIR and CMSIS_NN_DIR name their trees (`f2f firmware sources` fetches and prints them). The engines are
each other's peers; every frame is compared with TFLM on this machine and TFLite's reference kernels.

    eval "$(f2f firmware sources)"
    python benchmarks/firmware_engines.py MODEL.tflite [--frames DIR] [--count 32] [--json]

Half an hour with all three engines on 2 busy cores the first time, most of it compiling upstream's kernels a board.
`--count 1000 --boards mps2-an386` is the long proof. A run's table is in firmware_engines.md.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from deployments.progress_bar import progress_bar
from tasks.boards import BOARDS, find_board
from tasks.cargo_build import Engine
from tasks.firmware_image import Wanted, build_image, prove
from tasks.flatbuffer import inspect
from tasks.golden import GoldenFrames, golden_from_folder, synthetic_golden

EMULATED = [name for name, board in BOARDS.items() if board.emulated]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--frames", type=Path, help="a folder of images; synthetic pictures without it")
    parser.add_argument("--count", type=int, default=32, help="how many frames (default 32)")
    parser.add_argument("--boards", nargs="+", default=EMULATED, choices=EMULATED)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = options.model.read_bytes()
    golden = (
        _some(golden_from_folder(options.frames), options.count) if options.frames else synthetic_golden(options.count)
    )
    given = Engine.from_environment()
    engines = [Engine()]
    engines += [Engine(given.tflm_dir)] if given.tflm_dir else []
    engines += [given] if given.cmsis_nn_dir else []
    rows = [_row(model, golden, board, engine) for engine in engines for board in options.boards]
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{options.model.name}: {len(model):,} B, {inspect(model).macs / 1e6:.1f} M MACs, {len(golden)} frames\n")
    print(
        "| engine | board | instructions | of the first row | arena bound | arena | flash without weights | differing |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        print(
            f"| {row['engine']} | {row['board']} | {row['instructions'] / 1e6:,.1f} M "
            f"| {row['instructions'] / rows[0]['instructions']:.3f} | {row['bound']:,} | {row['arena']:,} "
            f"| {row['flash'] - len(model):,} | {row['mismatches']} |"
        )


def _some(golden: GoldenFrames, count: int) -> GoldenFrames:
    """`count` of them, spread over the folder."""
    chosen = np.unique(np.linspace(0, len(golden) - 1, min(count, len(golden))).round().astype(int))
    return GoldenFrames(
        golden.pixels[chosen], tuple(golden.names[i] for i in chosen), tuple(golden.kinds[i] for i in chosen)
    )


def _row(model: bytes, golden: GoldenFrames, board: str, engine: Engine) -> dict[str, Any]:
    with progress_bar(f"{engine.name} on {board}") as progress:
        image = build_image(model, Wanted(find_board(board), engine, None))
        image, proof = prove(image, golden, progress=progress)
    return {
        "engine": f"{proof.run.revision}, {proof.run.kernels}",
        "board": board,
        "instructions": proof.timing.median,
        "bound": image.arena.lower_bound,
        "arena": image.arena.reserved,
        "flash": image.size.flash_used,
        "ram": image.size.ram_used,
        "frames": len(golden),
        "mismatches": len(proof.outcome.mismatches),
    }


if __name__ == "__main__":
    main()
