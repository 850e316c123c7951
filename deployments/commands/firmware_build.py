"""`f2f firmware build`: the image of a model, in a folder."""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from deployments.commands.firmware_options import image_options, wanted_from
from deployments.progress_bar import progress_bar
from tasks.errors import PipelineError


@click.command("build")
@image_options
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder; default: firmware-BOARD.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
def command(model: Path, out: Path | None, as_json: bool, **options: Any) -> None:
    """Build the firmware of MODEL, an audited .tflite, with the smallest tensor arena that works.

    \b
    Writes firmware.elf, firmware.bin, firmware.map, contract.json, model.tflite, size.json, build.json, build.log.
    The folder is replaced at once when everything is made: an image that is refused leaves the previous one as it was.
    The arena is measured on the emulated board. For xiao-esp32s3, which nothing emulates, it is what TFLM takes on this
    machine and 64 KiB for ESP-NN's scratch; `--arena` says otherwise.

    \b
    Examples:
      f2f firmware build model.tflite --board mps3-an547
      eval "$(f2f firmware sources)" && f2f firmware build model.tflite
      f2f firmware build model.tflite --board xiao-esp32s3

    Exit codes: 0 built, 3 over a budget (nothing is written), 1 could not be built (said why), 2 wrong usage.
    """
    from tasks.firmware_image import build_image, image_files
    from tasks.flatbuffer import read_file

    wanted, data = wanted_from(**options), read_file(model)
    folder = out or Path(f"firmware-{wanted.board.name}")
    with progress_bar(f"firmware for {wanted.board.name}") as progress:
        image = build_image(data, wanted, progress=progress)
    facts = _facts(image, folder)
    broken = [rule.reason for rule in image.rules if not rule.passed]
    if not broken:
        replace_folder(folder, {**image_files(image), "build.json": json.dumps(facts, indent=1).encode()})
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        _tell(facts)
    for reason in broken:
        click.echo(f"REFUSED: {reason}; nothing was written", err=True)
    sys.exit(3 if broken else 0)


def _facts(image: Any, folder: Path) -> dict[str, Any]:
    from tasks.firmware import engine_identity
    from tasks.toolchain import find_cargo, find_rustc, toolchain_versions

    emulated = image.wanted.board.emulated
    tools = toolchain_versions() if emulated else {tool.name: tool.version for tool in (find_rustc(), find_cargo())}
    return {
        "folder": str(folder),
        "board": image.wanted.board.name,
        "engine": engine_identity(image.wanted.engine),
        "model_sha256": image.contract.model.sha256,
        "operators": list(image.contract.operators),
        "arena": image.arena.model_dump(),
        "arena_bytes": image.arena.reserved,
        "flash_bytes": image.size.flash_used,
        "flash_budget": image.size.flash_budget,
        "ram_bytes": image.size.ram_used,
        "ram_budget": image.size.ram_budget,
        "decision": image.contract.decision.model_dump() if image.contract.decision else None,
        "toolchain": tools,
        "rules": [rule.model_dump() for rule in image.rules],
    }


def _tell(facts: dict[str, Any]) -> None:
    arena = facts["arena"]
    target = arena["target"]
    measured = f"measured on the target, TFLM says {target['used']:,} B" if target else "not measured on the target"
    click.echo(f"board      {facts['board']}, TFLM {facts['engine']}")
    click.echo(f"kernels    {', '.join(facts['operators'])}")
    click.echo(f"arena      {arena['reserved']:,} B reserved ({measured}; bound {arena['lower_bound']:,} B)")
    click.echo(f"flash      {facts['flash_bytes']:,} B of {facts['flash_budget']:,} B")
    click.echo(f"RAM        {facts['ram_bytes']:,} B of {facts['ram_budget']:,} B, without stack")
    click.echo(f"image      {facts['folder']}/firmware.elf")


def replace_folder(folder: Path, files: dict[str, bytes]) -> None:
    """`folder` holds `files` and nothing else, at once; other folders in its place are refused.

    A folder that has something else in it than an earlier image is not touched.
    """
    if folder.exists() and not (folder / "build.json").is_file() and any(folder.iterdir()):
        raise PipelineError(f"{folder} holds something else than an image", next_step="choose another folder by --out")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        for name, data in files.items():
            (staged / name).write_bytes(data)
        staged.chmod(0o755)
        if folder.exists():
            aside = staged.with_name(staged.name + "-old")
            folder.rename(aside)
            staged.rename(folder)
            shutil.rmtree(aside)
        else:
            staged.rename(folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
