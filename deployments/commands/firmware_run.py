"""`f2f firmware run`: frames on an emulated board, compared byte for byte with TFLM on this machine."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from deployments.commands.firmware_options import image_options, wanted_from
from deployments.progress_bar import progress_bar
from tasks.errors import PipelineError


@click.command("run")
@image_options
@click.option("--max-instructions", type=click.IntRange(min=1), help="Instructions that an inference may take.")
@click.option(
    "--frames",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Images of any size in this folder and below; without it synthetic pictures are used.",
)
@click.option("--count", type=click.IntRange(5, 10_000), default=8, show_default=True, help="Synthetic pictures.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
def command(
    model: Path, folder: Path | None, count: int, as_json: bool, max_instructions: int | None, **options: Any
) -> None:
    """Build the firmware of MODEL, run frames on it in QEMU, and compare every output byte with TFLM on this machine.

    The host's TFLM is itself compared with TFLite's reference kernels on every frame. A difference is traced to the
    first operator that computes something else. Instructions are counted by the emulator's deterministic clock.

    \b
    Examples:
      f2f firmware run model.tflite --frames photos/ --board mps2-an500
      f2f firmware run model.tflite --json | jq .instructions

    \b
    JSON: per frame `file`, `output` (bytes as they lie in memory), `instructions`, `same`; for all of them
    `instructions` (the most), `arena_bytes`, `flash_bytes`, `ram_bytes`, `mismatches` (frames that differ), `rules`.

    Exit codes: 0 proven, 3 a difference or a limit exceeded, 1 could not be run (said why), 2 wrong usage.
    """
    from tasks.firmware_image import build_image, prove
    from tasks.flatbuffer import read_file
    from tasks.golden import golden_from_folder, synthetic_golden

    wanted, data = wanted_from(**options, max_instructions=max_instructions), read_file(model)
    if not wanted.board.emulated:
        raise PipelineError(
            f"nothing emulates {wanted.board.name}",
            next_step="choose an mps board, or flash what `f2f firmware build` made",
        )
    golden = golden_from_folder(folder) if folder else synthetic_golden(count)
    with progress_bar(f"firmware for {wanted.board.name}") as progress:
        image = build_image(data, wanted, progress=progress)
    with progress_bar("frames") as progress:
        image, proof = prove(image, golden, progress=progress)
    rules = [*proof.rules, *image.rules]
    different = set(proof.outcome.mismatches)
    result = {
        "board": wanted.board.name,
        "model_sha256": image.contract.model.sha256,
        "revision": proof.run.revision,
        "kernels": proof.run.kernels,
        "instructions": proof.timing.most,
        "instructions_median": proof.timing.median,
        "seconds_estimated": proof.timing.seconds,
        "arena_bytes": image.arena.reserved,
        "arena": image.arena.model_dump(),
        "flash_bytes": image.size.flash_used,
        "ram_bytes": image.size.ram_used,
        "stack_bytes": proof.run.stack_bytes,
        "mismatches": len(different),
        "first_differing_layer": proof.outcome.first_layer,
        "compared_with": [proof.outcome.host, proof.outcome.reference],
        "frames": [
            {
                "file": name.partition("/")[2] if folder else name,
                "output": [int(byte) for byte in proof.run.outputs[i]],
                "instructions": proof.run.instructions[i],
                "person": proof.run.person[i],
                "same": name not in different,
            }
            for i, name in enumerate(golden.names)
        ],
        "refused": [{"file": r.file, "reason": r.reason, "message": r.message} for r in golden.refused],
        "rules": [rule.model_dump() for rule in rules],
    }
    click.echo(json.dumps(result, indent=1) if as_json else _text(result))
    sys.exit(0 if all(rule.passed for rule in rules) else 3)


def _text(result: dict[str, Any]) -> str:
    arena = result["arena"]
    lines = [f"{'frame':<44} {'output bytes':<16} {'instructions':>15}"]
    for frame in result["frames"]:
        output = " ".join(f"{byte:3}" for byte in frame["output"][:4])
        mark = "" if frame["same"] else "  DIFFERS"
        lines.append(f"{frame['file'][-44:]:<44} {output:<16} {frame['instructions']:>15,}{mark}")
    lines += [
        "",
        f"board         {result['board']}, TFLM {result['revision']}, {result['kernels']} kernels",
        f"arena         bound {arena['lower_bound']:,} B; host: TFLM says {arena['host']['used']:,}, smallest "
        f"{arena['host']['smallest']:,}",
    ]
    if arena["target"]:
        lines.append(
            f"              target: TFLM says {arena['target']['used']:,}, smallest {arena['target']['smallest']:,}, "
            f"reserved {arena['reserved']:,}"
        )
        lines.append(f"              16 B less: {arena['one_step_less']}")
    lines += [f"{'ok' if rule['passed'] else 'REFUSED':<13} {rule['reason']}" for rule in result["rules"]]
    lines += [f"left out      {refused['file']}: {refused['message']}" for refused in result["refused"]]
    return "\n".join(lines)
